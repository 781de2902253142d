//! What every store does, at a real server.

#[allow(dead_code, unreachable_pub, reason = "stories use the rest")]
#[path = "../../../../tests/src/redis.rs"]
pub(crate) mod server;

use std::time::Duration;

use doorward_config::{RedisTopology, Secret};

use super::*;
use crate::store::conformance;
use crate::store::message_tests;
use server::{RedisCluster, RedisServer, RedisSet};

pub(crate) fn settings(server: &RedisServer) -> Settings {
    Settings {
        urls: vec![Secret::new(server.url())],
        topology: RedisTopology::Alone,
        ca_file: None,
        prefix: "test".into(),
        timeout: Duration::from_secs(5),
        replicas_acknowledge: 0,
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

fn settings_at(urls: Vec<String>, topology: RedisTopology) -> Settings {
    Settings {
        urls: urls.into_iter().map(Secret::new).collect(),
        topology,
        ca_file: None,
        prefix: "test".into(),
        timeout: Duration::from_secs(2),
        replicas_acknowledge: 0,
    }
}

async fn check_everything(store: &RedisStore) {
    conformance::sessions_begin_end_and_are_touched(store).await;
    conformance::counts_guesses(store).await;
    message_tests::codes_are_tried_counted_and_used(store).await;
    message_tests::sendings_are_counted(store).await;
    conformance::challenges_are_counted_and_taken_once(store).await;
    conformance::requests_are_kept_within_bounds(store).await;
}

/// Asks again while nobody answers.
async fn found_again<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
    let asking = async {
        loop {
            if let Ok(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("an answer in the end")
}

#[tokio::test]
async fn o05_sentinels_name_another_primary() {
    let mut set = RedisSet::start();
    let topology = RedisTopology::Sentinel("gates".into());
    let store = RedisStore::open(&settings_at(set.urls(), topology)).unwrap();
    check_everything(&store).await;
    let kept = conformance::session(70);
    crate::store::SessionStore::begin(&store, &kept, &[]).await.unwrap();
    set.servers[0].replicate("{test}:probe");
    set.servers[0].kill();
    let there = found_again(async || {
        store.ping().await?;
        crate::store::SharedSessionStore::look_up(&store, &kept.token_hash).await
    });
    assert_eq!(there.await, Some(kept), "at the other server");
    assert!(set.servers[1].ask(&["role"]).starts_with("master"));
}

#[tokio::test]
async fn o06_what_is_acknowledged_is_at_a_replica_and_outlives_its_primary() {
    let mut set = RedisSet::start();
    let topology = RedisTopology::Sentinel("gates".into());
    let settings = Settings { replicas_acknowledge: 1, ..settings_at(set.urls(), topology) };
    let store = RedisStore::open(&settings).unwrap();
    check_everything(&store).await;
    // The moment after it was acknowledged the primary is gone.
    let kept = conformance::session(70);
    crate::store::SessionStore::begin(&store, &kept, &[]).await.unwrap();
    set.servers[0].kill();
    let look_up =
        async || crate::store::SharedSessionStore::look_up(&store, &kept.token_hash).await;
    assert_eq!(found_again(look_up).await.as_ref(), Some(&kept), "at the other server");
    // Which has no replica: nothing that must not be lost is acknowledged, and what is there is read.
    let more = conformance::session(71);
    found_again(async || match crate::store::SessionStore::begin(&store, &more, &[]).await {
        Err(StoreError::Unreachable(why)) if why.to_string().starts_with("0 of 1") => Ok(()),
        Err(error) => Err(error),
        Ok(()) => panic!("acknowledged"),
    })
    .await;
    assert!(store.ping().await.is_err(), "as an operator should know");
    assert_eq!(look_up().await.unwrap().as_ref(), Some(&kept));
}

#[tokio::test]
async fn o05_a_cluster_loses_a_node_and_moves_its_keys() {
    let mut cluster = RedisCluster::start();
    let urls = cluster.nodes.iter().take(3).map(server::RedisNode::url).collect();
    let store = RedisStore::open(&settings_at(urls, RedisTopology::Cluster)).unwrap();
    check_everything(&store).await;
    let kept = conformance::session(70);
    crate::store::SessionStore::begin(&store, &kept, &[]).await.unwrap();
    // Its keys move to another node, and nobody notices.
    cluster.move_to_another("{test}:sessions");
    let there = found_again(async || {
        crate::store::SharedSessionStore::look_up(&store, &kept.token_hash).await
    });
    assert_eq!(there.await.as_ref(), Some(&kept), "where it has moved to");
    let owner = cluster.owner("{test}:sessions");
    owner.replicate("{test}:probe");
    owner.kill();
    let there = found_again(async || {
        store.ping().await?;
        crate::store::SharedSessionStore::look_up(&store, &kept.token_hash).await
    });
    assert_eq!(there.await, Some(kept), "at its replica");
    found_again(async || {
        let more = conformance::session(71);
        crate::store::SessionStore::begin(&store, &more, &[]).await
    })
    .await;
}

/// Of several gates that try at once as many succeed as may.
#[tokio::test(flavor = "multi_thread")]
async fn f12_what_is_counted_at_several_gates_at_once_is_counted_once_each() {
    let server = RedisServer::start();
    let gates = [open(&server), open(&server), open(&server)].map(std::sync::Arc::new);
    let record = crate::challenge::ChallengeRecord {
        id: "c".into(),
        purpose: "p".into(),
        bound_to: "b".into(),
        principal_id: "alice".into(),
        state: vec![],
        version: 0,
        tries: 0,
        created: Timestamp(1),
        expires: Timestamp(100),
    };
    crate::store::ChallengeStore::begin_challenge(&*gates[0], &record, 9).await.unwrap();
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..150 {
        let gate = std::sync::Arc::clone(&gates[number % 3]);
        tries.spawn(async move {
            crate::store::ChallengeStore::count_try(&*gate, "c", 7, Timestamp(5)).await.unwrap()
        });
    }
    let counted = tries.join_all().await.into_iter().filter(|counted| *counted).count();
    assert_eq!(counted, 7);
    let mut takes = tokio::task::JoinSet::new();
    for number in 0..30 {
        let gate = std::sync::Arc::clone(&gates[number % 3]);
        takes.spawn(async move {
            crate::store::ChallengeStore::take_challenge(&*gate, "c", 0, Timestamp(5))
                .await
                .unwrap()
        });
    }
    assert_eq!(takes.join_all().await.into_iter().filter(|taken| *taken).count(), 1);
}

/// Whom a start waits for, and whom it does not.
#[tokio::test]
async fn o19_a_server_that_is_away_is_told_from_one_that_refuses() {
    let (one, mut set, cluster) = (RedisServer::start(), RedisSet::start(), RedisCluster::start());
    let ask = async |urls: Vec<String>, topology: &RedisTopology| {
        RedisStore::open(&settings_at(urls, topology.clone())).unwrap().ping().await
    };
    let sentinel = RedisTopology::Sentinel("gates".into());
    let nodes: Vec<_> = cluster.nodes.iter().map(server::RedisNode::url).collect();
    for (urls, topology) in [
        (vec![set.servers[0].url()], RedisTopology::Alone),
        (set.urls(), sentinel.clone()),
        (nodes, RedisTopology::Cluster),
    ] {
        ask(urls.clone(), &topology).await.unwrap();
        let strangers = urls.iter().map(|url| url.replace("redis://", "redis://eve:wrong@"));
        let refused = ask(strangers.collect(), &topology).await.unwrap_err();
        assert!(!refused.is_away(), "{topology:?}: {refused}");
        let nobody = vec![format!("redis://127.0.0.1:{}", server::free_port())];
        let away = ask(nobody, &topology).await.unwrap_err();
        assert!(matches!(away, StoreError::Unreachable(_)), "{topology:?}: {away}");
    }
    let replica = ask(vec![set.servers[1].url()], &RedisTopology::Alone).await.unwrap_err();
    assert!(matches!(replica, StoreError::Unreachable(_)), "it only reads: {replica}");
    set.servers[0].kill();
    let failing_over = ask(set.urls(), &sentinel).await;
    assert!(failing_over.is_err_and(|error| error.is_away()));
    // What stays wrong until somebody sees to it.
    let store = open(&one);
    store.ping().await.unwrap();
    one.ask(&["config", "set", "maxmemory", "1"]);
    assert!(matches!(store.ping().await, Err(StoreError::Failed(_))));
}
