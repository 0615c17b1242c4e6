//! The sockets of the server: bound before anything else happens.

use crate::config::Config;
use anyhow::Context;
use platen_runtime::listener::Tls;
use serde::Serialize;
use std::{fs, io, net::SocketAddr, path::Path};
use tokio::net::TcpListener;

/// Every listener, bound.
pub(super) struct Sockets {
    pub(super) doors: Doors,
    pub(super) ops: TcpListener,
}

/// Where devices and callers come in.
pub(super) struct Doors {
    pub(super) cwmp: TcpListener,
    pub(super) cwmp_tls: Option<(TcpListener, Tls)>,
    pub(super) api: (TcpListener, Option<Tls>),
}

/// What the ports file says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Addresses {
    pub(super) cwmp: SocketAddr,
    cwmp_tls: Option<SocketAddr>,
    pub(super) api: SocketAddr,
    pub(super) ops: SocketAddr,
    /// UDP is not listened on by this release.
    udp: Option<SocketAddr>,
}

impl Sockets {
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let api_tls = config
            .api_tls
            .clone()
            .map(|files| Tls::load(files, &["h2", "http/1.1"]))
            .transpose()
            .context("api.tls")?;
        let cwmp_tls = match &config.cwmp_tls {
            Some((address, files)) => {
                let tls = Tls::load(files.clone(), &["http/1.1"]).context("cwmp.tls")?;
                Some((listen("cwmp.tls_listen", *address).await?, tls))
            }
            None => None,
        };
        let doors = Doors {
            cwmp: listen("cwmp.listen", config.cwmp.listen).await?,
            cwmp_tls,
            api: (listen("api.listen", config.api.listen).await?, api_tls),
        };
        Ok(Self {
            doors,
            ops: listen("ops.listen", config.ops).await?,
        })
    }

    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        let Doors {
            cwmp,
            cwmp_tls,
            api,
        } = &self.doors;
        Ok(Addresses {
            cwmp: cwmp.local_addr()?,
            cwmp_tls: cwmp_tls
                .as_ref()
                .map(|(socket, _)| socket.local_addr())
                .transpose()?,
            api: api.0.local_addr()?,
            ops: self.ops.local_addr()?,
            udp: None,
        })
    }
}

impl Addresses {
    /// Writes the file beside itself and renames it, so that nobody reads half of it.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let draft = file.with_extension("part");
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(&draft, file)
    }
}

async fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (`{key}`): is another server running there?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_file_has_every_listener() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let addresses = Addresses {
            cwmp: address,
            cwmp_tls: None,
            api: address,
            ops: address,
            udp: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ports.json");

        addresses.write(&file).unwrap();

        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            r#"{"cwmp":"127.0.0.1:1","cwmp_tls":null,"api":"127.0.0.1:1","ops":"127.0.0.1:1","udp":null}"#
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
    }
}
