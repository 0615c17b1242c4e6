//! Records that a group could not handle.
//!
//! Key: name of the topic, a zero byte, offset (eight bytes, big-endian), name of the group. Value: when it expires (µs since 1970, eight
//! bytes), the reason after its length (two bytes), the record.

use crate::{
    frame,
    log::{DeadLetter, Error, Record},
};
use bytes::{Buf, Bytes};
use platen_embedded::Keyspace;
use platen_proto::topic::Topic;
use std::{ops::Bound, time::Duration};

/// They are kept this long.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Characters of a reason that are kept.
const MAX_REASON: usize = 1_000;

/// Key and value of a dead letter that is put aside at `now` (since 1970).
pub(crate) fn encode(
    record: &Record,
    group: &str,
    reason: &str,
    now: Duration,
) -> (Vec<u8>, Vec<u8>) {
    let mut key = prefix_of(record.record.topic);
    key.extend(record.offset.to_be_bytes());
    key.extend_from_slice(group.as_bytes());
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let expires = u64::try_from((now + KEPT).as_micros()).unwrap_or(u64::MAX);
    let mut value = expires.to_be_bytes().to_vec();
    let length =
        u16::try_from(reason.len()).expect("invariant: a character has four bytes at most");
    value.extend(length.to_be_bytes());
    value.extend_from_slice(reason.as_bytes());
    value.extend(frame::encode(&record.record));
    (key, value)
}

/// The oldest first.
pub(crate) fn read(
    dead: &Keyspace,
    topic: Topic,
    limit: usize,
    now: Duration,
) -> Result<Vec<DeadLetter>, Error> {
    let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let mut letters = Vec::new();
    let mut failed = None;
    let prefix = prefix_of(topic);
    let end = [topic.name().as_bytes(), &[1]].concat();
    dead.scan(
        (Bound::Included(prefix.clone()), Bound::Excluded(end)),
        false,
        |key, value| {
            if letters.len() == limit {
                return false;
            }
            let expires = value
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes));
            if expires > now_us {
                match decode(topic, &key[prefix.len()..], value.slice(8..)) {
                    Ok(letter) => letters.push(letter),
                    Err(error) => failed = Some(error),
                }
            }
            failed.is_none()
        },
    )?;
    failed.map_or(Ok(letters), Err)
}

fn decode(topic: Topic, key: &[u8], mut value: Bytes) -> Result<DeadLetter, Error> {
    let corrupt = |offset| Error::Corrupt {
        topic: topic.name(),
        offset,
        what: "a dead letter cannot be read".to_owned(),
    };
    let (offset, group) = key.split_first_chunk().ok_or_else(|| corrupt(0))?;
    let offset = u64::from_be_bytes(*offset);
    let group = String::from_utf8(group.to_vec()).map_err(|_| corrupt(offset))?;
    let length = usize::from(value.try_get_u16().map_err(|_| corrupt(offset))?);
    if length > value.len() {
        return Err(corrupt(offset));
    }
    let reason = String::from_utf8(value.split_to(length).into()).map_err(|_| corrupt(offset))?;
    Ok(DeadLetter {
        group,
        reason,
        record: frame::decode(topic, offset, value)?,
        partition: 0,
        offset,
    })
}

fn prefix_of(topic: Topic) -> Vec<u8> {
    [topic.name().as_bytes(), &[0]].concat()
}
