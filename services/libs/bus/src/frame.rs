//! A record as bytes of the embedded log.
//!
//! Format version, kind and shard (a byte each), time (µs, eight bytes), key and id (each after its length in two bytes), payload; numbers
//! are big-endian.

use crate::log::{Error, NewRecord};
use bytes::{Buf, Bytes};
use platen_proto::topic::{Kind, Topic};

const VERSION: u8 = 1;

/// The record's bytes. Its size has been checked.
pub(crate) fn encode(record: &NewRecord) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(15 + record.key.len() + record.id.len() + record.payload.len());
    bytes.extend([VERSION, tag(record.kind), record.shard]);
    bytes.extend(record.time_us.to_be_bytes());
    for text in [&record.key, &record.id] {
        bytes.extend(
            u16::try_from(text.len())
                .expect("invariant: the size was checked")
                .to_be_bytes(),
        );
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&record.payload);
    bytes
}

/// Reads a record of `topic` at `offset`.
pub(crate) fn decode(topic: Topic, offset: u64, bytes: Bytes) -> Result<NewRecord, Error> {
    read(topic, bytes).ok_or_else(|| Error::Corrupt {
        topic: topic.name(),
        offset,
        what: "the record cannot be read".to_owned(),
    })
}

fn read(topic: Topic, mut bytes: Bytes) -> Option<NewRecord> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let kind = kind(bytes.try_get_u8().ok()?)?;
    let shard = bytes.try_get_u8().ok()?;
    let time_us = bytes.try_get_i64().ok()?;
    let mut text = || {
        let length = usize::from(bytes.try_get_u16().ok()?);
        if length > bytes.len() {
            return None;
        }
        String::from_utf8(bytes.split_to(length).into()).ok()
    };
    let (key, id) = (text()?, text()?);
    Some(NewRecord {
        topic,
        shard,
        key,
        kind,
        id,
        time_us,
        payload: bytes,
    })
}

/// Number of a kind in stored records: for ever.
const fn tag(kind: Kind) -> u8 {
    match kind {
        Kind::Inform => 1,
        Kind::Transfer => 2,
        Kind::Request => 3,
        Kind::Done => 4,
        Kind::Woken => 5,
        Kind::Notice => 6,
        Kind::Event => 7,
        Kind::Wake => 8,
        Kind::Device => 9,
    }
}

fn kind(number: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| tag(*kind) == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(shard: u8, key: String, id: String, time_us: i64, kind in prop::sample::select(Kind::ALL.to_vec()), payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let record = NewRecord { topic: Topic::Wake, shard, key, kind, id, time_us, payload: payload.into() };
            prop_assert_eq!(decode(Topic::Wake, 0, encode(&record).into()).unwrap(), record);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..60), valid: bool) {
            if let (Some(first), true) = (bytes.first_mut(), valid) {
                *first = VERSION;
            }
            if let Ok(record) = decode(Topic::Reports, 7, bytes.clone().into()) {
                prop_assert_eq!(encode(&record), bytes);
            }
        }
    }
}
