//! From the third wrong password on a captcha is needed as well; it opens no lock.

use doorward_plugins::account::name::NameKey;
use doorward_plugins::lockout::Guess;
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;
use serde_json::json;

use super::{comparable, guess};
use crate::captcha::solution;
use crate::sign_in::{SIGN_IN, fill_in};

const EASY: &str = "[captcha]\ndifficulty = 10\ndifficulty_max = 10\n";

async fn gate() -> TestGate {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: EASY, ..Setup::default() }).await;
    gate.add_alice().await;
    gate
}

/// Tries with a captcha that was solved for it.
async fn solve_and_try(browser: &mut Browser, name: &str, password: &str) -> Answer {
    let captcha = solution(browser).await;
    let body = json!({"account": name, "password": password, "captcha": captcha});
    browser.post_json("/.doorward/api/v1/sign-in", &body).await
}

#[tokio::test]
async fn f10_after_three_wrong_passwords_a_right_one_needs_a_captcha() {
    let gate = gate().await;
    let mut browser = gate.browser();
    guess(&mut browser, "alice", 3).await;
    let asked = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(asked.json()["type"], "urn:doorward:problem:captcha-required");
    assert_eq!(gate.services().sign_in.passwords_checked(), 3, "the password was looked at");
    let answer = solve_and_try(&mut browser, "alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    browser.jar.clear();
    browser.sign_in("alice").await;
}

#[tokio::test]
async fn f07_f08_f10_the_whole_way_to_the_lock_is_the_same_for_names_that_nobody_has() {
    let gate = gate().await;
    let mut seen = Vec::new();
    for name in ["alice", "nobody", "alice/nobody"] {
        let mut browser = gate.browser();
        let mut answers = guess(&mut browser, name, 4).await;
        for number in 0..9 {
            answers.push(solve_and_try(&mut browser, name, &format!("more {number}")).await);
        }
        // Locked by now: with a captcha and the right password, and without one.
        answers.push(solve_and_try(&mut browser, name, PASSWORD).await);
        answers.push(browser.try_sign_in(name, PASSWORD).await);
        seen.push(answers.iter().map(comparable).collect::<Vec<_>>());
    }
    for (name, others) in [("a name", &seen[1]), ("a sub-user", &seen[2])] {
        for (step, (known, other)) in seen[0].iter().zip(others).enumerate() {
            assert_eq!(known, other, "step {step}: {name} that nobody has");
        }
    }
    assert_eq!(seen[0][0], seen[0][13], "locked is told from wrong");
    assert_eq!(gate.services().sign_in.passwords_checked(), 10);
}

/// Names that were forgotten must not be told from those that somebody has by meeting the captcha
/// later.
#[tokio::test]
async fn f07_when_names_that_nobody_has_are_forgotten_every_stranger_needs_a_captcha() {
    let upstream = Upstream::start().await;
    let tables = format!("{EASY}[lockout]\nunknown_names_max = 1000\n");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    let mut owner = gate.signed_in().await;
    let lockout = &gate.services().lockout;
    for number in 0..1100 {
        let name = NameKey::of(&format!("name-{number}"), "");
        let turn = lockout.turn(Guess::Password, &name, None, None, true).await.unwrap();
        lockout.count(turn, true).await.unwrap();
    }
    gate.services().lockout.sweep().await.unwrap();
    for name in ["alice", "nobody"] {
        let asked = gate.browser().try_sign_in(name, PASSWORD).await;
        assert_eq!(asked.json()["type"], "urn:doorward:problem:captcha-required", "{name}");
    }
    owner.sign_in("alice").await;
    gate.clock.advance(std::time::Duration::from_secs(86_400));
    gate.services().lockout.sweep().await.unwrap();
    gate.browser().sign_in("alice").await;
}

#[tokio::test]
async fn a_person_is_shown_the_captcha_with_the_name_they_typed() {
    let gate = gate().await;
    let mut person = gate.browser().navigating();
    for _ in 0..3 {
        let shown = fill_in(&mut person, SIGN_IN, "alice", None, "wrong").await;
        assert!(!shown.text().contains("altcha"), "asked too early");
    }
    let shown = fill_in(&mut person, SIGN_IN, "alice", None, PASSWORD).await;
    assert_eq!(shown.status, StatusCode::FORBIDDEN);
    let text = shown.text();
    assert!(text.contains("altcha") && text.contains("value=\"alice\""), "{text}");
}
