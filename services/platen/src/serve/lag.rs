//! `platen.consumer.lag`: how many records each group has yet to pass.

use crate::roles::Role;
use platen_bus::Log;
use platen_proto::topic::Topic;
use platen_runtime::Metrics;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is counted.
const EVERY: Duration = Duration::from_secs(10);

/// Counts for the groups of these roles until `stop`. Every process of a role tells the same of its group.
pub(super) async fn tell(
    log: Arc<dyn Log>,
    roles: Vec<Role>,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let lag = metrics
        .meter()
        .u64_gauge("platen.consumer.lag")
        .with_description("Records that a consumer group has yet to pass")
        .build();
    loop {
        for role in &roles {
            let Some(topics) = topics(*role) else {
                continue;
            };
            // While the log is away, the last number stands; that it is away is told elsewhere.
            if let Ok(records) = log.lag(role.name(), topics).await {
                let group = opentelemetry::KeyValue::new("group", role.name());
                lag.record(records, &[group]);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(EVERY) => {}
        }
    }
}

/// What the role's group, which has its name, consumes.
const fn topics(role: Role) -> Option<&'static [Topic]> {
    match role {
        Role::Inventory | Role::Provisioning | Role::Firmware | Role::Metering => {
            Some(&[Topic::Reports])
        }
        Role::Edge => Some(&[Topic::Wake]),
        Role::Northbound => None,
    }
}
