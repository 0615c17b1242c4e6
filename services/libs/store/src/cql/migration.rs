//! How a keyspace comes to have the tables of this program, and whether it has them.
//!
//! A keyspace remembers in `schema_migrations` what was done to it. A migration only adds, so that it can run while everything runs, and says which
//! programs may go on using the keyspace after it: those that know at least its [`Migration::oldest`]. One process at a time migrates
//! (`schema_lock`, a lease), one statement after the other, each awaited until all nodes agree. A migration that was cut off is done again: its
//! statements may be repeated.

use super::{
    CqlConfig, OpenError,
    client::{Client, Purpose},
    schema,
};
use crate::{table::Table, tables};
use scylla::{
    client::session::Session,
    statement::{Consistency, SerialConsistency, unprepared::Statement},
    value::{CqlValue, Row},
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One step of a keyspace's life.
#[derive(Debug)]
struct Migration {
    /// Number: they follow each other from 1.
    id: i32,
    /// A program that knows this migration may use a keyspace that has this one; older programs must not.
    oldest: i32,
    /// What it does.
    adds: Adds,
    /// SHA-256 of its statements: says whether a keyspace was made by them.
    checksum: &'static str,
}

#[derive(Debug)]
enum Adds {
    /// Every declared table that no later migration names.
    AllOtherTables,
    /// These tables.
    #[expect(dead_code, reason = "the first migration to come will have some")]
    Tables(&'static [&'static Table]),
}

/// All migrations, in order. What stands here was released: it never changes, it is added to.
const MIGRATIONS: &[Migration] = &[Migration {
    id: 1,
    oldest: 1,
    adds: Adds::AllOtherTables,
    checksum: "19aae30cc52cc781600e22f984812826cb8fe8a2cc74dc2c314c012e613ab232",
}];

impl Migration {
    fn statements(&self, keyspace: &str) -> Vec<String> {
        let named = |table: &Table| {
            MIGRATIONS.iter().any(|migration| match migration.adds {
                Adds::Tables(tables) => tables.iter().any(|of| of.name == table.name),
                Adds::AllOtherTables => false,
            })
        };
        let create = |table: &&Table| schema::create_table(keyspace, table);
        match self.adds {
            Adds::AllOtherTables => tables::ALL
                .iter()
                .copied()
                .filter(|table| !named(table))
                .map(|table| create(&table))
                .collect(),
            Adds::Tables(tables) => tables.iter().copied().map(|table| create(&table)).collect(),
        }
    }

    #[cfg(test)]
    fn checksum(&self) -> String {
        let text = self.statements("KEYSPACE").join(";\n");
        let hash = <sha2::Sha256 as sha2::Digest>::digest(text);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a keyspace remembers of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Applied {
    id: i32,
    oldest: i32,
    checksum: String,
}

/// What became of [`migrate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What answers.
    pub server: Server,
    /// Whether the keyspace was made.
    pub keyspace_created: bool,
    /// Migrations that were applied now; none: there was nothing to do.
    pub applied: Vec<i32>,
    /// The keyspace's version from here on.
    pub version: i32,
}

/// The database that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Apache Cassandra, or something that behaves like it.
    Cassandra,
    /// ScyllaDB. `tablets`: it knows tablets; the keyspace is made without them, because of the conditional writes.
    ScyllaDb {
        /// Whether it knows tablets.
        tablets: bool,
    },
}

/// The lease of the one who migrates: after this long without a sign, another may.
const LEASE: Duration = Duration::from_secs(60);

/// How long one waits for the lease of another.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often one looks whether the lease is free.
const LOOK: Duration = Duration::from_millis(500);

const HISTORY: &str = "schema_migrations";
const LOCK: &str = "schema_lock";

/// Makes the keyspace and its tables, as far as they are missing. Can be repeated, and run while everything runs. A keyspace that is there already is
/// taken as it is: who wants it otherwise makes it before.
///
/// # Errors
///
/// [`OpenError::Newer`]: a newer program has migrated it, there is no way back. [`OpenError::Changed`]: something else made the tables.
/// [`OpenError::Locked`]: another process migrates. The rest as [`super::CqlTables::connect`]. After an error a part may be done; call again.
pub async fn migrate(config: &CqlConfig) -> Result<Report, OpenError> {
    let client = Client::connect(config, Purpose::Migration).await?;
    let keyspace = &config.keyspace;
    let run = Run {
        session: client.session(),
        keyspace,
        holder: holder()?,
    };
    let system = run
        .rows(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?",
            &[text("system")],
            Consistency::LocalOne,
        )
        .await?;
    let has = |name: &str| system.iter().any(|row| text_at(row, 0) == Some(name));
    let server = if has("scylla_local") {
        Server::ScyllaDb {
            tablets: has("tablets"),
        }
    } else {
        Server::Cassandra
    };

    let keyspace_created = !run.has_keyspace().await?;
    if keyspace_created {
        let without_tablets = server == Server::ScyllaDb { tablets: true };
        run.change(schema::create_keyspace(config, without_tablets))
            .await?;
    }
    // Two processes that make one table at once can confuse Cassandra, so there is no more of it than must be: these two, once in a keyspace's life.
    let known = run.tables().await?;
    for (table, columns) in [
        (
            HISTORY,
            "\"scope\" text, \"id\" int, \"checksum\" text, \"oldest\" int, \"applied_at\" bigint, \"applied_by\" text, PRIMARY KEY ((\"scope\"), \"id\")",
        ),
        (LOCK, "\"scope\" text PRIMARY KEY, \"holder\" text"),
    ] {
        if !known.iter().any(|known| known == table) {
            let qualified = schema::qualified(keyspace, table);
            run.change(format!(
                "CREATE TABLE IF NOT EXISTS {qualified} ({columns})"
            ))
            .await?;
        }
    }
    // Most of the time there is nothing to do, and nothing to wait for.
    if pending(keyspace, &run.history().await?)?.is_empty() {
        return Ok(Report {
            server,
            keyspace_created,
            applied: Vec::new(),
            version: latest(),
        });
    }
    run.lock().await?;
    let done = run.apply().await;
    // A lease that is not given back runs out.
    let _ = run.unlock().await;
    Ok(Report {
        server,
        keyspace_created,
        applied: done?,
        version: latest(),
    })
}

/// Whether this program may use the keyspace.
pub(super) async fn check(session: &Session, keyspace: &str) -> Result<(), OpenError> {
    let run = Run {
        session,
        keyspace,
        holder: String::new(),
    };
    let applied = if run.tables().await?.iter().any(|table| table == HISTORY) {
        run.history().await?
    } else {
        Vec::new()
    };
    usable(keyspace, &applied)
}

/// The cheapest statement that needs the keyspace and a majority of one row's nodes.
pub(super) fn probe(keyspace: &str) -> String {
    format!(
        "SELECT \"id\" FROM {} WHERE \"scope\" = 'all' LIMIT 1",
        schema::qualified(keyspace, HISTORY)
    )
}

fn latest() -> i32 {
    MIGRATIONS.last().map_or(0, |migration| migration.id)
}

/// Holds what was applied against the list: the same migrations, in order, without a gap, as far as this program knows them.
fn compare(keyspace: &str, applied: &[Applied]) -> Result<(), OpenError> {
    for (row, id) in applied.iter().zip(1..) {
        let known = MIGRATIONS.iter().find(|migration| migration.id == id);
        let same = row.id == id && known.is_none_or(|known| known.checksum == row.checksum);
        if !same {
            return Err(OpenError::Changed {
                keyspace: keyspace.to_owned(),
                migration: id,
            });
        }
    }
    Ok(())
}

/// What is to be done.
fn pending(keyspace: &str, applied: &[Applied]) -> Result<Vec<&'static Migration>, OpenError> {
    compare(keyspace, applied)?;
    let version = applied.last().map_or(0, |row| row.id);
    if version > latest() {
        return Err(OpenError::Newer {
            keyspace: keyspace.to_owned(),
            found: version,
            known: latest(),
        });
    }
    Ok(MIGRATIONS
        .iter()
        .filter(|migration| migration.id > version)
        .collect())
}

fn usable(keyspace: &str, applied: &[Applied]) -> Result<(), OpenError> {
    compare(keyspace, applied)?;
    let (version, oldest) = applied.last().map_or((0, 0), |row| (row.id, row.oldest));
    if version < latest() {
        return Err(OpenError::Older {
            keyspace: keyspace.to_owned(),
            found: version,
            known: latest(),
        });
    }
    if oldest > latest() {
        return Err(OpenError::Newer {
            keyspace: keyspace.to_owned(),
            found: version,
            known: latest(),
        });
    }
    Ok(())
}

/// Who migrates: 16 hexadecimal digits that nobody else has.
fn holder() -> Result<String, OpenError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| OpenError::Unavailable("no randomness".to_owned()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

struct Run<'r> {
    session: &'r Session,
    keyspace: &'r str,
    holder: String,
}

impl Run<'_> {
    async fn rows(
        &self,
        statement: impl Into<String>,
        values: &[CqlValue],
        consistency: Consistency,
    ) -> Result<Vec<Row>, OpenError> {
        let mut statement = Statement::new(statement);
        statement.set_consistency(consistency);
        statement.set_is_idempotent(true);
        let result = self.session.query_unpaged(statement, values).await?;
        read(result)
    }

    /// A statement of the schema. The driver waits until the nodes agree.
    async fn change(&self, statement: String) -> Result<(), OpenError> {
        self.session.query_unpaged(statement, &[]).await?;
        Ok(())
    }

    /// A conditional statement: whether it was applied, and the row that stood in its way.
    async fn condition(
        &self,
        statement: String,
        values: &[CqlValue],
    ) -> Result<(bool, Option<String>), OpenError> {
        let mut statement = Statement::new(statement);
        statement.set_consistency(Consistency::LocalQuorum);
        statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        let result = self
            .session
            .query_unpaged(statement, values)
            .await?
            .into_rows_result()
            .map_err(OpenError::strange)?;
        let index = |name| result.column_specs().get_by_name(name).map(|(at, _)| at);
        let (applied, holder) = (index("[applied]"), index("holder"));
        let row: Row = result.first_row().map_err(OpenError::strange)?;
        let at = |index: Option<usize>| row.columns.get(index?)?.as_ref();
        Ok((
            at(applied) == Some(&CqlValue::Boolean(true)),
            at(holder).and_then(CqlValue::as_text).cloned(),
        ))
    }

    async fn has_keyspace(&self) -> Result<bool, OpenError> {
        let keyspace = [text(self.keyspace)];
        let rows = self.rows(
            "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
            &keyspace,
            Consistency::LocalOne,
        );
        Ok(!rows.await?.is_empty())
    }

    async fn tables(&self) -> Result<Vec<String>, OpenError> {
        let keyspace = [text(self.keyspace)];
        let rows = self.rows(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?",
            &keyspace,
            Consistency::LocalOne,
        );
        let names = rows.await?;
        Ok(names
            .iter()
            .filter_map(|row| text_at(row, 0).map(str::to_owned))
            .collect())
    }

    /// What was applied, in order.
    async fn history(&self) -> Result<Vec<Applied>, OpenError> {
        let statement = format!(
            "SELECT \"id\", \"oldest\", \"checksum\" FROM {} WHERE \"scope\" = 'all'",
            schema::qualified(self.keyspace, HISTORY)
        );
        let rows = self.rows(statement, &[], Consistency::LocalQuorum).await?;
        rows.iter()
            .map(|row| {
                let number = |at: usize| row.columns.get(at)?.as_ref()?.as_int();
                Some(Applied {
                    id: number(0)?,
                    oldest: number(1)?,
                    checksum: text_at(row, 2)?.to_owned(),
                })
            })
            .collect::<Option<_>>()
            .ok_or_else(|| OpenError::strange(format!("a row of {HISTORY} is not complete")))
    }

    async fn lock(&self) -> Result<(), OpenError> {
        let statement = format!(
            "INSERT INTO {} (\"scope\", \"holder\") VALUES ('all', ?) IF NOT EXISTS USING TTL {}",
            schema::qualified(self.keyspace, LOCK),
            LEASE.as_secs()
        );
        let start = Instant::now();
        loop {
            let (applied, other) = self
                .condition(statement.clone(), &[text(&self.holder)])
                .await?;
            // It may be ours: the answer to an earlier try was lost.
            if applied || other.as_deref() == Some(&self.holder) {
                return Ok(());
            }
            if start.elapsed() >= PATIENCE {
                return Err(OpenError::Locked {
                    keyspace: self.keyspace.to_owned(),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Prolongs the lease. An error: it is not ours any more.
    async fn hold(&self) -> Result<(), OpenError> {
        let statement = format!(
            "UPDATE {} USING TTL {} SET \"holder\" = ? WHERE \"scope\" = 'all' IF \"holder\" = ?",
            schema::qualified(self.keyspace, LOCK),
            LEASE.as_secs()
        );
        let holder = text(&self.holder);
        let (applied, _) = self.condition(statement, &[holder.clone(), holder]).await?;
        if applied {
            Ok(())
        } else {
            Err(OpenError::Locked {
                keyspace: self.keyspace.to_owned(),
            })
        }
    }

    async fn unlock(&self) -> Result<(), OpenError> {
        let statement = format!(
            "DELETE FROM {} WHERE \"scope\" = 'all' IF \"holder\" = ?",
            schema::qualified(self.keyspace, LOCK)
        );
        self.condition(statement, &[text(&self.holder)]).await?;
        Ok(())
    }

    /// Does what is to be done, under the lease. Another may have done it before we had it.
    async fn apply(&self) -> Result<Vec<i32>, OpenError> {
        let mut done = Vec::new();
        for migration in pending(self.keyspace, &self.history().await?)? {
            for statement in migration.statements(self.keyspace) {
                self.hold().await?;
                self.change(statement).await?;
            }
            self.hold().await?;
            let statement = format!(
                "INSERT INTO {} (\"scope\", \"id\", \"checksum\", \"oldest\", \"applied_at\", \"applied_by\") VALUES ('all', ?, ?, ?, ?, ?)",
                schema::qualified(self.keyspace, HISTORY)
            );
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let values = [
                CqlValue::Int(migration.id),
                text(migration.checksum),
                CqlValue::Int(migration.oldest),
                CqlValue::BigInt(i64::try_from(now.as_micros()).unwrap_or(i64::MAX)),
                text(concat!("platen ", env!("CARGO_PKG_VERSION"))),
            ];
            self.rows(statement, &values, Consistency::LocalQuorum)
                .await?;
            done.push(migration.id);
        }
        Ok(done)
    }
}

fn read(result: scylla::response::query_result::QueryResult) -> Result<Vec<Row>, OpenError> {
    if !result.is_rows() {
        return Ok(Vec::new());
    }
    let result = result.into_rows_result().map_err(OpenError::strange)?;
    let rows = result.rows::<Row>().map_err(OpenError::strange)?;
    rows.collect::<Result<_, _>>().map_err(OpenError::strange)
}

fn text(text: &str) -> CqlValue {
    CqlValue::Text(text.to_owned())
}

fn text_at(row: &Row, at: usize) -> Option<&str> {
    row.columns.get(at)?.as_ref()?.as_text().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_never_changes() {
        for (migration, id) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.id, id, "migrations follow each other");
            assert!((1..=id).contains(&migration.oldest));
            assert_eq!(
                migration.checksum(),
                migration.checksum,
                "the tables that migration {id} makes are not those that it made: declare a migration that leads to what is new, or take the change back"
            );
        }
    }

    fn applied(rows: &[(i32, i32, &str)]) -> Vec<Applied> {
        rows.iter()
            .map(|(id, oldest, checksum)| Applied {
                id: *id,
                oldest: *oldest,
                checksum: (*checksum).to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_keyspace_is_known_older_newer_or_strange() {
        let ours = MIGRATIONS[0].checksum;
        let said = |outcome: Result<(), OpenError>| match outcome {
            Ok(()) => "fine",
            Err(OpenError::Older { .. }) => "older",
            Err(OpenError::Newer { .. }) => "newer",
            Err(OpenError::Changed { .. }) => "changed",
            Err(_) => "else",
        };
        for (rows, to_use, to_migrate, todo) in [
            (vec![], "older", "fine", 1),
            (vec![(1, 1, ours)], "fine", "fine", 0),
            (vec![(1, 1, "x")], "changed", "changed", 0),
            (vec![(2, 1, ours)], "changed", "changed", 0),
            (vec![(1, 1, ours), (3, 1, "x")], "changed", "changed", 0),
            // The program that has gone on says that we may stay.
            (vec![(1, 1, ours), (2, 1, "x")], "fine", "newer", 0),
            (vec![(1, 1, ours), (2, 2, "x")], "newer", "newer", 0),
        ] {
            let rows = applied(&rows);
            assert_eq!(said(usable("k", &rows)), to_use, "{rows:?}");
            let plan = pending("k", &rows);
            assert_eq!(plan.as_ref().map_or(0, Vec::len), todo, "{rows:?}");
            assert_eq!(said(plan.map(drop)), to_migrate, "{rows:?}");
        }
    }
}
