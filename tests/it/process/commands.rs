//! Commands on accounts, sessions and keys: on a running gate over its socket, on a stopped one
//! in its store, with the same meaning; which it was is said on standard error.

use std::path::Path;

use doorward_tests::process::{self, Served};
use doorward_tests::{PASSWORD, Scratch, Upstream};
use http::StatusCode;
use serde_json::Value;

use super::{browser, ended, nobody};

const NEW_PASSWORD: &str = "another long password";

/// Runs `words --config FILE` and gives what it printed. It must say where it did its work.
#[track_caller]
fn done(config: &Path, running: bool, words: &str, input: &str) -> String {
    let mut arguments: Vec<_> = words.split(' ').collect();
    arguments.extend(["--config", config.to_str().unwrap()]);
    let (stdout, stderr) = ended(&process::run(&arguments, input), 0);
    let said = if running {
        "asked the running gate at "
    } else {
        "no gate is running: used its store at "
    };
    assert!(stderr.starts_with(said), "{words}: {stderr}");
    stdout
}

#[track_caller]
fn refused(config: &Path, words: &str, input: &str, why: &str) {
    let mut arguments: Vec<_> = words.split(' ').collect();
    arguments.extend(["--config", config.to_str().unwrap()]);
    let (stdout, stderr) = ended(&process::run(&arguments, input), 1);
    assert!(stdout.is_empty() && stderr.contains(why), "{words}: {stdout}{stderr}");
}

#[track_caller]
fn json(config: &Path, running: bool, words: &str) -> Value {
    serde_json::from_str(&done(config, running, &format!("{words} --json"), "")).unwrap()
}

/// The life of accounts and keys, told alike of a running gate and of a stopped one.
fn walk(config: &Path, running: bool) {
    let password = format!("{PASSWORD}\n");
    let add = "account add dora --password-stdin --display-name Dora --email dora@example.com --role owner --role auditor --group staff";
    let shown = done(config, running, add, &password);
    assert!(shown.contains("dora@example.com") && shown.contains("owner, auditor"), "{shown}");
    assert!(!shown.contains(PASSWORD) && !shown.contains("argon2"), "{shown}");
    refused(config, add, &password, "taken");
    refused(config, "account add DORA --password-stdin", &password, "taken");
    refused(
        config,
        "account add bad\u{0}name --password-stdin".replace('\0', "!").as_str(),
        &password,
        "is not a name",
    );
    refused(config, "account add short --password-stdin", "short\n", "too short");
    refused(config, "account add nobody/dev --password-stdin", &password, "there is no account");
    done(config, running, "account add dora/dev --password-stdin", &password);
    let accounts = json(config, running, "account list");
    let names: Vec<_> = accounts["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dora", "dora/dev"]);
    assert!(!accounts.to_string().contains("argon2"), "{accounts}");
    done(
        config,
        running,
        "account set dora --role auditor --group  --idle 45m --verification personal",
        "",
    );
    let dora = json(config, running, "account show dora");
    assert_eq!(dora["roles"], serde_json::json!(["auditor"]));
    assert_eq!(dora["groups"], serde_json::json!([]));
    assert_eq!((&dora["idle_secs"], &dora["verification"]), (&2700.into(), &"personal".into()));
    refused(config, "account set dora --idle 5m", "", "15m");
    refused(config, "account set dora --idle soon", "", "is not a time");
    refused(config, "account set dora --verification royal", "", "is not a status");
    refused(config, "account set dora --email nowhere", "", "is not an e-mail address");
    refused(config, "account set dora/dev --idle 45m", "", "is the account's");
    done(config, running, "account disable dora/dev", "");
    assert!(done(config, running, "account show dora/dev", "").contains("disabled"));
    done(config, running, "account enable dora/dev", "");
    done(
        config,
        running,
        "account set-password dora --password-stdin",
        &format!("{NEW_PASSWORD}\r\n"),
    );
    done(config, running, "account delete dora/dev", "");
    refused(config, "account show dora/dev", "", "there is no account");
    refused(config, "account add dora/dev --password-stdin", &password, "not handed out again");
    refused(config, "account show nobody", "", "there is no account");
    refused(config, "session revoke nothing", "", "there is no session");
    let before = json(config, running, "key list")["keys"].as_array().unwrap().len();
    let rotated = json(config, running, "key rotate");
    assert_eq!(rotated["keys"].as_array().unwrap().len(), before + 1);
    let listed = done(config, running, "key list", "");
    assert!(listed.contains("ES256  retired") && listed.contains("ES256  signing"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_on_a_stopped_gate_and_on_a_running_one() {
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &nobody(), "");
    walk(&config, false);
    let other = Scratch::new();
    let config = process::configure(other.path(), &nobody(), "");
    let served = Served::start(&config);
    walk(&config, true);
    let mut person = browser(&served);
    assert_eq!(person.try_sign_in("dora", PASSWORD).await.status, StatusCode::FORBIDDEN);
    assert_eq!(person.try_sign_in("dora", NEW_PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_from_the_command_line() {
    let upstream = Upstream::start().await;
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &upstream.address, "");
    process::add_account(&config, "alice");
    process::add_account(&config, "bob");
    let mut served = Served::start(&config);
    let mut signed_in = Vec::new();
    for name in ["alice", "alice", "bob"] {
        let mut person = browser(&served);
        person.fields.push(("user-agent".into(), "Terminal \u{9b}31m\u{202e}x".into()));
        person.sign_in(name).await;
        signed_in.push(person);
    }
    let sessions =
        json(&config, true, "session list alice")["sessions"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    assert_eq!(json(&config, true, "session list")["sessions"].as_array().unwrap().len(), 3);
    for person in &signed_in {
        let shown = done(&config, true, "session list", "");
        assert!(!shown.contains(person.token()), "a token is shown: {shown}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(steers), "a client can steer the terminal: {shown:?}");
    }
    let first = sessions[0]["id"].as_str().unwrap();
    assert!(
        done(&config, true, &format!("session revoke {first}"), "").contains("1 session ended")
    );
    assert_eq!(signed_in[0].get("/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(signed_in[1].get("/").await.status, StatusCode::OK);
    assert!(done(&config, true, "session revoke --all alice", "").contains("1 session ended"));
    assert_eq!(signed_in[1].get("/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(signed_in[2].get("/").await.status, StatusCode::OK);
    // The same on the store of a stopped gate, which believes it when it starts again.
    served.kill();
    assert!(done(&config, false, "session revoke --all bob", "").contains("1 session ended"));
    let served = Served::start(&config);
    let mut bob = browser(&served);
    bob.jar.clone_from(&signed_in[2].jar);
    assert_eq!(bob.get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_the_gate_is_ready() {
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &nobody(), "");
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let at = text.rfind("127.0.0.1:0").unwrap();
    std::fs::write(&config, format!("{}{reserved}{}", &text[..at], &text[at + 11..])).unwrap();
    let words = ["health", "--config", config.to_str().unwrap()];
    let (_, stderr) = ended(&process::run(&words, ""), 74);
    assert!(stderr.contains("no gate answers at "), "{stderr}");
    let _served = Served::start(&config);
    let (stdout, _) = ended(&process::run(&words, ""), 0);
    assert_eq!(stdout, "ready\n");
}

#[test]
fn p05_a_store_that_others_can_use_is_not_opened() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &nobody(), "");
    process::add_account(&config, "alice");
    let words = ["account", "list", "--config", config.to_str().unwrap()];
    let store = scratch.path().join("doorward.db");
    for (path, open, shut, advice) in [
        (store.as_path(), 0o644, 0o600, "chmod 600 "),
        (scratch.path(), 0o777, 0o755, "chmod o-w "),
    ] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(open)).unwrap();
        let (_, stderr) = ended(&process::run(&words, ""), 74);
        assert!(stderr.contains(&format!("{advice}{}", path.display())), "{stderr}");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(shut)).unwrap();
        done(&config, false, "account list", "");
    }
}

#[test]
fn p01_a_password_is_read_from_standard_input_and_from_nowhere_else() {
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &nobody(), "");
    let file = config.to_str().unwrap();
    let words = ["account", "add", "alice", "--config", file];
    let (_, stderr) = ended(&process::run(&words, "correct horse battery staple\n"), 64);
    assert!(stderr.contains("--password-stdin"), "{stderr}");
    let words = ["account", "add", "alice", "--password", "canary-Pa55word-long", "--config", file];
    let (_, stderr) = ended(&process::run(&words, ""), 64);
    assert!(!stderr.contains("canary-Pa55word-long"), "it is said aloud: {stderr}");
    assert!(!scratch.path().join("doorward.db").exists(), "something was done all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_does_nothing_to_the_gate_of_another_store() {
    let (one, two) = (Scratch::new(), Scratch::new());
    let first = process::configure(one.path(), &nobody(), "");
    process::add_account(&first, "alice");
    let _served = Served::start(&first);
    let second = process::configure(two.path(), &nobody(), "");
    let text = std::fs::read_to_string(&second).unwrap();
    let socket = format!("[operations]\nsocket = {:?}", one.path().join("doorward.sock"));
    std::fs::write(&second, text.replace("[operations]", &socket)).unwrap();
    let words = ["account", "delete", "alice", "--config", second.to_str().unwrap()];
    let (_, stderr) = ended(&process::run(&words, ""), 74);
    assert!(stderr.contains("has another store: "), "{stderr}");
    assert!(done(&first, true, "account show alice", "").contains("active"));
}
