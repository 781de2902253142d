//! See `tests/fuzz/src/forwarded.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::forwarded::check(octets));
