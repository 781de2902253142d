//! Wrong passwords: what they lead to, for whom, for how long, and what nobody can tell from it.
//!
//! - `crowds`: many guesses at once, `kill -9` in the middle, a store that cannot count.
//! - `demands`: the captcha, from the third wrong password on.
//! - `operators`: the command line, and the mode that only observes.

pub(crate) mod crowds;
mod demands;
mod operators;

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Answer, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::StatusCode;

/// Without a captcha, which a test cannot solve in passing.
const NO_CAPTCHA: &str = "[captcha]\nmode = \"off\"\n";

async fn gate(tables: &str) -> TestGate {
    let upstream = Upstream::start().await;
    let tables = format!("{NO_CAPTCHA}{tables}");
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    gate.add_alice().await;
    gate
}

/// Guesses wrong so many times, each refused as a wrong password is.
async fn guess(browser: &mut Browser, name: &str, times: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for number in 0..times {
        let answer = browser.try_sign_in(name, &format!("wrong {number}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{number}: {}", answer.text());
        answers.push(answer);
    }
    answers
}

/// What a client can compare: status, fields and body without what differs in every answer.
fn comparable(answer: &Answer) -> String {
    let fields = answer.headers.iter().filter(|(name, _)| *name != "date");
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name}: {value:?}")).collect();
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("instance");
    format!("{}\n{}\n{body}", answer.status, fields.join("\n"))
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn f08_ten_wrong_passwords_lock_for_a_day_from_the_first() {
    let gate = gate("").await;
    let mut browser = gate.browser();
    let first = guess(&mut browser, "alice", 1).await;
    gate.clock.advance(23 * HOUR);
    guess(&mut browser, "alice", 9).await;
    let locked = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(comparable(&locked), comparable(&first[0]), "a right password is told apart");
    assert_eq!(gate.services().sign_in.passwords_checked(), 10, "it was looked at");

    gate.clock.advance(HOUR - Duration::from_secs(1));
    assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
    gate.clock.advance(Duration::from_secs(1));
    browser.sign_in("alice").await;
}

#[tokio::test]
async fn a_right_password_clears_the_count() {
    let gate = gate("").await;
    for _ in 0..3 {
        let mut stranger = gate.browser();
        guess(&mut stranger, "alice", 9).await;
        stranger.sign_in("alice").await;
    }
}

/// CVE-2025-24806, CVE-2026-47203: a spelling with a counter of its own doubles the tries.
#[tokio::test]
async fn every_spelling_of_a_name_shares_one_count() {
    let gate = gate("").await;
    gate.add("Zoë", AccountChange::default()).await;
    gate.add("alice/dev", AccountChange::default()).await;
    let spellings = [
        ["alice", "ALICE", " alice ", "Alice\t", "ａｌｉｃｅ"].as_slice(),
        &["Zoë", "zoe\u{308}", "ZOË", "ZOE\u{308} "],
        &["alice/dev", "ALICE/Dev", " alice / dev ", "alice/ＤＥＶ"],
    ];
    for names in spellings {
        let mut browser = gate.browser();
        for number in 0..10 {
            guess(&mut browser, names[number % names.len()], 1).await;
        }
        for name in names {
            let answer = browser.try_sign_in(name, PASSWORD).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name:?} is not locked");
        }
        let whole = serde_json::json!({"account": names[0], "password": PASSWORD});
        let answer = browser.post_json("/.doorward/api/v1/sign-in", &whole).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{} in one field", names[0]);
    }
    // Three people, three counts: what was guessed at one locked only that one.
    assert_eq!(gate.services().sign_in.passwords_checked(), 30);
}

#[tokio::test]
async fn f07_a_name_that_nobody_has_is_locked_alike() {
    let gate = gate("").await;
    let known = guess(&mut gate.browser(), "alice", 12).await;
    let unknown = guess(&mut gate.browser(), "nobody", 12).await;
    let sub_user = guess(&mut gate.browser(), "alice/nobody", 12).await;
    for (known, other) in known.iter().zip(unknown.iter().chain(&sub_user)) {
        assert_eq!(comparable(known), comparable(other));
    }
}

#[tokio::test]
async fn f04_f06_strangers_do_not_lock_the_owner_out_of_a_known_browser() {
    let gate = gate("").await;
    let mut owner = gate.signed_in().await;
    let cookie = owner.jar["__Host-doorward-device"].clone();
    guess(&mut gate.browser(), "alice", 10).await;
    assert_eq!(gate.browser().try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);

    owner.jar.remove("__Host-doorward");
    owner.sign_in("alice").await;
    assert_ne!(owner.jar["__Host-doorward-device"], cookie, "a new one with every sign-in");
    let mut thief = gate.browser();
    thief.jar.insert("__Host-doorward-device".into(), cookie);
    let answer = thief.try_sign_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "the one before is worth nothing");

    // It survives a restart, and goes when the administrator ends everything.
    let gate = gate.restart().await;
    let mut again = gate.browser();
    again.jar.clone_from(&owner.jar);
    again.sign_in("alice").await;
    gate.ask(Request::SessionRevokeAll { name: "alice".into() }).await.unwrap();
    assert_eq!(again.try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn f05_a_device_cookie_is_of_one_account_and_one_gate() {
    let gate = gate("").await;
    gate.add("bob", AccountChange::default()).await;
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    guess(&mut gate.browser(), "alice", 10).await;
    let answer = bob.try_sign_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "bob's browser is a stranger to alice");
    let set = gate.browser().try_sign_in("bob", PASSWORD).await;
    let cookies: Vec<_> = set.headers.get_all("set-cookie").iter().collect();
    let device = cookies
        .iter()
        .find_map(|value| value.to_str().unwrap().strip_prefix("__Host-doorward-device="));
    let attributes = device.unwrap().split_once(';').unwrap().1;
    assert_eq!(attributes, " Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=7776000");
    gate.clock.advance(90 * 24 * HOUR);
    guess(&mut gate.browser(), "bob", 10).await;
    let answer = bob.try_sign_in("bob", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "a device cookie ends");
}

#[tokio::test]
async fn f01_too_many_in_a_row_end_the_password_in_whatever_time() {
    let gate = gate("[lockout]\ndisable_after = 12\n").await;
    let mut browser = gate.browser();
    for _ in 0..12 {
        guess(&mut browser, "alice", 1).await;
        gate.clock.advance(25 * HOUR);
    }
    let wrong = guess(&mut browser, "alice", 1).await;
    let right = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(comparable(&right), comparable(&wrong[0]));
    gate.clock.advance(1000 * HOUR);
    assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::FORBIDDEN);
    let request = Request::AccountSetPassword { name: "alice".into(), password: PASSWORD.into() };
    gate.ask(request).await.unwrap();
    browser.sign_in("alice").await;
}

#[tokio::test]
async fn f11_counts_outlive_a_restart() {
    let gate = gate("").await;
    guess(&mut gate.browser(), "alice", 10).await;
    guess(&mut gate.browser(), "nobody", 10).await;
    let gate = gate.restart().await;
    for name in ["alice", "nobody"] {
        let answer = gate.browser().try_sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(gate.services().sign_in.passwords_checked(), 0);
}
