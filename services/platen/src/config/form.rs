//! Where state, log, sessions and files are kept: `[store]`, `[bus]`, `[sessions]`, `[files]`, and which of their kinds go together.

use super::{
    layers::{Layers, Problem},
    period,
};
use crate::{exit::Failure, roles::Roles};
use anyhow::Context;
use serde::Deserialize;
use std::{fmt, fs, path::PathBuf, time::Duration};

/// Where state, log and sessions are kept, and by how many processes.
#[derive(Debug)]
pub(crate) enum Form {
    /// In the data directory, by one process.
    Embedded {
        /// `None`: files lie there, too.
        files: Option<Files>,
    },
    /// In databases of their own, by any number of processes.
    Distributed(Box<Distributed>),
}

/// What every process of the distributed form is told, in the same words.
#[derive(Debug)]
pub(crate) struct Distributed {
    pub(crate) store: Cql,
    pub(crate) bus: Kafka,
    /// `None`: in memory, of the one process that there is.
    pub(crate) sessions: Option<Redis>,
    pub(crate) files: Files,
    pub(crate) key_file: PathBuf,
}

/// A cluster that speaks CQL: ScyllaDB, Apache Cassandra.
#[derive(Debug)]
pub(crate) struct Cql {
    /// Addresses with ports; others are learned from these.
    pub(crate) nodes: Vec<String>,
    pub(crate) keyspace: String,
    pub(crate) datacenter: Option<String>,
    /// Used when the keyspace is made.
    pub(crate) replication_factor: u8,
    pub(crate) login: Option<Login>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) request_timeout: Duration,
}

/// A Kafka cluster.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) brokers: Vec<String>,
    /// Before the names of topics and groups.
    pub(crate) prefix: String,
    /// Used when topics are made; a power of two, at most 256.
    pub(crate) partitions: u16,
    /// Used when topics are made.
    pub(crate) replication_factor: u8,
    pub(crate) login: Option<Login>,
    pub(crate) mechanism: Mechanism,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) rack: Option<String>,
}

/// How a broker is shown who calls (SASL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A Redis server, a cluster, or sentinels that know one.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) url: String,
    /// Before the names of keys.
    pub(crate) prefix: String,
    /// In place of the URL's.
    pub(crate) username: Option<String>,
    /// In place of the URL's.
    pub(crate) password: Option<Secret>,
    /// What the sentinels themselves ask for.
    pub(crate) sentinel_password: Option<Secret>,
    /// Authorities that vouch for the server, in place of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Where the bytes of artifacts and uploads lie.
#[derive(Debug)]
pub(crate) enum Files {
    Directory(PathBuf),
    S3(S3),
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct S3 {
    pub(crate) bucket: String,
    /// Before the names of objects; may be empty.
    pub(crate) prefix: String,
    /// `None`: Amazon's.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    /// `None`: as Amazon's own tools find them.
    pub(crate) keys: Option<(Secret, Secret)>,
}

/// Who this process is to a backend.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

/// What an encrypted connection is verified by, and shows itself.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    pub(crate) ca: PathBuf,
    /// Certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// A secret, or the file that holds it.
#[derive(Clone)]
pub(crate) enum Secret {
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// The secret, without the line's end of a file.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(file) => {
                let text = fs::read_to_string(file)
                    .with_context(|| format!("cannot read the secret in {}", file.display()))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Secret"),
            Self::File(file) => f.debug_tuple("Secret").field(file).finish(),
        }
    }
}

impl Form {
    /// Refuses a process of these roles if something that it keeps to itself is needed by others.
    pub(crate) fn allows(&self, roles: &Roles) -> Result<(), Failure> {
        let what = match self {
            _ if roles.are_all() => return Ok(()),
            Self::Distributed(form) if form.sessions.is_some() => return Ok(()),
            Self::Distributed(_) => {
                "sessions in memory need all roles in one process: set `sessions.kind = \"redis\"`, leave --roles out,"
            }
            Self::Embedded { .. } => {
                "embedded store and bus need all roles in one process: leave --roles out,"
            }
        };
        Err(Failure::usage(format!("{what} or add {}", roles.others())))
    }

    /// Every secret that these roles need can be read.
    pub(crate) fn read_secrets(&self, roles: &Roles) -> anyhow::Result<()> {
        let (distributed, files) = match self {
            Self::Embedded { files } => (None, files.as_ref()),
            Self::Distributed(form) => (Some(&**form), Some(&form.files)),
        };
        let mut secrets = Vec::new();
        if let Some(Distributed {
            store,
            bus,
            sessions,
            ..
        }) = distributed
        {
            let logins = [&store.login, &bus.login].into_iter().flatten();
            secrets.extend(logins.map(|login| &login.password));
            let redis = sessions.iter().filter(|_| roles.need_sessions());
            secrets.extend(redis.flat_map(|redis| {
                [&redis.password, &redis.sentinel_password]
                    .into_iter()
                    .flatten()
            }));
        }
        if let Some(Files::S3(S3 {
            keys: Some((access, secret)),
            ..
        })) = files.filter(|_| roles.need_files())
        {
            secrets.extend([access, secret]);
        }
        secrets
            .into_iter()
            .try_for_each(|secret| secret.read().map(drop))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreSection {
    kind: StoreKind,
    cql: CqlSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoreKind {
    Embedded,
    Cql,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CqlSection {
    #[serde(default)]
    nodes: Vec<String>,
    keyspace: String,
    datacenter: Option<String>,
    replication_factor: u8,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    tls: TlsSection,
    #[serde(deserialize_with = "period")]
    request_timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BusSection {
    kind: BusKind,
    kafka: KafkaSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BusKind {
    Embedded,
    Kafka,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KafkaSection {
    #[serde(default)]
    brokers: Vec<String>,
    prefix: String,
    partitions: u16,
    replication_factor: u8,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    mechanism: Mechanism,
    #[serde(default)]
    tls: TlsSection,
    rack: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionsSection {
    kind: SessionsKind,
    redis: RedisSection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SessionsKind {
    Memory,
    Redis,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisSection {
    url: Option<String>,
    prefix: String,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    sentinel_password: Option<String>,
    sentinel_password_file: Option<PathBuf>,
    #[serde(default)]
    tls: TlsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesSection {
    url: Option<String>,
    #[serde(default)]
    s3: S3Section,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct S3Section {
    endpoint: Option<String>,
    region: Option<String>,
    access_key: Option<String>,
    access_key_file: Option<PathBuf>,
    secret_key: Option<String>,
    secret_key_file: Option<PathBuf>,
}

/// Reads the sections. `None` only if there is a problem.
pub(super) fn parse(
    layers: &Layers,
    key_file: Option<&PathBuf>,
    problems: &mut Vec<Problem>,
) -> Option<Form> {
    let mut noted = Noted { layers, problems };
    let store = noted.keep(layers.section::<StoreSection>("store", |_| true));
    let bus = noted.keep(layers.section::<BusSection>("bus", |_| true));
    let sessions = noted.keep(layers.section::<SessionsSection>("sessions", |_| true));
    let files = noted.keep(layers.section::<FilesSection>("files", |_| true));
    let files = files.and_then(|section| noted.files(section));
    let (store, bus, sessions) = (store?, bus?, sessions?);
    match (store.kind, bus.kind, sessions.kind) {
        (StoreKind::Embedded, BusKind::Embedded, SessionsKind::Memory) => {
            Some(Form::Embedded { files: files? })
        }
        (StoreKind::Embedded, BusKind::Embedded, SessionsKind::Redis) => noted.refuse(
            "sessions.kind",
            "`sessions.kind = \"redis\"` is for several processes, but an embedded store and bus have one: leave it out, or set `store.kind = \"cql\"` and `bus.kind = \"kafka\"`",
        ),
        (StoreKind::Embedded, BusKind::Kafka, _) => noted.refuse(
            "bus.kind",
            "`bus.kind = \"kafka\"` needs `store.kind = \"cql\"`: an embedded store and bus are one database of one process",
        ),
        (StoreKind::Cql, BusKind::Embedded, _) => noted.refuse(
            "store.kind",
            "`store.kind = \"cql\"` needs `bus.kind = \"kafka\"`: an embedded store and bus are one database of one process",
        ),
        (StoreKind::Cql, BusKind::Kafka, kind) => {
            let store = noted.cql(store.cql);
            let bus = noted.kafka(bus.kafka);
            let sessions = match kind {
                SessionsKind::Memory => Some(None),
                SessionsKind::Redis => noted.redis(sessions.redis).map(Some),
            };
            let files = files.and_then(|files| {
                files.or_else(|| {
                    noted.needs(
                        "store.kind",
                        "files.url",
                        "artifacts and uploads lie where every process reaches them",
                    )
                })
            });
            let key_file = key_file.cloned().or_else(|| {
                noted.needs("store.kind", "keys.file", "every process has the same key")
            });
            Some(Form::Distributed(Box::new(Distributed {
                store: store?,
                bus: bus?,
                sessions: sessions?,
                files: files?,
                key_file: key_file?,
            })))
        }
    }
}

/// Where problems go.
struct Noted<'a> {
    layers: &'a Layers,
    problems: &'a mut Vec<Problem>,
}

impl Noted<'_> {
    fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// Notes a contradiction at the place of a key.
    fn refuse<T>(&mut self, key: &str, what: &str) -> Option<T> {
        let place = self.layers.place(key);
        self.keep(Err(Problem::Contradiction(format!("{place}: {what}"))))
    }

    /// Notes that one key needs another.
    fn needs<T>(&mut self, key: &str, needed: &str, why: &str) -> Option<T> {
        let value = self.layers.text(key);
        self.refuse(key, &format!("`{key} = {value}` needs `{needed}`: {why}"))
    }

    fn cql(&mut self, section: CqlSection) -> Option<Cql> {
        let CqlSection {
            nodes,
            keyspace,
            datacenter,
            replication_factor,
            username,
            password,
            password_file,
            tls,
            request_timeout,
        } = section;
        let nodes = self.addresses("store.kind", "store.cql.nodes", nodes);
        let is_name = keyspace.len() <= 48
            && keyspace.starts_with(|c: char| c.is_ascii_lowercase())
            && keyspace
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let keyspace = if is_name {
            Some(keyspace)
        } else {
            self.wrong(
                "store.cql.keyspace",
                "lower-case letters, digits and underscores, at most 48, a letter first",
            )
        };
        let replication_factor = self.positive("store.cql.replication_factor", replication_factor);
        let login = self.login("store.cql", username, password, password_file);
        let tls = self.tls("store.cql", tls);
        Some(Cql {
            nodes: nodes?,
            keyspace: keyspace?,
            datacenter,
            replication_factor: replication_factor?,
            login: login?,
            tls: tls?,
            request_timeout,
        })
    }

    fn kafka(&mut self, section: KafkaSection) -> Option<Kafka> {
        let KafkaSection {
            brokers,
            prefix,
            partitions,
            replication_factor,
            username,
            password,
            password_file,
            mechanism,
            tls,
            rack,
        } = section;
        let brokers = self.addresses("bus.kind", "bus.kafka.brokers", brokers);
        let is_name = prefix.len() <= 64
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let prefix = if is_name {
            Some(prefix)
        } else {
            self.wrong(
                "bus.kafka.prefix",
                "letters, digits, points, underscores and hyphens, at most 64",
            )
        };
        let partitions = if partitions.is_power_of_two() && partitions <= 256 {
            Some(partitions)
        } else {
            self.wrong("bus.kafka.partitions", "a power of two, at most 256")
        };
        let replication_factor = self.positive("bus.kafka.replication_factor", replication_factor);
        let login = self.login("bus.kafka", username, password, password_file);
        let tls = self.tls("bus.kafka", tls);
        Some(Kafka {
            brokers: brokers?,
            prefix: prefix?,
            partitions: partitions?,
            replication_factor: replication_factor?,
            login: login?,
            mechanism,
            tls: tls?,
            rack,
        })
    }

    fn redis(&mut self, section: RedisSection) -> Option<Redis> {
        let RedisSection {
            url,
            prefix,
            username,
            password,
            password_file,
            sentinel_password,
            sentinel_password_file,
            tls,
        } = section;
        let url = url
            .or_else(|| self.needs("sessions.kind", "sessions.redis.url", "where the server is"));
        let password = self.secret("sessions.redis.password", password, password_file);
        let sentinel_password = self.secret(
            "sessions.redis.sentinel_password",
            sentinel_password,
            sentinel_password_file,
        );
        let identity = self.identity("sessions.redis", tls.cert, tls.key);
        Some(Redis {
            url: url?,
            prefix,
            username,
            password: password?,
            sentinel_password: sentinel_password?,
            ca: tls.ca,
            identity: identity?,
        })
    }

    /// `Some(None)`: it is not said where.
    fn files(&mut self, section: FilesSection) -> Option<Option<Files>> {
        let FilesSection { url, s3 } = section;
        let access = self.secret("files.s3.access_key", s3.access_key, s3.access_key_file);
        let secret = self.secret("files.s3.secret_key", s3.secret_key, s3.secret_key_file);
        let keys = match (access?, secret?) {
            (Some(access), Some(secret)) => Some((access, secret)),
            (None, None) => None,
            (Some(_), None) => {
                return self.refuse(
                    "files.s3.access_key",
                    "`files.s3.access_key` needs `files.s3.secret_key`",
                );
            }
            (None, Some(_)) => {
                return self.refuse(
                    "files.s3.secret_key",
                    "`files.s3.secret_key` needs `files.s3.access_key`",
                );
            }
        };
        let Some(url) = url else {
            return Some(None);
        };
        if let Some(path) = url
            .strip_prefix("file://")
            .filter(|path| path.starts_with('/'))
        {
            return Some(Some(Files::Directory(path.into())));
        }
        let Some((bucket, prefix)) = url
            .strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        else {
            return self.wrong("files.url", "file:///path or s3://bucket/prefix");
        };
        if bucket.is_empty() {
            return self.wrong("files.url", "file:///path or s3://bucket/prefix");
        }
        Some(Some(Files::S3(S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: s3.endpoint,
            region: s3.region,
            keys,
        })))
    }

    fn wrong<T>(&mut self, key: &str, allowed: &str) -> Option<T> {
        self.keep(Err(Problem::Wrong {
            place: self.layers.place(key),
            value: self.layers.text(key),
            key: key.to_owned(),
            allowed: allowed.to_owned(),
        }))
    }

    fn positive(&mut self, key: &str, number: u8) -> Option<u8> {
        if number > 0 {
            Some(number)
        } else {
            self.wrong(key, "1 or more")
        }
    }

    /// At least one `host:port`.
    fn addresses(&mut self, kind: &str, key: &str, addresses: Vec<String>) -> Option<Vec<String>> {
        if addresses.is_empty() {
            return self.needs(kind, key, "where the cluster is reached");
        }
        let is_address = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        if addresses.iter().all(is_address) {
            Some(addresses)
        } else {
            self.wrong(key, "a list of host:port")
        }
    }

    /// `Some(None)`: the backend asks for nothing.
    fn login(
        &mut self,
        section: &str,
        username: Option<String>,
        password: Option<String>,
        password_file: Option<PathBuf>,
    ) -> Option<Option<Login>> {
        let password = self.secret(&format!("{section}.password"), password, password_file)?;
        let (username_key, password_key) =
            (format!("{section}.username"), format!("{section}.password"));
        match (username, password) {
            (Some(username), Some(password)) => Some(Some(Login { username, password })),
            (None, None) => Some(None),
            (Some(_), None) => self.refuse(
                &username_key,
                &format!("`{username_key}` needs `{password_key}` or `{password_key}_file`"),
            ),
            (None, Some(_)) => self.refuse(
                &password_key,
                &format!("`{password_key}` needs `{username_key}`"),
            ),
        }
    }

    /// `Some(None)`: neither was said.
    fn secret(
        &mut self,
        key: &str,
        text: Option<String>,
        file: Option<PathBuf>,
    ) -> Option<Option<Secret>> {
        match (text, file) {
            (None, None) => Some(None),
            (Some(text), None) => Some(Some(Secret::Text(text))),
            (None, Some(file)) => Some(Some(Secret::File(file))),
            (Some(_), Some(_)) => self.refuse(
                key,
                &format!("`{key}` and `{key}_file` are both set: leave one out"),
            ),
        }
    }

    /// `Some(None)`: plain text.
    fn tls(&mut self, section: &str, tls: TlsSection) -> Option<Option<ClientTls>> {
        let identity = self.identity(section, tls.cert, tls.key)?;
        match (tls.ca, identity) {
            (Some(ca), identity) => Some(Some(ClientTls { ca, identity })),
            (None, None) => Some(None),
            (None, Some(_)) => self.refuse(
                &format!("{section}.tls.cert"),
                &format!(
                    "`{section}.tls.cert` needs `{section}.tls.ca`: who vouches for the server"
                ),
            ),
        }
    }

    /// Certificate and key. `Some(None)`: neither was said.
    fn identity(
        &mut self,
        section: &str,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Option<Option<(PathBuf, PathBuf)>> {
        let (has, lacks) = match (cert, key) {
            (Some(cert), Some(key)) => return Some(Some((cert, key))),
            (None, None) => return Some(None),
            (Some(_), None) => ("cert", "key"),
            (None, Some(_)) => ("key", "cert"),
        };
        self.refuse(
            &format!("{section}.tls.{has}"),
            &format!("`{section}.tls.{has}` needs `{section}.tls.{lacks}`"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, DEFAULT},
        roles::Role,
    };

    /// The least that the distributed form needs.
    const LEAST: &str = r#"
        keys.file = "/etc/platen.key"
        store.kind = "cql"
        store.cql.nodes = ["a:9042"]
        bus.kind = "kafka"
        bus.kafka.brokers = ["b:9092"]
        sessions.kind = "redis"
        sessions.redis.url = "redis://c:6379"
        files.url = "s3://platen/files/"
    "#;

    fn read(file: &str) -> Result<Form, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platen.toml");
        fs::write(&path, file).unwrap();
        let config =
            Layers::read(DEFAULT, Some(&path), []).and_then(|layers| Config::from_layers(&layers));
        config.map(|config| config.form).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    impl Distributed {
        /// The least that can be configured.
        pub(crate) fn example() -> Self {
            distributed(LEAST)
        }
    }

    fn distributed(file: &str) -> Distributed {
        match read(file).unwrap() {
            Form::Distributed(form) => *form,
            Form::Embedded { .. } => panic!("{file} is embedded"),
        }
    }

    #[test]
    fn the_default_is_embedded_and_may_keep_files_elsewhere() {
        assert!(matches!(read("").unwrap(), Form::Embedded { files: None }));
        let Form::Embedded { files } = read("files.url = \"file:///srv/files\"").unwrap() else {
            panic!("it is distributed");
        };
        assert!(matches!(files, Some(Files::Directory(path)) if path.ends_with("files")));
    }

    #[test]
    fn the_distributed_form_is_read() {
        let form = distributed(&format!(
            "{LEAST}\nstore.cql.username = \"u\"\nstore.cql.password_file = \"/run/p\"\nbus.kafka.tls.ca = \"/ca\"\nbus.kafka.partitions = 4"
        ));
        assert_eq!(form.store.nodes, ["a:9042"]);
        assert_eq!(form.store.keyspace, "platen");
        assert_eq!(form.store.request_timeout, Duration::from_secs(2));
        let login = form.store.login.unwrap();
        assert!(matches!(login.password, Secret::File(file) if file.ends_with("p")));
        assert_eq!(form.bus.partitions, 4);
        assert!(form.bus.tls.unwrap().identity.is_none());
        assert_eq!(form.sessions.unwrap().url, "redis://c:6379");
        assert!(
            matches!(form.files, Files::S3(S3 { bucket, prefix, .. }) if bucket == "platen" && prefix == "files")
        );
        assert_eq!(form.key_file, PathBuf::from("/etc/platen.key"));
    }

    /// The example that containers run by.
    #[test]
    fn the_example_of_a_deployment_is_one() {
        let form = distributed(include_str!("../../../../deploy/distributed.toml"));
        assert!(form.store.login.is_some() && form.bus.login.is_some());
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_way_out() {
        let cases: [(String, &[&str]); 15] = [
            (
                "bus.kind = \"kafka\"".into(),
                &["platen.toml:1", "needs `store.kind = \"cql\"`"],
            ),
            (
                "store.kind = \"cql\"".into(),
                &["needs `bus.kind = \"kafka\"`"],
            ),
            (
                "sessions.kind = \"redis\"".into(),
                &["is for several processes", "leave it out"],
            ),
            (
                "store.kind = \"cql\"\nbus.kind = \"kafka\"\nsessions.kind = \"redis\"".into(),
                &[
                    "`store.cql.nodes`",
                    "`bus.kafka.brokers`",
                    "`sessions.redis.url`",
                    "`files.url`",
                    "`keys.file`",
                ],
            ),
            (
                format!("{LEAST}\nstore.cql.keyspace = \"Platen\""),
                &["`store.cql.keyspace` is \"Platen\"", "lower-case"],
            ),
            (
                format!("{LEAST}\nstore.cql.replication_factor = 0"),
                &["1 or more"],
            ),
            (
                format!("{LEAST}\nbus.kafka.partitions = 48"),
                &["`bus.kafka.partitions` is 48", "a power of two"],
            ),
            (
                format!("{LEAST}\nbus.kafka.prefix = \"a/b\""),
                &["`bus.kafka.prefix`"],
            ),
            (
                format!("{LEAST}\nbus.kafka.mechanism = \"GSSAPI\""),
                &["`bus.kafka.mechanism`", "SCRAM-SHA-512"],
            ),
            (
                format!("{LEAST}\nbus.kafka.username = \"u\""),
                &["`bus.kafka.password_file`"],
            ),
            (
                format!("{LEAST}\nbus.kafka.password = \"p\""),
                &["needs `bus.kafka.username`"],
            ),
            (
                format!(
                    "{LEAST}\nsessions.redis.password = \"p\"\nsessions.redis.password_file = \"f\""
                ),
                &["leave one out"],
            ),
            (
                format!("{LEAST}\nstore.cql.tls.cert = \"c\""),
                &["needs `store.cql.tls.key`"],
            ),
            (
                "files.url = \"ftp://x\"".into(),
                &["`files.url` is \"ftp://x\"", "s3://bucket/prefix"],
            ),
            (
                "files.s3.access_key = \"k\"".into(),
                &["needs `files.s3.secret_key`"],
            ),
        ];
        for (file, expect) in cases {
            let message = read(&file).unwrap_err();
            for part in expect {
                assert!(
                    message.contains(part),
                    "{file:?}: {part:?} is not in {message:?}"
                );
            }
        }
    }

    #[test]
    fn some_roles_need_what_processes_can_share() {
        let some = Roles::of(&[Role::Edge, Role::Northbound]);
        let error = read("").unwrap().allows(&some).unwrap_err().to_string();
        assert!(
            error.contains("add inventory,provisioning,firmware,metering"),
            "{error}"
        );
        let shared = read(LEAST).unwrap();
        assert!(shared.allows(&some).is_ok());
        let memory = LEAST.replace("\"redis\"", "\"memory\"");
        let memory = read(&memory).unwrap();
        let error = memory.allows(&some).unwrap_err().to_string();
        assert!(error.contains("sessions.kind = \"redis\""), "{error}");
        assert!(memory.allows(&Roles::of(&[])).is_ok());
    }

    #[test]
    fn secrets_are_read_from_files_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, "s3cret\r\n").unwrap();
        assert_eq!(Secret::File(file).read().unwrap(), "s3cret");
        assert_eq!(format!("{:?}", Secret::Text("s3cret".into())), "Secret");
        let missing = Secret::File(dir.path().join("none")).read().unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
        let (all, metering) = (Roles::of(&[]), Roles::of(&[Role::Metering]));
        assert!(read(LEAST).unwrap().read_secrets(&all).is_ok());
        for lost in [
            "store.cql.username = \"u\"\nstore.cql.password_file = \"/nonexistent/p\"",
            "bus.kafka.username = \"u\"\nbus.kafka.password_file = \"/nonexistent/p\"",
            "sessions.redis.password_file = \"/nonexistent/p\"",
            "files.s3.access_key = \"a\"\nfiles.s3.secret_key_file = \"/nonexistent/p\"",
        ] {
            let form = read(&format!("{LEAST}\n{lost}")).unwrap();
            let error = form.read_secrets(&all).unwrap_err();
            assert!(error.to_string().contains("/nonexistent/p"), "{error}");
            let needed = lost.starts_with("store") || lost.starts_with("bus");
            assert_eq!(form.read_secrets(&metering).is_err(), needed, "{lost}");
        }
    }
}
