//! The promises of Doorward, as stories: the real gate over real sockets, with a clock that moves.
//!
//! One binary, a module per promise. A test that stands for a row of the requirements carries the
//! row's id in its name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test should panic"
)]

mod assertion;
mod authority;
mod entry;
mod faults;
mod framing;
mod identity_headers;
mod limits;
mod order;
mod path;
mod proxy;
mod session;
mod streaming;
mod tls;
