//! See `tests/fuzz/src/webauthn.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::webauthn::check(octets));
