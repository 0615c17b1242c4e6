//! The text of keyspace and tables, made from their declarations. Pure.
//!
//! One CQL table per declared table: its key columns (`text`, or `bigint` for numbers), `value blob`, and `etag text` where callers edit it.

use super::{CqlConfig, Replication};
use crate::{
    rows::Entity,
    table::{Column, Table, Writes},
    tables::{Queue, Readings, Timers},
};
use std::{fmt::Write as _, time::Duration};

const DAY: u64 = 86_400;

/// How long a deletion is remembered where rows are deleted: longer than anything that could write the row late (the log is kept for seven
/// days), so that it does not come back. Every node must be repaired more often than that.
const DELETIONS: Duration = Duration::from_secs(14 * DAY);

/// The same where rows only expire: nothing comes back, but what a node missed is kept for it no longer than this.
const EXPIRIES: Duration = Duration::from_secs(DAY);

/// Quotes an identifier. Names of ours hold no quotes.
pub(super) fn name(name: &str) -> String {
    format!("\"{name}\"")
}

/// A table with its keyspace.
pub(super) fn qualified(keyspace: &str, table: &str) -> String {
    format!("{}.{}", name(keyspace), name(table))
}

const fn column(column: &Column) -> (&'static str, &'static str) {
    match column {
        Column::Text(name) => (name, "text"),
        Column::Number(name) => (name, "bigint"),
    }
}

/// The columns of a key, quoted.
pub(super) fn names(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|of| name(column(of).0)).collect()
}

/// The keyspace. `without_tablets`: the server distributes new keyspaces by tablets unless it is told not to, and conditional writes need
/// that it does not.
pub(super) fn create_keyspace(config: &CqlConfig, without_tablets: bool) -> String {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut replication = "'class': 'NetworkTopologyStrategy'".to_owned();
    match &config.replication {
        Replication::Factor(factor) => {
            let of = config.datacenter.as_deref().unwrap_or("replication_factor");
            let _ = write!(replication, ", {}: {factor}", literal(of));
        }
        Replication::PerDatacenter(factors) => {
            for (datacenter, factor) in factors {
                let _ = write!(replication, ", {}: {factor}", literal(datacenter));
            }
        }
    }
    let tablets = if without_tablets {
        " AND tablets = {'enabled': false}"
    } else {
        ""
    };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{{replication}}} AND durable_writes = true{tablets}",
        name(&config.keyspace)
    )
}

/// A table.
pub(super) fn create_table(keyspace: &str, table: &Table) -> String {
    let mut text = format!(
        "CREATE TABLE IF NOT EXISTS {} (",
        qualified(keyspace, table.name)
    );
    for (of, kind) in table.partition.iter().chain(table.clustering).map(column) {
        let _ = write!(text, "{} {kind}, ", name(of));
    }
    text.push_str("\"value\" blob, ");
    if table.writes == Writes::Edited {
        text.push_str("\"etag\" text, ");
    }
    let _ = write!(text, "PRIMARY KEY (({})", names(table.partition).join(", "));
    for clustering in names(table.clustering) {
        let _ = write!(text, ", {clustering}");
    }
    let compaction = compaction(table);
    let deletions = match compaction {
        Compaction::TimeWindow(_) => EXPIRIES,
        Compaction::Leveled | Compaction::SizeTiered => DELETIONS,
    };
    let _ = write!(
        text,
        ")) WITH compaction = {} AND gc_grace_seconds = {}",
        compaction.text(),
        deletions.as_secs()
    );
    text
}

/// How the files of a table are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compaction {
    /// Rows that are rewritten again and again, or deleted: a read looks into few files, and what is over leaves them soon.
    Leveled,
    /// Rows that are only added.
    SizeTiered,
    /// Rows that are written once with the clock's time and expire: a file goes as a whole. The window of time of one file. Not for derived
    /// rows: their versions are positions of the log, which all lie within the same hour.
    TimeWindow(Duration),
}

fn compaction(table: &Table) -> Compaction {
    if table.name == Timers::TABLE.name {
        // Each row says itself when it expires.
        return Compaction::TimeWindow(Duration::from_secs(DAY));
    }
    if table.name == Readings::TABLE.name {
        return Compaction::SizeTiered;
    }
    match (table.writes, table.expires) {
        (Writes::Derived, Some(_)) => Compaction::SizeTiered,
        (Writes::Inserted | Writes::Once, Some(life)) if table.name != Queue::TABLE.name => {
            Compaction::TimeWindow(life / 30)
        }
        _ => Compaction::Leveled,
    }
}

impl Compaction {
    fn text(self) -> String {
        match self {
            Self::Leveled => "{'class': 'LeveledCompactionStrategy'}".to_owned(),
            Self::SizeTiered => "{'class': 'SizeTieredCompactionStrategy'}".to_owned(),
            Self::TimeWindow(window) => {
                let (unit, seconds) = if window < Duration::from_secs(DAY) {
                    ("HOURS", 3_600)
                } else {
                    ("DAYS", DAY)
                };
                format!(
                    "{{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '{unit}', 'compaction_window_size': '{}'}}",
                    window.as_secs().div_ceil(seconds)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Claims, Events, Requests, Tokens};

    #[test]
    fn a_table_becomes_a_cql_table() {
        for (table, expected) in [
            (
                Queue::TABLE,
                "CREATE TABLE IF NOT EXISTS \"k\".\"queue\" (\"tenant\" text, \"device\" text, \"rank\" bigint, \"command\" text, \"value\" blob, \
                 PRIMARY KEY ((\"tenant\", \"device\"), \"rank\", \"command\")) \
                 WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 1209600",
            ),
            (
                Tokens::TABLE,
                "CREATE TABLE IF NOT EXISTS \"k\".\"tokens\" (\"hash\" text, \"value\" blob, \"etag\" text, PRIMARY KEY ((\"hash\"))) \
                 WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 1209600",
            ),
            (
                Requests::TABLE,
                "CREATE TABLE IF NOT EXISTS \"k\".\"requests\" (\"tenant\" text, \"request\" text, \"value\" blob, PRIMARY KEY ((\"tenant\", \"request\"))) \
                 WITH compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS', 'compaction_window_size': '1'} \
                 AND gc_grace_seconds = 86400",
            ),
        ] {
            assert_eq!(create_table("k", table), expected);
        }
        let window = |days| Compaction::TimeWindow(Duration::from_secs(days * DAY));
        assert_eq!(compaction(Claims::TABLE), window(3));
        assert_eq!(compaction(Timers::TABLE), window(1));
        assert_eq!(compaction(Events::TABLE), Compaction::SizeTiered);
        assert_eq!(compaction(Readings::TABLE), Compaction::SizeTiered);
    }

    #[test]
    fn a_keyspace_is_replicated_as_configured() {
        let config = |datacenter: Option<&str>, replication| CqlConfig {
            keyspace: "k".into(),
            datacenter: datacenter.map(Into::into),
            replication,
            ..CqlConfig::default()
        };
        let create = |datacenter, replication, tablets| {
            create_keyspace(&config(datacenter, replication), tablets)
        };
        let both = Replication::PerDatacenter([("a".into(), 3), ("b'".into(), 1)].into());
        for (datacenter, replication, tablets, expected) in [
            (
                None,
                Replication::Factor(1),
                false,
                "'replication_factor': 1} AND durable_writes = true",
            ),
            (
                Some("dc1"),
                Replication::Factor(3),
                true,
                "'dc1': 3} AND durable_writes = true AND tablets = {'enabled': false}",
            ),
            (
                Some("a"),
                both,
                false,
                "'a': 3, 'b''': 1} AND durable_writes = true",
            ),
        ] {
            let text = create(datacenter, replication, tablets);
            assert_eq!(
                text,
                format!(
                    "CREATE KEYSPACE IF NOT EXISTS \"k\" WITH replication = {{'class': 'NetworkTopologyStrategy', {expected}"
                )
            );
        }
    }
}
