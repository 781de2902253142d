//! People change their own password: what it needs, what it ends, and that it is no place to guess.

use doorward_plugins::administration::Request;
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream, events};
use http::StatusCode;
use serde_json::json;

use crate::api::Description;
use crate::sign_in::ACCOUNT;

const PAGE: &str = "/.doorward/account/password";
const NEW: &str = "violet tractor umbrella seven";

async fn gate() -> TestGate {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    gate
}

/// Opens the page and sends its form.
async fn fill_in(browser: &mut Browser, current: &str, new: &str, end_others: bool) -> Answer {
    let shown = browser.get(PAGE).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text());
    let code = shown.hidden("code");
    let mut fields = vec![("code", &*code), ("current_password", current), ("new_password", new)];
    if end_others {
        fields.push(("end_others", "on"));
    }
    browser.post_form(PAGE, &fields).await
}

async fn change(browser: &mut Browser, current: &str, new: &str) -> Answer {
    let body = json!({"current_password": current, "new_password": new});
    browser.post_json("/.doorward/api/v1/password", &body).await
}

#[tokio::test]
async fn f21_a_person_changes_their_password_and_other_sessions_end_if_they_want() {
    for end_others in [true, false] {
        let gate = gate().await;
        let (mut here, mut there) = (gate.signed_in().await.navigating(), gate.signed_in().await);
        let done = fill_in(&mut here, PASSWORD, NEW, end_others).await;
        assert_eq!(
            (done.status, done.location()),
            (StatusCode::SEE_OTHER, "/.doorward/account?notice=password")
        );
        assert!(here.get("/.doorward/account?notice=password").await.text().contains("is changed"));
        let there = there.get("/.doorward/session").await.status;
        assert_eq!(there == StatusCode::UNAUTHORIZED, end_others, "{there}");
        let mut late = gate.browser();
        assert_eq!(late.try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
        let answer = late.try_sign_in("alice", NEW).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
}

#[tokio::test]
async fn f21_the_present_password_is_needed_and_tries_at_it_are_counted() {
    events();
    let gate = gate().await;
    let mut browser = gate.signed_in().await;
    let subject = browser.get("/.doorward/session").await.json()["subject"].clone();
    for number in 0..3 {
        let refused = change(&mut browser, &format!("wrong {number}"), NEW).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.json()["type"], "urn:doorward:problem:sign-in-failed");
    }
    let told = events().with("principal", subject.as_str().unwrap());
    let failed = told.iter().filter(|event| event["event"] == "authn_login_fail");
    assert_eq!(failed.count(), 3, "N01: every try is in the log");
    let checked = gate.services().sign_in.passwords_checked();
    let asked = change(&mut browser, PASSWORD, NEW).await;
    assert_eq!(asked.json()["type"], "urn:doorward:problem:captcha-required");
    assert_eq!(asked.json()["captcha"], "/.doorward/captcha?purpose=password");
    assert_eq!(gate.services().sign_in.passwords_checked(), checked, "it was looked at");
    Description::of(&gate).await.holds("POST", "/password", &asked);
    let shown = fill_in(&mut browser.clone().navigating(), PASSWORD, NEW, true).await;
    assert!(shown.text().contains("altcha-widget"), "{}", shown.text());
    gate.ask(Request::LockLift { name: "alice".into() }).await.unwrap();
    assert_eq!(change(&mut browser, PASSWORD, NEW).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn f01_a_new_password_opens_the_lock_that_strangers_guesses_made() {
    let gate = gate().await;
    let mut owner = gate.signed_in().await;
    for _ in 0..3 {
        gate.browser().try_sign_in("alice", "wrong").await;
    }
    assert_eq!(change(&mut owner, PASSWORD, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(gate.browser().try_sign_in("alice", NEW).await.status, StatusCode::OK);
}

#[tokio::test]
async fn f15_a_weak_password_is_refused_with_the_reason_and_costs_no_guess() {
    let gate = gate().await;
    let mut browser = gate.signed_in().await;
    let checked = gate.services().sign_in.passwords_checked();
    for (weak, why) in [
        ("tiny", "at least 15 characters"),
        ("alice-console-2026", "little more than"),
        ("abcabcabcabcabcabc", "repeats itself"),
    ] {
        let refused = change(&mut browser, PASSWORD, weak).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text());
        assert!(refused.json()["detail"].as_str().unwrap().contains(why), "{}", refused.text());
        let mut person = browser.clone().navigating();
        let shown = fill_in(&mut person, PASSWORD, weak, true).await;
        assert_eq!(shown.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(shown.text().contains(why) && !shown.text().contains(weak), "{}", shown.text());
        let chinese = person.get(&format!("{PAGE}?lang=zh")).await;
        assert!(chinese.text().contains("修改密码"));
    }
    assert_eq!(gate.services().sign_in.passwords_checked(), checked);
}

#[tokio::test]
async fn a_stranger_and_another_site_change_nothing() {
    let gate = gate().await;
    let stranger = change(&mut gate.browser(), PASSWORD, NEW).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    let sent = gate.browser().navigating().get(PAGE).await;
    assert_eq!(sent.location(), "/.doorward/sign-in?return_to=%2F.doorward%2Faccount%2Fpassword");
    let mut alice = gate.signed_in().await.navigating();
    let fields = [("current_password", PASSWORD), ("new_password", NEW)];
    assert_eq!(alice.post_form(PAGE, &fields).await.status, StatusCode::FORBIDDEN, "no code");
    let kind = ("content-type", "application/json");
    let body = json!({"current_password": PASSWORD, "new_password": NEW}).to_string();
    alice.fields.clear();
    let fields = [kind, ("origin", "https://evil.example")];
    let path = "/.doorward/api/v1/password";
    let answer = alice.send(http::Method::POST, path, &fields, body.into()).await;
    assert_eq!(answer.json()["type"], "urn:doorward:problem:cross-site");
    gate.browser().sign_in("alice").await;
    assert!(alice.clone().navigating().get(ACCOUNT).await.text().contains(PAGE));
}
