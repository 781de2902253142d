//! Several addresses of one console: which one a request takes, which it leaves alone, and what is
//! tried again. And what a console is told about the client before anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorward_tests::{PUBLIC_HOST, TestGate, Upstream, eventually, raw};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A public gate with one worker in front of these addresses.
async fn gate(addresses: &[String], keys: &str) -> TestGate {
    TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = {addresses:?}\n{keys}\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\naccess = \"public\"\n"
    ))
    .await
}

/// An address at which nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}", upstream.address)
}

#[tokio::test]
async fn the_address_with_the_fewest_requests_under_way_is_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = format!("http://{}", listener.local_addr().unwrap());
    let free = Upstream::start().await;
    let gate = gate(&[busy, url(&free)], "").await;
    // The first takes a request and keeps it.
    let mut waiting = gate.browser();
    let waiting = tokio::spawn(async move { waiting.get("/slow").await });
    let (mut held, _) = listener.accept().await.unwrap();
    raw::message(&mut held).await;
    for _ in 0..5 {
        assert_eq!(gate.browser().get("/").await.status, StatusCode::OK);
    }
    assert_eq!(free.count(), 5);
    held.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert_eq!(waiting.await.unwrap().status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn d16_o17_a_dead_address_costs_nobody_an_error_and_is_left_alone() {
    let well = Upstream::start().await;
    let gate = gate(&[nowhere().await, url(&well)], "eject_after = 2\neject_for = \"10s\"").await;
    let mut browser = gate.browser();
    // Nothing was sent to it: also what must not be sent twice is tried elsewhere.
    for method in [Method::GET, Method::POST, Method::GET, Method::POST] {
        let answer = browser.send(method, "/", &[], "body".into()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let bodies: Vec<_> = well.requests().iter().map(|request| request.body.clone()).collect();
    assert_eq!(bodies, [b"body"; 4], "nothing is lost of a body on the way");
}

#[tokio::test]
async fn o17_a_dead_set_is_answered_at_once_and_found_again() {
    let folder = doorward_tests::Scratch::new();
    let socket = folder.path().join("console.sock");
    let gate =
        gate(&[format!("unix:{}", socket.display())], "eject_after = 3\neject_for = \"60s\"").await;
    let mut browser = gate.browser();
    for _ in 0..3 {
        assert_eq!(browser.get("/").await.status, StatusCode::BAD_GATEWAY);
    }
    // It is known to be dead, and not asked again.
    for _ in 0..3 {
        let answer = browser.get("/").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (answer.field("retry-after"), answer.field("content-type")),
            ("1", "application/problem+json")
        );
        assert!(answer.json()["instance"].as_str().unwrap().starts_with("urn:doorward:request:"));
    }
    let upstream = Upstream::unix(&socket).await;
    gate.clock.advance(Duration::from_secs(2));
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "one request a second tries");
    assert_eq!(browser.get("/").await.status, StatusCode::OK, "and then all go there again");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn d16_an_idempotent_request_without_a_body_outlives_a_pooled_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = gate(&[format!("http://{}", listener.local_addr().unwrap())], "").await;
    let fine = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
    for (method, again) in [("GET", true), ("DELETE", true), ("POST", false), ("PATCH", false)] {
        let request = |method: &str| {
            format!("{method} / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n")
        };
        let address = gate.address();
        let first = tokio::spawn(raw::send(address, request("GET")));
        let (mut warm, _) = listener.accept().await.unwrap();
        raw::message(&mut warm).await;
        warm.write_all(fine).await.unwrap();
        assert_eq!(raw::statuses(&first.await.unwrap()), [200]);
        // The connection dies when the next request has been sent on it.
        let second = tokio::spawn(raw::send(address, request(method)));
        raw::message(&mut warm).await;
        drop(warm);
        if again {
            let (mut fresh, _) = listener.accept().await.unwrap();
            raw::message(&mut fresh).await;
            fresh.write_all(fine).await.unwrap();
            // It closes too, so that the next round begins anew.
            fresh.shutdown().await.unwrap();
        }
        let expected = if again { 200 } else { 502 };
        assert_eq!(raw::statuses(&second.await.unwrap()), [expected], "{method}");
    }
}

#[tokio::test]
async fn d16_what_kills_a_connection_is_not_tried_on_every_pooled_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = gate(&[format!("http://{}", listener.local_addr().unwrap())], "").await;
    let request = format!("GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n");
    let ask = || tokio::spawn(raw::send(gate.address(), request.clone()));
    let (mut asking, mut pooled) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        asking.push(ask());
        let (mut stream, _) = listener.accept().await.unwrap();
        raw::message(&mut stream).await;
        pooled.push(stream);
    }
    for (stream, asking) in pooled.iter_mut().zip(asking) {
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(raw::statuses(&asking.await.unwrap()), [204]);
    }
    let fatal = ask();
    let (mut a, mut b, mut c) = (pooled.remove(0), pooled.remove(0), pooled.remove(0));
    // Whichever it comes on dies of it.
    tokio::select! {
        _ = a.read_u8() => drop(a),
        _ = b.read_u8() => drop(b),
        _ = c.read_u8() => drop(c),
    }
    let (mut fresh, _) = listener.accept().await.unwrap();
    raw::message(&mut fresh).await;
    drop(fresh);
    assert_eq!(raw::statuses(&fatal.await.unwrap()), [502]);
}

#[tokio::test]
async fn o17_health_checks_take_an_address_out_and_in_again() {
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = Arc::clone(&sick);
    let moody = Upstream::replying(move |request| {
        let status = match request.line() {
            "GET /healthz?from=gate" if is_sick.load(Ordering::SeqCst) => "500 Ill",
            _ => "200 OK",
        };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    })
    .await;
    let well = Upstream::start().await;
    let keys = "health = { path = \"/healthz?from=gate\", interval = \"1s\", healthy_after = 1 }";
    let gate = gate(&[url(&moody), url(&well)], keys).await;
    let asked = |upstream: &Upstream| {
        upstream.requests().iter().filter(|request| request.line() == "GET /ask").count()
    };
    let mut browser = gate.browser();
    eventually("the sick one is left alone", async || {
        let before = asked(&moody);
        for _ in 0..4 {
            assert_eq!(browser.get("/ask").await.status, StatusCode::OK);
        }
        asked(&moody) == before
    })
    .await;
    let check =
        moody.requests().into_iter().find(|request| request.line().contains("healthz")).unwrap();
    assert_eq!(check.field("host"), Some(&*moody.address.to_string()));
    sick.store(false, Ordering::SeqCst);
    eventually("it is asked again", async || {
        let before = asked(&moody);
        assert_eq!(browser.get("/ask").await.status, StatusCode::OK);
        asked(&moody) > before
    })
    .await;
}

#[tokio::test]
async fn d23_a_console_is_told_the_client_in_front_of_everything() {
    for version in ["v1", "v2"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys = format!("proxy_protocol = \"{version}\"");
        let gate = gate(&[format!("http://{}", listener.local_addr().unwrap())], &keys).await;
        for _ in 0..2 {
            let mut browser = gate.browser();
            let asking = tokio::spawn(async move { browser.get("/").await });
            // Each client has a connection of its own.
            let (mut server, _) = listener.accept().await.unwrap();
            let mut octets = Vec::new();
            while !octets.ends_with(b"\r\n\r\n") || octets.len() < 100 {
                octets.push(server.read_u8().await.unwrap());
            }
            use doorward::proxy_protocol::{Preamble, read};
            let Preamble::Header(length, Some(client)) = read(&octets) else {
                panic!("{:?}", String::from_utf8_lossy(&octets))
            };
            assert!(client.ip().is_loopback() && client.port() != 0);
            assert!(octets[length..].starts_with(b"GET / HTTP/1.1\r\n"));
            assert_eq!(octets.starts_with(b"PROXY TCP4 "), version == "v1");
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            assert_eq!(asking.await.unwrap().status, StatusCode::NO_CONTENT);
        }
    }
}
