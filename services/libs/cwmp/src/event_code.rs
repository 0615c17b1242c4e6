//! Why a device opens a session (TR-069 §3.7.1.5).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::{
    Repair,
    element::Element,
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// An event code.
///
/// Reading goes by the leading number, since devices vary in the words (EVT-01, EVT-02). As text, and in serde, it is the
/// standard's form: `0 BOOTSTRAP`, `M Reboot`, `X 00D09E Door`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum EventCode {
    /// `0 BOOTSTRAP`: first contact with this server, after a factory reset, or after the server's URL changed.
    Bootstrap,
    /// `1 BOOT`: the device has started.
    Boot,
    /// `2 PERIODIC`: the interval is over.
    Periodic,
    /// `3 SCHEDULED`: a ScheduleInform is due.
    Scheduled,
    /// `4 VALUE CHANGE`: a parameter with notification has changed.
    ValueChange,
    /// `5 KICKED`: a user was sent to the kick URL.
    Kicked,
    /// `6 CONNECTION REQUEST`: the server asked for this session.
    ConnectionRequest,
    /// `7 TRANSFER COMPLETE`: TransferComplete will follow.
    TransferComplete,
    /// `8 DIAGNOSTICS COMPLETE`: results are there to be read.
    DiagnosticsComplete,
    /// `9 REQUEST DOWNLOAD`: RequestDownload will follow.
    RequestDownload,
    /// `10 AUTONOMOUS TRANSFER COMPLETE`: AutonomousTransferComplete will follow.
    AutonomousTransferComplete,
    /// `11 DU STATE CHANGE COMPLETE`: DUStateChangeComplete will follow.
    DuStateChangeComplete,
    /// `12 AUTONOMOUS DU STATE CHANGE COMPLETE`: AutonomousDUStateChangeComplete will follow.
    AutonomousDuStateChangeComplete,
    /// `13 WAKEUP`: the device has left standby.
    Wakeup,
    /// `14 HEARTBEAT`: sign of life, nothing else.
    Heartbeat,
    /// `M <method>`: a method called earlier has had its effect.
    Method(String),
    /// `X <OUI> <event>` or any other text.
    Other(String),
}

/// The numbered codes, at the index of their number.
static NUMBERED: [(EventCode, &str); 15] = [
    (EventCode::Bootstrap, "0 BOOTSTRAP"),
    (EventCode::Boot, "1 BOOT"),
    (EventCode::Periodic, "2 PERIODIC"),
    (EventCode::Scheduled, "3 SCHEDULED"),
    (EventCode::ValueChange, "4 VALUE CHANGE"),
    (EventCode::Kicked, "5 KICKED"),
    (EventCode::ConnectionRequest, "6 CONNECTION REQUEST"),
    (EventCode::TransferComplete, "7 TRANSFER COMPLETE"),
    (EventCode::DiagnosticsComplete, "8 DIAGNOSTICS COMPLETE"),
    (EventCode::RequestDownload, "9 REQUEST DOWNLOAD"),
    (
        EventCode::AutonomousTransferComplete,
        "10 AUTONOMOUS TRANSFER COMPLETE",
    ),
    (
        EventCode::DuStateChangeComplete,
        "11 DU STATE CHANGE COMPLETE",
    ),
    (
        EventCode::AutonomousDuStateChangeComplete,
        "12 AUTONOMOUS DU STATE CHANGE COMPLETE",
    ),
    (EventCode::Wakeup, "13 WAKEUP"),
    (EventCode::Heartbeat, "14 HEARTBEAT"),
];

impl EventCode {
    /// The codes that the standard numbers, by number.
    pub fn numbered() -> impl Iterator<Item = Self> {
        NUMBERED.iter().map(|(code, _)| code.clone())
    }

    /// Reads a code.
    ///
    /// Of a numbered one only the number counts; without number, the words alone do, whatever their case and spacing.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Ok(number) = first.parse::<usize>() {
            return NUMBERED
                .get(number)
                .map_or_else(|| Self::Other(text.to_owned()), |(code, _)| code.clone());
        }
        if first.eq_ignore_ascii_case("M")
            && let (Some(method), None) = (words.next(), words.next())
        {
            return Self::Method(method.to_owned());
        }
        NUMBERED
            .iter()
            .find(|(_, name)| {
                let words = name.split_whitespace().skip(1);
                words.flat_map(str::chars).eq(text
                    .split_whitespace()
                    .flat_map(str::chars)
                    .map(|c| c.to_ascii_uppercase()))
            })
            .map_or_else(|| Self::Other(text.to_owned()), |(code, _)| code.clone())
    }
}

impl Default for EventCode {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl fmt::Display for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => write!(f, "M {method}"),
            Self::Other(text) => f.write_str(text),
            Self::Bootstrap
            | Self::Boot
            | Self::Periodic
            | Self::Scheduled
            | Self::ValueChange
            | Self::Kicked
            | Self::ConnectionRequest
            | Self::TransferComplete
            | Self::DiagnosticsComplete
            | Self::RequestDownload
            | Self::AutonomousTransferComplete
            | Self::DuStateChangeComplete
            | Self::AutonomousDuStateChangeComplete
            | Self::Wakeup
            | Self::Heartbeat => {
                let (_, name) = NUMBERED
                    .iter()
                    .find(|(code, _)| code == self)
                    .expect("invariant: every code without data is in the table");
                f.write_str(name)
            }
        }
    }
}

impl From<String> for EventCode {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<EventCode> for String {
    fn from(code: EventCode) -> Self {
        code.to_string()
    }
}

impl Element for EventCode {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        let code = Self::parse(&text);
        if code.to_string() != text {
            reader.note(Repair::EventCode);
        }
        Ok(code)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, &self.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back() {
        let method = EventCode::Method("X_00D09E_Clean".to_owned());
        let vendor = EventCode::Other("X 00D09E Door".to_owned());
        for code in EventCode::numbered().chain([method, vendor, EventCode::default()]) {
            assert_eq!(EventCode::parse(&code.to_string()), code);
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<EventCode>(&json).unwrap(), code);
        }
    }

    #[test]
    fn numbers_stand_at_their_place() {
        for (number, (_, name)) in NUMBERED.iter().enumerate() {
            assert!(name.starts_with(&format!("{number} ")), "{name}");
        }
    }

    #[test]
    fn the_number_decides_and_without_it_the_words() {
        let other = |text: &str| EventCode::Other(text.to_owned());
        let cases = [
            ("1", EventCode::Boot),
            ("1 BOOT", EventCode::Boot),
            ("01 BOOT", EventCode::Boot),
            ("10 BOOT", EventCode::AutonomousTransferComplete),
            ("11", EventCode::DuStateChangeComplete),
            ("14 HEARTBEAT", EventCode::Heartbeat),
            ("15 FUTURE", other("15 FUTURE")),
            ("-1 BOOT", other("-1 BOOT")),
            (
                "99999999999999999999999 X",
                other("99999999999999999999999 X"),
            ),
            ("0 BOOT STRAP", EventCode::Bootstrap),
            ("BOOTSTRAP", EventCode::Bootstrap),
            ("  value\tchange ", EventCode::ValueChange),
            ("8 DIAGNOSTICS  COMPLETE", EventCode::DiagnosticsComplete),
            ("M Reboot", EventCode::Method("Reboot".to_owned())),
            ("m  Reboot", EventCode::Method("Reboot".to_owned())),
            ("M", other("M")),
            ("M a b", other("M a b")),
            ("X 00D09E Door open", other("X 00D09E Door open")),
            ("", other("")),
        ];
        for (text, expected) in cases {
            assert_eq!(EventCode::parse(text), expected, "{text}");
        }
    }
}
