//! `platen tenant` and `platen token`.

use super::{Plan, kinds, name, rest::Call};
use crate::exit::Failure;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tenants.
    #[command(after_help = "Example:\n  platen tenant list")]
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one tenant.
    #[command(after_help = "Example:\n  platen tenant get default")]
    Get { id: String },
    /// Create a tenant.
    #[command(
        after_help = "Example:\n  platen tenant create acme --display-name 'Acme Print Services'"
    )]
    Create {
        /// a-z, 0-9 and '-'.
        id: String,
        #[command(flatten)]
        policy: Policy,
    },
    /// Change the policy of a tenant.
    #[command(
        after_help = "Example:\n  platen tenant update default --enrolment quarantine --allow 10.0.0.0/8"
    )]
    Update {
        id: String,
        #[command(flatten)]
        policy: Policy,
    },
}

/// What a tenant decides for itself.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[arg(long)]
    display_name: Option<String>,
    /// What becomes of unknown devices.
    #[arg(long, value_enum)]
    enrolment: Option<Enrolment>,
    /// digest-md5, digest-sha256 or basic; may be repeated.
    #[arg(long = "auth-scheme")]
    auth_schemes: Vec<String>,
    /// Network to which connection requests may go besides public addresses; may be repeated.
    #[arg(long = "allow", value_name = "CIDR")]
    connection_request_allow: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Enrolment {
    /// They are refused.
    Closed,
    /// They land in quarantine.
    Quarantine,
}

impl Policy {
    fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(name) = self.display_name {
            body.insert("displayName".into(), name.into());
        }
        if let Some(enrolment) = self.enrolment {
            let text = match enrolment {
                Enrolment::Closed => "CLOSED",
                Enrolment::Quarantine => "QUARANTINE",
            };
            body.insert("enrolment".into(), text.into());
        }
        if !self.auth_schemes.is_empty() {
            body.insert("authSchemes".into(), self.auth_schemes.into());
        }
        if !self.connection_request_allow.is_empty() {
            body.insert(
                "connectionRequestAllow".into(),
                self.connection_request_allow.into(),
            );
        }
        body
    }
}

impl Command {
    pub(crate) fn plan(self) -> Result<Plan, Failure> {
        Ok(match self {
            Self::List { limit } => {
                Plan::list(Call::get("tenants"), "tenants", kinds::TENANTS, limit)
            }
            Self::Get { id } => Plan::One(Call::get(format!("tenants/{id}")), kinds::TENANTS),
            Self::Create { id, policy } => {
                let mut body = policy.body();
                body.insert("name".into(), format!("tenants/{id}").into());
                Plan::One(Call::post("tenants", body.into()), kinds::TENANTS)
            }
            Self::Update { id, policy } => {
                let body = policy.body();
                if body.is_empty() {
                    return Err(Failure::usage(
                        "nothing to change was given; see platen tenant update --help",
                    ));
                }
                let mask = body.keys().cloned().collect::<Vec<_>>().join(",");
                Plan::One(
                    Call::patch(format!("tenants/{id}"), body.into()).query("updateMask", mask),
                    kinds::TENANTS,
                )
            }
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List API tokens, without their secrets.
    #[command(after_help = "Example:\n  platen token list")]
    List {
        /// At most so many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Make an API token. The answer shows its secret, once.
    #[command(after_help = "Example:\n  platen token create --role viewer --display-name billing")]
    Create {
        #[arg(long, value_enum)]
        role: Role,
        #[arg(long, default_value = "")]
        display_name: String,
        /// Time after which it is not valid any more (RFC 3339).
        #[arg(long, value_name = "TIME")]
        expire_time: Option<jiff::Timestamp>,
    },
    /// Delete an API token: it is refused within seconds.
    #[command(after_help = "Example:\n  platen token delete 01J…")]
    Delete { id: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    /// Everything inside the tenant.
    Operator,
    /// Reads inside the tenant.
    Viewer,
}

impl TokenCommand {
    pub(crate) fn plan(self, tenant: &str) -> Result<Plan, Failure> {
        let all = format!("tenants/{tenant}/tokens");
        Ok(match self {
            Self::List { limit } => Plan::list(Call::get(all), "tokens", kinds::TOKENS, limit),
            Self::Create {
                role,
                display_name,
                expire_time,
            } => {
                let role = match role {
                    Role::Operator => "OPERATOR",
                    Role::Viewer => "VIEWER",
                };
                let mut body = json!({"role": role, "displayName": display_name});
                if let Some(time) = expire_time {
                    body["expireTime"] = time.to_string().into();
                }
                Plan::One(Call::post(all, body), kinds::TOKENS)
            }
            Self::Delete { id } => Plan::Nothing(Call::delete(name(tenant, "tokens", &id))),
        })
    }
}
