//! ParameterValueStruct: a parameter's name, value and type (TR-069 A.3.2.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::{
    Repair,
    element::{Element, Item},
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// A parameter with its value, as text.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ParameterValue {
    /// Full path, `Device.DeviceInfo.SoftwareVersion`. At most 256 characters where we write it.
    pub name: String,
    /// The value exactly as written, spaces and line breaks included.
    pub value: String,
    /// The type given with the value.
    pub value_type: ValueType,
}

impl ParameterValue {
    /// Pairs a path with a value of the given type.
    pub fn new(name: impl Into<String>, value: impl Into<String>, value_type: ValueType) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            value_type,
        }
    }

    /// Pairs a path with a text.
    pub fn string(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, value, ValueType::String)
    }
}

/// Whether a parameter holds a secret, by its name: `…Password…`, `…Passphrase…`, `…Secret…`, `…Key`, `…Community` and their kin (RPC-29). Keys that name a command or a set of parameters
/// are none, nor are public ones. What it says is neither shown nor kept, on the log, in the store, or in a trace.
pub fn is_secret(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let holds = ["password", "passphrase", "presharedkey", "wepkey", "secret"];
    let ends = ["key", "community", "communityname"];
    let harmless = ["parameterkey", "commandkey", "publickey"];
    holds.iter().any(|word| name.contains(word))
        || ends.iter().any(|end| name.ends_with(end))
            && !harmless.iter().any(|end| name.ends_with(end))
}

/// Without the value of what is secret by its name.
impl fmt::Debug for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterValue")
            .field("name", &self.name)
            .field(
                "value",
                if is_secret(&self.name) {
                    &"…"
                } else {
                    &self.value
                },
            )
            .field("value_type", &self.value_type)
            .finish()
    }
}

/// The type of a value: what `xsi:type` names (TR-106 §3).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum ValueType {
    /// The sender named no type, or none of those below. Written as `xsd:string`.
    #[default]
    Unknown,
    /// `xsd:string`
    String,
    /// `xsd:int`, 32 bits
    Int,
    /// `xsd:long`, 64 bits
    Long,
    /// `xsd:unsignedInt`, 32 bits
    UnsignedInt,
    /// `xsd:unsignedLong`, 64 bits
    UnsignedLong,
    /// `xsd:boolean`
    Boolean,
    /// `xsd:dateTime`
    DateTime,
    /// `xsd:base64`; also read as `base64Binary`
    Base64,
    /// `xsd:hexBinary`
    HexBinary,
}

impl ValueType {
    /// Every type that can be named on the wire.
    pub const NAMED: [Self; 9] = [
        Self::String,
        Self::Int,
        Self::Long,
        Self::UnsignedInt,
        Self::UnsignedLong,
        Self::Boolean,
        Self::DateTime,
        Self::Base64,
        Self::HexBinary,
    ];

    /// The qualified name that is written as `xsi:type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown | Self::String => "xsd:string",
            Self::Int => "xsd:int",
            Self::Long => "xsd:long",
            Self::UnsignedInt => "xsd:unsignedInt",
            Self::UnsignedLong => "xsd:unsignedLong",
            Self::Boolean => "xsd:boolean",
            Self::DateTime => "xsd:dateTime",
            // No type of XML Schema, but the standard's word, and the one that devices compare with (SES-79).
            Self::Base64 => "xsd:base64",
            Self::HexBinary => "xsd:hexBinary",
        }
    }

    /// Reads a type name, whatever its prefix; [`ValueType::Unknown`] for anything that is none of the nine (RPC-40).
    pub fn from_name(name: &str) -> Self {
        let local = name.rsplit(':').next().unwrap_or_default().trim();
        match local {
            "string" => Self::String,
            "int" | "integer" => Self::Int,
            "long" => Self::Long,
            "unsignedInt" => Self::UnsignedInt,
            "unsignedLong" => Self::UnsignedLong,
            "boolean" => Self::Boolean,
            "dateTime" => Self::DateTime,
            "base64" | "base64Binary" => Self::Base64,
            "hexBinary" => Self::HexBinary,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Element for ParameterValue {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let mut parameter = Self::default();
        while let Some(tag) = reader.child()? {
            match tag.local() {
                "Name" => parameter.name = reader.text()?,
                "Value" => {
                    parameter.value_type = tag
                        .attribute("type")?
                        .map_or(ValueType::Unknown, ValueType::from_name);
                    if parameter.value_type == ValueType::Unknown {
                        reader.note(Repair::ValueType);
                    }
                    parameter.value = reader.text()?;
                }
                _ => reader.skip()?,
            }
        }
        Ok(parameter)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.open(name);
        writer.limited_text("Name", &self.name, 256);
        writer.open_with("Value", "xsi:type", self.value_type.as_str());
        writer.text(&self.value);
        writer.close("Value");
        writer.close(name);
    }
}

impl Item for ParameterValue {
    const ELEMENT: &'static str = "ParameterValueStruct";
    const ARRAY_TYPE: &'static str = "cwmp:ParameterValueStruct";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for (path, expected) in [
            ("Device.ManagementServer.ConnectionRequestPassword", true),
            ("Device.WiFi.AccessPoint.1.Security.KeyPassphrase", true),
            ("Device.WiFi.AccessPoint.1.Security.PreSharedKey", true),
            ("Device.WiFi.AccessPoint.1.Security.WEPKey", true),
            ("Device.X_A_.adminpassword", true),
            ("Device.SNMP.ReadCommunity", true),
            ("Device.SNMP.CommunityName", true),
            ("Device.SNMP.User.1.AuthKey", true),
            ("Device.X.PasswordHash", true),
            ("Device.PasswordPolicy.MinLength", false),
            ("Device.ManagementServer.ParameterKey", false),
            ("Device.ManagementServer.ConnectionRequestUsername", false),
            ("Device.Users.User.1.", false),
            ("key", true),
            ("é", false),
            ("", false),
        ] {
            assert_eq!(is_secret(path), expected, "{path}");
        }
    }
}
