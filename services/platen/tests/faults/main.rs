//! The server under faults: processes and nodes are killed, stopped, cut off, given other clocks, while devices call. What the devices saw is compared
//! with what is kept.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::print_stdout,
    reason = "whoever waits for a long run wants to see how it goes"
)]

mod api;
mod backends;
#[path = "../e2e/balancer.rs"]
mod balancer;
mod check;
mod cut;
mod deployment;
mod device;
mod disk;
#[path = "../e2e/eventually.rs"]
mod eventually;
mod evidence;
mod fleet;
mod ledger;
mod member;
mod named;
mod random;
mod script;
mod trial;
