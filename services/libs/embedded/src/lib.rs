//! The one database of the embedded form: store and log lie in it, and one thread writes it.
//!
//! A write is a [`Transaction`]: a function that runs on the writer thread, one after the other, so it may read before it writes. The thread
//! joins what waits into one batch of the journal, syncs it if any member needs that, and then answers all members. The journal is one sequence
//! in the order of submission: a crash leaves a prefix of it.
#![warn(missing_docs)]

mod database;
mod disk;
mod keyspace;
mod owner;
mod transaction;
mod writer;

pub use database::{Database, Hold, OpenError, Options, Part};
pub use keyspace::{Keyspace, Kind};
pub use transaction::Transaction;
pub use writer::{Durability, Error};

/// Longest key. The engine holds lengths of keys in 16 bits.
pub const MAX_KEY: usize = 60_000;
