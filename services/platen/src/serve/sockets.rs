//! The sockets of the server: bound before anything else happens, so that what is wrong with an address is found first; listened on once there is
//! somebody to answer.

use crate::{
    config::Config,
    roles::{Role, Roles},
};
use anyhow::Context;
use platen_runtime::listener::Tls;
use serde::Serialize;
use std::{fs, io, net::SocketAddr, path::Path};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel keeps for a listener that is busy.
const BACKLOG: u32 = 4096;

/// Every socket that the roles of the process need, bound.
pub(super) struct Sockets {
    pub(super) doors: Doors,
    pub(super) ops: TcpListener,
}

/// Where devices and callers come in; `None`: no role needs it.
pub(super) struct Doors {
    pub(super) cwmp: Option<Cwmp>,
    pub(super) api: Option<Door>,
}

/// Where devices come in.
pub(super) struct Cwmp {
    pub(super) plain: Door,
    pub(super) encrypted: Option<Door>,
}

/// A socket that does not take connections yet: who calls too early is refused at once.
pub(super) struct Door {
    key: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
    tls: Option<Tls>,
}

/// What the ports file says; `None`: this process does not listen there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Addresses {
    pub(super) cwmp: Option<SocketAddr>,
    cwmp_tls: Option<SocketAddr>,
    pub(super) api: Option<SocketAddr>,
    pub(super) ops: SocketAddr,
    /// UDP is not listened on by this release.
    udp: Option<SocketAddr>,
}

impl Sockets {
    pub(super) fn bind(config: &Config, roles: &Roles) -> anyhow::Result<Self> {
        let cwmp = if roles.has(Role::Edge) {
            let plain = Door::bind("cwmp.listen", config.cwmp.listen, None)?;
            let encrypted = match &config.cwmp_tls {
                Some((address, files)) => {
                    let tls = Tls::load(files.clone(), &["http/1.1"]).context("cwmp.tls")?;
                    Some(Door::bind("cwmp.tls_listen", *address, Some(tls))?)
                }
                None => None,
            };
            Some(Cwmp { plain, encrypted })
        } else {
            None
        };
        let api = if roles.has(Role::Northbound) {
            let tls = config
                .api_tls
                .clone()
                .map(|files| Tls::load(files, &["h2", "http/1.1"]))
                .transpose()
                .context("api.tls")?;
            Some(Door::bind("api.listen", config.api.listen, tls)?)
        } else {
            None
        };
        let (ops, _) = Door::bind("ops.listen", config.ops, None)?.open()?;
        Ok(Self {
            doors: Doors { cwmp, api },
            ops,
        })
    }

    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        let Doors { cwmp, api } = &self.doors;
        let cwmp = cwmp.as_ref();
        let encrypted = cwmp.and_then(|cwmp| cwmp.encrypted.as_ref());
        Ok(Addresses {
            cwmp: cwmp.map(|cwmp| cwmp.plain.address),
            cwmp_tls: encrypted.map(|door| door.address),
            api: api.as_ref().map(|door| door.address),
            ops: self.ops.local_addr()?,
            udp: None,
        })
    }
}

impl Door {
    fn bind(key: &'static str, address: SocketAddr, tls: Option<Tls>) -> anyhow::Result<Self> {
        let bound = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // Else connections of the process before would hold the address for minutes.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            io::Result::Ok((socket, address))
        };
        let (socket, address) = bound().with_context(|| taken(key, address))?;
        Ok(Self {
            key,
            address,
            socket,
            tls,
        })
    }

    /// Takes connections from here on.
    pub(super) fn open(self) -> anyhow::Result<(TcpListener, Option<Tls>)> {
        let listener = self
            .socket
            .listen(BACKLOG)
            .with_context(|| taken(self.key, self.address))?;
        Ok((listener, self.tls))
    }
}

fn taken(key: &str, address: SocketAddr) -> String {
    format!("cannot listen on {address} (`{key}`): is another server running there?")
}

impl Addresses {
    /// Writes the file beside itself and renames it, so that nobody reads half of it.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let draft = file.with_extension("part");
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(&draft, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[test]
    fn the_ports_file_has_every_listener() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let addresses = Addresses {
            cwmp: None,
            cwmp_tls: None,
            api: Some(address),
            ops: address,
            udp: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ports.json");

        addresses.write(&file).unwrap();

        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            r#"{"cwmp":null,"cwmp_tls":null,"api":"127.0.0.1:1","ops":"127.0.0.1:1","udp":null}"#
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
    }

    #[tokio::test]
    async fn a_door_refuses_until_it_is_opened_and_is_nobody_elses() {
        let door = Door::bind("api.listen", "127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = door.address;
        let early = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);

        let (_listener, _) = door.open().unwrap();

        TcpStream::connect(address).await.unwrap();
        let second = Door::bind("api.listen", address, None).err().unwrap();
        assert!(second.to_string().contains("`api.listen`"), "{second}");
    }
}
