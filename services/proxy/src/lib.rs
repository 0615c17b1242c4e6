//! Platen at the customer's site: speaks SNMP to printers, and CWMP for each of them.
#![warn(missing_docs)]

pub mod agent;
pub mod config;
pub mod device;
pub mod discover;
pub mod listener;
pub mod listing;
pub mod memory;
pub mod poll;
pub mod presence;
pub mod proxy;
pub mod record;
pub mod recording;
pub mod session;
pub mod snmp;
pub mod spool;
