//! Rules for new passwords, and passwords that come from other systems.

use std::path::Path;
use std::process::Output;

use doorward_plugins::account::PrincipalRecord;
use doorward_plugins::administration::{AccountChange, AdminError, Reply, Request};
use doorward_plugins::store::{AccountStore, SqliteStore};
use doorward_tests::process::{self, Served};
use doorward_tests::{Browser, PASSWORD, PUBLIC_HOST, Scratch, Setup, TestGate, Upstream};
use http::StatusCode;

use crate::sign_in;

// Of "another long password", made by other implementations: libxcrypt, and OpenSSL by way of
// Python's hashlib.
const OTHER_PASSWORD: &str = "another long password";
const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuuH6/zIUWbFEy/xe9yziNIWiAihv8O2m6";
const SCRYPT: &str =
    "$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$Ga2D7MJ1i2vlPlA6Tu1UhihNz7uTIbu21sHJE0ByQeE";
const PBKDF2: &str =
    "$pbkdf2-sha256$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$hVIjttf9obiHsVdDorRd6FVVRALUuDAa7tcrlI+ym+4";

/// SHA-1 of "tippler under glass": what a range service is told, and what is kept from it.
const TOLD: &str = "D8BC3";
const REST: &str = "28200CCDA22AF2067F7E1D6D07BA6B6AF4C";

fn nobody() -> std::net::SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

/// Runs the command; gives its exit code, and all that it said.
fn run(words: &[&str], input: &str) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = process::run(words, input);
    (
        status.code(),
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)),
    )
}

/// Runs an `account` command, with a password on standard input.
fn account(config: &Path, words: &[&str], input: &str) -> (Option<i32>, String) {
    run(&[&["account"], words, &["--config", config.to_str().unwrap()]].concat(), input)
}

#[tokio::test]
async fn f15_what_attackers_try_first_is_refused_with_the_reason() {
    let scratch = Scratch::new();
    let (words, list) = (scratch.path().join("words.txt"), scratch.path().join("breached.list"));
    std::fs::write(&words, "tippler under glass\nzo\u{eb} likes long trains\n").unwrap();
    let make =
        ["breach-list", "make", "--passwords", words.to_str().unwrap(), list.to_str().unwrap()];
    assert_eq!(run(&make, "").0, Some(0));
    let rule = "[accounts]\nbreach_list = \"breached.list\"";
    let config = process::configure(scratch.path(), &nobody(), rule);
    let add = ["add", "lorina", "--display-name", "Ina Liddell", "--password-stdin"];
    let refusals = [
        ("four of them", "too short: use at least 15 characters"),
        ("1q2w3e4r5t6y7u8i9o0p", "attackers try first"),
        ("LorinaLorina2026", "little more than \"lorina\""),
        ("liddell!liddell!2026", "little more than \"liddell\""),
        ("console.example.com", "little more than \"console.example.com\""),
        ("passwordpassword", "repeats itself"),
        ("tippler under glass", "found in a breach"),
        ("zoe\u{308} likes long trains", "found in a breach"),
    ];
    for (password, why) in refusals {
        let (code, said) = account(&config, &add, &format!("{password}\n"));
        assert!(code == Some(1) && said.contains(why), "{password}: {code:?} {said}");
        assert_eq!(account(&config, &["show", "lorina"], "").0, Some(1), "it was added");
    }
    let (code, said) = account(&config, &add, "lorina likes tipplers\n");
    assert_eq!(code, Some(0), "{said}");
    // The same holds for a running gate, and for a password that is changed.
    let served = Served::start(&config);
    for (password, why) in refusals {
        let set = ["set-password", "lorina", "--password-stdin"];
        let (code, said) = account(&config, &set, &format!("{password}\n"));
        assert!(code == Some(1) && said.contains(why), "{password}: {code:?} {said}");
    }
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    let answer = browser.try_sign_in("lorina", "lorina likes tipplers").await;
    assert_eq!(answer.status, StatusCode::OK, "the old one still holds");
}

#[test]
fn f16_a_breach_list_that_cannot_be_used_is_told_at_the_start() {
    let scratch = Scratch::new();
    let rule = "[accounts]\nbreach_list = \"breached.list\"";
    let config = process::configure(scratch.path(), &nobody(), rule);
    let file = config.to_str().unwrap();
    let add = ["account", "add", "alice", "--password-stdin", "--config", file];
    for (bytes, why) in [(None, "No such file"), (Some("DWBREACHES"), "too short")] {
        if let Some(bytes) = bytes {
            std::fs::write(scratch.path().join("breached.list"), bytes).unwrap();
        }
        for words in [["config", "check", file].as_slice(), &["serve", "--config", file], &add] {
            let (code, said) = run(words, &format!("{PASSWORD}\n"));
            assert_eq!(code, Some(64), "{words:?}: {said}");
            assert!(said.contains("accounts.breach_list") && said.contains(why), "{said}");
        }
    }
}

#[test]
fn f15_a_breach_list_is_made_verified_and_asked_from_the_command_line() {
    let scratch = Scratch::new();
    let list = scratch.path().join("breached.list");
    let list = list.to_str().unwrap();
    let download = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:10434004\r\n";
    let (code, said) = run(&["breach-list", "make", "-", list], download);
    assert!(code == Some(0) && said.contains("1 passwords of 1 lines"), "{said}");
    let check = ["breach-list", "check", list, "--password-stdin"];
    let (code, said) = run(&check, "password\n");
    assert!(code == Some(1) && said.contains("found in a breach"), "{said}");
    assert_eq!(run(&check, "correct horse battery staple\n").0, Some(0));
    assert_eq!(run(&["breach-list", "verify", list], "").0, Some(0));
    let (code, said) = run(&["breach-list", "make", "-", list], "not a hash\n");
    assert!(code == Some(1) && said.contains("line 1 is not a SHA-1"), "{said}");
    assert_eq!(run(&["breach-list", "verify", list], "").0, Some(0), "the old one stays");
    let mut bytes = std::fs::read(list).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(list, bytes).unwrap();
    assert_eq!(run(&["breach-list", "verify", list], "").0, Some(1));
}

#[tokio::test]
async fn f18_whoever_comes_from_another_system_keeps_the_password_under_a_hash_of_ours() {
    let upstream = Upstream::start().await;
    let mut gate = TestGate::start(&upstream, Setup::default()).await;
    for (name, hash) in [("bea", BCRYPT), ("sam", SCRYPT), ("pam", PBKDF2)] {
        let (name, password_hash) = (name.to_owned(), hash.to_owned());
        let change = Box::<AccountChange>::default();
        gate.ask(Request::AccountImport { name, password_hash, change }).await.unwrap();
    }
    gate.add_alice().await;
    let name = "alice".to_owned();
    let password_hash = BCRYPT.to_owned();
    gate.ask(Request::AccountSetPasswordHash { name, password_hash }).await.unwrap();
    for name in ["alice", "bea", "sam", "pam"] {
        for wrong in ["another long passwore", PASSWORD] {
            let answer = gate.browser().try_sign_in(name, wrong).await;
            assert_ne!(answer.status, StatusCode::OK, "{name}: {wrong}");
        }
        for _ in 0..2 {
            let answer = gate.browser().try_sign_in(name, OTHER_PASSWORD).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
        }
    }
    gate.stop();
    let store = SqliteStore::open(&gate.scratch.path().join("doorward.db")).await.unwrap();
    let records = store.list().await.unwrap();
    assert_eq!(records.len(), 4);
    for PrincipalRecord { name, password_hash, .. } in records {
        let ours = password_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$");
        assert!(ours, "{name}: {password_hash}");
    }
}

#[test]
fn f18_a_hash_is_imported_from_the_command_line() {
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &nobody(), "");
    let (code, said) = account(&config, &["add", "bea", "--password-hash", BCRYPT], "");
    assert!(code == Some(0) && !said.contains("$2y$"), "{said}");
    let (code, said) = account(&config, &["add", "sam", "--password-hash", "-"], SCRYPT);
    assert_eq!(code, Some(0), "{said}");
    let set = ["set-password", "sam", "--password-hash", PBKDF2];
    assert_eq!(account(&config, &set, "").0, Some(0));
    let dear = BCRYPT.replace("$04$", "$16$");
    for (hash, why) in [
        ("5f4dcc3b5aa765d61d8327deb882cf99", "is none of bcrypt"),
        (&dear, "costs too much"),
        (PASSWORD, "is none of bcrypt"),
    ] {
        let (code, said) = account(&config, &["add", "eve", "--password-hash", hash], "");
        assert!(code == Some(1) && said.contains(why), "{said}");
        assert!(!said.contains(hash), "it is said aloud: {said}");
    }
    let both = ["add", "eve", "--password-stdin", "--password-hash", BCRYPT];
    assert_eq!(account(&config, &both, "").0, Some(64));
}

#[tokio::test]
async fn f13_every_character_counts_and_one_unicode_form_is_as_good_as_another() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let begun: String = (0..199_u32).filter_map(|at| char::from_u32(0x4e00 + at * at)).collect();
    let (long, other) = (format!("{begun}a"), format!("{begun}b"));
    let ascii: String = begun.chars().map(|c| char::from(b'!' + (c as u32 % 90) as u8)).collect();
    for (name, password) in [
        ("long", &*long),
        ("ascii", &*format!("{ascii}a")),
        ("composed", "Zo\u{eb} fährt gern Zug 😀"),
        ("decomposed", "Zoe\u{308} fa\u{308}hrt gern Zug 😀"),
        ("spaces", "  between two spaces  "),
    ] {
        let (name, password) = (name.to_owned(), password.to_owned());
        let change = Box::<AccountChange>::default();
        gate.ask(Request::AccountAdd { name, password, change }).await.unwrap();
    }
    for (name, password, right) in [
        ("long", &*other, false),
        ("long", &begun, false),
        ("long", &long, true),
        ("ascii", &format!("{ascii}b"), false),
        ("ascii", &format!("{ascii}a"), true),
        ("composed", "Zoe\u{308} fa\u{308}hrt gern Zug 😀", true),
        ("composed", "Zo\u{eb} fährt gern Zug 😀", true),
        ("decomposed", "Zo\u{eb} fährt gern Zug 😀", true),
        ("decomposed", "Zoe\u{308} fa\u{308}hrt gern Zug 😀", true),
        ("spaces", "between two spaces", false),
        ("spaces", "  between two spaces  ", true),
    ] {
        let answer = gate.browser().try_sign_in(name, password).await;
        let expected = if right { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(answer.status, expected, "{name}: {}", answer.text());
    }
    let (name, password) = ("huge".to_owned(), "much too long ".repeat(300));
    let change = Box::<AccountChange>::default();
    let refused = gate.ask(Request::AccountAdd { name, password, change }).await.unwrap_err();
    assert!(matches!(&refused, AdminError::Refuse(why) if why.contains("at most 4096 bytes")));
}

/// A gate that asks the service at `address`.
async fn asking(address: std::net::SocketAddr, more: &str) -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let tables = format!(
        "[accounts]\nbreach_api = \"http://{address}/range/\"\nbreach_api_timeout = \"500ms\"\n{more}"
    );
    let gate = TestGate::start(&upstream, Setup { tables: &tables, ..Setup::default() }).await;
    (upstream, gate)
}

async fn add(gate: &TestGate, name: &str, password: &str) -> Result<Reply, AdminError> {
    let (name, password) = (name.to_owned(), password.to_owned());
    let change = Box::<AccountChange>::default();
    gate.ask(Request::AccountAdd { name, password, change }).await
}

#[tokio::test]
async fn f15_a_service_is_asked_by_the_beginning_of_a_hash_and_learns_no_more() {
    // SHA-1 of "tippler under glass" begins with what the service is asked about.
    let body = "00D4F6E8FA6EECAD2A3AA415EEC418D38EC:2\r\nREST:7\r\n";
    let service = Upstream::replying(move |_| Some(saying(&body.replace("REST", REST)))).await;
    let (_upstream, gate) = asking(service.address, "").await;
    let refused = add(&gate, "lorina", "tippler under glass").await.unwrap_err();
    assert!(matches!(&refused, AdminError::Refuse(why) if why.contains("found in a breach")));
    let asked = service.last();
    assert_eq!(asked.line(), format!("GET /range/{TOLD}"));
    assert_eq!(asked.field("add-padding"), Some("true"));
    assert!(asked.body.is_empty());
    add(&gate, "lorina", "tippler under table").await.unwrap();
    assert_eq!(service.count(), 2);
    // What is refused without the service is not asked about.
    add(&gate, "edith", "passwordpassword").await.unwrap_err();
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn f16_a_service_that_is_down_leads_to_what_the_operator_chose_and_to_no_hang() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = [
        ("garbage", Upstream::replying(|_| Some(saying("<html>"))).await),
        ("nothing", Upstream::replying(|_| Some(saying(""))).await),
        ("an error", Upstream::answering(b"HTTP/1.1 503 Oops\r\ncontent-length: 0\r\n\r\n").await),
        ("a pause", Upstream::answering(b"HTTP/1.1 200 OK\r\n").await),
        ("half", Upstream::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n0").await),
    ];
    let places = down.iter().map(|(what, service)| (*what, service.address));
    for (what, address) in places.chain([("nobody there", closed)]) {
        let (_upstream, gate) = asking(address, "").await;
        let refused = add(&gate, "lorina", "tippler under glass").await.unwrap_err();
        let said = matches!(&refused, AdminError::Failed(why) if why.contains("try again later"));
        assert!(said, "{what}: {refused}");
        let (_upstream, gate) = asking(address, "breach_api_when_down = \"accept\"").await;
        let added = add(&gate, "lorina", "tippler under glass").await;
        assert!(added.is_ok(), "{what}: {added:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_a_stopped_gate_asks_the_service_too() {
    let body = format!("{REST}:7\r\n");
    let service = Upstream::replying(move |_| Some(saying(&body))).await;
    for (address, code, why) in
        [(service.address, 1, "found in a breach"), (nobody(), 74, "try again later")]
    {
        let scratch = Scratch::new();
        let rule = format!("[accounts]\nbreach_api = \"http://{address}/range/\"");
        let config = process::configure(scratch.path(), &nobody(), &rule);
        let add = ["add", "lorina", "--password-stdin"];
        let (ended, said) = account(&config, &add, "tippler under glass\n");
        assert!(ended == Some(code) && said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn f07_a_cheap_hash_of_another_system_answers_no_sooner_than_an_unknown_name() {
    let upstream = Upstream::start().await;
    // So much that a hash stands out over everything else.
    let tables = "[accounts]\nhash_memory = \"64MiB\"\n[captcha]\nmode = \"off\"";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let (name, password_hash) = ("bea".to_owned(), BCRYPT.to_owned());
    let change = Box::<AccountChange>::default();
    gate.ask(Request::AccountImport { name, password_hash, change }).await.unwrap();
    sign_in::cost_alike(&gate, ["bea", "nobody"]).await;
}

fn saying(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}
