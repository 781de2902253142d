//! What a console answers amiss reaches nobody: trailers, switches, versions, left-over bodies.

use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream, eventually, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PUBLIC: &str = "[[route]]\npath = \"/public/**\"\naccess = \"public\"\n";

async fn gate(upstream: &Upstream, tls: bool) -> TestGate {
    TestGate::start(upstream, Setup { tables: PUBLIC, tls, ..Setup::default() }).await
}

fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n")
}

#[tokio::test]
async fn b12_a_body_that_nobody_read_does_not_spoil_the_next_request() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, false).await;
    let next = head("GET /public/b", "connection: close\r\n");
    for size in (8000..16_400).step_by(100) {
        let body = "#".repeat(size);
        let request = head("POST /private", &format!("content-length: {size}\r\n")) + &body + &next;
        let found = raw::statuses(&raw::exchange(gate.address(), request.as_bytes()).await);
        assert!(found == [401, 200] || found == [401], "{found:?} for {size}");
    }
}

#[tokio::test]
async fn d09_a_switch_that_nobody_asked_for_is_502() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    )
    .await;
    let gate = gate(&upstream, false).await;
    for fields in ["connection: close\r\n", "connection: upgrade, close\r\nupgrade: x\r\n"] {
        let answer = raw::send(gate.address(), head("GET /public/a", fields)).await;
        assert_eq!(raw::statuses(&answer), [502], "{answer}");
    }
}

#[tokio::test]
async fn b20_the_gate_answers_in_its_own_version_whatever_the_consoles() {
    let upstream = Upstream::answering(b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nfine").await;
    let gate = gate(&upstream, false).await;
    let answer = raw::send(gate.address(), head("GET /public/a", "connection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn connections_are_used_again_after_chunked_answers_and_those_are_logged_as_whole() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let gate = gate(&upstream, false).await;
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    for _ in 0..5 {
        stream.write_all(head("GET /public/a", "").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
    }
    eventually("the log", async || gate.access_log().await.len() >= 5).await;
    let log = gate.access_log().await;
    assert!(log.iter().all(|line| line["broken_off"].is_null()), "{log:?}");
    assert!(upstream.requests().iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn b11_trailers_of_the_console_set_nothing() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\ntrailer: set-cookie, x-any\r\ntransfer-encoding: chunked\r\n\r\n\
          2\r\nok\r\n0\r\nset-cookie: __Host-doorward=evil\r\nx-any: 1\r\n\r\n",
    )
    .await;
    let gate = gate(&upstream, true).await;
    for mut browser in [gate.browser(), gate.browser().over_http2()] {
        let answer = browser.get_with("/public/a", &[("te", "trailers")]).await;
        assert_eq!(&answer.body[..], b"ok");
        assert!(answer.trailers.get("set-cookie").is_none(), "{:?}", answer.trailers);
    }
}
