//! Recorded SNMP walks: what a printer answered, kept in a file.
//!
//! Two formats: `.snmprec` of snmpsim (`oid|tag|value`, one instance a line) and the JSON arrays of PrintMaster.

use std::path::Path;

use platen_datamodel::snmp::{Oid, Value, Walk};
use serde::Deserialize;

/// The most that a recording may weigh, in bytes.
pub const MAX_BYTES: u64 = 16 << 20;

/// Why a recording cannot be used. The fault is the file's; a retry does not help, except for [`RecordingError::Io`].
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("cannot read the recording")]
    Io(#[from] std::io::Error),
    /// Neither `.snmprec` nor `.json`.
    #[error("{0:?} is neither .snmprec nor .json")]
    UnknownFormat(String),
    /// Larger than [`MAX_BYTES`].
    #[error("recording of {0} bytes is larger than 16 MiB")]
    TooLarge(u64),
    /// Not the JSON that is expected.
    #[error("not an array of SNMP entries")]
    Json(#[from] serde_json::Error),
}

/// A recording, read.
#[derive(Debug, Default)]
pub struct Recording {
    /// What the printer answered.
    pub walk: Walk,
    /// Entries that are not understood; recordings pass through many tools, and one bad line spoils no other.
    pub damaged: Vec<Damaged>,
}

/// An entry that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The line, or the position in the array; from 1 up.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a recording; its name says which format it has.
///
/// # Errors
///
/// See [`RecordingError`].
pub fn read_file(file: &Path) -> Result<Recording, RecordingError> {
    let length = file.metadata()?.len();
    if length > MAX_BYTES {
        return Err(RecordingError::TooLarge(length));
    }
    let bytes = std::fs::read(file)?;
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("snmprec") => Ok(parse_snmprec(&bytes)),
        Some("json") => parse_printmaster(&bytes),
        _ => Err(RecordingError::UnknownFormat(file.display().to_string())),
    }
}

/// Reads `oid|tag|value` lines. Of repeated identifiers the last counts.
#[must_use]
pub fn parse_snmprec(bytes: &[u8]) -> Recording {
    let lines = bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let wanted = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    collect(
        lines
            .enumerate()
            .filter(|(_, line)| wanted(line))
            .map(|(position, line)| (position, parse_line(line))),
    )
}

/// Reads an array of `{"oid", "type", "value", "hex_value"}`. Of repeated identifiers the last counts.
///
/// # Errors
///
/// [`RecordingError::Json`].
pub fn parse_printmaster(bytes: &[u8]) -> Result<Recording, RecordingError> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes)?;
    Ok(collect(
        entries.into_iter().map(|entry| entry.parse()).enumerate(),
    ))
}

fn collect(entries: impl Iterator<Item = (usize, Result<(Oid, Value), String>)>) -> Recording {
    let mut recording = Recording::default();
    for (position, entry) in entries {
        match entry {
            Ok((oid, value)) => recording.walk.insert(oid, value),
            Err(reason) => recording.damaged.push(Damaged {
                number: position + 1,
                reason,
            }),
        }
    }
    recording
}

fn parse_line(line: &[u8]) -> Result<(Oid, Value), String> {
    let mut fields = line.splitn(3, |&byte| byte == b'|');
    let (Some(oid), Some(tag), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("not oid|tag|value".to_owned());
    };
    let oid = ascii(oid)
        .and_then(|text| text.parse().ok())
        .ok_or("no object identifier")?;
    let tag = ascii(tag).ok_or("no tag")?;
    let value = value_of_tag(tag, value).ok_or_else(|| format!("no value of tag {tag:?}"))?;
    Ok((oid, value))
}

#[derive(Deserialize)]
struct Entry {
    oid: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    value: serde_json::Value,
    hex_value: Option<String>,
}

impl Entry {
    fn parse(&self) -> Result<(Oid, Value), String> {
        let oid = self.oid.parse().map_err(|error| format!("{error}"))?;
        let value = self
            .value()
            .ok_or_else(|| format!("no value of type {:?}", self.kind))?;
        Ok((oid, value))
    }

    fn value(&self) -> Option<Value> {
        let text = match &self.value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        let octets = || match &self.hex_value {
            Some(hex) => from_hex(hex.as_bytes()),
            None => Some(text.clone().into_bytes()),
        };
        Some(match self.kind.as_str() {
            "Integer" => Value::Integer(text.parse().ok()?),
            "OctetString" | "BitString" => Value::Octets(octets()?),
            "ObjectIdentifier" => Value::Oid(text.parse().ok()?),
            "IPAddress" => Value::IpAddress(text.parse::<std::net::Ipv4Addr>().ok()?.octets()),
            "Counter32" => Value::Counter32(text.parse().ok()?),
            "Gauge32" => Value::Gauge32(text.parse().ok()?),
            "TimeTicks" => Value::TimeTicks(text.parse().ok()?),
            "Counter64" => Value::Counter64(text.parse().ok()?),
            "Opaque" => Value::Opaque(octets()?),
            "Null" => Value::Null,
            _ => return None,
        })
    }
}

/// A value by its ASN.1 tag in decimal, with `x` where the text is hexadecimal.
fn value_of_tag(tag: &str, text: &[u8]) -> Option<Value> {
    let number = || ascii(text)?.trim().parse::<i64>().ok();
    let unsigned = || u32::try_from(number()?).ok();
    Some(match tag {
        "2" => Value::Integer(number()?.try_into().ok()?),
        "4" => Value::Octets(text.to_vec()),
        "4x" => Value::Octets(from_hex(text)?),
        "5" => Value::Null,
        "6" => Value::Oid(ascii(text)?.trim().parse().ok()?),
        "64" => Value::IpAddress(ascii(text)?.parse::<std::net::Ipv4Addr>().ok()?.octets()),
        "64x" => Value::IpAddress(from_hex(text)?.try_into().ok()?),
        "65" => Value::Counter32(unsigned()?),
        "66" => Value::Gauge32(unsigned()?),
        "67" => Value::TimeTicks(unsigned()?),
        "68" => Value::Opaque(text.to_vec()),
        "68x" => Value::Opaque(from_hex(text)?),
        "70" => Value::Counter64(ascii(text)?.trim().parse().ok()?),
        _ => return None,
    })
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(value(high)? << 4 | value(low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_tag_of_snmprec_is_read() {
        let text = "1.1.1|2|-3\n1.1.2|4|a|b\n1.1.3|4x|00fF\r\n1.1.4|6|1.3.6\n1.1.5|64|192.0.2.1\n1.1.6|64x|c0000201\n\
                    1.1.7|65|4294967295\n1.1.8|66|7\n1.1.9|67|8\n1.1.10|70|18446744073709551615\n\n# note\n1.1.1|2|5\n";

        let Recording { walk, damaged } = parse_snmprec(text.as_bytes());
        assert_eq!(damaged, []);

        let expect = [
            Value::Integer(5),
            Value::from("a|b"),
            Value::Octets(vec![0, 255]),
            Value::Oid(Oid::new(&[1, 3, 6])),
            Value::IpAddress([192, 0, 2, 1]),
            Value::IpAddress([192, 0, 2, 1]),
            Value::Counter32(u32::MAX),
            Value::Gauge32(7),
            Value::TimeTicks(8),
            Value::Counter64(u64::MAX),
        ];
        assert_eq!(
            walk.iter()
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>(),
            expect
        );
    }

    #[test]
    fn a_bad_line_is_named_and_spoils_no_other() {
        for bad in [
            "1.1.1|2",
            "1.x|2|1",
            "1.1|99|1",
            "1.1|4x|0",
            "1.1|65|-1",
            "1.1|65|6git3159",
            "1.1|2|",
        ] {
            let recording = parse_snmprec(format!("1.2|2|1\n{bad}\n1.3|2|1\n").as_bytes());
            let lines: Vec<usize> = recording
                .damaged
                .iter()
                .map(|damaged| damaged.number)
                .collect();
            assert_eq!((recording.walk.len(), lines), (2, vec![2]), "{bad:?}");
        }
    }

    #[test]
    fn octets_of_printmaster_come_from_their_hexadecimal_form() {
        let json = br#"[{"oid":"1.3.1","type":"OctetString","value":"?","hex_value":"e9bb"},{"oid":".1.3.2","type":"Counter32","value":"7"}]"#;

        let walk = parse_printmaster(json).unwrap().walk;

        assert_eq!(
            walk.get(&Oid::new(&[1, 3, 1])),
            Some(&Value::Octets(vec![0xe9, 0xbb]))
        );
        assert_eq!(walk.get(&Oid::new(&[1, 3, 2])), Some(&Value::Counter32(7)));
        let odd = parse_printmaster(br#"[{"oid":"1.3.1","type":"Odd","value":"1"}]"#).unwrap();
        assert_eq!((odd.walk.len(), odd.damaged.len()), (0, 1));
        assert!(parse_printmaster(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_snmprec(&bytes);
            let _ = parse_printmaster(&bytes);
        }
    }
}
