//! Process plumbing: logs, metrics, health, listeners, keys, shutdown. No domain word in it.
#![warn(missing_docs)]

pub mod health;
pub mod keys;
pub mod listener;
pub mod logs;
pub mod metrics;
pub mod recent;
pub mod shutdown;

pub use health::Health;
pub use keys::Keys;
pub use metrics::Metrics;
pub use recent::Recent;
