//! Every table, and the message that its rows hold. `docs/storage.md` lists writer, queries and growth of each.

use crate::{
    rows::Entity,
    table::{Column::Number, Column::Text, Key, Part, Table, Writes},
};
use platen_proto::{event::v1 as event, store::v1 as row};
use std::time::Duration;

const DAY: u64 = 86_400;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $name:literal: $message:ty, ($($p:expr),*), ($($c:expr),*), $writes:ident, $expires:expr, $keytype:ty, |$key:pat_param| $partition:expr, $clustering:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $table {}

            impl Entity for $table {
                type Message = $message;
                type Key<'a> = $keytype;
                const TABLE: &'static Table = &Table {
                    name: $name,
                    partition: &[$($p),*],
                    clustering: &[$($c),*],
                    writes: Writes::$writes,
                    expires: $expires,
                };
                fn key<'a>($key: $keytype) -> Key {
                    Key { partition: $partition, clustering: $clustering }
                }
            }
        )*

        /// Every table, in the order of this file.
        pub const ALL: &[&Table] = &[$(<$table as Entity>::TABLE),*];
    };
}

/// Partition of a device's row in the tables that hold one row per device: a tenant's devices are spread over 256 partitions.
fn device_partition(tenant: &str, device: &str) -> Vec<Part> {
    vec![tenant.into(), platen_ids::shard(tenant, device).into()]
}

tables! {
    /// What callers edit of a device: key (tenant, device).
    Registrations = "registrations": row::Registration, (Text("tenant"), Number("shard")), (Text("device")), Edited, None,
        (&'a str, &'a str), |(tenant, device)| device_partition(tenant, device), vec![device.into()];
    /// Secrets by user name: key (tenant, user name).
    Credentials = "credentials": row::Credential, (Text("tenant"), Text("username")), (), Edited, None,
        (&'a str, &'a str), |(tenant, username)| vec![tenant.into(), username.into()], vec![];
    /// What a device says of itself: key (tenant, device).
    ObservedDevices = "observed": row::Observed, (Text("tenant"), Number("shard")), (Text("device")), Derived, None,
        (&'a str, &'a str), |(tenant, device)| device_partition(tenant, device), vec![device.into()];
    /// Reported parameters in 16 chunks: key (tenant, device, chunk).
    Parameters = "parameters": row::ParameterChunk, (Text("tenant"), Text("device")), (Number("chunk")), Derived, None,
        (&'a str, &'a str, u64), |(tenant, device, chunk)| vec![tenant.into(), device.into()], vec![chunk.into()];
    /// Events of a device, by month: key (tenant, device, month as yyyymm, version of the record).
    Events = "events": event::Event, (Text("tenant"), Text("device"), Number("month")), (Number("position")), Derived, Some(Duration::from_secs(400 * DAY)),
        (&'a str, &'a str, u64, u64), |(tenant, device, month, position)| vec![tenant.into(), device.into(), month.into()], vec![position.into()];
    /// Operations by id: key (tenant, operation).
    Operations = "operations": row::Command, (Text("tenant"), Text("operation")), (), Inserted, Some(Duration::from_secs(400 * DAY)),
        (&'a str, &'a str), |(tenant, operation)| vec![tenant.into(), operation.into()], vec![];
    /// Operations of a device by time: key (tenant, device, create time in µs, operation).
    DeviceOperations = "device_operations": row::Command, (Text("tenant"), Text("device")), (Number("created"), Text("operation")), Inserted, Some(Duration::from_secs(400 * DAY)),
        (&'a str, &'a str, u64, &'a str), |(tenant, device, created, operation)| vec![tenant.into(), device.into()], vec![created.into(), operation.into()];
    /// Idempotency of API calls: key (tenant, request id); the value names what the first call made.
    Requests = "requests": row::RequestRow, (Text("tenant"), Text("request")), (), Once, Some(Duration::from_secs(DAY)),
        (&'a str, &'a str), |(tenant, request)| vec![tenant.into(), request.into()], vec![];
    /// Commands of a device that have not ended: key (tenant, device, rank, command).
    Queue = "queue": row::Command, (Text("tenant"), Text("device")), (Number("rank"), Text("command")), Inserted, Some(Duration::from_secs(60 * DAY)),
        (&'a str, &'a str, u64, &'a str), |(tenant, device, rank, command)| vec![tenant.into(), device.into()], vec![rank.into(), command.into()];
    /// Who has a command: key (tenant, command).
    Claims = "claims": row::Claim, (Text("tenant"), Text("command")), (), Once, Some(Duration::from_secs(90 * DAY)),
        (&'a str, &'a str), |(tenant, command)| vec![tenant.into(), command.into()], vec![];
    /// What became of an operation: key (tenant, operation).
    ProgressOfOperations = "progress": row::Progress, (Text("tenant"), Text("operation")), (), Derived, Some(Duration::from_secs(400 * DAY)),
        (&'a str, &'a str), |(tenant, operation)| vec![tenant.into(), operation.into()], vec![];
    /// How far a device has come towards its profiles: key (tenant, device).
    DesiredStates = "desired": row::Desired, (Text("tenant"), Number("shard")), (Text("device")), Derived, None,
        (&'a str, &'a str), |(tenant, device)| device_partition(tenant, device), vec![device.into()];
    /// Open transfers of a device: key (tenant, device).
    OpenTransfers = "transfers": row::Transfers, (Text("tenant"), Number("shard")), (Text("device")), Derived, None,
        (&'a str, &'a str), |(tenant, device)| device_partition(tenant, device), vec![device.into()];
    /// The metering ledger, by year: key (tenant, device, year, sequence).
    Readings = "readings": row::ReadingSet, (Text("tenant"), Text("device"), Number("year")), (Number("sequence")), Derived, None,
        (&'a str, &'a str, u64, u64), |(tenant, device, year, sequence)| vec![tenant.into(), device.into(), year.into()], vec![sequence.into()];
    /// Last state of a device's chain: key (tenant, device).
    LedgerHeads = "ledger_heads": row::LedgerHead, (Text("tenant"), Number("shard")), (Text("device")), Derived, None,
        (&'a str, &'a str), |(tenant, device)| device_partition(tenant, device), vec![device.into()];
    /// Tenants: key (tenant); one partition, since all are listed and they are few.
    Tenants = "tenants": row::TenantRow, (Text("all")), (Text("tenant")), Edited, None,
        &'a str, |tenant| vec!["all".into()], vec![tenant.into()];
    /// API tokens by the hash of their secret: key (hash in hexadecimal).
    Tokens = "tokens": row::TokenRow, (Text("hash")), (), Edited, None,
        &'a str, |hash| vec![hash.into()], vec![];
    /// Hashes of a tenant's tokens: key (tenant, token id).
    TokensOfTenant = "tokens_of_tenant": row::TokenRow, (Text("tenant")), (Text("token")), Edited, None,
        (&'a str, &'a str), |(tenant, token)| vec![tenant.into()], vec![token.into()];
    /// Profiles: key (tenant, profile).
    Profiles = "profiles": row::ProfileRow, (Text("tenant")), (Text("profile")), Edited, None,
        (&'a str, &'a str), |(tenant, profile)| vec![tenant.into()], vec![profile.into()];
    /// Artifacts: key (tenant, artifact).
    Artifacts = "artifacts": row::ArtifactRow, (Text("tenant")), (Text("artifact")), Edited, None,
        (&'a str, &'a str), |(tenant, artifact)| vec![tenant.into()], vec![artifact.into()];
    /// Timers: key (service, group of shards, bucket of five minutes, due time in µs, timer).
    Timers = "timers": row::Timer, (Text("service"), Number("group"), Number("bucket")), (Number("due"), Text("timer")), Inserted, None,
        (&'a str, u16, u64, u64, &'a str), |(service, group, bucket, due, timer)| vec![service.into(), u64::from(group).into(), bucket.into()], vec![due.into(), timer.into()];
    /// Up to where a service has walked its timers: key (service, first of the shards that are walked together).
    WalkedTimers = "walked": row::Walked, (Text("service"), Number("shard")), (), Derived, None,
        (&'a str, u16), |(service, shard)| vec![service.into(), u64::from(shard).into()], vec![];
    /// Epochs of topics: key (topic).
    Topics = "topics": row::TopicEpoch, (Text("topic")), (), Once, None,
        &'a str, |topic| vec![topic.into()], vec![];
    /// What is the same for every process of a deployment: key (name).
    Facts = "facts": row::Fact, (Text("name")), (), Once, None,
        &'a str, |name| vec![name.into()], vec![];
}
