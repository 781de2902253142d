//! See `tests/fuzz/src/cookie.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::cookie::check(octets));
