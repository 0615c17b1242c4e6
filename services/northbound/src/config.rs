//! Configuration of the API.

use serde::Deserialize;

/// Configuration of this service. Where it listens is the executable's business.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What one caller may take.
    pub limits: Limits,
}

/// What callers may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request, but for the bytes of artifacts.
    pub request_bytes: usize,
    /// Bytes of an artifact.
    pub artifact_bytes: u64,
    /// Calls in work at a time, over all callers; further ones are refused with 503. Streams and waiting calls count apart.
    pub concurrent_calls: usize,
    /// Event streams and calls that wait for an operation, at a time, over all callers; further ones are refused with 503.
    pub concurrent_waits: usize,
    /// Calls per second of one token, in the long run; further ones are refused with 429.
    pub calls_per_second: u32,
    /// Calls of one token at once, above the long run.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 4 * 1024 * 1024,
            artifact_bytes: 4 * 1024 * 1024 * 1024,
            concurrent_calls: 1_024,
            concurrent_waits: 4_096,
            calls_per_second: 2_000,
            burst: 4_000,
        }
    }
}
