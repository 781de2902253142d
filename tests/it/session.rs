//! Sessions over the wire: idle and absolute expiry, what counts as activity, sign-out, restart.

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Setup, TestGate, Upstream};
use http::{Method, StatusCode};

const SECOND: Duration = Duration::from_secs(1);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[tokio::test]
async fn e04_a_session_ends_to_the_second_after_its_idle_time() {
    for (text, idle) in
        [("15m", minutes(15)), ("1h", minutes(60)), ("23h59m", minutes(23 * 60 + 59))]
    {
        let upstream = Upstream::start().await;
        let tables = format!("[session]\nidle = \"{text}\"\nabsolute = \"96h\"");
        let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
        let mut browser = gate.signed_in().await;
        gate.clock.advance(idle - SECOND);
        assert_eq!(browser.get("/").await.status, StatusCode::OK, "{text}: a second before");
        gate.clock.advance(idle - SECOND);
        assert_eq!(
            browser.get("/").await.status,
            StatusCode::OK,
            "{text}: the request before was activity"
        );
        let gate = gate.restart().await;
        let mut restarted = gate.browser();
        restarted.jar.clone_from(&browser.jar);
        gate.clock.advance(idle - SECOND);
        assert_eq!(restarted.get("/").await.status, StatusCode::OK, "{text}: over a restart");
        gate.clock.advance(idle + SECOND);
        let seen = upstream.count();
        assert_eq!(
            restarted.get("/").await.status,
            StatusCode::UNAUTHORIZED,
            "{text}: a second after"
        );
        assert_eq!(upstream.count(), seen, "the upstream saw a refused request");
    }
}

#[tokio::test]
async fn what_is_not_a_persons_act_keeps_no_session_alive() {
    let upstream = Upstream::start().await;
    let tables = "[session]\nidle = \"15m\"\n[[route]]\npath = \"/poll\"\nactivity = false\n[[route]]\npath = \"/public\"\naccess = \"public\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let requests = [
        ("/.doorward/session", ""),
        ("/.doorward/api/v1/session", ""),
        ("/poll", ""),
        ("/public", ""),
        ("/", "1"),
    ];
    for (target, background) in requests {
        let mut browser = gate.signed_in().await;
        for _ in 0..14 {
            gate.clock.advance(minutes(1));
            let fields: &[_] =
                if background.is_empty() { &[] } else { &[("x-doorward-background", background)] };
            assert_eq!(browser.get_with(target, fields).await.status, StatusCode::OK, "{target}");
        }
        gate.clock.advance(minutes(1));
        assert_eq!(
            browser.get("/").await.status,
            StatusCode::UNAUTHORIZED,
            "{target} kept the session alive"
        );
    }
}

#[tokio::test]
async fn an_accounts_own_idle_time_holds_for_its_sub_users_live_sessions() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    gate.add("alice/dev", AccountChange::default()).await;
    let mut browser = gate.browser();
    browser.sign_in("alice/dev").await;
    let set = |secs| Request::AccountSet {
        name: "alice".into(),
        change: Box::new(AccountChange { idle_secs: Some(secs), ..AccountChange::default() }),
    };
    for refused in [899, 86_400] {
        assert!(gate.ask(set(refused)).await.is_err(), "{refused} s");
    }
    gate.ask(set(86_340)).await.unwrap();
    gate.clock.advance(minutes(11 * 60));
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "longer than the default hour");
    gate.ask(set(900)).await.unwrap();
    gate.clock.advance(minutes(15) - SECOND);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    gate.clock.advance(minutes(15));
    assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn e05_e06_activity_does_not_move_the_absolute_end_and_a_new_sign_in_does() {
    let upstream = Upstream::start().await;
    let tables = "[session]\nabsolute = \"2h\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut browser = gate.signed_in().await;
    gate.clock.advance(minutes(50));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    gate.clock.advance(minutes(50));
    browser.sign_in("alice").await;
    for _ in 0..3 {
        gate.clock.advance(minutes(39));
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
    }
    gate.clock.advance(minutes(3));
    assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn e02_e03_every_sign_in_has_a_new_token_and_foreign_ones_are_never_adopted() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add_alice().await;
    let mut browser = gate.browser();
    let planted = "A".repeat(43);
    browser.jar.insert("__Host-doorward".into(), planted.clone());
    browser.sign_in("alice").await;
    let first = browser.clone();
    assert_ne!(first.token(), planted);
    browser.sign_in("alice").await;
    assert_ne!(browser.token(), first.token());
    assert_eq!(
        first.clone().get("/").await.status,
        StatusCode::UNAUTHORIZED,
        "the old token outlived a sign-in"
    );
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn e08_sign_out_ends_the_session_here_and_after_a_restart() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut browser = gate.signed_in().await;
    let kept = browser.clone();
    let answer = browser.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(browser.token(), "", "the cookie is cleared");
    assert_eq!(kept.clone().get("/").await.status, StatusCode::UNAUTHORIZED);
    let gate = gate.restart().await;
    let mut restarted = gate.browser();
    restarted.jar = kept.jar;
    assert_eq!(restarted.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn e09_a_person_lists_and_ends_own_sessions_and_nobody_elses() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let (mut one, mut two, mut three) =
        (gate.signed_in().await, gate.signed_in().await, gate.signed_in().await);
    gate.add("bob", AccountChange::default()).await;
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    let listed = one.get("/.doorward/api/v1/sessions").await.json();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    let other = two.get("/.doorward/session").await.json()["session"].as_str().unwrap().to_owned();
    let target = format!("/.doorward/api/v1/sessions/{other}");
    assert_eq!(
        bob.send(Method::DELETE, &target, &[], "".into()).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        one.send(Method::DELETE, &target, &[], "".into()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(two.get("/").await.status, StatusCode::UNAUTHORIZED);
    let ended =
        one.post_json("/.doorward/api/v1/sessions/end-others", &serde_json::json!({})).await.json();
    assert_eq!(ended["ended"], 1);
    assert_eq!(three.get("/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(one.get("/").await.status, StatusCode::OK);
    assert_eq!(bob.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a10_a_change_of_an_account_holds_at_the_next_request() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/staff\"\ngroups = [\"staff\"]";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut browsers = Vec::new();
    for _ in 0..5 {
        browsers.push(gate.signed_in().await);
    }
    assert_eq!(browsers[0].get("/staff").await.status, StatusCode::OK);
    let change = AccountChange { groups: Some(vec!["other".into()]), ..AccountChange::default() };
    gate.ask(Request::AccountSet { name: "alice".into(), change: Box::new(change) }).await.unwrap();
    assert_eq!(browsers[0].get("/staff").await.status, StatusCode::FORBIDDEN);
    browsers[0].get("/").await;
    assert_eq!(upstream.last().field("remote-groups"), Some("other"));
    gate.ask(Request::AccountDisable { name: "alice".into() }).await.unwrap();
    for browser in &mut browsers {
        assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        gate.browser().try_sign_in("alice", doorward_tests::PASSWORD).await.status,
        StatusCode::FORBIDDEN
    );
    gate.ask(Request::AccountEnable { name: "alice".into() }).await.unwrap();
    gate.browser().sign_in("alice").await;
}
