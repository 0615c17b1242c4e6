//! Where records lie: topics, partitions, shards.

use crate::log::Shards;
use platen_ids::SHARDS;
use platen_proto::topic::Topic;

/// A partition of a topic.
pub(super) type Place = (Topic, u32);

/// The topics of one log, all with the same number of partitions.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    partitions: u16,
    topics: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) topic: Topic,
    pub(super) name: String,
    /// µs since 1970, when the topic was made: version of its first record.
    pub(super) epoch_us: u64,
}

impl Layout {
    /// `partitions` has been checked; `topics`: every one.
    pub(super) const fn new(partitions: u16, topics: Vec<Entry>) -> Self {
        Self { partitions, topics }
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::from(self.partitions)
    }

    pub(super) fn entry(&self, topic: Topic) -> &Entry {
        let entry = self.topics.iter().find(|entry| entry.topic == topic);
        entry.expect("invariant: every topic is listed")
    }

    pub(super) fn name(&self, topic: Topic) -> &str {
        &self.entry(topic).name
    }

    pub(super) fn named(&self, name: &str) -> Option<&Entry> {
        self.topics.iter().find(|entry| entry.name == name)
    }

    /// Every partition of the topics.
    pub(super) fn places(&self, topics: &[Topic]) -> Vec<Place> {
        let places = |topic: &Topic| {
            let topic = *topic;
            (0..self.partitions()).map(move |partition| (topic, partition))
        };
        topics.iter().flat_map(places).collect()
    }

    /// The partition of a shard: each has a contiguous range of them.
    pub(super) fn partition(&self, shard: u8) -> i32 {
        i32::from(shard) * i32::from(self.partitions) / i32::from(SHARDS)
    }

    /// The shards of a partition.
    pub(super) fn shards(&self, partition: u32) -> Shards {
        let width = SHARDS / self.partitions;
        let first = u16::try_from(partition)
            .unwrap_or(u16::MAX)
            .saturating_mul(width);
        first.min(SHARDS)..first.saturating_add(width).min(SHARDS)
    }
}

/// Name of a topic on the cluster.
pub(super) fn full_name(prefix: &str, topic: Topic) -> String {
    format!("{prefix}{}", topic.name())
}

/// Name of a topic's dead letters.
pub(super) fn dead_letters_of(name: &str) -> String {
    format!("{name}.dlq")
}

/// Whether a topic may have so many partitions: then every shard lies in one of them whole.
pub(super) const fn is_allowed(partitions: usize) -> bool {
    partitions.is_power_of_two() && partitions <= SHARDS as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_lies_in_one_partition_in_order() {
        for partitions in [1, 2, 4, 64, 128, 256] {
            assert!(is_allowed(usize::from(partitions)));
            let layout = Layout::new(partitions, Vec::new());
            let mut next = 0;
            for partition in 0..layout.partitions() {
                let shards = layout.shards(partition);
                assert_eq!(shards.start, next);
                next = shards.end;
                for shard in shards {
                    let found = layout.partition(u8::try_from(shard).unwrap());
                    assert_eq!(found, i32::try_from(partition).unwrap());
                }
            }
            assert_eq!(next, SHARDS);
        }
        for wrong in [0, 3, 12, 512] {
            assert!(!is_allowed(wrong), "{wrong}");
        }
    }
}
