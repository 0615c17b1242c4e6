//! Tables with a test between them and whoever uses them: it counts calls, refuses them, loses their answers.

use crate::table::{
    Edited, Error, Expect, Inserted, Key, Page, Part, Range, Row, Swapped, Table, Tables, Write,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// What is asked of the tables.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// To read a row, or rows.
    Read(&'static Table),
    /// To write rows.
    Write(&'a [Write]),
    /// To insert a row if there is none.
    Insert(&'static Table),
    /// To compare and set a row.
    Swap(&'static Table),
    /// Whether they can take writes.
    Check,
}

impl Call<'_> {
    /// The tables that are read from, one for each question, and those that are written to, one for each row; without those of the walker of
    /// timers, which goes on whatever the test does.
    #[must_use]
    pub fn cost(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let (read, written): (Option<&'static Table>, Vec<&'static Table>) = match *self {
            Self::Read(table) => (Some(table), Vec::new()),
            Self::Write(writes) => (None, writes.iter().map(|write| write.table).collect()),
            Self::Insert(table) | Self::Swap(table) => (None, vec![table]),
            Self::Check => (None, Vec::new()),
        };
        let counted =
            |table: &&'static Table| !["timers", "walked", "topics"].contains(&table.name);
        let names = |tables: Vec<&'static Table>| {
            let tables = tables.into_iter().filter(counted);
            tables.map(|table| table.name).collect()
        };
        (names(read.into_iter().collect()), names(written))
    }
}

/// What a test does about calls.
#[async_trait]
pub trait Watch: fmt::Debug + Send + Sync + 'static {
    /// A call on its way to the tables; with an error it does not get there.
    async fn before(&self, _call: Call<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// A call that the tables have done; with an error the caller does not hear of it.
    async fn after(&self, _call: Call<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// The tables as a test has them seen.
#[derive(Debug)]
pub struct Watched {
    tables: Arc<dyn Tables>,
    watch: Arc<dyn Watch>,
}

impl Watched {
    /// Puts `watch` before `tables`.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>, watch: Arc<dyn Watch>) -> Arc<Self> {
        Arc::new(Self { tables, watch })
    }

    async fn pass<T: Send>(
        &self,
        call: Call<'_>,
        done: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.watch.before(call).await?;
        let answer = done.await?;
        self.watch.after(call).await?;
        Ok(answer)
    }
}

#[async_trait]
impl Tables for Watched {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error> {
        self.pass(Call::Read(table), self.tables.get(table, key))
            .await
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error> {
        self.pass(Call::Read(table), self.tables.scan(table, partition, range))
            .await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        self.pass(Call::Write(&writes), self.tables.write(writes.clone()))
            .await
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error> {
        let done = self.tables.insert_if_absent(table, key, value);
        self.pass(Call::Insert(table), done).await
    }

    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error> {
        self.pass(Call::Read(table), self.tables.get_edited(table, key))
            .await
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error> {
        let done = self.tables.scan_edited(table, partition, range);
        self.pass(Call::Read(table), done).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error> {
        let done = self.tables.compare_and_set(table, key, expect, value);
        self.pass(Call::Swap(table), done).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.pass(Call::Check, self.tables.check()).await
    }
}
