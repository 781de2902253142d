//! The gate's own answers: the fields that each carries, escaping, and who gets which kind.

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Answer, PASSWORD, Setup, TestGate, Upstream};
use http::{Method, StatusCode};

use super::{ACCOUNT, SIGN_IN, SIGN_OUT, fill_in, plain_gate};

const PAGE_POLICY: [&str; 6] = [
    "default-src 'none'",
    "style-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "object-src 'none'",
    "frame-ancestors 'none'",
];

/// One of each kind of answer that the gate gives itself, by name.
async fn answers(gate: &TestGate) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    let mut stranger = gate.browser().navigating();
    let mut inside = gate.signed_in().await.navigating();
    let mut program = gate.browser();
    for target in [
        SIGN_IN,
        "/.doorward/sign-in?form=sub-user&lang=zh",
        SIGN_OUT,
        ACCOUNT,
        "/",
        "/.doorward/nothing",
        "/.doorward/session",
        "/%2e%2e/",
    ] {
        answers.push((format!("stranger {target}"), stranger.get(target).await));
        answers.push((format!("inside {target}"), inside.get(target).await));
        answers.push((format!("program {target}"), program.get(target).await));
    }
    for target in ["/.doorward/style.css", "/.doorward/jwks.json", "/.doorward/api/openapi.json"] {
        answers.push((target.into(), program.get(target).await));
    }
    answers.push((
        "wrong password".into(),
        fill_in(&mut stranger, SIGN_IN, "alice", None, "wrong").await,
    ));
    answers.push(("form without code".into(), stranger.post_form(SIGN_IN, &[]).await));
    answers
        .push(("wrong method".into(), stranger.send(Method::PUT, SIGN_IN, &[], "".into()).await));
    answers.push((
        "unknown method".into(),
        stranger.send(Method::try_from("BREW").unwrap(), "/", &[], "".into()).await,
    ));
    answers.push(("program signs in".into(), program.try_sign_in("alice", PASSWORD).await));
    answers.push(("program is refused".into(), program.try_sign_in("alice", "wrong").await));
    answers.push(("owners only".into(), inside.get("/owners").await));
    answers.push(("sign-out".into(), inside.post_form(SIGN_OUT, &[]).await));
    answers
}

async fn gate() -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/owners\"\nroles = [\"auditor\"]";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    gate.add_alice().await;
    (upstream, gate)
}

#[tokio::test]
async fn k04_k06_k07_d13_every_answer_of_the_gate_is_fenced_in() {
    let (_upstream, gate) = gate().await;
    for (name, answer) in answers(&gate).await {
        if answer.text() == "hello" {
            continue; // The upstream's.
        }
        let public = name.contains("style.css") || name.contains("jwks.json");
        let cache = answer.field("cache-control");
        assert!(
            cache == "no-store" || (public && cache.starts_with("public, max-age=")),
            "{name}: {cache:?}"
        );
        assert_eq!(answer.field("x-content-type-options"), "nosniff", "{name}");
        assert_eq!(answer.field("referrer-policy"), "same-origin", "{name}");
        assert_eq!(answer.field("cross-origin-opener-policy"), "same-origin", "{name}");
        assert_eq!(answer.field("cross-origin-resource-policy"), "same-origin", "{name}");
        let policy = answer.field("content-security-policy");
        for part in PAGE_POLICY {
            assert!(
                policy.split("; ").any(|found| found == part),
                "{name}: {part} is not in {policy:?}"
            );
        }
        assert_eq!(answer.headers.get_all("content-security-policy").iter().count(), 1, "{name}");
        assert!(answer.headers.get("server").is_none(), "{name} tells what it is");
        let kind = answer.field("content-type");
        if answer.body.is_empty() {
            assert_eq!(kind, "", "{name}: a type of nothing");
        } else {
            let known = [
                "text/html; charset=utf-8",
                "text/css; charset=utf-8",
                "application/json",
                "application/problem+json",
                "application/jwk-set+json",
            ];
            assert!(known.contains(&kind), "{name}: {kind:?}");
        }
    }
}

/// The one script that the sign-in page has: a file of the gate's own.
const KEYS: &str = "<script type=\"module\" src=\"/.doorward/webauthn.js\"></script>";

#[tokio::test]
async fn k04_k11_no_page_has_anything_inline_or_from_elsewhere() {
    let (_upstream, gate) = gate().await;
    let mut pages = 0;
    for (name, answer) in answers(&gate).await {
        if !answer.field("content-type").starts_with("text/html") {
            continue;
        }
        pages += 1;
        let text = answer.text().replace(KEYS, "");
        for forbidden in [
            "<script",
            "<style",
            " style=",
            " onload=",
            " onclick=",
            "javascript:",
            "http://",
            "https://",
            "<img",
            "<iframe",
        ] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}: {text}");
        }
        assert!(text.starts_with("<!doctype html>\n<html lang=\""), "{name}: {text}");
        assert!(text.contains("<title>") && text.contains("<main>"), "{name}: {text}");
    }
    assert!(pages >= 10, "only {pages} pages were looked at");
}

#[tokio::test]
async fn k05_pages_tell_browsers_to_stay_with_https() {
    let (_upstream, gate) = gate().await;
    for target in [SIGN_IN, SIGN_OUT, "/.doorward/nothing", "/.doorward/session"] {
        let field = gate.browser().get(target).await.field("strict-transport-security").to_owned();
        let age = field
            .strip_prefix("max-age=")
            .and_then(|age| age.split(';').next()?.parse::<u64>().ok());
        assert!(age.is_some_and(|age| age >= 31_536_000), "{target}: {field:?}");
    }
}

#[tokio::test]
async fn k08_nothing_that_somebody_sends_becomes_part_of_a_page() {
    const EVIL: &str = "\"'><script>alert(1)</script><!--&amp;{{7*7}}";
    let (_upstream, gate) = plain_gate().await;
    let encoded = doorward::portal::return_to::encode(EVIL);
    let mut texts = Vec::new();
    let mut browser = gate.browser().navigating();
    for name in ["return_to", "form", "notice", "lang", "account", "password", "code"] {
        let place = if name == "return_to" { format!("%2F{encoded}") } else { encoded.clone() };
        texts.push(browser.get(&format!("{SIGN_IN}?{name}={place}")).await.text());
    }
    let code = browser.get(SIGN_IN).await.hidden("code");
    for form in ["", "sub-user", EVIL] {
        let fields = [
            ("code", &*code),
            ("account", EVIL),
            ("sub_user", EVIL),
            ("password", EVIL),
            ("return_to", EVIL),
            ("form", form),
        ];
        let refused = browser.post_form(SIGN_IN, &fields).await;
        let text = refused.text();
        assert!(
            text.contains("&#34;&#39;&#62;&#60;script&#62;") && text.contains("{{7*7}}"),
            "the name is kept, escaped: {text}"
        );
        texts.push(text);
    }
    texts.push(
        browser
            .get_with(
                "/.doorward/nothing",
                &[
                    ("user-agent", EVIL),
                    ("accept-language", EVIL),
                    ("x-request-id", EVIL),
                    ("referer", EVIL),
                ],
            )
            .await
            .text(),
    );
    let mut inside = gate.browser().navigating();
    inside.fields.push(("user-agent".into(), EVIL.into()));
    let change = AccountChange { display_name: Some(EVIL.into()), ..AccountChange::default() };
    gate.add("eve", change).await;
    inside.sign_in("eve").await;
    let account = inside.get(ACCOUNT).await.text();
    assert!(account.contains("&#60;script&#62;"), "the device is listed, escaped: {account}");
    texts.push(account);
    for text in texts {
        let text = text.replace(KEYS, "");
        assert!(!text.contains("<script"), "{text}");
    }
}

#[tokio::test]
async fn k16_a_navigation_is_led_to_the_page_and_a_program_is_told() {
    let (upstream, gate) = plain_gate().await;
    let matrix: [(&[(&str, &str)], bool); 14] = [
        (
            &[
                ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
                ("sec-fetch-mode", "navigate"),
            ],
            true,
        ),
        (&[("accept", "text/html")], true),
        (&[("accept", "*/*"), ("sec-fetch-mode", "navigate")], true),
        (&[("sec-fetch-mode", "navigate"), ("x-requested-with", "XMLHttpRequest")], true),
        (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], false),
        (&[("accept", "text/html"), ("sec-fetch-mode", "cors")], false),
        (&[("accept", "text/html"), ("sec-fetch-mode", "same-origin")], false),
        (&[("accept", "text/html"), ("sec-fetch-mode", "no-cors")], false),
        (&[("accept", "text/html"), ("sec-fetch-mode", "websocket")], false),
        (&[("accept", "application/json")], false),
        (&[("accept", "*/*")], false),
        (&[("accept", "application/json, text/plain, */*"), ("sec-fetch-mode", "cors")], false),
        (&[("accept", "image/avif,*/*"), ("sec-fetch-mode", "no-cors")], false),
        (&[], false),
    ];
    for (fields, page) in matrix {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let answer = gate.browser().send(method.clone(), "/api/x?y=z", fields, "".into()).await;
            if page {
                assert_eq!(answer.status, StatusCode::SEE_OTHER, "{method} {fields:?}");
                let back =
                    if method == Method::POST { "" } else { "?return_to=%2Fapi%2Fx%3Fy%3Dz" };
                assert_eq!(answer.location(), format!("{SIGN_IN}{back}"), "{method} {fields:?}");
            } else {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {fields:?}");
                assert_eq!(answer.field("content-type"), "application/problem+json");
                assert!(answer.field("www-authenticate").starts_with("Doorward "), "{fields:?}");
                assert_eq!(answer.location(), "", "{method} {fields:?}");
                if method != Method::HEAD {
                    assert_eq!(answer.json()["sign_in_url"], SIGN_IN);
                }
            }
            let varies = answer.field("vary");
            assert!(varies.contains("accept") && varies.contains("sec-fetch-mode"), "{varies:?}");
        }
    }
    assert_eq!(upstream.count(), 0, "the upstream saw a stranger");
}

#[tokio::test]
async fn a_401_always_says_how_to_authenticate() {
    let (_upstream, gate) = plain_gate().await;
    for target in [
        "/",
        "/.doorward/session",
        "/.doorward/api/v1/session",
        "/.doorward/api/v1/sessions",
        ACCOUNT,
    ] {
        let answer = gate.browser().get(target).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{target}");
        assert!(answer.field("www-authenticate").starts_with("Doorward "), "{target}");
    }
}

#[tokio::test]
async fn k10_no_other_origin_is_let_in_to_read() {
    let (_upstream, gate) = plain_gate().await;
    let mut inside = gate.signed_in().await;
    let targets = ["/.doorward/session", "/.doorward/api/v1/sessions", ACCOUNT, SIGN_IN];
    for origin in ["https://evil.example", "null", "https://console.example.com.evil.example"] {
        for target in targets {
            for method in [Method::GET, Method::OPTIONS] {
                let fields = [("origin", origin), ("access-control-request-method", "GET")];
                let answer = inside.send(method, target, &fields, "".into()).await;
                let names = answer.headers.keys().map(http::HeaderName::as_str);
                let granted: Vec<_> =
                    names.filter(|name| name.starts_with("access-control-")).collect();
                assert!(granted.is_empty(), "{target} grants {origin} {granted:?}");
            }
        }
    }
}
