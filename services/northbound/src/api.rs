//! What every service of the API works with.

use crate::{config::Limits, outcomes::Outcomes, refusal::Refusal, tokens::Authenticator};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use object_store::ObjectStore;
use platen_bus::{Log, NewRecord};
use platen_fleet::Fleet;
use platen_ids::TenantId;
use platen_proto::{
    report::v1::Notice,
    topic::{Kind, Topic},
};
use platen_runtime::Keys;
use platen_store::{Store, table::Write, timers};
use prost::Message;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

/// How long after a change its owner is told by a timer, if the notice did not reach the log.
const ANNOUNCE: Duration = Duration::from_secs(30);

/// How long an answer waits for the notice to be on the log.
const NOTICE_PATIENCE: Duration = Duration::from_secs(2);

/// What the services share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) authenticator: Authenticator,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) files: Arc<dyn ObjectStore>,
    pub(crate) fleet: Fleet,
    pub(crate) outcomes: Outcomes,
    pub(crate) limits: Limits,
    pub(crate) shutdown: CancellationToken,
    /// Profiles are compared with each other when they are saved: one at a time.
    pub(crate) saving_profiles: tokio::sync::Mutex<()>,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A device, with the id of what changed about it (an operation), or empty.
    Device { device: &'a str, id: &'a str },
    /// Something else of the tenant, by its kind in the singular: `profile`, `artifact`.
    Other { kind: &'a str, id: &'a str },
}

impl Subject<'_> {
    /// The name under whose key records and timers about it stand.
    fn key(&self) -> String {
        match self {
            Self::Device { device, .. } => (*device).to_owned(),
            Self::Other { kind, id } => format!("~{kind}/{id}"),
        }
    }

    const fn id(&self) -> &str {
        match self {
            Self::Device { id, .. } | Self::Other { id, .. } => id,
        }
    }
}

impl Api {
    /// The time, µs since 1970.
    pub(crate) fn now_us() -> i64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
    }

    /// Timers that announce a change to those who act on it, should the notice not get through. Written before the change, so that a crash
    /// between the two loses nothing.
    pub(crate) async fn announce(
        &self,
        services: &[&str],
        tenant: &TenantId,
        subject: Subject<'_>,
        kind: &str,
    ) -> Result<(), Refusal> {
        let due =
            Self::now_us().saturating_add(i64::try_from(ANNOUNCE.as_micros()).unwrap_or(i64::MAX));
        let arm = |service: &&str| {
            timers::arm(
                service,
                tenant.as_str(),
                &subject.key(),
                due,
                kind,
                subject.id(),
            )
        };
        let writes: Vec<Write> = services.iter().map(arm).collect();
        Ok(self.store.write(writes).await?)
    }

    /// Appends the notice of a change that is stored. The answer does not depend on it: the timer tells the same.
    ///
    /// What is not about one device may concern each of them: its notice goes to every partition, so that every owner has it before
    /// whatever a device says after the caller's answer.
    pub(crate) async fn notify(&self, tenant: &TenantId, subject: Subject<'_>, kind: &'static str) {
        let key = subject.key();
        let time_us = Self::now_us();
        let device = match subject {
            Subject::Device { device, .. } => device.to_owned(),
            Subject::Other { .. } => String::new(),
        };
        let notice = Notice {
            tenant: tenant.to_string(),
            device,
            kind: kind.to_owned(),
            id: subject.id().to_owned(),
            service: String::new(),
            time_us,
        };
        let shards = match subject {
            Subject::Device { .. } => vec![platen_ids::shard(tenant.as_str(), &key)],
            Subject::Other { .. } => one_shard_per_partition(self.log.partitions()),
        };
        let record = |shard| NewRecord {
            topic: Topic::Reports,
            shard,
            key: format!("{tenant}/{key}"),
            kind: Kind::Notice,
            id: random(16),
            time_us,
            payload: notice.encode_to_vec().into(),
        };
        let records = shards.into_iter().map(record).collect();
        match tokio::time::timeout(NOTICE_PATIENCE, self.log.append(records)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, kind, "a notice is left to its timer"),
            Err(_) => tracing::warn!(
                kind,
                "a notice is left to its timer: the log does not answer"
            ),
        }
    }
}

/// A shard of each partition: the first that lies there.
fn one_shard_per_partition(partitions: u32) -> Vec<u8> {
    let width = u32::from(platen_ids::SHARDS) / partitions.max(1);
    (0..partitions)
        .filter_map(|partition| u8::try_from(partition * width).ok())
        .collect()
}

/// `bytes` random bytes in URL-safe base64.
pub(crate) fn random(bytes: usize) -> String {
    let mut secret = vec![0; bytes];
    rand::fill(&mut secret[..]);
    URL_SAFE_NO_PAD.encode(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_gets_a_shard_of_its_own() {
        for partitions in [1, 2, 16, 256] {
            let shards = one_shard_per_partition(partitions);
            let lie_in: Vec<u32> = shards
                .iter()
                .map(|shard| u32::from(*shard) * partitions / u32::from(platen_ids::SHARDS))
                .collect();
            assert_eq!(lie_in, (0..partitions).collect::<Vec<_>>());
        }
    }
}
