//! What is written about requests and about signing in: enough to follow an attack, and nothing
//! that would help with one.

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Browser, PASSWORD, Scratch, Setup, TestGate, Upstream, events, raw};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sign_in::{SIGN_IN, SIGN_OUT, fill_in};

async fn plain_gate() -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    (upstream, gate)
}

/// The latest line of the access log about a request like this.
async fn line(gate: &TestGate, method: &str, path: &str) -> Value {
    let found = async |gate: &TestGate| {
        gate.access_log()
            .await
            .into_iter()
            .rev()
            .find(|line| line["method"] == method && line["path"] == path)
    };
    let mut line = found(gate).await;
    doorward_tests::eventually("a line about the request", async || {
        line = found(gate).await;
        line.is_some()
    })
    .await;
    line.unwrap()
}

#[tokio::test]
async fn n08_a_line_of_the_access_log_says_who_asked_for_what_and_what_came_of_it() {
    let (upstream, gate) = plain_gate().await;
    gate.add("alice/dev", AccountChange::default()).await;
    let mut browser = gate.browser();
    browser.sign_in("alice/dev").await;
    let session = browser.get("/.doorward/session").await.json()["session"].clone();
    let sent = [
        ("x-request-id", "mine"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    assert_eq!(browser.get_with("/orders?secret=1", &sent).await.status, StatusCode::OK);
    let line = line(&gate, "GET", "/orders").await;
    let id = line["request_id"].as_str().unwrap();
    assert_eq!(upstream.last().field("x-request-id"), Some(id), "the log and the upstream agree");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(upstream.last().field("traceparent"), Some(sent[1].1), "a trace goes on");
    let time = line["timestamp"].as_str().unwrap();
    assert_eq!(time, "2027-01-15T08:00:00.000Z");
    for (member, expected) in [
        ("event", json!("request")),
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("host", json!("console.example.com")),
        ("route", json!("the default route")),
        ("decided_by", json!("upstream")),
        ("account", json!("alice")),
        ("sub_user", json!("dev")),
        ("session", session),
        ("protocol", json!("1.1")),
        ("status", json!(200)),
        ("bytes", json!(5)),
        ("ms", json!(0)),
    ] {
        assert_eq!(line[member], expected, "{member} in {line}");
    }
    assert!(!line.to_string().contains("secret"), "{line}");
}

#[tokio::test]
async fn every_room_that_refuses_is_named() {
    let (_upstream, gate) = plain_gate().await;
    let mut stranger = gate.browser();
    stranger.get("/access").await;
    stranger.get("/.doorward/sign-in").await;
    stranger.send(Method::TRACE, "/router", &[], "".into()).await;
    stranger.get("/a//b").await;
    for (path, decided_by, status) in
        [("/access", "access", 401), ("/.doorward/sign-in", "portal", 200)]
    {
        let line = line(&gate, "GET", path).await;
        assert_eq!(
            (&line["decided_by"], &line["status"]),
            (&decided_by.into(), &status.into()),
            "{line}"
        );
        assert!(line.get("account").is_none(), "{line}");
    }
    doorward_tests::eventually("lines of the router", async || {
        let lines = gate.access_log().await;
        let refused = lines.iter().filter(|line| line["decided_by"] == "router");
        let mut statuses: Vec<_> = refused.map(|line| line["status"].as_u64()).collect();
        // Each worker hands its lines on when it will.
        statuses.sort_unstable();
        statuses == [Some(400), Some(405)]
    })
    .await;
}

/// The events that the latest POST to `path` is the cause of.
async fn events_of(gate: &TestGate, path: &str) -> Vec<Value> {
    let line = line(gate, "POST", path).await;
    events().with("request_id", line["request_id"].as_str().unwrap())
}

#[tokio::test]
async fn n01_every_attempt_to_sign_in_is_one_event_with_its_outcome() {
    events();
    for (name, password, expected) in [
        ("alice", PASSWORD, "authn_login_success"),
        ("alice", "wrong", "authn_login_fail"),
        ("nobody", PASSWORD, "authn_login_fail"),
        ("carol", PASSWORD, "authn_login_fail"),
    ] {
        for by_form in [false, true] {
            let (_upstream, gate) = plain_gate().await;
            gate.add("carol", AccountChange::default()).await;
            gate.ask(Request::AccountDisable { name: "carol".into() }).await.unwrap();
            let mut browser = gate.browser();
            let path = if by_form { SIGN_IN } else { "/.doorward/api/v1/sign-in" };
            if by_form {
                fill_in(&mut browser, SIGN_IN, name, None, password).await;
            } else {
                browser.try_sign_in(name, password).await;
            }
            let found = events_of(&gate, path).await;
            assert_eq!(found.len(), 1, "{name} by form {by_form}: {found:#?}");
            let event = &found[0];
            assert_eq!(event["event"], expected, "{event}");
            assert_eq!(
                (&event["details"], &event["address"]),
                (&"factor=password".into(), &"127.0.0.1".into())
            );
            assert!(event["timestamp"].as_str().unwrap().ends_with('Z'), "UTC: {event}");
            assert_eq!(
                event["principal"].is_string(),
                name != "nobody",
                "who it was tried for: {event}"
            );
            assert_eq!(event["session"].is_string(), expected == "authn_login_success", "{event}");
            assert_eq!(event["account"], if name == "nobody" { Value::Null } else { json!(name) });
        }
    }
}

#[tokio::test]
async fn n02_what_an_attack_does_is_an_event() {
    events();
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.signed_in().await;
    let evil = [("origin", "https://evil.example")];
    browser.send(Method::POST, SIGN_OUT, &evil, "".into()).await;
    let found = events_of(&gate, SIGN_OUT).await;
    assert_eq!(found[0]["event"], "csrf_refused");
    browser.post_form(SIGN_IN, &[("code", "x")]).await;
    assert_eq!(events_of(&gate, SIGN_IN).await[0]["event"], "csrf_refused");
    let target = "/.doorward/api/v1/sign-out";
    browser.post_json(target, &json!({})).await;
    let found = events_of(&gate, target).await;
    assert_eq!(
        (&found[0]["event"], &found[0]["account"]),
        (&"session_ended".into(), &"alice".into())
    );
}

#[tokio::test]
async fn what_an_administrator_does_is_an_event() {
    events();
    let (_upstream, gate) = plain_gate().await;
    let name = "log-story-dora";
    gate.add(name, AccountChange::default()).await;
    let mut browser = gate.browser();
    browser.sign_in(name).await;
    let session =
        browser.get("/.doorward/session").await.json()["session"].as_str().unwrap().to_owned();
    for request in [
        Request::AccountSet { name: name.into(), change: Box::default() },
        Request::SessionRevoke { id: session.clone() },
        Request::AccountDisable { name: name.into() },
        Request::AccountEnable { name: name.into() },
        Request::AccountSetPassword { name: name.into(), password: "canary-long-Pa55word".into() },
        Request::AccountDelete { name: name.into() },
    ] {
        gate.ask(request).await.unwrap();
    }
    let names: Vec<_> =
        events().with("account", name).iter().map(|event| event["event"].clone()).collect();
    let expected = [
        "user_created",
        "authn_login_success",
        "user_updated",
        "session_revoked",
        "user_state",
        "user_state",
        "authn_password_change",
        "user_state",
    ];
    assert_eq!(names, expected);
    assert!(!events().text().contains("canary-long-Pa55word"));
}

#[tokio::test]
async fn n03_no_secret_is_written_at_any_level() {
    events();
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.browser();
    let page = browser.get(&format!("{SIGN_IN}?return_to=%2Fx%3Fkey%3Dcanary-query")).await;
    let code = page.hidden("code");
    let form_cookie = browser.jar["__Host-doorward-form"].clone();
    for (account, password) in
        [("alice", "canary-wrong-password"), ("canary-typed-as-name", "x"), ("alice", PASSWORD)]
    {
        let fields = [
            ("code", &*code),
            ("account", account),
            ("password", password),
            ("return_to", "/x?key=canary-query"),
        ];
        browser.post_form(SIGN_IN, &fields).await;
        browser.try_sign_in(account, password).await;
    }
    let fields = [
        ("authorization", "Bearer canary-bearer"),
        ("cookie", "sid=canary-cookie"),
        ("x-api-key", "canary-key"),
    ];
    browser.get_with("/x?key=canary-query", &fields).await;
    browser.get_with("/.doorward/nothing?key=canary-query", &fields).await;
    raw::exchange(gate.address(), b"GET /a?key=canary-query#x HTTP/1.1\r\nHost: console.example.com\r\nCookie: sid=canary-cookie\r\n\r\n").await;
    let token = browser.token().to_owned();
    assert_eq!(token.len(), 43);
    line(&gate, "GET", "/.doorward/nothing").await;
    let access = format!("{:?}", gate.access_log().await);
    for secret in ["canary-", PASSWORD, &token, &code, &form_cookie] {
        assert!(!access.contains(secret), "{secret} is in the access log");
        let text = events().text();
        let found = text.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} is in the events");
    }
}

#[tokio::test]
async fn n04_nothing_that_is_sent_can_forge_a_line() {
    events();
    const EVIL: &str = "\u{1b}[31m\u{202e}\r\n{\"event\":\"forged-line\"}";
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.browser();
    fill_in(&mut browser, SIGN_IN, EVIL, Some(EVIL), EVIL).await;
    browser.try_sign_in(EVIL, EVIL).await;
    let encoded =
        doorward::portal::return_to::encode("/\u{1b}[31m\u{202e}{\"event\":\"forged-line\"}")
            .replace("%2F", "/");
    browser.get(&encoded).await;
    let agent = "{\"event\":\"forged-line\"}\u{202e}";
    browser.get_with("/agent", &[("user-agent", agent), ("x-forwarded-for", agent)]).await;
    line(&gate, "GET", "/agent").await;
    for line in gate.access_log().await {
        assert_eq!(line["event"], "request", "{line}");
    }
    // Every line is JSON, or `with` would have failed.
    assert!(events().with("event", "forged-line").is_empty());
}

#[tokio::test]
async fn the_access_log_can_be_switched_off_and_the_events_go_on() {
    events();
    let upstream = Upstream::start().await;
    let scratch = Scratch::new();
    let config = doorward_tests::process::configure(scratch.path(), &upstream.address, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("[operations]\n", "[operations]\naccess_log = false\n");
    std::fs::write(&config, text).unwrap();
    doorward_tests::process::add_account(&config, "alice");
    let served = doorward_tests::process::Served::start(&config);
    let mut browser = Browser::new(served.address, doorward_tests::PUBLIC_HOST, None);
    browser.sign_in("alice").await;
    browser.get("/").await;
    let mut lines = Vec::new();
    doorward_tests::eventually("the event", async || {
        lines.extend(served.log());
        lines.iter().any(|line| line.contains("authn_login_success"))
    })
    .await;
    assert!(!lines.iter().any(|line| line.contains("\"event\":\"request\"")), "{lines:#?}");
}

#[tokio::test]
async fn a_request_that_its_client_gave_up_is_written_too() {
    use tokio::io::AsyncWriteExt;
    let console = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scratch = Scratch::new();
    let public = "[[route]]\npath = \"/**\"\naccess = \"public\"";
    let address = console.local_addr().unwrap();
    let config = doorward_tests::process::configure(scratch.path(), &address, public);
    let served = doorward_tests::process::Served::start(&config);
    let mut client = tokio::net::TcpStream::connect(served.address).await.unwrap();
    client
        .write_all(
            b"POST /given-up HTTP/1.1\r\nHost: console.example.com\r\nContent-Length: 0\r\n\r\n",
        )
        .await
        .unwrap();
    let _asked = console.accept().await.unwrap();
    drop(client);
    let mut lines = Vec::new();
    doorward_tests::eventually("the line", async || {
        lines.extend(served.log());
        lines.iter().any(|line| line.contains("/given-up"))
    })
    .await;
}
