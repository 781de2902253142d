//! The second step of a sign-in: what needs it, what completes it, and that nothing goes around it.

mod guesses;

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Answer, App, Browser, PASSWORD, PUBLIC_HOST, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

use crate::api::Description;

const API: &str = "/.doorward/api/v1/sign-in/second-factor";
const VERIFY: &str = "/.doorward/sign-in/verify";
const BIND: &str = "/.doorward/sign-in/bind";

/// A gate where everybody needs a second factor, in front of a console that records.
async fn gate() -> (TestGate, Upstream) {
    let upstream = Upstream::start().await;
    let setup = Setup {
        tables: "[second_factor]\nrequire = \"all\"\n[captcha]\nmode = \"off\"\n",
        ..Setup::default()
    };
    let gate = TestGate::start(&upstream, setup).await;
    gate.add_alice().await;
    (gate, upstream)
}

/// A gate, and the app that alice has bound; its next code is fresh.
async fn gate_and_app() -> (TestGate, App, Upstream) {
    let (gate, upstream) = gate().await;
    let app = gate.app_of("alice").await;
    app.wait();
    (gate, app, upstream)
}

async fn give(browser: &mut Browser, way: &str, code: &str) -> Answer {
    browser.post_json(API, &json!({"way": way, "code": code})).await
}

/// Sends the form of the sign-in page.
async fn submit_password(browser: &mut Browser, place: &str) -> Answer {
    let shown = browser.get(&format!("/.doorward/sign-in?return_to={place}")).await;
    let code = shown.hidden("code");
    let fields =
        [("code", &*code), ("account", "alice"), ("password", PASSWORD), ("return_to", place)];
    browser.post_form("/.doorward/sign-in", &fields).await
}

#[tokio::test]
async fn a_password_alone_opens_nothing_and_a_code_completes_it() {
    let (gate, app, _console) = gate_and_app().await;
    let mut browser = gate.browser();
    let half = browser.try_sign_in("alice", PASSWORD).await;
    Description::of(&gate).await.holds("POST", "/sign-in", &half);
    assert_eq!(half.status, StatusCode::UNAUTHORIZED, "{}", half.text());
    assert_eq!(half.json()["type"], "urn:doorward:problem:second-factor-required");
    assert_eq!(half.json()["ways"], "totp");
    assert!(browser.token().is_empty(), "no session yet");
    assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
    let whole = give(&mut browser, "totp", &app.code()).await;
    Description::of(&gate).await.holds("POST", "/sign-in/second-factor", &whole);
    assert_eq!(whole.status, StatusCode::OK, "{}", whole.text());
    let whole = whole.json();
    assert_eq!((&whole["acr"], &whole["amr"]), (&json!("aal2"), &json!(["pwd", "otp", "mfa"])));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert!(!browser.jar.contains_key("__Host-doorward-pending"));
}

#[tokio::test]
async fn k13_a_person_signs_in_by_pages_without_scripts() {
    let (gate, app, _console) = gate_and_app().await;
    let mut browser = gate.browser().navigating();
    let half = submit_password(&mut browser, "/a?b=c").await;
    let place = format!("{VERIFY}?return_to=%2Fa%3Fb%3Dc");
    assert_eq!((half.status, half.location()), (StatusCode::SEE_OTHER, &*place));
    let page = browser.get(&place).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(page.text().contains("<strong>alice</strong>"), "{}", page.text());
    let (code, back) = (page.hidden("code"), page.hidden("return_to"));
    let form = |answer: String| {
        let (code, back) = (code.clone(), back.clone());
        [("code", code), ("way", "totp".into()), ("answer", answer), ("return_to", back)]
    };
    let send = async |browser: &mut Browser, answer: String| {
        let fields = form(answer);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.post_form(VERIFY, &fields).await
    };
    let wrong = send(&mut browser, "000000".into()).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    assert!(wrong.text().contains("That is not right"), "{}", wrong.text());
    let right = send(&mut browser, app.code()).await;
    assert_eq!((right.status, right.location()), (StatusCode::SEE_OTHER, "/a?b=c"));
    assert_eq!(browser.get("/a?b=c").await.status, StatusCode::OK);
    // The page is worth nothing without a sign-in that waits.
    let page = browser.get(VERIFY).await;
    assert_eq!(page.location(), "/.doorward/sign-in?notice=begin-again");
}

#[tokio::test]
async fn who_has_bound_nothing_binds_an_app_first_and_is_in() {
    let (gate, upstream) = gate().await;
    let mut browser = gate.browser().navigating();
    let half = submit_password(&mut browser, "/").await;
    assert_eq!(half.location(), BIND);
    let page = browser.get(BIND).await.text();
    let key = page.split("<code class=\"key\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(page.contains("<svg"), "{page}");
    let app = App::new(key, &gate.clock);
    let send = async |browser: &mut Browser, first: &str, second: &str| {
        let code = browser.get(BIND).await.hidden("code");
        let fields = [("code", &*code), ("name", "My phone"), ("first", first), ("second", second)];
        browser.post_form(BIND, &fields).await
    };
    let (now, next) = (app.code(), app.code_after(1));
    let wrong = send(&mut browser, &now, &now).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN, "{}", wrong.text());
    assert!(wrong.text().contains("two codes in a row") && wrong.text().contains(key));
    app.wait();
    let right = send(&mut browser, &now, &next).await;
    assert_eq!((right.status, right.location()), (StatusCode::SEE_OTHER, "/"), "{}", right.text());
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert!(upstream.last().field("x-doorward-assertion").is_some());
    // Both codes are used up, and the next sign-in asks for one.
    let mut other = gate.browser();
    assert_eq!(other.try_sign_in("alice", PASSWORD).await.json()["ways"], "totp");
    assert_eq!(give(&mut other, "totp", &next).await.status, StatusCode::FORBIDDEN);
    app.wait();
    assert_eq!(give(&mut other, "totp", &app.code()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn g09_binding_is_no_way_around_a_factor_and_half_a_binding_is_none() {
    let (gate, _) = gate().await;
    let (mut one, mut two) = (gate.browser().navigating(), gate.browser().navigating());
    submit_password(&mut one, "/").await;
    submit_password(&mut two, "/").await;
    let key = |page: String| {
        page.split("<code class=\"key\">").nth(1).unwrap().split('<').next().unwrap().to_owned()
    };
    let shown = one.get(BIND).await;
    let theirs = App::new(&key(shown.text()), &gate.clock);
    // A seed that was shown and not confirmed completes nothing.
    let code = theirs.code();
    assert_eq!(give(&mut one, "totp", &code).await.status, StatusCode::FORBIDDEN);
    // Meanwhile the account binds an app elsewhere: the page here binds no other instead.
    let app = gate.app_of("alice").await;
    app.wait();
    let (first, second) = (theirs.code(), theirs.code_after(1));
    let form = [("code", &*shown.hidden("code")), ("first", &first), ("second", &second)];
    assert_eq!(one.post_form(BIND, &form).await.status, StatusCode::FORBIDDEN);
    assert_eq!(two.get(BIND).await.status, StatusCode::FORBIDDEN);
    assert_eq!(give(&mut two, "totp", &app.code()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn g12_a_sign_in_that_waits_belongs_to_one_browser_and_dies_with_what_it_stands_on() {
    let (gate, app, _console) = gate_and_app().await;
    let (mut one, mut two) = (gate.browser(), gate.browser());
    one.try_sign_in("alice", PASSWORD).await;
    let code = app.code();
    assert_eq!(give(&mut two, "totp", &code).await.status, StatusCode::GONE);
    // A pending token is no session, and a session token no pending one.
    let pending = one.jar["__Host-doorward-pending"].clone();
    two.jar.insert("__Host-doorward".into(), pending.clone());
    assert_eq!(two.get("/").await.status, StatusCode::UNAUTHORIZED);
    // An administrator sets another password meanwhile.
    let request = doorward_plugins::administration::Request::AccountSetPassword {
        name: "alice".into(),
        password: "violet tractor umbrella seven".into(),
    };
    gate.ask(request).await.unwrap();
    assert_eq!(give(&mut one, "totp", &code).await.status, StatusCode::GONE);
    // And one whose time is over.
    assert_eq!(
        one.try_sign_in("alice", "violet tractor umbrella seven").await.status,
        StatusCode::UNAUTHORIZED
    );
    gate.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(give(&mut one, "totp", &app.code()).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn only_who_is_required_to_gives_a_second_factor() {
    let upstream = Upstream::start().await;
    let tables = "[second_factor]\nrequire = [\"staff\"]\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    gate.add_alice().await;
    gate.add("bob", AccountChange::default()).await;
    assert_eq!(gate.browser().try_sign_in("bob", PASSWORD).await.status, StatusCode::OK);
    assert_eq!(
        gate.browser().try_sign_in("alice", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
    let change = AccountChange { login_protection: Some(true), ..AccountChange::default() };
    let request = doorward_plugins::administration::Request::AccountSet {
        name: "bob".into(),
        change: Box::new(change),
    };
    gate.ask(request).await.unwrap();
    assert_eq!(gate.browser().try_sign_in("bob", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(gate.browser().host, PUBLIC_HOST);
}
