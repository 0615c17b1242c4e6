//! The statements about rows, as text, and what is bound to them. Pure.
//!
//! All bounds of a range are written as tuples that begin with the first clustering column: `("rank", "command") > (?, ?) AND ("rank") < (?)`. ScyllaDB
//! refuses tuples beside conditions on single columns, and both servers read tuples of different lengths.

use super::schema::{name, names, qualified};
use crate::{
    key,
    table::{Column, Cursor, Error, MAX_NUMBER, Part, Range, Table, Writes},
};
use scylla::{
    frame::response::result::ColumnType,
    serialize::{
        SerializationError,
        value::SerializeValue,
        writers::{CellWriter, WrittenCellProof},
    },
};

/// A statement, given its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Statement {
    /// `value`, its version, and `etag` where callers edit: of a key.
    Get,
    /// The same, as the last conditional write leaves it, also one that is under way.
    GetSerially,
    /// The same after the clustering columns: of a partition, within bounds.
    Scan {
        lower: Option<Edge>,
        upper: Option<Edge>,
        descending: bool,
    },
    /// Key, value, version, seconds to live.
    Put,
    /// Version, key.
    Delete,
    /// Key, value, seconds to live; if there is no such row.
    Insert,
    /// Key, value, etag, seconds to live; if there is no such row.
    Create,
    /// Seconds to live, value, etag, key; if there is a row.
    Overwrite,
    /// Seconds to live, value, etag, key, expected etag.
    Replace,
    /// Key; if there is a row.
    Remove,
    /// Key, expected etag.
    RemoveEdition,
}

/// One end of a range: how many clustering columns it names, and whether rows that equal it are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Edge {
    pub(super) columns: usize,
    pub(super) included: bool,
}

impl Statement {
    /// Whether it asks a condition, which its answer speaks of.
    pub(super) const fn is_conditional(self) -> bool {
        matches!(
            self,
            Self::Insert
                | Self::Create
                | Self::Overwrite
                | Self::Replace
                | Self::Remove
                | Self::RemoveEdition
        )
    }

    /// Whether it reads.
    pub(super) const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::GetSerially | Self::Scan { .. })
    }

    pub(super) fn text(self, keyspace: &str, table: &Table) -> String {
        let of = qualified(keyspace, table.name);
        let key: Vec<String> = [names(table.partition), names(table.clustering)].concat();
        let equal = |columns: &[String]| {
            let conditions: Vec<_> = columns.iter().map(|of| format!("{of} = ?")).collect();
            conditions.join(" AND ")
        };
        let at_key = equal(&key);
        let insert = |more: &[&str], condition: &str| {
            let mut columns = key.clone();
            columns.extend(more.iter().map(|column| name(column)));
            let marks = vec!["?"; columns.len()].join(", ");
            format!(
                "INSERT INTO {of} ({}) VALUES ({marks}){condition}",
                columns.join(", ")
            )
        };
        let update =
            format!("UPDATE {of} USING TTL ? SET \"value\" = ?, \"etag\" = ? WHERE {at_key}");
        match self {
            Self::Get | Self::GetSerially => {
                format!("SELECT {} FROM {of} WHERE {at_key}", content(table))
            }
            Self::Scan {
                lower,
                upper,
                descending,
            } => {
                let clustering = names(table.clustering);
                let mut columns = clustering.join(", ");
                if !columns.is_empty() {
                    columns.push_str(", ");
                }
                let mut text = format!(
                    "SELECT {columns}{} FROM {of} WHERE {}",
                    content(table),
                    equal(&names(table.partition))
                );
                for (edge, signs) in [(lower, [">", ">="]), (upper, ["<", "<="])] {
                    if let Some(edge) = edge {
                        text.push_str(&format!(
                            " AND ({}) {} ({})",
                            clustering[..edge.columns].join(", "),
                            signs[usize::from(edge.included)],
                            vec!["?"; edge.columns].join(", ")
                        ));
                    }
                }
                if let (true, Some(first)) = (descending, clustering.first()) {
                    text.push_str(&format!(" ORDER BY {first} DESC"));
                }
                text
            }
            Self::Put => insert(&["value"], " USING TIMESTAMP ? AND TTL ?"),
            Self::Delete => format!("DELETE FROM {of} USING TIMESTAMP ? WHERE {at_key}"),
            Self::Insert => insert(&["value"], " IF NOT EXISTS USING TTL ?"),
            Self::Create => insert(&["value", "etag"], " IF NOT EXISTS USING TTL ?"),
            Self::Overwrite => format!("{update} IF EXISTS"),
            Self::Replace => format!("{update} IF \"etag\" = ?"),
            Self::Remove => format!("DELETE FROM {of} WHERE {at_key} IF EXISTS"),
            Self::RemoveEdition => format!("DELETE FROM {of} WHERE {at_key} IF \"etag\" = ?"),
        }
    }
}

/// What is read of a row beside its key.
fn content(table: &Table) -> &'static str {
    match table.writes {
        Writes::Edited => "\"value\", WRITETIME(\"value\"), \"etag\"",
        Writes::Derived | Writes::Inserted | Writes::Once => "\"value\", WRITETIME(\"value\")",
    }
}

/// A value that is bound.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound<'b> {
    Text(&'b str),
    Number(i64),
    Seconds(i32),
    Bytes(&'b [u8]),
}

impl<'b> Bound<'b> {
    /// A part of a key that is within the port's limits.
    pub(super) fn part(part: &'b Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Number(number) => Self::number(*number),
        }
    }

    /// A number or version that is within the port's limits.
    pub(super) fn number(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl SerializeValue for Bound<'_> {
    fn serialize<'w>(
        &self,
        kind: &ColumnType<'_>,
        writer: CellWriter<'w>,
    ) -> Result<WrittenCellProof<'w>, SerializationError> {
        match self {
            Self::Text(text) => text.serialize(kind, writer),
            Self::Number(number) => number.serialize(kind, writer),
            Self::Seconds(seconds) => seconds.serialize(kind, writer),
            Self::Bytes(bytes) => bytes.serialize(kind, writer),
        }
    }
}

/// The ends of a range: the first parts of a clustering key, and whether rows that begin so are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ends {
    lower: Option<(Vec<Part>, bool)>,
    upper: Option<(Vec<Part>, bool)>,
    descending: bool,
}

impl Ends {
    /// `None`: no row can lie between them.
    pub(super) fn of(table: &'static Table, range: &Range) -> Result<Option<Self>, Error> {
        debug_assert!(
            range.prefix.len() + usize::from(range.from.is_some() || range.below.is_some())
                <= table.clustering.len(),
            "{}",
            table.name
        );
        let with = |part: &Part| [&range.prefix[..], std::slice::from_ref(part)].concat();
        let begins = || (!range.prefix.is_empty()).then(|| (range.prefix.clone(), true));
        let mut ends = Self {
            lower: range
                .from
                .as_ref()
                .map(|from| (with(from), true))
                .or_else(begins),
            upper: range
                .below
                .as_ref()
                // No row has a larger number.
                .filter(|below| !is_too_large(below))
                .map(|below| (with(below), false))
                .or_else(begins),
            descending: range.descending,
        };
        let nothing = range.prefix.iter().chain(&range.from).any(is_too_large)
            || matches!((&range.from, &range.below), (Some(from), Some(below)) if from >= below);
        if let Some(cursor) = &range.cursor {
            let at = decode(table, cursor)
                .filter(|at| !nothing && ends.contain(at))
                .ok_or(Error::BadCursor)?;
            let end = if range.descending {
                &mut ends.upper
            } else {
                &mut ends.lower
            };
            *end = Some((at, false));
        }
        Ok((!nothing).then_some(ends))
    }

    fn contain(&self, key: &[Part]) -> bool {
        let below = match &self.lower {
            Some((parts, _)) => key[..parts.len()] < parts[..],
            None => false,
        };
        let above = match &self.upper {
            Some((parts, true)) => key[..parts.len()] > parts[..],
            Some((parts, false)) => key[..parts.len()] >= parts[..],
            None => false,
        };
        !below && !above
    }

    pub(super) fn statement(&self) -> Statement {
        let edge = |end: &Option<(Vec<Part>, bool)>| {
            end.as_ref().map(|(parts, included)| Edge {
                columns: parts.len(),
                included: *included,
            })
        };
        Statement::Scan {
            lower: edge(&self.lower),
            upper: edge(&self.upper),
            descending: self.descending,
        }
    }

    /// What is bound after the partition.
    pub(super) fn bounds(&self) -> impl Iterator<Item = Bound<'_>> {
        [&self.lower, &self.upper]
            .into_iter()
            .flatten()
            .flat_map(|(parts, _)| parts)
            .map(Bound::part)
    }
}

fn is_too_large(part: &Part) -> bool {
    matches!(part, Part::Number(number) if *number > MAX_NUMBER)
}

/// The cursor of a page that ends with this row.
pub(super) fn cursor(clustering: &[Part]) -> Cursor {
    let mut bytes = Vec::new();
    key::encode(clustering, &mut bytes);
    Cursor(bytes.into())
}

fn decode(table: &Table, Cursor(bytes): &Cursor) -> Option<Vec<Part>> {
    key::decode(table.clustering, bytes)
        .filter(|parts| !parts.is_empty() && !parts.iter().any(is_too_large))
}

/// A key column as it was read.
pub(super) fn part(column: &Column, value: scylla::value::CqlValue) -> Option<Part> {
    use scylla::value::CqlValue;
    match (column, value) {
        (Column::Text(_), CqlValue::Text(text)) => Some(Part::Text(text)),
        (Column::Number(_), CqlValue::BigInt(number)) => {
            Some(Part::Number(u64::try_from(number).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rows::Entity,
        tables::{Claims, Profiles, Queue},
    };

    fn text(statement: Statement, table: &'static Table) -> String {
        statement.text("k", table)
    }

    #[test]
    fn statements_name_the_whole_key() {
        for (statement, table, expected) in [
            (
                Statement::Get,
                Queue::TABLE,
                r#"SELECT "value", WRITETIME("value") FROM "k"."queue" WHERE "tenant" = ? AND "device" = ? AND "rank" = ? AND "command" = ?"#,
            ),
            (
                Statement::Put,
                Queue::TABLE,
                r#"INSERT INTO "k"."queue" ("tenant", "device", "rank", "command", "value") VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"#,
            ),
            (
                Statement::Delete,
                Queue::TABLE,
                r#"DELETE FROM "k"."queue" USING TIMESTAMP ? WHERE "tenant" = ? AND "device" = ? AND "rank" = ? AND "command" = ?"#,
            ),
            (
                Statement::Insert,
                Claims::TABLE,
                r#"INSERT INTO "k"."claims" ("tenant", "command", "value") VALUES (?, ?, ?) IF NOT EXISTS USING TTL ?"#,
            ),
            (
                Statement::Get,
                Profiles::TABLE,
                r#"SELECT "value", WRITETIME("value"), "etag" FROM "k"."profiles" WHERE "tenant" = ? AND "profile" = ?"#,
            ),
            (
                Statement::Create,
                Profiles::TABLE,
                r#"INSERT INTO "k"."profiles" ("tenant", "profile", "value", "etag") VALUES (?, ?, ?, ?) IF NOT EXISTS USING TTL ?"#,
            ),
            (
                Statement::Replace,
                Profiles::TABLE,
                r#"UPDATE "k"."profiles" USING TTL ? SET "value" = ?, "etag" = ? WHERE "tenant" = ? AND "profile" = ? IF "etag" = ?"#,
            ),
            (
                Statement::RemoveEdition,
                Profiles::TABLE,
                r#"DELETE FROM "k"."profiles" WHERE "tenant" = ? AND "profile" = ? IF "etag" = ?"#,
            ),
        ] {
            assert_eq!(text(statement, table), expected);
        }
    }

    #[test]
    fn only_what_the_log_or_a_caller_versions_has_a_timestamp() {
        for table in crate::tables::ALL {
            for statement in [
                Statement::Get,
                Statement::GetSerially,
                Statement::Put,
                Statement::Delete,
                Statement::Insert,
                Statement::Create,
                Statement::Overwrite,
                Statement::Replace,
                Statement::Remove,
                Statement::RemoveEdition,
            ] {
                let text = text(statement, table);
                assert_eq!(
                    text.contains("USING TIMESTAMP"),
                    matches!(statement, Statement::Put | Statement::Delete)
                );
                assert_eq!(text.contains(" IF "), statement.is_conditional(), "{text}");
                assert_eq!(text.starts_with("SELECT"), statement.is_read());
            }
        }
    }

    fn ends(range: &Range) -> Option<(String, Vec<String>)> {
        let ends = Ends::of(Queue::TABLE, range).unwrap()?;
        let text = text(ends.statement(), Queue::TABLE);
        let (_, text) = text.split_once(r#""device" = ?"#).unwrap();
        let bounds = ends.bounds().map(|bound| format!("{bound:?}")).collect();
        Some((text.to_owned(), bounds))
    }

    #[test]
    fn a_range_has_two_ends() {
        let range = |prefix: &[u64], from: Option<Part>, below: Option<Part>| Range {
            prefix: prefix.iter().map(|number| (*number).into()).collect(),
            from,
            below,
            ..Range::default()
        };
        let number = |number: u64| Some(Part::Number(number));
        let after = |of: Range, rank: u64| Range {
            cursor: Some(cursor(&[rank.into(), "c".into()])),
            ..of
        };
        let backwards = |of: Range| Range {
            descending: true,
            ..of
        };
        for (range, expected) in [
            (range(&[], None, None), Some(("", vec![]))),
            (
                backwards(range(&[], None, None)),
                Some((r#" ORDER BY "rank" DESC"#, vec![])),
            ),
            (
                range(&[], number(1), number(2)),
                Some((
                    r#" AND ("rank") >= (?) AND ("rank") < (?)"#,
                    vec!["Number(1)", "Number(2)"],
                )),
            ),
            (
                range(&[7], None, Some("x".into())),
                Some((
                    r#" AND ("rank") >= (?) AND ("rank", "command") < (?, ?)"#,
                    vec!["Number(7)", "Number(7)", "Text(\"x\")"],
                )),
            ),
            (
                range(&[7], None, None),
                Some((
                    r#" AND ("rank") >= (?) AND ("rank") <= (?)"#,
                    vec!["Number(7)", "Number(7)"],
                )),
            ),
            (
                after(range(&[], None, number(9)), 8),
                Some((
                    r#" AND ("rank", "command") > (?, ?) AND ("rank") < (?)"#,
                    vec!["Number(8)", "Text(\"c\")", "Number(9)"],
                )),
            ),
            (
                backwards(after(range(&[], number(1), None), 8)),
                Some((
                    r#" AND ("rank") >= (?) AND ("rank", "command") < (?, ?) ORDER BY "rank" DESC"#,
                    vec!["Number(1)", "Number(8)", "Text(\"c\")"],
                )),
            ),
            (range(&[], number(2), number(2)), None),
            (range(&[], number(u64::MAX), None), None),
            (range(&[u64::MAX], None, None), None),
            (range(&[], None, number(u64::MAX)), Some(("", vec![]))),
        ] {
            let expected = expected.map(|(text, bounds): (&str, Vec<&str>)| {
                let bounds = bounds.into_iter().map(str::to_owned).collect::<Vec<_>>();
                (text.to_owned(), bounds)
            });
            assert_eq!(ends(&range), expected, "{range:?}");
        }
    }

    #[test]
    fn a_cursor_lies_in_its_range() {
        let range = |from: u64, below: u64, descending| Range {
            from: Some(from.into()),
            below: Some(below.into()),
            descending,
            cursor: Some(cursor(&[5_u64.into(), "c".into()])),
            ..Range::default()
        };
        for (from, below, fine) in [
            (5, 6, true),
            (0, 9, true),
            (0, u64::MAX, true),
            (6, 9, false),
            (0, 5, false),
            (9, 0, false),
        ] {
            for descending in [false, true] {
                let outcome = Ends::of(Queue::TABLE, &range(from, below, descending));
                assert_eq!(outcome.is_ok(), fine, "{from} {below}: {outcome:?}");
            }
        }
        let strange = |bytes: &[u8]| Range {
            cursor: Some(Cursor(bytes::Bytes::copy_from_slice(bytes))),
            ..Range::default()
        };
        for bytes in [
            &b""[..],
            b"x",
            &[0xff; 8],
            &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            let outcome = Ends::of(Queue::TABLE, &strange(bytes));
            assert!(matches!(outcome, Err(Error::BadCursor)), "{bytes:?}");
        }
        assert!(matches!(
            Ends::of(Claims::TABLE, &strange(b"")),
            Err(Error::BadCursor)
        ));
    }
}
