//! Due timers become notices.

use crate::{
    drive::Failure,
    log::{Log, NewRecord, Shards},
};
use platen_proto::{
    report::v1::Notice,
    store::v1::Timer,
    topic::{Kind, Topic},
};
use platen_store::{Store, tables::Topics, timers};
use prost::Message;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// Every shard is walked once in this time, and so a notice comes so much later at most (besides [`timers::LAG`]).
///
/// A walk without due timers is one read of an empty range. The sixteen groups in five seconds are three reads a second and service, however many
/// devices there are (with more partitions than groups, one for each that a process owns); nobody who arms a timer has to tell anybody.
const ROUND: Duration = Duration::from_secs(5);

/// Timers of one stretch per round; the rest comes with the next one.
const MAX_DUE: usize = 4_000;

/// Notices that are appended together.
const APPENDED: usize = 500;

/// How far a stretch has been walked without this being stored: after a restart, so much is walked again. (What was walked when a timer became a
/// notice is stored at once.)
const STORED_AFTER_US: u64 = 600_000_000;

/// Where the walker has been it looks again, this far back: a write may have taken longer than [`timers::LAG`].
const LATE_US: u64 = 90_000_000;

/// How often it does.
const CHECKED_AFTER_US: u64 = 30_000_000;

/// Walks the timers of a service's shards, those that `owned` says at the time, for ever.
pub(crate) async fn run(
    log: &dyn Log,
    store: &Store,
    service: &str,
    owned: watch::Receiver<Vec<Shards>>,
) {
    let mut walks: HashMap<Shards, Option<Walk>> = HashMap::new();
    // One group after the other, so that the reads of a round do not come all at once.
    let mut steps = tokio::time::interval(ROUND / u32::from(timers::GROUPS));
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    for group in (0..timers::GROUPS).cycle() {
        steps.tick().await;
        let mut stretches: Vec<Shards> =
            owned.borrow().iter().flat_map(timers::stretches).collect();
        // Another owner walks on from what is stored.
        walks.retain(|stretch, _| stretches.contains(stretch));
        stretches.retain(|stretch| timers::group_of(stretch.start) == group);
        for stretch in stretches {
            let walk = walks.entry(stretch.clone()).or_default();
            let outcome = walk_on(walk, log, store, service, &stretch, now_us()).await;
            if let (Err(error), false) = (&outcome, failing) {
                tracing::warn!(service, ?stretch, %error, "timers cannot be walked; trying again");
            }
            failing = outcome.is_err();
            if failing {
                break;
            }
        }
    }
}

/// Where a walk begins that was left in the future: the clock was wrong then, and for how long nobody knows.
const AFTER_WRONG_CLOCK_US: u64 = 86_400_000_000;

/// How far a stretch has been walked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Walk {
    until_us: u64,
    stored_us: u64,
    /// When it was looked back last.
    checked_us: u64,
    /// Timers that became notices lately, and when.
    fired: HashMap<String, u64>,
}

/// Walks a stretch up to what is due now. A timer comes once, unless the walker is restarted: then those of the last moments come again, under
/// the same ids.
async fn walk_on(
    walk: &mut Option<Walk>,
    log: &dyn Log,
    store: &Store,
    service: &str,
    stretch: &Shards,
    now_us: u64,
) -> Result<(), Failure> {
    let walk = match walk {
        Some(walk) => walk,
        None => walk.insert(begin(store, service, stretch, now_us).await?),
    };
    if walk.until_us > now_us {
        // The clock was set back. What was armed since lies behind the walker, unless it goes back, too: what has fired may fire again.
        walk.until_us = now_us.saturating_sub(LATE_US);
        walk.checked_us = walk.checked_us.min(now_us);
    }
    let (mut due, until_us) =
        timers::walk(store, service, stretch, walk.until_us, now_us, MAX_DUE).await?;
    let check = now_us.saturating_sub(walk.checked_us) > CHECKED_AFTER_US;
    if check {
        let from_us = walk.until_us.saturating_sub(LATE_US);
        let behind_us = walk.until_us + u64::try_from(timers::LAG.as_micros()).unwrap_or(0);
        let (late, _) =
            timers::walk(store, service, stretch, from_us, behind_us, usize::MAX).await?;
        due.extend(late);
    }
    due.retain(|timer| !walk.fired.contains_key(&timer.id));
    let has_fired = !due.is_empty();
    // In pieces, each of which counts once it is there: so a log that takes few at a time is not asked for the same again and again.
    while !due.is_empty() {
        let piece: Vec<Timer> = due.drain(..due.len().min(APPENDED)).collect();
        let ids: Vec<String> = piece.iter().map(|timer| timer.id.clone()).collect();
        let notices = piece
            .into_iter()
            .map(|timer| notice(timer, service, now_us));
        log.append(notices.collect()).await?;
        walk.fired.extend(ids.into_iter().map(|id| (id, now_us)));
    }
    // Nothing below is done if anything above has failed: then all of it is done again.
    walk.until_us = until_us;
    if check {
        walk.checked_us = now_us;
        walk.fired.retain(|_, at_us| *at_us + 2 * LATE_US > now_us);
    }
    let store_it = has_fired || until_us.saturating_sub(walk.stored_us) > STORED_AFTER_US;
    if store_it {
        store
            .write(vec![timers::remember(service, stretch, until_us)])
            .await?;
        walk.stored_us = until_us;
    }
    Ok(())
}

/// Where the walk of a stretch begins: where it was left, or when the log was made, since no timer is older.
async fn begin(
    store: &Store,
    service: &str,
    stretch: &Shards,
    now_us: u64,
) -> Result<Walk, Failure> {
    let until_us = match timers::walked(store, service, stretch).await? {
        walked if walked > now_us => now_us.saturating_sub(AFTER_WRONG_CLOCK_US),
        0 => {
            let topic = store.get::<Topics>(Topic::Reports.name()).await?;
            topic.map_or(0, |row| u64::try_from(row.epoch_us).unwrap_or(0))
        }
        walked => walked,
    };
    Ok(Walk {
        until_us,
        stored_us: until_us,
        checked_us: 0,
        fired: HashMap::new(),
    })
}

fn notice(timer: Timer, service: &str, now_us: u64) -> NewRecord {
    let time_us = i64::try_from(now_us).unwrap_or(i64::MAX);
    let shard = timers::shard_of(&timer);
    let notice = Notice {
        tenant: timer.tenant,
        device: timer.device,
        kind: timer.kind,
        id: timer.subject,
        service: service.to_owned(),
        time_us,
    };
    NewRecord {
        topic: Topic::Reports,
        shard,
        key: timer.key,
        kind: Kind::Notice,
        id: timer.id,
        time_us,
        payload: notice.encode_to_vec().into(),
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        embedded::EmbeddedLog,
        log::{Follower, From},
    };
    use platen_embedded::{Database, Options};
    use platen_store::{embedded::EmbeddedTables, rows, table::Write, tables::Timers};
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000;

    /// A timer that lies where it says.
    fn timer(due_us: u64, subject: &str) -> Write {
        let row = Timer {
            due_us: i64::try_from(due_us).unwrap(),
            id: subject.to_owned(),
            key: "t/d".to_owned(),
            tenant: "t".to_owned(),
            subject: subject.to_owned(),
            ..Timer::default()
        };
        let bucket = due_us / 300_000_000;
        let group = timers::group_of(stretch().start);
        rows::write::<Timers>(("metering", group, bucket, due_us, subject), &row, due_us)
    }

    /// Where the device's timers lie.
    fn stretch() -> Shards {
        let shard = u16::from(platen_ids::shard("t", "d"));
        shard..shard + 1
    }

    async fn notices(follower: &mut dyn Follower) -> Vec<String> {
        let records = follower.next(100).await.unwrap();
        records
            .iter()
            .map(|record| record.notice().unwrap().id)
            .collect()
    }

    #[tokio::test]
    async fn a_timer_that_was_written_late_comes_once() {
        let directory = tempfile::TempDir::new().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log = EmbeddedLog::open(&database, &store).await.unwrap();
        let mut follower = log.follow(&[Topic::Reports], From::Now).await.unwrap();
        let start = now_us();
        let mut walk = None;
        let mut at = async |seconds: u64| {
            let now = start + seconds * SECOND;
            walk_on(&mut walk, &log, &store, "metering", &stretch(), now)
                .await
                .unwrap();
        };

        store
            .write(vec![timer(start + 10 * SECOND, "punctual")])
            .await
            .unwrap();
        at(5).await;
        at(20).await;
        assert_eq!(notices(&mut *follower).await, ["punctual"]);

        at(50).await;
        store
            .write(vec![timer(start + 12 * SECOND, "late")])
            .await
            .unwrap();
        store
            .write(vec![timer(start + 60 * SECOND, "next")])
            .await
            .unwrap();
        at(55).await;
        at(90).await;
        assert_eq!(notices(&mut *follower).await, ["next", "late"]);

        at(125).await;
        at(160).await;
        at(400).await;
        store
            .write(vec![timer(start + 405 * SECOND, "last")])
            .await
            .unwrap();
        at(410).await;
        assert_eq!(notices(&mut *follower).await, ["last"], "none came twice");
        assert!(
            walk.as_ref().is_some_and(|walk| walk.fired.len() <= 1),
            "what is long past is forgotten"
        );

        // A restart looks back, too.
        walk = None;
        walk_on(
            &mut walk,
            &log,
            &store,
            "metering",
            &stretch(),
            start + 411 * SECOND,
        )
        .await
        .unwrap();
        assert_eq!(notices(&mut *follower).await, ["last"]);
    }
    #[tokio::test]
    async fn a_clock_that_is_set_back_passes_no_timer_over() {
        let directory = tempfile::TempDir::new().unwrap();
        let database = Database::open(directory.path(), Options::default()).unwrap();
        let store = Store::new(Arc::new(EmbeddedTables::new(&database)));
        let log = EmbeddedLog::open(&database, &store).await.unwrap();
        let mut follower = log.follow(&[Topic::Reports], From::Now).await.unwrap();
        let start = now_us();
        let arm = async |seconds: u64, subject: &str| {
            store
                .write(vec![timer(start + seconds * SECOND, subject)])
                .await
                .unwrap();
        };
        let at = async |walk: &mut Option<Walk>, seconds: u64| {
            let now = start + seconds * SECOND;
            walk_on(walk, &log, &store, "metering", &stretch(), now)
                .await
                .unwrap();
        };
        let mut walk = None;

        // The clock is some hours ahead for a moment; what has fired then is stored with how far the walker went.
        arm(7_000, "early").await;
        at(&mut walk, 8_000).await;
        assert_eq!(notices(&mut *follower).await, ["early"]);
        arm(20, "set back").await;
        at(&mut walk, 30).await;
        assert_eq!(notices(&mut *follower).await, ["set back"]);

        arm(40, "restarted").await;
        let mut walk = None;
        // A day is made up for in steps.
        for _ in 0..6 {
            at(&mut walk, 50).await;
        }
        assert_eq!(notices(&mut *follower).await, ["set back", "restarted"]);
    }
}
