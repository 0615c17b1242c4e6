//! What a device answers to a Download or an Upload (TR-069 A.3.2.8, A.4.1.5).

use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::{
    date_time::DateTime,
    soap::{
        element::Element,
        reader::{Malformed, Reader, Tag},
        writer::Writer,
    },
};

/// How far a transfer is when its request is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// [`Status::Applied`]: done in this session, and no TransferComplete will follow. [`Status::Pending`]: TransferComplete
    /// comes later; also what is read where the device left the status out, since the other reading would lose its report.
    pub status: Status,
    /// When it began; unknown unless done.
    pub start_time: DateTime,
    /// When it ended; unknown unless done.
    pub complete_time: DateTime,
}

impl Default for TransferStatus {
    fn default() -> Self {
        Self {
            status: Status::Pending,
            start_time: DateTime::unknown(),
            complete_time: DateTime::unknown(),
        }
    }
}

impl Element for TransferStatus {
    fn read(reader: &mut Reader<'_>, _tag: &Tag<'_>) -> Result<Self, Malformed> {
        let mut transfer = Self::default();
        while let Some(tag) = reader.child()? {
            match tag.local() {
                "Status" => transfer.status = Status::read(reader, &tag)?,
                "StartTime" => transfer.start_time = DateTime::read(reader, &tag)?,
                "CompleteTime" => transfer.complete_time = DateTime::read(reader, &tag)?,
                _ => reader.skip()?,
            }
        }
        Ok(transfer)
    }

    fn write(&self, writer: &mut Writer, name: &str) {
        writer.open(name);
        self.status.write(writer, "Status");
        self.start_time.write(writer, "StartTime");
        self.complete_time.write(writer, "CompleteTime");
        writer.close(name);
    }
}
