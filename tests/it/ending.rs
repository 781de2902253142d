//! A session's end ends what was let through for it: event streams, long polls, downloads.

use std::time::Duration;

use doorward_tests::{Browser, PUBLIC_HOST, Setup, TestGate, Upstream, eventually, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What "within 1 s" may take on a busy machine.
const SOON: Duration = Duration::from_secs(3);

async fn gate(upstream: &str) -> (TestGate, TcpListener) {
    let console = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n{upstream}\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/events\"\nstreaming = true\n",
        console.local_addr().unwrap()
    ))
    .await;
    (gate, console)
}

async fn sign_out(browser: &mut Browser) {
    let answer = browser.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

async fn ask(gate: &TestGate, path: &str, token: &str) -> TcpStream {
    let mut client = TcpStream::connect(gate.address()).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncookie: __Host-doorward={token}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

#[tokio::test]
async fn d12_an_event_stream_ends_with_its_session() {
    let (gate, console) = gate("").await;
    let mut alice = gate.signed_in().await;
    let mut client = ask(&gate, "/events", alice.token()).await;
    let (mut server, _) = console.accept().await.unwrap();
    raw::message(&mut server).await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    server.write_all(format!("{head}8\r\ndata: 1\n\r\n").as_bytes()).await.unwrap();
    let mut got = String::new();
    while !got.contains("data: 1") {
        got.push(char::from(client.read_u8().await.unwrap()));
    }
    sign_out(&mut alice).await;
    let rest = tokio::time::timeout(SOON, raw::rest(&mut client)).await.expect("the end in time");
    assert!(!rest.contains("\r\n0\r\n"), "it must not look whole: {rest:?}");
    assert_eq!(server.read(&mut [0; 1]).await.unwrap_or(0), 0, "the console sees the end");
}

#[tokio::test]
async fn d12_a_long_poll_is_answered_401_when_its_session_expires() {
    let (gate, console) = gate("").await;
    let alice = gate.signed_in().await;
    let mut client = ask(&gate, "/events", alice.token()).await;
    let (mut server, _) = console.accept().await.unwrap();
    raw::message(&mut server).await;
    gate.clock.advance(Duration::from_secs(3601));
    let (head, _) = tokio::time::timeout(SOON, raw::message(&mut client)).await.expect("in time");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test]
async fn d12_a_download_over_http2_is_reset_when_its_session_ends() {
    let upstream = Upstream::replying(|request| {
        let part = request.line() == "GET /file";
        let length = if part { 1_000_000 } else { 5 };
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nhello").into_bytes())
    })
    .await;
    let gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    let mut downloading = alice.clone().over_http2();
    let download = tokio::spawn(async move { downloading.get("/file").await });
    eventually("the request", async || upstream.count() == 1).await;
    sign_out(&mut alice).await;
    let outcome = tokio::time::timeout(SOON, download).await.expect("the end in time");
    assert!(outcome.is_err(), "a broken download came out as whole");
}

#[tokio::test]
async fn streaming_routes_may_pause_and_others_may_not() {
    let (gate, console) = gate("idle_timeout = \"1s\"\nresponse_timeout = \"1s\"").await;
    let alice = gate.signed_in().await;
    let mut ends = Vec::new();
    for path in ["/events", "/other"] {
        let client = ask(&gate, path, alice.token()).await;
        let (mut server, _) = console.accept().await.unwrap();
        raw::message(&mut server).await;
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
        server.write_all(begun).await.unwrap();
        ends.push((client, server));
    }
    // One that waits for its answer from the beginning.
    let mut polling = ask(&gate, "/events", alice.token()).await;
    let (mut poll_server, _) = console.accept().await.unwrap();
    raw::message(&mut poll_server).await;
    let [(streaming, server), (other, _other_server)] = &mut ends[..] else { unreachable!() };
    let cut = raw::rest(other).await;
    assert!(cut.ends_with("\r\n\r\nhello"), "{cut}");
    // By now the others have paused for as long.
    server.write_all(b"world").await.unwrap();
    let mut got = String::new();
    while !got.ends_with("helloworld") {
        got.push(char::from(streaming.read_u8().await.unwrap()));
    }
    poll_server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(raw::message(&mut polling).await.0.starts_with("HTTP/1.1 204 "));
}
