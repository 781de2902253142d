//! What must hold whatever octets come: one module a fuzz target, each with `check(octets)`, which
//! panics when it does not hold; `gate` has a [`gate::Rig`] with the same.
//!
//! The modules that reach the product by its public API alone are compiled into the ordinary tests
//! too (`tests/it/corpora.rs`), which hold them against the committed corpus.

pub mod cookie;
pub mod forwarded;
pub mod gate;
pub mod reader;
pub mod proxy_protocol;
pub mod response;
pub mod router;
pub mod strict;
pub mod target;
pub mod webauthn;
