//! The configuration: a documented default, a file, variables; every key known, every wrong value named with its place.

pub(crate) mod form;
mod layers;

use crate::exit::Failure;
use clap::Args;
pub(crate) use form::Form;
use layers::{Layers, Problem};
use platen_runtime::{listener::tls::Files, logs::Format};
use serde::{Deserialize, Deserializer};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The default configuration: it is the documentation of every key.
pub(crate) const DEFAULT: &str = include_str!("../config.default.toml");

/// Where the configuration comes from, beside the defaults and the variables `PLATEN__SECTION__KEY`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    /// Configuration file (TOML). Variables PLATEN__SECTION__KEY override it.
    #[arg(long, env = "PLATEN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Everything that can be configured, parsed and checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) drain: Duration,
    pub(crate) cwmp: Socket,
    /// The listener with TLS that runs beside the plain one.
    pub(crate) cwmp_tls: Option<(SocketAddr, Files)>,
    pub(crate) api: Socket,
    pub(crate) api_tls: Option<Files>,
    pub(crate) ops: SocketAddr,
    /// The key file, if it is not beside the data directory.
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) form: Form,
    pub(crate) log: Log,
    pub(crate) edge: platen_edge::Config,
    pub(crate) northbound: platen_northbound::Config,
    pub(crate) provisioning: platen_provisioning::Config,
    pub(crate) inventory: platen_inventory::Config,
    pub(crate) metering: platen_metering::Config,
    pub(crate) firmware: platen_firmware::Config,
}

/// A listener's own keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Socket {
    pub(crate) listen: SocketAddr,
    plaintext: bool,
    #[serde(default)]
    tls_listen: Option<SocketAddr>,
    #[serde(default)]
    tls: TlsFiles,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFiles {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Serve {
    #[serde(deserialize_with = "period")]
    drain: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ops {
    listen: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    file: Option<PathBuf>,
}

/// What is logged, and how it looks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: Format,
}

/// The keys of `[cwmp]` and `[api]` that say where and how it is listened; the others are the service's own.
fn is_of_socket(key: &str) -> bool {
    matches!(key, "listen" | "plaintext" | "tls_listen") || key.starts_with("tls.")
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// All problems, one a line.
    pub(crate) fn load(source: &Source) -> Result<Self, Failure> {
        layers(source)
            .and_then(|layers| Self::from_layers(&layers))
            .map_err(told)
    }

    /// Every key with the value that is used, and where that was said.
    pub(crate) fn effective(source: &Source) -> Result<String, Failure> {
        let layers = layers(source).map_err(told)?;
        Self::from_layers(&layers).map_err(told)?;
        Ok(layers.effective())
    }

    fn from_layers(layers: &Layers) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let config = Self::parse(layers, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }

    /// `None` only if there is a problem; a problem need not be the last.
    fn parse(layers: &Layers, problems: &mut Vec<Problem>) -> Option<Self> {
        let keys = layers
            .section::<Keys>("keys", |_| true)
            .map_err(|problem| problems.push(problem))
            .ok();
        let key_file = keys.and_then(|keys| keys.file);
        let form = form::parse(layers, key_file.as_ref(), problems);
        let mut keep = |result: Result<(), Problem>| problems.extend(result.err());
        let serve = layers
            .section::<Serve>("serve", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let cwmp = layers
            .section::<Socket>("cwmp", is_of_socket)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let edge = layers
            .section("cwmp", |key| !is_of_socket(key))
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let api = layers
            .section::<Socket>("api", is_of_socket)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let northbound = layers
            .section("api", |key| !is_of_socket(key))
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let ops = layers
            .section::<Ops>("ops", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let log = layers
            .section::<Log>("log", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let provisioning = layers
            .section("provisioning", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let inventory = layers
            .section("inventory", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let metering = layers
            .section("metering", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let firmware = layers
            .section("firmware", |_| true)
            .map_err(|problem| keep(Err(problem)))
            .ok();
        let (cwmp, api) = (cwmp?, api?);
        let cwmp_tls = files(layers, "cwmp", &cwmp.tls)
            .map_err(|problem| keep(Err(problem)))
            .ok()?;
        let api_tls = files(layers, "api", &api.tls)
            .map_err(|problem| keep(Err(problem)))
            .ok()?;
        keep(guarded(layers, "cwmp", &cwmp, None));
        keep(guarded(layers, "api", &api, api_tls.as_ref()));
        let cwmp_tls = match (cwmp.tls_listen, cwmp_tls) {
            (Some(listen), Some(files)) => Some((listen, files)),
            (None, None) => None,
            (Some(_), None) => {
                keep(Err(Problem::Contradiction(format!(
                    "{}: `cwmp.tls_listen` needs `cwmp.tls.cert` and `cwmp.tls.key`",
                    layers.place("cwmp.tls_listen")
                ))));
                None
            }
            (None, Some(_)) => {
                keep(Err(Problem::Contradiction(format!(
                    "{}: `cwmp.tls.cert` has no effect without `cwmp.tls_listen`",
                    layers.place("cwmp.tls.cert")
                ))));
                None
            }
        };
        Some(Self {
            drain: serve?.drain,
            cwmp,
            cwmp_tls,
            api,
            api_tls,
            ops: ops?.listen,
            key_file,
            form: form?,
            log: log?,
            edge: edge?,
            northbound: northbound?,
            provisioning: provisioning?,
            inventory: inventory?,
            metering: metering?,
            firmware: firmware?,
        })
    }
}

fn layers(source: &Source) -> Result<Layers, Vec<Problem>> {
    // A value that is not UTF-8 stays wrong, and is shown to whoever set it.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    });
    Layers::read(DEFAULT, source.config.as_deref(), variables)
}

fn told(problems: Vec<Problem>) -> Failure {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::usage(format!(
        "the configuration is wrong:\n  {}",
        lines.join("\n  ")
    ))
}

/// The files of a listener's TLS; none, or certificate and key.
fn files(layers: &Layers, section: &str, tls: &TlsFiles) -> Result<Option<Files>, Problem> {
    let lacking = |has: &str, lacks: &str| {
        let place = layers.place(&format!("{section}.tls.{has}"));
        Problem::Contradiction(format!(
            "{place}: `{section}.tls.{has}` needs `{section}.tls.{lacks}`"
        ))
    };
    match (&tls.cert, &tls.key, &tls.client_ca) {
        (Some(cert), Some(key), client_ca) => Ok(Some(Files {
            certificate: cert.clone(),
            key: key.clone(),
            client_authorities: client_ca.clone(),
        })),
        (None, None, None) => Ok(None),
        (Some(_), None, _) => Err(lacking("cert", "key")),
        (None, Some(_), _) => Err(lacking("key", "cert")),
        (None, None, Some(_)) => Err(lacking("client_ca", "cert")),
    }
}

/// Refuses to send secrets over a network in plain text, unless that was asked for.
fn guarded(
    layers: &Layers,
    section: &str,
    socket: &Socket,
    tls: Option<&Files>,
) -> Result<(), Problem> {
    if socket.listen.ip().is_loopback() || socket.plaintext || tls.is_some() {
        return Ok(());
    }
    let way_out = match section {
        "cwmp" => {
            "let `cwmp.tls_listen` take that address, with `cwmp.tls.cert` and `cwmp.tls.key`"
        }
        _ => "give `api.tls.cert` and `api.tls.key`",
    };
    let place = layers.place(&format!("{section}.listen"));
    Err(Problem::Contradiction(format!(
        "{place}: `{section}.listen` is {}, which other machines reach, without encryption: {way_out}, or allow it with `{section}.plaintext = true`",
        socket.listen
    )))
}

/// A length of time, such as `"30s"`.
fn period<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| serde::de::Error::custom("a length of time, such as \"30s\" or \"5m\""))?;
    signed
        .try_into()
        .map_err(|_| serde::de::Error::custom("a length of time that is not negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platen.toml");
        std::fs::write(&path, file).unwrap();
        let lines = |problems: Vec<Problem>| {
            problems
                .iter()
                .map(|p| {
                    p.to_string()
                        .replace(&format!("{}/", dir.path().display()), "")
                })
                .collect::<Vec<_>>()
                .join("\n")
        };
        Layers::read(DEFAULT, Some(&path), [])
            .and_then(|layers| Config::from_layers(&layers))
            .map_err(lines)
    }

    /// Every key of the default file is known to whoever reads it, and its value is good.
    #[test]
    fn the_default_is_valid() {
        let config = parse("").unwrap();
        assert_eq!(config.drain, Duration::from_secs(30));
        assert_eq!(config.cwmp.listen.port(), 7547);
    }

    /// So is every key that has no default.
    #[test]
    fn the_examples_in_the_default_are_valid() {
        let examples: String = DEFAULT
            .lines()
            .filter_map(|line| {
                if line.starts_with('[') {
                    Some(line)
                } else {
                    // Of a secret and its file one is meant.
                    line.strip_prefix('#').filter(|rest| {
                        rest.starts_with(|c: char| c.is_ascii_lowercase())
                            && !rest.contains("_file = ")
                    })
                }
            })
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(examples.contains("cert = "), "{examples}");
        parse(&examples).unwrap();
    }

    #[test]
    fn contradictions_are_refused_with_a_way_out() {
        let cases: [(&str, &[&str]); 10] = [
            (
                "[cwmp]\nlisten = \"0.0.0.0:7547\"",
                &["platen.toml:2", "cwmp.plaintext = true", "cwmp.tls_listen"],
            ),
            (
                "[api]\nlisten = \"[::]:8080\"",
                &["platen.toml:2", "api.plaintext = true", "api.tls.cert"],
            ),
            (
                "[cwmp]\ntls_listen = \"0.0.0.0:1\"",
                &["platen.toml:2", "cwmp.tls.cert"],
            ),
            (
                "[cwmp.tls]\ncert = \"a\"\nkey = \"b\"",
                &["cwmp.tls_listen"],
            ),
            (
                "[api.tls]\ncert = \"a\"",
                &["platen.toml:2", "needs `api.tls.key`"],
            ),
            (
                "[store]\nkind = \"cql\"",
                &["platen.toml:2", "needs `bus.kind = \"kafka\"`"],
            ),
            (
                "[bus]\nkind = \"rabbit\"",
                &["`bus.kind` is \"rabbit\"", "`embedded` or `kafka`"],
            ),
            (
                "[serve]\ndrain = \"soon\"",
                &["platen.toml:2", "`serve.drain` is \"soon\"", "30s"],
            ),
            (
                "[log]\nformat = \"xml\"",
                &["platen.toml:2", "text", "json"],
            ),
            (
                "[log]\nformat = \"xml\"\n[serve]\ndrain = \"soon\"",
                &["`log.format`", "`serve.drain`"],
            ),
        ];
        for (file, expect) in cases {
            let message = parse(file).unwrap_err();
            for part in expect {
                assert!(
                    message.contains(part),
                    "{file:?}: {part:?} is not in {message:?}"
                );
            }
        }
    }

    #[test]
    fn plain_text_beyond_loopback_can_be_asked_for() {
        for file in [
            "[cwmp]\nlisten = \"0.0.0.0:7547\"\nplaintext = true",
            "[api]\nlisten = \"0.0.0.0:8080\"\ntls = { cert = \"a\", key = \"b\" }",
        ] {
            assert!(parse(file).is_ok(), "{file}");
        }
    }
}
