//! Asking too often: who is limited, by what, what they are told, and that nobody else notices.

use std::time::Duration;

use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream, series};
use http::StatusCode;

use crate::sign_in::{SIGN_IN, fill_in};

async fn gate(top: &str) -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]";
    let gate =
        TestGate::start(&upstream, Setup { listener, tables: top, ..Setup::default() }).await;
    gate.add_alice().await;
    (upstream, gate)
}

/// A client behind a proxy that says where it is.
fn client(gate: &TestGate, address: &str) -> Browser {
    let mut browser = gate.browser();
    browser.fields.push(("x-forwarded-for".into(), address.into()));
    browser.fields.push(("x-forwarded-proto".into(), "https".into()));
    browser
}

fn fields(answer: &Answer) -> [&str; 3] {
    ["retry-after", "ratelimit", "ratelimit-policy"].map(|name| answer.field(name))
}

#[tokio::test]
async fn f11_an_address_that_asks_too_often_is_told_when_to_come_back() {
    let (upstream, gate) = gate("[rate_limit]\naddress = \"10/10s burst 3\"\n").await;
    let mut flood = client(&gate, "192.0.2.1");
    for _ in 0..3 {
        assert_eq!(flood.get("/").await.status, StatusCode::UNAUTHORIZED);
    }
    let refused = flood.get("/").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(fields(&refused), ["1", "\"address\";r=0;t=1", "\"address\";q=10;w=10"]);
    assert_eq!(refused.json()["type"], "urn:doorward:problem:too-many-requests");
    assert_eq!(client(&gate, "192.0.2.2").get("/").await.status, StatusCode::UNAUTHORIZED);
    gate.clock.advance(Duration::from_secs(1));
    assert_eq!(flood.get("/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(flood.get("/").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(upstream.count(), 0);

    let metrics = Browser::new(gate.operations(), "localhost", None).get("/metrics").await.text();
    let count = |result| {
        let name = "doorward_rate_limit_total{limit=\"address\",result=\"";
        series(&metrics, &format!("{name}{result}\"}}"))
    };
    assert_eq!(["allowed", "near", "exceeded"].map(count), [5, 2, 2]);
}

#[tokio::test]
async fn f09_addresses_of_one_slash_64_are_one_client() {
    let (_upstream, gate) = gate("[rate_limit]\naddress = \"2/1h\"\n").await;
    for (address, status) in [
        ("2001:db8::1", StatusCode::UNAUTHORIZED),
        ("2001:db8::2", StatusCode::UNAUTHORIZED),
        ("2001:db8::3", StatusCode::TOO_MANY_REQUESTS),
        ("2001:db8:0:1::1", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(client(&gate, address).get("/").await.status, status, "{address}");
    }
}

#[tokio::test]
async fn all_clients_together_have_a_limit_too() {
    let (_upstream, gate) = gate("[rate_limit]\nall = \"3/1h\"\n").await;
    let mut last = StatusCode::OK;
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        last = client(&gate, address).get("/").await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_route_counts_by_account_wherever_it_asks_from() {
    let (upstream, gate) = gate(
        "[[route]]\npath = \"/export/**\"\nrate_limit = [{ by = \"account\", rate = \"2/1m\" }, { by = [], rate = \"100/1m\" }]\n",
    )
    .await;
    let (mut home, mut work) = (client(&gate, "192.0.2.1"), client(&gate, "198.51.100.1"));
    home.sign_in("alice").await;
    work.sign_in("alice").await;
    let first = home.get("/export/a").await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(fields(&first), ["", "\"route-1-1\";r=1;t=30", "\"route-1-1\";q=2;w=60"]);
    assert_eq!(work.get("/export/b").await.status, StatusCode::OK);
    let refused = work.get("/export/c").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(fields(&refused)[0], "30");
    assert_eq!(work.get("/other").await.status, StatusCode::OK, "another route");
    assert_eq!(upstream.count(), 3);

    let stranger = client(&gate, "192.0.2.9").get("/export/a").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "who may not is not counted");
}

#[tokio::test]
async fn a_route_counts_by_session_and_address_together() {
    let (_upstream, gate) = gate(
        "[[route]]\npath = \"/a\"\nrate_limit = [{ by = [\"session\", \"address\"], rate = \"1/1m\" }]\n",
    )
    .await;
    let mut one = client(&gate, "192.0.2.1");
    one.sign_in("alice").await;
    let mut elsewhere = client(&gate, "192.0.2.2");
    elsewhere.jar.clone_from(&one.jar);
    let mut other = client(&gate, "192.0.2.1");
    other.sign_in("alice").await;
    for browser in [&mut one, &mut elsewhere, &mut other] {
        assert_eq!(browser.get("/a").await.status, StatusCode::OK);
    }
    assert_eq!(one.get("/a").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn f09_sign_ins_are_limited_and_what_was_typed_stays() {
    let (_upstream, gate) = gate("[rate_limit]\nsign_in_address = \"2/1m\"\n").await;
    let mut guesser = client(&gate, "192.0.2.1");
    for _ in 0..2 {
        let answer = guesser.try_sign_in("alice", "wrong").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let checked = gate.services().sign_in.passwords_checked();
    let answer = guesser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let mut person = client(&gate, "192.0.2.1").navigating();
    let shown = fill_in(&mut person, SIGN_IN, "alice", None, PASSWORD).await;
    assert_eq!(shown.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(fields(&shown)[0], "30");
    assert!(shown.text().contains("value=\"alice\""), "{}", shown.text());
    assert_eq!(gate.services().sign_in.passwords_checked(), checked, "a password was looked at");
    client(&gate, "192.0.2.2").sign_in("alice").await;
}

#[tokio::test]
async fn f09_a_network_is_limited_too() {
    let (_upstream, gate) = gate("[rate_limit]\nsign_in_network = \"3/1h\"\n").await;
    for (host, status) in [(1, 403), (2, 403), (3, 403), (4, 429)] {
        let answer = client(&gate, &format!("192.0.2.{host}")).try_sign_in("alice", "x").await;
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(client(&gate, "198.51.100.1").try_sign_in("alice", "x").await.status, 403);
}

#[tokio::test]
async fn observing_counts_and_refuses_nothing() {
    let (_upstream, gate) = gate("[rate_limit]\nmode = \"observe\"\naddress = \"1/1h\"\n").await;
    for _ in 0..3 {
        assert_eq!(client(&gate, "192.0.2.1").get("/").await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(gate.services().rate_limits.metrics().contains("\"address\",result=\"exceeded\"} 2"));
}
