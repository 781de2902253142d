//! See `tests/fuzz/src/router.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::router::check(octets));
