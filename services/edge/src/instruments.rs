//! What the edge counts.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram},
};
use platen_runtime::Metrics;
use std::time::Duration;

/// The edge's instruments. Labels are closed sets.
#[derive(Debug)]
pub(crate) struct Instruments {
    started: Counter<u64>,
    finished: Counter<u64>,
    kept: Counter<u64>,
    active: Gauge<u64>,
    requests: Histogram<f64>,
    rpcs: Counter<u64>,
    authentications: Counter<u64>,
    shed: Counter<u64>,
    lingers: Counter<u64>,
    repairs: Counter<u64>,
    wakes: Counter<u64>,
    files: Counter<u64>,
}

impl Instruments {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meter = metrics.meter();
        Self {
            started: metrics.counter("platen.cwmp.session.started", "Sessions opened, by trust"),
            finished: metrics.counter("platen.cwmp.session.finished", "Sessions ended, by outcome"),
            kept: metrics.counter(
                "platen.cwmp.session.kept",
                "Times that a session was kept in the edge's own memory since the cache was away",
            ),
            active: meter
                .u64_gauge("platen.cwmp.session.active")
                .with_description("Open sessions, about")
                .build(),
            requests: metrics.seconds(
                "platen.cwmp.request.duration",
                "From a POST's head to its answer, by status",
            ),
            rpcs: metrics.counter("platen.cwmp.rpc", "RPCs by direction and outcome"),
            authentications: metrics.counter(
                "platen.auth.attempt",
                "Attempts of devices to authenticate, by outcome",
            ),
            shed: metrics.counter(
                "platen.admission.shed",
                "Sessions refused with 503, by reason",
            ),
            lingers: metrics.counter(
                "platen.cwmp.linger",
                "Answers that waited for a decision, by outcome",
            ),
            repairs: metrics.counter(
                "platen.cwmp.repair",
                "Messages that had to be repaired, by repair",
            ),
            wakes: metrics.counter(
                "platen.connection_request",
                "Connection requests, by outcome",
            ),
            files: metrics.counter(
                "platen.file.served",
                "Files asked for, by method and status",
            ),
        }
    }

    pub(crate) fn session_started(&self, trusted: bool) {
        let trust = if trusted { "trusted" } else { "quarantined" };
        self.started.add(1, &[KeyValue::new("trust", trust)]);
    }

    pub(crate) fn session_finished(&self, outcome: &'static str) {
        self.finished.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn session_kept(&self) {
        self.kept.add(1, &[]);
    }

    pub(crate) fn sessions_active(&self, count: u64) {
        self.active.record(count, &[]);
    }

    pub(crate) fn request(&self, status: u16, took: Duration) {
        self.requests.record(
            took.as_secs_f64(),
            &[KeyValue::new("status", i64::from(status))],
        );
    }

    pub(crate) fn rpc(&self, direction: &'static str, outcome: &'static str) {
        self.rpcs.add(
            1,
            &[
                KeyValue::new("direction", direction),
                KeyValue::new("outcome", outcome),
            ],
        );
    }

    pub(crate) fn authentication(&self, outcome: &'static str) {
        self.authentications
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn shed(&self, reason: &'static str) {
        self.shed.add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(crate) fn linger(&self, outcome: &'static str) {
        self.lingers.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn repair(&self, name: &'static str) {
        self.repairs.add(1, &[KeyValue::new("repair", name)]);
    }

    pub(crate) fn wake(&self, outcome: &'static str) {
        self.wakes.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn file(&self, method: &'static str, status: u16) {
        self.files.add(
            1,
            &[
                KeyValue::new("method", method),
                KeyValue::new("status", i64::from(status)),
            ],
        );
    }
}
