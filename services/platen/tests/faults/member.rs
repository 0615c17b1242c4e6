//! One process of the server, which can be killed, stopped, ended and started again, with another clock if need be.

use crate::eventually::within;
use platen_swarm::process::{Signal, signal};
use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

/// How long a process may take until it is ready, and to end: more than its drain.
const PATIENCE: Duration = Duration::from_secs(90);

/// The process, or its place while it is down.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) ports: Ports,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    /// Seconds by which its clock is ahead of others.
    skew: i64,
    /// What its disk is to do with a sync; nothing else, where there is no such file.
    disk: PathBuf,
    state: State,
    http: reqwest::Client,
}

/// Where it listens, whether or not its roles do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) cwmp: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
}

#[derive(Debug)]
enum State {
    Down,
    Running(Child),
    Stopped(Child),
}

impl Member {
    /// A process that is not started yet: `platen serve` with these arguments, as it lies in the folder.
    pub(crate) fn new(name: &str, ports: Ports, arguments: Vec<String>, folder: &Path) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build();
        Self {
            name: name.to_owned(),
            ports,
            http: http.unwrap(),
            program: folder.join("platen"),
            arguments,
            log: folder.join(format!("{name}.log")),
            skew: 0,
            disk: folder.join(format!("{name}.disk")),
            state: State::Down,
        }
    }

    /// From its next start on its clock is so many seconds ahead.
    pub(crate) const fn skew(&mut self, seconds: i64) {
        self.skew = seconds;
    }

    /// From now on every sync takes so much longer, and fails if that is said (an errno).
    pub(crate) fn disturb_disk(&self, longer: Duration, failure: i32) {
        // Whoever reads meanwhile finds the one or the other.
        let new = self.disk.with_extension("new");
        fs::write(&new, format!("{} {failure}\n", longer.as_millis())).unwrap();
        fs::rename(new, &self.disk).unwrap();
    }

    /// Its disk is as it was.
    pub(crate) fn leave_disk(&self) {
        fs::remove_file(&self.disk).unwrap();
    }

    /// Starts it, if it is down.
    pub(crate) fn start(&mut self) {
        if !matches!(self.state, State::Down) {
            return;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(&self.arguments)
            .env_clear()
            .envs([
                ("PLATEN__CWMP__LISTEN", self.ports.cwmp.to_string()),
                ("PLATEN__API__LISTEN", self.ports.api.to_string()),
                ("PLATEN__OPS__LISTEN", self.ports.ops.to_string()),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(library) = preload() {
            command
                .env("LD_PRELOAD", library)
                .env("PLATEN_CLOCK_AHEAD", self.skew.to_string())
                .env("PLATEN_DISK", &self.disk);
        }
        self.state = State::Running(command.spawn().unwrap());
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) {
        within(&format!("{} is ready", self.name), PATIENCE, async || {
            self.is_alive();
            self.is_ready().await.then_some(())
        })
        .await;
    }

    async fn is_ready(&self) -> bool {
        let url = format!("http://{}/readyz", self.ports.ops);
        let answer = self.http.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Whether it has ended without being asked to; it can be started again then.
    pub(crate) fn has_ended(&mut self) -> bool {
        let ended = match &mut self.state {
            State::Running(child) => child.try_wait().unwrap().is_some(),
            State::Down | State::Stopped(_) => false,
        };
        if ended {
            self.state = State::Down;
        }
        ended
    }

    /// Fails if it has ended without being asked to.
    pub(crate) fn is_alive(&mut self) {
        if let State::Running(child) | State::Stopped(child) = &mut self.state
            && let Some(status) = child.try_wait().unwrap()
        {
            panic!(
                "{} ended by itself with {status}: {}",
                self.name,
                self.last_words()
            );
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let State::Running(mut child) | State::Stopped(mut child) =
            std::mem::replace(&mut self.state, State::Down)
        {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP.
    pub(crate) fn stop(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Running(child) => {
                signal(child.id(), Signal::Stop).unwrap();
                State::Stopped(child)
            }
            other => other,
        };
    }

    /// SIGCONT.
    pub(crate) fn go_on(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Stopped(child) => {
                signal(child.id(), Signal::Continue).unwrap();
                State::Running(child)
            }
            other => other,
        };
    }

    /// SIGTERM, and its end, if it runs. One that serves must end well; one that has not come so far may be cut short.
    pub(crate) async fn terminate(&mut self) {
        let serves = self.is_ready().await;
        let State::Running(child) = &mut self.state else {
            return;
        };
        signal(child.id(), Signal::Terminate).unwrap();
        let status = within(&format!("{} ends", self.name), PATIENCE, async || {
            child.try_wait().unwrap()
        })
        .await;
        self.state = State::Down;
        let is_cut_short = !serves && status.signal().is_some();
        assert!(
            status.success() || is_cut_short,
            "{} ended with {status}: {}",
            self.name,
            self.last_words()
        );
    }

    /// The panics that it has logged.
    pub(crate) fn panics(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("panicked"))
            .map(|line| format!("{}: {line}", self.name))
            .collect()
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What gives a process another clock and another disk (`preload.c`); `None`: there is no C compiler.
pub(crate) fn preload() -> Option<&'static Path> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload.so");
        let built = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/faults/preload.c"
            ))
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "preload.c: {said}");
        Some(library)
    });
    BUILT.as_deref()
}
