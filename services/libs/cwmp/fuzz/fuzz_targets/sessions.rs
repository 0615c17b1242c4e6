#![no_main]

#[path = "../checks/sessions.rs"]
mod sessions;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sessions::check(data));
