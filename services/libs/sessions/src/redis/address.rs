//! Where Redis is: one server, the primary that sentinels name, or a cluster.

use super::{BadConfig, RedisConfig};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisError, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use std::{path::Path, time::Duration};
use tokio::sync::Mutex;

/// Time for TCP, TLS and login.
const CONNECT: Duration = Duration::from_secs(2);

/// Calls that wait for their turn on the one connection; beyond, callers wait for a place.
const WAITING_CALLS: usize = 1_024;

/// How a connection is made.
pub(super) enum Address {
    Server(Client),
    /// Behind a lock since the client remembers which sentinel answered.
    Sentinels(Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

/// A connection that many calls share.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    /// Follows the cluster's changes by itself, node by node.
    Cluster(ClusterConnection),
}

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    form: Form<'a>,
    tls: bool,
    /// `USER:PASSWORD@`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    /// The number of a database, or nothing.
    database: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Form<'a> {
    Server,
    Sentinels { primary: &'a str },
    Cluster,
}

impl Address {
    /// Reads what is configured, and the files that it names.
    pub(super) fn read(config: &RedisConfig) -> Result<Self, BadConfig> {
        let parts = parts(&config.url)?;
        let mut nodes = Vec::new();
        for host in &parts.hosts {
            nodes.push(node(&parts, host, config)?);
        }
        let Some(first) = nodes.first() else {
            return Err(BadConfig::Url("names no host".to_owned()));
        };
        let certificates = parts.tls.then(|| certificates(config)).transpose()?;
        if parts.tls {
            // The program may have chosen one already; without any, TLS cannot begin.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let refused = |error: RedisError| match error.kind() {
            ErrorKind::InvalidClientConfig if !parts.tls => {
                BadConfig::Url(format!("cannot be used: {error}"))
            }
            _ => BadConfig::Tls(error.to_string()),
        };
        Ok(match parts.form {
            Form::Server => Self::Server(
                match certificates {
                    Some(certificates) => Client::build_with_tls(first.clone(), certificates),
                    None => Client::open(first.clone()),
                }
                .map_err(refused)?,
            ),
            Form::Sentinels { primary } => {
                let addresses: Vec<ConnectionAddr> =
                    nodes.iter().map(|node| node.addr().clone()).collect();
                let login = first.redis_settings();
                let mut builder =
                    SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)
                        .map_err(refused)?
                        .set_client_to_redis_db(login.db());
                if let Some(username) = login.username() {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = login.password() {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some(password) = &config.sentinel_password {
                    builder = builder.set_client_to_sentinel_password(password);
                }
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates);
                }
                Self::Sentinels(Mutex::new(builder.build().map_err(refused)?))
            }
            Form::Cluster => {
                let timeout = config.timeout.min(super::MAX_TIMEOUT);
                let mut builder = ClusterClientBuilder::new(nodes)
                    .connection_timeout(CONNECT)
                    .response_timeout(timeout)
                    // A call that a node has refused since its slot moved is worth another try; more take longer than a call may.
                    .retries(2)
                    .min_retry_wait(10)
                    .max_retry_wait(50);
                if let Some(certificates) = certificates {
                    builder = builder.tls(TlsMode::Secure).certs(certificates);
                }
                Self::Cluster(builder.build().map_err(refused)?)
            }
        })
    }

    /// Connects and logs in.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        // Who calls sees to it that answers come in time.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING_CALLS);
        Ok(match self {
            Self::Server(client) => Connection::Server(
                client
                    .get_multiplexed_async_connection_with_config(&settings)
                    .await?,
            ),
            Self::Sentinels(client) => Connection::Server(
                client
                    .lock()
                    .await
                    .get_async_connection_with_config(&settings)
                    .await?,
            ),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

fn parts(url: &str) -> Result<Parts<'_>, BadConfig> {
    let bad = |why: &str| BadConfig::Url(why.to_owned());
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| bad("has no scheme, such as redis://"))?;
    let (protocol, form) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match protocol {
        "redis" => false,
        "rediss" => true,
        _ => return Err(bad("begins neither with redis nor with rediss")),
    };
    if rest.contains(['?', '#']) {
        return Err(bad("has settings behind ? or #, of which there are none"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err(bad("names no host"));
    }
    let (form, database) = match form {
        "" if hosts.len() > 1 => {
            return Err(bad(
                "names several hosts: begin it with redis+sentinel:// or redis+cluster://",
            ));
        }
        "" => (Form::Server, path),
        "sentinel" => {
            let (primary, database) = path.split_once('/').unwrap_or((path, ""));
            if primary.is_empty() {
                return Err(bad(
                    "ends without the name under which the sentinels know the primary",
                ));
            }
            (Form::Sentinels { primary }, database)
        }
        "cluster" if path.is_empty() => (Form::Cluster, ""),
        "cluster" => return Err(bad("names a database, which a cluster has not")),
        _ => return Err(bad("has a form that is neither sentinel nor cluster")),
    };
    Ok(Parts {
        form,
        tls,
        login,
        hosts,
        database,
    })
}

/// One of the hosts, with whatever else is known.
fn node(parts: &Parts<'_>, host: &str, config: &RedisConfig) -> Result<ConnectionInfo, BadConfig> {
    let scheme = if parts.tls { "rediss" } else { "redis" };
    let (login, database) = (parts.login, parts.database);
    let info = format!("{scheme}://{login}{host}/{database}")
        .into_connection_info()
        .map_err(|error| BadConfig::Url(format!("cannot be read: {error}")))?;
    let mut settings = info.redis_settings().clone();
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password);
    }
    Ok(info.set_redis_settings(settings))
}

fn certificates(config: &RedisConfig) -> Result<TlsCertificates, BadConfig> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| BadConfig::File(path.to_path_buf(), error))
    };
    let client_tls = match &config.client {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    let root_cert = config.ca.as_deref().map(read).transpose()?;
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of = |form, tls, login, hosts: &[&'static str], database| Parts {
            form,
            tls,
            login,
            hosts: hosts.to_vec(),
            database,
        };
        for (url, expected) in [
            (
                "redis://10.0.0.1",
                of(Form::Server, false, "", &["10.0.0.1"], ""),
            ),
            (
                "rediss://me:p%40ss@cache.example:6380/2",
                of(
                    Form::Server,
                    true,
                    "me:p%40ss@",
                    &["cache.example:6380"],
                    "2",
                ),
            ),
            (
                "redis+sentinel://:secret@a:26379,[2001:db8::1]:26379/main/1",
                of(
                    Form::Sentinels { primary: "main" },
                    false,
                    ":secret@",
                    &["a:26379", "[2001:db8::1]:26379"],
                    "1",
                ),
            ),
            (
                "rediss+cluster://a:1,b:2,c:3",
                of(Form::Cluster, true, "", &["a:1", "b:2", "c:3"], ""),
            ),
        ] {
            assert_eq!(parts(url).unwrap(), expected, "{url}");
            assert!(Address::read(&RedisConfig::new(url)).is_ok(), "{url}");
        }
    }

    #[test]
    fn mistakes_are_named_without_the_password() {
        for (url, why) in [
            ("10.0.0.1:6379", "has no scheme"),
            ("http://hush@a", "neither with redis"),
            ("redis://", "names no host"),
            ("redis://:hush@a,b", "redis+sentinel"),
            ("redis+sentinel://:hush@a,b", "without the name"),
            ("redis+cluster://:hush@a/1", "which a cluster has not"),
            ("redis+ring://:hush@a", "neither sentinel nor cluster"),
            ("redis://:hush@a/?protocol=resp3", "settings behind"),
            ("redis://:hush@a/one", "cannot be read"),
            ("redis://:hush@a:port", "cannot be read"),
        ] {
            let Err(error) = Address::read(&RedisConfig::new(url)) else {
                panic!("{url} is accepted")
            };
            let error = error.to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
        let missing = RedisConfig {
            ca: Some("/nowhere/ca.pem".into()),
            ..RedisConfig::new("rediss://a")
        };
        assert!(matches!(Address::read(&missing), Err(BadConfig::File(..))));
    }
}
