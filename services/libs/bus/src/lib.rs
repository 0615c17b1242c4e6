//! The log: typed records on topics, per-device order, consumer groups.
//!
//! [`Log`] is what an adapter implements; [`drive()`] is the loop that every service runs; [`timers`] turns due timers into notices.
#![warn(missing_docs)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod cursor;
pub mod derived;
pub mod drive;
pub mod embedded;
mod frame;
mod gather;
pub mod kafka;
pub mod log;
pub mod timers;
pub mod watched;

pub use cursor::BadPositions;
pub use drive::{Failure, Handler, HandlerError, drive};
pub use log::{
    Consumer, DeadLetter, Delivery, Error, Follower, From, Log, NewRecord, Positions, Record,
    Shards,
};
