//! Recovery codes, text messages, and administrators: when a factor is not at hand.

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{App, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

use super::{PAGE, bind, bound, prove, send};

/// A gate that writes its messages into a folder and protects alice's sign-in.
async fn start() -> (TestGate, Upstream, Browser, App) {
    let upstream = Upstream::start().await;
    let tables = "[notify]\noutbox_dir = \"outbox\"\n[captcha]\nmode = \"off\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let change = AccountChange {
        email: Some("alice@example.com".into()),
        phone: Some("+8613800000000".into()),
        ..AccountChange::default()
    };
    gate.add("alice", change).await;
    let mut browser = gate.signed_in().await.navigating();
    let app = bind_with_text(&gate, &mut browser).await;
    let change = AccountChange { login_protection: Some(true), ..AccountChange::default() };
    gate.ask(Request::AccountSet { name: "alice".into(), change: Box::new(change) }).await.unwrap();
    (gate, upstream, browser, app)
}

/// Whoever has a phone proves themselves by it before they bind anything else.
async fn bind_with_text(gate: &TestGate, browser: &mut Browser) -> App {
    let asked = browser.get(super::BIND).await;
    let shown = browser.get(asked.location()).await;
    let (form, challenge) = (shown.hidden("code"), shown.hidden("challenge"));
    let fields =
        [("code", &*form), ("challenge", &*challenge), ("way", "text-message"), ("send", "1")];
    let sent = browser.post_form("/.doorward/step-up", &fields).await;
    assert!(sent.text().contains("A code is on its way"), "{}", sent.text());
    gate.deliver().await;
    let code = texts(gate, "code_approve").pop().unwrap();
    let proven = prove(browser, &asked, ("text-message", &code)).await;
    assert_eq!(proven.location(), super::BIND, "{}", proven.text());
    bind(gate, browser).await
}

/// The codes of messages of a kind, oldest first.
pub(crate) fn texts(gate: &TestGate, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(gate.scratch.path().join("outbox")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        if message["kind"] == kind {
            let code = message["message"]["code"].as_str().unwrap_or_default().to_owned();
            found.push((message["time"].to_string(), code));
        }
    }
    found.sort();
    found.into_iter().map(|(_, code)| code).collect()
}

async fn give(browser: &mut Browser, way: &str, code: &str) -> doorward_tests::Answer {
    let body = json!({"way": way, "code": code});
    browser.post_json("/.doorward/api/v1/sign-in/second-factor", &body).await
}

async fn half_way(gate: &TestGate) -> Browser {
    let mut browser = gate.browser();
    let half = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
    browser
}

#[tokio::test]
async fn g18_recovery_codes_are_shown_once_and_each_is_good_once() {
    let (gate, _upstream, mut browser, app) = start().await;
    let asked = send(&mut browser, "recovery-codes", &[]).await;
    let page = match asked.status {
        StatusCode::OK => asked,
        _ => {
            prove(&mut browser, &asked, ("totp", &app.code())).await;
            send(&mut browser, "recovery-codes", &[]).await
        }
    };
    let text = page.text();
    let codes: Vec<_> = text
        .split("<code>")
        .skip(1)
        .map(|part| part.split('<').next().unwrap().to_owned())
        .collect();
    assert_eq!(codes.len(), 10, "{text}");
    assert!(browser.get(PAGE).await.text().contains("10 are left"));
    let mut other = half_way(&gate).await;
    assert_eq!(
        give(&mut other, "recovery-code", &codes[3].to_lowercase()).await.status,
        StatusCode::OK
    );
    let mut again = half_way(&gate).await;
    assert_eq!(give(&mut again, "recovery-code", &codes[3]).await.status, StatusCode::FORBIDDEN);
    gate.deliver().await;
    // By e-mail, by text message, and to operators.
    assert_eq!(texts(&gate, "alert_recovery_code_used").len(), 3);
    // Whoever has used one may remove the lost app without a code of it.
    let mut browser = other.navigating();
    let ids = bound(&gate).await;
    let app_id = ids[0].as_str();
    let gone = send(&mut browser, "unbind", &[("id", app_id)]).await;
    assert_eq!(
        gone.location(),
        "/.doorward/account/authenticators?notice=unbound",
        "{}",
        gone.text()
    );
    // New codes make the old ones worthless.
    let fresh = send(&mut browser, "recovery-codes", &[]).await;
    assert_eq!(fresh.status, StatusCode::OK, "{}", fresh.text());
    let mut again = half_way(&gate).await;
    assert_eq!(give(&mut again, "recovery-code", &codes[4]).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn g11_g12_a_text_message_is_good_once_for_its_sign_in_and_for_five_minutes() {
    let (gate, _upstream, _browser, _app) = start().await;
    gate.clock.advance(Duration::from_secs(120));
    let (mut one, mut two) = (half_way(&gate).await, half_way(&gate).await);
    let send = "/.doorward/api/v1/sign-in/second-factor/send";
    assert_eq!(one.post_json(send, &json!({})).await.status, StatusCode::NO_CONTENT);
    let soon = two.post_json(send, &json!({})).await;
    assert_eq!(soon.status, StatusCode::TOO_MANY_REQUESTS, "one a minute: {}", soon.text());
    gate.deliver().await;
    let code = texts(&gate, "code_sign_in").pop().unwrap();
    assert_eq!(code.len(), 6);
    assert_eq!(give(&mut two, "text-message", &code).await.status, StatusCode::FORBIDDEN);
    let whole = give(&mut one, "text-message", &code).await;
    assert_eq!(whole.json()["amr"], json!(["pwd", "sms", "mfa"]), "{}", whole.text());
    gate.clock.advance(Duration::from_secs(60));
    assert_eq!(two.post_json(send, &json!({})).await.status, StatusCode::NO_CONTENT);
    gate.deliver().await;
    let late = texts(&gate, "code_sign_in").pop().unwrap();
    gate.clock.advance(Duration::from_secs(301));
    assert_eq!(give(&mut two, "text-message", &late).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_administrator_takes_lost_factors_off_and_ends_all_sessions() {
    let (gate, _upstream, mut browser, _app) = start().await;
    gate.ask(Request::FactorReset { name: "alice".into() }).await.unwrap();
    assert!(bound(&gate).await.is_empty());
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
    let sealed = gate.ask(Request::VaultRotate).await.unwrap();
    assert!(matches!(sealed, doorward_plugins::administration::Reply::Sealed { sealed: 0 }));
}

#[tokio::test]
async fn g08_a_new_vault_key_changes_no_code_and_a_lost_vault_opens_nothing() {
    let (gate, _upstream, _browser, app) = start().await;
    gate.ask(Request::VaultRotate).await.unwrap();
    let gate = gate.restart().await;
    let mut browser = half_way(&gate).await;
    assert_eq!(give(&mut browser, "totp", &app.code()).await.status, StatusCode::OK);
    app.wait();
    std::fs::remove_file(gate.scratch.path().join("doorward.vault")).unwrap();
    let gate = gate.restart().await;
    let mut browser = half_way_or_not(&gate).await;
    let answer = give(&mut browser, "totp", &app.code()).await;
    assert_ne!(answer.status, StatusCode::OK, "{}", answer.text());
}

async fn half_way_or_not(gate: &TestGate) -> Browser {
    let mut browser = gate.browser();
    assert_ne!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::OK);
    browser
}
