//! The session cache and the "decided up to report n" marks.
#![warn(missing_docs)]

pub mod cache;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod memory;
pub mod redis;
pub mod watched;

pub use cache::{BUSY, DecidedMarks, DeviceHash, Error, Presence, Secret, SessionCache, Taken};
