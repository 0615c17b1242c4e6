//! `platen.store.*`, `platen.log.*`, `platen.session_cache.*`: what a process asks of what it keeps things in, and how long the answers take.

use super::data::{Data, Sessions};
use async_trait::async_trait;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use platen_bus::watched as log;
use platen_runtime::Metrics;
use platen_sessions::watched as cache;
use platen_store::{Store, watched as store};
use std::{sync::Arc, time::Duration};

/// The instruments. What fails is asked for, and has no duration.
#[derive(Debug)]
struct Measured {
    store: Histogram<f64>,
    read: Counter<u64>,
    written: Counter<u64>,
    log: Histogram<f64>,
    appended: Counter<u64>,
    cache: Histogram<f64>,
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
        Self {
            store: metrics.seconds(
                "platen.store.call.duration",
                "Until the store has answered, by kind of call",
            ),
            read: metrics.counter("platen.store.read", "Questions to the store, by table"),
            written: metrics.counter("platen.store.row.written", "Rows written, by table"),
            log: metrics.seconds(
                "platen.log.append.duration",
                "Until the log has acknowledged what was appended together",
            ),
            appended: metrics.counter("platen.log.record.appended", "Records appended, by topic"),
            cache: metrics.seconds(
                "platen.session_cache.call.duration",
                "Until the session cache has answered, by kind of call",
            ),
        }
    }
}

#[async_trait]
impl store::Watch for Measured {
    async fn before(&self, call: store::Call<'_>) -> Result<(), platen_store::Error> {
        let counter = match call.kind {
            store::Kind::Read => &self.read,
            store::Kind::Write | store::Kind::Insert | store::Kind::Swap => &self.written,
            store::Kind::Check => return Ok(()),
        };
        for table in call.tables {
            counter.add(1, &[KeyValue::new("table", table.name)]);
        }
        Ok(())
    }

    async fn after(
        &self,
        call: store::Call<'_>,
        took: Duration,
    ) -> Result<(), platen_store::Error> {
        let kind = match call.kind {
            store::Kind::Read => "read",
            store::Kind::Write => "write",
            store::Kind::Insert => "insert",
            store::Kind::Swap => "swap",
            store::Kind::Check => "check",
        };
        self.store
            .record(took.as_secs_f64(), &[KeyValue::new("call", kind)]);
        Ok(())
    }
}

#[async_trait]
impl log::Watch for Measured {
    async fn before(&self, call: log::Call<'_>) -> Result<(), platen_bus::Error> {
        if let log::Call::Append(records) = call {
            for record in records {
                let topic = KeyValue::new("topic", record.topic.name());
                self.appended.add(1, &[topic]);
            }
        }
        Ok(())
    }

    async fn after(&self, call: log::Call<'_>, took: Duration) -> Result<(), platen_bus::Error> {
        if let log::Call::Append(_) = call {
            self.log.record(took.as_secs_f64(), &[]);
        }
        Ok(())
    }
}

impl cache::Watch for Measured {
    fn after(&self, call: cache::Call, took: Duration) -> Result<(), platen_sessions::Error> {
        let kind = match call {
            cache::Call::Put => "put",
            cache::Call::PutBack => "put_back",
            cache::Call::Take => "take",
            cache::Call::Remove => "remove",
            cache::Call::Look => "look",
            // It takes as long as the session does.
            cache::Call::WaitIdle => return Ok(()),
        };
        self.cache
            .record(took.as_secs_f64(), &[KeyValue::new("call", kind)]);
        Ok(())
    }
}
