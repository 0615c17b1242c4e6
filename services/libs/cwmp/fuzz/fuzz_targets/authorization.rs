#![no_main]

#[path = "../checks/authorization.rs"]
mod authorization;

libfuzzer_sys::fuzz_target!(|data: &[u8]| authorization::check(data));
