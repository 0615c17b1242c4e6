//! What a run measured.

use crate::process::Usage;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Latencies, in microseconds; three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of measurements.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: u64,
    /// 90 % are at most this.
    pub p90_us: u64,
    /// 99 % are at most this.
    pub p99_us: u64,
    /// 99.9 % are at most this.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            mean_us: histogram.mean(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// What the server used while it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// The same per session, in microseconds.
    pub cpu_us_per_session: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
    /// The most that it ever was, in bytes.
    pub peak_resident_bytes: u64,
}

impl Server {
    /// The difference of two readings, over so many sessions.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sessions are far below 2^52")]
    pub fn between(before: Usage, after: Usage, sessions: u64) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Self {
            cpu_seconds: cpu,
            cpu_us_per_session: if sessions == 0 {
                0.0
            } else {
                cpu * 1e6 / sessions as f64
            },
            resident_bytes: after.resident_bytes,
            peak_resident_bytes: after.peak_resident_bytes,
        }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Devices that called.
    pub devices: usize,
    /// Sessions at a time, at most.
    pub concurrency: usize,
    /// Sessions per second that were asked for; `None`: as many as go.
    pub asked_rate: Option<f64>,
    /// Whether connections outlive sessions.
    pub keep_alive: bool,
    /// Whether devices remember the challenge.
    pub keep_challenge: bool,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Sessions that ended well.
    pub sessions: u64,
    /// The same per second.
    pub sessions_per_second: f64,
    /// Challenges that were met.
    pub challenges: u64,
    /// Sessions that did not end well, by reason.
    pub errors: BTreeMap<String, u64>,
    /// From the POST of the Inform to its answer.
    pub inform: Latency,
    /// From the empty POST to its answer.
    pub end: Latency,
    /// Whole sessions, from the moment at which they were due: a server that falls behind cannot hide it.
    pub session: Latency,
    /// The server, if its process was named.
    pub server: Option<Server>,
    /// Processor time of the swarm itself per session, in microseconds.
    pub own_cpu_us_per_session: f64,
}

impl Report {
    /// Sessions that did not end well.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.asked_rate.map_or_else(
            || "as many as go".to_owned(),
            |rate| format!("{rate}/s asked for"),
        );
        writeln!(
            f,
            "{} ({}): {} devices, {rate}, at most {} at a time",
            self.scenario, self.started, self.devices, self.concurrency
        )?;
        writeln!(
            f,
            "  connections {}, challenges {}",
            if self.keep_alive {
                "kept"
            } else {
                "one per session"
            },
            if self.keep_challenge {
                "remembered"
            } else {
                "anew in each session"
            }
        )?;
        writeln!(
            f,
            "  sessions    {} in {:.1} s = {:.1}/s, {} challenged",
            self.sessions, self.seconds, self.sessions_per_second, self.challenges
        )?;
        if self.errors.is_empty() {
            writeln!(f, "  errors      none")?;
        }
        for (reason, count) in &self.errors {
            writeln!(f, "  error       {count} × {reason}")?;
        }
        writeln!(
            f,
            "  {:10}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "ms", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (name, latency) in [
            ("Inform", &self.inform),
            ("empty POST", &self.end),
            ("session", &self.session),
        ] {
            let columns = [
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us,
            ];
            let columns: String = columns
                .into_iter()
                .map(|us| format!("{:>12}", milliseconds(us)))
                .collect();
            writeln!(f, "  {name:10}{columns}")?;
        }
        if let Some(server) = &self.server {
            writeln!(
                f,
                "  server      {:.1} µs CPU per session ({:.2} s), {} MiB resident, {} MiB at most",
                server.cpu_us_per_session,
                server.cpu_seconds,
                server.resident_bytes >> 20,
                server.peak_resident_bytes >> 20
            )?;
        }
        write!(
            f,
            "  swarm       {:.1} µs CPU per session",
            self.own_cpu_us_per_session
        )
    }
}

fn milliseconds(us: u64) -> String {
    format!("{:.3}", Duration::from_micros(us).as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=1000).for_each(|us| histogram.record(us).unwrap());
        let latency = Latency::from(&histogram);
        Report {
            scenario: "idle".into(),
            started: "2026-11-23T08:00:00Z".into(),
            devices: 10,
            concurrency: 4,
            asked_rate: None,
            keep_alive: true,
            keep_challenge: true,
            seconds: 2.0,
            sessions: 1000,
            sessions_per_second: 500.0,
            challenges: 10,
            errors: [("connection closed".to_owned(), 3)].into(),
            inform: latency,
            end: latency,
            session: latency,
            server: Some(Server::between(
                Usage {
                    cpu: Duration::from_millis(500),
                    resident_bytes: 1,
                    peak_resident_bytes: 1,
                },
                Usage {
                    cpu: Duration::from_millis(600),
                    resident_bytes: 64 << 20,
                    peak_resident_bytes: 65 << 20,
                },
                1000,
            )),
            own_cpu_us_per_session: 40.0,
        }
    }

    #[test]
    fn a_report_survives_its_file() {
        let report = report();
        assert_eq!(
            serde_json::from_str::<Report>(&serde_json::to_string(&report).unwrap()).unwrap(),
            report
        );
    }

    #[test]
    fn people_read_rates_errors_and_cost() {
        let text = report().to_string();
        for part in [
            "500.0/s",
            "3 × connection closed",
            "100.0 µs CPU per session",
            "64 MiB resident",
            "0.990",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn no_session_costs_nothing() {
        let usage = Usage {
            cpu: Duration::ZERO,
            resident_bytes: 1,
            peak_resident_bytes: 1,
        };
        assert!(Server::between(usage, usage, 0).cpu_us_per_session.abs() < f64::EPSILON);
    }
}
