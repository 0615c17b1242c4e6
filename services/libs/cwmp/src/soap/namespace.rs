//! Versions of CWMP and the namespaces that they use on the wire (TR-069 §3.7.4).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A version of CWMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// TR-069 and its amendment 1.
    V1_0,
    /// Amendment 2.
    V1_1,
    /// Amendment 3.
    V1_2,
    /// Amendment 4.
    V1_3,
    /// Amendments 5 and 6.
    V1_4,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 5] = [Self::V1_0, Self::V1_1, Self::V1_2, Self::V1_3, Self::V1_4];

    /// `1.0` to `1.4`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
            Self::V1_4 => "1.4",
        }
    }

    /// The namespace that the version prescribes: 1.2, 1.3 and 1.4 share one.
    pub fn namespace(self) -> Namespace {
        Namespace((self as u8).min(2))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of `1.0` to `1.4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no version of CWMP")]
pub struct UnknownVersion;

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text.trim())
            .ok_or(UnknownVersion)
    }
}

/// A CWMP namespace, `urn:dslforum-org:cwmp-1-n`. An answer uses the one that the device used (VER-01).
///
/// The standard has 1-0, 1-1 and 1-2; devices also send higher ones (VER-09).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Namespace(u8);

const URN: &str = "urn:dslforum-org:cwmp-1-";

impl Namespace {
    /// Reads a namespace name, whatever its case and with anything behind the number (VER-17).
    pub fn from_urn(urn: &str) -> Option<Self> {
        let urn = urn.trim();
        let (start, rest) = urn.split_at_checked(URN.len())?;
        if !start.eq_ignore_ascii_case(URN) {
            return None;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest.get(..digits)?.parse().ok().map(Self)
    }

    /// Whether a namespace name is this one, letter by letter.
    pub(crate) fn is_exactly(self, urn: &str) -> bool {
        let minor = urn.strip_prefix(URN).unwrap_or_default();
        let is_plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && !minor.starts_with('0');
        (is_plain || minor == "0") && minor.parse() == Ok(self.0)
    }

    /// Whether it is one that was published: 1-0, 1-1 and 1-2. Later versions of CWMP say who they are in a header (VER-02).
    pub const fn is_published(self) -> bool {
        self.0 <= 2
    }

    /// The highest version that a device which sends this namespace can be assumed to speak, if it does not say more (VER-04).
    pub fn version(self) -> Version {
        match self.0 {
            0 => Version::V1_0,
            1 => Version::V1_1,
            2 => Version::V1_2,
            3 => Version::V1_3,
            _ => Version::V1_4,
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{URN}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_read_with_tolerance_and_written_as_they_should_be() {
        let read = |urn| {
            Namespace::from_urn(urn).map(|namespace| (namespace.to_string(), namespace.version()))
        };
        let cases = [
            (
                "urn:dslforum-org:cwmp-1-0",
                Some(("urn:dslforum-org:cwmp-1-0", Version::V1_0)),
            ),
            (
                " URN:dslforum-org:CWMP-1-2 ",
                Some(("urn:dslforum-org:cwmp-1-2", Version::V1_2)),
            ),
            (
                "urn:dslforum-org:cwmp-1-3/",
                Some(("urn:dslforum-org:cwmp-1-3", Version::V1_3)),
            ),
            (
                "urn:dslforum-org:cwmp-1-12",
                Some(("urn:dslforum-org:cwmp-1-12", Version::V1_4)),
            ),
            ("urn:dslforum-org:cwmp-1-", None),
            ("urn:dslforum-org:cwmp-1-999", None),
            ("urn:dslforum-org:cwmp-2-0", None),
            ("http://schemas.xmlsoap.org/soap/envelope/", None),
            ("é", None),
        ];
        for (urn, expected) in cases {
            assert_eq!(
                read(urn),
                expected.map(|(urn, version)| (urn.to_owned(), version)),
                "{urn}"
            );
        }
    }

    #[test]
    fn versions_are_read_back() {
        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert_eq!("9.9".parse::<Version>(), Err(UnknownVersion));
    }
}
