//! What people do about their own second factors: bind, use, lose, remove; and what that asks for.

mod appeals;
pub(crate) mod recovery;
mod tokens;

use std::process::Command;
use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Reply, Request};
use doorward_tests::{Answer, App, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::{Method, StatusCode};
use serde_json::json;

const PAGE: &str = "/.doorward/account/authenticators";
const BIND: &str = "/.doorward/account/authenticators/bind";

/// A gate, and alice signed in just now.
async fn start() -> (TestGate, Upstream, Browser) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let browser = gate.signed_in().await.navigating();
    (gate, upstream, browser)
}

/// Gives a second factor where the gate asks for one on its way to `place`.
async fn prove(browser: &mut Browser, answer: &Answer, (way, code): (&str, &str)) -> Answer {
    assert!(answer.location().starts_with("/.doorward/step-up?challenge="), "{}", answer.text());
    let shown = browser.get(answer.location()).await;
    assert!(shown.text().contains("Confirm that it is you"), "{}", shown.text());
    let (form, challenge) = (shown.hidden("code"), shown.hidden("challenge"));
    let fields = [("code", &*form), ("challenge", &*challenge), ("way", way), ("answer", code)];
    browser.post_form("/.doorward/step-up", &fields).await
}

/// Sends a form of the page of factors.
async fn send(browser: &mut Browser, action: &str, fields: &[(&str, &str)]) -> Answer {
    let code = browser.get(PAGE).await.hidden("code");
    let mut all = vec![("code", &*code)];
    all.extend(fields);
    browser.post_form(&format!("{PAGE}/{action}"), &all).await
}

/// Binds an app by the page.
async fn bind(gate: &TestGate, browser: &mut Browser) -> App {
    let page = browser.get(BIND).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let text = page.text();
    let key = text.split("<code class=\"key\">").nth(1).unwrap().split('<').next().unwrap();
    let app = App::new(key, &gate.clock);
    let (first, code) = (app.code(), page.hidden("code"));
    app.wait();
    let second = app.code();
    let fields = [("code", &*code), ("name", "My phone"), ("first", &*first), ("second", &*second)];
    let bound = browser.post_form(BIND, &fields).await;
    assert_eq!(bound.location(), "/.doorward/account/authenticators?notice=bound");
    app.wait();
    app
}

async fn bound(gate: &TestGate) -> Vec<String> {
    match gate.ask(Request::FactorList { name: "alice".into() }).await.unwrap() {
        Reply::Factors { factors } => factors.into_iter().map(|factor| factor.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_app_is_bound_named_used_and_removed_by_a_code_of_its_own() {
    let (gate, _upstream, mut browser) = start().await;
    assert!(browser.get(PAGE).await.text().contains("Nothing is bound yet"));
    let app = bind(&gate, &mut browser).await;
    let page = browser.get(PAGE).await.text();
    assert!(page.contains("My phone") && page.contains("not used yet"), "{page}");
    let ids = bound(&gate).await;
    // From now on it takes a factor to change factors.
    let id = ids[0].as_str();
    let asked = send(&mut browser, "unbind", &[("id", id), ("answer", "000000")]).await;
    let proven = prove(&mut browser, &asked, ("totp", &app.code())).await;
    assert_eq!(proven.location(), PAGE, "{}", proven.text());
    app.wait();
    let wrong = send(&mut browser, "unbind", &[("id", id), ("answer", "000000")]).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    assert_eq!(bound(&gate).await, ids, "still bound");
    let done = send(&mut browser, "unbind", &[("id", id), ("answer", &app.code())]).await;
    assert_eq!(done.location(), "/.doorward/account/authenticators?notice=unbound");
    assert!(bound(&gate).await.is_empty());
}

#[tokio::test]
async fn i11_an_hour_old_session_changes_nothing_that_guards_the_account() {
    let (gate, _upstream, mut browser) = start().await;
    gate.clock.advance(Duration::from_secs(301));
    let code = browser.get(PAGE).await.hidden("code");
    for action in ["recovery-codes", "protection", "unbind"] {
        let answer = browser.post_form(&format!("{PAGE}/{action}"), &[("code", &*code)]).await;
        assert!(
            answer.location().starts_with("/.doorward/step-up?"),
            "{action}: {}",
            answer.text()
        );
    }
    let asked = browser.get(BIND).await;
    // Without a factor the password is the proof; a wrong one is none.
    let wrong = prove(&mut browser, &asked, ("password", "wrong")).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let asked = browser.get(BIND).await;
    let right = prove(&mut browser, &asked, ("password", PASSWORD)).await;
    assert_eq!(right.location(), BIND);
    bind(&gate, &mut browser).await;
}

#[tokio::test]
async fn k01_forms_of_factors_need_their_code_and_k02_get_changes_nothing() {
    let (gate, _upstream, mut browser) = start().await;
    bind(&gate, &mut browser).await;
    let mut other = gate.signed_in().await.navigating();
    let theirs = other.get(PAGE).await.hidden("code");
    for action in ["recovery-codes", "protection", "unbind"] {
        let place = format!("{PAGE}/{action}");
        for code in ["", "1.x", &*theirs] {
            let answer = browser.post_form(&place, &[("code", code), ("login", "on")]).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}");
        }
        assert_eq!(browser.get(&place).await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn protections_are_the_accounts_and_hold_for_its_sub_users() {
    let (gate, _upstream, mut browser) = start().await;
    gate.add("alice/dev", AccountChange::default()).await;
    bind(&gate, &mut browser).await;
    let done = send(&mut browser, "protection", &[("login", "on")]).await;
    assert!(done.location().starts_with("/.doorward/step-up?"), "a factor is bound by now");
    let mut dev = gate.browser();
    dev.sign_in("alice/dev").await;
    let mut dev = dev.navigating();
    let page = dev.get(PAGE).await;
    assert!(!page.text().contains("name=\"login\""), "a sub-user has no switch");
    bind(&gate, &mut dev).await;
    let tried = send(&mut dev, "protection", &[("login", "on")]).await;
    assert_eq!(tried.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn g06_an_app_that_is_not_ours_makes_codes_that_are_right() {
    let (gate, _upstream, mut browser) = start().await;
    let page = browser.get(BIND).await;
    let text = page.text();
    let key = text.split("<code class=\"key\">").nth(1).unwrap().split('<').next().unwrap();
    let oathtool = |offset: u64| {
        let at = format!("@{}", gate.clock.wall().secs() + offset);
        let arguments = ["--totp", "-b", key, "--now", &at];
        let made = Command::new("oathtool").args(arguments).output().expect("Debian's oathtool");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let (first, second) = (oathtool(0), oathtool(30));
    let code = page.hidden("code");
    let fields = [("code", &*code), ("first", &*first), ("second", &*second)];
    let bound = browser.post_form(BIND, &fields).await;
    assert_eq!(bound.location(), "/.doorward/account/authenticators?notice=bound");
    assert!(!browser.get(PAGE).await.text().contains(key), "it is shown until it is bound, only");
}

#[tokio::test]
async fn a_program_binds_lists_and_removes_by_the_api() {
    let (gate, _upstream, _) = start().await;
    let mut program = gate.signed_in().await;
    let begun = program.post_json("/.doorward/api/v1/authenticators/apps", &json!({})).await.json();
    let app = App::new(begun["key"].as_str().unwrap(), &gate.clock);
    assert!(
        begun["otpauth"].as_str().unwrap().starts_with("otpauth://totp/console.example.com:alice?")
    );
    let kind = [("content-type", "application/json")];
    let codes = json!({"name": "robot", "codes": [app.code(), app.code_after(1)]});
    let apps = "/.doorward/api/v1/authenticators/apps";
    let bound = program.send(Method::PUT, apps, &kind, codes.to_string().into()).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.text());
    app.wait();
    app.wait();
    let listed = program.get("/.doorward/api/v1/authenticators").await.json();
    assert_eq!(
        (&listed["ways"], &listed["authenticators"][0]["name"]),
        (&json!(["totp"]), &json!("robot"))
    );
    assert!(listed.to_string().find(begun["key"].as_str().unwrap()).is_none());
    let one = format!("/.doorward/api/v1/authenticators/{}", bound.json()["id"].as_str().unwrap());
    let body = json!({"code": app.code()}).to_string();
    let asked = program.send(Method::DELETE, &one, &kind, body.clone().into()).await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    assert_eq!(asked.json()["type"], "urn:doorward:problem:freshness-required");
    let api = asked.json()["step_up_api"].as_str().unwrap().to_owned();
    let proven = program.post_json(&api, &json!({"way": "totp", "code": app.code()})).await;
    assert_eq!(proven.status, StatusCode::OK, "{}", proven.text());
    let used = program.send(Method::DELETE, &one, &kind, body.into()).await;
    assert_eq!(used.status, StatusCode::FORBIDDEN, "that code is used up");
    app.wait();
    let body = json!({"code": app.code()}).to_string();
    let done = program.send(Method::DELETE, &one, &kind, body.into()).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.text());
}
