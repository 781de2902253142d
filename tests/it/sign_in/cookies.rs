//! The session's cookie: what it looks like, and where its token never appears.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_plugins::administration::AccountChange;
use doorward_tests::{Answer, PASSWORD};
use http::StatusCode;

use super::{ACCOUNT, SIGN_IN, SIGN_OUT, fill_in, plain_gate};

/// The `Set-Cookie` values of an answer.
fn cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect()
}

#[tokio::test]
async fn e10_e11_e12_e14_every_cookie_is_the_hosts_own_and_no_scripts() {
    let (_upstream, gate) = plain_gate().await;
    let long = "n".repeat(64);
    let groups = (0..50).map(|index| format!("group-{index}-{}", "g".repeat(100))).collect();
    gate.add(&long, AccountChange { groups: Some(groups), ..AccountChange::default() }).await;
    let mut browser = gate.browser().navigating();
    let mut answers = vec![browser.get("/.doorward/sign-in?lang=zh").await];
    answers.push(fill_in(&mut browser, SIGN_IN, &long, None, PASSWORD).await);
    answers.push(gate.browser().try_sign_in(&long, PASSWORD).await);
    answers.push(browser.post_form(SIGN_OUT, &[]).await);
    let all: Vec<_> = answers.iter().flat_map(cookies).collect();
    assert_eq!(all.len(), 7, "{all:#?}");
    for cookie in &all {
        let attributes: Vec<_> = cookie.split("; ").skip(1).collect();
        let same_site =
            if cookie.contains("-device=") { "SameSite=Strict" } else { "SameSite=Lax" };
        for needed in ["Path=/", "Secure", "HttpOnly", same_site] {
            assert!(attributes.contains(&needed), "{needed} is not in {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        let (name, value) = cookie.split("; ").next().unwrap().split_once('=').unwrap();
        assert!(name.starts_with("__Host-doorward"), "{cookie}");
        assert!(name.len() + value.len() < 100, "{cookie}");
    }
    let sessions: Vec<_> =
        all.iter().filter(|cookie| cookie.starts_with("__Host-doorward=")).collect();
    assert_eq!(sessions.len(), 3, "{all:#?}");
    assert!(!sessions[0].contains("Max-Age"), "it ends with the browser: {}", sessions[0]);
}

#[tokio::test]
async fn e13_the_token_is_random_and_says_nothing() {
    let (_upstream, gate) = plain_gate().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut browser = gate.browser();
        browser.sign_in("alice").await;
        let octets = URL_SAFE_NO_PAD.decode(browser.token()).expect("base64url");
        assert_eq!(octets.len(), 32, "256 bits");
        assert!(!String::from_utf8_lossy(&octets).contains("alice"));
        assert!(seen.insert(octets), "the same token twice");
    }
}

#[tokio::test]
async fn e17_a_look_alike_beside_the_cookie_changes_nothing() {
    let (_upstream, gate) = plain_gate().await;
    let token = gate.signed_in().await.token().to_owned();
    let evil = "A".repeat(43);
    for (field, expected) in [
        (format!("__host-doorward={evil}; __Host-doorward={token}"), StatusCode::OK),
        (format!("__Host-doorward={token}; __host-doorward={evil}"), StatusCode::OK),
        (format!("__Host-Doorward={token}"), StatusCode::UNAUTHORIZED),
        (format!("__Host-doorward={evil}; __Host-doorward={token}"), StatusCode::UNAUTHORIZED),
        (format!("__Host-doorward={token}; __Host-doorward={evil}"), StatusCode::UNAUTHORIZED),
        (format!("__Secure-doorward={token}"), StatusCode::UNAUTHORIZED),
    ] {
        for _ in 0..2 {
            let answer = gate.browser().get_with("/", &[("cookie", &field)]).await;
            assert_eq!(answer.status, expected, "{field}");
        }
    }
}

#[tokio::test]
async fn e11_e19_e20_the_token_is_in_its_cookie_and_nowhere_else() {
    let log = doorward_tests::events();
    let (upstream, mut gate) = plain_gate().await;
    let mut browser = gate.browser().navigating();
    let mut answers = vec![browser.get("/a?b=c").await];
    answers.push(
        fill_in(&mut browser, "/.doorward/sign-in?return_to=%2Fa", "alice", None, PASSWORD).await,
    );
    let token = browser.token().to_owned();
    assert_eq!(token.len(), 43);
    for target in [
        "/a",
        ACCOUNT,
        SIGN_IN,
        SIGN_OUT,
        "/.doorward/session",
        "/.doorward/api/v1/sessions",
        "/%",
        "/.doorward/x",
    ] {
        answers.push(browser.get(target).await);
    }
    let raw = URL_SAFE_NO_PAD.decode(&token).unwrap();
    let holds = |octets: &[u8]| {
        octets.windows(token.len()).any(|window| window == token.as_bytes())
            || octets.windows(raw.len()).any(|window| window == raw)
    };
    for answer in &answers {
        assert!(!holds(&answer.body), "in a body: {}", answer.text());
        for (name, value) in &answer.headers {
            let its_cookie =
                name == "set-cookie" && value.as_bytes().starts_with(b"__Host-doorward=");
            assert!(its_cookie || !holds(value.as_bytes()), "in {name}: {value:?}");
        }
    }
    for request in upstream.requests() {
        assert!(!holds(request.head.as_bytes()), "sent to the upstream: {}", request.head);
    }
    assert!(!holds(format!("{:?}", gate.access_log().await).as_bytes()), "in the access log");
    assert!(!holds(log.text().as_bytes()), "in the events");
    gate.stop();
    for entry in std::fs::read_dir(gate.scratch.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(!holds(&std::fs::read(&path).unwrap()), "in {}", path.display());
    }
}
