//! Typed access: a table and the message that its rows hold.

use crate::table::{
    Edited, Error, Expect, Inserted, Key, Page, Part, Range, Row, Swapped, Table, Tables, Write,
};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;

/// A table with the type of its rows and of its keys. Implemented by the declarations in [`crate::tables`].
pub trait Entity {
    /// What a row holds.
    type Message: Message + Default;
    /// What identifies a row.
    type Key<'a>;
    /// The table.
    const TABLE: &'static Table;
    /// The key in parts.
    fn key<'a>(key: Self::Key<'a>) -> Key;
}

/// The store: every table, typed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    tables: Arc<dyn Tables>,
}

/// A typed page. May hold fewer rows than were asked for, but none only if there is nothing after it either.
#[derive(Debug, Clone)]
pub struct PageOf<M> {
    /// Clustering key and value of each row, in the asked order.
    pub rows: Vec<(Vec<Part>, M)>,
    /// `None`: there is nothing after it.
    pub next: Option<crate::table::Cursor>,
}

/// A typed row that callers edit.
#[derive(Debug, Clone)]
pub struct EditedRow<M> {
    /// The value.
    pub value: M,
    /// Changes with every write.
    pub etag: String,
}

/// What a typed compare-and-set did.
#[derive(Debug, Clone)]
pub enum SwappedRow<M> {
    /// Written; the row's etag from here on.
    Done(String),
    /// The condition did not hold; what stands there.
    Refused(Option<EditedRow<M>>),
}

impl Store {
    /// The store over an adapter.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>) -> Self {
        Self { tables }
    }

    /// The adapter.
    #[must_use]
    pub fn tables(&self) -> &Arc<dyn Tables> {
        &self.tables
    }

    /// Reads a derived or inserted row.
    ///
    /// # Errors
    ///
    /// As [`Tables::get`]; [`Error::Corrupt`] if the row cannot be decoded.
    pub async fn get<E: Entity>(&self, key: E::Key<'_>) -> Result<Option<E::Message>, Error> {
        match self.tables.get(E::TABLE, &E::key(key)).await? {
            Some(row) => decode::<E>(&row.value).map(Some),
            None => Ok(None),
        }
    }

    /// Reads rows of the partition in which `key` lies (its clustering parts do not count).
    ///
    /// # Errors
    ///
    /// As [`Tables::scan`]; [`Error::Corrupt`] if a row cannot be decoded.
    pub async fn scan<E: Entity>(
        &self,
        key: E::Key<'_>,
        range: Range,
    ) -> Result<PageOf<E::Message>, Error> {
        self.scan_partition::<E>(&E::key(key).partition, range)
            .await
    }

    /// Reads rows of a partition given by its parts: for tables that are scanned by shard.
    ///
    /// # Errors
    ///
    /// As [`Self::scan`].
    pub async fn scan_partition<E: Entity>(
        &self,
        partition: &[Part],
        mut range: Range,
    ) -> Result<PageOf<E::Message>, Error> {
        loop {
            let page = self.tables.scan(E::TABLE, partition, range.clone()).await?;
            if page.rows.is_empty() && page.next.is_some() {
                range.cursor = page.next;
                // What was deleted or has expired may be much: others get their turn.
                tokio::task::yield_now().await;
                continue;
            }
            return decode_page::<E>(page);
        }
    }

    /// Reads all rows of the partition in which `key` lies, in order: for partitions whose number of rows is bounded by their key.
    ///
    /// # Errors
    ///
    /// As [`Self::scan`].
    pub async fn scan_all<E: Entity>(
        &self,
        key: E::Key<'_>,
    ) -> Result<Vec<(Vec<Part>, E::Message)>, Error> {
        let partition = E::key(key).partition;
        let mut range = Range::default();
        let mut rows = Vec::new();
        loop {
            let page = self.scan_partition::<E>(&partition, range.clone()).await?;
            rows.extend(page.rows);
            range.cursor = page.next;
            if range.cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Writes derived or inserted rows (made by [`write()`] and [`delete`]).
    ///
    /// # Errors
    ///
    /// As [`Tables::write`].
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        self.tables.write(writes).await
    }

    /// Inserts a row if there is none.
    ///
    /// # Errors
    ///
    /// As [`Tables::insert_if_absent`].
    pub async fn insert<E: Entity>(
        &self,
        key: E::Key<'_>,
        value: &E::Message,
    ) -> Result<Option<E::Message>, Error> {
        match self
            .tables
            .insert_if_absent(E::TABLE, E::key(key), value.encode_to_vec().into())
            .await?
        {
            Inserted::Done => Ok(None),
            Inserted::Exists(bytes) => decode::<E>(&bytes).map(Some),
        }
    }

    /// Reads a row that callers edit.
    ///
    /// # Errors
    ///
    /// As [`Tables::get_edited`]; [`Error::Corrupt`] if the row cannot be decoded.
    pub async fn get_edited<E: Entity>(
        &self,
        key: E::Key<'_>,
    ) -> Result<Option<EditedRow<E::Message>>, Error> {
        self.tables
            .get_edited(E::TABLE, &E::key(key))
            .await?
            .map(decode_edited::<E>)
            .transpose()
    }

    /// Reads rows that callers edit, of the partition in which `key` lies.
    ///
    /// # Errors
    ///
    /// As [`Self::scan`].
    pub async fn scan_edited<E: Entity>(
        &self,
        key: E::Key<'_>,
        range: Range,
    ) -> Result<PageOf<EditedRow<E::Message>>, Error> {
        self.scan_edited_partition::<E>(&E::key(key).partition, range)
            .await
    }

    /// Reads rows that callers edit, of a partition given by its parts.
    ///
    /// # Errors
    ///
    /// As [`Self::scan`].
    pub async fn scan_edited_partition<E: Entity>(
        &self,
        partition: &[Part],
        mut range: Range,
    ) -> Result<PageOf<EditedRow<E::Message>>, Error> {
        let (page, etags) = loop {
            let (page, etags) = self
                .tables
                .scan_edited(E::TABLE, partition, range.clone())
                .await?;
            if !page.rows.is_empty() || page.next.is_none() {
                break (page, etags);
            }
            range.cursor = page.next;
            tokio::task::yield_now().await;
        };
        let mut rows = Vec::with_capacity(page.rows.len());
        for (row, etag) in page.rows.into_iter().zip(etags) {
            rows.push((
                row.clustering,
                EditedRow {
                    value: decode::<E>(&row.value)?,
                    etag,
                },
            ));
        }
        Ok(PageOf {
            rows,
            next: page.next,
        })
    }

    /// Reads all rows that callers edit, of the partition in which `key` lies, in order: for partitions whose number of rows is bounded.
    ///
    /// # Errors
    ///
    /// As [`Self::scan`].
    pub async fn scan_all_edited<E: Entity>(
        &self,
        key: E::Key<'_>,
    ) -> Result<Vec<(Vec<Part>, EditedRow<E::Message>)>, Error> {
        let partition = E::key(key).partition;
        let mut range = Range::default();
        let mut rows = Vec::new();
        loop {
            let page = self
                .scan_edited_partition::<E>(&partition, range.clone())
                .await?;
            rows.extend(page.rows);
            range.cursor = page.next;
            if range.cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Writes a row that callers edit, or deletes it, if the condition holds.
    ///
    /// # Errors
    ///
    /// As [`Tables::compare_and_set`].
    pub async fn compare_and_set<E: Entity>(
        &self,
        key: E::Key<'_>,
        expect: Expect,
        value: Option<&E::Message>,
    ) -> Result<SwappedRow<E::Message>, Error> {
        let value = value.map(|v| Bytes::from(v.encode_to_vec()));
        match self
            .tables
            .compare_and_set(E::TABLE, E::key(key), expect, value)
            .await?
        {
            Swapped::Done(etag) => Ok(SwappedRow::Done(etag)),
            Swapped::Refused(found) => Ok(SwappedRow::Refused(
                found.map(decode_edited::<E>).transpose()?,
            )),
        }
    }
}

/// A write of a row; `version` as in [`Write::version`].
#[must_use]
pub fn write<E: Entity>(key: E::Key<'_>, value: &E::Message, version: u64) -> Write {
    Write {
        table: E::TABLE,
        key: E::key(key),
        value: Some(value.encode_to_vec().into()),
        version,
        expires: None,
    }
}

/// A deletion of a row; `version` as in [`Write::version`].
#[must_use]
pub fn delete<E: Entity>(key: E::Key<'_>, version: u64) -> Write {
    Write {
        table: E::TABLE,
        key: E::key(key),
        value: None,
        version,
        expires: None,
    }
}

fn decode<E: Entity>(bytes: &Bytes) -> Result<E::Message, Error> {
    E::Message::decode(bytes.clone()).map_err(|error| Error::Corrupt {
        table: E::TABLE.name,
        what: error.to_string(),
    })
}

fn decode_edited<E: Entity>(row: Edited) -> Result<EditedRow<E::Message>, Error> {
    Ok(EditedRow {
        value: decode::<E>(&row.value)?,
        etag: row.etag,
    })
}

fn decode_page<E: Entity>(page: Page) -> Result<PageOf<E::Message>, Error> {
    let rows: Result<Vec<_>, Error> = page
        .rows
        .into_iter()
        .map(
            |Row {
                 clustering, value, ..
             }| Ok((clustering, decode::<E>(&value)?)),
        )
        .collect();
    Ok(PageOf {
        rows: rows?,
        next: page.next,
    })
}
