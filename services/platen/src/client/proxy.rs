//! `platen proxy`: registers a site proxy and writes the file that it runs with.

use super::{Listing, Plan, Session, assignment, kinds, name, rest::Call};
use crate::exit::Failure;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the devices that may present others.
    #[command(after_help = "Example:\n  platen proxy list")]
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one proxy.
    #[command(after_help = "Example:\n  platen proxy get 00D09E-PlatenProxy-site%2D7")]
    Get { proxy: String },
    /// Register a proxy and write the file that `platen-proxy run --config FILE` reads.
    #[command(
        after_help = "Example:\n  platen proxy create --serial site-7 --oui 00D09E --config proxy.toml --acs-url https://acs.example.com/cwmp/default --range 192.0.2.0/28=public"
    )]
    Create(CreateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Serial number of the proxy: a name for the site.
    #[arg(long)]
    serial: String,
    /// The provider's organisation, six hexadecimal digits.
    #[arg(long, default_value = "00D09E")]
    oui: String,
    #[arg(long, default_value = "PlatenProxy")]
    product_class: String,
    /// File to write. It holds the proxy's password and must not exist yet.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the proxy finds the server.
    #[arg(long, value_name = "URL")]
    acs_url: Option<String>,
    /// Where the proxy keeps its state.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/platen-proxy")]
    proxy_data_dir: PathBuf,
    /// Printers to look for: CIDR, first-last or one address, optionally with :port, then = and the SNMP community; may be repeated.
    #[arg(long = "range", value_parser = assignment, value_name = "RANGE[:PORT]=COMMUNITY")]
    ranges: Vec<(String, String)>,
    /// Account that the proxy and its printers belong to.
    #[arg(long, default_value = "")]
    account: String,
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { limit } => {
            let call =
                Call::get(format!("tenants/{}/devices", session.tenant)).query("pageSize", "500");
            let keep: fn(&Value) -> bool = |device| device["mayProxy"] == true;
            session
                .execute(Plan::List(Listing {
                    call,
                    key: "devices",
                    columns: kinds::DEVICES,
                    limit,
                    keep,
                }))
                .await
        }
        Command::Get { proxy } => {
            session
                .execute(Plan::One(
                    Call::get(name(&session.tenant, "devices", &proxy)),
                    kinds::DEVICE,
                ))
                .await
        }
        Command::Create(args) => create(session, args).await,
    }
}

async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let acs_url = match &args.acs_url {
        Some(url) => url.clone(),
        None => acs_beside(session.rest.base(), &session.tenant)?,
    };
    let ranges = args
        .ranges
        .iter()
        .map(|(range, community)| discover(range, community))
        .collect::<Result<Vec<_>, _>>()?;
    // The file first: a password that cannot be written down would be lost.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.config)
        .map_err(|error| {
            let advice = if error.kind() == io::ErrorKind::AlreadyExists {
                "; it may hold a password that is still needed, so move it away first"
            } else {
                ""
            };
            Failure::usage(format!(
                "cannot write {}: {error}{advice}",
                args.config.display()
            ))
        })?;
    let body = json!({"oui": args.oui, "productClass": args.product_class, "serialNumber": args.serial, "mayProxy": true, "account": args.account});
    let device = match session
        .rest
        .call(Call::post(
            format!("tenants/{}/devices", session.tenant),
            body,
        ))
        .await
    {
        Ok(device) => device,
        Err(failure) => {
            remove(&args.config);
            return Err(failure);
        }
    };
    let text = contents(&args, &acs_url, &device["credentials"], ranges);
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    session.screen.one(&device, kinds::DEVICE)?;
    session.screen.note(&format!(
        "wrote {0}; next: platen-proxy run --config {0}",
        args.config.display()
    ))
}

/// Takes back the empty file of a registration that was refused.
fn remove(file: &Path) {
    if let Err(error) = fs::remove_file(file) {
        tracing::warn!(file = %file.display(), %error, "an empty file is left");
    }
}

/// The proxy's file.
fn contents(args: &CreateArgs, acs_url: &str, credentials: &Value, ranges: Vec<Value>) -> String {
    let ranges: String = ranges
        .iter()
        .map(|range| format!("\n[[discover]]\n{}", lines(range)))
        .collect();
    let hint = if ranges.is_empty() {
        "\n# Printers to look for; nothing is scanned that is not named.\n# [[discover]]\n# range = \"192.0.2.0/28\"\n# snmp = { version = \"2c\", community = \"public\" }\n"
    } else {
        ""
    };
    let data_dir = json!({"data_dir": args.proxy_data_dir});
    let device = json!({"oui": args.oui.to_ascii_uppercase(), "product_class": args.product_class, "serial": args.serial});
    let acs = json!({"url": acs_url, "username": credentials["username"], "password": credentials["password"]});
    format!(
        "{}\n[device]\n{}\n[acs]\n{}{ranges}{hint}",
        lines(&data_dir),
        lines(&device),
        lines(&acs)
    )
}

/// The fields of an object as lines of TOML.
fn lines(object: &Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    fields
        .map(|(key, value)| format!("{key} = {}\n", toml_value(value)))
        .collect()
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key} = {}", toml_value(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        other => other.to_string(),
    }
}

/// One `[[discover]]` of `RANGE[:PORT]` and a community.
fn discover(range: &str, community: &str) -> Result<Value, Failure> {
    let (range, port) = match range.rsplit_once(':') {
        // More colons are an IPv6 address.
        Some((range, port)) if !range.contains(':') => {
            let port: u16 = port.parse().map_err(|_| {
                Failure::usage(format!(
                    "--range {range}:{port}: the port must be a number from 1 to 65535"
                ))
            })?;
            (range, port)
        }
        _ => (range, 161),
    };
    Ok(json!({"range": range, "port": port, "snmp": {"version": "2c", "community": community}}))
}

/// Where devices find the server whose API is at `base`, if nothing was changed: the same host, port 7547.
fn acs_beside(base: &str, tenant: &str) -> Result<String, Failure> {
    let url: reqwest::Url = base
        .parse()
        .map_err(|error| Failure::usage(format!("--url {base:?}: {error}")))?;
    let host = url
        .host_str()
        .ok_or_else(|| Failure::usage(format!("--url {base:?} names no host; give --acs-url")))?;
    Ok(format!("{}://{host}:7547/cwmp/{tenant}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> CreateArgs {
        CreateArgs {
            serial: "site-7".into(),
            oui: "00d09e".into(),
            product_class: "PlatenProxy".into(),
            config: "proxy.toml".into(),
            acs_url: None,
            proxy_data_dir: "/var/lib/p \"q\"".into(),
            ranges: Vec::new(),
            account: String::new(),
        }
    }

    #[test]
    fn the_file_is_toml_that_says_what_was_asked() {
        let credentials = json!({"username": "00D09E-PlatenProxy-site%2D7", "password": "a\"b\\c"});
        let ranges = vec![
            discover("127.0.0.11:1161", "pub\"lic").unwrap(),
            discover("192.0.2.0/28", "public").unwrap(),
        ];

        let file: toml::Table = contents(
            &args(),
            "http://127.0.0.1:7547/cwmp/default",
            &credentials,
            ranges,
        )
        .parse()
        .unwrap();

        let expect: toml::Table = r#"
            data_dir = '/var/lib/p "q"'
            [device]
            oui = "00D09E"
            product_class = "PlatenProxy"
            serial = "site-7"
            [acs]
            url = "http://127.0.0.1:7547/cwmp/default"
            username = "00D09E-PlatenProxy-site%2D7"
            password = 'a"b\c'
            [[discover]]
            range = "127.0.0.11"
            port = 1161
            snmp = { version = "2c", community = 'pub"lic' }
            [[discover]]
            range = "192.0.2.0/28"
            port = 161
            snmp = { version = "2c", community = "public" }
        "#
        .parse()
        .unwrap();
        assert_eq!(file, expect);
    }

    #[test]
    fn without_ranges_the_file_says_how_to_name_some() {
        let text = contents(
            &args(),
            "http://x/",
            &json!({"username": "u", "password": "p"}),
            Vec::new(),
        );
        assert!(text.contains("# [[discover]]"), "{text}");
        assert!(text.parse::<toml::Table>().is_ok(), "{text}");
    }

    #[test]
    fn the_server_is_looked_for_beside_its_api() {
        assert_eq!(
            acs_beside("https://acs.example.com:8443", "acme").unwrap(),
            "https://acs.example.com:7547/cwmp/acme"
        );
        assert!(acs_beside("nonsense", "acme").is_err());
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        assert!(discover("127.0.0.1:snmp", "public").is_err());
        assert_eq!(
            discover("2001:db8::1", "public").unwrap()["range"],
            "2001:db8::1"
        );
    }
}
