//! What every store does, at a real server.

#[allow(dead_code, unreachable_pub, reason = "stories use the rest")]
#[path = "../../../../tests/src/redis.rs"]
pub(crate) mod server;

use std::time::Duration;

use doorward_config::{RedisTopology, Secret};

use super::*;
use crate::store::conformance;
use crate::store::message_tests;
use server::RedisServer;

pub(crate) fn settings(server: &RedisServer) -> Settings {
    Settings {
        urls: vec![Secret::new(server.url())],
        topology: RedisTopology::Alone,
        ca_file: None,
        prefix: "test".into(),
        timeout: Duration::from_secs(5),
    }
}

pub(crate) fn open(server: &RedisServer) -> RedisStore {
    RedisStore::open(&settings(server)).unwrap()
}

#[tokio::test]
async fn redis_keeps_sessions() {
    let server = RedisServer::start();
    conformance::sessions_begin_end_and_are_touched(&open(&server)).await;
}

#[tokio::test]
async fn redis_counts_guesses() {
    let server = RedisServer::start();
    conformance::counts_guesses(&open(&server)).await;
}

#[tokio::test]
async fn redis_keeps_challenges_codes_and_requests() {
    let server = RedisServer::start();
    let store = open(&server);
    message_tests::codes_are_tried_counted_and_used(&store).await;
    message_tests::sendings_are_counted(&store).await;
    conformance::challenges_are_counted_and_taken_once(&store).await;
    conformance::requests_are_kept_within_bounds(&store).await;
}

/// Nothing that is over is left: what people once asked for does not fill the server.
#[tokio::test]
async fn o13_what_is_over_leaves_nothing() {
    let server = RedisServer::start();
    let store = open(&server);
    conformance::challenges_are_counted_and_taken_once(&store).await;
    message_tests::codes_are_tried_counted_and_used(&store).await;
    let late = Timestamp(u64::MAX >> 12);
    crate::store::CodeStore::prune_codes(&store, late, late).await.unwrap();
    assert_eq!(server.ask(&["dbsize"]), "0", "{}", server.ask(&["keys", "*"]));
}
