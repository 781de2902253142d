//! The harness: the real gate, a recording upstream, and clients, on loopback and with a clock
//! that tests move.
//!
//! - [`TestGate`]: the gate of the product in this process, over a fresh store in a folder that
//!   goes with it.
//! - [`Upstream`]: a console that records every request octet by octet, and answers as told.
//! - [`Browser`]: a client with a cookie jar, over HTTP/1.1 or HTTP/2, plain or TLS.
//! - [`App`]: an authenticator app.
//! - [`certificates`]: an authority for client certificates.
//! - [`raw`]: a client that sends exactly the octets it is given.
//! - [`frames`]: the same over HTTP/2, frame by frame.
//! - [`events()`]: what the gates of this process write to the log.
//! - [`mail`]: a mail server that records what it gets.
//! - [`redis`]: a Redis server.
//! - [`haproxy`]: what stands in front of several gates.
//! - [`PostgresServer`]: a real PostgreSQL, of a test or of all of them.
//! - [`process`]: the gate as a process of its own, for signals, exit codes and `kill -9`.
//! - [`webdriver`]: a real browser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    reason = "a failed test should panic"
)]

mod app;
mod browser;
pub mod certificates;
mod events;
pub mod frames;
mod gate;
pub mod haproxy;
pub mod mail;
mod postgres;
pub mod process;
pub mod raw;
pub mod redis;
mod scratch;
mod upstream;
mod watchdog;
pub mod webdriver;

pub use app::App;
pub use browser::{Answer, Browser};
pub use events::{Events, events};
pub use gate::{MANY_SIGN_INS, PASSWORD, PUBLIC_HOST, START, Setup, TestGate};
pub use postgres::PostgresServer;
pub use scratch::Scratch;
pub use upstream::{Recorded, Upstream};

/// How long a test waits for something that should happen at once.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// Waits for `condition`, which something else makes true, by asking again and again.
///
/// # Panics
/// When it is not true within [`DEADLINE`].
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(happens(condition).await, "{what} did not happen");
}

/// Does `condition` become true within [`DEADLINE`]?
pub async fn happens(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.is_ok()
}

/// What a scrape says of a series.
///
/// # Panics
/// When it says nothing.
#[must_use]
pub fn series(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse().unwrap()
}

/// What a gate says of a series to its operators.
pub async fn metric(operations: std::net::SocketAddr, name: &str) -> u64 {
    series(&Browser::new(operations, "localhost", None).get("/metrics").await.text(), name)
}
