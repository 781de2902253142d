//! A Redis that fails: nobody gets in, nobody is signed out, nothing takes longer than its deadline,
//! and all goes on by itself.

use std::time::Duration;

use doorward_certs::development::DevelopmentCertificate;
use doorward_config::GatewayConfig;
use doorward_plugins::{Services, Timestamp};
use doorward_tests::redis::free_port;

use super::way::{Way, in_time};
use super::*;

/// What a fault must not do, and what it may. While it lasts, sessions that were `read` before can be
/// used if the server still gives them.
async fn check_fault(
    reads: bool,
    begin: impl FnOnce(&mut RedisServer),
    end: impl FnOnce(&mut RedisServer),
) {
    let mut house = House::new().await;
    let public = "[captcha]\nmode = \"off\"\n[[route]]\npath = \"/public\"\naccess = \"public\"\n";
    let gate = house.gate(public).await;
    gate.add_alice().await;
    let mut alice = gate.browser();
    alice.sign_in("alice").await;
    let cookie = alice.token().to_owned();

    begin(&mut house.redis);
    let seen = house.upstream.count();
    // The copy that the gate has is trusted for less than a second.
    house.clock.advance(Duration::from_secs(1));
    let mut operator = Browser::new(gate.operations(), "localhost", None);
    eventually("the fault", async || {
        in_time(operator.get("/readyz")).await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    house.clock.advance(Duration::from_secs(1));
    if !reads {
        let unknown = in_time(alice.get("/")).await;
        assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unknown.text());
        assert_ne!(unknown.field("retry-after"), "");
        assert_eq!(house.upstream.count(), seen, "nobody knows whether the session goes on");
    }
    assert_eq!(alice.token(), cookie, "the cookie stays what it is");
    for password in [PASSWORD, "wrong"] {
        let answer = in_time(gate.browser().try_sign_in("alice", password)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    }
    let nothing = serde_json::json!({});
    let out = in_time(alice.post_json("/.doorward/api/v1/sign-out", &nothing)).await;
    // Who ends something needs no memory.
    let ends = reads && out.status == StatusCode::NO_CONTENT;
    assert!(ends || out.status == StatusCode::SERVICE_UNAVAILABLE, "{}", out.text());
    assert_eq!(in_time(gate.browser().get("/public")).await.status, StatusCode::OK);
    assert_eq!(in_time(gate.browser().get("/")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(operator.get("/livez").await.status, StatusCode::OK);

    end(&mut house.redis);
    eventually("recovery", async || operator.get("/readyz").await.status == StatusCode::OK).await;
    eventually("sign-in", async || {
        gate.browser().try_sign_in("alice", PASSWORD).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn o05_a01_while_redis_hangs_nothing_is_let_in_and_answers_keep_their_time() {
    check_fault(false, |redis| redis.signal("STOP"), |redis| redis.signal("CONT")).await;
}

#[tokio::test]
async fn o05_a01_while_redis_refuses_nothing_is_let_in_and_it_is_found_again() {
    check_fault(false, RedisServer::kill, RedisServer::restart).await;
}

#[tokio::test]
async fn o05_a01_while_redis_only_reads_nobody_new_gets_in() {
    let read_only = |redis: &mut RedisServer| {
        redis.ask(&["replicaof", "127.0.0.1", "1"]);
    };
    let writable = |redis: &mut RedisServer| {
        redis.ask(&["replicaof", "no", "one"]);
    };
    check_fault(true, read_only, writable).await;
}

#[tokio::test]
async fn o05_a01_while_redis_has_no_memory_left_nobody_new_gets_in() {
    let full = |redis: &mut RedisServer| {
        redis.ask(&["config", "set", "maxmemory", "1"]);
    };
    let free = |redis: &mut RedisServer| {
        redis.ask(&["config", "set", "maxmemory", "0"]);
    };
    check_fault(true, full, free).await;
}

#[tokio::test]
async fn o05_a_redis_that_keeps_its_file_loses_nobody() {
    let mut house = House::new().await;
    house.redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let gates = house.gates("[captcha]\nmode = \"off\"\n").await;
    gates[0].add_alice().await;
    let mut alice = gates[0].browser();
    alice.sign_in("alice").await;
    let mut gone = gates[1].browser();
    gone.sign_in("alice").await;
    let before = gone.jar.clone();
    let out = gone.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert!(out.status.is_success());
    for _ in 0..7 {
        gates[2].browser().try_sign_in("alice", "wrong").await;
    }
    house.redis.restart();
    house.clock.advance(Duration::from_secs(1));
    eventually("found again", async || {
        at(&gates[2], &alice).get("/").await.status == StatusCode::OK
    })
    .await;
    for gate in &gates {
        let mut ended = gate.browser();
        ended.jar = before.clone();
        eventually("it stays ended", async || {
            let status = ended.get("/").await.status;
            assert_ne!(status, StatusCode::OK);
            status == StatusCode::UNAUTHORIZED
        })
        .await;
    }
    for _ in 0..3 {
        gates[0].browser().try_sign_in("alice", "wrong").await;
    }
    let locked = gates[1].browser().try_sign_in("alice", PASSWORD).await;
    assert_eq!(locked.status, StatusCode::FORBIDDEN, "seven and three are ten");
}

/// A gate that is cut off from the others knows nothing of what they do: it asks, and says so when
/// nobody answers.
#[tokio::test]
async fn o06_a_gate_that_is_cut_off_lets_in_nobody_who_was_signed_out_elsewhere() {
    let house = House::new().await;
    let cut = Way::to(&house.redis.socket());
    let here = house.gate("").await;
    let there = house.gate_by(&format!("redis = \"{}\"", cut.redis()), "").await;
    here.add_alice().await;
    let mut alice = here.browser();
    alice.sign_in("alice").await;
    let mut elsewhere = at(&there, &alice);
    assert_eq!(elsewhere.get("/").await.status, StatusCode::OK);
    cut.cut();
    let out = alice.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert!(out.status.is_success());
    house.clock.advance(Duration::from_secs(1));
    let seen = house.upstream.count();
    assert_eq!(in_time(elsewhere.get("/")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.upstream.count(), seen);
    cut.mend();
    eventually("heard", async || elsewhere.get("/").await.status == StatusCode::UNAUTHORIZED).await;
}

/// Why services over this Redis cannot be opened; `None`: they can.
async fn refused(house: &House, redis: &str, folder: &Scratch) -> Option<String> {
    refused_at(house, redis, folder, house.clock.clone()).await
}

async fn refused_at(house: &House, redis: &str, folder: &Scratch, clock: Clock) -> Option<String> {
    let text = format!(
        "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.a]\naddress = \"http://127.0.0.1:1\"\n[store]\npath = \"a.db\"\n\
         postgres = \"{}\"\n{redis}\n",
        house.postgres
    );
    let config = GatewayConfig::parse(&text, folder.path()).unwrap();
    match Services::open(config.into(), clock).await {
        Ok(services) => {
            services.close().await;
            None
        }
        Err(error) => Some(error.to_string()),
    }
}

#[tokio::test]
async fn o19_a_start_without_its_redis_says_so_and_no_password() {
    let (house, folder) = (House::new().await, Scratch::new());
    let nobody = format!("redis = \"redis://gate:hunter2@127.0.0.1:{}\"", free_port());
    let why = refused(&house, &nobody, &folder).await.expect("it cannot be opened");
    assert!(why.starts_with("store.redis: ") && !why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn l04_a_redis_that_cannot_prove_who_it_is_hears_no_password() {
    let (mut house, folder, other) = (House::new().await, Scratch::new(), Scratch::new());
    DevelopmentCertificate::ensure(folder.path(), &["localhost"]).unwrap();
    DevelopmentCertificate::ensure(other.path(), &["localhost"]).unwrap();
    let port = free_port();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (chain, key, ca) = (file("chain.pem"), file("key.pem"), file("ca.pem"));
    let keys = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &chain,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--user",
        "gate",
        "on",
        ">hunter2",
        "~{shop}:*",
        "+@all",
        "-@dangerous",
    ];
    house.redis = RedisServer::start_with(&keys);
    let url = |password: &str| format!("rediss://gate:{password}@localhost:{port}");
    let redis = |password: &str, ca: &Scratch| {
        let ca = ca.path().join("ca.pem");
        format!("redis = \"{}\"\nredis_prefix = \"shop\"\nredis_ca_file = {ca:?}", url(password))
    };
    // By its own user, who may use keys of this prefix alone.
    assert_eq!(refused(&house, &redis("hunter2", &folder), &folder).await, None);
    for keys in [redis("hunter2", &other), redis("wrong", &folder)] {
        let why = refused(&house, &keys, &folder).await.expect("it cannot be opened");
        assert!(why.starts_with("store.redis: ") && !why.contains("hunter2"), "{why}");
    }
    let plain = redis("hunter2", &folder).replace("rediss:", "redis:");
    assert!(refused(&house, &plain, &folder).await.is_some(), "the server speaks TLS alone");
    let gate = house.gate_by(&redis("hunter2", &folder), "").await;
    gate.signed_in().await;
}

#[tokio::test]
async fn o05_a_slow_redis_costs_its_time_and_one_that_is_too_slow_is_none() {
    let house = House::new().await;
    let way = Way::to(&house.redis.socket());
    let redis = format!("redis = \"{}\"", way.redis());
    let gate = house.gate_by(&redis, "[captcha]\nmode = \"off\"\n").await;
    let mut alice = gate.signed_in().await;
    way.slow(20);
    for _ in 0..3 {
        house.clock.advance(Duration::from_secs(1));
        assert_eq!(in_time(alice.get("/")).await.status, StatusCode::OK);
        gate.browser().sign_in("alice").await;
    }
    // A call may take half a second.
    way.slow(700);
    house.clock.advance(Duration::from_secs(1));
    eventually("too slow", async || {
        in_time(alice.get("/")).await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let refused = in_time(gate.browser().try_sign_in("alice", PASSWORD)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    way.mend();
    eventually("found again", async || in_time(alice.get("/")).await.status == StatusCode::OK)
        .await;
}

#[tokio::test]
async fn o07_a_gate_whose_clock_is_a_day_off_does_not_join_and_ends_nobodys_session() {
    let (house, folder) = (House::new().await, Scratch::new());
    let gate = house.gate("").await;
    let mut alice = gate.signed_in().await;
    let redis = format!("redis = \"{}\"", house.redis.url());
    for (at, direction) in [(START.0 + 86_400_000, "ahead of"), (START.0 - 86_400_000, "behind")] {
        let clock = Clock::manual(Timestamp(at));
        let why = refused_at(&house, &redis, &folder, clock).await.expect("it cannot be opened");
        assert!(why.contains(&format!("86400 s {direction} the other gates")), "{why}");
    }
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(alice.get("/").await.status, StatusCode::OK);
}
