//! What devices may expect of a server, on the wire: one test per row of the acceptance table, under its number.

mod authentication;
mod envelopes;
mod sessions;
mod transport;
