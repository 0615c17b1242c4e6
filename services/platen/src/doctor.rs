//! `platen doctor`: looks for what commonly goes wrong on a machine, and says what to do.

use crate::{
    backends::{Trouble, until_there},
    config::{Config, Form, Source, form::Distributed},
    exit::Failure,
    roles::{Role, Roles, RolesArgs},
    serve::directory,
    serve::open_files as open_file_store,
};
use clap::Args;
use futures::StreamExt;
use platen_bus::Log;
use platen_runtime::keys::{IfAbsent, Keys};
use platen_sessions::{SessionCache, redis};
use platen_store::{Store, cql::CqlTables};
use std::{
    fs,
    future::Future,
    io,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;

/// Arguments of `platen doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The data directory that `serve` would use.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    roles: RolesArgs,
}

/// What one look found: nothing wrong, or what to do.
type Finding = Result<String, String>;

/// Looks at everything and fails if anything is wrong.
pub(crate) fn main(args: &DoctorArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    let roles = args.roles.roles();
    config.form.allows(&roles)?;
    let mut looks = vec![("configuration", Ok("good".to_owned()))];
    match &config.form {
        Form::Embedded { .. } => {
            let key = directory::key_file(&args.data_dir, config.key_file.clone())?;
            looks.push(("data directory", data_dir(&args.data_dir)));
            looks.push(("key", key_file(&key, &args.data_dir)));
        }
        Form::Distributed(form) => {
            crate::install_cryptography()?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            looks.extend(runtime.block_on(backends(form, &roles)));
        }
    }
    looks.push(("open files", open_files()));
    looks.extend(addresses(&config, &roles));
    let mut out = io::stdout().lock();
    for (what, finding) in &looks {
        match finding {
            Ok(good) => writeln!(out, "ok    {what}: {good}")?,
            Err(wrong) => writeln!(out, "WRONG {what}: {wrong}")?,
        }
    }
    match looks.iter().filter(|(_, finding)| finding.is_err()).count() {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} of {} looks found something wrong",
            looks.len()
        ))),
    }
}

/// How long a backend may take to answer one look.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long connecting to Redis may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Clocks further apart than this make timers late and nonces stale.
const APART: Duration = Duration::from_secs(5);

/// The backends that these roles need.
async fn backends(form: &Distributed, roles: &Roles) -> Vec<(&'static str, Finding)> {
    let mut looks = vec![("key", shared_key_file(&form.key_file))];
    let tables = within("store", async {
        CqlTables::connect(&form.store.adapter()?)
            .await
            .map_err(Into::into)
    })
    .await;
    match tables {
        Err(error) => looks.push(("store", Err(error))),
        Ok(tables) => {
            let keyspace = &form.store.keyspace;
            looks.push((
                "store",
                Ok(format!("keyspace {keyspace} is what this program needs")),
            ));
            looks.push(("clock", clock(&tables).await));
            let store = Store::new(Arc::new(tables));
            let key = within("key", async { Ok(form.key(&store).await?) }).await;
            looks.push((
                "key of the deployment",
                key.map(|_| "is the one in the file".to_owned()),
            ));
            let log = within("log", async {
                let log = form.bus.open(PATIENCE, &store).await?;
                log.check().await?;
                Ok(log)
            })
            .await;
            looks.push((
                "log",
                log.map(|log| format!("every topic has {} partitions", log.partitions())),
            ));
        }
    }
    if let (true, Some(sessions)) = (roles.need_sessions(), &form.sessions) {
        let there = within("sessions", async {
            let (cache, _) = redis::open(&sessions.adapter()?)?;
            let mut last = String::new();
            // It connects in the background; until then a call says that it is away.
            let look = async || {
                let looked = cache.look([0; 16]).await;
                looked.map_err(|error| Trouble::Away(error.to_string()))
            };
            let answered = until_there(look, |why| why.clone_into(&mut last));
            match timeout(CONNECT, answered).await {
                Ok(answered) => answered,
                Err(_) => Err(anyhow::anyhow!(last)),
            }
        })
        .await;
        looks.push(("sessions", there.map(|_| "Redis answers".to_owned())));
    }
    if roles.need_files() {
        let there = within("files", async {
            let files = open_file_store(&form.files)?;
            let first = files.list(None).next().await.transpose()?;
            Ok(first.is_some())
        })
        .await;
        let what = |some| {
            if some {
                "can be listed"
            } else {
                "can be listed; there are none"
            }
        };
        looks.push(("files", there.map(|some| what(some).to_owned())));
    }
    looks
}

/// How far the database's clock is from this process's.
async fn clock(tables: &CqlTables) -> Finding {
    let now_us = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
    };
    let before_us = now_us();
    let there_us = within("clock", async { Ok(tables.now_us().await?) }).await?;
    // The answer was made at some time in between.
    let apart_us = match there_us {
        there if there < before_us => before_us - there,
        there => (there - now_us()).max(0),
    };
    let apart = Duration::from_micros(apart_us.unsigned_abs());
    if apart > APART {
        Err(format!(
            "the database's clock and this machine's are {apart:.1?} apart: let both follow NTP"
        ))
    } else {
        Ok("the database's is this machine's".to_owned())
    }
}

/// A look that ends.
async fn within<T>(what: &str, look: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, look).await {
        Ok(found) => found.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("{what} did not answer within {PATIENCE:?}")),
    }
}

fn data_dir(path: &Path) -> Finding {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("{} is not a directory", path.display())),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(format!(
            "others can look into {0}: chmod 700 {0}",
            path.display()
        )),
        Ok(_) => Ok(format!("{} exists", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(format!(
            "{} will be made at the first start",
            path.display()
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn key_file(file: &Path, data_dir: &Path) -> Finding {
    match fs::metadata(file) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(format!(
            "others can read {0}: chmod 600 {0}",
            file.display()
        )),
        Ok(_) => Ok(format!(
            "{} exists; keep a copy of it apart from the backups",
            file.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !data_dir.exists() => {
            Ok("will be made at the first start".to_owned())
        }
        Err(error) => Err(format!(
            "{}: {error}; without it no device password can be read",
            file.display()
        )),
    }
}

/// The key of a deployment: the same in every process.
fn shared_key_file(file: &Path) -> Finding {
    match Keys::load(file, IfAbsent::Fail) {
        Ok(_) => Ok(format!(
            "{} exists; keep a copy of it apart from the backups",
            file.display()
        )),
        Err(error) => Err(format!(
            "{error}; `platen migrate` makes it when it makes the deployment, then every process needs a copy"
        )),
    }
}

/// Each connection of a device is an open file.
fn open_files() -> Finding {
    const ENOUGH: u64 = 16_384;
    let limits = fs::read_to_string("/proc/self/limits")
        .map_err(|error| format!("cannot read the limits: {error}"))?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("unlimited");
    match soft.parse::<u64>() {
        Ok(limit) if limit < ENOUGH => Err(format!(
            "at most {limit} open files, so fewer connections than that: raise it (ulimit -n 65536, LimitNOFILE=65536)"
        )),
        _ => Ok(format!("at most {soft}")),
    }
}

/// The addresses on which these roles listen: free, or a running Platen's own.
fn addresses(config: &Config, roles: &Roles) -> Vec<(&'static str, Finding)> {
    let running = is_running(config.ops);
    let mut addresses = vec![("ops.listen", config.ops)];
    if roles.has(Role::Edge) {
        addresses.push(("cwmp.listen", config.cwmp.listen));
        addresses.extend(
            config
                .cwmp_tls
                .iter()
                .map(|(address, _)| ("cwmp.tls_listen", *address)),
        );
    }
    if roles.has(Role::Northbound) {
        addresses.push(("api.listen", config.api.listen));
    }
    let look = |(key, address)| match free(address) {
        // A process listens on all of its addresses, or has refused to start.
        Err(Taken::InUse) if running => {
            (key, Ok(format!("{address} is in use by a running platen")))
        }
        Err(Taken::InUse) => (
            key,
            Err(format!(
                "somebody listens on {address}, and no platen answers on {}: end it, or set another address",
                config.ops
            )),
        ),
        Err(Taken::Unusable(error)) => (key, Err(format!("cannot listen on {address}: {error}"))),
        Ok(()) if address.port() == 0 => (key, Ok(format!("any free port of {}", address.ip()))),
        Ok(()) => (key, Ok(format!("{address} is free"))),
    };
    addresses.into_iter().map(look).collect()
}

/// Whether a Platen answers on that address for operations.
fn is_running(ops: SocketAddr) -> bool {
    const PATIENCE: Duration = Duration::from_secs(1);
    let ip = match ops.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let ask = || {
        let mut socket = TcpStream::connect_timeout(&(ip, ops.port()).into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: platen\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.take(4096).read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"))
}

/// Why an address cannot be listened on.
#[derive(Debug)]
enum Taken {
    InUse,
    Unusable(io::Error),
}

fn free(address: SocketAddr) -> Result<(), Taken> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Taken::InUse),
        Err(error) => Err(Taken::Unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(data_dir(dir.path()).unwrap_err().contains("chmod 700"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(data_dir(dir.path()).is_ok());
        assert!(data_dir(&dir.path().join("absent")).is_ok());
    }

    #[test]
    fn an_address_in_use_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(
            free(taken.local_addr().unwrap()),
            Err(Taken::InUse)
        ));
    }

    #[test]
    fn only_what_answers_like_platen_is_platen() {
        for (answer, expect) in [
            ("HTTP/1.1 200 OK\r\n\r\nalive\n", true),
            ("HTTP/1.1 200 OK\r\n\r\nhello\n", false),
            ("HTTP/1.1 404 Not Found\r\n\r\nalive\n", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut caller, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let _ = caller.read(&mut request).unwrap();
                caller.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(is_running(address), expect, "{answer:?}");
            server.join().unwrap();
        }
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(!is_running(free));
    }

    #[test]
    fn a_lost_key_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("data.key");
        assert!(key_file(&key, dir.path()).unwrap_err().contains("password"));
        assert!(key_file(&key, &dir.path().join("absent")).is_ok());
    }
}
