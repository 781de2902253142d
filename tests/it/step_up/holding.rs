//! Requests that are kept: nothing is lost, nothing goes twice, nothing goes to somebody else.

use std::time::Duration;

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Answer, App, Browser, PASSWORD, PUBLIC_HOST, Setup, TestGate, Upstream};
use http::{Method, StatusCode};
use serde_json::json;

use super::{ROUTES, approve, start};

/// Sends the form of the page that a browser was sent to.
pub(crate) async fn submit(browser: &mut Browser, page: &str, app: &App) -> Answer {
    let shown = browser.get(page).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text());
    let (code, challenge) = (shown.hidden("code"), shown.hidden("challenge"));
    let answer = app.code();
    let fields =
        [("code", &*code), ("challenge", &*challenge), ("way", "totp"), ("answer", &*answer)];
    browser.post_form("/.doorward/step-up", &fields).await
}

/// Follows a 307 as browsers do: the same body once more.
pub(crate) async fn follow(browser: &mut Browser, answer: &Answer) -> Answer {
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{}", answer.text());
    let place = answer.location().to_owned();
    browser.post_form(&place, &[("answer", "the code that was typed")]).await
}

#[tokio::test]
async fn i10_a_form_goes_on_once_after_the_approval_with_all_that_was_typed() {
    let (_gate, upstream, app, browser) = start().await;
    let mut browser = browser.navigating();
    let sent =
        browser.post_form("/pay?from=a", &[("to", "bob"), ("amount", "5"), ("x", "ä&=")]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    let page = sent.location().to_owned();
    let text = browser.get(&page).await.text();
    for part in [
        "Pay",
        "POST /pay",
        "<dt>to</dt><dd>bob</dd>",
        "<dt>amount</dt><dd>5</dd>",
        "exactly this request",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(upstream.count(), 0);
    let approved = submit(&mut browser, &page, &app).await;
    let done = follow(&mut browser, &approved).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    let got = upstream.last();
    assert_eq!(got.line(), "POST /pay?from=a");
    assert_eq!(got.body, b"to=bob&amount=5&x=%C3%A4%26%3D");
    assert_eq!(got.field("content-type"), Some("application/x-www-form-urlencoded"));
    // Once: neither the back button nor another post sends it again.
    let again = follow(&mut browser, &approved).await;
    assert_eq!(again.status, StatusCode::GONE);
    assert!(again.text().contains("gone on already"), "{}", again.text());
    assert_eq!(upstream.count(), 1);
    assert!(upstream.requests().iter().all(|request| !request.line().contains("doorward")));
}

#[tokio::test]
async fn i10_a_console_that_is_down_costs_an_approval_and_nothing_that_was_typed() {
    let folder = doorward_tests::Scratch::new();
    let socket = folder.path().join("console.sock");
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"unix:{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{ROUTES}",
        socket.display()
    ))
    .await;
    let mut browser = gate.signed_in().await.navigating();
    let app = gate.app_of("alice").await;
    app.wait();
    let sent = browser.post_form("/pay", &[("to", "bob")]).await;
    let approved = submit(&mut browser, sent.location(), &app).await;
    let failed = follow(&mut browser, &approved).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY, "{}", failed.text());

    // It is up again, and the person presses reload.
    let console = Upstream::unix(&socket).await;
    gate.clock.advance(Duration::from_secs(60));
    let asked = follow(&mut browser, &approved).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text());
    assert_eq!(console.count(), 0, "an approval is good once");
    let approved = submit(&mut browser, asked.location(), &app).await;
    let done = follow(&mut browser, &approved).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    assert_eq!((console.count(), console.last().body.as_slice()), (1, &b"to=bob"[..]));
    assert_eq!(follow(&mut browser, &approved).await.status, StatusCode::GONE);
    assert_eq!(console.count(), 1);
}

#[tokio::test]
async fn i10_what_a_console_may_have_seen_goes_on_no_second_time() {
    // It reads the request, and goes away.
    let console = Upstream::replying(|_| None).await;
    let gate = TestGate::start(&console, Setup { tables: ROUTES, ..Setup::default() }).await;
    let mut browser = gate.signed_in().await.navigating();
    let app = gate.app_of("alice").await;
    app.wait();
    let sent = browser.post_form("/pay", &[("to", "bob")]).await;
    let approved = submit(&mut browser, sent.location(), &app).await;
    let failed = follow(&mut browser, &approved).await;
    assert_eq!((failed.status, console.count()), (StatusCode::BAD_GATEWAY, 1));
    assert_eq!(follow(&mut browser, &approved).await.status, StatusCode::GONE);
    assert_eq!(console.count(), 1);
}

#[tokio::test]
async fn i10_over_http2_where_the_host_stands_in_the_target_it_goes_on_as_well() {
    let upstream = Upstream::start().await;
    let setup = Setup { tls: true, tables: ROUTES, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    let mut browser = gate.signed_in().await.over_http2().navigating();
    let app = gate.app_of("alice").await;
    app.wait();
    let origin = format!("https://{}", browser.host);
    browser.fields.push(("origin".into(), origin));
    browser.fields.push(("sec-fetch-site".into(), "same-origin".into()));
    let sent = browser.post_form("/keys/new", &[("name", "x")]).await;
    let page = sent.location().to_owned();
    let approved = submit(&mut browser, &page, &app).await;
    let done = follow(&mut browser, &approved).await;
    assert_eq!((done.status, upstream.count()), (StatusCode::OK, 1), "{}", done.text());
}

#[tokio::test]
async fn i10_of_many_that_go_on_at_once_one_is_sent() {
    let (_gate, upstream, app, browser) = start().await;
    let mut browser = browser.navigating();
    let sent = browser.post_form("/keys/new", &[("name", "x")]).await;
    let page = sent.location().to_owned();
    let approved = submit(&mut browser, &page, &app).await;
    let place = approved.location().to_owned();
    let mut posts = Vec::new();
    for _ in 0..16 {
        let (mut browser, place) = (browser.clone(), place.clone());
        posts.push(tokio::spawn(async move { browser.post_form(&place, &[]).await.status }));
    }
    let mut done = 0;
    for post in posts {
        done += usize::from(post.await.unwrap() == StatusCode::OK);
    }
    assert_eq!((done, upstream.count()), (1, 1));
}

#[tokio::test]
async fn a_multipart_form_and_json_are_kept_as_well() {
    let (_gate, upstream, app, browser) = start().await;
    let mut browser = browser.navigating();
    let body: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n\0\xff\r\n--b--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    let sent = browser.send(Method::POST, "/keys/upload", &kind, body.into()).await;
    let page = sent.location().to_owned();
    let approved = submit(&mut browser, &page, &app).await;
    follow(&mut browser, &approved).await;
    assert_eq!(upstream.last().body, body);
    assert_eq!(upstream.last().field("content-type"), Some(kind[0].1));
    // A program: PUT with JSON goes on by a post to where it was told.
    let (gate, upstream, app, mut program) = start().await;
    let json = json!({"to": "bob"}).to_string();
    let kind = [("content-type", "application/json")];
    let refused = program.send(Method::PUT, "/pay", &kind, json.clone().into()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let approved = approve(&mut program, &refused, &app.code()).await.json();
    assert_eq!(approved["continue_url"], refused.json()["continue_url"]);
    let done = program.post_json(approved["continue_url"].as_str().unwrap(), &json!({})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    assert_eq!((upstream.last().line(), upstream.count()), ("PUT /pay", 1));
    assert_eq!(upstream.last().body, json.as_bytes());
    drop(gate);
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_said_before_the_approval() {
    let (_gate, upstream, app, browser) = start().await;
    let mut browser = browser.navigating();
    let large = "x".repeat(65 * 1024);
    let sent = browser.send(Method::POST, "/keys/new", &[], large.clone().into()).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    let page = sent.location().to_owned();
    assert!(browser.get(&page).await.text().contains("too large to be kept"));
    let approved = submit(&mut browser, &page, &app).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER, "back, and not on");
    let again = browser.send(Method::POST, "/keys/new", &[], large.clone().into()).await;
    assert_eq!((again.status, upstream.count()), (StatusCode::OK, 1));
    // Where each request is approved for itself it cannot be approved at all.
    let sent = browser.send(Method::POST, "/pay", &[], large.into()).await;
    assert_eq!(sent.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_form_outlives_the_session_that_it_was_typed_in() {
    let (gate, upstream, _app, browser) = start().await;
    let mut browser = browser.navigating();
    gate.clock.advance(Duration::from_secs(3600));
    let sent = browser.post_form("/notes?a=b", &[("text", "an hour's work")]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    let sign_in = sent.location().to_owned();
    let place = "/.doorward/continue?hold=";
    assert!(sign_in.starts_with("/.doorward/sign-in?return_to=%2F.doorward%2Fcontinue%3Fhold%3D"));
    let shown = browser.get(&sign_in).await;
    let (code, back) = (shown.hidden("code"), shown.hidden("return_to"));
    assert!(back.starts_with(place), "{back}");
    let fields =
        [("code", &*code), ("account", "alice"), ("password", PASSWORD), ("return_to", &*back)];
    let entered = browser.post_form("/.doorward/sign-in", &fields).await;
    assert_eq!(entered.location(), back);
    let page = browser.get(&back).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(page.text().contains("POST /notes"), "{}", page.text());
    let form = page.text();
    let action = form.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
    let action = action.replace("&#38;", "&").replace("&amp;", "&");
    let done = browser.post_form(&action, &[]).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    assert_eq!(upstream.last().line(), "POST /notes?a=b");
    assert_eq!(upstream.last().body, b"text=an%20hour%27s%20work");
    assert_eq!(browser.post_form(&action, &[]).await.status, StatusCode::GONE);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn nobody_else_goes_on_with_it() {
    let (gate, upstream, _app, browser) = start().await;
    gate.add("mallory", AccountChange::default()).await;
    let mut browser = browser.navigating();
    gate.clock.advance(Duration::from_secs(3600));
    let sent = browser.post_form("/notes", &[("text", "alice's")]).await;
    let id = sent.location().rsplit("%3D").next().unwrap().to_owned();
    // At the same computer somebody else signs in.
    browser.fields.clear();
    browser.sign_in("mallory").await;
    let mut browser = browser.navigating();
    let page = browser.get(&format!("/.doorward/continue?hold={id}")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(!page.text().contains("/notes"));
    let post = browser.post_form(&format!("/notes?doorward-continue={id}"), &[]).await;
    assert_eq!(post.status, StatusCode::FORBIDDEN);
    // Elsewhere alice herself has not the cookie with its key.
    let mut elsewhere = gate.signed_in().await.navigating();
    let post = elsewhere.post_form(&format!("/notes?doorward-continue={id}"), &[("a", "b")]).await;
    assert_eq!(post.status, StatusCode::GONE);
    assert_eq!(upstream.count(), 0);
    // Nor does another site's page make it go on.
    browser.jar.remove("__Host-doorward");
    browser.fields.clear();
    browser.sign_in("alice").await;
    let cross = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let place = format!("/notes?doorward-continue={id}");
    let post = browser.send(Method::POST, &place, &cross, bytes::Bytes::new()).await;
    assert_eq!((post.status, upstream.count()), (StatusCode::FORBIDDEN, 0));
    let post = browser.post_form(&place, &[]).await;
    assert_eq!((post.status, upstream.count()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn g08_what_is_kept_cannot_be_read_in_the_store() {
    let (gate, _upstream, _app, browser) = start().await;
    let mut browser = browser.navigating();
    browser.post_form("/pay", &[("to", "sesame-open-42")]).await;
    gate.signed_in().await;
    for file in ["doorward.db", "doorward.db-wal"] {
        let Ok(bytes) = std::fs::read(gate.scratch.path().join(file)) else { continue };
        let found = bytes.windows(11).any(|window| window == b"sesame-open");
        assert!(!found, "{file} shows it");
    }
}
