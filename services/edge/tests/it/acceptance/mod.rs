//! What devices may expect of a server, on the wire: one test per row of the acceptance table, under its number.

mod authentication;
mod envelopes;
mod sessions;
mod transport;

/// Bytes of this process that are in memory; a page has 4 KiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
