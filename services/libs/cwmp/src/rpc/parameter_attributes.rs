//! SetParameterAttributes and GetParameterAttributes (TR-069 A.3.2.4, A.3.2.5).

use serde::{Deserialize, Serialize};

use crate::soap::{
    Repair,
    element::{Element, item, sequence},
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// Whether and how the device tells the server that a value has changed.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Notification {
    /// 0: not at all. What is read where the device left it out (RPC-62).
    #[default]
    Off,
    /// 1: in the next Inform, whenever that is.
    Passive,
    /// 2: by an Inform of its own.
    Active,
    /// 3: in the next lightweight notification (CWMP 1.4).
    PassiveLightweight,
    /// 4: both 1 and 3 (CWMP 1.4).
    PassiveWithPassiveLightweight,
    /// 5: by a lightweight notification of its own (CWMP 1.4).
    ActiveLightweight,
    /// 6: both 1 and 5 (CWMP 1.4).
    PassiveWithActiveLightweight,
}

impl Notification {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Off,
        Self::Passive,
        Self::Active,
        Self::PassiveLightweight,
        Self::PassiveWithPassiveLightweight,
        Self::ActiveLightweight,
        Self::PassiveWithActiveLightweight,
    ];

    /// The number on the wire, 0 to 6.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The notification of that number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Whether a device older than CWMP 1.4 knows it.
    pub fn needs_cwmp_1_4(self) -> bool {
        self > Self::Active
    }
}

/// Sets notification and access of parameters: all of them or, on a fault, none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetParameterAttributes {
    /// Applied in order; a later entry overrides an earlier one.
    pub parameters: Vec<SetAttributes>,
}

/// What to change of one parameter, or of all below a partial path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAttributes {
    /// Full or partial path.
    pub name: String,
    /// Whether `notification` is to be taken over.
    pub notification_change: bool,
    /// The notification to set.
    pub notification: Notification,
    /// Whether `access_list` is to be taken over.
    pub access_list_change: bool,
    /// Who besides the server may write: `Subscriber`, or nobody if empty.
    pub access_list: Vec<String>,
}

/// Asks for notification and access of parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetParameterAttributes {
    /// Full or partial paths.
    pub names: Vec<String>,
}

/// The attributes found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetParameterAttributesResponse {
    /// One entry per parameter.
    pub parameters: Vec<Attributes>,
}

/// Notification and access of one parameter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Full path.
    pub name: String,
    /// How changes are told.
    pub notification: Notification,
    /// Who besides the server may write.
    pub access_list: Vec<String>,
}

sequence!(SetParameterAttributes {
    parameters: "ParameterList"
});
sequence!(SetAttributes {
    name: "Name" <= 256,
    notification_change: "NotificationChange",
    notification: "Notification",
    access_list_change: "AccessListChange",
    access_list: "AccessList",
});
item!(SetAttributes, "SetParameterAttributesStruct");
sequence!(GetParameterAttributes {
    names: "ParameterNames" <= 256
});
sequence!(GetParameterAttributesResponse {
    parameters: "ParameterList"
});
sequence!(Attributes {
    name: "Name",
    notification: "Notification",
    access_list: "AccessList"
});
item!(Attributes, "ParameterAttributeStruct");

impl Element for Notification {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        Ok(text
            .trim()
            .parse()
            .ok()
            .and_then(Self::from_code)
            .unwrap_or_else(|| {
                reader.note(Repair::Number);
                Self::Off
            }))
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.number(name, i64::from(self.code()));
    }
}
