//! Parameter paths (TR-069 §A.2.2.3, TR-106 §3.2): objects end with a dot, parameters do not.

use std::fmt;
use std::str::FromStr;

/// The canonical table of imaging services.
pub const SERVICES: &str = "Device.Services.MFPService.";

/// The longest path, in bytes, that a peer may use (TR-069 declares names as `string(256)`).
pub const MAX_LENGTH: usize = 256;

/// A well-formed parameter or object path, such as `Device.DeviceInfo.SerialNumber` or `Device.Services.MFPService.1.`.
///
/// Paths compare as text, which puts the rows of one table together but row 10 before row 2; use [`Path::order_key`] to sort for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(String);

/// Why a text is not a path. The fault is the sender's; a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing between two dots, before the first or in the whole text.
    #[error("empty segment in path {0:?}")]
    EmptySegment(String),
    /// A segment that is neither a name, nor an instance number from 1 up, nor `{i}`.
    #[error("segment {segment:?} of path {path:?} is neither a name nor an instance number")]
    Segment {
        /// The whole text.
        path: String,
        /// The offending part.
        segment: String,
    },
    /// More than [`MAX_LENGTH`] bytes.
    #[error("path of {0} bytes is longer than 256")]
    TooLong(usize),
}

/// One part of a path between dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment<'a> {
    /// The instance number of a row, from 1 up.
    Instance(u32),
    /// The placeholder `{i}` of generic paths.
    AnyInstance,
    /// The name of an object or parameter.
    Name(&'a str),
}

impl Path {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this names an object (it ends with a dot) rather than a parameter.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.ends_with('.')
    }

    /// The parts from the root down.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.0.trim_end_matches('.').split('.').map(|part| {
            // Well-formedness was checked when the path was made, so what is no number and no placeholder is a name.
            segment(part).unwrap_or(Segment::Name(part))
        })
    }

    /// The path with `{i}` for every instance number: the name in the data model.
    #[must_use]
    pub fn generic(&self) -> Self {
        let mut text = String::with_capacity(self.0.len() + 8);
        for part in self.segments() {
            match part {
                Segment::Instance(_) | Segment::AnyInstance => text.push_str("{i}"),
                Segment::Name(name) => text.push_str(name),
            }
            text.push('.');
        }
        if !self.is_object() {
            text.pop();
        }
        Self(text)
    }

    /// The object that holds this object or parameter; `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let inner = self.0.strip_suffix('.').unwrap_or(&self.0);
        let end = inner.rfind('.')?;
        Some(Self(inner[..=end].to_owned()))
    }

    /// The path with the canonical name of the imaging service: a vendor prefix before `MFPService` is taken off, and the root
    /// `InternetGatewayDevice.` of such a path becomes `Device.`. Other paths are returned as they are.
    #[must_use]
    pub fn canonical(&self) -> Self {
        match split_service(&self.0) {
            Some((instance, rest)) => Self(format!("{SERVICES}{instance}.{rest}")),
            None => self.clone(),
        }
    }

    /// A key that sorts rows by number: 2 before 10.
    #[must_use]
    pub fn order_key(&self) -> Vec<Segment<'_>> {
        self.segments().collect()
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_LENGTH {
            return Err(PathError::TooLong(text.len()));
        }
        for part in text.strip_suffix('.').unwrap_or(text).split('.') {
            if part.is_empty() {
                return Err(PathError::EmptySegment(text.to_owned()));
            }
            if segment(part).is_none() {
                return Err(PathError::Segment {
                    path: text.to_owned(),
                    segment: part.to_owned(),
                });
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Path {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Splits a path below an imaging service into the instance number and what follows it.
pub(crate) fn split_service(path: &str) -> Option<(u32, &str)> {
    let below = path
        .strip_prefix("Device.Services.")
        .or_else(|| path.strip_prefix("InternetGatewayDevice.Services."))?;
    let (table, below) = below.split_once('.')?;
    if !is_service_table(table) {
        return None;
    }
    let (instance, rest) = below.split_once('.')?;
    match segment(instance)? {
        Segment::Instance(instance) => Some((instance, rest)),
        Segment::AnyInstance | Segment::Name(_) => None,
    }
}

/// `MFPService`, or the same behind a vendor prefix `X_<vendor>_`.
fn is_service_table(name: &str) -> bool {
    name == "MFPService"
        || name
            .strip_prefix("X_")
            .and_then(|rest| rest.strip_suffix("_MFPService"))
            .is_some_and(|vendor| !vendor.is_empty())
}

fn segment(part: &str) -> Option<Segment<'_>> {
    if part == "{i}" {
        return Some(Segment::AnyInstance);
    }
    let first = *part.as_bytes().first()?;
    if first.is_ascii_digit() {
        // "0", "007" and "+7" are no instance numbers.
        let plain = first != b'0' && part.bytes().all(|byte| byte.is_ascii_digit());
        return part.parse().ok().filter(|_| plain).map(Segment::Instance);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (first.is_ascii_alphabetic() || first == b'_').then_some(())?;
    part.bytes().all(legal).then_some(Segment::Name(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn malformed_paths_are_refused() {
        for text in [
            "",
            ".",
            "Device..Time",
            ".Device",
            "Device.0",
            "Device.01.",
            "Device.4294967296.",
            "Device.a b",
            "Device.é",
            "Device.{j}",
            "Device.1x",
            "Device.Time..",
        ] {
            assert!(text.parse::<Path>().is_err(), "{text:?}");
        }
        assert_eq!(
            "x".repeat(257).parse::<Path>(),
            Err(PathError::TooLong(257))
        );
    }

    #[test]
    fn generic_paths_name_the_model() {
        assert_eq!(
            path("Device.A.3.B.10.C").generic().as_str(),
            "Device.A.{i}.B.{i}.C"
        );
        assert_eq!(path("Device.A.3.").generic().as_str(), "Device.A.{i}.");
    }

    #[test]
    fn parents_lead_to_the_root() {
        assert_eq!(path("Device.A.3.C").parent(), Some(path("Device.A.3.")));
        assert_eq!(path("Device.A.3.").parent(), Some(path("Device.A.")));
        assert_eq!(path("Device.").parent(), None);
    }

    #[test]
    fn vendor_prefixes_are_taken_off_the_service() {
        assert_eq!(
            path("Device.Services.X_00D09E_MFPService.1.Name").canonical(),
            path("Device.Services.MFPService.1.Name")
        );
        assert_eq!(
            path("Device.X_00D09E_MFPService.1.Name").canonical(),
            path("Device.X_00D09E_MFPService.1.Name")
        );
    }

    #[test]
    fn rows_sort_by_number() {
        let mut paths = [
            path("Device.A.10.B"),
            path("Device.A.2.B"),
            path("Device.A.2.A"),
        ];
        paths.sort_by(|a, b| a.order_key().cmp(&b.order_key()));
        assert_eq!(
            paths.map(|path| path.to_string()),
            ["Device.A.2.A", "Device.A.2.B", "Device.A.10.B"]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_refused_and_canonical_form_is_stable(text in "[DSX.a-z0-9_{}é]{0,40}") {
            if let Ok(path) = text.parse::<Path>() {
                prop_assert_eq!(path.as_str(), text.as_str());
                let canonical = path.canonical();
                prop_assert_eq!(&canonical.canonical(), &canonical);
                prop_assert!(canonical.as_str().parse::<Path>().is_ok());
                prop_assert!(path.generic().as_str().parse::<Path>().is_ok());
            }
        }
    }
}
