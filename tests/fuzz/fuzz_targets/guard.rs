//! See `tests/fuzz/src/guard.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::guard::check(octets));
