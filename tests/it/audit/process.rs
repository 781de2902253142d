//! The log of a gate that is a process of its own: killed, stopped and meddled with, short of disk.

use std::path::Path;

use doorward_tests::process::{Served, add_account, configure, python, run};
use doorward_tests::{Browser, PASSWORD, PUBLIC_HOST, Scratch, Upstream, eventually, metric};
use http::StatusCode;

/// Does to a store what somebody with the file could do; prints what it finds.
const MEDDLE: &str = "
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute('DROP TRIGGER IF EXISTS audit_append_only')
store.execute(sys.argv[2])
store.commit()
";

/// Validates JSON lines against the schema on standard input, the last line excepted.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(sys.stdin)
Draft202012Validator.check_schema(schema)
lines = open(sys.argv[1]).read().splitlines()
for line in lines[:-1]:
    for error in Draft202012Validator(schema).iter_errors(json.loads(line)):
        print(error.json_path, error.message)
print(len(lines) - 1)
";

/// `doorward audit ...`: exit code and standard output.
fn audit(arguments: &[&str], config: &Path) -> (i32, String) {
    let whole = [&["audit"], arguments, &["--config", config.to_str().unwrap()]].concat();
    let output = run(&whole, "");
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

/// A gate that was used and stopped.
async fn used() -> (Scratch, std::path::PathBuf) {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, "");
    add_account(&config, "alice");
    let gate = Served::start(&config);
    let mut browser = Browser::new(gate.address, PUBLIC_HOST, None);
    browser.sign_in("alice").await;
    browser.try_sign_in("alice", "wrong").await;
    stop(gate);
    (scratch, config)
}

fn stop(mut gate: Served) {
    gate.signal("TERM");
    gate.child.wait().unwrap();
}

/// Writes the second row again, under another number.
fn again(number: &str) -> String {
    format!(
        "INSERT INTO audit SELECT {number}, time_ms, event, severity, outcome, principal, account, \
         session, address, request_id, details, prev, hash FROM audit WHERE sequence = 2"
    )
}

#[tokio::test]
async fn n10_an_edited_row_is_reported_with_its_number() {
    for (meddling, place) in [
        ("UPDATE audit SET account = 'mallory' WHERE sequence = 4", "record 4 was edited"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 3", "record 3 was edited"),
        ("UPDATE audit SET details = '{' WHERE sequence = 2", "record 2 was edited"),
        ("DELETE FROM audit WHERE sequence = 3", "record 3 is missing"),
        ("DELETE FROM audit WHERE sequence > 4", "record 5 is missing, with all up to record"),
        ("DELETE FROM audit WHERE sequence < 3", "record 1 is missing, with all up to record 2"),
        ("UPDATE audit SET sequence = sequence + 100 WHERE sequence = 3", "record 3 is missing"),
        (&again("-5"), "record 0 and before it are 1 rows that no gate has written"),
        (&again("9223372036854775807"), "was added behind the signed end, up to 92233720368547758"),
    ] {
        let (scratch, config) = used().await;
        let (code, text) = audit(&["verify"], &config);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("signed up to"), "{text}");
        let store = scratch.path().join("doorward.db");
        python(MEDDLE, &[store.to_str().unwrap(), meddling], b"");
        let (code, text) = audit(&["verify"], &config);
        assert_eq!(code, 1, "{meddling}: {text}");
        assert!(text.contains(place), "{meddling}: {text}");
        let (code, json) = audit(&["verify", "--json"], &config);
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(code == 1 && !report["findings"].as_array().unwrap().is_empty(), "{json}");
    }
}

/// Cuts the log and keeps the gate from saying so, which must not make it sign what is left.
#[tokio::test]
async fn n10_a_gate_that_cannot_say_that_its_log_was_cut_does_not_sign_it() {
    let (scratch, config) = used().await;
    let (store, head) =
        (scratch.path().join("doorward.db"), scratch.path().join("doorward.audit-head"));
    let meddle = |sql: &str| python(MEDDLE, &[store.to_str().unwrap(), sql], b"");
    meddle("DELETE FROM audit WHERE sequence > 4");
    meddle("CREATE TRIGGER t BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'x'); END");
    let before = std::fs::read(&head).unwrap();
    let mut gate = Served::start(&config);
    eventually("it tries", async || std::fs::read(&head).unwrap() != before).await;
    gate.kill();
    meddle("DROP TRIGGER t");
    for _ in 0..2 {
        let (code, text) = audit(&["verify"], &config);
        assert!(code == 1 && text.contains("record 5 is missing, with all up to"), "{text}");
    }
}

#[tokio::test]
async fn n10_an_export_verifies_fits_its_schema_and_shows_what_was_done_to_it() {
    let (scratch, config) = used().await;
    let (code, exported) = audit(&["export"], &config);
    assert_eq!(code, 0);
    let file = scratch.path().join("export.jsonl");
    let path = file.to_str().unwrap();
    let lines: Vec<_> = exported.lines().collect();
    assert!(lines.len() > 5, "{exported}");
    let check = |text: &str, arguments: &[&str]| {
        std::fs::write(&file, text).unwrap();
        audit(&[&["verify", "--file", path], arguments].concat(), &config)
    };
    let (code, text) = check(&exported, &[]);
    assert_eq!(code, 0, "{text}");
    let schema = run(&["audit", "schema"], "").stdout;
    assert_eq!(python(VALIDATE, &[path], &schema).trim(), (lines.len() - 1).to_string());

    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat();
    for (text, place) in [
        (exported.replace("authn_login_fail", "authn_login_lock"), "was edited"),
        (
            exported.replacen("\"details\":{", "\"details\": {", 1),
            "record 1 is no record as it was",
        ),
        (joined(&without(1)), "record 2 is missing"),
        (joined(&swapped), "record 2 is missing"),
        (joined(&lines[..lines.len() - 1]), "signed end"),
        (joined(&without(lines.len() - 2)), "is missing"),
        (joined(&lines[2..]), "record 1 is missing, with all up to record 2"),
        (joined(&[&lines[..2], &lines[1..]].concat()), "record 2 stands here out of order"),
        (format!("{exported}{}\n", lines[0]), "is no record"),
        (exported.trim_end().to_owned(), "is no record"),
    ] {
        let (code, found) = check(&text, &[]);
        assert!(code == 1 && found.contains(place), "{place}: {found}");
    }
    let (code, text) = check(&joined(&lines[2..4]), &["--piece"]);
    assert_eq!(code, 0, "a piece begins and ends anywhere: {text}");
    let (code, _) = check(&joined(&[lines[2], lines[4]]), &["--piece"]);
    assert_eq!(code, 1);
}

#[tokio::test]
async fn n10_a_running_gate_lists_exports_and_verifies() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, "");
    add_account(&config, "alice");
    let gate = Served::start(&config);
    Browser::new(gate.address, PUBLIC_HOST, None).try_sign_in("alice", "wrong").await;
    let about = ["list", "--account", "alice", "--since", "1h", "--limit", "5"];
    let (code, text) = audit(&about, &config);
    assert!(code == 0 && text.contains("authn_login_fail") && text.contains("account=alice"));
    let (_, text) = audit(&["list", "--event", "authn_login_fail", "--json"], &config);
    let record: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(
        (&record["event"], &record["outcome"]),
        (&"authn_login_fail".into(), &"failure".into())
    );
    assert_eq!(audit(&["verify"], &config).0, 0);
    assert!(audit(&["export"], &config).1.contains("\"end\":"));
    assert_eq!(audit(&["list", "--since", "soon"], &config).0, 1);
    drop(gate);
}

#[tokio::test]
async fn n10_a_kill_in_the_middle_leaves_a_log_that_verifies() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, "");
    add_account(&config, "alice");
    for attempts in [1, 3] {
        let mut gate = Served::start(&config);
        for _ in 0..attempts {
            Browser::new(gate.address, PUBLIC_HOST, None).try_sign_in("alice", "wrong").await;
        }
        gate.kill();
        let (code, text) = audit(&["verify"], &config);
        assert_eq!(code, 0, "{text}");
    }
    let (_, text) = audit(&["list", "--event", "user_created"], &config);
    assert!(text.contains("alice"), "what was there before is there: {text}");
}

#[tokio::test]
async fn n09_while_the_disk_is_full_serving_goes_on_and_what_is_lost_is_counted() {
    let (upstream, scratch) = (Upstream::start().await, Scratch::new());
    let config = configure(scratch.path(), &upstream.address, "[audit]\nqueue = 3\n");
    add_account(&config, "alice");
    let gate = Served::start(&config);
    let mut browser = Browser::new(gate.address, PUBLIC_HOST, None);
    browser.sign_in("alice").await;
    assert_eq!(audit(&["verify"], &config).0, 0, "what waited is written");

    gate.bound_files("4096");
    let dropped = "doorward_audit_events_dropped_total";
    let mut refused = 0;
    eventually("a full queue", async || {
        browser.post_form("/.doorward/sign-in", &[("code", "x")]).await;
        refused += 1;
        metric(gate.operations, dropped).await > 0
    })
    .await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "serving goes on");

    gate.bound_files("unlimited");
    let lost = metric(gate.operations, dropped).await;
    eventually("the log goes on", async || {
        audit(&["list", "--event", "audit_gap"], &config).1.contains("audit_gap")
    })
    .await;
    let (_, text) = audit(&["list", "--json"], &config);
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let records: Vec<_> = records.collect();
    let gaps = records.iter().filter(|record| record["event"] == "audit_gap");
    let counted: u64 =
        gaps.map(|gap| gap["details"]["count"].as_str().unwrap().parse::<u64>().unwrap()).sum();
    let written = records.iter().filter(|record| record["event"] == "csrf_refused").count();
    assert_eq!(counted, lost);
    assert_eq!(written as u64 + lost, refused, "every event is there or counted");
    assert_eq!(audit(&["verify"], &config).0, 0);
    let again = browser.try_sign_in("alice", PASSWORD).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
}
