//! Several gates, one memory: a real Redis and a real PostgreSQL that they share.

mod balanced;
mod chaos;
mod faults;
mod lost_answers;
mod slow_records;
mod way;

use std::collections::BTreeSet;
use std::time::Duration;

use doorward_plugins::Clock;
use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::redis::RedisServer;
use doorward_tests::{
    Browser, PASSWORD, PostgresServer, START, Scratch, Setup, TestGate, Upstream, eventually,
    process,
};
use http::StatusCode;

use crate::lockout::crowds::ten_thousand_guesses;
use crate::step_up;
use crate::step_up::holding::{follow, submit};

/// What gates share.
struct House {
    redis: RedisServer,
    postgres: String,
    vault: Scratch,
    upstream: Upstream,
    clock: Clock,
    /// Keys of the gates' listeners.
    listener: &'static str,
}

impl House {
    async fn new() -> Self {
        Self::with_clock(Clock::manual(START)).await
    }

    async fn with_clock(clock: Clock) -> Self {
        Self {
            redis: RedisServer::start(),
            postgres: PostgresServer::shared().database(),
            vault: Scratch::new(),
            upstream: Upstream::start().await,
            clock,
            listener: "",
        }
    }

    async fn gate(&self, tables: &str) -> TestGate {
        self.gate_by(&format!("redis = \"{}\"", self.redis.url()), tables).await
    }

    /// A gate that goes to Redis in its own way.
    async fn gate_by(&self, redis: &str, tables: &str) -> TestGate {
        self.gate_at(redis, &self.postgres, tables).await
    }

    /// One that goes to both in its own way.
    async fn gate_at(&self, redis: &str, postgres: &str, tables: &str) -> TestGate {
        let store = format!("{redis}\npostgres = \"{postgres}\"\nredis_timeout = \"500ms\"");
        let key_file = self.vault.path().join("vault");
        let tables = format!("[second_factor]\nkey_file = {key_file:?}\n{tables}");
        let (listener, store, tables) = (self.listener, &store, &tables);
        let setup = Setup { listener, store, tables, ..Setup::default() };
        TestGate::beside(&self.upstream, setup, &self.clock).await
    }

    async fn gates(&self, tables: &str) -> [TestGate; 3] {
        [self.gate(tables).await, self.gate(tables).await, self.gate(tables).await]
    }
}

/// The same browser, sent to another gate.
fn at(gate: &TestGate, browser: &Browser) -> Browser {
    let mut there = gate.browser();
    there.jar = browser.jar.clone();
    there
}

#[tokio::test]
async fn a10_signed_in_at_one_at_work_at_another_stepped_up_at_the_third() {
    let house = House::new().await;
    let gates = house.gates(step_up::ROUTES).await;
    gates[0].add_alice().await;
    let app = gates[0].app_of("alice").await;
    let mut one = gates[0].browser();
    one.sign_in("alice").await;
    let mut two = at(&gates[1], &one);
    assert_eq!(two.get("/").await.status, StatusCode::OK, "at once");
    // The second gate asks for a factor; the third takes it.
    let challenge = two.get("/keys/1").await;
    assert_eq!(challenge.status, StatusCode::UNAUTHORIZED, "{}", challenge.text());
    app.wait();
    let mut three = at(&gates[2], &two);
    let approved = step_up::approve(&mut three, &challenge, &app.code()).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.text());
    let mut stepped = at(&gates[0], &three);
    assert_eq!(stepped.get("/keys/1").await.status, StatusCode::OK, "known at the first at once");
    assert_eq!(at(&gates[1], &three).get("/keys/1").await.status, StatusCode::OK);
    eventually("the old token is worth nothing", async || {
        at(&gates[0], &one).get("/").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    // Signed out at one, refused everywhere.
    let out = stepped.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert!(out.status.is_success());
    for gate in &gates {
        eventually("refused", async || {
            at(gate, &three).get("/").await.status == StatusCode::UNAUTHORIZED
        })
        .await;
    }
}

/// By the machine's clock: the promise is about time that passes.
#[tokio::test(flavor = "multi_thread")]
async fn a10_what_was_ended_is_refused_everywhere_within_a_second() {
    let house = House::with_clock(Clock::machine()).await;
    let gates = house.gates("").await;
    gates[0].add_alice().await;
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let mut browser = gates[round % 3].browser();
        browser.sign_in("alice").await;
        let mut others =
            [at(&gates[(round + 1) % 3], &browser), at(&gates[(round + 2) % 3], &browser)];
        for other in &mut others {
            assert_eq!(other.get("/").await.status, StatusCode::OK);
        }
        let out = browser.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
        assert!(out.status.is_success());
        let ended = house.clock.now();
        for other in &mut others {
            loop {
                let (asked, mut asking) = (house.clock.now().since(ended), other.clone());
                // What is under way when the session ends is cut off.
                let answer = tokio::spawn(async move { asking.get("/").await.status });
                match answer.await {
                    Ok(StatusCode::UNAUTHORIZED) => break,
                    // The request that was let in last began then.
                    Ok(StatusCode::OK) => slowest = slowest.max(asked),
                    Ok(status) => panic!("{status}"),
                    Err(_) => {}
                }
            }
        }
    }
    assert!(slowest < Duration::from_secs(1), "let in {slowest:?} after the end");
}

#[tokio::test]
async fn a10_who_is_disabled_at_one_gate_is_out_at_all() {
    let house = House::new().await;
    let gates = house.gates("").await;
    gates[0].add_alice().await;
    let mut browsers = Vec::new();
    for gate in &gates {
        let mut browser = gate.browser();
        browser.sign_in("alice").await;
        browsers.push(browser);
    }
    gates[1].ask(Request::AccountDisable { name: "alice".into() }).await.unwrap();
    for browser in browsers {
        eventually("out", async || {
            let mut asking = browser.clone();
            // What is under way when the session ends is cut off.
            let answer = tokio::spawn(async move { asking.get("/").await.status });
            answer.await.is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
        })
        .await;
    }
    for gate in &gates {
        let refused = gate.browser().try_sign_in("alice", PASSWORD).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_ten_thousand_guesses_at_three_gates_are_checked_three_times() {
    let house = House::new().await;
    let gates = house.gates("").await;
    gates[0].add_alice().await;
    let addresses = gates.each_ref().map(TestGate::address);
    let statuses = ten_thousand_guesses(&addresses).await;
    let checked: u64 = gates.iter().map(|gate| gate.services().sign_in.passwords_checked()).sum();
    assert_eq!(checked, 3, "{statuses:?}");
    assert!(statuses.keys().all(|status| matches!(status, 403 | 503)), "{statuses:?}");
    assert_eq!(statuses.values().sum::<usize>(), 10_000);
    gates[2].add("bob", AccountChange::default()).await;
    gates[1].browser().sign_in("bob").await;
}

#[tokio::test]
async fn f12_a_lock_holds_at_every_gate_and_is_lifted_at_any() {
    let house = House::new().await;
    let gates = house.gates("[captcha]\nmode = \"off\"\n").await;
    gates[0].add_alice().await;
    for guess in 0..10 {
        let answer = gates[guess % 3].browser().try_sign_in("alice", "wrong").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    for gate in &gates {
        let answer = gate.browser().try_sign_in("alice", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "locked");
    }
    gates[2].ask(Request::LockLift { name: "alice".into() }).await.unwrap();
    for gate in &gates {
        gate.browser().sign_in("alice").await;
    }
}

#[tokio::test]
async fn f12_an_address_may_sign_in_as_often_as_at_one_gate() {
    let house = House::new().await;
    let limits = "[rate_limit]\nsign_in_address = \"6/1h burst 6\"\n[captcha]\nmode = \"off\"\n";
    let gates = house.gates(limits).await;
    gates[0].add_alice().await;
    let mut let_in = 0;
    for turn in 0..12 {
        let answer = gates[turn % 3].browser().try_sign_in("alice", PASSWORD).await;
        let_in += usize::from(answer.status == StatusCode::OK);
    }
    assert_eq!(let_in, 6);
}

#[tokio::test]
async fn f10_a_captcha_of_one_gate_is_taken_at_another_and_once_in_all() {
    let house = House::new().await;
    let gates = house.gates("[captcha]\nalways = [\"sign-in\"]\n").await;
    gates[0].add_alice().await;
    let mut one = gates[0].browser();
    let solution = crate::captcha::solution(&mut one).await;
    let sign_in = async |gate: &TestGate| {
        let fields =
            serde_json::json!({"account": "alice", "password": PASSWORD, "captcha": solution});
        at(gate, &one).post_json("/.doorward/api/v1/sign-in", &fields).await
    };
    let taken = sign_in(&gates[1]).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    for gate in &gates {
        let again = sign_in(gate).await;
        assert_eq!(again.status, StatusCode::FORBIDDEN, "{}", again.text());
    }
}

#[tokio::test]
async fn l05_a_backend_may_ask_any_gate_for_the_keys_of_all() {
    let house = House::new().await;
    let gates = house.gates("").await;
    let mut kids = BTreeSet::new();
    for gate in &gates {
        kids.extend(gate.services().assertions.public_keys().into_iter().map(|(kid, _)| kid));
    }
    assert_eq!(kids.len(), 3, "each gate signs by a key of its own");
    for gate in &gates {
        eventually("all keys", async || {
            let set = gate.browser().get("/.doorward/jwks.json").await.json();
            let shown = set["keys"].as_array().unwrap().iter();
            shown.map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
                == kids
        })
        .await;
    }
}

#[tokio::test]
async fn i10_a_request_kept_at_one_gate_goes_on_at_another_once() {
    let house = House::new().await;
    let gates = house.gates(step_up::ROUTES).await;
    gates[0].add_alice().await;
    let app = gates[0].app_of("alice").await;
    let mut one = gates[0].browser().navigating();
    one.sign_in("alice").await;
    let sent = one.post_form("/pay", &[("to", "bob"), ("amount", "5")]).await;
    let page = sent.location().to_owned();
    app.wait();
    let mut two = at(&gates[1], &one).navigating();
    let approved = submit(&mut two, &page, &app).await;
    let mut three = at(&gates[2], &two).navigating();
    let done = follow(&mut three, &approved).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    assert_eq!(house.upstream.last().line(), "POST /pay");
    assert_eq!(house.upstream.last().body, b"to=bob&amount=5");
    for gate in &gates {
        let again = follow(&mut at(gate, &three).navigating(), &approved).await;
        assert_eq!(again.status, StatusCode::GONE);
    }
    assert_eq!(house.upstream.count(), 1);
}

#[tokio::test]
async fn a_gate_alone_becomes_several_and_nobody_notices() {
    let house = House::new().await;
    let alone = TestGate::beside(
        &house.upstream,
        Setup { tables: "[captcha]\nmode = \"off\"\n", ..Setup::default() },
        &house.clock,
    );
    let mut alone = alone.await;
    let mut alice = alone.signed_in().await;
    alone.add("bob", AccountChange::default()).await;
    for _ in 0..9 {
        alone.browser().try_sign_in("bob", "wrong").await;
    }
    // Alice's browser is known: strangers do not lock her out of it.
    for _ in 0..10 {
        alone.browser().try_sign_in("alice", "wrong").await;
    }
    alone.stop();
    let from = alone.scratch.path().join("doorward.db");
    let config = alone.scratch.path().join("shared.toml");
    let text = std::fs::read_to_string(alone.scratch.path().join("doorward.toml")).unwrap();
    let servers =
        format!("[store]\nredis = \"{}\"\npostgres = \"{}\"", house.redis.url(), house.postgres);
    std::fs::write(&config, text.replace("[store]", &servers)).unwrap();
    let [config, from] = [&config, &from].map(|path| path.to_str().unwrap());
    let said = process::run(&["store", "migrate", "--config", config, "--from", from], "");
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    for line in ["session: 1", "guess: 2", "device: 1", "principal: 2"] {
        assert!(text.lines().any(|said| said == line), "{text}");
    }
    let gates = house.gates("[captcha]\nmode = \"off\"\n").await;
    for gate in &gates {
        let mut there = at(gate, &alice);
        assert_eq!(there.get("/").await.status, StatusCode::OK, "who was in is in");
        alice.jar = there.jar;
    }
    gates[1].browser().try_sign_in("bob", "wrong").await;
    let bob = gates[2].browser().try_sign_in("bob", PASSWORD).await;
    assert_eq!(bob.status, StatusCode::FORBIDDEN, "nine and one are ten");
    let stranger = gates[0].browser().try_sign_in("alice", PASSWORD).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN, "strangers are locked out");
}
