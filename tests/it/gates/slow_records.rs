//! A PostgreSQL that is slow, or too slow, for one gate of several, by the machine's clock: who is
//! signed in needs none of it, whatever other gates tell of meanwhile.

use super::way::{Way, in_time};
use super::*;

const NO_CAPTCHA: &str = "[captcha]\nmode = \"off\"\n";

/// Much less than anything takes that has to wait for the slow server.
const UNNOTICED: Duration = Duration::from_secs(1);

/// Much longer than a gate believes what it has heard.
const A_WHILE: Duration = Duration::from_secs(3);

/// Asks again and again for a while; somebody who is signed in notices nothing.
async fn notices_nothing(gate: &TestGate, browser: &Browser) {
    let (clock, mut asked) = (Clock::machine(), 0);
    let begun = clock.exact();
    while clock.exact() - begun < A_WHILE {
        let before = clock.exact();
        let answer = at(gate, browser).get("/").await;
        assert_eq!(answer.status, StatusCode::OK, "after {asked}: {}", answer.text());
        let took = clock.exact() - before;
        assert!(took < UNNOTICED, "it took {took:?}");
        asked += 1;
    }
}

/// Two gates, to one of which the records come by a way of its own; and alice, signed in at both.
async fn two_gates() -> (House, [TestGate; 2], Way, Browser) {
    let house = House::with_clock(Clock::machine()).await;
    let way = Way::to_postgres(&house.postgres);
    let redis = format!("redis = \"{}\"", house.redis.url());
    let there = house.gate_at(&redis, &way.postgres(&house.postgres), NO_CAPTCHA).await;
    let here = house.gate(NO_CAPTCHA).await;
    for name in ["alice", "bob", "carol"] {
        here.add(name, AccountChange::default()).await;
    }
    let mut alice = here.browser();
    alice.sign_in("alice").await;
    assert_eq!(at(&there, &alice).get("/").await.status, StatusCode::OK);
    (house, [here, there], way, alice)
}

#[tokio::test(flavor = "multi_thread")]
async fn o05_a_slow_postgres_costs_a_sign_in_its_time_and_who_is_signed_in_none() {
    let (_house, [here, there], way, alice) = two_gates().await;
    way.slow(50);
    let clock = Clock::machine();
    let before = clock.exact();
    let mut bob = there.browser();
    assert_eq!(in_time(bob.try_sign_in("bob", PASSWORD)).await.status, StatusCode::OK);
    assert!(clock.exact() - before > Duration::from_millis(100), "it did not wait");
    let bobs = async {
        for _ in 0..4 {
            here.browser().sign_in("bob").await;
        }
    };
    tokio::join!(notices_nothing(&there, &alice), bobs);
    notices_nothing(&here, &bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o05_a01_a10_what_others_tell_while_postgres_is_too_slow_is_no_matter_of_those_who_are_in()
{
    let (_house, [here, there], way, alice) = two_gates().await;
    let mut carol = here.browser();
    carol.sign_in("carol").await;
    assert_eq!(at(&there, &carol).get("/").await.status, StatusCode::OK);
    way.slow(3000);
    let refused = in_time(there.browser().try_sign_in("alice", PASSWORD)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text());
    assert_ne!(refused.field("retry-after"), "");
    // A stranger to that gate, and somebody of whom it knows that something has changed.
    let mut bob = here.browser();
    bob.sign_in("bob").await;
    let change = AccountChange { groups: Some(vec!["staff".into()]), ..AccountChange::default() };
    let request = Request::AccountSet { name: "carol".into(), change: Box::new(change) };
    here.ask(request).await.unwrap();
    notices_nothing(&there, &alice).await;
    for browser in [&bob, &carol] {
        assert_eq!(at(&here, browser).get("/").await.status, StatusCode::OK);
        let unknown = in_time(at(&there, browser).get("/")).await;
        assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unknown.text());
        assert_ne!(unknown.field("retry-after"), "");
    }
    // Who is signed out elsewhere is out here.
    let (mut leaving, nothing) = (at(&here, &alice), serde_json::json!({}));
    let out = leaving.post_json("/.doorward/api/v1/sign-out", &nothing).await;
    assert!(out.status.is_success());
    eventually("refused", async || {
        at(&there, &alice).get("/").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    way.mend();
    for browser in [&bob, &carol] {
        eventually("known", async || at(&there, browser).get("/").await.status == StatusCode::OK)
            .await;
    }
    notices_nothing(&there, &bob).await;
}
