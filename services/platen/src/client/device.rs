//! `platen device`.

use super::{Plan, assignment, kinds, name, rest::Call};
use crate::exit::Failure;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{fs, path::PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List devices.
    #[command(
        after_help = "Example:\n  platen device list --filter 'device.manufacturer == \"HP\" && device.state == \"ACTIVE\"' --order-by 'lastInformTime desc'"
    )]
    List(ListArgs),
    /// Show one device.
    #[command(after_help = "Example:\n  platen device get 00D09E-LaserPro%2D9-SN1")]
    Get { device: String },
    /// Find a device by the parts of its identity.
    #[command(
        after_help = "Example:\n  platen device lookup --oui 00D09E --product-class LaserPro-9 --serial-number SN1"
    )]
    Lookup(Identity),
    /// Register a device before it is seen. The answer shows its password, once.
    #[command(
        after_help = "Example:\n  platen device create --oui 00D09E --product-class LaserPro-9 --serial-number SN1 --tag floor-3"
    )]
    Create(CreateArgs),
    /// Change what people edit of a device.
    #[command(
        after_help = "Example:\n  platen device update 00D09E-LaserPro%2D9-SN1 --tag floor-3 --field assetNumber=A-17"
    )]
    Update(UpdateArgs),
    /// Take a device out of service: its sessions are refused, its history stays.
    #[command(after_help = "Example:\n  platen device retire 00D09E-LaserPro%2D9-SN1")]
    Retire { device: String },
    /// Take a device out of quarantine. The answer shows its password, once.
    #[command(after_help = "Example:\n  platen device admit 00D09E-LaserPro%2D9-SN1")]
    Admit { device: String },
    /// The same as retire, for scripts that expect the standard method.
    #[command(after_help = "Example:\n  platen device delete 00D09E-LaserPro%2D9-SN1")]
    Delete { device: String },
    /// List the parameters that a device reported.
    #[command(
        after_help = "Example:\n  platen device parameters 00D09E-LaserPro%2D9-SN1 --prefix Device.DeviceInfo."
    )]
    Parameters {
        device: String,
        /// Only paths that begin with it.
        #[arg(long)]
        prefix: Option<String>,
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Expression in CEL over `device`.
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// name, lastInformTime, manufacturer, modelName, softwareVersion or state; with " desc" from the last to the first.
    #[arg(long)]
    order_by: Option<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    /// Six hexadecimal digits.
    #[arg(long)]
    oui: String,
    /// May be left out for a device that has none.
    #[arg(long, default_value = "")]
    product_class: String,
    #[arg(long, alias = "serial")]
    serial_number: String,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    edited: Edited,
    /// Makes a repetition harmless: the same id within a day makes nothing new.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    device: String,
    #[command(flatten)]
    edited: Edited,
    /// Refuse if somebody changed the device since this etag was read.
    #[arg(long)]
    etag: Option<String>,
}

/// What people edit of a device.
#[derive(Debug, Args)]
struct Edited {
    /// Account that the device belongs to.
    #[arg(long)]
    account: Option<String>,
    /// A tag; may be repeated. On update: all tags from here on.
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// A field of your own, KEY=VALUE; may be repeated. On update: all fields from here on.
    #[arg(long = "field", value_parser = assignment, value_name = "KEY=VALUE")]
    fields: Vec<(String, String)>,
    /// Whether the device may present others (a site proxy).
    #[arg(long)]
    may_proxy: Option<bool>,
    /// Ids that a proxy may present, with * as wildcard; may be repeated.
    #[arg(long = "allow-device", value_name = "PATTERN")]
    allowed_devices: Vec<String>,
    /// User name that the device presents; without it Platen makes one.
    #[arg(long, requires = "password_file")]
    username: Option<String>,
    /// File with the password that goes with --username.
    #[arg(long, requires = "username", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Edited {
    /// The fields that were given, by their names in the API.
    fn body(self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        if let Some(account) = self.account {
            body.insert("account".into(), account.into());
        }
        if !self.tags.is_empty() {
            body.insert("tags".into(), self.tags.into());
        }
        if !self.fields.is_empty() {
            body.insert(
                "fields".into(),
                self.fields
                    .into_iter()
                    .map(|(key, value)| (key, Value::from(value)))
                    .collect::<Map<_, _>>()
                    .into(),
            );
        }
        if let Some(may_proxy) = self.may_proxy {
            body.insert("mayProxy".into(), may_proxy.into());
        }
        if !self.allowed_devices.is_empty() {
            body.insert("allowedDevices".into(), self.allowed_devices.into());
        }
        if let (Some(username), Some(file)) = (self.username, self.password_file) {
            let password = fs::read_to_string(&file).map_err(|error| {
                Failure::usage(format!(
                    "cannot read the password file {}: {error}",
                    file.display()
                ))
            })?;
            body.insert(
                "credentials".into(),
                json!({"username": username, "password": password.trim_end_matches(['\r', '\n'])}),
            );
        }
        Ok(body)
    }
}

impl Command {
    pub(crate) fn plan(self, tenant: &str) -> Result<Plan, Failure> {
        let of = |device: &str| name(tenant, "devices", device);
        let all = format!("tenants/{tenant}/devices");
        Ok(match self {
            Self::List(args) => list(tenant, args),
            Self::Get { device } => Plan::One(Call::get(of(&device)), kinds::DEVICE),
            Self::Lookup(Identity {
                oui,
                product_class,
                serial_number,
            }) => {
                let call = Call::get(format!("{all}:lookup"))
                    .query("oui", oui)
                    .query("productClass", product_class)
                    .query("serialNumber", serial_number);
                Plan::One(call, kinds::DEVICE)
            }
            Self::Create(args) => {
                let mut body = args.edited.body()?;
                let identity = json!(args.identity);
                body.extend(
                    identity
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
                Plan::One(
                    Call::post(all, body.into()).query_some("requestId", args.request_id),
                    kinds::DEVICE,
                )
            }
            Self::Update(args) => {
                let mut body = args.edited.body()?;
                if body.is_empty() {
                    return Err(Failure::usage(
                        "nothing to change was given; see platen device update --help",
                    ));
                }
                let mask = body.keys().cloned().collect::<Vec<_>>().join(",");
                if let Some(etag) = args.etag {
                    body.insert("etag".into(), etag.into());
                }
                Plan::One(
                    Call::patch(of(&args.device), body.into()).query("updateMask", mask),
                    kinds::DEVICE,
                )
            }
            Self::Retire { device } => Plan::One(
                Call::post(format!("{}:retire", of(&device)), json!({})),
                kinds::DEVICE,
            ),
            Self::Admit { device } => Plan::One(
                Call::post(format!("{}:admit", of(&device)), json!({})),
                kinds::DEVICE,
            ),
            Self::Delete { device } => Plan::Nothing(Call::delete(of(&device))),
            Self::Parameters {
                device,
                prefix,
                limit,
            } => {
                let call =
                    Call::get(format!("{}/parameters", of(&device))).query_some("prefix", prefix);
                Plan::list(call, "parameters", kinds::PARAMETERS, limit)
            }
        })
    }
}

/// The list of devices that match.
pub(crate) fn list(tenant: &str, args: ListArgs) -> Plan {
    let page = args.limit.map_or(500, |limit| limit.clamp(1, 500));
    let call = Call::get(format!("tenants/{tenant}/devices"))
        .query("pageSize", page.to_string())
        .query_some("filter", args.filter)
        .query_some("orderBy", args.order_by);
    Plan::list(call, "devices", kinds::DEVICES, args.limit)
}
