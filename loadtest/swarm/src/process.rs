//! What a process costs: processor time and memory, from `/proc`.

use serde::{Deserialize, Serialize};
use std::{fs, io, time::Duration};

/// Clock ticks per second in `/proc/PID/stat`: fixed by the kernel's interface on every architecture that Platen is built for.
const TICKS_PER_SECOND: u64 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// The most that it ever was.
    pub peak_resident_bytes: u64,
}

/// Reads what process `pid` has used.
///
/// # Errors
///
/// There is no such process, or this is not Linux.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse(&stat, &status)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc is not as expected"))
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To end (SIGTERM).
    Terminate,
    /// To stand still (SIGSTOP).
    Stop,
    /// To go on (SIGCONT).
    Continue,
}

/// Asks a process to end (SIGTERM).
///
/// # Errors
///
/// As [`signal`].
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, Signal::Terminate)
}

/// Signals a process.
///
/// # Errors
///
/// There is no such process, or it is somebody else's.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let name = match signal {
        Signal::Terminate => "TERM",
        Signal::Stop => "STOP",
        Signal::Continue => "CONT",
    };
    // The shell's own `kill` is on every machine; the program of that name is not.
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "kill -s \"$1\" \"$2\"",
            "kill",
            name,
            &pid.to_string(),
        ])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("cannot signal process {pid}")))
    }
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The second field is the program's name, which may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let kilobytes = |name: &str| -> Option<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Usage {
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        resident_bytes: kilobytes("VmRSS")? * 1024,
        peak_resident_bytes: kilobytes("VmHWM")? * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_mislead() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1 1 1";
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let expect = Usage {
            cpu: Duration::from_secs(3),
            resident_bytes: 1 << 20,
            peak_resident_bytes: 2 << 20,
        };
        assert_eq!(parse(stat, status), Some(expect));
        assert_eq!(parse("", ""), None);
    }

    #[test]
    fn this_process_is_known() {
        assert!(usage(std::process::id()).unwrap().resident_bytes > 0);
        assert!(usage(u32::MAX).is_err());
    }
}
