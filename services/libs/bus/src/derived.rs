//! What follows from a record: the same cause has the same id, however often it is delivered.

use crate::{NewRecord, Record};
use platen_proto::topic::{Kind, Topic};
use prost::Message;
use sha2::{Digest, Sha256};

/// The record that is being handled, as cause of what is derived from it.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// Tenant of the device.
    pub tenant: &'a str,
    /// The device that the record is about.
    pub device: &'a str,
    /// Id of the record.
    pub id: &'a str,
    /// Version of what is derived from it.
    pub version: u64,
    /// When it was received, microseconds since 1970: the `now` of everything that is decided upon it.
    pub now_us: i64,
}

impl<'a> Cause<'a> {
    /// `record`, which is about this device.
    #[must_use]
    pub fn of(record: &'a Record, tenant: &'a str, device: &'a str) -> Self {
        Self {
            tenant,
            device,
            id: &record.record.id,
            version: record.version,
            now_us: record.record.time_us,
        }
    }

    /// The id of what follows from the record. `what` tells it from others with the same cause.
    #[must_use]
    pub fn derived(&self, what: &[&str]) -> String {
        let mut cause = vec![self.id];
        cause.extend(what);
        id(&cause)
    }

    /// A derived record about the device, with the id [`Self::derived`] from `what`.
    #[must_use]
    pub fn emit(
        &self,
        topic: Topic,
        kind: Kind,
        what: &[&str],
        payload: &impl Message,
    ) -> NewRecord {
        NewRecord {
            topic,
            shard: platen_ids::shard(self.tenant, self.device),
            key: format!("{}/{}", self.tenant, self.device),
            kind,
            id: self.derived(what),
            time_us: self.now_us,
            payload: payload.encode_to_vec().into(),
        }
    }
}

/// The id of what `cause` leads to: 32 hexadecimal digits, which also fit a CommandKey.
#[must_use]
pub fn id(cause: &[&str]) -> String {
    hash(cause)[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A short hash of texts, for sets whose members are few.
#[must_use]
pub fn short(parts: &[&str]) -> u64 {
    let hash = hash(parts);
    u64::from_be_bytes(
        hash[..8]
            .try_into()
            .expect("invariant: a SHA-256 has 32 bytes"),
    )
}

/// SHA-256 of texts. Each counts with its length, so that texts cut differently differ.
#[must_use]
pub fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_between_parts_counts() {
        assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
        assert_eq!(id(&["ab", "c"]).len(), 32);
        assert_eq!(id(&["ab", "c"]), id(&["ab", "c"]));
    }

    #[test]
    fn what_follows_from_a_record_names_it_and_its_device() {
        let cause = Cause {
            tenant: "t",
            device: "d",
            id: "record",
            version: 9,
            now_us: 5,
        };

        let record = cause.emit(Topic::Changes, Kind::Event, &["x", "1"], &());

        assert_eq!(record.id, id(&["record", "x", "1"]));
        assert_eq!((record.key.as_str(), record.time_us), ("t/d", 5));
        assert_eq!(record.shard, platen_ids::shard("t", "d"));
        assert_ne!(cause.derived(&["x", "2"]), record.id);
    }
}
