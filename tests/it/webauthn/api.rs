//! By the API, with a key in software that can lie.

use doorward_tests::{Answer, Browser, PASSWORD, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

use super::soft_key::{SoftKey, UV, decode};
use super::{gate, guard_alice, held};

const API: &str = "/.doorward/api/v1";
const ORIGIN: &str = "https://console.example.com";

async fn post(browser: &mut Browser, path: &str, body: &Value) -> Answer {
    browser.post_json(&format!("{API}{path}"), body).await
}

async fn bind(browser: &mut Browser, key: &mut SoftKey) -> Answer {
    let asked = post(browser, "/webauthn/keys/options", &json!({})).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text());
    let asked = asked.json();
    let draft = key.create(&asked["options"], ORIGIN);
    let credential = key.created(&draft);
    let body = json!({"name": "A key", "challenge": asked["challenge"], "credential": credential});
    post(browser, "/webauthn/keys", &body).await
}

/// Asks at `path`, and has the key answer.
async fn answer(browser: &mut Browser, path: &str, wanted: &Value, key: &mut SoftKey) -> Value {
    let asked = post(browser, path, wanted).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text());
    let asked = asked.json();
    let draft = key.get(&asked["options"], ORIGIN);
    json!({"challenge": asked["challenge"], "credential": key.got(&draft)})
}

const SIGN_IN: &str = "/webauthn/sign-in";

#[tokio::test]
async fn h01_h11_h12_a_key_signs_in_its_owner_once_for_each_challenge() {
    let console = Upstream::start().await;
    let gate = gate(&console, false).await;
    let mut key = SoftKey::new(b"key of alice");
    let mut owner = gate.signed_in().await;
    let bound = bind(&mut owner, &mut key).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text());
    assert_eq!(bound.json()["kind"], "webauthn");

    let mut browser = gate.browser();
    let answered = answer(&mut browser, "/webauthn/sign-in/options", &json!({}), &mut key).await;
    let signed_in = post(&mut browser, SIGN_IN, &answered).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.text());
    assert_eq!(signed_in.json()["acr"], "aal2");
    assert_eq!(signed_in.json()["account"], "alice");
    let replayed = post(&mut gate.browser(), SIGN_IN, &answered).await;
    assert_eq!(replayed.status, StatusCode::FORBIDDEN, "{}", replayed.text());
    assert_eq!(
        replayed.json()["type"],
        post(&mut gate.browser(), "/sign-in", &json!({"account": "alice", "password": "wrong"}))
            .await
            .json()["type"]
    );

    // Somebody else cannot bind it, nor sign in by a key that nobody has bound.
    gate.add("bob", doorward_plugins::administration::AccountChange::default()).await;
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    assert_eq!(bind(&mut bob, &mut key).await.status, StatusCode::FORBIDDEN);
    let mut stranger = SoftKey::new(b"nobody's");
    stranger.user = decode("AAAAAAAAAAAAAAAAAAAAAA");
    let answered =
        answer(&mut browser, "/webauthn/sign-in/options", &json!({}), &mut stranger).await;
    assert_eq!(post(&mut browser, SIGN_IN, &answered).await.status, StatusCode::FORBIDDEN);
    // Once alice has a key, binding another needs it, however fresh the password.
    let refused = post(&mut owner, "/webauthn/keys/options", &json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.text());
    assert_eq!(held(&gate).await.len(), 1);
}

#[tokio::test]
async fn h07_g20_a_key_that_verifies_nobody_is_a_second_factor_and_no_whole_sign_in() {
    let console = Upstream::start().await;
    let gate = gate(&console, false).await;
    let mut key = SoftKey::new(b"plain");
    key.flags = 0;
    let mut owner = gate.signed_in().await;
    assert_eq!(bind(&mut owner, &mut key).await.status, StatusCode::CREATED);
    let mut browser = gate.browser();
    let answered = answer(&mut browser, "/webauthn/sign-in/options", &json!({}), &mut key).await;
    assert_eq!(post(&mut browser, SIGN_IN, &answered).await.status, StatusCode::FORBIDDEN);

    guard_alice(&gate).await;
    let password = json!({"account": "alice", "password": PASSWORD});
    let asked = post(&mut browser, "/sign-in", &password).await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{}", asked.text());
    assert_eq!(asked.json()["ways"], "webauthn");
    let answered = answer(&mut browser, "/webauthn/options", &json!({}), &mut key).await;
    let second = json!({"way": "webauthn", "code": answered.to_string()});
    let signed_in = post(&mut browser, "/sign-in/second-factor", &second).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.text());
    assert_eq!(signed_in.json()["acr"], "aal2");
    assert_eq!(signed_in.json()["amr"], json!(["pwd", "pop", "mfa"]));

    // The same answer serves no other sign-in.
    let mut thief = gate.browser();
    assert_eq!(post(&mut thief, "/sign-in", &password).await.status, StatusCode::UNAUTHORIZED);
    let refused = post(&mut thief, "/sign-in/second-factor", &second).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
}

#[tokio::test]
async fn a_program_approves_an_operation_by_a_key() {
    let console = Upstream::start().await;
    let gate = gate(&console, false).await;
    let mut key = SoftKey::new(b"id");
    key.flags = UV;
    let mut browser = gate.signed_in().await;
    assert_eq!(bind(&mut browser, &mut key).await.status, StatusCode::CREATED);
    let asked = browser.get("/safe").await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{}", asked.text());
    let challenge = asked.json()["challenge"].as_str().unwrap().to_owned();
    let wanted = json!({"step_up": challenge});
    let answered = answer(&mut browser, "/webauthn/options", &wanted, &mut key).await;
    let approval = json!({"way": "webauthn", "code": answered.to_string()});
    let approved = post(&mut browser, &format!("/step-up/{challenge}"), &approval).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.text());
    assert_eq!(browser.get("/safe").await.status, StatusCode::OK);
}

#[tokio::test]
async fn h19_broken_answers_are_refused_and_never_the_gates_own_fault() {
    let console = Upstream::start().await;
    let gate = gate(&console, false).await;
    let mut key = SoftKey::new(b"id");
    let mut owner = gate.signed_in().await;
    assert_eq!(bind(&mut owner, &mut key).await.status, StatusCode::CREATED);
    let mut browser = gate.browser();
    let answered = answer(&mut browser, "/webauthn/sign-in/options", &json!({}), &mut key).await;
    let honest = answered.to_string().into_bytes();
    let kind = [("content-type", "application/json")];
    let path = format!("{API}{SIGN_IN}");
    // One octet of each stretch, in three ways: what is left unchanged in meaning may pass once.
    let mut passed = 0;
    for at in (0..honest.len()).step_by(7) {
        for change in [b'"', b'A', 0xff] {
            let mut broken = honest.clone();
            broken[at] = change;
            let answer = browser.send(http::Method::POST, &path, &kind, broken.into()).await;
            match answer.status {
                StatusCode::OK => passed += 1,
                status => assert!(status.is_client_error(), "{status}: {}", answer.text()),
            }
        }
    }
    assert!(passed <= 1, "a ticket was good {passed} times");
    for nothing in
        ["", "{}", "[]", "null", "{\"challenge\":7}", "{\"challenge\":\"\",\"credential\":{}}"]
    {
        let answer = browser.send(http::Method::POST, &path, &kind, nothing.into()).await;
        assert!(answer.status.is_client_error(), "{nothing}: {}", answer.status);
    }
}
