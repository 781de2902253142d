//! The audit log: what becomes a record, what never does, and that it holds together.

mod process;

use std::time::Duration;

use doorward_certs::development::DevelopmentCertificate;
use doorward_plugins::administration::{AccountChange, Reply, Request};
use doorward_plugins::audit::{AuditQuestion, Record, Report};
use doorward_tests::{
    Browser, PASSWORD, PUBLIC_HOST, Scratch, Setup, TestGate, Upstream, events, metric,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::sign_in::{SIGN_IN, SIGN_OUT, fill_in};

const API_SIGN_IN: &str = "/.doorward/api/v1/sign-in";

async fn gate(tables: &str) -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    (upstream, gate)
}

/// All records, of this event if one is named.
async fn records(gate: &TestGate, event: Option<&str>) -> Vec<Record> {
    let question =
        AuditQuestion { event: event.map(Into::into), limit: 10_000, ..AuditQuestion::default() };
    match gate.ask(Request::AuditList(question)).await.unwrap() {
        Reply::AuditRecords { records, .. } => records,
        other => panic!("{other:?}"),
    }
}

async fn count(gate: &TestGate, event: &str) -> usize {
    records(gate, Some(event)).await.len()
}

async fn verify(gate: &TestGate) -> Report {
    match gate.ask(Request::AuditVerify).await.unwrap() {
        Reply::AuditReport(report) => report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn n01_there_are_as_many_records_as_there_were_attempts() {
    let (_upstream, gate) = gate("[lockout]\nmode = \"observe\"").await;
    for name in ["alice", "carol"] {
        gate.add(name, AccountChange::default()).await;
    }
    gate.ask(Request::AccountDisable { name: "carol".into() }).await.unwrap();
    for by_form in [true, false] {
        for (name, password) in [
            ("alice", PASSWORD),
            ("alice", "wrong"),
            ("ALICE ", "wrong too"),
            ("nobody", PASSWORD),
            ("carol", PASSWORD),
            ("alice", PASSWORD),
        ] {
            let mut browser = gate.browser();
            match by_form {
                true => drop(fill_in(&mut browser, SIGN_IN, name, None, password).await),
                false => drop(browser.try_sign_in(name, password).await),
            }
        }
    }
    let mut browser = gate.signed_in().await;
    browser.post_json("/.doorward/api/v1/sign-out", &json!({})).await;

    let successes = records(&gate, Some("authn_login_success")).await;
    let failures = records(&gate, Some("authn_login_fail")).await;
    assert_eq!((successes.len(), failures.len()), (5, 8), "one for each attempt");
    for record in successes.iter().chain(&failures) {
        let succeeded = record.event == "authn_login_success";
        assert_eq!(record.outcome.as_deref(), Some(["failure", "success"][usize::from(succeeded)]));
        assert_eq!(record.details["factor"], "password", "{record:?}");
        assert_eq!(record.address.as_deref(), Some("127.0.0.1"));
        assert!(record.request_id.is_some() && record.session.is_some() == succeeded);
        assert!(record.line().contains("\"time\":\"2027-01-15T08:00:00.000Z\""), "{record:?}");
    }
    let about = |name: Option<&str>| {
        failures.iter().filter(|record| record.account.as_deref() == name).count()
    };
    assert_eq!((about(Some("alice")), about(Some("carol")), about(None)), (4, 2, 2));
    for (event, expected) in [("session_ended", 1), ("user_created", 2), ("user_state", 1)] {
        assert_eq!(count(&gate, event).await, expected, "{event}");
    }
    doorward_tests::eventually("the same ids in the access log", async || {
        let lines = gate.access_log().await;
        let is_there = |id: &String| lines.iter().any(|line| line["request_id"] == **id);
        successes.iter().filter_map(|record| record.request_id.as_ref()).all(is_there)
    })
    .await;

    let all = records(&gate, None).await;
    assert!(all.iter().map(|record| record.sequence).eq(1..=all.len() as u64));
    let report = verify(&gate).await;
    assert_eq!((report.findings, report.records), (vec![], all.len() as u64));
}

#[tokio::test]
async fn n01_records_are_found_by_account_event_and_time() {
    let (_upstream, gate) = gate("").await;
    gate.add("alice", AccountChange::default()).await;
    gate.clock.advance(Duration::from_secs(3600));
    gate.browser().try_sign_in("alice", "wrong").await;
    let ask = async |question: AuditQuestion| {
        let reply = gate.ask(Request::AuditList(AuditQuestion { limit: 10, ..question })).await;
        let Reply::AuditRecords { records, .. } = reply.unwrap() else { panic!("other reply") };
        records.into_iter().map(|record| record.event).collect::<Vec<_>>()
    };
    let account = || Some("ALICE".to_owned());
    let about_alice = ask(AuditQuestion { account: account(), ..AuditQuestion::default() }).await;
    assert_eq!(about_alice, ["user_created", "authn_login_fail"], "by any spelling of the name");
    let since_secs = Some(60);
    let late = AuditQuestion { account: account(), since_secs, ..AuditQuestion::default() };
    assert_eq!(ask(late).await, ["authn_login_fail"]);
    let unknown = AuditQuestion { event: Some("authn_login".into()), ..AuditQuestion::default() };
    let refused = gate.ask(Request::AuditList(unknown)).await.unwrap_err().to_string();
    assert!(refused.contains("authn_login_fail"), "says which there are: {refused}");
}

#[tokio::test]
async fn n02_n07_what_is_refused_and_what_security_fails_is_a_record() {
    let folder = Scratch::new();
    let stranger = DevelopmentCertificate::ensure(folder.path(), &["127.0.0.1"]).unwrap();
    let unproven = Upstream::tls(stranger.tls).await;
    let tables = format!(
        "[[route]]\npath = \"/auditors/**\"\nroles = [\"auditor\"]\n[[route]]\npath = \"/tls/**\"\nupstream = \"tls\"\n\
         [upstream.tls]\naddress = \"https://{}\"\nhosts = [\"tls.example.com\"]\n",
        unproven.address
    );
    let (_upstream, gate) = gate(&tables).await;
    let mut browser = gate.signed_in().await;
    assert_eq!(browser.get("/auditors/x").await.status, StatusCode::FORBIDDEN);
    let evil = [("origin", "https://evil.example")];
    browser.send(Method::POST, SIGN_OUT, &evil, "".into()).await;
    assert_eq!(browser.get("/tls/x").await.status, StatusCode::BAD_GATEWAY);
    gate.ask(Request::KeyRotate).await.unwrap();
    gate.ask(Request::SessionRevokeAll { name: "alice".into() }).await.unwrap();
    for event in [
        "authz_fail",
        "csrf_refused",
        "upstream_tls_fail",
        "key_rotated",
        "session_revoked",
        "sys_startup",
    ] {
        assert_eq!(count(&gate, event).await, 1, "{event}");
    }
    let refused = &records(&gate, Some("authz_fail")).await[0];
    assert_eq!(refused.account.as_deref(), Some("alice"));
    assert!(refused.session.is_some() && refused.severity == "warning", "{refused:?}");
    let gate = gate.restart().await;
    assert_eq!(count(&gate, "sys_shutdown").await, 1);
    assert_eq!(count(&gate, "audit_checkpoint").await, 1, "the log was sealed at the end");
    assert_eq!(verify(&gate).await.findings, []);
}

#[tokio::test]
async fn n03_no_secret_is_in_the_log() {
    events();
    let (_upstream, gate) = gate("[audit]\nfile = \"audit.jsonl\"").await;
    gate.add("alice", AccountChange::default()).await;
    let mut browser = gate.browser();
    let page = browser.get(&format!("{SIGN_IN}?return_to=%2Fx%3Fkey%3Dcanary-query")).await;
    let code = page.hidden("code");
    let form_cookie = browser.jar["__Host-doorward-form"].clone();
    browser.try_sign_in("alice", "canary-wrong-password").await;
    browser.try_sign_in("canary-typed-as-name", "canary-other-password").await;
    browser.post_form(SIGN_IN, &[("code", "canary-code"), ("password", "canary-form")]).await;
    browser.sign_in("alice").await;
    let fields = [("authorization", "Bearer canary-bearer"), ("cookie", "sid=canary-cookie")];
    browser.get_with("/x?key=canary-query", &fields).await;
    let token = browser.token().to_owned();
    let password = "canary-new-Pa55word".to_owned();
    gate.ask(Request::AccountSetPassword { name: "alice".into(), password }).await.unwrap();
    let lines: Vec<_> = records(&gate, None).await.iter().map(Record::line).collect();
    let file = std::fs::read_to_string(gate.scratch.path().join("audit.jsonl")).unwrap();
    assert!(lines.len() > 5 && file.contains("authn_login_success"));
    for secret in ["canary-", PASSWORD, &token, &code, &form_cookie] {
        for (place, text) in
            [("records", lines.join("\n")), ("file", file.clone()), ("events", events().text())]
        {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
}

#[tokio::test]
async fn n04_nothing_that_is_sent_can_forge_a_record() {
    const EVIL: &str = "{\"event\":\"forged\"}\u{202e}";
    let (_upstream, gate) = gate("[audit]\nfile = \"audit.jsonl\"").await;
    gate.add("alice", AccountChange::default()).await;
    let mut browser = gate.browser();
    let fields = [("user-agent", EVIL), ("x-forwarded-for", EVIL), ("x-request-id", EVIL)];
    let body = json!({"account": "alice", "password": "\r\n{\"event\":\"forged\"}\u{1b}[31m"});
    let fields = [&fields[..], &[("content-type", "application/json")]].concat();
    browser.send(Method::POST, API_SIGN_IN, &fields, body.to_string().into()).await;
    fill_in(&mut browser, SIGN_IN, "\u{1b}[31m\r\n", Some(EVIL), EVIL).await;
    browser.send(Method::POST, SIGN_OUT, &[("origin", EVIL)], "".into()).await;
    let held = records(&gate, None).await;
    let file = std::fs::read_to_string(gate.scratch.path().join("audit.jsonl")).unwrap();
    let parsed: Vec<Record> =
        file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed, held, "the file says what the store says");
    assert!(held.len() >= 4 && !file.contains("forged"), "{file}");
    assert!(!file.contains(['\u{1b}', '\u{202e}', '\r']));
    assert_eq!(verify(&gate).await.findings, []);
}

#[tokio::test]
async fn n09_a_flood_that_costs_nothing_becomes_a_count() {
    let (_upstream, gate) = gate("").await;
    let mut browser = gate.browser();
    for _ in 0..100 {
        browser.send(Method::POST, SIGN_OUT, &[("sec-fetch-site", "cross-site")], "".into()).await;
    }
    assert_eq!(count(&gate, "csrf_refused").await, 60);
    assert_eq!(count(&gate, "audit_summary").await, 0, "the minute is not over");
    gate.clock.advance(Duration::from_secs(60));
    let summaries = records(&gate, Some("audit_summary")).await;
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0].details["event"], "csrf_refused");
    assert_eq!(summaries[0].details["count"], "40", "no refusal is lost");
    assert_eq!(metric(gate.operations(), "doorward_audit_events_dropped_total").await, 0);
}

#[tokio::test]
async fn n10_what_is_older_than_it_is_kept_goes_and_the_rest_verifies() {
    let (_upstream, gate) = gate("[audit]\nkeep = \"1d\"\ncheckpoint_records = 5").await;
    for number in 0..8 {
        gate.add(&format!("early-{number}"), AccountChange::default()).await;
    }
    let before = records(&gate, None).await;
    assert_eq!(before[0].sequence, 1);
    gate.clock.advance(Duration::from_secs(2 * 86_400));
    doorward_tests::eventually("pruning", async || records(&gate, None).await[0].sequence > 1)
        .await;
    let left = records(&gate, None).await;
    assert_eq!(left[0].event, "audit_checkpoint");
    assert!(left.iter().any(|record| record.event == "audit_pruned"));
    let report = verify(&gate).await;
    assert_eq!((report.findings, report.first), (vec![], left[0].sequence));
}

/// Many at once: nobody waits for the log, and every attempt is in it.
#[tokio::test]
async fn n09_everybody_at_once_is_in_the_log() {
    let (_upstream, gate) = gate("").await;
    let mut browser = gate.signed_in().await;
    let cookies = std::mem::take(&mut browser.jar);
    let address = gate.address();
    let ask = |_| {
        let cookies = cookies.clone();
        tokio::spawn(async move {
            let mut browser = Browser::new(address, PUBLIC_HOST, None);
            browser.jar = cookies;
            browser.try_sign_in("alice", PASSWORD).await.status
        })
    };
    let asked: Vec<_> = (0..8).map(ask).collect();
    let mut successes = 1;
    for answer in asked {
        successes += usize::from(answer.await.unwrap().is_success());
    }
    assert_eq!(count(&gate, "authn_login_success").await, successes);
    assert_eq!(verify(&gate).await.findings, []);
}
