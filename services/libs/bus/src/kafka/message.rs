//! A record as a message of Kafka: the key is the record's, the value its payload, all else stands in headers, as CloudEvents says for Kafka
//! (binary content mode). `ce_shard` and `ce_timeus` are extensions; the time of a record is exact to the microsecond, whatever its year.

use super::layout::Layout;
use crate::log::{DeadLetter, NewRecord, Record};
use bytes::Bytes;
use platen_proto::topic::{Kind, Topic};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
};

const TYPE: &str = "ce_type";
const ID: &str = "ce_id";
const SHARD: &str = "ce_shard";
const TIME: &str = "ce_timeus";

/// Of dead letters, beside those of the record.
const GROUP: &str = "platen_group";
const REASON: &str = "platen_reason";
const PARTITION: &str = "platen_partition";
const OFFSET: &str = "platen_offset";

/// Characters of a reason that are kept.
const MAX_REASON: usize = 1_000;

/// Before the name of a kind.
const TYPE_PREFIX: &str = "platen.";

/// Why a message is no record for this process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Of a kind that this version does not know, so that nobody here waits for it.
    Unknown(String),
    /// Nothing that Platen wrote.
    Foreign(&'static str),
}

/// The headers of a record.
pub(super) fn headers(record: &NewRecord) -> OwnedHeaders {
    let kind = [TYPE_PREFIX, record.kind.name()].concat();
    let (shard, time) = (record.shard.to_string(), record.time_us.to_string());
    let texts = [
        ("ce_specversion", "1.0"),
        ("ce_source", "platen"),
        (TYPE, &kind),
        (ID, &record.id),
        (SHARD, &shard),
        (TIME, &time),
        ("content-type", "application/protobuf"),
    ];
    with(OwnedHeaders::new_with_capacity(texts.len() + 4), &texts)
}

/// The headers of a record that `group` put aside.
pub(super) fn dead_headers(record: &Record, group: &str, reason: &str) -> OwnedHeaders {
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
    let texts = [
        (GROUP, group),
        (REASON, &reason),
        (PARTITION, &partition),
        (OFFSET, &offset),
    ];
    with(headers(&record.record), &texts)
}

fn with(headers: OwnedHeaders, texts: &[(&str, &str)]) -> OwnedHeaders {
    texts.iter().fold(headers, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(*value),
        })
    })
}

/// Reads a message of one of the log's topics.
pub(super) fn record(layout: &Layout, message: &BorrowedMessage<'_>) -> Result<Record, Unread> {
    let entry = layout
        .named(message.topic())
        .ok_or(Unread::Foreign("it lies on a topic of others"))?;
    let found = Found::of(message)?;
    let (partition, offset) = (place(message.partition())?, offset(message.offset())?);
    let record = found.record(entry.topic, message)?;
    let version = entry.epoch_us.saturating_add(offset);
    Ok(Record::new(record, partition, offset, version))
}

/// Reads a message of a topic's dead letters.
pub(super) fn dead_letter(
    topic: Topic,
    message: &BorrowedMessage<'_>,
) -> Result<DeadLetter, Unread> {
    let found = Found::of(message)?;
    Ok(DeadLetter {
        group: found.text(found.group, "it names no group")?.to_owned(),
        reason: found.text(found.reason, "it has no reason")?.to_owned(),
        partition: found.number(found.partition, "it names no partition")?,
        offset: found.number(found.offset, "it has no offset")?,
        record: found.record(topic, message)?,
    })
}

/// The headers that matter.
#[derive(Default)]
struct Found<'a> {
    kind: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    shard: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    group: Option<&'a [u8]>,
    reason: Option<&'a [u8]>,
    partition: Option<&'a [u8]>,
    offset: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn of(message: &'a BorrowedMessage<'_>) -> Result<Self, Unread> {
        // The library panics over a header whose name is no UTF-8, which a stranger may have written.
        let read = AssertUnwindSafe(|| {
            let mut found = Self::default();
            for header in message.headers().into_iter().flat_map(Headers::iter) {
                let place = match header.key {
                    TYPE => &mut found.kind,
                    ID => &mut found.id,
                    SHARD => &mut found.shard,
                    TIME => &mut found.time,
                    GROUP => &mut found.group,
                    REASON => &mut found.reason,
                    PARTITION => &mut found.partition,
                    OFFSET => &mut found.offset,
                    _ => continue,
                };
                *place = header.value;
            }
            found
        });
        catch_unwind(read).map_err(|_| Unread::Foreign("a header's name is no text"))
    }

    fn record(&self, topic: Topic, message: &BorrowedMessage<'_>) -> Result<NewRecord, Unread> {
        let kind = self.text(self.kind, "it has no type")?;
        let kind = kind
            .strip_prefix(TYPE_PREFIX)
            .and_then(Kind::from_name)
            .ok_or_else(|| Unread::Unknown(kind.to_owned()))?;
        let key = String::from_utf8(message.key().unwrap_or_default().to_vec())
            .map_err(|_| Unread::Foreign("its key is no text"))?;
        Ok(NewRecord {
            topic,
            shard: self.number(self.shard, "it has no shard")?,
            key,
            kind,
            id: self.text(self.id, "it has no id")?.to_owned(),
            time_us: self.number(self.time, "it has no time")?,
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        })
    }

    fn text(&self, value: Option<&'a [u8]>, lacking: &'static str) -> Result<&'a str, Unread> {
        value
            .and_then(|value| std::str::from_utf8(value).ok())
            .ok_or(Unread::Foreign(lacking))
    }

    fn number<N: FromStr>(
        &self,
        value: Option<&'a [u8]>,
        lacking: &'static str,
    ) -> Result<N, Unread> {
        let text = self.text(value, lacking)?;
        text.parse().map_err(|_| Unread::Foreign(lacking))
    }
}

pub(super) fn place(partition: i32) -> Result<u32, Unread> {
    u32::try_from(partition).map_err(|_| Unread::Foreign("its partition is negative"))
}

fn offset(offset: i64) -> Result<u64, Unread> {
    u64::try_from(offset).map_err(|_| Unread::Foreign("its offset is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_cloud_events() {
        let record = NewRecord {
            topic: Topic::Reports,
            shard: 200,
            key: "t/d".to_owned(),
            kind: Kind::Inform,
            id: "s-1".to_owned(),
            time_us: -5,
            payload: Bytes::new(),
        };
        let dead = Record::new(record, 3, 9, 12);

        let headers = dead_headers(&dead, "metering", &"ä".repeat(2_000));

        let found: Vec<(&str, String)> = headers
            .iter()
            .map(|header| {
                let text = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
                (header.key, text)
            })
            .collect();
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_source", "platen"),
            ("ce_type", "platen.inform"),
            ("ce_id", "s-1"),
            ("ce_shard", "200"),
            ("ce_timeus", "-5"),
            ("content-type", "application/protobuf"),
            ("platen_group", "metering"),
            ("platen_reason", &"ä".repeat(1_000)),
            ("platen_partition", "3"),
            ("platen_offset", "9"),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key, value.to_owned())));
    }
}
