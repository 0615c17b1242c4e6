//! What every adapter must do, whatever it runs on. Each function is one law; [`cache`] and [`marks`] hold an adapter to all of them.
//!
//! Devices and sessions are the caller's to choose apart (`seed`), so that a shared server can be used by several runs. Nothing here waits
//! for real longer than a second: the laws of time that need more are those of [`time`], for adapters whose clock is tokio's and can be paused.
#![expect(clippy::unwrap_used, reason = "a suite of tests")]

use crate::cache::{BUSY, DecidedMarks, DeviceHash, Presence, Secret, SessionCache, Taken};
use bytes::Bytes;
use futures::{FutureExt, future::join_all};
use std::time::Duration;
use tokio::time::Instant;

const IDLE: Duration = Duration::from_secs(90);
const OLD: Secret = [1; 16];
const NEW: Secret = [2; 16];

fn device(seed: u64, number: u64) -> DeviceHash {
    (u128::from(seed) << 64 | u128::from(number)).to_be_bytes()
}

fn record(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// All laws of the session cache but those of [`time`].
pub async fn cache(cache: &dyn SessionCache, seed: u64) {
    a_session_is_taken_once(cache, device(seed, 1)).await;
    of_many_takers_one_gets_it(cache, device(seed, 2)).await;
    a_newer_session_takes_the_place(cache, device(seed, 3)).await;
    a_removed_session_is_gone(cache, device(seed, 4)).await;
    a_busy_session_is_waited_for(cache, device(seed, 5)).await;
    devices_do_not_meet(cache, device(seed, 6), device(seed, 7)).await;
}

async fn a_session_is_taken_once(cache: &dyn SessionCache, device: DeviceHash) {
    assert_eq!(cache.look(device).await.unwrap(), Presence::None);
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Gone,
        "never put"
    );

    cache.put(device, OLD, record("a"), IDLE).await.unwrap();
    assert_eq!(cache.look(device).await.unwrap(), Presence::Waiting);
    assert_eq!(
        cache.take(device, NEW).await.unwrap(),
        Taken::Gone,
        "a stranger's secret"
    );
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Taken(record("a")),
        "a stranger changes nothing"
    );
    assert_eq!(cache.look(device).await.unwrap(), Presence::Busy);
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Busy(record("a"))
    );

    assert!(
        cache
            .put_back(device, OLD, record("b"), IDLE)
            .await
            .unwrap()
    );
    assert_eq!(cache.look(device).await.unwrap(), Presence::Waiting);
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Taken(record("b"))
    );
}

async fn of_many_takers_one_gets_it(cache: &dyn SessionCache, device: DeviceHash) {
    for _ in 0..20 {
        cache.put(device, OLD, record("a"), IDLE).await.unwrap();
        let taken = join_all((0..16).map(|_| cache.take(device, OLD))).await;
        let got = |wanted: &Taken| {
            taken
                .iter()
                .filter(|taken| taken.as_ref().unwrap() == wanted)
                .count()
        };
        assert_eq!(
            (
                got(&Taken::Taken(record("a"))),
                got(&Taken::Busy(record("a")))
            ),
            (1, 15)
        );
    }
}

async fn a_newer_session_takes_the_place(cache: &dyn SessionCache, device: DeviceHash) {
    cache.put(device, OLD, record("old"), IDLE).await.unwrap();
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Taken(record("old"))
    );

    cache.put(device, NEW, record("new"), IDLE).await.unwrap();

    assert_eq!(
        cache.look(device).await.unwrap(),
        Presence::Waiting,
        "the newer one is not busy"
    );
    assert_eq!(cache.take(device, OLD).await.unwrap(), Taken::Gone);
    assert!(
        !cache
            .put_back(device, OLD, record("late"), IDLE)
            .await
            .unwrap()
    );
    cache.remove(device, OLD).await.unwrap();
    assert_eq!(
        cache.take(device, NEW).await.unwrap(),
        Taken::Taken(record("new")),
        "the older one changes nothing"
    );
}

async fn a_removed_session_is_gone(cache: &dyn SessionCache, device: DeviceHash) {
    cache.put(device, OLD, record("a"), IDLE).await.unwrap();
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Taken(record("a"))
    );
    cache.remove(device, OLD).await.unwrap();
    assert_eq!(cache.look(device).await.unwrap(), Presence::None);
    assert_eq!(cache.take(device, OLD).await.unwrap(), Taken::Gone);
    assert!(
        !cache
            .put_back(device, OLD, record("b"), IDLE)
            .await
            .unwrap(),
        "what is gone does not come back"
    );
    cache.remove(device, OLD).await.unwrap();
}

async fn a_busy_session_is_waited_for(cache: &dyn SessionCache, device: DeviceHash) {
    let long = Duration::from_secs(20);
    cache.wait_idle(device, long).await.unwrap();
    cache.put(device, OLD, record("a"), IDLE).await.unwrap();
    cache.wait_idle(device, long).await.unwrap();

    for end in 0..3 {
        cache.put(device, OLD, record("a"), IDLE).await.unwrap();
        cache.take(device, OLD).await.unwrap();
        let begun = Instant::now();
        let end = async {
            match end {
                0 => assert!(
                    cache
                        .put_back(device, OLD, record("b"), IDLE)
                        .await
                        .unwrap()
                ),
                1 => cache.remove(device, OLD).await.unwrap(),
                _ => cache.put(device, NEW, record("c"), IDLE).await.unwrap(),
            }
        };
        let (waited, ()) = tokio::join!(cache.wait_idle(device, long), end);
        waited.unwrap();
        assert!(begun.elapsed() < long / 2, "woken, not timed out");
    }

    cache.put(device, OLD, record("a"), IDLE).await.unwrap();
    cache.take(device, OLD).await.unwrap();
    cache
        .wait_idle(device, Duration::from_millis(20))
        .await
        .unwrap();
    assert_eq!(
        cache.look(device).await.unwrap(),
        Presence::Busy,
        "patience ended first"
    );
}

async fn devices_do_not_meet(cache: &dyn SessionCache, one: DeviceHash, other: DeviceHash) {
    cache.put(one, OLD, record("one"), IDLE).await.unwrap();
    cache.put(other, OLD, record("other"), IDLE).await.unwrap();
    cache.remove(one, OLD).await.unwrap();
    assert_eq!(
        cache.take(other, OLD).await.unwrap(),
        Taken::Taken(record("other"))
    );
}

/// All laws of the marks but those of [`time`].
pub async fn marks(marks: &dyn DecidedMarks, seed: u64) {
    let session = format!("{seed:032x}");
    let (short, long) = (Duration::from_millis(20), Duration::from_secs(20));
    assert!(
        !marks.wait(&session, 0, short).await.unwrap(),
        "nothing is marked"
    );

    marks.mark(&session, 2).await.unwrap();
    for (ordinal, there) in [(0, true), (2, true), (3, false)] {
        assert_eq!(
            marks.wait(&session, ordinal, short).await.unwrap(),
            there,
            "up to 2, asked for {ordinal}"
        );
    }
    marks.mark(&session, 1).await.unwrap();
    assert!(
        marks.wait(&session, 2, Duration::ZERO).await.unwrap(),
        "marks only grow"
    );
    assert!(
        !marks
            .wait(&format!("{seed:031x}x"), 0, short)
            .await
            .unwrap(),
        "sessions do not meet"
    );

    let begun = Instant::now();
    let (came, marked) = tokio::join!(marks.wait(&session, 5, long), async {
        marks.mark(&session, 4).await?;
        marks.mark(&session, 5).await
    });
    marked.unwrap();
    assert!(
        came.unwrap() && begun.elapsed() < long / 2,
        "woken, not timed out"
    );
}

/// The laws of time, with tokio's clock paused: an adapter in memory.
pub async fn time(cache: &dyn SessionCache, marks: &dyn DecidedMarks, seed: u64) {
    let device = device(seed, 100);
    cache.put(device, OLD, record("a"), IDLE).await.unwrap();
    tokio::time::advance(IDLE - Duration::from_millis(1)).await;
    assert_eq!(cache.look(device).await.unwrap(), Presence::Waiting);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(
        cache.look(device).await.unwrap(),
        Presence::None,
        "idle too long"
    );
    assert_eq!(cache.take(device, OLD).await.unwrap(), Taken::Gone);

    cache.put(device, OLD, record("a"), IDLE).await.unwrap();
    cache.take(device, OLD).await.unwrap();
    tokio::time::advance(BUSY - Duration::from_millis(1)).await;
    assert_eq!(
        cache.take(device, OLD).await.unwrap(),
        Taken::Busy(record("a"))
    );
    let waiter = cache.wait_idle(device, BUSY);
    tokio::pin!(waiter);
    assert!(waiter.as_mut().now_or_never().is_none());
    tokio::time::advance(Duration::from_millis(1)).await;
    waiter.await.unwrap();
    assert_eq!(
        cache.look(device).await.unwrap(),
        Presence::None,
        "busy too long counts as gone"
    );
    assert!(
        !cache
            .put_back(device, OLD, record("late"), IDLE)
            .await
            .unwrap()
    );

    let session = format!("{seed:032x}time");
    marks.mark(&session, 1).await.unwrap();
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(marks.wait(&session, 1, Duration::ZERO).await.unwrap());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(
        !marks
            .wait(&session, 1, Duration::from_secs(5))
            .await
            .unwrap(),
        "marks end"
    );
}
