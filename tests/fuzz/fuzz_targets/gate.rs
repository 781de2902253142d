//! See `tests/fuzz/src/gate.rs`.

#![no_main]

use std::sync::{LazyLock, Mutex};

use doorward_fuzz::gate::Rig;

/// One for all inputs: it does not keep what one connection said for the next.
static RIG: LazyLock<Mutex<Rig>> = LazyLock::new(|| Mutex::new(Rig::start()));

libfuzzer_sys::fuzz_target!(|octets: &[u8]| RIG.lock().unwrap().check(octets));
