//! `platen profile`.

use super::{Plan, assignment, kinds, name, rest::Call};
use crate::exit::Failure;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List profiles.
    #[command(after_help = "Example:\n  platen profile list")]
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one profile.
    #[command(after_help = "Example:\n  platen profile get inform-hourly")]
    Get { profile: String },
    /// Create a profile: devices that it selects get its settings in their next session.
    #[command(
        after_help = "Example:\n  platen profile create inform-hourly --selector 'device.manufacturer == \"HP\"' --set Device.ManagementServer.PeriodicInformInterval=3600"
    )]
    Create(Contents),
    /// Replace a profile; its version grows by one.
    #[command(
        after_help = "Example:\n  platen profile update inform-hourly --selector true --set Device.ManagementServer.PeriodicInformInterval=1800"
    )]
    Update {
        #[command(flatten)]
        contents: Contents,
        /// Refuse if somebody changed the profile since this etag was read.
        #[arg(long)]
        etag: Option<String>,
    },
    /// Delete a profile. What it had set stays on the devices.
    #[command(after_help = "Example:\n  platen profile delete inform-hourly")]
    Delete { profile: String },
}

#[derive(Debug, Args)]
pub(crate) struct Contents {
    /// Its id: a-z, 0-9 and '-'.
    profile: String,
    #[arg(long)]
    display_name: Option<String>,
    /// Expression in CEL over `device` and `parameter(path)`; "true" selects every device.
    #[arg(long)]
    selector: String,
    /// A value; may be repeated.
    #[arg(long = "set", required = true, value_parser = assignment, value_name = "PATH=VALUE")]
    settings: Vec<(String, String)>,
    /// Of two profiles that set one path, the higher one wins.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Keep it, without effect.
    #[arg(long)]
    disabled: bool,
}

impl Contents {
    fn body(&self, tenant: &str) -> Value {
        let settings: Vec<Value> = self
            .settings
            .iter()
            .map(|(path, value)| json!({"path": path, "value": value}))
            .collect();
        json!({
            "name": name(tenant, "profiles", &self.profile),
            "displayName": self.display_name.as_deref().unwrap_or(&self.profile),
            "selector": self.selector,
            "settings": settings,
            "priority": self.priority,
            "disabled": self.disabled,
        })
    }
}

impl Command {
    pub(crate) fn plan(self, tenant: &str) -> Result<Plan, Failure> {
        let of = |profile: &str| name(tenant, "profiles", profile);
        let all = format!("tenants/{tenant}/profiles");
        Ok(match self {
            Self::List { limit } => Plan::list(Call::get(all), "profiles", kinds::PROFILES, limit),
            Self::Get { profile } => Plan::One(Call::get(of(&profile)), kinds::PROFILE),
            Self::Create(contents) => {
                Plan::One(Call::post(all, contents.body(tenant)), kinds::PROFILE)
            }
            Self::Update { contents, etag } => {
                let mut body = contents.body(tenant);
                if let Some(etag) = etag {
                    body["etag"] = etag.into();
                }
                Plan::One(Call::put(of(&contents.profile), body), kinds::PROFILE)
            }
            Self::Delete { profile } => Plan::Nothing(Call::delete(of(&profile))),
        })
    }
}
