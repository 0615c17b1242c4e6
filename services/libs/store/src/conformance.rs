//! What every adapter must do, whatever it runs on. Each function is one law; [`suite`] holds an adapter to all of them.
//!
//! Rows are kept apart by `run`, a name of the caller's choice, so that a shared server can be used by several runs.
#![expect(clippy::unwrap_used, reason = "a suite of tests")]

use crate::{
    rows::{Entity, Store},
    table::{
        Cursor, Error, Expect, Inserted, Key, MAX_KEY, MAX_NUMBER, MAX_VALUE, Page, Part, Range,
        Row, Swapped, Table, Tables, Write, Writes,
    },
    tables::{self, Claims, Events, ObservedDevices, Operations, Profiles, Queue, Registrations},
};
use bytes::Bytes;
use futures::future::join_all;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// All laws.
pub async fn suite(tables: Arc<dyn Tables>, run: &str) {
    let law = |name: &str| format!("{run}-{name}");
    declarations_are_sound();
    a_write_is_seen_at_once(&*tables, &law("seen")).await;
    the_highest_version_stays(&*tables, &law("version")).await;
    a_deletion_has_a_version(&*tables, &law("deletion")).await;
    writers_in_any_order_agree(&*tables, &law("order")).await;
    one_of_many_inserts_counts(&*tables, &law("insert")).await;
    an_insert_is_once(&*tables, &law("once")).await;
    an_edit_needs_the_etag(&*tables, &law("edit")).await;
    one_of_many_edits_counts(&*tables, &law("edits")).await;
    edited_rows_are_listed(&*tables, &law("list")).await;
    ranges_are_exact(&*tables, &law("range")).await;
    pages_follow_each_other(&*tables, &law("page")).await;
    pages_survive_changes(&*tables, &law("change")).await;
    deleted_rows_are_passed_over(&*tables, &law("passed")).await;
    a_strange_cursor_is_refused(&*tables, &law("cursor")).await;
    strange_keys_stay_apart(&*tables, &law("strange")).await;
    tables_and_partitions_stay_apart(&*tables, &law("apart")).await;
    what_is_too_large_is_refused(&*tables, &law("large")).await;
    numbers_are_bounded(&*tables, &law("number")).await;
    rows_expire(&*tables, &law("expiry")).await;
    typed_rows_round(&Store::new(Arc::clone(&tables)), &law("typed")).await;
    tables.check().await.unwrap();
}

const fn table<E: Entity>() -> &'static Table {
    E::TABLE
}

fn key(partition: &[&str], clustering: impl IntoIterator<Item = Part>) -> Key {
    Key {
        partition: partition.iter().map(|part| (*part).into()).collect(),
        clustering: clustering.into_iter().collect(),
    }
}

/// A row of [`Events`]: partition (run, device, month 1), ordered by number.
fn event(run: &str, device: &str, number: u64) -> Key {
    Key {
        partition: vec![run.into(), device.into(), 1_u64.into()],
        clustering: vec![number.into()],
    }
}

fn write(table: &'static Table, key: Key, value: Option<&str>, version: u64) -> Write {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Write {
        table,
        key,
        value,
        version,
        expires: None,
    }
}

async fn value(tables: &dyn Tables, table: &'static Table, key: &Key) -> Option<(String, u64)> {
    let row = tables.get(table, key).await.unwrap()?;
    assert_eq!(row.clustering, key.clustering);
    Some((String::from_utf8(row.value.into()).unwrap(), row.version))
}

fn some(value: &str, version: u64) -> Option<(String, u64)> {
    Some((value.to_owned(), version))
}

/// Every page of a range.
async fn all(
    tables: &dyn Tables,
    table: &'static Table,
    partition: &[Part],
    mut range: Range,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for _ in 0..10_000 {
        let page = tables.scan(table, partition, range.clone()).await.unwrap();
        assert!(range.limit == 0 || page.rows.len() <= range.limit);
        rows.extend(page.rows);
        match page.next {
            Some(next) => range.cursor = Some(next),
            None => return rows,
        }
    }
    panic!("the pages do not end");
}

fn numbers(rows: &[Row]) -> Vec<u64> {
    let number = |row: &Row| match row.clustering.as_slice() {
        [Part::Number(number), ..] => *number,
        other => panic!("{other:?}"),
    };
    rows.iter().map(number).collect()
}

fn declarations_are_sound() {
    let names: BTreeSet<_> = tables::ALL.iter().map(|table| table.name).collect();
    assert_eq!(names.len(), tables::ALL.len(), "two tables share a name");
    for table in tables::ALL {
        assert!(
            table
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{}",
            table.name
        );
        assert!(!table.partition.is_empty(), "{}", table.name);
    }
}

async fn a_write_is_seen_at_once(tables: &dyn Tables, run: &str) {
    let table = table::<Events>();
    assert_eq!(value(tables, table, &event(run, "d", 1)).await, None);
    for number in 0..50 {
        tables
            .write(vec![write(table, event(run, "d", number), Some("x"), 7)])
            .await
            .unwrap();
        assert_eq!(
            value(tables, table, &event(run, "d", number)).await,
            some("x", 7)
        );
    }
    let many = (100..400)
        .map(|number| write(table, event(run, "d", number), Some("y"), number))
        .collect();
    tables.write(many).await.unwrap();
    assert_eq!(
        all(
            tables,
            table,
            &event(run, "d", 0).partition,
            Range::default()
        )
        .await
        .len(),
        350
    );
    tables.write(Vec::new()).await.unwrap();
}

async fn the_highest_version_stays(tables: &dyn Tables, run: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_us = u64::try_from(now.as_micros()).unwrap();
    for table in [table::<Events>(), table::<Queue>()] {
        let key = if table.name == "events" {
            event(run, "d", 1)
        } else {
            key(&[run, "d"], [1_u64.into(), "c".into()])
        };
        for (version, text, expected) in [
            (10, "ten", some("ten", 10)),
            (9, "nine", some("ten", 10)),
            (10, "ten", some("ten", 10)),
            (11, "eleven", some("eleven", 11)),
            (0, "zero", some("eleven", 11)),
            (now_us, "now", some("now", now_us)),
            (now_us - 1, "before", some("now", now_us)),
            (now_us + 1, "after", some("after", now_us + 1)),
        ] {
            tables
                .write(vec![write(table, key.clone(), Some(text), version)])
                .await
                .unwrap();
            assert_eq!(
                value(tables, table, &key).await,
                expected,
                "{} after version {version}",
                table.name
            );
        }
    }
}

async fn a_deletion_has_a_version(tables: &dyn Tables, run: &str) {
    let (table, key) = (
        table::<Queue>(),
        key(&[run, "d"], [1_u64.into(), "c".into()]),
    );
    let put = |version| write(table, key.clone(), Some("x"), version);
    let delete = |version| write(table, key.clone(), None, version);
    for (step, expected) in [
        (delete(5), None),
        (put(4), None),
        (put(6), some("x", 6)),
        (delete(5), some("x", 6)),
        (delete(7), None),
        (put(6), None),
        (delete(7), None),
        (put(8), some("x", 8)),
    ] {
        let said = format!("{step:?}");
        tables.write(vec![step]).await.unwrap();
        assert_eq!(value(tables, table, &key).await, expected, "after {said}");
    }
}

async fn writers_in_any_order_agree(tables: &dyn Tables, run: &str) {
    let table = table::<ObservedDevices>();
    let key = Key {
        partition: vec![run.into(), 0_u64.into()],
        clustering: vec!["d".into()],
    };
    let texts: Vec<String> = (0..64).map(|version| version.to_string()).collect();
    let writes = texts.iter().zip(0..).map(|(text, version)| {
        let (key, other) = (key.clone(), write(table, key.clone(), Some(text), version));
        async move {
            tables.write(vec![other]).await.unwrap();
            // Nobody ever sees less than what has returned.
            assert!(value(tables, table, &key).await.unwrap().1 >= version);
        }
    });
    join_all(writes).await;
    assert_eq!(value(tables, table, &key).await, some("63", 63));
}

/// How many want the same thing at once, round by round.
const CONTENDERS: [usize; 6] = [1, 2, 3, 5, 8, 24];

/// What each of many calls brought. `None`: its outcome is unknown, as a store may say when too many want one row.
fn known<T>(outcomes: Vec<Result<T, Error>>) -> Vec<Option<T>> {
    let known: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Err(Error::Unavailable(_)) => None,
            outcome => Some(outcome.unwrap()),
        })
        .collect();
    assert!(
        known.iter().any(Option::is_some),
        "nobody was told anything"
    );
    known
}

/// Of callers that all were told, one was told that it did it; of others no more than one.
fn assert_one<T>(winners: usize, outcomes: &[Option<T>]) {
    let all = outcomes.iter().all(Option::is_some);
    assert!(winners == 1 || (winners == 0 && !all), "{winners} did it");
}

async fn one_of_many_inserts_counts(tables: &dyn Tables, run: &str) {
    let table = table::<Claims>();
    for contenders in CONTENDERS {
        let key = key(&[run, &format!("c{contenders}")], []);
        let names: Vec<Bytes> = (0..contenders)
            .map(|n| Bytes::from(format!("holder {n}")))
            .collect();
        let inserts = names
            .iter()
            .map(|name| tables.insert_if_absent(table, key.clone(), name.clone()));
        let outcomes = known(join_all(inserts).await);
        let stands = tables.get(table, &key).await.unwrap();
        let mut winners = 0;
        for (outcome, name) in outcomes.iter().zip(&names) {
            let told = match outcome {
                Some(Inserted::Done) => {
                    winners += 1;
                    name
                }
                Some(Inserted::Exists(other)) => {
                    assert_ne!(other, name);
                    other
                }
                None => continue,
            };
            assert_eq!(stands.as_ref().map(|row| &row.value), Some(told));
        }
        assert_one(winners, &outcomes);
    }
}

async fn an_insert_is_once(tables: &dyn Tables, run: &str) {
    for table in tables::ALL
        .iter()
        .filter(|table| table.writes == Writes::Once)
    {
        let mut partition = vec![run];
        partition.resize(table.partition.len(), "x");
        let key = key(&partition, []);
        assert_eq!(value(tables, table, &key).await, None);
        for (text, expected) in [
            ("a", Inserted::Done),
            ("b", Inserted::Exists("a".into())),
            ("", Inserted::Exists("a".into())),
        ] {
            let outcome = tables.insert_if_absent(table, key.clone(), text.into());
            assert_eq!(outcome.await.unwrap(), expected, "{}", table.name);
        }
        let found = value(tables, table, &key).await;
        assert_eq!(
            found.map(|(text, _)| text).as_deref(),
            Some("a"),
            "{}",
            table.name
        );
    }
    // An empty value is a value.
    let (table, key) = (table::<Claims>(), key(&[run, "empty"], []));
    for expected in [Inserted::Done, Inserted::Exists(Bytes::new())] {
        let outcome = tables.insert_if_absent(table, key.clone(), Bytes::new());
        assert_eq!(outcome.await.unwrap(), expected);
    }
    let found = value(tables, table, &key).await;
    assert_eq!(found.map(|(text, _)| text).as_deref(), Some(""));
}

async fn an_edit_needs_the_etag(tables: &dyn Tables, run: &str) {
    let (table, key) = (table::<Profiles>(), key(&[run], ["p".into()]));
    let set = async |expect, value: Option<&'static str>| {
        tables
            .compare_and_set(table, key.clone(), expect, value.map(Bytes::from))
            .await
            .unwrap()
    };
    let done = |swapped| match swapped {
        Swapped::Done(etag) => etag,
        Swapped::Refused(found) => panic!("refused: {found:?}"),
    };

    assert_eq!(tables.get_edited(table, &key).await.unwrap(), None);
    assert_eq!(set(Expect::Any, Some("x")).await, Swapped::Refused(None));
    assert_eq!(
        set(Expect::Etag("x".into()), Some("x")).await,
        Swapped::Refused(None)
    );
    let first = done(set(Expect::Absent, Some("a")).await);

    let found = tables.get_edited(table, &key).await.unwrap().unwrap();
    assert_eq!((&found.value[..], &found.etag), (&b"a"[..], &first));
    assert_eq!(
        set(Expect::Absent, Some("b")).await,
        Swapped::Refused(Some(found.clone()))
    );
    assert_eq!(
        set(Expect::Etag("stale".into()), Some("b")).await,
        Swapped::Refused(Some(found.clone()))
    );
    assert_eq!(
        set(Expect::Etag("stale".into()), None).await,
        Swapped::Refused(Some(found))
    );

    let second = done(set(Expect::Etag(first.clone()), Some("a")).await);
    assert_ne!(first, second, "the same value is another write");
    let third = done(set(Expect::Any, Some("c")).await);
    assert!(matches!(
        set(Expect::Etag(second), Some("d")).await,
        Swapped::Refused(Some(_))
    ));

    done(set(Expect::Etag(third.clone()), None).await);
    assert_eq!(tables.get_edited(table, &key).await.unwrap(), None);
    let again = done(set(Expect::Absent, Some("a")).await);
    assert!(again != first && again != third, "an etag never comes back");
}

async fn one_of_many_edits_counts(tables: &dyn Tables, run: &str) {
    let table = table::<Profiles>();
    for contenders in CONTENDERS {
        let key = key(&[run], [format!("p{contenders}").into()]);
        let mut expect = Expect::Absent;
        for round in ["made", "changed"] {
            let names: Vec<Bytes> = (0..contenders)
                .map(|n| Bytes::from(format!("{round} by {n}")))
                .collect();
            let edits = names.iter().map(|name| {
                tables.compare_and_set(table, key.clone(), expect.clone(), Some(name.clone()))
            });
            let outcomes = known(join_all(edits).await);
            let mut winners: Vec<_> = outcomes
                .iter()
                .zip(&names)
                .filter_map(|(outcome, name)| match outcome {
                    Some(Swapped::Done(etag)) => Some((etag.clone(), name.clone())),
                    Some(Swapped::Refused(_)) | None => None,
                })
                .collect();
            assert_one(winners.len(), &outcomes);
            // An edit whose outcome is unknown may count later, on another round's cost.
            let (Some((etag, name)), true) = (winners.pop(), outcomes.iter().all(Option::is_some))
            else {
                break;
            };
            let found = tables.get_edited(table, &key).await.unwrap().unwrap();
            assert_eq!((&found.etag, &found.value), (&etag, &name));
            expect = Expect::Etag(etag);
        }
    }
}

async fn edited_rows_are_listed(tables: &dyn Tables, run: &str) {
    let table = table::<Registrations>();
    let partition: Vec<Part> = vec![run.into(), 3_u64.into()];
    for name in ["b", "a", "d", "c"] {
        let key = Key {
            partition: partition.clone(),
            clustering: vec![name.into()],
        };
        tables
            .compare_and_set(table, key, Expect::Absent, Some(name.into()))
            .await
            .unwrap();
    }
    let gone = Key {
        partition: partition.clone(),
        clustering: vec!["c".into()],
    };
    tables
        .compare_and_set(table, gone, Expect::Any, None)
        .await
        .unwrap();

    let (page, etags) = tables
        .scan_edited(table, &partition, Range::default())
        .await
        .unwrap();

    let values: Vec<_> = page.rows.iter().map(|row| row.value.clone()).collect();
    assert_eq!(
        (values, page.next),
        (vec!["a".into(), "b".into(), "d".into()], None)
    );
    for (row, etag) in page.rows.iter().zip(&etags) {
        let key = Key {
            partition: partition.clone(),
            clustering: row.clustering.clone(),
        };
        assert_eq!(
            tables.get_edited(table, &key).await.unwrap().unwrap().etag,
            *etag
        );
    }
    let range = Range {
        limit: 2,
        descending: true,
        ..Range::default()
    };
    let (page, etags) = tables
        .scan_edited(table, &partition, range.clone())
        .await
        .unwrap();
    assert_eq!((page.rows.len(), etags.len()), (2, 2));
    let (rest, _) = tables
        .scan_edited(
            table,
            &partition,
            Range {
                cursor: page.next,
                ..range
            },
        )
        .await
        .unwrap();
    assert_eq!(
        rest.rows
            .iter()
            .map(|row| row.value.clone())
            .collect::<Vec<_>>(),
        ["a"]
    );
}

async fn ranges_are_exact(tables: &dyn Tables, run: &str) {
    let table = table::<Queue>();
    let partition: Vec<Part> = vec![run.into(), "d".into()];
    let ranks = [0, 1, 255, 256, 257, u64::from(u32::MAX), (1 << 63) - 1];
    let mut writes = Vec::new();
    for rank in ranks {
        for command in ["", "a", "b"] {
            writes.push(write(
                table,
                key(&[run, "d"], [rank.into(), command.into()]),
                Some("x"),
                1,
            ));
        }
    }
    tables.write(writes).await.unwrap();

    let cases: [(Range, Vec<u64>); 7] = [
        (
            Range::default(),
            ranks.iter().flat_map(|rank| [*rank; 3]).collect(),
        ),
        (
            Range {
                from: Some(256_u64.into()),
                below: Some(300_u64.into()),
                ..Range::default()
            },
            vec![256, 256, 256, 257, 257, 257],
        ),
        (
            Range {
                from: Some(257_u64.into()),
                below: Some(257_u64.into()),
                ..Range::default()
            },
            vec![],
        ),
        (
            Range {
                from: Some(300_u64.into()),
                below: Some(2_u64.into()),
                ..Range::default()
            },
            vec![],
        ),
        (
            Range {
                below: Some(1_u64.into()),
                ..Range::default()
            },
            vec![0, 0, 0],
        ),
        (
            Range {
                prefix: vec![255_u64.into()],
                ..Range::default()
            },
            vec![255, 255, 255],
        ),
        (
            Range {
                prefix: vec![255_u64.into()],
                from: Some("a".into()),
                below: Some("b".into()),
                ..Range::default()
            },
            vec![255],
        ),
    ];
    for (range, expected) in cases {
        for limit in [0, 1, 2, 100] {
            let ascending = all(
                tables,
                table,
                &partition,
                Range {
                    limit,
                    ..range.clone()
                },
            )
            .await;
            assert_eq!(numbers(&ascending), expected, "{range:?}");
            let mut descending = all(
                tables,
                table,
                &partition,
                Range {
                    limit,
                    descending: true,
                    ..range.clone()
                },
            )
            .await;
            descending.reverse();
            assert_eq!(descending, ascending, "{range:?}");
        }
    }
    let sorted = all(tables, table, &partition, Range::default()).await;
    assert!(sorted.is_sorted_by_key(|row| row.clustering.clone()));
}

async fn pages_follow_each_other(tables: &dyn Tables, run: &str) {
    let table = table::<Events>();
    let partition = event(run, "d", 0).partition;
    tables
        .write(
            (0..100)
                .map(|n| write(table, event(run, "d", n), Some("x"), 1))
                .collect(),
        )
        .await
        .unwrap();
    for limit in [1, 7, 50, 99, 100, 101, 1_000_000] {
        let rows = all(
            tables,
            table,
            &partition,
            Range {
                limit,
                ..Range::default()
            },
        )
        .await;
        assert_eq!(numbers(&rows), (0..100).collect::<Vec<_>>(), "by {limit}");
    }
    let page = tables
        .scan(
            table,
            &partition,
            Range {
                limit: 100,
                ..Range::default()
            },
        )
        .await
        .unwrap();
    assert!(
        page.rows.len() == 100 && page.next.is_none(),
        "there is nothing after it"
    );
}

async fn pages_survive_changes(tables: &dyn Tables, run: &str) {
    let table = table::<Events>();
    let partition = event(run, "d", 0).partition;
    let put = |numbers: Vec<u64>, version| {
        let writes = numbers
            .into_iter()
            .map(|n| write(table, event(run, "d", n), Some("x"), version))
            .collect();
        tables.write(writes)
    };
    for descending in [false, true] {
        put((0..100).step_by(2).collect(), 1).await.unwrap();
        let mut range = Range {
            limit: 10,
            descending,
            ..Range::default()
        };
        let mut seen = Vec::new();
        for step in 0.. {
            let Page { rows, next } = tables.scan(table, &partition, range.clone()).await.unwrap();
            seen.extend(numbers(&rows));
            range.cursor = next;
            if range.cursor.is_none() {
                break;
            }
            // The row where the page ended goes, and others come before and after.
            let last = *seen.last().unwrap();
            let delete = write(table, event(run, "d", last), None, 2 + step);
            tables.write(vec![delete]).await.unwrap();
            put(vec![last.saturating_sub(1), last + 1], 1)
                .await
                .unwrap();
        }
        let mut sorted = seen.clone();
        if descending {
            sorted.reverse();
        }
        assert!(
            sorted.is_sorted_by(|a, b| a < b),
            "a row came twice: {seen:?}"
        );
        assert!(
            (0..100).step_by(2).all(|n| seen.contains(&n)),
            "a row was missed: {seen:?}"
        );
        let all: Vec<_> = (0..102)
            .map(|n| write(table, event(run, "d", n), None, 1_000))
            .collect();
        tables.write(all).await.unwrap();
        if !descending {
            // The next round needs rows above these deletions.
            let again = (0..100)
                .step_by(2)
                .map(|n| write(table, event(run, "d", n), Some("x"), 1_001))
                .collect();
            tables.write(again).await.unwrap();
        }
    }
}

async fn deleted_rows_are_passed_over(tables: &dyn Tables, run: &str) {
    let table = table::<Queue>();
    let partition: Vec<Part> = vec![run.into(), "d".into()];
    let at = |rank: u64| key(&[run, "d"], [rank.into(), "c".into()]);
    tables
        .write(
            (0..5_000)
                .map(|rank| write(table, at(rank), Some("x"), 1))
                .collect(),
        )
        .await
        .unwrap();
    tables
        .write(
            (0..4_999)
                .map(|rank| write(table, at(rank), None, 2))
                .collect(),
        )
        .await
        .unwrap();
    for (limit, descending) in [(1, false), (1, true), (1_000, false), (0, false)] {
        let rows = all(
            tables,
            table,
            &partition,
            Range {
                limit,
                descending,
                ..Range::default()
            },
        )
        .await;
        assert_eq!(numbers(&rows), [4_999]);
    }
}

async fn a_strange_cursor_is_refused(tables: &dyn Tables, run: &str) {
    let table = table::<Events>();
    let partition = event(run, "d", 0).partition;
    tables
        .write(
            (0..10)
                .map(|n| write(table, event(run, "d", n), Some("x"), 1))
                .collect(),
        )
        .await
        .unwrap();
    for bytes in [
        &b""[..],
        b"x",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0; 100],
    ] {
        let range = Range {
            cursor: Some(Cursor(Bytes::copy_from_slice(bytes))),
            ..Range::default()
        };
        let outcome = tables.scan(table, &partition, range).await;
        assert!(
            matches!(outcome, Err(Error::BadCursor)),
            "{bytes:?}: {outcome:?}"
        );
    }
}

async fn strange_keys_stay_apart(tables: &dyn Tables, run: &str) {
    let table = table::<Queue>();
    let names = [
        "",
        "\0",
        "\0\0",
        "\0\u{1}",
        "\u{1}",
        "a",
        "a\0",
        "a\0b",
        "ab",
        "a/b",
        "ä",
        "\u{10ffff}",
        "'; --",
    ];
    let mut writes = Vec::new();
    for device in names {
        for command in names {
            let text = format!("{device}|{command}");
            writes.push(write(
                table,
                key(&[run, device], [1_u64.into(), command.into()]),
                Some(&text),
                1,
            ));
        }
    }
    tables.write(writes).await.unwrap();

    let mut sorted = names;
    sorted.sort_unstable();
    for device in names {
        for command in names {
            let key = key(&[run, device], [1_u64.into(), command.into()]);
            assert_eq!(
                value(tables, table, &key).await,
                some(&format!("{device}|{command}"), 1)
            );
        }
        let rows = all(
            tables,
            table,
            &[run.into(), device.into()],
            Range {
                limit: 3,
                ..Range::default()
            },
        )
        .await;
        let found: Vec<_> = rows.into_iter().map(|row| row.clustering).collect();
        let expected: Vec<Vec<Part>> = sorted
            .iter()
            .map(|command| vec![1_u64.into(), (*command).into()])
            .collect();
        assert_eq!(found, expected, "{device:?}");
    }
}

async fn tables_and_partitions_stay_apart(tables: &dyn Tables, run: &str) {
    let same = key(&[run, "x"], []);
    tables
        .write(vec![write(
            table::<Operations>(),
            same.clone(),
            Some("operation"),
            1,
        )])
        .await
        .unwrap();
    assert_eq!(tables.get(table::<Claims>(), &same).await.unwrap(), None);
    assert_eq!(
        tables
            .insert_if_absent(table::<Claims>(), same.clone(), "claim".into())
            .await
            .unwrap(),
        Inserted::Done
    );
    assert_eq!(
        value(tables, table::<Operations>(), &same).await,
        some("operation", 1)
    );

    tables
        .write(vec![write(
            table::<Events>(),
            event(run, "d", 1),
            Some("x"),
            1,
        )])
        .await
        .unwrap();
    for partition in [
        event(run, "", 0),
        event(run, "d1", 0),
        event(&run[..run.len() - 1], "d", 0),
    ] {
        assert_eq!(
            all(
                tables,
                table::<Events>(),
                &partition.partition,
                Range::default()
            )
            .await,
            []
        );
    }
}

async fn what_is_too_large_is_refused(tables: &dyn Tables, run: &str) {
    let table = table::<Operations>();
    let long = "x".repeat(MAX_KEY + 1);
    let refused = |outcome: Result<(), Error>| {
        assert!(
            matches!(outcome, Err(Error::TooLarge { .. })),
            "{outcome:?}"
        )
    };
    refused(
        tables
            .write(vec![write(table, key(&[run, &long], []), Some("x"), 1)])
            .await,
    );
    refused(tables.get(table, &key(&[run, &long], [])).await.map(drop));
    let big = "x".repeat(MAX_VALUE + 1);
    refused(
        tables
            .write(vec![write(table, key(&[run, "big"], []), Some(&big), 1)])
            .await,
    );
    let name = "x".repeat(MAX_KEY - run.len());
    tables
        .write(vec![write(
            table,
            key(&[run, &name], []),
            Some(&big[1..]),
            1,
        )])
        .await
        .unwrap();
    assert_eq!(
        value(tables, table, &key(&[run, &name], []))
            .await
            .map(|(text, _)| text.len()),
        Some(MAX_VALUE)
    );
}

async fn numbers_are_bounded(tables: &dyn Tables, run: &str) {
    let table = table::<Events>();
    let refused = |outcome: Result<(), Error>, what: &str| {
        assert!(
            matches!(outcome, Err(Error::TooLarge { .. })),
            "{what}: {outcome:?}"
        );
    };
    let month = |month| Key {
        partition: vec![run.into(), "d".into(), Part::Number(month)],
        clustering: vec![1_u64.into()],
    };
    let put = |key| tables.write(vec![write(table, key, Some("x"), 1)]);
    for number in [MAX_NUMBER + 1, u64::MAX] {
        refused(put(event(run, "d", number)).await, "write");
        refused(put(month(number)).await, "partition");
        let found = tables.get(table, &event(run, "d", number)).await;
        refused(found.map(drop), "get");
        let partition = month(number).partition;
        let found = tables.scan(table, &partition, Range::default());
        refused(found.await.map(drop), "scan");
        let late = write(table, event(run, "d", 1), Some("x"), number);
        refused(tables.write(vec![late]).await, "version");
    }
    for number in [0, 1, MAX_NUMBER] {
        put(event(run, "d", number)).await.unwrap();
    }
    let from = |from, below| Range {
        from: Some(Part::Number(from)),
        below: Some(Part::Number(below)),
        ..Range::default()
    };
    let prefix = |number| Range {
        prefix: vec![Part::Number(number)],
        ..Range::default()
    };
    for (range, expected) in [
        (from(0, MAX_NUMBER), vec![0, 1]),
        (from(1, MAX_NUMBER + 1), vec![1, MAX_NUMBER]),
        (from(1, u64::MAX), vec![1, MAX_NUMBER]),
        (from(MAX_NUMBER, u64::MAX), vec![MAX_NUMBER]),
        (from(MAX_NUMBER + 1, u64::MAX), vec![]),
        (prefix(1), vec![1]),
        (prefix(MAX_NUMBER), vec![MAX_NUMBER]),
        (prefix(u64::MAX), vec![]),
    ] {
        let partition = event(run, "d", 0).partition;
        let rows = all(tables, table, &partition, range.clone());
        assert_eq!(numbers(&rows.await), expected, "{range:?}");
    }
}

async fn rows_expire(tables: &dyn Tables, run: &str) {
    let table = table::<Events>();
    let short = |number| Write {
        expires: Some(Duration::from_secs(1)),
        ..write(table, event(run, "d", number), Some("x"), 1)
    };
    tables
        .write(vec![
            short(1),
            write(table, event(run, "d", 2), Some("x"), 1),
            short(3),
        ])
        .await
        .unwrap();
    let partition = event(run, "d", 0).partition;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let rows = all(tables, table, &partition, Range::default()).await;
        if numbers(&rows) == [2] {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the rows live on: {:?}",
            numbers(&rows)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(value(tables, table, &event(run, "d", 1)).await, None);
    tables
        .write(vec![write(table, event(run, "d", 1), Some("again"), 2)])
        .await
        .unwrap();
    assert_eq!(
        value(tables, table, &event(run, "d", 1)).await,
        some("again", 2)
    );
}

async fn typed_rows_round(store: &Store, run: &str) {
    use platen_proto::store::v1::{Claim, Command, claim::By};

    let command = |id: &str, priority, create_time_us| Command {
        id: id.into(),
        tenant: run.into(),
        device: "d".into(),
        priority,
        create_time_us,
        ..Command::default()
    };
    let commands = [
        command("low", -100, 1),
        command("old", 0, 5),
        command("young", 0, 6),
        command("twin", 0, 6),
        command("high", 100, 9),
    ];
    for command in &commands {
        store
            .write(vec![crate::commands::enqueue(command, 1)])
            .await
            .unwrap();
    }
    let order = async || {
        store
            .queued(run, "d")
            .await
            .unwrap()
            .into_iter()
            .map(|command| command.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(order().await, ["high", "old", "twin", "young", "low"]);
    store
        .write(vec![crate::commands::dequeue(&commands[4], 2)])
        .await
        .unwrap();
    store
        .write(vec![crate::commands::enqueue(&commands[4], 1)])
        .await
        .unwrap();
    assert_eq!(
        order().await,
        ["old", "twin", "young", "low"],
        "what has ended does not come back"
    );

    let claim = |by: By, holder: &str| Claim {
        by: by.into(),
        holder: holder.into(),
        time_us: 1,
    };
    let first = claim(By::Session, "s1");
    assert_eq!(store.claim_of(run, "old").await.unwrap(), None);
    assert_eq!(store.claim(run, "old", &first).await.unwrap(), None);
    assert_eq!(
        store
            .claim(run, "old", &claim(By::Expiry, ""))
            .await
            .unwrap(),
        Some(first.clone())
    );
    assert_eq!(store.claim_of(run, "old").await.unwrap(), Some(first));
}
