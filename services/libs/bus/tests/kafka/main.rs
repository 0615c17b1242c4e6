//! The adapter for Kafka: on brokers that `PLATEN_TEST_KAFKA` names (`host:port,…`), and on the library's own mock, which can fail on demand.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod bed;
mod faults;
mod groups;
mod real;
