//! The command line of a running server: each command is one call of the REST API, described as data, but for the few that take several.

mod artifact;
mod device;
mod diagnostic;
mod event;
mod kinds;
mod operation;
pub(crate) mod output;
mod profile;
mod proxy;
mod reading;
mod rest;
mod tenant;

use crate::exit::Failure;
use clap::{Args, Subcommand};
use output::{Columns, Format, Screen};
use rest::{Call, Rest};
use serde_json::Value;
use std::path::PathBuf;

/// Commands that talk to a server.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Devices: register, list, change, retire.
    Device(Of<device::Command>),
    /// Site proxies that present printers as devices.
    Proxy(Of<proxy::Command>),
    /// Operations on one device: read, set, reboot, download, …
    Operation(Of<operation::Command>),
    /// Profiles: values for the devices that an expression selects.
    Profile(Of<profile::Command>),
    /// Firmware and other files for devices.
    Artifact(Of<artifact::Command>),
    /// Meter readings.
    Reading(Of<reading::Command>),
    /// The metering ledger.
    Meter(Of<reading::MeterCommand>),
    /// What happened: events of a device, or the stream of a tenant.
    Event(Of<event::Command>),
    /// Tenants and their policy.
    Tenant(Of<tenant::Command>),
    /// API tokens.
    Token(Of<tenant::TokenCommand>),
}

/// The commands of one kind of resource, and how they reach the server.
#[derive(Debug, Args)]
pub(crate) struct Of<C: Subcommand> {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: C,
}

/// Which server, as whom, and how the answer is shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// Address of the server's API.
    #[arg(
        long,
        env = "PLATEN_URL",
        default_value = "http://127.0.0.1:8080",
        global = true,
        value_name = "URL"
    )]
    url: String,
    /// Tenant whose resources are meant.
    #[arg(long, env = "PLATEN_TENANT", default_value = "default", global = true)]
    tenant: String,
    /// API token; better in PLATEN_TOKEN or in a file, since others see command lines.
    #[arg(long, env = "PLATEN_TOKEN", global = true, hide_env_values = true)]
    token: Option<String>,
    /// File with the API token.
    #[arg(long, env = "PLATEN_TOKEN_FILE", global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authorities (PEM) that may vouch for an https server, in place of the system's.
    #[arg(long, env = "PLATEN_CA", global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The server's data directory on this machine, for its admin.token.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        global = true,
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    /// How the answer is shown.
    #[arg(long, short, value_enum, default_value_t = Format::Table, global = true)]
    output: Format,
}

/// One call and how its answer is shown: what most commands are.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The answer is one resource.
    One(Call, Columns),
    /// The answer is pages of resources.
    List(Listing),
    /// The answer is empty.
    Nothing(Call),
}

/// A list, page by page.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Asks for the first page.
    call: Call,
    /// Where the resources stand in the answer.
    key: &'static str,
    columns: Columns,
    /// At most so many are shown.
    limit: Option<usize>,
    /// Which of them are shown, where the server cannot tell.
    keep: fn(&Value) -> bool,
}

impl Plan {
    fn list(call: Call, key: &'static str, columns: Columns, limit: Option<usize>) -> Self {
        Self::List(Listing {
            call,
            key,
            columns,
            limit,
            keep: |_| true,
        })
    }
}

/// Runs a command to its end.
pub(crate) fn main(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(command))
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Device(of) => {
            let (session, command) = Session::open(of)?;
            session.execute(command.plan(&session.tenant)?).await
        }
        Command::Proxy(of) => {
            let (session, command) = Session::open(of)?;
            proxy::run(&session, command).await
        }
        Command::Operation(of) => {
            let (session, command) = Session::open(of)?;
            operation::run(&session, command).await
        }
        Command::Profile(of) => {
            let (session, command) = Session::open(of)?;
            session.execute(command.plan(&session.tenant)?).await
        }
        Command::Artifact(of) => {
            let (session, command) = Session::open(of)?;
            artifact::run(&session, command).await
        }
        Command::Reading(of) => {
            let (session, command) = Session::open(of)?;
            session.execute(command.plan(&session.tenant)).await
        }
        Command::Meter(of) => {
            let (session, command) = Session::open(of)?;
            reading::verify(&session, command).await
        }
        Command::Event(of) => {
            let (session, command) = Session::open(of)?;
            event::run(&session, command).await
        }
        Command::Tenant(of) => {
            let (session, command) = Session::open(of)?;
            session.execute(command.plan()?).await
        }
        Command::Token(of) => {
            let (session, command) = Session::open(of)?;
            session.execute(command.plan(&session.tenant)?).await
        }
    }
}

/// A server, a tenant and a screen.
struct Session {
    rest: Rest,
    tenant: String,
    screen: Screen,
}

impl Session {
    fn open<C: Subcommand>(of: Of<C>) -> Result<(Self, C), Failure> {
        let Of {
            connection,
            command,
        } = of;
        let token = rest::Token::find(
            connection.token,
            connection.token_file,
            &connection.data_dir,
        )?;
        let session = Self {
            rest: Rest::new(&connection.url, token, connection.ca.as_deref())?,
            tenant: connection.tenant,
            screen: Screen::new(connection.output),
        };
        Ok((session, command))
    }

    /// Makes the call and shows its answer.
    async fn execute(&self, plan: Plan) -> Result<(), Failure> {
        match plan {
            Plan::One(call, columns) => self.screen.one(&self.rest.call(call).await?, columns),
            Plan::Nothing(call) => self.rest.call(call).await.map(drop),
            Plan::List(Listing {
                call,
                key,
                columns,
                limit,
                keep,
            }) => {
                let mut left = limit.unwrap_or(usize::MAX);
                let mut shown = self.screen.list(columns);
                let mut page = None::<String>;
                loop {
                    let mut call = call.clone();
                    call.query
                        .extend(page.take().map(|token| ("pageToken", token)));
                    let mut answer = self.rest.call(call).await?;
                    let Some(Value::Array(mut items)) = answer.get_mut(key).map(Value::take) else {
                        return Err(Failure::failed(format!(
                            "the server's answer has no list {key:?}: is this a Platen of the same release?"
                        )));
                    };
                    items.retain(keep);
                    items.truncate(left);
                    left -= items.len();
                    shown.add(items)?;
                    let next = answer["nextPageToken"].as_str().unwrap_or_default();
                    if next.is_empty() || left == 0 {
                        return shown.end();
                    }
                    page = Some(next.to_owned());
                }
            }
        }
    }
}

/// The full name of a resource that people name by its id: `tenants/{tenant}/{collection}/{id}`. A full name stays.
fn name(tenant: &str, collection: &str, id: &str) -> String {
    if id.starts_with("tenants/") {
        id.to_owned()
    } else {
        format!("tenants/{tenant}/{collection}/{id}")
    }
}

/// Parses `KEY=VALUE`; the value may contain further equal signs.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_mean_the_same() {
        assert_eq!(
            name("default", "devices", "00D09E-A-1"),
            "tenants/default/devices/00D09E-A-1"
        );
        assert_eq!(
            name("default", "devices", "tenants/x/devices/y"),
            "tenants/x/devices/y"
        );
    }

    #[test]
    fn assignments_split_at_the_first_equal_sign() {
        assert_eq!(assignment("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(assignment("a="), Ok(("a".into(), String::new())));
        assert!(assignment("a").is_err());
        assert!(assignment("=b").is_err());
    }
}
