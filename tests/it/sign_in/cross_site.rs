//! What another site can make a person's browser do: nothing that changes anything, and no way to
//! lead the person elsewhere.

use doorward_tests::{Browser, PASSWORD};
use http::{Method, StatusCode};

use super::{ACCOUNT, SIGN_IN, SIGN_OUT, fill_in, plain_gate};

/// Everything that changes something.
const CHANGES: [(&str, &str); 7] = [
    ("POST", SIGN_IN),
    ("POST", SIGN_OUT),
    ("POST", "/.doorward/account/end-session"),
    ("POST", "/.doorward/api/v1/sign-in"),
    ("POST", "/.doorward/api/v1/sign-out"),
    ("POST", "/.doorward/api/v1/sessions/end-others"),
    ("DELETE", "/.doorward/api/v1/sessions/ID"),
];

/// How a browser says that a request is another site's doing.
const FOREIGN: [&[(&str, &str)]; 11] = [
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site")],
    &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
    &[("origin", "https://evil.example")],
    &[("origin", "https://console.example.com.evil.example")],
    &[("origin", "https://evil.example/console.example.com")],
    &[("origin", "null")],
    &[("origin", "null"), ("sec-fetch-site", "cross-site")],
    &[("origin", "https://console.example.com"), ("sec-fetch-site", "cross-site")],
    &[("origin", "https://console.example.com/")],
    &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
];

#[tokio::test]
async fn k01_what_another_site_sends_changes_nothing() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.signed_in().await;
    let mut other = gate.signed_in().await;
    let session =
        other.get("/.doorward/session").await.json()["session"].as_str().unwrap().to_owned();
    let code = browser.clone().navigating().get(ACCOUNT).await.hidden("code");
    let form =
        format!("code={code}&account=alice&password={}&id={session}", PASSWORD.replace(' ', "+"));
    let json = serde_json::json!({"account": "alice", "password": PASSWORD}).to_string();
    for (method, target) in CHANGES {
        for foreign in FOREIGN {
            let (kind, body) = if target.contains("/api/") {
                ("application/json", &json)
            } else {
                ("application/x-www-form-urlencoded", &form)
            };
            let mut fields = foreign.to_vec();
            fields.push(("content-type", kind));
            let method = Method::try_from(method).unwrap();
            let target = target.replace("ID", &session);
            let refused = browser.send(method, &target, &fields, body.clone().into()).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{target} {foreign:?}");
            assert_eq!(refused.json()["type"], "urn:doorward:problem:cross-site");
            assert!(refused.headers.get("set-cookie").is_none(), "{target} {foreign:?}");
        }
    }
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "the session is alive");
    assert_eq!(other.get("/").await.status, StatusCode::OK, "the other one too");
}

#[tokio::test]
async fn k01_a_form_is_worth_nothing_without_the_code_of_its_browser_and_session() {
    let (_upstream, gate) = plain_gate().await;
    let mut other = gate.browser();
    let foreign = other.get(SIGN_IN).await.hidden("code");
    gate.signed_in().await;
    let purpose = gate.signed_in().await.get(ACCOUNT).await.hidden("code");
    for code in ["", "x", &foreign, &purpose, &"A".repeat(43)] {
        let mut browser = gate.browser();
        browser.get(SIGN_IN).await;
        let fields = [("code", code), ("account", "alice"), ("password", PASSWORD)];
        let refused = browser.post_form(SIGN_IN, &fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{code}");
        assert_eq!(browser.token(), "", "{code}: somebody was signed in unasked");
        assert!(refused.text().contains("value=\"alice\""), "what was typed is kept");
    }
    let mut jarless = gate.browser();
    let fields = [("code", &*foreign), ("account", "alice"), ("password", PASSWORD)];
    assert_eq!(jarless.post_form(SIGN_IN, &fields).await.status, StatusCode::FORBIDDEN);
    // A form from before a sign-in is worthless after it, in the same browser too.
    let mut browser = gate.browser();
    let stale = browser.get(SIGN_IN).await.hidden("code");
    browser.sign_in("alice").await;
    let token = browser.token().to_owned();
    let fields = [("code", &*stale), ("account", "alice"), ("password", PASSWORD)];
    assert_eq!(browser.post_form(SIGN_IN, &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.token(), token);
}

#[tokio::test]
async fn k01_ending_a_session_needs_the_code_of_this_very_session() {
    let (_upstream, gate) = plain_gate().await;
    let mut target = gate.signed_in().await;
    let mut browser = gate.signed_in().await;
    let page = browser.get(ACCOUNT).await;
    let (id, old) = (page.hidden("id"), page.hidden("code"));
    let sign_in = gate.browser().get(SIGN_IN).await.hidden("code");
    // The same browser, but another session.
    browser.sign_in("alice").await;
    for code in ["", "x", &sign_in, &old] {
        let fields = [("code", code), ("id", &id)];
        let refused = browser.post_form("/.doorward/account/end-session", &fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{code}");
    }
    assert_eq!(target.get("/").await.status, StatusCode::OK);
    let fresh = browser.get(ACCOUNT).await.hidden("code");
    let fields = [("code", &*fresh), ("id", &id)];
    let ended = browser.post_form("/.doorward/account/end-session", &fields).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_page_of_the_console_may_sign_out() {
    let (_upstream, gate) = plain_gate().await;
    for fields in [
        [("origin", "https://console.example.com"), ("sec-fetch-site", "same-origin")].as_slice(),
        // From a page with `Referrer-Policy: no-referrer`.
        &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        &[("origin", "https://CONSOLE.example.com")],
        &[],
    ] {
        let mut browser = gate.signed_in().await;
        let kept = browser.clone();
        let done = browser.send(Method::POST, SIGN_OUT, fields, "".into()).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{fields:?}");
        assert_eq!(kept.clone().get("/").await.status, StatusCode::UNAUTHORIZED, "{fields:?}");
    }
}

#[tokio::test]
async fn k02_e23_looking_changes_nothing() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.signed_in().await;
    let mut other = gate.signed_in().await;
    let id = other.get("/.doorward/session").await.json()["session"].as_str().unwrap().to_owned();
    let credentials = format!("?account=alice&password={}&id={id}", PASSWORD.replace(' ', "+"));
    for (_, target) in CHANGES {
        let target = format!("{}{credentials}", target.replace("ID", &id));
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for mut visitor in [browser.clone(), gate.browser(), browser.clone().navigating()] {
                let before = visitor.token().to_owned();
                let answer = visitor.send(method.clone(), &target, &[], "".into()).await;
                assert_eq!(visitor.token(), before, "{method} {target}: {}", answer.status);
                assert!(answer.status.as_u16() < 500, "{method} {target}: {}", answer.status);
            }
        }
    }
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "the session is alive");
    assert_eq!(other.get("/").await.status, StatusCode::OK, "the other one too");
}

#[tokio::test]
async fn e23_a_form_of_another_site_cannot_sign_in_as_a_program_does() {
    let (_upstream, gate) = plain_gate().await;
    let body = serde_json::json!({"account": "alice", "password": PASSWORD}).to_string();
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    {
        let mut browser = gate.browser();
        let fields = [("content-type", kind)];
        let refused = browser
            .send(Method::POST, "/.doorward/api/v1/sign-in", &fields, body.clone().into())
            .await;
        assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
        assert_eq!(browser.token(), "");
    }
}

#[tokio::test]
async fn k03_nobody_is_sent_to_another_place() {
    const PLACES: [&str; 26] = [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "http:/\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r\nLocation: //evil.example",
        " //evil.example",
        "/%2f/evil.example",
        "/%5cevil.example",
        "/.//evil.example",
        "/..//evil.example",
        "/a/..//evil.example",
        "@evil.example",
        "evil.example",
        "?//evil.example",
        "#//evil.example",
        "/#//evil.example",
        "\u{ff0f}/evil.example",
        "/%00/evil.example",
    ];
    let (_upstream, gate) = plain_gate().await;
    let mut inside = gate.signed_in().await.navigating();
    for place in PLACES {
        let encoded = doorward::portal::return_to::encode(place);
        let target = format!("{SIGN_IN}?return_to={encoded}");
        assert_eq!(inside.get(&target).await.location(), "/", "{place:?}: signed in already");
        let mut stranger = gate.browser().navigating();
        assert_eq!(stranger.get(&target).await.hidden("return_to"), "/", "{place:?}: in the form");
    }
    // The form's own field is believed no more than the link; a few, as each costs a hash.
    for place in &PLACES[..6] {
        let mut browser = gate.browser();
        let code = browser.get(SIGN_IN).await.hidden("code");
        let fields =
            [("code", &*code), ("account", "alice"), ("password", PASSWORD), ("return_to", *place)];
        assert_eq!(browser.post_form(SIGN_IN, &fields).await.location(), "/", "{place:?}");
    }
}

#[tokio::test]
async fn k03_what_a_stranger_asks_for_cannot_lead_elsewhere() {
    let (_upstream, gate) = plain_gate().await;
    let mut browser = gate.browser().navigating();
    for target in
        ["/a?next=//evil.example", "/?//evil.example", "/@evil.example", "/;//evil.example?"]
    {
        let answer = browser.get(target).await;
        let place = answer.location();
        let stays = place.starts_with(SIGN_IN) || answer.status == StatusCode::BAD_REQUEST;
        assert!(stays, "{target} leads to {place:?}");
    }
    let mut other: Browser = gate.browser().navigating();
    other.host = "evil.example".into();
    let refused = other.get("/").await;
    assert_eq!(refused.status, StatusCode::MISDIRECTED_REQUEST);
    assert!(!refused.text().contains("evil.example"));
    let done = fill_in(&mut browser, SIGN_IN, "alice", None, PASSWORD).await;
    assert_eq!(done.location(), "/");
}
