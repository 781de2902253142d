//! Guessing over many names with few tries each: noticed by what the tries have in common.

use std::time::Duration;

use doorward_plugins::administration::AccountChange;
use doorward_tests::{Browser, MANY_SIGN_INS, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;

const FEW: &str = "[captcha]\nmode = \"off\"\n[stuffing]\ncaptcha_after = 4\nrefuse_after = 4\n";

async fn gate() -> TestGate {
    let upstream = Upstream::start().await;
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]";
    let tables = format!("{MANY_SIGN_INS}{FEW}");
    let setup = Setup { listener, tables: &tables, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    gate.add_alice().await;
    gate.add("bob", AccountChange::default()).await;
    gate
}

fn client(gate: &TestGate, host: u8) -> Browser {
    let mut browser = gate.browser();
    browser.fields.push(("x-forwarded-for".into(), format!("192.0.2.{host}")));
    browser.fields.push(("x-forwarded-proto".into(), "https".into()));
    browser
}

#[tokio::test]
async fn f09_one_client_at_many_names_is_refused_and_known_browsers_beside_it_are_not() {
    let gate = gate().await;
    let mut owner = client(&gate, 1);
    owner.sign_in("alice").await;
    for name in ["a", "b", "c", "d"] {
        let answer = client(&gate, 1).try_sign_in(name, name).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}");
    }
    let checked = gate.services().sign_in.passwords_checked();
    let answer = client(&gate, 1).try_sign_in("bob", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.field("retry-after"), "3600");
    assert_eq!(gate.services().sign_in.passwords_checked(), checked, "it was looked at");
    owner.sign_in("alice").await;
    client(&gate, 2).sign_in("bob").await;
    gate.clock.advance(Duration::from_secs(3600));
    client(&gate, 1).sign_in("bob").await;
}

#[tokio::test]
async fn f09_one_password_at_many_names_needs_a_captcha_and_shuts_nobody_out() {
    let upstream = Upstream::start().await;
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]";
    let tables = format!("{MANY_SIGN_INS}[captcha]\ndifficulty = 10\ndifficulty_max = 10\n");
    let setup = Setup { listener, tables: &tables, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    gate.add_alice().await;
    for number in 0..30 {
        let answer = client(&gate, number).try_sign_in(&format!("n{number}"), PASSWORD).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    // Ten were looked at; the others were asked for a captcha, and count for nothing.
    let mut owner = client(&gate, 99);
    let asked = owner.try_sign_in("alice", PASSWORD).await;
    assert_eq!(asked.json()["type"], "urn:doorward:problem:captcha-required");
    let captcha = crate::captcha::solution(&mut owner).await;
    let body = serde_json::json!({"account": "alice", "password": PASSWORD, "captcha": captcha});
    let answer = owner.post_json("/.doorward/api/v1/sign-in", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn people_who_sign_in_from_one_office_are_no_guessers() {
    let gate = gate().await;
    for round in 0..3 {
        for name in ["e1", "e2", "e3", "e4"] {
            if round == 0 {
                gate.add(name, AccountChange::default()).await;
            }
            client(&gate, 1).sign_in(name).await;
        }
    }
}
