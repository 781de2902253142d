//! Messages that leave the gate: by mail, by webhook, into a folder; once, in the end, and never in
//! clear.

mod alerts;
mod mail;
mod process;
mod webhook;

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use doorward_plugins::account::PrincipalRecord;
use doorward_plugins::administration::{AccountChange, Reply, Request as Ask};
use doorward_plugins::code::{Destination, Purpose, Request};
use doorward_plugins::language::Language;
use doorward_plugins::notify::alerts::{Alert, Occasion};
use doorward_tests::{Setup, TestGate, Upstream, events};
use serde_json::Value;

const ADDRESS: &str = "alice@example.com";
const PHONE: &str = "+8613800000000";

/// Longer than any wait before a second try of these tests.
const A_WHILE: Duration = Duration::from_secs(60);

/// Where an alert of these tests comes from.
const SOMEWHERE: Occasion<'static> =
    Occasion { address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))), device: "curl/8" };

async fn gate(tables: &str) -> TestGate {
    let upstream = Upstream::start().await;
    TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await
}

/// The account alice, who has an address and a phone.
async fn alice(gate: &TestGate) -> PrincipalRecord {
    let email = Some(ADDRESS.to_owned());
    gate.add("alice", AccountChange { email, ..AccountChange::default() }).await;
    match gate.ask(Ask::AccountShow { name: "alice".into() }).await.unwrap() {
        Reply::Account(account) => PrincipalRecord { phone: Some(PHONE.into()), ..*account },
        other => panic!("{other:?}"),
    }
}

/// Tells alice that she is locked out.
async fn tell(gate: &TestGate, owner: &PrincipalRecord) {
    gate.services().alerts.tell(owner, Alert::Locked, SOMEWHERE).await;
}

/// Asks for a code to alice's phone.
async fn ask_for_code(gate: &TestGate, bound_to: &str) {
    let request = Request {
        purpose: Purpose::SignIn,
        bound_to,
        language: Language::English,
        address: IpAddr::from([192, 0, 2, 1]),
        request_id: "1",
    };
    let to = Destination::phone(PHONE).unwrap();
    gate.services().codes.issue(&to, request).await.unwrap();
}

/// The documents in an outbox folder.
fn documents(gate: &TestGate) -> Vec<Value> {
    let folder = gate.scratch.path().join("outbox");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let read = |file: &std::path::PathBuf| {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    files.iter().map(read).collect()
}

const OUTBOX: &str = "[notify]\noutbox_dir = \"outbox\"\n";

#[tokio::test]
async fn an_outbox_folder_has_each_message_once_as_a_file() {
    let gate = gate(OUTBOX).await;
    let owner = alice(&gate).await;
    tell(&gate, &owner).await;
    ask_for_code(&gate, "c1").await;
    gate.deliver().await;
    let found = documents(&gate);
    let mut kinds: Vec<_> = found
        .iter()
        .map(|document| (document["channel"].as_str().unwrap(), document["kind"].as_str().unwrap()))
        .collect();
    kinds.sort_unstable();
    // By default nobody is woken by a text message for a lock.
    assert_eq!(
        kinds,
        [("email", "alert_locked"), ("text_message", "code_sign_in"), ("webhook", "alert_locked")]
    );
    let code = found.iter().find(|document| document["channel"] == "text_message").unwrap();
    let digits = code["message"]["code"].as_str().unwrap();
    let text = code["message"]["text"].as_str().unwrap();
    assert!(text.ends_with(&format!("\n@console.example.com #{digits}")), "{text}");
    assert_eq!(code["message"]["to"], PHONE);
    gate.clock.advance(A_WHILE);
    gate.deliver().await;
    assert_eq!(documents(&gate).len(), 3);
}

#[tokio::test]
async fn g16_no_code_is_in_a_log_or_stays_in_the_store() {
    events();
    let gate = gate(OUTBOX).await;
    ask_for_code(&gate, "c1").await;
    gate.deliver().await;
    let document = documents(&gate).remove(0);
    let code = document["message"]["code"].as_str().unwrap();
    let id = document["id"].as_str().unwrap();
    let sent = events().with("event", "message_sent");
    let own: Vec<_> = sent.iter().filter(|event| event["id"] == id).collect();
    assert_eq!(own.len(), 1, "the log says that it was sent");
    let lines = events().text();
    let mine = lines.lines().filter(|line| line.contains(id) || line.contains(PHONE));
    assert!(!mine.clone().any(|line| line.contains(code)) && mine.count() == 1);
    let raw = |name: &str| std::fs::read(gate.scratch.path().join(name)).unwrap_or_default();
    for name in ["doorward.db", "doorward.db-wal"] {
        let found = raw(name).windows(code.len()).any(|window| window == code.as_bytes());
        assert!(!found, "{name}");
    }
}

#[tokio::test]
async fn j06_a_change_of_an_address_is_told_at_the_old_one_too() {
    let gate = gate(OUTBOX).await;
    let owner = PrincipalRecord {
        security_email: Some("safe@example.com".into()),
        language: Some("zh-CN".into()),
        ..alice(&gate).await
    };
    let alerts = &gate.services().alerts;
    alerts.tell(&owner, Alert::EmailChanged { old: Some("old@example.com") }, SOMEWHERE).await;
    alerts.tell(&owner, Alert::PhoneChanged { old: Some("+8613900000000") }, SOMEWHERE).await;
    gate.deliver().await;
    let told = |kind: &str, channel: &str| {
        let mut told: Vec<_> = documents(&gate)
            .iter()
            .filter(|found| found["kind"] == kind && found["channel"] == channel)
            .map(|found| found["message"]["to"].as_str().unwrap().to_owned())
            .collect();
        told.sort();
        told
    };
    let mails = ["alice@example.com", "old@example.com", "safe@example.com"];
    assert_eq!(told("alert_email_changed", "email"), mails);
    assert_eq!(told("alert_email_changed", "text_message"), [PHONE]);
    assert_eq!(told("alert_phone_changed", "text_message"), [PHONE, "+8613900000000"]);
    assert_eq!(told("alert_phone_changed", "email"), [ADDRESS, "safe@example.com"]);
    let text = documents(&gate)[0]["message"]["subject"].as_str().unwrap().to_owned();
    assert!(text.is_empty() || text.contains("已变更") || text.contains("changed"), "{text}");
}
