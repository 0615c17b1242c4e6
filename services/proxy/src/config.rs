//! The proxy's file.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use async_snmp::v3::{AuthProtocol, PrivProtocol};
use serde::Deserialize;

use crate::snmp::{Credentials, Version};

/// The most addresses that one range may name.
pub const MAX_ADDRESSES: usize = 65_536;

/// What the proxy is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the proxy keeps what must outlive it.
    pub data_dir: PathBuf,
    /// Its own identity.
    pub device: DeviceConfig,
    /// The server that it reports to.
    pub acs: AcsConfig,
    /// Where it looks for printers. Nothing is asked that is not named here.
    #[serde(default)]
    pub discover: Vec<DiscoverConfig>,
    /// How often it asks printers.
    #[serde(default)]
    pub poll: PollConfig,
}

/// The proxy's own identity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Six upper-case hexadecimal digits: the provider's own.
    pub oui: Oui,
    /// The product class.
    #[serde(default = "default_product_class")]
    pub product_class: String,
    /// The serial number; without one it is made once and kept.
    pub serial: Option<String>,
    /// Where connection requests are taken; off without it.
    pub listen: Option<SocketAddr>,
    /// Which of an active and standby pair this is.
    pub member: Option<String>,
}

fn default_product_class() -> String {
    "PlatenProxy".to_owned()
}

/// The server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcsConfig {
    /// `http` or `https`.
    pub url: String,
    /// The proxy's user name.
    pub username: String,
    /// Its password, unless that is in a file.
    password: Option<String>,
    /// A file whose first line is the password.
    password_file: Option<PathBuf>,
    /// A certificate that is trusted besides those of the system's roots, in PEM.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for AcsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcsConfig")
            .field("url", &self.url)
            .field("username", &self.username)
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

impl AcsConfig {
    /// The password.
    #[must_use]
    pub fn password(&self) -> &str {
        self.password.as_deref().unwrap_or_default()
    }
}

/// A range in which printers are looked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverConfig {
    /// Where.
    pub range: Range,
    /// The UDP port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// How printers there let us in.
    #[serde(default)]
    pub snmp: SnmpConfig,
    /// How often to look.
    #[serde(default = "default_interval")]
    pub interval: Period,
}

fn default_port() -> u16 {
    161
}

fn default_interval() -> Period {
    Period(Duration::from_hours(1))
}

/// How printers let us in.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnmpConfig {
    #[serde(default = "default_version")]
    version: Version,
    community: Option<String>,
    write_community: Option<String>,
    user: Option<String>,
    auth: Option<AuthName>,
    auth_password: Option<String>,
    r#priv: Option<PrivName>,
    priv_password: Option<String>,
}

fn default_version() -> Version {
    Version::V2c
}

impl Default for SnmpConfig {
    fn default() -> Self {
        Self {
            version: default_version(),
            community: None,
            write_community: None,
            user: None,
            auth: None,
            auth_password: None,
            r#priv: None,
            priv_password: None,
        }
    }
}

impl fmt::Debug for SnmpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnmpConfig")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl SnmpConfig {
    /// What to try, in order: v2c falls back to v1 with the same communities; v3 falls back to nothing (SNMP-SEC-02).
    #[must_use]
    pub fn attempts(&self) -> Vec<Credentials> {
        let community = |version| {
            Credentials::community(
                version,
                self.community.as_deref().unwrap_or("public"),
                self.write_community.as_deref(),
            )
        };
        match self.version {
            Version::V1 => vec![community(Version::V1)],
            Version::V2c => vec![community(Version::V2c), community(Version::V1)],
            Version::V3 => vec![Credentials::User {
                name: self.user.clone().unwrap_or_default(),
                auth: self
                    .auth
                    .map(|name| name.protocol())
                    .zip(self.auth_password.clone()),
                privacy: self
                    .r#priv
                    .map(|name| name.protocol())
                    .zip(self.priv_password.clone()),
            }],
        }
    }

    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let is_user = self.version == Version::V3;
        let user_keys = self.user.is_some()
            || self.auth.is_some()
            || self.auth_password.is_some()
            || self.r#priv.is_some()
            || self.priv_password.is_some();
        let too_short =
            |secret: &Option<String>| secret.as_ref().is_some_and(|secret| secret.len() < 8);
        if !is_user && user_keys {
            return Some((
                "snmp.user",
                "belongs to version \"3\"; version \"1\" and \"2c\" take community and write_community",
            ));
        }
        if is_user && (self.community.is_some() || self.write_community.is_some()) {
            return Some((
                "snmp.community",
                "belongs to version \"1\" and \"2c\"; version \"3\" takes user, auth, priv",
            ));
        }
        if is_user && self.user.as_ref().is_none_or(String::is_empty) {
            return Some(("snmp.user", "is needed with version \"3\""));
        }
        if self.auth.is_some() != self.auth_password.is_some() {
            return Some(("snmp.auth_password", "goes together with snmp.auth"));
        }
        if self.r#priv.is_some() != self.priv_password.is_some() {
            return Some(("snmp.priv_password", "goes together with snmp.priv"));
        }
        if self.r#priv.is_some() && self.auth.is_none() {
            return Some(("snmp.priv", "needs snmp.auth"));
        }
        if too_short(&self.auth_password) || too_short(&self.priv_password) {
            return Some((
                "snmp.auth_password, snmp.priv_password",
                "need at least 8 characters",
            ));
        }
        None
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AuthName {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl AuthName {
    fn protocol(self) -> AuthProtocol {
        match self {
            Self::Md5 => AuthProtocol::Md5,
            Self::Sha1 => AuthProtocol::Sha1,
            Self::Sha224 => AuthProtocol::Sha224,
            Self::Sha256 => AuthProtocol::Sha256,
            Self::Sha384 => AuthProtocol::Sha384,
            Self::Sha512 => AuthProtocol::Sha512,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PrivName {
    Aes128,
    Aes192,
    Aes256,
}

impl PrivName {
    fn protocol(self) -> PrivProtocol {
        match self {
            Self::Aes128 => PrivProtocol::Aes128,
            Self::Aes192 => PrivProtocol::Aes192Blumenthal,
            Self::Aes256 => PrivProtocol::Aes256Blumenthal,
        }
    }
}

/// How often each group of objects is asked for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PollConfig {
    /// Names, serial numbers, addresses, versions.
    pub identity: Period,
    /// State, errors, alerts, covers, panel.
    pub status: Period,
    /// Supplies.
    pub supplies: Period,
    /// Trays and bins.
    pub trays: Period,
    /// Page counters, the vendor's included.
    pub meters: Period,
    /// Defaults, channels, interpreters, paths.
    pub configuration: Period,
}

impl Default for PollConfig {
    fn default() -> Self {
        let minutes = |minutes| Period(Duration::from_mins(minutes));
        Self {
            identity: minutes(24 * 60),
            status: minutes(5),
            supplies: minutes(30),
            trays: minutes(15),
            meters: minutes(4 * 60),
            configuration: minutes(24 * 60),
        }
    }
}

/// A length of time, such as `"90s"`, `"5m"`, `"1h"`, `"1d"`; from a second to a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(pub Duration);

/// A text that is no [`Period`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no length of time between \"1s\" and \"365d\", such as \"90s\", \"5m\", \"1h\"")]
pub struct PeriodError(String);

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        let seconds = || {
            let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return None,
            };
            let number: u64 = digits.parse().ok()?;
            number
                .checked_mul(unit)
                .filter(|seconds| (1..=31_536_000).contains(seconds))
        };
        match seconds() {
            Some(seconds) => Ok(Self(Duration::from_secs(seconds))),
            None => Err(PeriodError(text)),
        }
    }
}

/// Six upper-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Oui(String);

/// A text that is no [`Oui`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no OUI: six hexadecimal digits, such as \"00D09E\"")]
pub struct OuiError(String);

impl TryFrom<String> for Oui {
    type Error = OuiError;

    fn try_from(text: String) -> Result<Self, OuiError> {
        if text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(OuiError(text))
        }
    }
}

impl Oui {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Addresses from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// A text that is no [`Range`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no range: a network such as \"192.0.2.0/28\", \"192.0.2.1-192.0.2.14\", or one address; at most {MAX_ADDRESSES} addresses"
)]
pub struct RangeError(String);

impl TryFrom<String> for Range {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let parse = || {
            if let Some((network, bits)) = text.split_once('/') {
                return network_range(network.parse().ok()?, bits.parse().ok()?);
            }
            if let Some((first, last)) = text.split_once('-') {
                let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                return Some(Self { first, last });
            }
            let only = text.parse().ok()?;
            Some(Self {
                first: only,
                last: only,
            })
        };
        parse()
            .filter(|range| {
                range
                    .len()
                    .is_some_and(|count| (1..=MAX_ADDRESSES).contains(&count))
            })
            .ok_or_else(|| RangeError(text.to_owned()))
    }
}

fn network_range(network: IpAddr, bits: u32) -> Option<Range> {
    match network {
        IpAddr::V4(address) => {
            let host_bits = 32_u32.checked_sub(bits)?;
            let hosts = 1_u64.checked_shl(host_bits)? - 1;
            let hosts = u32::try_from(hosts).ok()?;
            let (first, last) = (address.to_bits() & !hosts, address.to_bits() | hosts);
            // The network's own address and broadcast are nobody's, except in the smallest networks.
            let inner = u32::from(host_bits > 1);
            Some(Range {
                first: IpAddr::V4((first + inner).into()),
                last: IpAddr::V4((last - inner).into()),
            })
        }
        IpAddr::V6(address) => {
            let host_bits = 128_u32.checked_sub(bits).filter(|&bits| bits <= 16)?;
            let hosts = (1_u128 << host_bits) - 1;
            Some(Range {
                first: IpAddr::V6((address.to_bits() & !hosts).into()),
                last: IpAddr::V6((address.to_bits() | hosts).into()),
            })
        }
    }
}

impl Range {
    fn len(&self) -> Option<usize> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                usize::try_from(u64::from(last.to_bits().checked_sub(first.to_bits())?) + 1).ok()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => usize::try_from(
                last.to_bits()
                    .checked_sub(first.to_bits())?
                    .checked_add(1)?,
            )
            .ok(),
            _ => None,
        }
    }

    /// The addresses, in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits()..=last.to_bits())
                .map(|bits| IpAddr::V4(bits.into()))
                .collect(),
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits()..=last.to_bits())
                .map(|bits| IpAddr::V6(bits.into()))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What is wrong with the file. The fault is the writer's.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A key or value is not understood.
    #[error("{place}: {problem}")]
    Invalid {
        /// File, line and column.
        place: String,
        /// Key, value and what is allowed.
        problem: String,
    },
}

impl Config {
    /// Reads and checks the file. Paths in it are relative to its folder.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |file: &Path, reason| ConfigError::Unreadable {
            file: file.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|source| unreadable(file, source))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Invalid {
            place: place(file, &text, error.span().map(|span| span.start)),
            problem: describe(&text, &error),
        })?;
        let folder = file.parent().unwrap_or_else(|| Path::new("."));
        config.data_dir = folder.join(&config.data_dir);
        config.acs.ca = config.acs.ca.map(|ca| folder.join(ca));
        if let Some(password_file) = &config.acs.password_file {
            let password_file = folder.join(password_file);
            let secret = std::fs::read_to_string(&password_file)
                .map_err(|source| unreadable(&password_file, source))?;
            if config.acs.password.is_some() {
                return Err(invalid(
                    file,
                    "acs.password_file",
                    "stands beside acs.password; give one of them",
                ));
            }
            config.acs.password = Some(secret.lines().next().unwrap_or_default().to_owned());
        }
        config.check(file)?;
        Ok(config)
    }

    fn check(&self, file: &Path) -> Result<(), ConfigError> {
        let scheme = self.acs.url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https")) || reqwest::Url::parse(&self.acs.url).is_err()
        {
            let problem = format!(
                "is {:?}; allowed is an http:// or https:// URL",
                self.acs.url
            );
            return Err(invalid(file, "acs.url", &problem));
        }
        if self.acs.password.is_none() {
            return Err(invalid(
                file,
                "acs.password",
                "is missing; give it, or acs.password_file",
            ));
        }
        if self
            .device
            .serial
            .as_ref()
            .is_some_and(|serial| serial.is_empty() || serial.len() > 64)
        {
            return Err(invalid(
                file,
                "device.serial",
                "has 1 to 64 characters, or is left out",
            ));
        }
        if let Some((key, problem)) = self
            .discover
            .iter()
            .find_map(|discover| discover.snmp.problem())
        {
            return Err(invalid(file, &format!("discover.{key}"), problem));
        }
        Ok(())
    }
}

fn invalid(file: &Path, key: &str, problem: &str) -> ConfigError {
    ConfigError::Invalid {
        place: file.display().to_string(),
        problem: format!("{key} {problem}"),
    }
}

fn place(file: &Path, text: &str, offset: Option<usize>) -> String {
    let before = text.get(..offset.unwrap_or(0)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .chars()
        .rev()
        .take_while(|&character| character != '\n')
        .count()
        + 1;
    format!("{}:{line}:{column}", file.display())
}

/// The message with the line it is about, unless a secret stands there.
fn describe(text: &str, error: &toml::de::Error) -> String {
    const SECRETS: [&str; 2] = ["password", "community"];
    let message = error.message().replace('\n', "; ");
    let line = error.span().and_then(|span| {
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |end| end + 1);
        text.get(start..)?.lines().next()
    });
    match line.map(str::trim) {
        Some(line) if !line.is_empty() && !SECRETS.iter().any(|secret| line.contains(secret)) => {
            format!("{message}, in `{line}`")
        }
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
data_dir = "data"
[device]
oui = "00d09e"
[acs]
url = "http://127.0.0.1:7547/cwmp/default"
username = "u"
password = "secret"
"#;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("secret"), "from file\n").unwrap();
        Config::read(&file)
    }

    #[test]
    fn the_least_that_must_be_said() {
        let config = read(MINIMAL).unwrap();
        assert_eq!(config.device.oui.as_str(), "00D09E");
        assert_eq!(config.device.product_class, "PlatenProxy");
        assert_eq!(config.poll.status, Period(Duration::from_mins(5)));
        assert_eq!(config.acs.password(), "secret");
        assert!(config.data_dir.ends_with("data") && config.data_dir.is_absolute());
    }

    #[test]
    fn the_documented_file_is_read() {
        let text = format!(
            "{}\n{}",
            MINIMAL.replace(
                "password = \"secret\"",
                "password_file = \"secret\"\nca = \"ca.pem\""
            ),
            r#"
[[discover]]
range = "192.0.2.0/28"
port = 1161
snmp = { version = "2c", community = "public", write_community = "w" }
interval = "1h"
[[discover]]
range = "192.0.2.200-192.0.2.202"
snmp = { version = "3", user = "u", auth = "sha256", auth_password = "12345678", priv = "aes128", priv_password = "87654321" }
[poll]
status = "90s"
"#
        );
        let config = read(&text).unwrap();
        assert_eq!(config.acs.password(), "from file");
        assert_eq!(config.discover[0].range.addresses().len(), 14);
        assert_eq!(config.discover[0].snmp.attempts().len(), 2);
        assert_eq!(config.discover[1].range.addresses().len(), 3);
        assert_eq!(config.discover[1].snmp.attempts().len(), 1);
        assert_eq!(config.poll.status, Period(Duration::from_secs(90)));
    }

    #[test]
    fn errors_name_key_value_allowed_and_place() {
        let cases = [
            (
                "data_dir = \"data\"",
                "data_dir = \"data\"\ncolour = \"red\"",
                &["proxy.toml:3:1", "colour", "data_dir", "red"][..],
            ),
            (
                "oui = \"00d09e\"",
                "oui = \"00d0\"",
                &["proxy.toml:4:7", "00d0", "six hexadecimal digits"],
            ),
            ("username = \"u\"", "", &["proxy.toml:5", "username"]),
            (
                "http://127.0.0.1:7547/cwmp/default",
                "ftp://x",
                &["acs.url", "ftp://x", "http://"],
            ),
            (
                "password = \"secret\"",
                "",
                &["acs.password", "password_file"],
            ),
            (
                "password = \"secret\"",
                "password = \"a\"\n[poll]\nstatus = \"5\"",
                &["proxy.toml:10:10", "\"5\"", "5m"],
            ),
            (
                "password = \"secret\"",
                "password = \"a\"\n[[discover]]\nrange = \"10.0.0.0/8\"",
                &["proxy.toml:10:9", "10.0.0.0/8", "65536"],
            ),
            (
                "password = \"secret\"",
                "password = \"a\"\n[[discover]]\nrange = \"10.0.0.1\"\nsnmp = { version = \"3\", community = \"x\" }",
                &["discover.snmp.community", "version \"3\""],
            ),
        ];
        for (from, to, expect) in cases {
            let message = read(&MINIMAL.replace(from, to)).unwrap_err().to_string();
            for part in expect {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn secrets_are_not_repeated() {
        let message = read(&MINIMAL.replace("password = \"secret\"", "password = 31337"))
            .unwrap_err()
            .to_string();
        assert!(!message.contains("password = 31337"), "{message}");
        let config = read(MINIMAL).unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn ranges_name_their_addresses() {
        let addresses = |text: &str| {
            text.parse::<Range>()
                .map(|range| range.addresses().len())
                .ok()
        };
        assert_eq!(addresses("192.0.2.7"), Some(1));
        assert_eq!(addresses("192.0.2.7/32"), Some(1));
        assert_eq!(addresses("192.0.2.6/31"), Some(2));
        assert_eq!(addresses("192.0.2.0/24"), Some(254));
        assert_eq!(addresses("192.0.2.1 - 192.0.2.4"), Some(4));
        assert_eq!(addresses("2001:db8::/124"), Some(16));
        for text in [
            "192.0.2.9-192.0.2.1",
            "192.0.2.0/33",
            "10.0.0.0/8",
            "2001:db8::/64",
            "192.0.2.1-2001:db8::1",
            "host",
            "",
        ] {
            assert_eq!(addresses(text), None, "{text:?}");
        }
    }
}
