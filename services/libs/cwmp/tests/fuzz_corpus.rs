//! What the fuzzer was given to begin with, and what it once found, as an ordinary test.

use std::path::Path;

#[path = "../fuzz/checks/authorization.rs"]
mod authorization;
#[path = "../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../fuzz/checks/sessions.rs"]
mod sessions;

#[expect(clippy::print_stdout, reason = "a failure should show its file")]
fn replay(folder: &str, check: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut count = 0;
    for entry in
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("the folder can be listed").path();
        println!("{}", path.display());
        check(&std::fs::read(&path).expect("the file can be read"));
        count += 1;
    }
    count
}

#[test]
fn envelopes() {
    assert!(replay("fuzz/corpus/envelope", envelope::check) > 0);
    assert!(replay("tests/fixtures", envelope::check) > 0);
}

#[test]
fn headers() {
    assert!(replay("fuzz/corpus/authorization", authorization::check) > 0);
}

#[test]
fn conversations() {
    assert!(replay("fuzz/corpus/sessions", sessions::check) > 0);
}
