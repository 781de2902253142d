//! See `tests/fuzz/src/reader.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::reader::check(octets));
