//! See `tests/fuzz/src/target.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::target::check(octets));
