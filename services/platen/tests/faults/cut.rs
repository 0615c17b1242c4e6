//! Cuts the network: packets to and from addresses are dropped without a word, so that whoever waits hears nothing.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

/// A cut. Heals when dropped.
#[derive(Debug)]
pub(crate) struct Cut {
    table: String,
}

impl Cut {
    /// Cuts whoever listens there off from everybody. `None`, and one line that says so, where this process may not.
    pub(crate) fn off(test: &str, listeners: &[SocketAddr]) -> Option<Self> {
        let table = format!("platen_cut_{:08x}", rand::random::<u32>());
        let mut rules = format!("add table inet {table}\n");
        for (chain, end) in [("to", 'd'), ("from", 's')] {
            rules.push_str(&format!(
                "add chain inet {table} {chain} {{ type filter hook input priority 0 ; }}\n"
            ));
            for listener in listeners {
                let (host, port) = (listener.ip(), listener.port());
                rules.push_str(&format!(
                    "add rule inet {table} {chain} ip {end}addr {host} tcp {end}port {port} drop\n"
                ));
            }
        }
        match nft(&rules) {
            Ok(()) => Some(Self { table }),
            Err(why) => {
                println!("skipped: {test} cannot cut the network here: {why}");
                None
            }
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let mended = nft(&format!("delete table inet {}\n", self.table));
        assert!(mended.is_ok() || std::thread::panicking(), "{mended:?}");
    }
}

/// Has nftables apply these lines, all or none.
fn nft(lines: &str) -> Result<(), String> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("nft: {error}"))?;
    let input = nft.stdin.take();
    input.unwrap().write_all(lines.as_bytes()).unwrap();
    let done = nft.wait_with_output().map_err(|error| error.to_string())?;
    if done.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    #[test]
    fn nobody_passes_a_cut_and_everybody_once_it_has_healed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(300);
        let Some(cut) = Cut::off("the test of the cut", &[address]) else {
            return;
        };
        assert!(TcpStream::connect_timeout(&address, patience).is_err());
        drop(cut);
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    }
}
