//! Appeals: who has lost everything asks, an administrator decides, and the owner can stop it.

use std::time::Duration;

use doorward_plugins::administration::{AccountChange, Reply, Request};
use doorward_plugins::appeal::AppealState;
use doorward_tests::{Answer, App, Browser, PASSWORD, Setup, TestGate, Upstream};
use http::{Method, StatusCode};
use serde_json::json;

use super::{PAGE, bound};

const APPEAL: &str = "/.doorward/appeal";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n not much of a picture";

async fn start() -> (TestGate, Upstream, App) {
    let upstream = Upstream::start().await;
    let tables = "[second_factor]\nrequire = \"all\"\n[notify]\noutbox_dir = \"outbox\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let change =
        AccountChange { email: Some("alice@example.com".into()), ..AccountChange::default() };
    gate.add("alice", change).await;
    let app = gate.app_of("alice").await;
    app.wait();
    (gate, upstream, app)
}

async fn half_way(gate: &TestGate) -> Browser {
    let mut browser = gate.browser();
    assert_eq!(browser.try_sign_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    browser.navigating()
}

async fn lodge(browser: &mut Browser, reason: &str, documents: &[&[u8]]) -> Answer {
    let code = browser.get(APPEAL).await.hidden("code");
    let mut body = Vec::new();
    for (name, value) in [("code", &*code), ("reason", reason), ("contact", "+86 138, mornings")] {
        body.extend(
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    for document in documents {
        body.extend(
            b"--b\r\nContent-Disposition: form-data; name=\"documents\"; filename=\"id\"\r\n\r\n",
        );
        body.extend(*document);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    browser.send(Method::POST, APPEAL, &kind, body.into()).await
}

async fn appeals(gate: &TestGate) -> Vec<(String, AppealState)> {
    match gate.ask(Request::AppealList { all: true }).await.unwrap() {
        Reply::Appeals { appeals } => {
            appeals.into_iter().map(|appeal| (appeal.id, appeal.state)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_appeal_is_lodged_seen_granted_and_takes_effect_after_a_day() {
    let (gate, _upstream, _app) = start().await;
    let mut browser = half_way(&gate).await;
    let large = [PNG, &vec![0; 1 << 20]].concat();
    let sent = lodge(&mut browser, "My phone fell into the sea.", &[PNG, &large]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    let progress = sent.location().to_owned();
    let mut anywhere = gate.browser().navigating();
    assert!(anywhere.get(&progress).await.text().contains("An administrator will decide"));
    assert_eq!(lodge(&mut browser, "Again.", &[]).await.status, StatusCode::CONFLICT);
    let (id, state) = appeals(&gate).await.remove(0);
    assert_eq!(state, AppealState::Open);
    let shown = gate.ask(Request::AppealShow { id: id.clone() }).await.unwrap();
    let Reply::Appeal { statement, .. } = shown else { panic!("{shown:?}") };
    assert_eq!(statement.reason, "My phone fell into the sea.");
    assert_eq!(statement.documents[1].bytes(), large);
    // What it says is not to be read in the store.
    for file in ["doorward.db", "doorward.db-wal"] {
        let bytes = std::fs::read(gate.scratch.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(8).any(|window| window == b"fell int"), "{file}");
    }
    gate.ask(Request::AppealDecide { id: id.clone(), grant: true }).await.unwrap();
    assert!(gate.ask(Request::AppealDecide { id, grant: false }).await.is_err(), "decided once");
    assert!(anywhere.get(&progress).await.text().contains("waits to take effect"));
    gate.clock.advance(Duration::from_secs(24 * 3600 - 1));
    sweep(&gate).await;
    assert_eq!(bound(&gate).await.len(), 1, "not yet");
    let gate = gate.restart().await;
    gate.clock.advance(Duration::from_secs(1));
    sweep(&gate).await;
    assert!(bound(&gate).await.is_empty());
    let mut browser = gate.browser();
    let half = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!((half.status, &half.json()["ways"]), (StatusCode::UNAUTHORIZED, &json!("")));
    // Told when it came, when it was decided, and when it took effect; by mail and to operators.
    gate.deliver().await;
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(gate.scratch.path().join("outbox")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        if message["channel"] == "email" {
            kinds.push(message["kind"].as_str().unwrap().to_owned());
        }
    }
    kinds.sort();
    assert_eq!(kinds, ["alert_appeal_decided", "alert_appeal_received", "alert_factor_removed"]);
}

async fn sweep(gate: &TestGate) {
    let appeals = std::sync::Arc::clone(&gate.services().appeals);
    gate.in_office(async move { appeals.sweep().await }).await.unwrap();
}

#[tokio::test]
async fn the_owner_stops_an_appeal_that_somebody_else_lodged() {
    let (gate, _upstream, app) = start().await;
    lodge(&mut half_way(&gate).await, "Not me.", &[]).await;
    let (id, _) = appeals(&gate).await.remove(0);
    gate.ask(Request::AppealDecide { id, grant: true }).await.unwrap();
    let mut owner = half_way(&gate).await;
    let body = json!({"way": "totp", "code": app.code()});
    owner.post_json("/.doorward/api/v1/sign-in/second-factor", &body).await;
    let page = owner.get(PAGE).await;
    assert!(page.text().contains("asked to remove your second factors"), "{}", page.text());
    let code = page.hidden("code");
    let done = owner.post_form(&format!("{PAGE}/stop-appeal"), &[("code", &*code)]).await;
    assert!(done.location().ends_with("notice=stopped"), "{}", done.text());
    gate.clock.advance(Duration::from_secs(48 * 3600));
    sweep(&gate).await;
    assert_eq!(bound(&gate).await.len(), 1);
    assert_eq!(appeals(&gate).await[0].1, AppealState::Stopped);
}

#[tokio::test]
async fn strangers_lodge_nothing_and_what_is_no_document_is_refused() {
    let (gate, _upstream, _app) = start().await;
    let mut stranger = gate.browser().navigating();
    assert_eq!(stranger.get(APPEAL).await.location(), "/.doorward/sign-in");
    let large = vec![b'x'; 100 * 1024];
    let refused = stranger.send(Method::POST, APPEAL, &[], large.into()).await;
    assert_eq!(
        refused.status,
        StatusCode::PAYLOAD_TOO_LARGE,
        "nobody reads a stranger's documents"
    );
    assert_eq!(
        stranger.get("/.doorward/appeal/progress?id=AAAAAAAAAAAAAAAAAAAAAA").await.status,
        404
    );
    let mut browser = half_way(&gate).await;
    let huge = [PNG, &vec![0; 2 << 20]].concat();
    for (reason, documents) in [
        ("", &[PNG][..]),
        ("x", &[b"<svg onload=alert(1)>".as_slice()][..]),
        ("x", &[&huge[..]][..]),
        ("x", &[PNG, PNG, PNG, PNG][..]),
        (&*"x".repeat(2001), &[][..]),
    ] {
        let answer = lodge(&mut browser, reason, documents).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    }
    assert!(appeals(&gate).await.is_empty());
}
