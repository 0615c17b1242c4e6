//! `platen.store.*`, `platen.log.*`, `platen.session_cache.*`: what a process asks of what it keeps things in, and how long the answers take.

use super::data::{Data, Sessions};
use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram},
};
use platen_bus::watched as log;
use platen_proto::topic::Topic;
use platen_runtime::Metrics;
use platen_sessions::watched as cache;
use platen_store::{Store, tables, watched as store};
use std::{sync::Arc, time::Duration};

/// The instruments. What fails is asked for, and has no duration.
#[derive(Debug)]
struct Measured {
    store: Bound<store::Kind, BoundHistogram<f64>>,
    read: Bound<&'static str, BoundCounter<u64>>,
    written: Bound<&'static str, BoundCounter<u64>>,
    log: BoundHistogram<f64>,
    appended: Bound<Topic, BoundCounter<u64>>,
    cache: Bound<cache::Call, BoundHistogram<f64>>,
}

/// An instrument for each value of its label, looked up once: every session passes here several times.
#[derive(Debug)]
struct Bound<K, I>(Vec<(K, I)>);

impl<K: PartialEq, I> Bound<K, I> {
    fn of(&self, key: &K) -> Option<&I> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, instrument)| instrument)
    }
}

/// What is kept, with everything that is asked of it measured.
pub(super) fn measured(data: Data, metrics: &Metrics) -> Data {
    let measured = Arc::new(Measured::new(metrics));
    let tables = Arc::clone(data.store.tables());
    Data {
        store: Store::new(store::Watched::new(tables, measured.clone())),
        log: log::Watched::new(data.log, measured.clone()),
        sessions: data.sessions.map(|sessions| Sessions {
            cache: cache::Watched::new(sessions.cache, measured),
            ..sessions
        }),
        ..data
    }
}

impl Measured {
    fn new(metrics: &Metrics) -> Self {
        let store = metrics.seconds(
            "platen.store.call.duration",
            "Until the store has answered, by kind of call",
        );
        let read = metrics.counter("platen.store.read", "Questions to the store, by table");
        let written = metrics.counter("platen.store.row.written", "Rows written, by table");
        let log = metrics.seconds(
            "platen.log.append.duration",
            "Until the log has acknowledged what was appended together",
        );
        let appended = metrics.counter("platen.log.record.appended", "Records appended, by topic");
        let cache = metrics.seconds(
            "platen.session_cache.call.duration",
            "Until the session cache has answered, by kind of call",
        );
        let kinds = [
            (store::Kind::Read, "read"),
            (store::Kind::Write, "write"),
            (store::Kind::Insert, "insert"),
            (store::Kind::Swap, "swap"),
            (store::Kind::Check, "check"),
        ];
        let tables = || tables::ALL.iter().map(|table| (table.name, table.name));
        let topics = Topic::ALL.into_iter().map(|topic| (topic, topic.name()));
        // What waits for a session takes as long as that does: it is not measured.
        let calls = [
            (cache::Call::Put, "put"),
            (cache::Call::PutBack, "put_back"),
            (cache::Call::Take, "take"),
            (cache::Call::Remove, "remove"),
            (cache::Call::Look, "look"),
        ];
        Self {
            store: durations(&store, kinds),
            read: counts(&read, "table", tables()),
            written: counts(&written, "table", tables()),
            log: log.bind(&[]),
            appended: counts(&appended, "topic", topics),
            cache: durations(&cache, calls),
        }
    }
}

fn durations<K>(
    histogram: &Histogram<f64>,
    calls: impl IntoIterator<Item = (K, &'static str)>,
) -> Bound<K, BoundHistogram<f64>> {
    let calls = calls.into_iter();
    let bound = calls.map(|(key, name)| (key, histogram.bind(&[KeyValue::new("call", name)])));
    Bound(bound.collect())
}

fn counts<K>(
    counter: &Counter<u64>,
    label: &'static str,
    names: impl IntoIterator<Item = (K, &'static str)>,
) -> Bound<K, BoundCounter<u64>> {
    let names = names.into_iter();
    let bound = names.map(|(key, name)| (key, counter.bind(&[KeyValue::new(label, name)])));
    Bound(bound.collect())
}

impl store::Watch for Measured {
    async fn before(&self, call: store::Call<'_>) -> Result<(), platen_store::Error> {
        let counters = match call.kind {
            store::Kind::Read => &self.read,
            store::Kind::Write | store::Kind::Insert | store::Kind::Swap => &self.written,
            store::Kind::Check => return Ok(()),
        };
        for counter in call
            .tables
            .iter()
            .filter_map(|table| counters.of(&table.name))
        {
            counter.add(1);
        }
        Ok(())
    }

    async fn after(
        &self,
        call: store::Call<'_>,
        took: Duration,
    ) -> Result<(), platen_store::Error> {
        if let Some(duration) = self.store.of(&call.kind) {
            duration.record(took.as_secs_f64());
        }
        Ok(())
    }
}

impl log::Watch for Measured {
    async fn before(&self, call: log::Call<'_>) -> Result<(), platen_bus::Error> {
        if let log::Call::Append(records) = call {
            let topics = records.iter().map(|record| &record.topic);
            for counter in topics.filter_map(|topic| self.appended.of(topic)) {
                counter.add(1);
            }
        }
        Ok(())
    }

    async fn after(&self, call: log::Call<'_>, took: Duration) -> Result<(), platen_bus::Error> {
        if let log::Call::Append(_) = call {
            self.log.record(took.as_secs_f64());
        }
        Ok(())
    }
}

impl cache::Watch for Measured {
    fn after(&self, call: cache::Call, took: Duration) -> Result<(), platen_sessions::Error> {
        if let Some(duration) = self.cache.of(&call) {
            duration.record(took.as_secs_f64());
        }
        Ok(())
    }
}
