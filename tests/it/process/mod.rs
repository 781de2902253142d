//! The gate as a process: exit codes, signals, what survives `kill -9`.
//!
//! - `backup`: a copy of a gate that runs.
//! - `commands`: accounts, sessions and keys, on a running gate and on a stopped one.
//! - `configuration`: `config check`, `schema` and `explain`.
//! - `demo`: the example that a newcomer starts.
//! - `disk`: one that is full, or fails.

mod backup;
mod commands;
mod configuration;
mod demo;
mod disk;

use std::net::SocketAddr;
use std::process::Output;

use doorward_tests::process::{self, Served};
use doorward_tests::{Browser, PUBLIC_HOST, Scratch, Upstream, eventually, raw};
use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Standard output and standard error of a command that ended with this code.
#[track_caller]
fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn browser(served: &Served) -> Browser {
    Browser::new(served.address, PUBLIC_HOST, None)
}

/// The exit code of a process that was asked to end.
async fn exit_code(served: &mut Served) -> Option<i32> {
    let mut code = None;
    let child = std::sync::Mutex::new((&mut served.child, &mut code));
    eventually("the end of the process", || async {
        let mut guard = child.lock().unwrap();
        let Some(status) = guard.0.try_wait().unwrap() else { return false };
        *guard.1 = status.code();
        true
    })
    .await;
    code
}

fn nobody() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

#[test]
fn wrong_words_on_the_command_line_end_with_64() {
    for words in [
        ["serve"].as_slice(),
        &["frobnicate"],
        &["account", "add"],
        &["config", "check"],
        &["account", "add", "alice", "--password", "secret", "--config", "x.toml"],
        &["serve", "--config", "x.toml", "--workers"],
        &[],
    ] {
        let (stdout, stderr) = ended(&process::run(words, ""), 64);
        assert!(stdout.is_empty() && stderr.contains("Usage: "), "{words:?}: {stderr}");
    }
    for words in [["--help"].as_slice(), &["account", "set", "--help"], &["demo", "-h"]] {
        let (stdout, stderr) = ended(&process::run(words, ""), 0);
        assert!(stdout.contains("Usage: ") && stderr.is_empty(), "{words:?}: {stderr}");
    }
    let (version, _) = ended(&process::run(&["--version"], ""), 0);
    assert!(version.starts_with("doorward "), "{version}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = ended(&process::run(&["completions", shell], ""), 0);
        assert!(script.contains("doorward") && script.contains("set-password"), "{shell}");
    }
}

#[test]
fn a_bad_configuration_ends_with_64_and_every_problem_in_its_place() {
    let scratch = Scratch::new();
    let file = scratch.path().join("bad.toml");
    let text = "public_url = \"ftp://x\"\n[[listener]]\naddress = \"nowhere\"\n[upstream.a]\naddress = \"http://127.0.0.1:9\"\n\
                [store]\npath = \"x.db\"\n[session]\nidle = \"5m\"\nidel = \"1h\"\n";
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    for words in
        [["serve", "--config", name], ["config", "check", name], ["key", "list", "--config"]]
    {
        let words: Vec<_> =
            if words[0] == "key" { [words.as_slice(), &[name]].concat() } else { words.to_vec() };
        let (_, stderr) = ended(&process::run(&words, ""), 64);
        for place in
            [":1:14: public_url:", ":3:11: listener", ":9:8: session.idle:", ":10:1: session.idel:"]
        {
            assert!(
                stderr.contains(&format!("{name}{place}")),
                "{words:?}: no {place} in\n{stderr}"
            );
        }
    }
    let missing = scratch.path().join("missing.toml");
    let (_, stderr) =
        ended(&process::run(&["serve", "--config", missing.to_str().unwrap()], ""), 64);
    assert!(stderr.contains("missing.toml"), "{stderr}");
}

#[tokio::test]
async fn a_taken_port_and_a_used_store_end_with_74() {
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &nobody(), "");
    let served = Served::start(&config);
    let second = tokio::task::spawn_blocking(move || {
        process::run(&["serve", "--config", config.to_str().unwrap()], "")
    });
    let (_, stderr) = ended(&second.await.unwrap(), 74);
    assert!(stderr.contains("in use by another process"), "{stderr}");
    let other = Scratch::new();
    let config = process::configure(other.path(), &nobody(), "");
    let text = std::fs::read_to_string(&config).unwrap();
    let taken = text.replacen("127.0.0.1:0", &served.address.to_string(), 1);
    std::fs::write(&config, taken).unwrap();
    let (_, stderr) =
        ended(&process::run(&["serve", "--config", config.to_str().unwrap()], ""), 74);
    assert!(stderr.contains(&served.address.to_string()), "{stderr}");
    assert_eq!(
        browser(&served).get("/").await.status,
        StatusCode::UNAUTHORIZED,
        "the first serves on"
    );
}

#[tokio::test]
async fn the_socket_takes_the_place_of_no_data_and_of_no_running_gate() {
    let (one, two) = (Scratch::new(), Scratch::new());
    let socket = one.path().join("doorward.sock");
    let config = process::configure(one.path(), &nobody(), "");
    std::fs::write(&socket, "precious").unwrap();
    let serve = |config: &std::path::Path| {
        let (_, stderr) =
            ended(&process::run(&["serve", "--config", config.to_str().unwrap()], ""), 74);
        stderr
    };
    assert!(serve(&config).contains("doorward.sock: is not a socket"));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
    std::fs::remove_file(&socket).unwrap();
    let mut served = Served::start(&config);
    let other = process::configure(two.path(), &nobody(), "");
    let text = std::fs::read_to_string(&other).unwrap();
    let shared = text.replace("[operations]", &format!("[operations]\nsocket = {socket:?}"));
    std::fs::write(&other, shared).unwrap();
    assert!(serve(&other).contains("doorward.sock: is in use by another gate"));
    // What a successor put there is not this gate's to remove.
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    served.signal("TERM");
    assert_eq!(exit_code(&mut served).await, Some(0));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test]
async fn o08_sigterm_lets_a_slow_answer_finish_and_ends_with_0() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scratch = Scratch::new();
    let public = "[[route]]\npath = \"/**\"\naccess = \"public\"";
    let config = process::configure(scratch.path(), &listener.local_addr().unwrap(), public);
    let mut served = Served::start(&config);
    let mut client = TcpStream::connect(served.address).await.unwrap();
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let request = format!("GET /slow HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    served.signal("TERM");
    eventually("the end of new connections", || async {
        TcpStream::connect(served.address).await.is_err()
    })
    .await;
    assert_eq!(raw::rest(&mut idle).await, "", "a connection without a request is closed");
    assert!(served.child.try_wait().unwrap().is_none(), "it went before the answer was given");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfinished";
    upstream.write_all(answer).await.unwrap();
    let finished = raw::rest(&mut client).await;
    assert!(finished.starts_with("HTTP/1.1 200") && finished.ends_with("finished"), "{finished}");
    assert_eq!(exit_code(&mut served).await, Some(0));
    let stopped = served.log().join("\n");
    assert!(stopped.contains("\"path\":\"/slow\""), "the last lines are written: {stopped}");
}

#[tokio::test]
async fn o08_the_grace_is_bounded_and_a_second_signal_ends_at_once() {
    for (extra, second, code) in [("1s", false, Some(0)), ("1h", true, Some(70))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scratch = Scratch::new();
        let public = "[[route]]\npath = \"/**\"\naccess = \"public\"";
        let config = process::configure(scratch.path(), &listener.local_addr().unwrap(), public);
        let text =
            std::fs::read_to_string(&config).unwrap().replace("\"10s\"", &format!("\"{extra}\""));
        std::fs::write(&config, text).unwrap();
        let mut served = Served::start(&config);
        let mut client = TcpStream::connect(served.address).await.unwrap();
        let request = format!("GET /stuck HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let _upstream = listener.accept().await.unwrap();
        served.signal("TERM");
        if second {
            eventually("the first signal's effect", || async {
                TcpStream::connect(served.address).await.is_err()
            })
            .await;
            served.signal("TERM");
        }
        assert_eq!(exit_code(&mut served).await, code, "{extra}");
    }
}

#[tokio::test]
async fn sighup_ends_nothing_and_sigint_ends_like_sigterm() {
    let upstream = Upstream::start().await;
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &upstream.address, "");
    process::add_account(&config, "alice");
    let mut served = Served::start(&config);
    let mut person = browser(&served);
    person.sign_in("alice").await;
    for _ in 0..3 {
        served.signal("HUP");
        assert_eq!(person.get("/").await.status, StatusCode::OK);
    }
    assert!(served.child.try_wait().unwrap().is_none());
    served.signal("INT");
    assert_eq!(exit_code(&mut served).await, Some(0));
}

#[tokio::test]
async fn o01_what_was_acknowledged_survives_kill_9() {
    const ROUNDS: usize = 12;
    let upstream = Upstream::start().await;
    let scratch = Scratch::new();
    let many = "[session]\nparallel_max = 1000";
    let config = process::configure(scratch.path(), &upstream.address, many);
    process::add_account(&config, "alice");
    let (mut alive, mut ended) = (Vec::<Browser>::new(), Vec::<Browser>::new());
    for round in 0..=ROUNDS {
        let mut served = Served::start(&config);
        let seen = |known: &Browser| {
            let mut seen = browser(&served);
            seen.jar.clone_from(&known.jar);
            seen
        };
        for known in &alive {
            assert_eq!(seen(known).get("/").await.status, StatusCode::OK, "round {round}: lost");
        }
        for known in &ended {
            let status = seen(known).get("/").await.status;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "round {round}: risen from the dead");
        }
        // One ends, two begin, and the process dies while it is busy with others.
        if let Some(gone) = alive.pop() {
            let answer =
                seen(&gone).post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
            ended.push(gone);
        }
        for _ in 0..2 {
            let mut new = browser(&served);
            new.sign_in("alice").await;
            alive.push(new);
        }
        let address = served.address;
        let busy = tokio::spawn(async move {
            let mut other = Browser::new(address, PUBLIC_HOST, None);
            // Cut off by the kill: nothing was acknowledged, so nothing is expected.
            loop {
                other.sign_in("alice").await;
            }
        });
        served.kill();
        assert!(busy.await.is_err(), "it cannot end otherwise");
    }
    assert_eq!((alive.len(), ended.len()), (ROUNDS + 2, ROUNDS));
}
