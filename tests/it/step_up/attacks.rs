//! What an attacker tried, and honest people met.

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{App, Browser, MANY_SIGN_INS, PASSWORD, Setup, TestGate, Upstream};
use http::{Method, StatusCode};
use serde_json::json;

use super::{ROUTES, approve, start};

#[tokio::test]
async fn g07_another_browser_and_another_password_give_no_more_guesses_at_codes() {
    let upstream = Upstream::start().await;
    let tables = format!("[captcha]\nmode = \"off\"\n{MANY_SIGN_INS}{ROUTES}");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    gate.add_alice().await;
    let app = gate.app_of("alice").await;
    app.wait();
    // Whoever knows the password makes browsers that have signed in, as many as they like.
    for round in 0..4 {
        let mut browser = gate.browser();
        browser.sign_in("alice").await;
        let refused = browser.get("/keys/1").await;
        for _ in 0..5 {
            let wrong = approve(&mut browser, &refused, "000000").await;
            assert_eq!(wrong.status, StatusCode::FORBIDDEN, "round {round}");
        }
        let body = json!({"current_password": PASSWORD, "new_password": PASSWORD});
        let changed = browser.post_json("/.doorward/api/v1/password", &body).await;
        assert_eq!(changed.json()["type"], "urn:doorward:problem:freshness-required");
    }
    let mut browser = gate.browser();
    browser.sign_in("alice").await;
    let refused = browser.get("/keys/1").await;
    let right = approve(&mut browser, &refused, &app.code()).await;
    assert_eq!(right.status, StatusCode::FORBIDDEN, "ten wrong ones have locked it");
    // A new password by an administrator is no way to have more of them either.
    let request =
        Request::AccountSetPassword { name: "alice".into(), password: PASSWORD.to_uppercase() };
    gate.ask(request).await.unwrap();
    let mut browser = gate.browser();
    assert_eq!(browser.try_sign_in("alice", &PASSWORD.to_uppercase()).await.status, StatusCode::OK);
    let refused = browser.get("/keys/1").await;
    app.wait();
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn i05_how_a_body_is_to_be_read_is_part_of_what_is_approved() {
    let (_gate, upstream, app, mut browser) = start().await;
    let body = json!({"to": "bob", "amount": 1}).to_string();
    let json = ("content-type", "application/json");
    let send = async |browser: &mut Browser, fields: &[(&str, &str)]| {
        browser.send(Method::POST, "/pay", fields, body.clone().into()).await
    };
    let refused = send(&mut browser, &[json]).await;
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::OK);
    for fields in [
        &[json, ("content-encoding", "x-evil")][..],
        &[json, json][..],
        &[("content-type", "application/json; charset=utf-7")][..],
        &[][..],
    ] {
        let answer = send(&mut browser, fields).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{fields:?}");
    }
    let other = send(&mut browser, &[("content-type", "application/json;charset=utf-8")]).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
    assert_eq!(send(&mut browser, &[json]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn i09_nobody_approves_what_they_are_not_shown() {
    let (_gate, upstream, app, mut browser) = start().await;
    for body in [
        r#"{"to":"Eve","amount":1000000,"to":"Bob","amount":1}"#,
        r#"{"to":"Bob","To":"Eve"}"#,
        "\u{feff}{}",
        "[]",
    ] {
        let kind = [("content-type", "application/json")];
        let answer = browser.send(Method::POST, "/pay", &kind, body.into()).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("to, amount"));
    }
    // What stands in the query is shown, and what is missing is told.
    let mut browser = browser.navigating();
    let sent = browser.post_form("/pay?to=Eve", &[("amount", "5")]).await;
    let page = browser.get(sent.location()).await.text();
    assert!(page.contains("POST /pay?to=Eve") && page.contains("not in this request"), "{page}");
    assert_eq!(upstream.count(), 0);
    drop(app);
}

#[tokio::test]
async fn an_approval_of_one_request_makes_the_session_no_fresher_for_others() {
    let (_gate, upstream, app, mut browser) = start().await;
    let body = json!({"to": "bob"});
    let refused = browser.post_json("/pay", &body).await;
    assert_eq!(approve(&mut browser, &refused, &app.code()).await.status, StatusCode::OK);
    assert_eq!(browser.get("/keys/1").await.status, StatusCode::UNAUTHORIZED);
    let apps = "/.doorward/api/v1/authenticators/apps";
    let bind = browser.post_json(apps, &json!({})).await;
    assert_eq!(bind.json()["type"], "urn:doorward:problem:freshness-required");
    assert_eq!(browser.post_json("/pay", &body).await.status, StatusCode::OK);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_console_that_polls_pushes_out_no_page_that_somebody_approves_on() {
    let (_gate, _upstream, app, browser) = start().await;
    let mut page = browser.clone().navigating();
    let shown = page.get("/keys/1").await.location().to_owned();
    let mut script = browser;
    for _ in 0..40 {
        assert_eq!(script.get("/keys/poll").await.status, StatusCode::UNAUTHORIZED);
    }
    let form = page.get(&shown).await;
    assert_eq!(form.status, StatusCode::OK, "{}", form.text());
    let (code, challenge, answer) = (form.hidden("code"), form.hidden("challenge"), app.code());
    let fields =
        [("code", &*code), ("challenge", &*challenge), ("way", "totp"), ("answer", &*answer)];
    assert_eq!(page.post_form("/.doorward/step-up", &fields).await.location(), "/keys/1");
}

#[tokio::test]
async fn who_has_nothing_bound_binds_an_app_and_the_form_goes_on() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    let mut browser = gate.signed_in().await.navigating();
    let sent = browser.post_form("/pay", &[("to", "bob")]).await;
    let page = browser.get(sent.location()).await.text();
    let link = page.split("href=\"").find(|part| part.contains("/bind?challenge=")).unwrap();
    let link = link.split('"').next().unwrap().to_owned();
    let shown = browser.get(&link).await;
    let text = shown.text();
    let key = text.split("<code class=\"key\">").nth(1).unwrap().split('<').next().unwrap();
    let app = App::new(key, &gate.clock);
    let (code, challenge) = (shown.hidden("code"), shown.hidden("challenge"));
    let (first, second) = (app.code(), app.code_after(1));
    let fields =
        [("code", &*code), ("challenge", &*challenge), ("first", &*first), ("second", &*second)];
    let bound = browser.post_form("/.doorward/account/authenticators/bind", &fields).await;
    assert_eq!(bound.status, StatusCode::TEMPORARY_REDIRECT, "{}", bound.text());
    let done = browser.post_form(bound.location(), &[("first", "x")]).await;
    assert_eq!((done.status, upstream.count()), (StatusCode::OK, 1), "{}", done.text());
    assert_eq!(upstream.last().body, b"to=bob");
}

#[tokio::test]
async fn two_unbindings_at_once_leave_the_last_factor() {
    let upstream = Upstream::start().await;
    let tables = format!("[second_factor]\nrequire = \"all\"\n{ROUTES}");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    gate.add("alice", AccountChange::default()).await;
    let (one, two) = (gate.app_of("alice").await, gate.app_of("alice").await);
    one.wait();
    let mut browser = gate.browser();
    browser.try_sign_in("alice", PASSWORD).await;
    let body = json!({"way": "totp", "code": one.code()});
    browser.post_json("/.doorward/api/v1/sign-in/second-factor", &body).await;
    one.wait();
    let listed = browser.get("/.doorward/api/v1/authenticators").await.json();
    let mut removals = Vec::new();
    for (index, app) in [&one, &two].into_iter().enumerate() {
        let id = listed["authenticators"][index]["id"].as_str().unwrap().to_owned();
        let (mut browser, code) = (browser.clone(), app.code());
        removals.push(tokio::spawn(async move {
            let kind = [("content-type", "application/json")];
            let target = format!("/.doorward/api/v1/authenticators/{id}");
            let body = json!({"code": code}).to_string();
            browser.send(Method::DELETE, &target, &kind, body.into()).await.status
        }));
    }
    let mut removed = 0;
    for removal in removals {
        removed += usize::from(removal.await.unwrap() == StatusCode::NO_CONTENT);
    }
    assert!(removed <= 1, "the last factor was removed");
}
