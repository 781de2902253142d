//! Forgotten passwords and names: what leads to a new one, what does not, and what a stranger learns.

mod factors;
mod names;

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::Description;
use crate::centre::{EMAIL, PHONE, code, gate, messages, reached};

const API: &str = "/.doorward/api/v1/recover";
const NEW: &str = "violet tractor umbrella seven";
const OFF: &str = "[captcha]\nmode = \"off\"\n";

async fn call(browser: &mut Browser, step: &str, body: Value) -> Answer {
    browser.post_json(&format!("{API}{step}"), &body).await
}

/// Begins, and sends a code by this channel; gives the ticket.
async fn ask(browser: &mut Browser, account: &str, channel: &str) -> String {
    let begun = call(browser, "", json!({"account": account})).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.text());
    let ticket = begun.json()["ticket"].clone();
    let sent = call(browser, "/send", json!({"ticket": ticket, "channel": channel})).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text());
    sent.json()["ticket"].as_str().unwrap().to_owned()
}

/// The same with the code that came; gives the recovery that is open then.
async fn prove(gate: &TestGate, browser: &mut Browser, channel: &str, to: &str) -> Answer {
    let ticket = ask(browser, "alice", channel).await;
    let code = code(gate, "code_reset_password", to).await;
    call(browser, "/verify", json!({"ticket": ticket, "code": code})).await
}

async fn set(browser: &mut Browser, recovery: &Value, password: &str) -> Answer {
    let body = json!({"recovery": recovery["recovery"], "new_password": password});
    call(browser, "/password", body).await
}

#[tokio::test]
async fn j03_k13_a_person_gets_a_new_password_by_pages_and_is_not_signed_in() {
    let gate = gate(OFF, reached(Some(PHONE))).await;
    let mut there = gate.signed_in().await;
    for _ in 0..10 {
        gate.browser().try_sign_in("alice", "wrong").await;
    }
    let mut person = gate.browser().navigating();
    assert!(person.get("/.doorward/sign-in").await.text().contains("href=\"/.doorward/recover\""));
    let shown = person.get("/.doorward/recover").await;
    let form = shown.hidden("code");
    let post = async |person: &mut Browser, step: &str, fields: &[(&str, &str)]| {
        let mut fields = fields.to_vec();
        fields.push(("code", &form));
        person.post_form(&format!("/.doorward/recover{step}"), &fields).await
    };
    let shown = post(&mut person, "", &[("account", "alice")]).await;
    let text = shown.text();
    assert!(text.contains("*********01") && text.contains("a***@***"), "{text}");
    assert!(!text.contains(PHONE) && !text.contains(EMAIL), "{text}");
    let ticket = shown.hidden("ticket");
    let shown = post(&mut person, "/send", &[("ticket", &ticket), ("channel", "email")]).await;
    assert!(shown.text().contains("a code is on its way"), "{}", shown.text());
    let ticket = shown.hidden("ticket");
    let sent = code(&gate, "code_reset_password", EMAIL).await;
    let wrong = post(&mut person, "/verify", &[("ticket", &ticket), ("answer", "1")]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let shown = post(&mut person, "/verify", &[("ticket", &ticket), ("answer", &sent)]).await;
    let recovery = shown.hidden("recovery");
    assert!(shown.text().contains("autocomplete=\"new-password\""), "{}", shown.text());
    assert_eq!(
        there.get("/.doorward/session").await.status,
        StatusCode::OK,
        "nothing has happened yet"
    );
    let fields = |new| [("recovery", &*recovery), ("new_password", new)];
    let weak = post(&mut person, "/password", &fields("tiny")).await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(weak.text().contains("at least 15 characters"), "{}", weak.text());
    let done = post(&mut person, "/password", &fields(NEW)).await;
    assert_eq!(done.location(), "/.doorward/sign-in?notice=recovered", "{}", done.text());
    assert!(person.get(done.location()).await.text().contains("Your password is changed"));
    assert!(person.token().is_empty(), "it signs nobody in");
    assert_eq!(
        there.get("/.doorward/session").await.status,
        StatusCode::UNAUTHORIZED,
        "all sessions end"
    );
    assert_eq!(messages(&gate, "alert_password_changed", EMAIL).await.len(), 1, "J06");
    assert_eq!(messages(&gate, "alert_password_changed", PHONE).await.len(), 1, "J06");
    // The lock of the guesses is lifted with it.
    assert_eq!(gate.browser().try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
    assert_eq!(gate.browser().try_sign_in("alice", NEW).await.status, StatusCode::OK);
    let again = post(&mut person, "/password", &fields(NEW)).await;
    assert_eq!(again.status, StatusCode::GONE, "once");
}

#[tokio::test]
async fn j01_a_name_that_nobody_has_is_answered_like_any_other() {
    let gate = gate(OFF, reached(Some(PHONE))).await;
    gate.add("disabled", reached(None)).await;
    gate.ask(Request::AccountDisable { name: "disabled".into() }).await.unwrap();
    gate.add("unreachable", AccountChange::default()).await;
    let written = Description::of(&gate).await;
    for name in ["alice", "nobody", "disabled", "unreachable", "Nobody/dev", "\u{7}"] {
        let mut browser = gate.browser();
        let begun = call(&mut browser, "", json!({"account": name})).await;
        written.holds("POST", "/recover", &begun);
        assert_eq!(begun.status, StatusCode::OK, "{name}");
        let begun = begun.json();
        let channel = begun["channels"][0]["channel"].clone();
        assert!(channel.is_string(), "{name}: {begun}");
        let again = call(&mut gate.browser(), "", json!({"account": name})).await.json();
        assert_eq!(again["channels"], begun["channels"], "{name}: the same each time");
        let body = json!({"ticket": begun["ticket"], "channel": channel});
        let sent = call(&mut browser, "/send", body).await;
        written.holds("POST", "/recover/send", &sent);
        assert_eq!(sent.status, StatusCode::OK, "{name}");
        let ticket = sent.json()["ticket"].clone();
        for _ in 0..7 {
            let body = json!({"ticket": ticket, "code": "000000"});
            let wrong = call(&mut browser, "/verify", body).await;
            written.holds("POST", "/recover/verify", &wrong);
            assert_eq!(wrong.status, StatusCode::FORBIDDEN, "{name}: {}", wrong.text());
        }
    }
    // Only who is there, and may sign in, got anything.
    code(&gate, "code_reset_password", PHONE).await;
    assert!(messages(&gate, "code_reset_password", EMAIL).await.is_empty());
}

#[tokio::test]
async fn j01_j05_a_code_is_for_one_recovery_once_and_for_a_short_time() {
    let gate = gate(OFF, reached(Some(PHONE))).await;
    let written = Description::of(&gate).await;
    let mut browser = gate.browser();
    let verify = |ticket: &str, code: &str| json!({"ticket": ticket, "code": code});
    let ticket = ask(&mut browser, "alice", "phone").await;
    let sent = code(&gate, "code_reset_password", PHONE).await;
    assert!(sent.len() >= 6);
    gate.clock.advance(Duration::from_secs(600));
    let late = call(&mut browser, "/verify", verify(&ticket, &sent)).await;
    assert_eq!(late.status, StatusCode::FORBIDDEN, "ten minutes at most by text message");
    let (one, other) =
        (ask(&mut browser, "alice", "phone").await, ask(&mut browser, "alice", "email").await);
    let sent = code(&gate, "code_reset_password", PHONE).await;
    let crossed = call(&mut browser, "/verify", verify(&other, &sent)).await;
    assert_eq!(crossed.status, StatusCode::FORBIDDEN, "{}", crossed.text());
    // A ticket that nobody wrote, and one before a channel was chosen.
    let begun = call(&mut browser, "", json!({"account": "alice"})).await.json();
    for ticket in ["nonsense", begun["ticket"].as_str().unwrap()] {
        let refused = call(&mut browser, "/verify", verify(ticket, &sent)).await;
        assert_eq!(refused.status, StatusCode::GONE, "{}", refused.text());
    }
    let open = call(&mut browser, "/verify", verify(&one, &sent)).await;
    written.holds("POST", "/recover/verify", &open);
    assert_eq!(open.json()["ways"], json!([]), "{}", open.text());
    let again = call(&mut browser, "/verify", verify(&one, &sent)).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "once");
    let open = open.json();
    let done = set(&mut browser, &open, NEW).await;
    written.holds("POST", "/recover/password", &done);
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.text());
    assert_eq!(set(&mut browser, &open, NEW).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn f03_the_captcha_is_always_asked_and_another_password_meanwhile_ends_it() {
    let upstream = Upstream::start().await;
    let setup = Setup { tables: "[notify]\noutbox_dir = \"outbox\"\n", ..Setup::default() };
    let strict = TestGate::start(&upstream, setup).await;
    let asked = call(&mut strict.browser(), "", json!({"account": "alice"})).await;
    Description::of(&strict).await.holds("POST", "/recover", &asked);
    assert_eq!(asked.json()["type"], "urn:doorward:problem:captcha-required");
    assert_eq!(asked.json()["captcha"], "/.doorward/captcha?purpose=recover");
    let names = call(&mut strict.browser(), "/name", json!({"address": EMAIL})).await;
    assert_eq!(names.json()["type"], "urn:doorward:problem:captcha-required");
    let challenge = strict.browser().get("/.doorward/captcha?purpose=recover").await;
    assert_eq!(challenge.status, StatusCode::OK);
    // Without scripts one waits.
    let mut person = strict.browser().navigating();
    let shown = person.get("/.doorward/recover").await;
    let (form, ticket) = (shown.hidden("code"), shown.hidden("captcha_wait"));
    let fields = [("code", &*form), ("account", "alice"), ("captcha_wait", &*ticket)];
    let soon = person.post_form("/.doorward/recover", &fields).await;
    assert_eq!(soon.status, StatusCode::FORBIDDEN);
    assert!(soon.text().contains("Please wait another"), "{}", soon.text());
    strict.clock.advance(Duration::from_secs(30));
    let through = person.post_form("/.doorward/recover", &fields).await;
    assert_eq!(through.status, StatusCode::OK, "{}", through.text());
    assert!(through.text().contains("name=\"channel\""));

    let gate = gate(OFF, reached(None)).await;
    let mut browser = gate.browser();
    let open = prove(&gate, &mut browser, "email", EMAIL).await.json();
    let request = Request::AccountSetPassword {
        name: "alice".into(),
        password: "seven umbrella tractor".into(),
    };
    gate.ask(request).await.unwrap();
    assert_eq!(set(&mut browser, &open, NEW).await.status, StatusCode::GONE);
    assert_eq!(gate.browser().try_sign_in("alice", NEW).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn where_no_codes_are_sent_nothing_is_offered() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: OFF, ..Setup::default() }).await;
    gate.add("alice", reached(Some(PHONE))).await;
    let page = gate.browser().navigating().get("/.doorward/recover").await.text();
    assert!(page.contains("Ask your administrator"), "{page}");
    let begun = call(&mut gate.browser(), "", json!({"account": "alice"})).await;
    assert_eq!(begun.json()["channels"], json!([]));
}
