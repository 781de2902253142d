//! See `tests/fuzz/src/proxy_protocol.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| doorward_fuzz::proxy_protocol::check(octets));
