//! What a member of a group owns, holds and has done: decisions without a clock or a network.
//!
//! Records that were fetched wait here, in order. What is handed out counts as done when the caller says so, and only for partitions that have
//! been this member's all the while: what was taken away, even if it came back, is someone else's to commit.

use super::layout::{Layout, Place};
use crate::log::{Delivery, Record, Shards};
use platen_proto::topic::Topic;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Records and bytes that wait here at most; a single record may be larger.
const MAX_READY: usize = 2_048;
const MAX_BYTES: usize = 4 << 20;

/// A member's books.
pub(super) struct Ledger {
    topics: Vec<Topic>,
    owned: BTreeMap<Place, Owned>,
    ready: VecDeque<Arc<Record>>,
    ready_bytes: usize,
    /// Ownership that the caller has yet to hear of, the oldest first.
    news: VecDeque<Vec<Shards>>,
    /// What the caller has in hand: which ownership it is of, and the offset after it.
    out: BTreeMap<Place, (u64, u64)>,
    /// Counts ownerships.
    generation: u64,
}

struct Owned {
    generation: u64,
    /// Offset that is fetched next, if it is known.
    next: Option<u64>,
    /// Records of it that wait here.
    waiting: usize,
    done: Option<u64>,
    /// What was told to the cluster.
    committed: Option<u64>,
}

/// Something is wrong with the order of a partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Records that were there are gone.
    Missing(u64),
    /// The partition was cut: this is not the log that was read before.
    Back(u64),
}

impl Ledger {
    pub(super) fn new(topics: &[Topic]) -> Self {
        Self {
            topics: topics.to_vec(),
            owned: BTreeMap::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            news: VecDeque::new(),
            out: BTreeMap::new(),
            generation: 0,
        }
    }

    /// Partitions become this member's; with the committed offset, where there is one.
    pub(super) fn assign(
        &mut self,
        layout: &Layout,
        places: impl IntoIterator<Item = (Place, Option<u64>)>,
    ) {
        self.generation += 1;
        for (place, next) in places {
            let owned = Owned {
                generation: self.generation,
                next,
                waiting: 0,
                done: None,
                committed: None,
            };
            self.owned.insert(place, owned);
        }
        self.tell(layout);
    }

    /// Partitions are asked back: of these nothing more is handed out.
    pub(super) fn stop(&mut self, places: &[Place]) {
        let owned = &mut self.owned;
        self.ready.retain(|record| {
            let place = place_of(record);
            let stays = !places.contains(&place);
            if let (false, Some(owned)) = (stays, owned.get_mut(&place)) {
                owned.waiting = 0;
                owned.next = owned.next.min(Some(record.offset));
            }
            stays
        });
        self.ready_bytes = self.ready.iter().map(|record| weight(record)).sum();
    }

    /// Partitions are no longer this member's.
    pub(super) fn revoke(&mut self, layout: &Layout, places: &[Place]) {
        self.stop(places);
        for place in places {
            self.owned.remove(place);
        }
        self.tell(layout);
    }

    fn tell(&mut self, layout: &Layout) {
        let mut shards = Vec::new();
        for partition in 0..layout.partitions() {
            let mut topics = self.topics.iter();
            if topics.all(|topic| self.owned.contains_key(&(*topic, partition))) {
                shards.push(layout.shards(partition));
            }
        }
        self.news.push_back(shards);
    }

    /// A record was fetched. Those of partitions that are not this member's are dropped.
    pub(super) fn fetched(&mut self, record: Record) -> Option<Break> {
        let owned = self.owned.get_mut(&place_of(&record))?;
        let broken = match owned.next {
            Some(next) if record.offset > next => Some(Break::Missing(next)),
            Some(next) if record.offset < next => Some(Break::Back(next)),
            Some(_) | None => None,
        };
        owned.next = Some(record.offset + 1);
        owned.waiting += 1;
        self.ready_bytes += weight(&record);
        self.ready.push_back(Arc::new(record));
        broken
    }

    /// A message was passed over: the group goes on behind it once everything before it is done.
    pub(super) fn passed_over(&mut self, place: Place, offset: u64) {
        if let Some(owned) = self.owned.get_mut(&place) {
            owned.next = Some(offset + 1);
            if owned.waiting == 0 && !self.out.contains_key(&place) {
                owned.done = owned.next;
            }
        }
    }

    /// Whether more may be fetched.
    pub(super) fn has_room(&self) -> bool {
        self.ready.len() < MAX_READY && self.ready_bytes < MAX_BYTES
    }

    /// What the caller gets next: `max` records at most.
    pub(super) fn take(&mut self, max: usize) -> Option<Delivery> {
        if let Some(shards) = self.news.pop_front() {
            return Some(Delivery::Assigned(shards));
        }
        let batch: Vec<_> = self.ready.drain(..max.min(self.ready.len())).collect();
        for record in &batch {
            self.ready_bytes -= weight(record);
            let place = place_of(record);
            if let Some(owned) = self.owned.get_mut(&place) {
                owned.waiting -= 1;
                let after = (owned.generation, record.offset + 1);
                self.out.insert(place, after);
            }
        }
        (!batch.is_empty()).then_some(Delivery::Batch(batch))
    }

    /// The caller is done with what it has in hand.
    pub(super) fn done(&mut self) {
        for (place, (generation, next)) in std::mem::take(&mut self.out) {
            if let Some(owned) = self.owned.get_mut(&place)
                && owned.generation == generation
            {
                // With nothing left to hand out, what was passed over behind it is done, too.
                owned.done = if owned.waiting == 0 {
                    owned.next
                } else {
                    Some(next)
                };
            }
        }
    }

    /// Whether the caller has records of these partitions in hand.
    pub(super) fn has_out(&self, places: &[Place]) -> bool {
        places.iter().any(|place| {
            let owned = self.owned.get(place).map(|owned| owned.generation);
            let out = self.out.get(place).map(|(generation, _)| *generation);
            out.is_some() && out == owned
        })
    }

    /// What is done and not committed; from now on it counts as committed.
    pub(super) fn take_uncommitted(&mut self) -> BTreeMap<Place, u64> {
        let mut positions = BTreeMap::new();
        for (place, owned) in &mut self.owned {
            if owned.done != owned.committed {
                owned.committed = owned.done;
                positions.extend(owned.done.map(|next| (*place, next)));
            }
        }
        positions
    }

    /// What is done of these; whether it is committed is not known while the cluster has not answered.
    pub(super) fn done_of(&self, places: &[Place]) -> BTreeMap<Place, u64> {
        let done = |place: &Place| Some((*place, self.progress(*place)?));
        places.iter().filter_map(done).collect()
    }

    /// The cluster did not take what was committed of these: it is tried again.
    pub(super) fn not_committed(&mut self, places: &[Place]) {
        for place in places {
            if let Some(owned) = self.owned.get_mut(place) {
                owned.committed = None;
            }
        }
    }

    /// How far the group is known to have come here.
    pub(super) fn progress(&self, place: Place) -> Option<u64> {
        self.owned.get(&place)?.done
    }

    /// Where fetching goes on, where that is known.
    pub(super) fn positions(&self) -> BTreeMap<Place, u64> {
        let owned = self.owned.iter();
        owned
            .filter_map(|(place, owned)| owned.next.map(|next| (*place, next)))
            .collect()
    }
}

fn place_of(record: &Record) -> Place {
    (record.record.topic, record.partition)
}

fn weight(record: &Record) -> usize {
    256 + record.record.key.len() + record.record.id.len() + record.record.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::NewRecord;
    use platen_proto::topic::Kind;
    use proptest::prelude::*;

    const TOPIC: Topic = Topic::Reports;

    fn layout() -> Layout {
        Layout::new(4, Vec::new())
    }

    fn record(partition: u32, offset: u64) -> Record {
        let record = NewRecord {
            topic: TOPIC,
            shard: 0,
            key: String::new(),
            kind: Kind::Inform,
            id: String::new(),
            time_us: 0,
            payload: bytes::Bytes::new(),
        };
        Record::new(record, partition, offset, offset)
    }

    fn places(partitions: &[u32]) -> Vec<Place> {
        partitions
            .iter()
            .map(|partition| (TOPIC, *partition))
            .collect()
    }

    fn assign(ledger: &mut Ledger, partitions: &[u32]) {
        let places = places(partitions).into_iter().map(|place| (place, None));
        ledger.assign(&layout(), places);
    }

    fn assigned(ledger: &mut Ledger) -> Vec<Shards> {
        match ledger.take(9) {
            Some(Delivery::Assigned(shards)) => shards,
            other => panic!("{other:?}"),
        }
    }

    fn batch(ledger: &mut Ledger, max: usize) -> Vec<(u32, u64)> {
        match ledger.take(max) {
            Some(Delivery::Batch(records)) => records
                .iter()
                .map(|record| (record.partition, record.offset))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ownership_is_told_before_records_each_time_it_changes() {
        let mut ledger = Ledger::new(&[TOPIC]);
        assign(&mut ledger, &[0, 1]);
        ledger.fetched(record(0, 5));
        ledger.revoke(&layout(), &places(&[1]));
        assign(&mut ledger, &[1]);
        ledger.fetched(record(1, 7));

        assert_eq!(assigned(&mut ledger), [0..64, 64..128]);
        assert_eq!(
            assigned(&mut ledger),
            [0..64; 1],
            "what was taken away is told"
        );
        assert_eq!(assigned(&mut ledger), [0..64, 64..128]);
        assert_eq!(batch(&mut ledger, 9), [(0, 5), (1, 7)]);
        assert!(ledger.take(9).is_none());
    }

    #[test]
    fn a_shard_of_several_topics_is_owned_once_all_its_partitions_are() {
        let mut ledger = Ledger::new(&[TOPIC, Topic::Changes]);
        assign(&mut ledger, &[2]);
        ledger.assign(&layout(), [((Topic::Changes, 2), None)]);
        assert_eq!(assigned(&mut ledger), []);
        assert_eq!(assigned(&mut ledger), [128..192; 1]);
    }

    #[test]
    fn what_was_taken_away_is_not_committed_even_if_it_came_back() {
        let mut ledger = Ledger::new(&[TOPIC]);
        assign(&mut ledger, &[0, 1]);
        assigned(&mut ledger);
        for offset in 0..3 {
            ledger.fetched(record(0, offset));
            ledger.fetched(record(1, offset));
        }
        batch(&mut ledger, 4);
        assert!(ledger.has_out(&places(&[0])));

        ledger.revoke(&layout(), &places(&[0]));
        assert!(!ledger.has_out(&places(&[0])) && ledger.has_out(&places(&[1])));
        assign(&mut ledger, &[0]);
        assert!(!ledger.has_out(&places(&[0])), "another ownership");
        ledger.done();

        assert_eq!(ledger.take_uncommitted(), BTreeMap::from([((TOPIC, 1), 2)]));
        assigned(&mut ledger);
        assigned(&mut ledger);
        assert_eq!(
            batch(&mut ledger, 9),
            [(1, 2)],
            "and what was fetched of it is gone"
        );
        assert_eq!(ledger.take_uncommitted(), BTreeMap::new());
        ledger.not_committed(&places(&[1]));
        assert_eq!(ledger.take_uncommitted(), BTreeMap::from([((TOPIC, 1), 2)]));
    }

    #[test]
    fn room_is_bounded_by_number_and_bytes() {
        let mut ledger = Ledger::new(&[TOPIC]);
        assign(&mut ledger, &[0]);
        assigned(&mut ledger);
        let mut offset = 0;
        while ledger.has_room() {
            ledger.fetched(record(0, offset));
            offset += 1;
        }
        assert_eq!(offset, 2_048);
        batch(&mut ledger, 1);
        assert!(ledger.has_room());

        let large = Record::new(
            NewRecord {
                payload: vec![0; MAX_BYTES].into(),
                ..record(0, 0).record
            },
            0,
            offset,
            0,
        );
        ledger.fetched(large);
        assert!(!ledger.has_room());
        ledger.revoke(&layout(), &places(&[0]));
        assert!(ledger.has_room());
    }

    #[test]
    fn gaps_and_cuts_are_seen() {
        let mut ledger = Ledger::new(&[TOPIC]);
        ledger.assign(&layout(), [((TOPIC, 0), Some(10)), ((TOPIC, 1), None)]);
        assert_eq!(ledger.fetched(record(0, 12)), Some(Break::Missing(10)));
        assert_eq!(ledger.fetched(record(0, 13)), None);
        assert_eq!(ledger.fetched(record(0, 3)), Some(Break::Back(14)));
        assert_eq!(ledger.fetched(record(1, 99)), None, "it begins somewhere");
        assert_eq!(ledger.fetched(record(2, 0)), None, "not this member's");
    }

    #[test]
    fn what_is_passed_over_is_committed_after_what_was_before_it() {
        let mut ledger = Ledger::new(&[TOPIC]);
        assign(&mut ledger, &[0]);
        assigned(&mut ledger);
        ledger.passed_over((TOPIC, 0), 4);
        assert_eq!(ledger.take_uncommitted()[&(TOPIC, 0)], 5);
        assert_eq!(ledger.fetched(record(0, 5)), None);
        ledger.passed_over((TOPIC, 0), 6);
        batch(&mut ledger, 9);
        ledger.passed_over((TOPIC, 0), 7);
        assert_eq!(ledger.take_uncommitted(), BTreeMap::new());
        ledger.done();
        assert_eq!(ledger.take_uncommitted()[&(TOPIC, 0)], 8);
    }

    #[test]
    fn of_what_is_asked_back_nothing_more_is_handed_out() {
        let mut ledger = Ledger::new(&[TOPIC]);
        assign(&mut ledger, &[0, 1]);
        assigned(&mut ledger);
        for offset in 0..4 {
            ledger.fetched(record(0, offset));
        }
        batch(&mut ledger, 2);
        ledger.fetched(record(1, 0));

        ledger.stop(&places(&[0]));
        ledger.done();

        assert_eq!(ledger.take_uncommitted()[&(TOPIC, 0)], 2);
        assert_eq!(batch(&mut ledger, 9), [(1, 0)]);
    }

    /// A step of a member's life.
    #[derive(Debug, Clone)]
    enum Step {
        Assign(u32),
        Revoke(u32),
        Fetch(u32),
        Take(usize),
        Done,
        Commit,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0..4u32).prop_map(Step::Assign),
            1 => (0..4u32).prop_map(Step::Revoke),
            8 => (0..4u32).prop_map(Step::Fetch),
            4 => (1..9usize).prop_map(Step::Take),
            4 => Just(Step::Done),
            2 => Just(Step::Commit),
        ]
    }

    proptest! {
        /// Nothing is committed that was not handed out, in this ownership, and done; and each ownership is handed out without gap.
        #[test]
        fn only_what_is_done_is_committed(steps in prop::collection::vec(step(), 0..300)) {
            let mut ledger = Ledger::new(&[TOPIC]);
            let mut owned = [false; 4];
            // Per partition: the cluster's committed offset, what is fetched next, what was handed out, what is done.
            let (mut committed, mut fetch) = ([0u64; 4], [0u64; 4]);
            let (mut seen, mut done) = ([0u64; 4], [0u64; 4]);
            for step in steps {
                match step {
                    Step::Assign(n) => {
                        let at = usize::try_from(n).unwrap();
                        if !owned[at] {
                            owned[at] = true;
                            (fetch[at], seen[at], done[at]) = (committed[at], committed[at], committed[at]);
                            ledger.assign(&layout(), [((TOPIC, n), Some(committed[at]))]);
                        }
                    }
                    Step::Revoke(n) => {
                        let at = usize::try_from(n).unwrap();
                        ledger.stop(&places(&[n]));
                        for ((_, n), next) in ledger.done_of(&places(&[n])) {
                            let at = usize::try_from(n).unwrap();
                            prop_assert!(owned[at] && next <= done[at] && next >= committed[at]);
                            committed[at] = next;
                        }
                        owned[at] = false;
                        ledger.revoke(&layout(), &places(&[n]));
                    }
                    Step::Fetch(n) => {
                        let at = usize::try_from(n).unwrap();
                        prop_assert_eq!(ledger.fetched(record(n, fetch[at])), None);
                        fetch[at] += u64::from(owned[at]);
                    }
                    Step::Take(max) => {
                        if let Some(Delivery::Batch(records)) = ledger.take(max) {
                            for record in records {
                                let at = usize::try_from(record.partition).unwrap();
                                prop_assert!(owned[at]);
                                prop_assert_eq!(record.offset, seen[at], "without gap");
                                seen[at] += 1;
                            }
                        }
                    }
                    Step::Done => {
                        ledger.done();
                        done = seen;
                    }
                    Step::Commit => {
                        for ((_, n), next) in ledger.take_uncommitted() {
                            let at = usize::try_from(n).unwrap();
                            prop_assert!(owned[at] && next <= done[at] && next > committed[at]);
                            committed[at] = next;
                        }
                    }
                }
            }
        }
    }
}
