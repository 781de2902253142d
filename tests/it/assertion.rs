//! The assertion: what a console can verify by itself, and what cannot pass for one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_certs::signing::verify_assertion;
use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Browser, START, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

const ISSUER: &str = "https://console.example.com";

async fn keys(gate: &TestGate) -> Value {
    gate.browser().get("/.doorward/jwks.json").await.json()
}

/// The assertion that a request of this browser carries.
async fn asserted(browser: &mut Browser, upstream: &Upstream, path: &str) -> String {
    assert_eq!(browser.get(path).await.status, StatusCode::OK);
    upstream.last().field("x-doorward-assertion").expect("an assertion").to_owned()
}

/// The first part of a token.
fn header(token: &str) -> Value {
    part(token, 0)
}

/// A part of a token; the second one are its claims.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a12_an_assertion_says_who_how_and_for_whom_and_verifies_with_the_published_keys() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    gate.add(
        "alice/dev",
        AccountChange { roles: Some(vec!["viewer".into()]), ..AccountChange::default() },
    )
    .await;
    for (name, sub_user, role) in
        [("alice", Value::Null, "owner"), ("alice/dev", json!("dev"), "viewer")]
    {
        let mut browser = gate.browser();
        browser.sign_in(name).await;
        let session = browser.get("/.doorward/session").await.json();
        let token = asserted(&mut browser, &upstream, "/").await;
        let jwks = keys(&gate).await;
        let claims = verify_assertion(&jwks, &token, ISSUER, "console").unwrap();
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert_eq!(iat, START.secs());
        assert!(exp > iat && exp - iat <= 300, "{claims}");
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!("console")));
        assert_eq!(claims["sub"], session["subject"]);
        assert_eq!(claims["sid"], session["session"]);
        assert!(!token.contains(browser.token()) && claims["sid"] != json!(browser.token()));
        assert_eq!((&claims["acr"], &claims["amr"]), (&json!("aal1"), &json!(["pwd"])));
        assert_eq!(claims["auth_time"], json!(START.secs()));
        assert_eq!((&claims["account"], &claims["sub_user"]), (&json!("alice"), &sub_user));
        assert_eq!(claims["roles"], json!([role]));
        assert!(
            claims["groups"].is_array() && claims["jti"].as_str().is_some_and(|id| id.len() >= 16)
        );
        assert_eq!(claims["verification"], session["verification"]);
        let header = header(&token);
        assert_eq!(
            (&header["alg"], &header["typ"]),
            (&json!("ES256"), &json!("doorward-assertion+jwt"))
        );
        let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        assert_eq!(kids, [&header["kid"]]);
        assert!(jwks["keys"][0].get("d").is_none(), "the private key is published");
    }
}

#[tokio::test]
async fn a12_a_changed_bit_another_audience_and_another_issuer_are_refused() {
    let upstream = Upstream::start().await;
    let text = format!(
        "public_url = \"{ISSUER}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{0}\"\n\
         [upstream.billing]\naddress = \"http://{0}\"\nhosts = [\"billing.example.com\"]\n\
         [store]\npath = \"doorward.db\"\n[operations]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\npath = \"/billing/**\"\nupstream = \"billing\"\n",
        upstream.address
    );
    let gate = TestGate::with_config(&text).await;
    let mut alice = gate.signed_in().await;
    let console = asserted(&mut alice, &upstream, "/").await;
    let billing = asserted(&mut alice, &upstream, "/billing/1").await;
    let jwks = keys(&gate).await;
    for (token, audience, holds) in [
        (&console, "console", true),
        (&billing, "billing", true),
        (&console, "billing", false),
        (&billing, "console", false),
    ] {
        assert_eq!(verify_assertion(&jwks, token, ISSUER, audience).is_ok(), holds, "{audience}");
    }
    assert!(verify_assertion(&jwks, &console, "https://evil.example.com", "console").is_err());
    for index in 0..console.len() {
        let mut octets = console.clone().into_bytes();
        octets[index] = if octets[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(octets).unwrap();
        // The last character of a part may carry bits that mean nothing.
        let same_octets = decoded(&changed) == decoded(&console);
        assert!(
            same_octets || verify_assertion(&jwks, &changed, ISSUER, "console").is_err(),
            "a change at {index} went unseen"
        );
    }
}

/// The parts of a token, decoded; what cannot be decoded is nothing.
fn decoded(token: &str) -> Option<Vec<Vec<u8>>> {
    token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok()).collect()
}

#[tokio::test]
async fn an_assertion_is_the_same_for_a_minute_and_then_another_one() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut alice = gate.signed_in().await;
    let first = asserted(&mut alice, &upstream, "/").await;
    gate.clock.advance(Duration::from_secs(59));
    assert_eq!(asserted(&mut alice, &upstream, "/other").await, first);
    gate.clock.advance(Duration::from_secs(1));
    let second = asserted(&mut alice, &upstream, "/").await;
    let jwks = keys(&gate).await;
    let claims = |token: &str| verify_assertion(&jwks, token, ISSUER, "console").unwrap();
    let (first, second) = (claims(&first), claims(&second));
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(second["iat"].as_u64().unwrap(), first["iat"].as_u64().unwrap() + 60);
    assert_eq!((&first["sid"], &first["auth_time"]), (&second["sid"], &second["auth_time"]));
    let mut other = gate.signed_in().await;
    let token = asserted(&mut other, &upstream, "/").await;
    assert_ne!(claims(&token)["sid"], second["sid"], "two sessions are told apart");
}

#[tokio::test]
async fn eddsa_is_a_choice() {
    let upstream = Upstream::start().await;
    let tables = "[identity]\nalgorithm = \"EdDSA\"\nlifetime = \"5m\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    let token = asserted(&mut alice, &upstream, "/").await;
    assert_eq!(header(&token)["alg"], json!("EdDSA"));
    let jwks = keys(&gate).await;
    assert_eq!(
        (&jwks["keys"][0]["kty"], &jwks["keys"][0]["crv"]),
        (&json!("OKP"), &json!("Ed25519"))
    );
    let claims = verify_assertion(&jwks, &token, ISSUER, "console").unwrap();
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
}

#[tokio::test]
async fn a_retired_key_verifies_until_its_last_assertion_has_expired() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut alice = gate.signed_in().await;
    let old = asserted(&mut alice, &upstream, "/").await;
    gate.ask(Request::KeyRotate).await.unwrap();
    gate.clock.advance(Duration::from_secs(60));
    let new = asserted(&mut alice, &upstream, "/").await;
    assert_ne!(header(&old)["kid"], header(&new)["kid"]);
    let jwks = keys(&gate).await;
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    for token in [&old, &new] {
        verify_assertion(&jwks, token, ISSUER, "console").unwrap();
    }
    gate.clock.advance(Duration::from_secs(119));
    maintain(&gate).await;
    assert_eq!(
        keys(&gate).await["keys"].as_array().unwrap().len(),
        2,
        "a slow clock still verifies"
    );
    gate.clock.advance(Duration::from_secs(1));
    maintain(&gate).await;
    let jwks = keys(&gate).await;
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert!(verify_assertion(&jwks, &old, ISSUER, "console").is_err());
    verify_assertion(&jwks, &new, ISSUER, "console").unwrap();
    let gate = gate.restart().await;
    assert_eq!(keys(&gate).await, jwks, "the keys survive a restart");
}

/// What the gate does with its keys every minute.
async fn maintain(gate: &TestGate) {
    let services = gate.services().clone();
    tokio::task::spawn_blocking(move || services.assertions.maintain()).await.unwrap().unwrap();
}

#[tokio::test]
async fn m05_nothing_else_passes_for_a_session_and_nothing_else_for_an_assertion() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut alice = gate.signed_in().await;
    let token = asserted(&mut alice, &upstream, "/").await;
    let session = alice.get("/.doorward/session").await.json();
    let mut stranger = gate.browser();
    stranger.get("/.doorward/sign-in").await;
    let form = stranger.jar.values().next().cloned().unwrap_or_default();
    let before = upstream.count();
    let seen =
        [&token, session["session"].as_str().unwrap(), session["subject"].as_str().unwrap(), &form];
    for value in seen {
        let mut thief = gate.browser();
        thief.jar.insert("__Host-doorward".into(), value.to_owned());
        assert_eq!(thief.get("/").await.status, StatusCode::UNAUTHORIZED, "{value}");
        let bearer = format!("Bearer {value}");
        for field in [("authorization", bearer.as_str()), ("x-doorward-assertion", value)] {
            let answer = gate.browser().get_with("/", &[field]).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{field:?}");
        }
    }
    assert_eq!(upstream.count(), before);

    let jwks = keys(&gate).await;
    let [head, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let encode = |head: &Value| URL_SAFE_NO_PAD.encode(head.to_string());
    let kid = header(head)["kid"].clone();
    let none = encode(&json!({"alg": "none", "typ": "doorward-assertion+jwt", "kid": kid}));
    let plain = encode(&json!({"alg": "ES256", "typ": "JWT", "kid": kid}));
    let stranger =
        encode(&json!({"alg": "ES256", "typ": "doorward-assertion+jwt", "kid": "other"}));
    for forged in [
        alice.token().to_owned(),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{plain}.{payload}.{signature}"),
        format!("{stranger}.{payload}.{signature}"),
        format!("{head}.{payload}"),
        String::new(),
    ] {
        assert!(verify_assertion(&jwks, &forged, ISSUER, "console").is_err(), "{forged}");
    }
}
