//! What owners are told when it happens: once, and of nothing that belongs to the day.

use doorward_plugins::authenticator::Kind;
use doorward_plugins::authenticator::totp::Seed;
use doorward_tests::PASSWORD;
use http::StatusCode;
use serde_json::json;

use super::*;

const TABLES: &str = "[captcha]\nmode = \"off\"\n[notify]\noutbox_dir = \"outbox\"\n";

/// The kinds of what alice was told by mail so far.
async fn told(gate: &TestGate) -> Vec<String> {
    gate.deliver().await;
    let documents = documents(gate);
    let mails = documents.iter().filter(|document| document["channel"] == "email");
    let mut kinds: Vec<_> =
        mails.map(|document| document["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

/// What alice was told, once there is as much of it.
async fn told_at_last(gate: &TestGate, count: usize) -> Vec<String> {
    doorward_tests::eventually("an alert", async || told(gate).await.len() >= count).await;
    told(gate).await
}

#[tokio::test]
async fn f23_a_wrong_password_is_not_told_and_what_it_leads_to_is_once() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut browser = gate.browser();
    for _ in 0..9 {
        browser.try_sign_in("alice", "wrong").await;
    }
    assert_eq!(told(&gate).await, Vec::<String>::new());
    for _ in 0..5 {
        browser.try_sign_in("alice", "wrong").await;
    }
    assert_eq!(told_at_last(&gate, 1).await, ["alert_locked"]);
}

#[tokio::test]
async fn f23_a_right_password_after_many_wrong_ones_is_told_once() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut browser = gate.browser();
    for _ in 0..6 {
        browser.try_sign_in("alice", "wrong").await;
    }
    browser.sign_in("alice").await;
    assert_eq!(told_at_last(&gate, 1).await, ["alert_success_after_failures"]);
}

#[tokio::test]
async fn f23_a_right_password_with_a_failed_second_factor_is_told_once() {
    let gate = gate(&format!("{TABLES}[second_factor]\nrequire = \"all\"\n")).await;
    let owner = alice(&gate).await;
    bind_app(&gate, &owner).await;
    let mut browser = gate.browser();
    let half = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
    assert_eq!(told(&gate).await, Vec::<String>::new());
    for _ in 0..3 {
        let wrong = json!({"way": "totp", "code": "000000"});
        browser.post_json("/.doorward/api/v1/sign-in/second-factor", &wrong).await;
    }
    assert_eq!(told(&gate).await, ["alert_second_factor_failed"]);
}

#[tokio::test]
async fn f23_a_new_device_is_told_once_and_a_first_sign_in_is_not() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut home = gate.browser();
    home.sign_in("alice").await;
    home.sign_in("alice").await;
    assert_eq!(told(&gate).await, Vec::<String>::new());
    let mut other = gate.browser();
    other.sign_in("alice").await;
    other.sign_in("alice").await;
    assert_eq!(told(&gate).await, ["alert_new_device"]);
}

#[tokio::test]
async fn an_unusual_sign_in_asks_who_has_a_second_factor_for_it_and_nobody_to_bind_one() {
    for binds in [true, false] {
        let gate = gate(&format!("{TABLES}[risk]\nsecond_factor = true\n")).await;
        let owner = alice(&gate).await;
        gate.browser().sign_in("alice").await;
        if binds {
            bind_app(&gate, &owner).await;
        }
        let answer = gate.browser().try_sign_in("alice", PASSWORD).await;
        let expected = if binds { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
}

/// Binds an app for alice that nobody has.
async fn bind_app(gate: &TestGate, owner: &PrincipalRecord) {
    let (second, id) = (std::sync::Arc::clone(&gate.services().second), owner.id.clone());
    let seed = Seed::fresh().unwrap();
    gate.in_office(async move {
        second.authenticators.bind(&id, Kind::Totp, "phone", &seed, None, 0).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn j06_a_change_of_the_password_is_told() {
    let gate = gate(TABLES).await;
    alice(&gate).await;
    let mut browser = gate.signed_in().await;
    let body =
        json!({"current_password": PASSWORD, "new_password": "violet tractor umbrella seven"});
    let done = browser.post_json("/.doorward/api/v1/password", &body).await;
    assert!(done.status.is_success(), "{}", done.text());
    assert_eq!(told(&gate).await, ["alert_password_changed"]);
}
