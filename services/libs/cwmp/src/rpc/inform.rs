//! Inform, the first message of every session (TR-069 A.3.3.1).

use serde::{Deserialize, Serialize};

use super::parameter_value::ParameterValue;
use crate::{
    date_time::DateTime,
    event_code::EventCode,
    soap::{
        element::{Element, item, sequence},
        reader::{Malformed, Reader, Tag},
        writer::Writer,
    },
};

/// Who the device is, why it calls, and what it has to report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inform {
    /// The device as it names itself.
    pub device_id: DeviceIdStruct,
    /// Why it calls. Devices also send no event at all, which is to be taken as periodic (RPC-119).
    pub events: Vec<Event>,
    /// Always 1; ignored on receipt (SES-52).
    pub max_envelopes: MaxEnvelopes,
    /// The device's clock; not to be trusted for order.
    pub current_time: DateTime,
    /// How many sessions for these events have failed before this one; a hint.
    pub retry_count: u32,
    /// The forced parameters, and those that changed.
    pub parameters: Vec<ParameterValue>,
}

impl Inform {
    /// The value of a parameter, if the Inform carries it. Of several with this name the last counts.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|parameter| parameter.name == name)
            .map(|parameter| parameter.value.as_str())
    }

    /// Whether this event is among those reported.
    pub fn has_event(&self, code: &EventCode) -> bool {
        self.events.iter().any(|event| event.code == *code)
    }
}

/// DeviceIdStruct, as the device wrote it. [`Identity`](crate::identity::Identity) is what is made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceIdStruct {
    /// For display only.
    pub manufacturer: String,
    /// Organizationally unique identifier, by the standard six upper-case hexadecimal digits.
    pub oui: String,
    /// Class within which the serial number is unique; may be empty.
    pub product_class: String,
    /// Serial number.
    pub serial_number: String,
}

/// Why a device calls, and for which command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// The event.
    pub code: EventCode,
    /// Command key of the request behind an `M …` event, else empty.
    pub command_key: String,
}

impl Event {
    /// An event without command key.
    pub fn new(code: EventCode) -> Self {
        Self {
            code,
            command_key: String::new(),
        }
    }

    /// `M <method>`: a method called with this command key has had its effect.
    pub fn method(method: &str, command_key: impl Into<String>) -> Self {
        Self {
            code: EventCode::Method(method.to_owned()),
            command_key: command_key.into(),
        }
    }
}

/// MaxEnvelopes: always 1, whatever was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MaxEnvelopes;

/// The server has the Inform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InformResponse {
    /// Always 1.
    pub max_envelopes: MaxEnvelopes,
}

sequence!(Inform {
    device_id: "DeviceId",
    events: "Event",
    max_envelopes: "MaxEnvelopes",
    current_time: "CurrentTime",
    retry_count: "RetryCount",
    parameters: "ParameterList",
});
sequence!(DeviceIdStruct {
    manufacturer: "Manufacturer",
    oui: "OUI",
    product_class: "ProductClass",
    serial_number: "SerialNumber",
});
sequence!(Event {
    code: "EventCode",
    command_key: "CommandKey"
});
item!(Event, "EventStruct");
sequence!(InformResponse {
    max_envelopes: "MaxEnvelopes"
});

impl Element for MaxEnvelopes {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        reader.skip()?;
        Ok(Self)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, "1");
    }
}
