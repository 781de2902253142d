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

mod access;
mod answers;
mod api;
mod assertion;
mod audit;
mod authority;
mod backends;
mod browser;
mod captcha;
mod centre;
mod client_certificates;
mod clients;
mod config_examples;
mod corpora;
mod deployment;
mod edits;
mod ending;
mod entrances;
mod entry;
mod exchanges;
mod factors;
mod faults;
mod framing;
mod gates;
mod grpc;
mod half_close;
mod http2;
mod identity_headers;
mod limits;
mod lockout;
mod log;
mod notify;
mod operations;
mod order;
mod pages;
mod password_change;
mod passwords;
mod path;
mod postgres;
mod process;
mod proxy;
mod rate_limit;
mod records;
mod recover;
mod reload;
mod restarts;
mod second_factor;
mod session;
mod sign_in;
mod smuggling;
mod starting;
mod step_up;
mod store;
mod streaming;
mod stuffing;
mod systemd;
mod tidy;
mod tls;
mod traces;
mod upgrade;
mod upstreams;
mod versions;
mod webauthn;
