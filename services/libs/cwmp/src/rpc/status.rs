//! Status of a change: in force, or only accepted.

use serde::{Deserialize, Serialize};

use crate::soap::{
    Repair,
    element::Element,
    reader::{Malformed, Reader, Tag},
    writer::Writer,
};

/// What a device says of a change that it accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// 0: done and in force. What is read where the device left the status out (RPC-24).
    #[default]
    Applied,
    /// 1: accepted, in force later, for example after a reboot.
    Pending,
}

impl Status {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Applied => 0,
            Self::Pending => 1,
        }
    }
}

impl Element for Status {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let text = reader.text()?;
        Ok(match text.trim() {
            "0" => Self::Applied,
            "1" => Self::Pending,
            _ => {
                reader.note(Repair::Number);
                Self::Applied
            }
        })
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.element(name, if *self == Self::Applied { "0" } else { "1" });
    }
}
