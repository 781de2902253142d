//! Sensitive operations: who is asked for a second factor, what it is good for, and that a request
//! which was interrupted goes on once.

mod attacks;
pub(crate) mod holding;
mod model;

use std::time::Duration;

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Answer, App, Browser, Setup, TestGate, Upstream};
use http::{Method, StatusCode};
use serde_json::json;

use crate::api::Description;

pub(crate) const ROUTES: &str = "[[route]]\npath = \"/keys/**\"\nmethods = [\"GET\", \"POST\", \"DELETE\"]\nstep_up = { max_age = \"5m\", label = \"Manage keys\" }\n\
    [[route]]\npath = \"/pay\"\nstep_up = { bind = \"request\", label = \"Pay\", show = [\"to\", \"amount\"] }\n";

/// A gate with such routes, alice's app with a fresh code, and alice signed in.
pub(crate) async fn start() -> (TestGate, Upstream, App, Browser) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    let browser = gate.signed_in().await;
    let app = gate.app_of("alice").await;
    app.wait();
    (gate, upstream, app, browser)
}

/// Meets the challenge that an answer carries.
pub(crate) async fn approve(browser: &mut Browser, challenge: &Answer, code: &str) -> Answer {
    let url = challenge.json()["step_up_api"].as_str().unwrap().to_owned();
    browser.post_json(&url, &json!({"way": "totp", "code": code})).await
}

#[tokio::test]
async fn i01_i02_a_program_is_challenged_gives_a_factor_and_may_for_a_while() {
    let (gate, upstream, app, mut browser) = start().await;
    let before = browser.token().to_owned();
    let refused = browser.get("/keys/1").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:doorward:problem:step-up-required");
    let challenge = refused.field("www-authenticate");
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains("max_age=\"300\""),
        "{challenge}"
    );
    assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
    assert!(challenge.contains("acr_values=\"aal2\""), "{challenge}");
    let asked = browser.get(refused.json()["step_up_api"].as_str().unwrap()).await;
    Description::of(&gate).await.holds("GET", "/step-up/{id}", &asked);
    assert_eq!(asked.json()["label"], "Manage keys");
    assert_eq!(asked.json()["ways"], json!(["totp"]));
    let approved = approve(&mut browser, &refused, &app.code()).await;
    Description::of(&gate).await.holds("POST", "/step-up/{id}", &approved);
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.text());
    assert_ne!(browser.token(), before, "a new token");
    assert_eq!(upstream.count(), 0);
    for _ in 0..2 {
        assert_eq!(browser.get("/keys/1").await.status, StatusCode::OK);
    }
    // The old token is worth nothing.
    let mut old = gate.browser();
    old.jar.insert("__Host-doorward".into(), before);
    assert_eq!(old.get("/").await.status, StatusCode::UNAUTHORIZED);
    // The console hears of it.
    let token = upstream.last().field("x-doorward-assertion").unwrap().to_owned();
    let claims = crate::assertion::part(&token, 1);
    assert_eq!(claims["acr"], "aal2");
    assert!(claims["step_up_time"].as_u64().unwrap() > claims["auth_time"].as_u64().unwrap());
    gate.clock.advance(Duration::from_secs(299));
    assert_eq!(browser.get("/keys/1").await.status, StatusCode::OK);
    gate.clock.advance(Duration::from_secs(1));
    assert_eq!(browser.get("/keys/1").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn i12_a_step_up_belongs_to_its_session_and_a_challenge_to_who_was_asked() {
    let (gate, _upstream, app, mut browser) = start().await;
    let mut other = gate.signed_in().await;
    let refused = browser.get("/keys/1").await;
    let stolen = approve(&mut other, &refused, &app.code()).await;
    assert_eq!(stolen.status, StatusCode::GONE, "{}", stolen.text());
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::OK);
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::GONE);
    assert_eq!(browser.get("/keys/1").await.status, StatusCode::OK);
    assert_eq!(other.get("/keys/1").await.status, StatusCode::UNAUTHORIZED);
    // And it dies with the session.
    app.wait();
    let refused = other.get("/keys/1").await;
    browser.post_json("/.doorward/api/v1/sessions/end-others", &json!({})).await;
    assert_eq!(approve(&mut other, &refused, &app.code()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn i05_an_approval_is_for_exactly_this_request_once() {
    let (_gate, upstream, app, mut browser) = start().await;
    let body = json!({"to": "bob", "amount": 100});
    let refused = browser.post_json("/pay", &body).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.text());
    let asked = browser.get(refused.json()["step_up_api"].as_str().unwrap()).await.json();
    assert_eq!(
        asked["fields"],
        json!([{"name": "to", "value": "bob"}, {"name": "amount", "value": "100"}])
    );
    assert_eq!((&asked["once"], &asked["method"]), (&json!(true), &json!("POST")));
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::OK);
    for (target, other) in [
        ("/pay", json!({"to": "bob", "amount": 1000})),
        ("/pay", json!({"to": "bob", "amount": 100, "x": 1})),
        ("/pay?x", body.clone()),
    ] {
        let answer = browser.post_json(target, &other).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{target} {other}");
    }
    let kind = [("content-type", "application/json")];
    let put = browser.send(Method::PUT, "/pay", &kind, body.to_string().into()).await;
    assert_eq!(put.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
    assert_eq!(browser.post_json("/pay", &body).await.status, StatusCode::OK);
    assert_eq!(upstream.last().body, body.to_string().as_bytes());
    assert_eq!(browser.post_json("/pay", &body).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn i06_an_approval_that_is_not_used_is_over_after_its_time() {
    let (gate, upstream, app, mut browser) = start().await;
    let body = json!({"to": "bob"});
    let refused = browser.post_json("/pay", &body).await;
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::OK);
    gate.clock.advance(Duration::from_secs(300));
    assert_eq!(browser.post_json("/pay", &body).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn i04_who_has_nothing_to_give_gets_a_final_answer() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    let mut browser = gate.signed_in().await;
    let refused = browser.get("/keys/1").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.json()["type"], "urn:doorward:problem:no-factor");
    // The account may have switched it off, unless the operator does not let it.
    let change = AccountChange { operation_protection: Some(false), ..AccountChange::default() };
    let request = doorward_plugins::administration::Request::AccountSet {
        name: "alice".into(),
        change: Box::new(change),
    };
    gate.ask(request).await.unwrap();
    assert_eq!(browser.get("/keys/1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn i08_guesses_end_the_challenge() {
    let (_gate, upstream, app, mut browser) = start().await;
    let refused = browser.get("/keys/1").await;
    for _ in 0..5 {
        let wrong = approve(&mut browser, &refused, "000000").await;
        assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::GONE);
    assert_eq!(browser.get("/keys/1").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
}
