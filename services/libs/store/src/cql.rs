//! The CQL adapter: ScyllaDB, or Apache Cassandra 5.
//!
//! One CQL table per table. Versions are the timestamps of the cells (`USING TIMESTAMP`), so the servers themselves keep the higher one; what is
//! conditional is a lightweight transaction and carries none. All reads and writes go to a majority of the near datacenter.
//!
//! An answer may be lost. What may be repeated is: the driver tries again. A conditional write is sent once; if nobody can say what became of it, the
//! row is read serially (which ends what was under way) and speaks for itself: a row inserted once is ours if it holds our bytes, an edited row is if it
//! holds our etag. Otherwise the outcome stays unknown, and that is the answer.

mod client;
mod migration;
mod schema;
mod statement;

pub use migration::{Report, Server, migrate};

use crate::{
    limits,
    table::{
        Edited, Error, Expect, Inserted, Key, MAX_PAGE, Page, Part, Range, Row, Swapped, Table,
        Tables, Write, Writes,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use client::{Client, Purpose};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::{
    errors::{DbError, ExecutionError, NewSessionError, PrepareError, RequestAttemptError},
    response::{PagingState, query_result::QueryResult},
    statement::{
        Consistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
    value::CqlValue,
};
use statement::{Bound, Ends, Statement};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Where the cluster is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct CqlConfig {
    /// Some nodes, `host:port` (without a port: 9042); the others are found from them.
    pub nodes: Vec<String>,
    /// The keyspace: 1 to 48 of `a` to `z`, `0` to `9` and `_`, a letter first.
    pub keyspace: String,
    /// The datacenter that is near. Must be named if there is more than one; nothing is sent to the others.
    pub datacenter: Option<String>,
    /// How a new keyspace is replicated; only [`migrate`] looks at it.
    pub replication: Replication,
    /// Who this is, if the servers want to know.
    pub credentials: Option<Credentials>,
    /// Encryption; `None`: none.
    pub tls: Option<Tls>,
    /// How long a node may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a statement may take, tries again included. A conditional write whose answer was lost takes one more: the read that tells.
    pub request_timeout: Duration,
    /// The most statements on their way at once; more wait.
    pub in_flight: usize,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "platen".to_owned(),
            datacenter: None,
            replication: Replication::Factor(3),
            credentials: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
            in_flight: 512,
        }
    }
}

/// How many nodes have each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// So many in the datacenter that is configured; if none is, in each.
    Factor(u8),
    /// So many in each of these.
    PerDatacenter(BTreeMap<String, u8>),
}

/// A role of the database and its password.
#[derive(Clone)]
pub struct Credentials {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Files of TLS, all PEM. The certificates of the nodes must name their IP addresses.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Who may have signed the certificates of the nodes.
    pub ca: PathBuf,
    /// Our own certificate (with its chain) and its key, if the servers want one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why the keyspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot be right. Somebody must change it.
    #[error("{0}")]
    Config(String),
    /// The cluster does not answer, or not now; the same call may succeed later. A refused login is among it: nodes refuse right ones too while they start.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The keyspace lacks what this program needs. [`migrate`] adds it.
    #[error(
        "keyspace {keyspace} is at version {found}, this program needs {known}: run `platen migrate`"
    )]
    Older {
        /// Keyspace.
        keyspace: String,
        /// Its version; 0: it is empty, or is not there.
        found: i32,
        /// The version of this program.
        known: i32,
    },
    /// A newer program has changed the keyspace in a way that this one cannot work with. There is no way back.
    #[error(
        "keyspace {keyspace} is at version {found}, this program knows no more than {known}: run a newer one"
    )]
    Newer {
        /// Keyspace.
        keyspace: String,
        /// Its version.
        found: i32,
        /// The version of this program.
        known: i32,
    },
    /// What made the keyspace is not what this program knows by that number. Somebody must look.
    #[error("keyspace {keyspace} was not made by this program's migration {migration}")]
    Changed {
        /// Keyspace.
        keyspace: String,
        /// The first migration that differs.
        migration: i32,
    },
    /// Another process migrates; its lease runs out within a minute of its last sign.
    #[error("another process migrates keyspace {keyspace}")]
    Locked {
        /// Keyspace.
        keyspace: String,
    },
}

impl OpenError {
    /// Whether the same call may succeed later without anybody changing this program or its configuration. [`Self::Older`] counts: the migration may
    /// be under way.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Older { .. } | Self::Locked { .. } => true,
            Self::Config(_) | Self::Newer { .. } | Self::Changed { .. } => false,
        }
    }

    fn strange(what: impl fmt::Display) -> Self {
        Self::Unavailable(format!("an answer cannot be read: {what}"))
    }
}

impl From<NewSessionError> for OpenError {
    fn from(error: NewSessionError) -> Self {
        match error {
            NewSessionError::IllegalConfig(what) => Self::Config(what.into()),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<ExecutionError> for OpenError {
    fn from(error: ExecutionError) -> Self {
        // A table that has just been made is not known to every node yet.
        let unknown = |said: &str| {
            ["does not exist", "unconfigured table"]
                .iter()
                .any(|what| said.contains(what))
        };
        match error {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::Invalid,
                said,
            )) if unknown(&said) => Self::Unavailable(said),
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::Unauthorized
                | DbError::AuthenticationError
                | DbError::ConfigError
                | DbError::Invalid
                | DbError::SyntaxError,
                said,
            )) => Self::Config(said),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// The store in a CQL keyspace. Cheap to clone.
#[derive(Clone)]
pub struct CqlTables {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    keyspace: String,
    request_timeout: Duration,
    /// Prepared when first used. There are a few for each table.
    prepared: RwLock<HashMap<(&'static str, Statement), PreparedStatement>>,
    probe: PreparedStatement,
    in_flight: Semaphore,
}

impl fmt::Debug for CqlTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlTables")
            .field("keyspace", &self.inner.keyspace)
            .finish_non_exhaustive()
    }
}

/// The most rows of one batch: they lie in one partition.
const BATCH_ROWS: usize = 50;

/// Batches end when they hold so many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// Batches of one call that are on their way at once.
const CONCURRENT_BATCHES: usize = 32;

/// The most rows of one page: they are in memory at once, here and on the node.
const PAGE_ROWS: usize = 1_000;
const _: () = assert!(PAGE_ROWS <= MAX_PAGE);

/// The longest life that the servers can remember.
const LONGEST_LIFE: u64 = 20 * 365 * 86_400;

impl CqlTables {
    /// Connects, and looks whether the keyspace is one that this program can use.
    ///
    /// # Errors
    ///
    /// [`OpenError::Older`]: [`migrate`] must run first. See there for the others; [`OpenError::is_transient`] says whether to wait helps.
    pub async fn connect(config: &CqlConfig) -> Result<Self, OpenError> {
        let client = Client::connect(config, Purpose::Rows).await?;
        let deadline = config.request_timeout * 4;
        let late = |_| OpenError::Unavailable("the nodes do not answer in time".to_owned());
        let checked = migration::check(client.session(), &config.keyspace);
        tokio::time::timeout(deadline, checked)
            .await
            .map_err(late)??;
        let preparing = client.session().prepare(migration::probe(&config.keyspace));
        let mut probe = tokio::time::timeout(deadline, preparing)
            .await
            .map_err(late)?
            .map_err(|error| OpenError::Unavailable(error.to_string()))?;
        probe.set_is_idempotent(true);
        probe.set_execution_profile_handle(Some(client.profiles().read.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                keyspace: config.keyspace.clone(),
                request_timeout: config.request_timeout,
                prepared: RwLock::default(),
                probe,
                in_flight: Semaphore::new(config.in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            }),
        })
    }

    /// What the clock of a node says, microseconds since 1970, in whole milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn now_us(&self) -> Result<i64, Error> {
        let strange = |error: &dyn fmt::Display| {
            Error::Unavailable(format!("an answer cannot be read: {error}"))
        };
        let statement = "SELECT toUnixTimestamp(now()) FROM system.local";
        let session = self.inner.client.session();
        let asked = session.query_unpaged(statement, &[]).await;
        let result = asked.map_err(Failure::from)?;
        let result = result.into_rows_result().map_err(|error| strange(&error))?;
        let (millis,) = result
            .single_row::<(i64,)>()
            .map_err(|error| strange(&error))?;
        Ok(millis.saturating_mul(1_000))
    }
}

/// A statement that failed.
struct Failure {
    error: Error,
    /// Whether it may have happened all the same.
    may_count: bool,
}

impl Failure {
    fn unavailable(what: impl Into<String>) -> Self {
        Self {
            error: Error::Unavailable(what.into()),
            may_count: false,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        let never = matches!(
            &error,
            ExecutionError::BadQuery(_)
                | ExecutionError::EmptyPlan
                | ExecutionError::PrepareError(_)
                | ExecutionError::ConnectionPoolError(_)
                | ExecutionError::LastAttemptError(
                    RequestAttemptError::SerializationError(_)
                        | RequestAttemptError::CqlRequestSerialization(_)
                        | RequestAttemptError::UnableToAllocStreamId
                        | RequestAttemptError::DbError(
                            DbError::SyntaxError
                                | DbError::Invalid
                                | DbError::Unauthorized
                                | DbError::AuthenticationError
                                | DbError::ConfigError,
                            _,
                        ),
                )
        );
        let full = matches!(
            &error,
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(_, said))
                // What Cassandra says when its guard of the disk is set.
                if said.contains("disk usage exceeds failure threshold")
        );
        let error = if full {
            Error::Full(error.to_string())
        } else {
            Error::Unavailable(error.to_string())
        };
        Self {
            error,
            may_count: !never,
        }
    }
}

/// What a conditional statement did.
enum Outcome {
    Applied,
    /// The content of the row that stands there, if the server told.
    Refused(Option<Content>),
}

/// A row beside its key.
struct Content {
    value: Bytes,
    version: u64,
    etag: Option<String>,
}

impl Inner {
    async fn permit(&self) -> Result<SemaphorePermit<'_>, Failure> {
        match tokio::time::timeout(self.request_timeout, self.in_flight.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                Err(Failure::unavailable("too many statements are on their way"))
            }
        }
    }

    async fn prepared(
        &self,
        table: &'static Table,
        statement: Statement,
    ) -> Result<PreparedStatement, Failure> {
        let known = |inner: &Self| {
            let prepared = inner
                .prepared
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            prepared.get(&(table.name, statement)).cloned()
        };
        if let Some(prepared) = known(self) {
            return Ok(prepared);
        }
        let text = statement.text(&self.keyspace, table);
        let preparing = self.client.session().prepare(text);
        let mut prepared = tokio::time::timeout(self.request_timeout, preparing)
            .await
            .map_err(|_| Failure::unavailable("a statement was not prepared in time"))??;
        let profiles = self.client.profiles();
        let profile = if statement.is_conditional() {
            &profiles.once
        } else if statement == Statement::GetSerially {
            prepared.set_consistency(Consistency::LocalSerial);
            &profiles.once
        } else if statement.is_read() {
            &profiles.read
        } else {
            &profiles.write
        };
        prepared.set_is_idempotent(!statement.is_conditional());
        prepared.set_execution_profile_handle(Some(profile.clone()));
        self.prepared
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((table.name, statement), prepared.clone());
        Ok(prepared)
    }

    async fn execute(
        &self,
        table: &'static Table,
        statement: Statement,
        values: &[Bound<'_>],
    ) -> Result<QueryResult, Failure> {
        let prepared = self.prepared(table, statement).await?;
        let _permit = self.permit().await?;
        let result = self.client.session().execute_unpaged(&prepared, values);
        Ok(result.await?)
    }

    async fn condition(
        &self,
        table: &'static Table,
        statement: Statement,
        values: &[Bound<'_>],
    ) -> Result<Outcome, Failure> {
        let result = self.execute(table, statement, values).await?;
        // Whatever it was, it was carried out.
        outcome(table, result).map_err(|error| Failure {
            error,
            may_count: true,
        })
    }

    /// Reads a row as the port has it: a plain read of a majority sees every write that has returned, and mends what it finds uneven, so that no later read
    /// sees less.
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Content>, Error> {
        match self.get_by(Statement::Get, table, key).await? {
            // What was inserted once was decided when anybody sees it, and never changes. That there is nothing may be about to end.
            None if table.writes == Writes::Once => {
                self.get_by(Statement::GetSerially, table, key).await
            }
            found => Ok(found),
        }
    }

    /// Reads a row that callers edit, after whatever is under way.
    async fn get_serially(
        &self,
        table: &'static Table,
        key: &Key,
    ) -> Result<Option<Edited>, Error> {
        let found = self.get_by(Statement::GetSerially, table, key).await?;
        Ok(found.and_then(edited))
    }

    async fn get_by(
        &self,
        statement: Statement,
        table: &'static Table,
        key: &Key,
    ) -> Result<Option<Content>, Error> {
        let result = self
            .execute(table, statement, &key_values(key))
            .await
            .map_err(Error::from)?;
        let found = rows(table, result)?.into_iter().next();
        found.map_or(Ok(None), |row| content(table, &mut row.into_iter()))
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: &Range,
    ) -> Result<(Page, Vec<String>), Error> {
        limits::check_parts(table, partition)?;
        let Some(ends) = Ends::of(table, range)? else {
            return Ok((Page::default(), Vec::new()));
        };
        let limit = match range.limit {
            0 => PAGE_ROWS,
            limit => limit.min(PAGE_ROWS),
        };
        let mut prepared = self.prepared(table, ends.statement()).await?;
        // One more row tells whether there is a next page.
        prepared.set_page_size(i32::try_from(limit + 1).unwrap_or(i32::MAX));
        let mut values: Vec<_> = partition.iter().map(Bound::part).collect();
        values.extend(ends.bounds());
        let (mut page, mut etags) = (Page::default(), Vec::new());
        let mut state = PagingState::start();
        loop {
            let permit = self.permit().await?;
            let (result, next) = self
                .client
                .session()
                .execute_single_page(&prepared, values.as_slice(), state)
                .await
                .map_err(Failure::from)?;
            drop(permit);
            for row in rows(table, result)? {
                let mut row = row.into_iter();
                let clustering = clustering(table, &mut row)?;
                if let Some(content) = content(table, &mut row)? {
                    page.rows.push(Row {
                        clustering,
                        value: content.value,
                        version: content.version,
                    });
                    etags.extend(content.etag);
                }
            }
            match next.into_paging_control_flow() {
                // The server has passed over what was deleted, and found nothing else so far.
                ControlFlow::Continue(next) if page.rows.is_empty() => state = next,
                more => {
                    if page.rows.len() > limit || more.is_continue() {
                        page.rows.truncate(limit);
                        etags.truncate(limit);
                        page.next = page
                            .rows
                            .last()
                            .filter(|row| !row.clustering.is_empty())
                            .map(|row| statement::cursor(&row.clustering));
                    }
                    return Ok((page, etags));
                }
            }
        }
    }

    /// Writes rows of one partition of one table.
    async fn put(&self, writes: Vec<Write>) -> Result<(), Error> {
        let mut statements = Vec::with_capacity(writes.len());
        let mut values = Vec::with_capacity(writes.len());
        for write in &writes {
            let (statement, bound) = write_values(write);
            statements.push(self.prepared(write.table, statement).await?);
            values.push(bound);
        }
        let _permit = self.permit().await?;
        let session = self.client.session();
        match (&statements[..], &values[..]) {
            ([], _) | (_, []) => {}
            ([statement], [values]) => {
                let done = session.execute_unpaged(statement, values.as_slice());
                done.await.map_err(Failure::from)?;
            }
            _ => {
                let mut batch = Batch::new(BatchType::Unlogged);
                for statement in statements {
                    batch.append_statement(statement);
                }
                batch.set_is_idempotent(true);
                batch.set_execution_profile_handle(Some(self.client.profiles().write.clone()));
                let done = session.batch(&batch, &values);
                done.await.map_err(Failure::from)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Tables for CqlTables {
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, Error> {
        debug_assert_ne!(table.writes, Writes::Edited, "{}", table.name);
        limits::check_key(table, key)?;
        let found = self.inner.get(table, key).await?;
        Ok(found.map(|content| Row {
            clustering: key.clustering.clone(),
            value: content.value,
            version: content.version,
        }))
    }

    async fn scan(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<Page, Error> {
        debug_assert!(
            matches!(table.writes, Writes::Derived | Writes::Inserted),
            "{}",
            table.name
        );
        Ok(self.inner.scan(table, partition, &range).await?.0)
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Error> {
        for write in &writes {
            debug_assert!(
                matches!(write.table.writes, Writes::Derived | Writes::Inserted),
                "{}",
                write.table.name
            );
            limits::check_key(write.table, &write.key)?;
            limits::check_version(write.table, write.version)?;
            limits::check_value(write.table, write.value.as_ref().map_or(0, Bytes::len))?;
        }
        stream::iter(batches(writes))
            .map(|batch| self.inner.put(batch))
            .buffer_unordered(CONCURRENT_BATCHES)
            .try_collect()
            .await
    }

    async fn insert_if_absent(
        &self,
        table: &'static Table,
        key: Key,
        value: Bytes,
    ) -> Result<Inserted, Error> {
        debug_assert_eq!(table.writes, Writes::Once, "{}", table.name);
        limits::check_key(table, &key)?;
        limits::check_value(table, value.len())?;
        let mut values = key_values(&key);
        values.extend([Bound::Bytes(&value), seconds(table.expires)]);
        let inserted = self.inner.condition(table, Statement::Insert, &values);
        let (found, unknown) = match inserted.await {
            Ok(Outcome::Applied) => return Ok(Inserted::Done),
            Ok(Outcome::Refused(Some(found))) => return Ok(Inserted::Exists(found.value)),
            Ok(Outcome::Refused(None)) => (self.inner.get(table, &key).await?, None),
            Err(failure) if failure.may_count => {
                // What the read has to say of itself does not matter: the outcome is unknown.
                let found = self.inner.get(table, &key).await.ok().flatten();
                (found, Some(failure.error))
            }
            Err(failure) => return Err(failure.error),
        };
        match (found, unknown) {
            (Some(found), Some(_)) if found.value == value => Ok(Inserted::Done),
            (Some(found), _) => Ok(Inserted::Exists(found.value)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::Unavailable(format!(
                "{}: the row expired as it was read",
                table.name
            ))),
        }
    }

    async fn get_edited(&self, table: &'static Table, key: &Key) -> Result<Option<Edited>, Error> {
        debug_assert_eq!(table.writes, Writes::Edited, "{}", table.name);
        limits::check_key(table, key)?;
        let found = self.inner.get(table, key).await?;
        Ok(found.and_then(edited))
    }

    async fn scan_edited(
        &self,
        table: &'static Table,
        partition: &[Part],
        range: Range,
    ) -> Result<(Page, Vec<String>), Error> {
        debug_assert_eq!(table.writes, Writes::Edited, "{}", table.name);
        self.inner.scan(table, partition, &range).await
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        key: Key,
        expect: Expect,
        value: Option<Bytes>,
    ) -> Result<Swapped, Error> {
        debug_assert_eq!(table.writes, Writes::Edited, "{}", table.name);
        limits::check_key(table, &key)?;
        limits::check_value(table, value.as_ref().map_or(0, Bytes::len))?;
        let etag = etag()?;
        let life = seconds(table.expires);
        let mut values = Vec::with_capacity(8);
        let statement = match (&expect, &value) {
            (Expect::Absent, None) => {
                return Ok(match self.inner.get_serially(table, &key).await? {
                    None => Swapped::Done(etag),
                    found => Swapped::Refused(found),
                });
            }
            (Expect::Absent, Some(value)) => {
                values.extend(key_values(&key));
                values.extend([Bound::Bytes(value), Bound::Text(&etag), life]);
                Statement::Create
            }
            (Expect::Any | Expect::Etag(_), Some(value)) => {
                values.extend([life, Bound::Bytes(value), Bound::Text(&etag)]);
                values.extend(key_values(&key));
                match &expect {
                    Expect::Etag(expected) => {
                        values.push(Bound::Text(expected));
                        Statement::Replace
                    }
                    Expect::Any | Expect::Absent => Statement::Overwrite,
                }
            }
            (Expect::Any, None) => {
                values.extend(key_values(&key));
                Statement::Remove
            }
            (Expect::Etag(expected), None) => {
                values.extend(key_values(&key));
                values.push(Bound::Text(expected));
                Statement::RemoveEdition
            }
        };
        match self.inner.condition(table, statement, &values).await {
            Ok(Outcome::Applied) => Ok(Swapped::Done(etag)),
            Ok(Outcome::Refused(_)) if expect == Expect::Any => Ok(Swapped::Refused(None)),
            Ok(Outcome::Refused(found)) => match found.and_then(edited) {
                Some(found) => Ok(Swapped::Refused(Some(found))),
                // The server tells only what the condition is about.
                None => Ok(Swapped::Refused(
                    self.inner.get_serially(table, &key).await?,
                )),
            },
            Err(failure) if failure.may_count => match self.inner.get_serially(table, &key).await {
                Ok(Some(found)) if found.etag == etag => Ok(Swapped::Done(etag)),
                // Ours may have been there before this one, or may still come.
                _ => Err(failure.error),
            },
            Err(failure) => Err(failure.error),
        }
    }

    async fn check(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = inner
            .client
            .session()
            .execute_unpaged(&inner.probe, &[] as &[Bound<'_>]);
        asked.await.map_err(Failure::from)?;
        Ok(())
    }
}

/// What is written, by partitions: each batch holds rows of one.
fn batches(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut open: HashMap<(&str, Vec<Part>), usize> = HashMap::new();
    let mut batches: Vec<(Vec<Write>, usize)> = Vec::new();
    for write in writes {
        let bytes = write.value.as_ref().map_or(0, Bytes::len);
        let fits = |(rows, size): &&mut (Vec<Write>, usize)| {
            rows.len() < BATCH_ROWS && *size + bytes <= BATCH_BYTES
        };
        let of = (write.table.name, write.key.partition.clone());
        let last = open.get(&of).and_then(|at| batches.get_mut(*at));
        if let Some((rows, size)) = last.filter(fits) {
            rows.push(write);
            *size += bytes;
        } else {
            open.insert(of, batches.len());
            batches.push((vec![write], bytes));
        }
    }
    batches.into_iter().map(|(rows, _)| rows).collect()
}

fn write_values(write: &Write) -> (Statement, Vec<Bound<'_>>) {
    let version = Bound::number(write.version);
    match &write.value {
        Some(value) => {
            let mut values = key_values(&write.key);
            let life = seconds(write.expires.or(write.table.expires));
            values.extend([Bound::Bytes(value), version, life]);
            (Statement::Put, values)
        }
        None => {
            let mut values = vec![version];
            values.extend(key_values(&write.key));
            (Statement::Delete, values)
        }
    }
}

fn key_values(key: &Key) -> Vec<Bound<'_>> {
    let parts = key.partition.iter().chain(&key.clustering);
    // Room for what statements bind beside the key.
    let mut values = Vec::with_capacity(key.partition.len() + key.clustering.len() + 3);
    values.extend(parts.map(Bound::part));
    values
}

/// A life in whole seconds; 0 is for ever.
fn seconds(life: Option<Duration>) -> Bound<'static> {
    let seconds = life.map_or(0, |life| {
        let whole = life
            .as_secs()
            .saturating_add(u64::from(life.subsec_nanos() > 0));
        whole.clamp(1, LONGEST_LIFE)
    });
    Bound::Seconds(i32::try_from(seconds).unwrap_or(i32::MAX))
}

/// 64 random bits: one never comes back.
fn etag() -> Result<String, Error> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::Unavailable("no randomness".to_owned()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

type Columns = Vec<Option<CqlValue>>;

fn rows(table: &'static Table, result: QueryResult) -> Result<Vec<Columns>, Error> {
    let result = result
        .into_rows_result()
        .map_err(|error| corrupt(table, &error))?;
    let rows = result
        .rows::<scylla::value::Row>()
        .map_err(|error| corrupt(table, &error))?;
    rows.map(|row| row.map(|row| row.columns))
        .collect::<Result<_, _>>()
        .map_err(|error| corrupt(table, &error))
}

fn clustering(
    table: &'static Table,
    columns: &mut impl Iterator<Item = Option<CqlValue>>,
) -> Result<Vec<Part>, Error> {
    let parts = table.clustering.iter().map(|column| {
        let value = columns.next().flatten()?;
        statement::part(column, value)
    });
    parts
        .collect::<Option<_>>()
        .ok_or_else(|| corrupt(table, &"a key cannot be read"))
}

/// The columns after the key. `None`: nothing is left of the row but its key.
fn content(
    table: &'static Table,
    columns: &mut impl Iterator<Item = Option<CqlValue>>,
) -> Result<Option<Content>, Error> {
    let Some(value) = columns.next().flatten() else {
        return Ok(None);
    };
    let version = columns.next().flatten().and_then(|of| of.as_bigint());
    let etag = columns.next().flatten().and_then(|of| match of {
        CqlValue::Text(text) => Some(text),
        _ => None,
    });
    let strange = || corrupt(table, &"a row cannot be read");
    if table.writes == Writes::Edited && etag.is_none() {
        return Err(strange());
    }
    Ok(Some(Content {
        value: value.into_blob().ok_or_else(strange)?.into(),
        version: version
            .and_then(|version| u64::try_from(version).ok())
            .ok_or_else(strange)?,
        etag,
    }))
}

fn edited(content: Content) -> Option<Edited> {
    Some(Edited {
        value: content.value,
        etag: content.etag?,
    })
}

/// Reads the answer to a conditional statement, by the names of its columns: which there are, the servers do not agree on.
fn outcome(table: &'static Table, result: QueryResult) -> Result<Outcome, Error> {
    let result = result
        .into_rows_result()
        .map_err(|error| corrupt(table, &error))?;
    let index = |name| result.column_specs().get_by_name(name).map(|(at, _)| at);
    let indexes = [index("[applied]"), index("value"), index("etag")];
    let row: scylla::value::Row = result.first_row().map_err(|error| corrupt(table, &error))?;
    let mut columns = row.columns;
    let [applied, value, etag] =
        indexes.map(|at| at.and_then(|at| columns.get_mut(at).and_then(Option::take)));
    match applied {
        Some(CqlValue::Boolean(true)) => Ok(Outcome::Applied),
        Some(CqlValue::Boolean(false)) => Ok(Outcome::Refused(
            value.and_then(CqlValue::into_blob).map(|value| Content {
                value: value.into(),
                version: 0,
                etag: etag.and_then(|etag| etag.as_text().cloned()),
            }),
        )),
        _ => Err(corrupt(table, &"an answer cannot be read")),
    }
}

fn corrupt(table: &'static Table, what: &dyn fmt::Display) -> Error {
    Error::Corrupt {
        table: table.name,
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rows::Entity,
        tables::{Events, Queue},
    };

    fn put(table: &'static Table, device: &str, bytes: usize) -> Write {
        let mut partition: Vec<Part> = vec!["t".into(), device.into()];
        partition.resize(table.partition.len(), 1_u64.into());
        Write {
            table,
            key: Key {
                partition,
                clustering: Vec::new(),
            },
            value: Some(vec![0; bytes].into()),
            version: 1,
            expires: None,
        }
    }

    #[test]
    fn a_batch_is_of_one_partition_and_bounded() {
        let sizes = |writes: Vec<Write>| {
            let count = writes.len();
            let batches = batches(writes);
            assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), count);
            for batch in &batches {
                let of = |write: &Write| (write.table.name, write.key.partition.clone());
                assert!(batch.iter().all(|write| of(write) == of(&batch[0])));
            }
            batches.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Vec::new()), [0_usize; 0]);
        let mixed = vec![
            put(Queue::TABLE, "a", 1),
            put(Events::TABLE, "a", 1),
            put(Queue::TABLE, "b", 1),
            put(Queue::TABLE, "a", 1),
        ];
        assert_eq!(sizes(mixed), [2, 1, 1]);
        let many = (0..120).map(|_| put(Queue::TABLE, "a", 1)).collect();
        assert_eq!(sizes(many), [50, 50, 20]);
        let large = vec![
            put(Queue::TABLE, "a", 200 << 10),
            put(Queue::TABLE, "a", 100 << 10),
            put(Queue::TABLE, "a", 1 << 20),
        ];
        assert_eq!(sizes(large), [1, 1, 1]);
    }

    #[test]
    fn a_life_is_whole_seconds() {
        for (life, expected) in [
            (None, 0),
            (Some(Duration::ZERO), 1),
            (Some(Duration::from_millis(1)), 1),
            (Some(Duration::from_millis(1_001)), 2),
            (Some(Duration::from_secs(86_400)), 86_400),
            (Some(Duration::MAX), 630_720_000),
        ] {
            assert!(
                matches!(seconds(life), Bound::Seconds(seconds) if seconds == expected),
                "{life:?}"
            );
        }
    }

    #[test]
    fn what_cannot_have_happened_is_told_apart() {
        let db = |kind, said: &str| {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, said.to_owned()))
        };
        for (error, may_count, full) in [
            (ExecutionError::EmptyPlan, false, false),
            (
                ExecutionError::RequestTimeout(Duration::from_secs(2)),
                true,
                false,
            ),
            (db(DbError::Invalid, "no such table"), false, false),
            (db(DbError::Overloaded, ""), true, false),
            (db(DbError::ServerError, ""), true, false),
            (db(DbError::Other(0x1700), "CAS_WRITE_UNKNOWN"), true, false),
            (
                db(
                    DbError::Invalid,
                    "Write request failed because disk usage exceeds failure threshold",
                ),
                false,
                true,
            ),
        ] {
            let failure = Failure::from(error);
            assert_eq!(failure.may_count, may_count, "{}", failure.error);
            assert_eq!(matches!(failure.error, Error::Full(_)), full);
            assert!(failure.error.is_transient());
        }
    }
}
