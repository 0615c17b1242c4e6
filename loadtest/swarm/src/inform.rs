//! Informs that cost their sender next to nothing: written once, with holes.

use crate::device;
use bytes::Bytes;
use platen_cwmp::{
    date_time::DateTime,
    event_code::EventCode,
    rpc::{CpeRequest, DeviceIdStruct, Event, Inform, ParameterValue, ValueType},
    soap::{CpeMessage, Envelope, Header, Version},
};

/// What stands in a hole until it is filled. Not in any other text of the envelope.
const SERIAL: &str = "@SERIAL@";
const TIME: &str = "@TIME@";
const ID: &str = "@ID@";

/// An Inform that differs between devices and sessions in serial number, time and id only.
#[derive(Debug, Clone)]
pub struct Template {
    pieces: Vec<Piece>,
    length: usize,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Serial,
    Time,
    Id,
}

impl Template {
    /// A periodic Inform with ten parameters.
    ///
    /// # Panics
    ///
    /// Never: the envelope holds no character that XML cannot carry.
    #[must_use]
    pub fn periodic() -> Self {
        let device_id = DeviceIdStruct {
            serial_number: SERIAL.to_owned(),
            ..device::device_id(0)
        };
        let inform = inform(device_id, &[EventCode::Periodic], DateTime::from_text(TIME));
        let message = CpeMessage::Request(CpeRequest::Inform(inform));
        let envelope = Envelope {
            namespace: Version::V1_0.namespace(),
            header: Header::with_id(ID),
            message,
        };
        Self::of(
            &envelope
                .to_xml()
                .expect("invariant: the texts are XML characters"),
        )
    }

    fn of(xml: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = xml;
        while let Some(start) = rest.find('@') {
            let (text, hole) = rest.split_at(start);
            let found = [
                (SERIAL, Piece::Serial),
                (TIME, Piece::Time),
                (ID, Piece::Id),
            ]
            .into_iter()
            .find(|(name, _)| hole.starts_with(name));
            pieces.push(Piece::Text(text.to_owned()));
            match found {
                Some((name, piece)) => {
                    pieces.push(piece);
                    rest = &hole[name.len()..];
                }
                None => {
                    pieces.push(Piece::Text("@".to_owned()));
                    rest = &hole[1..];
                }
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self {
            pieces,
            length: xml.len() + 64,
        }
    }

    /// Fills the holes.
    #[must_use]
    pub fn fill(&self, serial_number: &str, time: &str, id: &str) -> Bytes {
        let mut xml = String::with_capacity(self.length);
        for piece in &self.pieces {
            xml.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Serial => serial_number,
                Piece::Time => time,
                Piece::Id => id,
            });
        }
        xml.into()
    }
}

/// An Inform of a simulated device, with ten parameters.
#[must_use]
pub fn inform(device_id: DeviceIdStruct, events: &[EventCode], current_time: DateTime) -> Inform {
    let parameters = [
        ("Device.RootDataModelVersion", "2.11", ValueType::String),
        ("Device.DeviceInfo.HardwareVersion", "B", ValueType::String),
        (
            "Device.DeviceInfo.SoftwareVersion",
            "1.4.2",
            ValueType::String,
        ),
        (
            "Device.DeviceInfo.ModelName",
            "SwarmPrinter 9",
            ValueType::String,
        ),
        (
            "Device.DeviceInfo.Description",
            "simulated printer",
            ValueType::String,
        ),
        ("Device.DeviceInfo.ProvisioningCode", "", ValueType::String),
        (
            "Device.ManagementServer.ConnectionRequestURL",
            "http://127.0.0.1:9/",
            ValueType::String,
        ),
        (
            "Device.ManagementServer.ParameterKey",
            "",
            ValueType::String,
        ),
        (
            "Device.ManagementServer.PeriodicInformInterval",
            "3600",
            ValueType::UnsignedInt,
        ),
        (
            "Device.ManagementServer.AliasBasedAddressing",
            "false",
            ValueType::Boolean,
        ),
    ];
    Inform {
        device_id,
        events: events.iter().cloned().map(Event::new).collect(),
        current_time,
        parameters: parameters
            .into_iter()
            .map(|(name, value, kind)| ParameterValue::new(name, value, kind))
            .collect(),
        ..Inform::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_template_is_the_inform_itself() {
        let bytes = Template::periodic().fill("SW00000007", "2026-11-23T08:00:00Z", "a-1");

        let text = std::str::from_utf8(&bytes).unwrap();
        let received = Envelope::<CpeMessage>::read_from_cpe(text).unwrap();
        assert!(received.repairs.is_empty(), "{}", received.repairs);
        assert_eq!(received.envelope.header.id.as_deref(), Some("a-1"));
        let expect = inform(
            device::device_id(7),
            &[EventCode::Periodic],
            DateTime::from_text("2026-11-23T08:00:00Z"),
        );
        assert_eq!(expect.parameters.len(), 10);
        assert_eq!(
            received.envelope.message,
            CpeMessage::Request(CpeRequest::Inform(expect))
        );
    }

    #[test]
    fn other_at_signs_stay() {
        assert_eq!(Template::of("a@b@ID@@").fill("s", "t", "7"), "a@b7@");
    }
}
