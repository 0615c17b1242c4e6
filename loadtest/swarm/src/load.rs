//! Drives a fleet of devices through idle sessions and measures the server.

use crate::{
    device,
    inform::Template,
    peer::{Peer, Target},
    process::{self, Usage},
    report::{Latency, Report, Server},
    session::{Broken, Device, Habits, Timing},
};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a place waits after a session that failed, where no rate is given.
const PAUSE: Duration = Duration::from_millis(20);

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Devices; they take turns.
    pub devices: usize,
    /// Sessions per second, begun whether the server keeps up or not; `None`: each device's place begins the next as soon as one has ended.
    pub rate: Option<f64>,
    /// Sessions at a time, at most. At a given rate, sessions that find no place wait, and their wait counts.
    pub concurrency: usize,
    /// How long is measured.
    pub duration: Duration,
    /// What devices keep between sessions.
    pub habits: Habits,
    /// Whether devices have credentials.
    pub authenticate: bool,
    /// Whether every device reports BOOTSTRAP in a session of its own before anything is measured.
    pub install: bool,
    /// How long a device waits for an answer.
    pub patience: Duration,
    /// The server's process, if it runs on this machine.
    pub pid: Option<u32>,
}

/// How a run goes on; may be read at any time.
#[derive(Debug, Default)]
pub struct Progress {
    /// Sessions that ended well, or devices installed.
    pub done: AtomicU64,
    /// Sessions that did not.
    pub failed: AtomicU64,
}

/// Runs the plan; ends early when `stop` is cancelled, with what was measured until then.
///
/// # Errors
///
/// A device cannot be installed, or the server's process cannot be read.
pub async fn run(
    plan: &Plan,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    let target = Arc::new(plan.target.clone());
    let devices: VecDeque<Device> = (0..plan.devices)
        .map(|number| {
            let credentials = plan.authenticate.then(|| device::credentials(number));
            Device::new(
                number,
                Peer::new(Arc::clone(&target), credentials, plan.patience),
            )
        })
        .collect();
    let fleet = Arc::new(Fleet {
        devices: Mutex::new(devices),
        template: Template::periodic(),
        tickets: AtomicU64::new(0),
    });
    if plan.install {
        install(plan, &fleet, progress, stop).await?;
        progress.done.store(0, Ordering::Relaxed);
    }

    let started = Timestamp::now();
    let before = Reading::take(plan.pid)?;
    let schedule = Schedule {
        begin: Instant::now(),
        rate: plan.rate,
        duration: plan.duration,
    };
    let mut workers = JoinSet::new();
    for _ in 0..plan.concurrency.clamp(1, plan.devices.max(1)) {
        workers.spawn(work(
            Arc::clone(&fleet),
            schedule,
            plan.habits,
            Arc::clone(progress),
            stop.clone(),
        ));
    }
    let mut measured = Measured::new()?;
    while let Some(worker) = workers.join_next().await {
        measured.add(worker??)?;
    }
    let seconds = schedule.begin.elapsed().as_secs_f64();
    let after = Reading::take(plan.pid)?;
    let sessions = measured.session.len();
    let challenges = fleet.devices().iter().map(Device::challenges).sum();
    Ok(Report {
        scenario: "idle".to_owned(),
        started: started.to_string(),
        devices: plan.devices,
        concurrency: plan.concurrency,
        asked_rate: plan.rate,
        keep_alive: plan.habits.keep_alive,
        keep_challenge: plan.habits.keep_challenge,
        seconds,
        sessions,
        sessions_per_second: rate(sessions, seconds),
        challenges,
        errors: measured
            .errors
            .into_iter()
            .map(|(broken, count)| (broken.to_string(), count))
            .collect(),
        inform: Latency::from(&measured.inform),
        end: Latency::from(&measured.end),
        session: Latency::from(&measured.session),
        server: before
            .server
            .zip(after.server)
            .map(|(before, after)| Server::between(before, after, sessions)),
        own_cpu_us_per_session: Server::between(before.own, after.own, sessions).cpu_us_per_session,
    })
}

#[expect(clippy::cast_precision_loss, reason = "sessions are far below 2^52")]
fn rate(sessions: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        sessions as f64 / seconds
    } else {
        0.0
    }
}

/// Processor time and memory of both sides at one moment.
struct Reading {
    server: Option<Usage>,
    own: Usage,
}

impl Reading {
    fn take(pid: Option<u32>) -> anyhow::Result<Self> {
        let server = pid
            .map(process::usage)
            .transpose()
            .map_err(|error| anyhow::anyhow!("cannot read the server's process: {error}"))?;
        Ok(Self {
            server,
            own: process::usage(std::process::id())?,
        })
    }
}

/// The devices that are between sessions: the first one calls next.
struct Fleet {
    devices: Mutex<VecDeque<Device>>,
    template: Template,
    tickets: AtomicU64,
}

impl Fleet {
    fn devices(&self) -> std::sync::MutexGuard<'_, VecDeque<Device>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When sessions are due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    begin: Instant,
    rate: Option<f64>,
    duration: Duration,
}

impl Schedule {
    /// When session `ticket` is due; `None`: the run is over by then.
    #[expect(clippy::cast_precision_loss, reason = "tickets are far below 2^52")]
    fn due(&self, ticket: u64, now: Instant) -> Option<Instant> {
        let due = match self.rate {
            Some(rate) => self.begin + Duration::from_secs_f64(ticket as f64 / rate),
            None => now,
        };
        // A server that falls behind at a given rate is not waited for beyond the end, either.
        (due.max(now).duration_since(self.begin) < self.duration).then_some(due)
    }
}

/// One place: session after session, each with the device that has waited longest.
async fn work(
    fleet: Arc<Fleet>,
    schedule: Schedule,
    habits: Habits,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::new()?;
    while !stop.is_cancelled() {
        let ticket = fleet.tickets.fetch_add(1, Ordering::Relaxed);
        let Some(due) = schedule.due(ticket, Instant::now()) else {
            break;
        };
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = stop.cancelled() => break,
        }
        // Places are no more than devices, so one is always there.
        let Some(mut device) = fleet.devices().pop_front() else {
            break;
        };
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // A timer may fire up to a millisecond late: that is the swarm's own, unless the session was late already.
        let began = Instant::now();
        let due = if began.duration_since(due) < Duration::from_millis(2) {
            began
        } else {
            due
        };
        let outcome = device.idle(&fleet.template, &now, habits).await;
        let failed = outcome.is_err();
        measured.record(outcome, due.elapsed(), &progress)?;
        fleet.devices().push_back(device);
        if failed && schedule.rate.is_none() {
            // Devices do not call again at once.
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(measured)
}

/// Every device reports BOOTSTRAP once.
async fn install(
    plan: &Plan,
    fleet: &Arc<Fleet>,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let total = plan.devices as u64;
    let mut workers = JoinSet::new();
    for _ in 0..plan.concurrency.clamp(1, plan.devices.max(1)) {
        let (fleet, progress, stop, habits) = (
            Arc::clone(fleet),
            Arc::clone(progress),
            stop.clone(),
            plan.habits,
        );
        workers.spawn(async move {
            while !stop.is_cancelled() && fleet.tickets.fetch_add(1, Ordering::Relaxed) < total {
                let Some(mut device) = fleet.devices().pop_front() else {
                    break;
                };
                device.install(habits).await.map_err(|broken| {
                    anyhow::anyhow!("a device could not be installed: {broken}")
                })?;
                progress.done.fetch_add(1, Ordering::Relaxed);
                fleet.devices().push_back(device);
            }
            anyhow::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    fleet.tickets.store(0, Ordering::Relaxed);
    Ok(())
}

/// What one place, or all of them, measured. Times in microseconds.
struct Measured {
    inform: Histogram<u64>,
    end: Histogram<u64>,
    session: Histogram<u64>,
    errors: BTreeMap<Broken, u64>,
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new(3)?;
        Ok(Self {
            inform: histogram.clone(),
            end: histogram.clone(),
            session: histogram,
            errors: BTreeMap::new(),
        })
    }

    fn record(
        &mut self,
        outcome: Result<Timing, Broken>,
        session: Duration,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        match outcome {
            Ok(timing) => {
                self.inform.record(micros(timing.inform))?;
                self.end.record(micros(timing.end))?;
                self.session.record(micros(session))?;
                progress.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(broken) => {
                *self.errors.entry(broken).or_default() += 1;
                progress.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.inform.add(other.inform)?;
        self.end.add(other.end)?;
        self.session.add(other.session)?;
        for (broken, count) in other.errors {
            *self.errors.entry(broken).or_default() += count;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_sets_when_sessions_are_due() {
        let begin = Instant::now();
        let open = Schedule {
            begin,
            rate: Some(100.0),
            duration: Duration::from_secs(1),
        };
        assert_eq!(open.due(0, begin), Some(begin));
        assert_eq!(
            open.due(50, begin),
            Some(begin + Duration::from_millis(500))
        );
        assert_eq!(open.due(100, begin), None, "due at the end");
        let late = begin + Duration::from_millis(900);
        assert_eq!(
            open.due(50, late),
            Some(begin + Duration::from_millis(500)),
            "late, and that counts"
        );
        assert_eq!(
            open.due(50, begin + Duration::from_secs(1)),
            None,
            "too late"
        );
        let closed = Schedule { rate: None, ..open };
        assert_eq!(closed.due(1_000_000, late), Some(late));
        assert_eq!(closed.due(0, begin + Duration::from_secs(1)), None);
    }
}
