//! Durable state of the fleet: tables of rows behind one port.
//!
//! [`Tables`] is what an adapter implements ([`embedded`], [`cql`]); [`Store`] is what services use: the same, typed. [`tables`] declares every
//! table once; [`commands`], [`copies`], [`progress`] and [`timers`] are what several services do with some of them.
#![warn(missing_docs)]

pub mod commands;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod copies;
pub mod cql;
pub mod embedded;
mod envelope;
mod key;
pub mod ledger;
mod limits;
pub mod progress;
pub mod rows;
pub mod table;
pub mod tables;
pub mod timers;
pub mod watched;

pub use rows::{Entity, Store};
pub use table::{Error, Tables};
