//! See `tests/fuzz/src/response.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::response::check(octets));
