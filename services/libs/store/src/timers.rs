//! Timers: rows in the order of their due time, which a walker passes over once and nobody deletes.
//!
//! A timer lies in the partition (service, group of shards, bucket of five minutes): a group is as many shards as one read takes in, because nearly
//! every read finds nothing and there are more of these than of any other at rest. Who arms a timer writes the row; the service that it is for
//! walks its shards, those of a group together, up to a little behind the clock ([`LAG`]), appends a notice for each timer, and remembers up to
//! where it has walked. So a timer must never be written behind the walker: one whose time has come, or is about to, is written under the clock's
//! time and not under its own.

use crate::{
    rows::{self, Store},
    table::{Error, Part, Range, Write},
    tables::{Timers, WalkedTimers},
};
use platen_proto::store::v1::{Timer, Walked};
use sha2::{Digest, Sha256};
use std::{
    ops::Range as Shards,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Shards of a group; for ever.
const GROUP: u16 = 16;

/// Number of groups.
pub const GROUPS: u16 = platen_ids::SHARDS / GROUP;

/// Width of a bucket, µs.
const BUCKET_US: u64 = 300_000_000;

/// A timer lives on this long after it is due: the longest outage of a walker.
pub const KEPT: Duration = Duration::from_secs(14 * 86_400);

/// How far a walker stays behind the clock: clocks of processes, and the time that a write takes, may differ by so much. (A walker looks again at where
/// it has been, so a timer whose write took longer comes late.)
pub const LAG: Duration = Duration::from_secs(3);

/// Buckets of one walk at most: after an outage a walker catches up in steps.
const MAX_BUCKETS: u64 = 64;

/// Timers of one read. Nearly all reads find none, so they must be of the cheap kind: a store may read large pages on other threads.
const PAGE: usize = 256;

/// The write that arms a timer: after `due_us` (µs since 1970) `service` gets a notice of this kind about `subject`.
///
/// `name` says under whose key the notice comes and in which shard the timer lies: a device's id, or for anything else within the tenant
/// `~` with its kind and id (`~profile/p1`). The same timer again is the same timer.
///
/// Looks at the clock, not at a record's time: the walker goes by the clock, however old the record is that arms the timer.
#[must_use]
pub fn arm(
    service: &str,
    tenant: &str,
    name: &str,
    due_us: i64,
    kind: &str,
    subject: &str,
) -> Write {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    arm_at(service, tenant, name, due_us, kind, subject, now)
}

/// As [`arm`], at `now` (since 1970).
fn arm_at(
    service: &str,
    tenant: &str,
    name: &str,
    due_us: i64,
    kind: &str,
    subject: &str,
    now: Duration,
) -> Write {
    let id = id(&[service, tenant, name, kind, subject], due_us);
    let due = u64::try_from(due_us).unwrap_or(0);
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let placed = due.max(now.saturating_add(1_000_000));
    let timer = Timer {
        due_us,
        id: id.clone(),
        key: format!("{tenant}/{name}"),
        tenant: tenant.to_owned(),
        device: if name.starts_with('~') {
            String::new()
        } else {
            name.to_owned()
        },
        kind: kind.to_owned(),
        subject: subject.to_owned(),
    };
    let key = (
        service,
        group_of(u16::from(platen_ids::shard(tenant, name))),
        placed / BUCKET_US,
        placed,
        id.as_str(),
    );
    let lives = Duration::from_micros(placed - now.min(placed)) + KEPT;
    Write {
        expires: Some(lives),
        // Not the due time: that may lie months ahead, and no timer is ever changed.
        ..rows::write::<Timers>(key, &timer, now)
    }
}

/// A hash of what makes the timer: 32 hexadecimal digits.
fn id(texts: &[&str], due_us: i64) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    }
    hash.update(due_us.to_be_bytes());
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The group of a shard, below [`GROUPS`].
#[must_use]
pub const fn group_of(shard: u16) -> u16 {
    shard / GROUP
}

/// What of these shards is walked together: they, cut where a group ends.
pub fn stretches(shards: &Shards<u16>) -> impl Iterator<Item = Shards<u16>> {
    let end = shards.end;
    let cut = move |from: u16| from..end.min((group_of(from) + 1) * GROUP);
    let first = (!shards.is_empty()).then(|| cut(shards.start));
    std::iter::successors(first, move |last| (last.end < end).then(|| cut(last.end)))
}

/// Up to where a service has walked a stretch ([`stretches`]), µs since 1970; 0: never walked.
///
/// # Errors
///
/// As [`Store::get`].
pub async fn walked(store: &Store, service: &str, stretch: &Shards<u16>) -> Result<u64, Error> {
    let row = store.get::<WalkedTimers>((service, stretch.start)).await?;
    Ok(row.map_or(0, |row| u64::try_from(row.until_us).unwrap_or(0)))
}

/// The write that remembers it.
#[must_use]
pub fn remember(service: &str, stretch: &Shards<u16>, until_us: u64) -> Write {
    let row = Walked {
        until_us: i64::try_from(until_us).unwrap_or(i64::MAX),
    };
    rows::write::<WalkedTimers>((service, stretch.start), &row, until_us)
}

/// The timers of a stretch that have become due since `from_us`, and up to where that is: where the next walk begins.
///
/// `stretch`: of [`stretches`]; timers of other shards of its group are passed over. `now_us`: the clock. About `limit` timers at most; those that
/// are due at the same microsecond are never torn apart.
///
/// # Errors
///
/// As [`Store::scan`].
pub async fn walk(
    store: &Store,
    service: &str,
    stretch: &Shards<u16>,
    from_us: u64,
    now_us: u64,
    limit: usize,
) -> Result<(Vec<Timer>, u64), Error> {
    let (mut timers, until_us) = walk_group(
        store,
        service,
        group_of(stretch.start),
        from_us,
        now_us,
        limit,
    )
    .await?;
    timers.retain(|timer| stretch.contains(&shard_of(timer).into()));
    Ok((timers, until_us))
}

/// The shard of what a timer is about, whose records its notice stands among.
#[must_use]
pub fn shard_of(timer: &Timer) -> u8 {
    let name = timer.key.split_once('/').map_or("", |(_, name)| name);
    platen_ids::shard(&timer.tenant, name)
}

async fn walk_group(
    store: &Store,
    service: &str,
    group: u16,
    from_us: u64,
    now_us: u64,
    limit: usize,
) -> Result<(Vec<Timer>, u64), Error> {
    let lag = u64::try_from(LAG.as_micros()).unwrap_or(u64::MAX);
    let oldest = now_us.saturating_sub(u64::try_from(KEPT.as_micros()).unwrap_or(u64::MAX));
    let from_us = from_us.max(oldest);
    let until_us = now_us
        .saturating_sub(lag)
        .min((from_us / BUCKET_US + MAX_BUCKETS) * BUCKET_US);
    let mut timers = Vec::new();
    if until_us <= from_us {
        return Ok((timers, from_us));
    }
    for bucket in from_us / BUCKET_US..=until_us / BUCKET_US {
        let mut range = Range {
            from: Some(from_us.into()),
            below: Some(until_us.into()),
            limit: limit.clamp(1, PAGE),
            ..Range::default()
        };
        loop {
            let page = store
                .scan::<Timers>((service, group, bucket, 0, ""), range.clone())
                .await?;
            let mut last = None;
            for (clustering, timer) in page.rows {
                last = clustering.first().cloned();
                timers.push(timer);
            }
            range.cursor = page.next;
            if let (Some(Part::Number(last)), true, true) =
                (last, range.cursor.is_some(), timers.len() >= limit)
            {
                // Finish this microsecond, so that the next walk can begin after it.
                range.below = Some((last + 1).into());
                while range.cursor.is_some() {
                    let page = store
                        .scan::<Timers>((service, group, bucket, 0, ""), range.clone())
                        .await?;
                    timers.extend(page.rows.into_iter().map(|(_, timer)| timer));
                    range.cursor = page.next;
                }
                return Ok((timers, last + 1));
            }
            if range.cursor.is_none() {
                break;
            }
        }
        if timers.len() >= limit {
            return Ok((timers, until_us.min((bucket + 1) * BUCKET_US)));
        }
    }
    Ok((timers, until_us))
}
