//! A store that fails: nobody gets in, nobody is thrown out, nothing is forwarded unjudged.

use doorward_tests::{PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;

#[tokio::test]
async fn a01_when_the_store_is_gone_live_sessions_go_on_and_nobody_new_gets_in() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/public\"\naccess = \"public\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut browser = gate.signed_in().await;
    let mut other = gate.signed_in().await;
    gate.services().close().await;

    assert_eq!(browser.get("/").await.status, StatusCode::OK, "known in memory");
    assert_eq!(gate.browser().get("/public").await.status, StatusCode::OK, "asks no store");
    let seen = upstream.count();
    let mut stranger = gate.browser();
    assert_eq!(stranger.get("/").await.status, StatusCode::UNAUTHORIZED);
    for password in [PASSWORD, "wrong"] {
        let refused = stranger.try_sign_in("alice", password).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "unknown is not wrong");
        assert_ne!(refused.field("retry-after"), "");
        assert_eq!(refused.json()["type"], "urn:doorward:problem:unavailable");
    }

    // The end of a session holds here at once; that it may not be durable is said.
    let answer = other.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(other.get("/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), seen, "the upstream saw a refused request");

    let mut operator = doorward_tests::Browser::new(gate.operations(), "localhost", None);
    assert_eq!(operator.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(operator.get("/livez").await.status, StatusCode::OK);
}
