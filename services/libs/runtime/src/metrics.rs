//! Metrics of the process: OpenTelemetry instruments, read as Prometheus text.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter, MeterProvider, UpDownCounter},
};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use std::sync::Arc;

/// Bounds of histograms of durations, in seconds.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Why metrics are not available.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct Error(String);

/// Where instruments come from, and where they are read. Cheap to clone; every process has one.
///
/// Names are lower case with dots and no unit (`platen.cwmp.session.started`); Prometheus sees underscores, the unit and, for counters, `_total`.
/// Labels come from closed sets only: never a device, an address, a URL, a path.
#[derive(Debug, Clone)]
pub struct Metrics {
    provider: Arc<SdkMeterProvider>,
    registry: Registry,
}

impl Metrics {
    /// Metrics of a process of that version, which `platen_build_info` shows.
    ///
    /// # Errors
    ///
    /// The exporter could not be set up.
    pub fn new(version: &'static str) -> Result<Self, Error> {
        Self::with(version, None)
    }

    /// The same for a process that is one of several kinds: `target_info` shows the service and which of its roles the process has.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn of_roles(
        service: &'static str,
        version: &'static str,
        roles: &str,
    ) -> Result<Self, Error> {
        let resource = Resource::builder_empty()
            .with_service_name(service)
            .with_attributes([
                KeyValue::new("service.version", version),
                KeyValue::new("service.roles", roles.to_owned()),
            ])
            .build();
        Self::with(version, Some(resource))
    }

    fn with(version: &'static str, resource: Option<Resource>) -> Result<Self, Error> {
        let registry = Registry::new();
        let mut exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false);
        if resource.is_none() {
            exporter = exporter.without_target_info();
        }
        let exporter = exporter.build().map_err(|error| Error(error.to_string()))?;
        let mut provider = SdkMeterProvider::builder().with_reader(exporter);
        if let Some(resource) = resource {
            provider = provider.with_resource(resource);
        }
        let metrics = Self {
            provider: Arc::new(provider.build()),
            registry,
        };
        let info = metrics
            .meter()
            .u64_gauge("platen.build.info")
            .with_description("Version of the running program")
            .build();
        info.record(1, &[KeyValue::new("version", version)]);
        Ok(metrics)
    }

    /// The meter, for instruments that the methods below do not make.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("platen")
    }

    /// Something that is counted.
    #[must_use]
    pub fn counter(&self, name: &'static str, description: &'static str) -> Counter<u64> {
        self.meter()
            .u64_counter(name)
            .with_description(description)
            .build()
    }

    /// Something of which there is more or less at a time.
    #[must_use]
    pub fn level(&self, name: &'static str, description: &'static str) -> UpDownCounter<i64> {
        self.meter()
            .i64_up_down_counter(name)
            .with_description(description)
            .build()
    }

    /// Durations, in seconds.
    #[must_use]
    pub fn seconds(&self, name: &'static str, description: &'static str) -> Histogram<f64> {
        self.meter()
            .f64_histogram(name)
            .with_unit("s")
            .with_description(description)
            .with_boundaries(SECONDS.to_vec())
            .build()
    }

    /// Everything, in Prometheus's text format.
    ///
    /// # Errors
    ///
    /// A metric cannot be written.
    pub fn text(&self) -> Result<String, Error> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| Error(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_roles() {
        let text = Metrics::of_roles("platen", "1.2.3", "edge,firmware")
            .unwrap()
            .text()
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("target_info{"))
            .unwrap();
        for label in [
            "service_name=\"platen\"",
            "service_version=\"1.2.3\"",
            "service_roles=\"edge,firmware\"",
        ] {
            assert!(line.contains(label), "{line}");
        }
    }

    #[test]
    fn instruments_appear_under_prometheus_names() {
        let metrics = Metrics::new("1.2.3").unwrap();

        metrics
            .counter("platen.test.thing", "Things")
            .add(2, &[KeyValue::new("kind", "red")]);
        metrics.level("platen.test.level", "Level").add(-1, &[]);
        metrics
            .seconds("platen.test.duration", "Time")
            .record(0.02, &[]);

        let text = metrics.text().unwrap();
        for line in [
            "platen_build_info{version=\"1.2.3\"} 1",
            "platen_test_thing_total{kind=\"red\"} 2",
            "platen_test_level -1",
            "platen_test_duration_seconds_bucket{le=\"0.025\"} 1",
            "platen_test_duration_seconds_bucket{le=\"0.01\"} 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
