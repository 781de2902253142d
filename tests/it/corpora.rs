//! The corpora of the fuzz targets (tests/fuzz), held against what each target promises.
//!
//! Only targets that reach the product by its public API; they are the same files.

#![expect(unreachable_pub, reason = "it is reachable where the fuzz targets use it")]

use std::path::Path;

#[path = "../fuzz/src/cookie.rs"]
mod cookie;
#[path = "../fuzz/src/gate.rs"]
mod gate;
#[path = "../fuzz/src/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/src/reader.rs"]
mod reader;
#[path = "../fuzz/src/strict.rs"]
mod strict;
#[path = "../fuzz/src/target.rs"]
mod target;
#[path = "../fuzz/src/webauthn.rs"]
mod webauthn;

/// Holds every input of a target's corpus against `check`.
fn replay(name: &str, mut check: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 5, "the corpus of {name} is gone");
}

#[test]
fn a04_paths_have_one_reading() {
    replay("target", target::check);
}

#[test]
fn e17_no_cookie_of_the_gate_stays() {
    replay("cookie", cookie::check);
}

#[test]
fn d23_proxy_headers_are_read_alike_however_they_come() {
    replay("proxy_protocol", proxy_protocol::check);
}

#[test]
fn b01_what_is_read_has_one_reading() {
    replay("reader", reader::check);
}

#[test]
fn h19_a_key_proves_nothing_by_what_it_has_not_signed() {
    replay("webauthn", webauthn::check);
}

#[test]
fn at_most_what_was_judged_reaches_the_console() {
    let mut rig = gate::Rig::start();
    replay("gate", |octets| rig.check(octets));
}
