//! The embedded adapter, held to the laws and to a model.

#![expect(clippy::unwrap_used, reason = "tests")]

use platen_embedded::{Database, Options};
use platen_store::{
    Error, Store, Tables, conformance,
    embedded::EmbeddedTables,
    rows::Entity,
    table::{Column, Inserted, Key, Part, Range, Write},
    tables::{self, Claims, Events, Queue},
    timers,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;

fn open(directory: &TempDir) -> EmbeddedTables {
    EmbeddedTables::new(&Database::open(directory.path(), Options::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_obeys_the_laws() {
    let directory = TempDir::new().unwrap();
    conformance::suite(Arc::new(open(&directory)), "run").await;
}

#[test]
fn the_documentation_lists_every_table_with_its_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/storage.md");
    let text = std::fs::read_to_string(path).unwrap();
    for table in tables::ALL {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", table.name)));
        let row = row.unwrap_or_else(|| panic!("{} is missing", table.name));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for column in table.partition.iter().chain(table.clustering) {
            let (Column::Text(name) | Column::Number(name)) = column;
            assert!(
                cells[2].contains(name),
                "{}: {name} is missing from the key {}",
                table.name,
                cells[2]
            );
        }
        assert!(
            cells[4].starts_with(&format!("{:?},", table.writes))
                || cells[4].starts_with(&format!("{:?}:", table.writes)),
            "{}: {}",
            table.name,
            cells[4]
        );
        let days = table
            .expires
            .map(|life| life.as_secs() / 86_400)
            .filter(|days| *days > 1);
        assert!(
            days.is_none_or(|days| cells[6].contains(&format!("{days} days"))),
            "{}: {}",
            table.name,
            cells[6]
        );
    }
}

fn event(number: u64) -> Key {
    Key {
        partition: vec!["t".into(), "d".into(), 1_u64.into()],
        clustering: vec![number.into()],
    }
}

fn put(number: u64, version: u64, expires: Option<Duration>) -> Write {
    Write {
        table: Events::TABLE,
        key: event(number),
        // Field 1, one byte: every message of these tables takes it.
        value: Some("\x0a\x01x".into()),
        version,
        expires,
    }
}

#[tokio::test]
async fn rows_expire_to_the_microsecond_by_the_clock() {
    let directory = TempDir::new().unwrap();
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = {
        let now = Arc::clone(&now);
        move || UNIX_EPOCH + Duration::from_micros(now.load(Ordering::SeqCst))
    };
    let tables = EmbeddedTables::with_clock(
        &Database::open(directory.path(), Options::default()).unwrap(),
        clock,
    );
    tables
        .write(vec![
            put(1, 9, Some(Duration::from_micros(500))),
            put(2, 9, None),
        ])
        .await
        .unwrap();

    now.fetch_add(499, Ordering::SeqCst);
    assert!(
        tables
            .get(Events::TABLE, &event(1))
            .await
            .unwrap()
            .is_some()
    );
    now.fetch_add(1, Ordering::SeqCst);
    assert_eq!(tables.get(Events::TABLE, &event(1)).await.unwrap(), None);
    let page = tables
        .scan(Events::TABLE, &event(1).partition, Range::default())
        .await
        .unwrap();
    assert_eq!(page.rows.len(), 1);
    tables.write(vec![put(1, 3, None)]).await.unwrap();
    assert_eq!(
        tables
            .get(Events::TABLE, &event(1))
            .await
            .unwrap()
            .unwrap()
            .version,
        3,
        "what has expired has no version"
    );

    let claim = Key {
        partition: vec!["t".into(), "c".into()],
        clustering: vec![],
    };
    assert_eq!(
        tables
            .insert_if_absent(Claims::TABLE, claim.clone(), "a".into())
            .await
            .unwrap(),
        Inserted::Done
    );
    now.fetch_add(91 * 86_400_000_000, Ordering::SeqCst);
    assert_eq!(
        tables
            .insert_if_absent(Claims::TABLE, claim, "b".into())
            .await
            .unwrap(),
        Inserted::Done
    );
}

#[tokio::test]
async fn what_lies_behind_thousands_of_expired_rows_is_found_with_one_scan() {
    let directory = TempDir::new().unwrap();
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = {
        let now = Arc::clone(&now);
        move || UNIX_EPOCH + Duration::from_micros(now.load(Ordering::SeqCst))
    };
    let database = Database::open(directory.path(), Options::default()).unwrap();
    let store = Store::new(Arc::new(EmbeddedTables::with_clock(&database, clock)));
    let mut writes = vec![put(0, 9, None)];
    writes.extend((1..=5_000).map(|number| put(number, 9, Some(Duration::from_micros(1)))));
    store.write(writes).await.unwrap();
    now.fetch_add(1, Ordering::SeqCst);

    let range = Range {
        descending: true,
        limit: 50,
        ..Range::default()
    };
    let page = store
        .tables()
        .scan(Events::TABLE, &event(0).partition, range.clone())
        .await
        .unwrap();
    assert!(
        page.rows.is_empty() && page.next.is_some(),
        "an adapter bounds what it passes over"
    );
    let rows = |rows: Vec<(Vec<Part>, _)>| rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let found = [vec![Part::Number(0)]];
    let page = store.scan::<Events>(("t", "d", 1, 0), range).await.unwrap();
    assert_eq!(rows(page.rows), found);
    assert_eq!(
        rows(store.scan_all::<Events>(("t", "d", 1, 0)).await.unwrap()),
        found
    );
}

#[tokio::test]
async fn a_full_disk_refuses_what_must_last_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        reserve_bytes: u64::MAX / 2,
        ..Options::default()
    };
    let tables = EmbeddedTables::new(&Database::open(directory.path(), options).unwrap());
    let claim = Key {
        partition: vec!["t".into(), "c".into()],
        clustering: vec![],
    };

    let refused = tables
        .insert_if_absent(Claims::TABLE, claim.clone(), "a".into())
        .await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert!(matches!(tables.check().await, Err(Error::Full(_))));
    assert_eq!(
        tables.get(Claims::TABLE, &claim).await.unwrap(),
        None,
        "nothing was written"
    );
    tables.write(vec![put(1, 1, None)]).await.unwrap();
    assert!(
        tables
            .get(Events::TABLE, &event(1))
            .await
            .unwrap()
            .is_some(),
        "what consumers derive goes on"
    );
}

/// One step of the model's life.
#[derive(Debug, Clone)]
enum Step {
    Write {
        rank: u64,
        command: String,
        value: Option<u8>,
        version: u64,
    },
    Insert {
        command: String,
        value: u8,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let command = || prop_oneof!["[a\\x00]{0,2}", "[ab]{1,2}"];
    let write = (
        0..4_u64,
        command(),
        prop::option::weighted(0.7, any::<u8>()),
        0..12_u64,
    )
        .prop_map(|(rank, command, value, version)| Step::Write {
            rank,
            command,
            value,
            version,
        });
    let insert =
        (command(), any::<u8>()).prop_map(|(command, value)| Step::Insert { command, value });
    prop_oneof![20 => write, 5 => insert, 1 => Just(Step::Reopen)]
}

/// The store as it should be: of each row the highest version, and whether that is a deletion.
type Model = BTreeMap<(u64, String), (u64, Option<u8>)>;

fn range(from: Option<u64>, below: Option<u64>, limit: usize, descending: bool) -> Range {
    Range {
        from: from.map(Part::from),
        below: below.map(Part::from),
        limit,
        descending,
        ..Range::default()
    }
}

fn expected(model: &Model, range: &Range) -> Vec<(Vec<Part>, u8)> {
    let within = |rank: u64| {
        range
            .from
            .as_ref()
            .is_none_or(|from| Part::from(rank) >= *from)
            && range
                .below
                .as_ref()
                .is_none_or(|below| Part::from(rank) < *below)
    };
    let live = |((rank, command), (_, value)): (&(u64, String), &(u64, Option<u8>))| {
        value
            .filter(|_| within(*rank))
            .map(|value| (vec![Part::from(*rank), Part::from(command.as_str())], value))
    };
    let mut rows: Vec<_> = model.iter().filter_map(live).collect();
    if range.descending {
        rows.reverse();
    }
    rows
}

async fn scanned(tables: &EmbeddedTables, mut range: Range) -> Vec<(Vec<Part>, u8)> {
    let mut rows = Vec::new();
    loop {
        let page = tables
            .scan(Queue::TABLE, &["t".into(), "d".into()], range.clone())
            .await
            .unwrap();
        rows.extend(
            page.rows
                .into_iter()
                .map(|row| (row.clustering, row.value[0])),
        );
        match page.next {
            Some(next) => range.cursor = Some(next),
            None => return rows,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_is_its_model(
        steps in prop::collection::vec(step(), 1..80),
        from in prop::option::of(0..5_u64),
        below in prop::option::of(0..5_u64),
        limit in 1..6_usize,
        descending: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = TempDir::new().unwrap();
            let mut tables = open(&directory);
            let mut model = Model::new();
            let mut claims = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Write { rank, command, value, version } => {
                        // Equal versions are equal writes: the value is a function of the version.
                        let value = value.map(|_| u8::try_from(version).unwrap()).filter(|_| version % 3 != 0);
                        let key = Key { partition: vec!["t".into(), "d".into()], clustering: vec![rank.into(), command.as_str().into()] };
                        let bytes = value.map(|value| vec![value].into());
                        let known = model.get(&(rank, command.clone())).map(|(known, _)| *known);
                        if known == Some(version) {
                            continue;
                        }
                        tables.write(vec![Write { table: Queue::TABLE, key, value: bytes, version, expires: None }]).await.unwrap();
                        if known.is_none_or(|known| version > known) {
                            model.insert((rank, command), (version, value));
                        }
                    }
                    Step::Insert { command, value } => {
                        let key = Key { partition: vec!["t".into(), command.as_str().into()], clustering: vec![] };
                        let outcome = tables.insert_if_absent(Claims::TABLE, key, vec![value].into()).await.unwrap();
                        match claims.get(&command) {
                            None => assert_eq!(outcome, Inserted::Done),
                            Some(known) => assert_eq!(outcome, Inserted::Exists(vec![*known].into())),
                        }
                        claims.entry(command).or_insert(value);
                    }
                    Step::Reopen => {
                        drop(tables);
                        tables = open(&directory);
                    }
                }
            }
            for range in [range(from, below, limit, descending), Range::default()] {
                assert_eq!(scanned(&tables, range.clone()).await, expected(&model, &range));
            }
        });
    }
}

#[tokio::test]
async fn timers_are_walked_once_and_none_is_missed() {
    let directory = TempDir::new().unwrap();
    let store = Store::new(Arc::new(open(&directory)));
    let stretch = stretch("t", "d");
    let neighbour = (0..)
        .map(|n| format!("~profile/p{n}"))
        .find(|name| {
            let shard = u16::from(platen_ids::shard("t", name));
            shard != stretch.start && timers::group_of(shard) == timers::group_of(stretch.start)
        })
        .unwrap();
    let start = now_us();
    let at = |seconds: u64| i64::try_from(start + seconds * 1_000_000).unwrap();
    let arm = |due_us, subject: &str| {
        timers::arm(
            "provisioning",
            "t",
            "d",
            due_us,
            "OPERATION_EXPIRED",
            subject,
        )
    };

    store
        .write(vec![
            arm(at(100), "soon"),
            arm(at(4_000), "late"),
            arm(at(100), "twin"),
            arm(0, "missed"),
        ])
        .await
        .unwrap();
    store.write(vec![arm(at(100), "soon")]).await.unwrap();
    store
        .write(vec![timers::arm(
            "provisioning",
            "t",
            &neighbour,
            at(100),
            "PROFILE_CHANGED",
            "a neighbour",
        )])
        .await
        .unwrap();

    let mut seen = Vec::new();
    let mut walked = start;
    for seconds in [0, 50, 99, 103, 110, 3_999, 4_003, 4_010] {
        let now = start + seconds * 1_000_000;
        let (due, further) = timers::walk(&store, "provisioning", &stretch, walked, now, 1)
            .await
            .unwrap();
        assert!(further >= walked && further <= now);
        // By one at a time a walk may need another round.
        let (more, further) = timers::walk(&store, "provisioning", &stretch, further, now, 100)
            .await
            .unwrap();
        seen.extend(
            due.into_iter()
                .chain(more)
                .map(|timer| (seconds, timer.subject, timer.due_us)),
        );
        walked = further;
    }

    let place = |subject: &str| {
        seen.iter()
            .filter(|(_, found, _)| found == subject)
            .map(|(at, ..)| *at)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        place("missed"),
        [50],
        "a timer whose time was over when it was armed comes all the same"
    );
    assert_eq!((place("soon"), place("twin")), (vec![110], vec![110]));
    assert_eq!(place("late"), [4_010]);
    assert_eq!(seen.len(), 4, "of the shard and of no other: {seen:?}");
    let other = timers::walk(
        &store,
        "firmware",
        &stretch,
        start,
        start + 9_000_000_000,
        10,
    )
    .await
    .unwrap();
    assert_eq!(other.0, [], "services do not see each other's timers");

    assert_eq!(
        timers::walked(&store, "provisioning", &stretch)
            .await
            .unwrap(),
        0
    );
    store
        .write(vec![timers::remember("provisioning", &stretch, walked)])
        .await
        .unwrap();
    store
        .write(vec![timers::remember("provisioning", &stretch, 1)])
        .await
        .unwrap();
    assert_eq!(
        timers::walked(&store, "provisioning", &stretch)
            .await
            .unwrap(),
        walked,
        "never back"
    );
}

#[test]
fn stretches_are_whole_within_a_group_and_a_partition() {
    for partitions in [1, 2, 16, 64, 256] {
        let width = 256 / partitions;
        let stretches: Vec<_> = (0..partitions)
            .flat_map(|partition| {
                let owned = partition * width..(partition + 1) * width;
                timers::stretches(&owned).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(stretches.len(), usize::from(partitions.max(timers::GROUPS)));
        let mut next = 0;
        for stretch in stretches {
            assert_eq!(stretch.start, next);
            assert_eq!(
                timers::group_of(stretch.start),
                timers::group_of(stretch.end - 1)
            );
            next = stretch.end;
        }
        assert_eq!(next, 256);
    }
    assert_eq!(timers::stretches(&(16..16)).count(), 0);
}

#[tokio::test]
async fn many_timers_of_one_moment_are_not_torn_apart() {
    let directory = TempDir::new().unwrap();
    let store = Store::new(Arc::new(open(&directory)));
    let start = now_us();
    let due = i64::try_from(start + 60_000_000).unwrap();
    let arm = |n: u64| {
        timers::arm(
            "firmware",
            "t",
            "d",
            due + i64::try_from(n / 40).unwrap(),
            "TRANSFER_OVERDUE",
            &n.to_string(),
        )
    };
    store.write((0..100).map(arm).collect()).await.unwrap();

    let (mut seen, mut walked, mut rounds) = (Vec::new(), start, 0);
    while walked < start + 90_000_000 {
        let walk = timers::walk(
            &store,
            "firmware",
            &stretch("t", "d"),
            walked,
            start + 100_000_000,
            7,
        )
        .await
        .unwrap();
        seen.extend(walk.0.into_iter().map(|timer| timer.subject));
        walked = walk.1;
        rounds += 1;
    }

    seen.sort();
    seen.dedup();
    assert_eq!(
        (seen.len(), rounds),
        (100, 4),
        "40, 40, 20 and the rest of the way"
    );
}

/// The shard of a device or of something else.
fn stretch(tenant: &str, name: &str) -> std::ops::Range<u16> {
    let shard = u16::from(platen_ids::shard(tenant, name));
    shard..shard + 1
}

fn now_us() -> u64 {
    u64::try_from(
        std::time::SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_micros(),
    )
    .unwrap()
}
