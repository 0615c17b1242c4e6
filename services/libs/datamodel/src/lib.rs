//! The data model of printers, as values and pure functions.
//!
//! - [`path`]: parameter paths; [`meter`]: the one table of meters.
//! - [`snmp`]: what an SNMP agent says; [`mib`]: the objects that printers are asked for.
//! - [`printer::map`]: from a walk to identity and parameters. [`identity`], [`level`], [`alert`] and [`counter`] hold its rules.
//! - [`continuity`]: meters that never fall within an epoch, whatever the printer's counters do.
//!
//! Nothing here does I/O, reads a clock or draws a random number. Rule numbers in brackets (MAP, LVL, MET, MOD, SET) are those of
//! `docs/requirements.md`.
#![warn(missing_docs)]

pub mod alert;
pub mod continuity;
pub mod counter;
pub mod identity;
mod label;
pub mod level;
pub mod meter;
pub mod mib;
pub mod path;
pub mod printer;
pub mod snmp;
mod subunit;
mod supply;
pub mod text;
pub mod time;
pub mod tree;
pub mod vendor;

pub use label::SubunitState;
