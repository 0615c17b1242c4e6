//! The store as the edge sees it: it answers in time, or it is away.
//!
//! While it is away, an edge goes on with what it remembers: see [`Kept`].

use async_trait::async_trait;
use bytes::Bytes;
use platen_store::{
    Error, Store, Tables,
    table::{Edited, Expect, Inserted, Key, Page, Part, Range, Row, Swapped, Table, Write},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// The store has so long for a call: a POST makes a few of them, and its device waits for half a minute.
const PATIENCE: Duration = Duration::from_secs(3);

/// For so long what was read is good enough while the store is away.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Something that was read from the store, and when.
///
/// Older than wanted, it is read again; if that fails since the store is away, it holds for up to [`KEPT`]. What is edited is edited in the store, so while
/// that is away it stays as it was; what was edited between the reading and then is for the holder to know (`Changes`).
#[derive(Debug, Clone)]
pub(crate) struct Kept<T> {
    pub(crate) value: T,
    pub(crate) read: Instant,
}

impl<T> Kept<T> {
    /// Whether it may be taken for what it was, without asking.
    pub(crate) fn is_fresh(&self, wanted: Duration) -> bool {
        self.read.elapsed() < wanted
    }

    /// Its value in place of an answer of the store, if that is away.
    pub(crate) fn in_place_of(self, error: Error) -> Result<T, Error> {
        if error.is_transient() && self.is_fresh(KEPT) {
            Ok(self.value)
        } else {
            Err(error)
        }
    }
}

/// Tables whose calls end in time, and at once while the store is known to be away.
#[derive(Debug)]
pub(crate) struct Reach {
    tables: Arc<dyn Tables>,
    away: AtomicBool,
}

impl Reach {
    pub(crate) fn new(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            tables: Arc::clone(store.tables()),
            away: AtomicBool::new(false),
        })
    }

    /// Notes whether the store is away; `true`: that is news.
    pub(crate) fn set_away(&self, away: bool) -> bool {
        self.away.swap(away, Ordering::Relaxed) != away
    }

    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("it has not answered lately".to_owned()));
        }
        match timeout(PATIENCE, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unavailable(format!("no answer within {PATIENCE:?}"))),
        }
    }
}

#[async_trait]
impl Tables for Reach {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error> {
        self.ask(self.tables.get(table, key)).await
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error> {
        self.ask(self.tables.scan(table, partition, range)).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        self.ask(self.tables.write(writes)).await
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error> {
        self.ask(self.tables.insert_if_absent(table, key, value))
            .await
    }

    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error> {
        self.ask(self.tables.get_edited(table, key)).await
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error> {
        self.ask(self.tables.scan_edited(table, partition, range))
            .await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error> {
        self.ask(self.tables.compare_and_set(table, key, expect, value))
            .await
    }

    /// Asks in any case: this is how its return is noticed. In the time that the caller gives it.
    async fn check(&self) -> Result<(), Error> {
        self.tables.check().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_stands_in_for_a_store_that_is_away_for_a_day() {
        let kept = Kept {
            value: "x",
            read: Instant::now(),
        };
        let away = || Error::Unavailable("as the test wants it".to_owned());
        let corrupt = Error::Corrupt {
            table: "t",
            what: String::new(),
        };
        assert!(kept.clone().in_place_of(corrupt).is_err(), "not away");

        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(!kept.is_fresh(Duration::from_secs(60)));
        assert!(matches!(kept.clone().in_place_of(away()), Ok("x")));

        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(kept.in_place_of(away()).is_err(), "too old");
    }
}
