//! Tables with somebody between them and whoever uses them: a process that measures the calls; a test that counts them, refuses them, loses their
//! answers.

use crate::table::{
    Edited, Error, Expect, Inserted, Key, Page, Part, Range, Row, Swapped, Table, Tables, Write,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    fmt,
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

/// Kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To read a row, or rows.
    Read,
    /// To write rows.
    Write,
    /// To insert a row if there is none.
    Insert,
    /// To compare and set a row.
    Swap,
    /// Whether the tables can take writes.
    Check,
}

/// What is asked of the tables.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What kind of call it is.
    pub kind: Kind,
    /// The tables: one for each question, one for each row that is written.
    pub tables: &'a [&'static Table],
    /// The rows of a [`Kind::Write`] that is on its way; once it is done: none.
    pub rows: &'a [Write],
}

impl<'a> Call<'a> {
    /// Of these tables, without rows.
    const fn of(kind: Kind, tables: &'a [&'static Table]) -> Self {
        Self {
            kind,
            tables,
            rows: &[],
        }
    }

    /// The tables that are read from, one for each question, and those that are written to, one for each row; without those of the walker of
    /// timers, which goes on whatever a test does.
    #[must_use]
    pub fn cost(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let tables = self.tables.iter().map(|table| table.name);
        let names: Vec<_> = tables
            .filter(|name| !["timers", "walked", "topics"].contains(name))
            .collect();
        match self.kind {
            Kind::Read => (names, Vec::new()),
            Kind::Write | Kind::Insert | Kind::Swap | Kind::Check => (Vec::new(), names),
        }
    }
}

/// What is done about calls.
pub trait Watch: fmt::Debug + Send + Sync + 'static {
    /// A call on its way to the tables; with an error it does not get there.
    fn before(&self, _call: Call<'_>) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }

    /// A call that the tables have done, and how long that took; with an error the caller does not hear of it.
    fn after(
        &self,
        _call: Call<'_>,
        _took: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }
}

/// The tables as they are seen through a [`Watch`].
#[derive(Debug)]
pub struct Watched<W> {
    tables: Arc<dyn Tables>,
    watch: Arc<W>,
}

impl<W: Watch> Watched<W> {
    /// Puts `watch` before `tables`.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>, watch: Arc<W>) -> Arc<Self> {
        Arc::new(Self { tables, watch })
    }

    async fn pass<T: Send>(
        &self,
        call: Call<'_>,
        done: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.watch.before(call).await?;
        let begun = Instant::now();
        let answer = done.await?;
        self.watch.after(call, begun.elapsed()).await?;
        Ok(answer)
    }
}

#[async_trait]
impl<W: Watch> Tables for Watched<W> {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error> {
        self.pass(Call::of(Kind::Read, &[table]), self.tables.get(table, key))
            .await
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error> {
        self.pass(
            Call::of(Kind::Read, &[table]),
            self.tables.scan(table, partition, range),
        )
        .await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        let tables: Vec<_> = writes.iter().map(|write| write.table).collect();
        let done = Call::of(Kind::Write, &tables);
        let call = Call {
            rows: &writes,
            ..done
        };
        self.watch.before(call).await?;
        let begun = Instant::now();
        self.tables.write(writes).await?;
        self.watch.after(done, begun.elapsed()).await
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error> {
        let done = self.tables.insert_if_absent(table, key, value);
        self.pass(Call::of(Kind::Insert, &[table]), done).await
    }

    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error> {
        self.pass(
            Call::of(Kind::Read, &[table]),
            self.tables.get_edited(table, key),
        )
        .await
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error> {
        let done = self.tables.scan_edited(table, partition, range);
        self.pass(Call::of(Kind::Read, &[table]), done).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error> {
        let done = self.tables.compare_and_set(table, key, expect, value);
        self.pass(Call::of(Kind::Swap, &[table]), done).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.pass(Call::of(Kind::Check, &[]), self.tables.check())
            .await
    }
}
