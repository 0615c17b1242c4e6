//! The proxy between printers that answer SNMP and a server that speaks CWMP, all on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod acs;
mod once;
mod requests;
mod running;
mod site;
