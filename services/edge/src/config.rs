//! What can be set about the edge: section `[cwmp]` without its sockets.

use crate::address::Network;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Settings of the edge. Times are written with a unit, such as `"90s"` or `"200ms"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tenant of devices that call `/`; none: `/` is not found.
    pub default_tenant: Option<String>,
    /// How devices reach this server, `https://acs.example.com:7547`: the beginning of file URLs. Without it, the scheme and `Host` of the device's own request are taken.
    pub public_url: Option<String>,
    /// What becomes of unknown devices, unless their tenant says otherwise.
    pub enrolment: Enrolment,
    /// Refuse what the standard does not allow, instead of repairing it: for laboratories. Devices in the field need the repairs.
    pub strict: bool,
    /// A session without a POST for so long is over; a device may ask for another time (30 s to 1 h) by its SessionTimeout header.
    #[serde(deserialize_with = "time")]
    pub session_timeout: Duration,
    /// `Path` attribute of the session cookie, which some devices need; none: left out.
    pub cookie_path: Option<String>,
    /// How devices prove who they are.
    pub auth: Auth,
    /// How devices are asked to call.
    pub connection_request: ConnectionRequest,
    /// How long an answer waits for what is being decided about the device.
    pub linger: Linger,
    /// Bounds of what a peer can take.
    pub limits: Limits,
    /// File transfers of devices.
    pub files: Files,
    /// After being asked to end, open sessions have so long to finish. Where there are other edges, a quarter of it passes in any case.
    #[serde(deserialize_with = "time")]
    pub drain: Duration,
}

/// What becomes of unknown devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enrolment {
    /// They are refused.
    Closed,
    /// They are seen, in quarantine: no request is ever sent to them.
    Quarantine,
}

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Digest with SHA-256.
    DigestSha256,
    /// Digest with MD5, which every device knows.
    DigestMd5,
    /// Name and password in the clear: over TLS, or wherever [`Auth::basic_on_plaintext`] allows it.
    Basic,
}

impl Scheme {
    /// The scheme of that name in configuration and API.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "digest-sha256" => Some(Self::DigestSha256),
            "digest-md5" => Some(Self::DigestMd5),
            "basic" => Some(Self::Basic),
            _ => None,
        }
    }
}

/// How devices prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// What is offered and accepted, unless the tenant says otherwise; at least one.
    pub schemes: Vec<Scheme>,
    /// Accept Basic without TLS, too: passwords travel in the clear.
    pub basic_on_plaintext: bool,
    /// How long a nonce is good for.
    #[serde(deserialize_with = "time")]
    pub nonce_lifetime: Duration,
    /// How long looked-up credentials are kept at most.
    #[serde(deserialize_with = "time")]
    pub cache: Duration,
}

/// How devices are asked to call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionRequest {
    /// Networks (CIDR) to which connection requests may go besides public addresses, unless the tenant says otherwise.
    pub allow: Vec<Network>,
    /// Time for one connection request, from look-up of the name to the answer.
    #[serde(deserialize_with = "time")]
    pub timeout: Duration,
    /// A device is asked at most once in this time.
    #[serde(deserialize_with = "time")]
    pub pause: Duration,
    /// Connection requests at a time.
    pub in_flight: usize,
}

/// How long an answer waits for what is being decided about the device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Linger {
    /// After BOOTSTRAP and TransferComplete.
    #[serde(deserialize_with = "time")]
    pub long: Duration,
    /// After anything else but a periodic or scheduled Inform.
    #[serde(deserialize_with = "time")]
    pub short: Duration,
    /// Above so many records that provisioning has yet to read, nobody waits.
    pub lag: u64,
}

/// Bounds of what a peer can take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a POST, also after decompression; beyond: 413.
    pub body_bytes: usize,
    /// Bytes of a POST that may be decompressed to more than 100 times its size.
    pub unpacked_bytes: usize,
    /// A POST may pause for so long between two pieces.
    #[serde(deserialize_with = "time")]
    pub body_pause: Duration,
    /// Informs being answered at a time; beyond: 503.
    pub informs_in_flight: usize,
    /// Open sessions; beyond: 503.
    pub sessions: u64,
    /// A session ends after so long.
    #[serde(deserialize_with = "time")]
    pub session_duration: Duration,
    /// Requests of both sides in a session.
    pub session_requests: u32,
    /// Failed attempts to authenticate from one address (IPv6: /64) in a row; one more each 100 ms.
    pub failures_per_peer: u32,
    /// Failed attempts to authenticate under one user name from one address in a row; one more each 5 s.
    pub failures_per_user: u32,
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address (IPv6: /64).
    pub connections_per_peer: usize,
}

/// File transfers of devices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// Bytes of a file that a device uploads; beyond: 413.
    pub upload_bytes: u64,
    /// Transfers at a time; beyond: 503.
    pub in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_tenant: None,
            public_url: None,
            enrolment: Enrolment::Closed,
            strict: false,
            session_timeout: Duration::from_secs(90),
            cookie_path: None,
            auth: Auth::default(),
            connection_request: ConnectionRequest::default(),
            linger: Linger::default(),
            limits: Limits::default(),
            files: Files::default(),
            drain: Duration::from_secs(20),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            schemes: vec![Scheme::DigestMd5],
            basic_on_plaintext: false,
            nonce_lifetime: Duration::from_secs(300),
            cache: Duration::from_secs(60),
        }
    }
}

impl Default for ConnectionRequest {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            timeout: Duration::from_secs(10),
            pause: Duration::from_secs(3),
            in_flight: 128,
        }
    }
}

impl Default for Linger {
    fn default() -> Self {
        Self {
            long: Duration::from_secs(2),
            short: Duration::from_millis(200),
            lag: 2_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            unpacked_bytes: 1 << 20,
            body_pause: Duration::from_secs(15),
            informs_in_flight: 1_024,
            sessions: 100_000,
            session_duration: Duration::from_secs(3_600),
            session_requests: 1_024,
            failures_per_peer: 200,
            failures_per_user: 20,
            connections: 20_000,
            connections_per_peer: 10_000,
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            upload_bytes: 256 << 20,
            in_flight: 256,
        }
    }
}

/// Reads a time with its unit.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = jiff::SignedDuration::deserialize(deserializer)?;
    Duration::try_from(time)
        .map_err(|_| serde::de::Error::custom("a time that is not negative is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_set_has_its_default() {
        let config: Config = serde_json::from_value(json!({
            "session_timeout": "2m", "enrolment": "quarantine",
            "auth": {"schemes": ["digest-md5", "basic"]},
            "connection_request": {"allow": ["192.0.2.0/24"]},
            "linger": {"short": "50ms"},
        }))
        .unwrap();

        let expected = Config {
            session_timeout: Duration::from_secs(120),
            enrolment: Enrolment::Quarantine,
            auth: Auth {
                schemes: vec![Scheme::DigestMd5, Scheme::Basic],
                ..Auth::default()
            },
            connection_request: ConnectionRequest {
                allow: vec!["192.0.2.0/24".parse().unwrap()],
                ..ConnectionRequest::default()
            },
            linger: Linger {
                short: Duration::from_millis(50),
                ..Linger::default()
            },
            ..Config::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn mistakes_are_refused() {
        for wrong in [
            json!({"sesion_timeout": "90s"}),
            json!({"session_timeout": "ninety"}),
            json!({"session_timeout": "-5s"}),
            json!({"auth": {"schemes": ["ntlm"]}}),
            json!({"connection_request": {"allow": ["192.0.2.0/33"]}}),
            json!({"enrolment": "open"}),
        ] {
            assert!(
                serde_json::from_value::<Config>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }
}
