//! dateTime as devices write it (TR-106 §3.2, RPC-152, RPC-153).

use std::time::Duration;

use jiff::{Timestamp, civil, tz::Offset};
use serde::{Deserialize, Serialize};

use crate::soap::{
    element::Element,
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// A dateTime, kept as text: devices send garbage, and the text is evidence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DateTime(String);

/// What a [`DateTime`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// `0001-01-01T00:00:00Z`: not known, or never.
    Unknown,
    /// Another time of the year 1: so long after the device started.
    SinceBoot(Duration),
    /// `9999-12-31T23:59:59Z`: never ends.
    Infinite,
    /// A time; without zone it is taken as UTC, and `zone_given` is false.
    At {
        /// The time.
        time: Timestamp,
        /// Whether the device said in which zone.
        zone_given: bool,
    },
    /// No dateTime.
    Unreadable,
}

const UNKNOWN: &str = "0001-01-01T00:00:00Z";

/// The unknown time in seconds since 1970.
const YEAR_ONE: i64 = -62_135_596_800;

impl Default for DateTime {
    fn default() -> Self {
        Self::unknown()
    }
}

impl DateTime {
    /// The unknown time.
    pub fn unknown() -> Self {
        Self(UNKNOWN.to_owned())
    }

    /// Keeps a device's text.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A time in UTC with whole seconds, which every device reads.
    pub fn at(time: Timestamp) -> Self {
        Self(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it means.
    pub fn meaning(&self) -> Meaning {
        let text = self.0.trim();
        // Beyond what a timestamp can hold, so it has to be recognised as text.
        if text.starts_with("9999-12-31T23:59:59") {
            return Meaning::Infinite;
        }
        let (time, zone_given) = if let Ok(time) = text.parse::<Timestamp>() {
            (time, true)
        } else if let Ok(local) = text.parse::<civil::DateTime>()
            && let Ok(time) = Offset::UTC.to_timestamp(local)
        {
            (time, false)
        } else {
            return Meaning::Unreadable;
        };
        if Offset::UTC.to_datetime(time).year() != 1 {
            return Meaning::At { time, zone_given };
        }
        let seconds = u64::try_from(time.as_second() - YEAR_ONE).unwrap_or_default();
        if seconds == 0 {
            Meaning::Unknown
        } else {
            Meaning::SinceBoot(Duration::from_secs(seconds))
        }
    }

    /// The time, unless it is unknown, relative, infinite or unreadable.
    pub fn time(&self) -> Option<Timestamp> {
        match self.meaning() {
            Meaning::At { time, .. } => Some(time),
            Meaning::Unknown | Meaning::SinceBoot(_) | Meaning::Infinite | Meaning::Unreadable => {
                None
            }
        }
    }
}

impl Element for DateTime {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        Ok(Self(reader.text()?))
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_meaning() {
        let at = |time: &str, zone_given| Meaning::At {
            time: time.parse().unwrap(),
            zone_given,
        };
        let cases = [
            ("2026-11-23T03:00:00Z", at("2026-11-23T03:00:00Z", true)),
            (" 2026-11-23T03:00:00Z\n", at("2026-11-23T03:00:00Z", true)),
            (
                "2026-11-23T03:00:00.123456+01:00",
                at("2026-11-23T02:00:00.123456Z", true),
            ),
            ("2026-11-23T03:00:00", at("2026-11-23T03:00:00Z", false)),
            ("1970-01-01T00:00:00Z", at("1970-01-01T00:00:00Z", true)),
            ("0001-01-01T00:00:00Z", Meaning::Unknown),
            ("0001-01-01T00:00:00", Meaning::Unknown),
            (
                "0001-01-01T00:01:30Z",
                Meaning::SinceBoot(Duration::from_secs(90)),
            ),
            (
                "0001-01-02T00:00:00",
                Meaning::SinceBoot(Duration::from_secs(86_400)),
            ),
            ("9999-12-31T23:59:59Z", Meaning::Infinite),
            ("2019-03-05T11:54::14", Meaning::Unreadable),
            ("2026-02-30T00:00:00Z", Meaning::Unreadable),
            ("0", Meaning::Unreadable),
            ("", Meaning::Unreadable),
        ];
        for (text, expected) in cases {
            let time = DateTime::from_text(text);
            assert_eq!(time.meaning(), expected, "{text}");
            assert_eq!(time.as_str(), text);
        }
    }

    #[test]
    fn times_are_written_in_utc_with_whole_seconds() {
        let time = "2026-11-23T03:00:00.987+05:00".parse().unwrap();
        assert_eq!(DateTime::at(time).as_str(), "2026-11-22T22:00:00Z");
        assert_eq!(DateTime::default().meaning(), Meaning::Unknown);
        assert_eq!(DateTime::default().time(), None);
    }
}
