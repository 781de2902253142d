//! What operators see of it, and do about it.

use doorward_plugins::administration::{Reply, Request};
use doorward_plugins::lockout::LockState;
use doorward_tests::process::{Served, add_account, configure, run};
use doorward_tests::{Browser, PASSWORD, PUBLIC_HOST, Scratch, Upstream, events};
use http::StatusCode;

use super::{NO_CAPTCHA, gate, guess};

/// What is before and behind the seconds of `23h59m58s`: a process has a clock that goes on.
fn but_for_seconds(told: &str) -> (&str, &str) {
    let (before, left) = told.split_once("23h59m").unwrap();
    (before, left.split_once("s more").unwrap().1)
}

#[tokio::test]
async fn an_operator_sees_a_lock_and_lifts_it() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, NO_CAPTCHA);
    add_account(&config, "alice");
    let gate = Served::start(&config);
    let mut browser = Browser::new(gate.address, PUBLIC_HOST, None);
    guess(&mut browser, "alice", 10).await;
    guess(&mut browser, "nobody", 10).await;
    let command = |words: &[&str]| {
        let config = ["--config", config.to_str().unwrap()];
        let output = run(&[&["lock"], words, &config].concat(), "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, listed) = command(&["list"]);
    assert_eq!(code, Some(0));
    assert_eq!(listed.lines().count(), 1, "names that nobody has are not told: {listed}");
    assert!(listed.starts_with("alice ") && listed.contains("locked"), "{listed}");
    assert!(listed.contains("10 wrong at the password, for 23h59m"), "{listed}");
    assert_eq!(but_for_seconds(&command(&["show", "alice"]).1), but_for_seconds(&listed));
    let json: serde_json::Value = serde_json::from_str(&command(&["list", "--json"]).1).unwrap();
    assert_eq!(json["locks"][0]["state"], "locked");

    let (code, lifted) = command(&["lift", "alice"]);
    assert_eq!((code, but_for_seconds(&lifted)), (Some(0), but_for_seconds(&listed)));
    assert_eq!(command(&["list"]).1, "no wrong passwords\n");
    assert_ne!(command(&["lift", "nobody"]).0, Some(0));
    browser.sign_in("alice").await;
    let log = gate.log().join("\n");
    for event in ["authn_login_lock", "authn_login_unlock", "authn_login_fail"] {
        assert!(log.contains(event), "no {event} in {log}");
    }
    assert!(!log.contains("wrong 0"), "a password is in the log");
}

#[tokio::test]
async fn observing_refuses_nothing() {
    events();
    let gate = gate("[lockout]\nmode = \"observe\"\n").await;
    let mut browser = gate.browser();
    guess(&mut browser, "alice", 12).await;
    let Reply::Locks { locks } = gate.ask(Request::LockList).await.unwrap() else { panic!() };
    assert_eq!(locks[0].state, LockState::Locked, "it would be");
    let asked = Request::AccountShow { name: "alice".into() };
    let Reply::Account(alice) = gate.ask(asked).await.unwrap() else { panic!() };
    let told = events().with("principal", &alice.id);
    let told = told.iter().filter(|event| event["event"] == "authn_login_lock");
    assert_eq!(told.count(), 1, "it is told of once");
    let answer = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK);
}
