//! Simulated devices: CWMP devices that call a server, printers that answer SNMP.
//!
//! [`load`] drives a fleet of [`device`]s against a server and measures; [`printers`] answers SNMP like a floor of printers of several
//! vendors; [`demo`] puts both together with a server and a site proxy. [`peer`] is a device's HTTP side, for tests too.
#![warn(missing_docs)]

pub mod demo;
pub mod device;
pub mod enrol;
pub mod inform;
pub mod load;
pub mod peer;
pub mod printers;
pub mod process;
pub mod report;
pub mod session;
