//! Limits: what is too large, too many or too slow ends at the gate, and harms nobody else.

use std::time::Duration;

use doorward_tests::{DEADLINE, PUBLIC_HOST, Setup, TestGate, Upstream, eventually, raw};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A public gate with these `[limits]`.
async fn gate(upstream: &Upstream, limits: &str) -> TestGate {
    let tables = format!("[[route]]\naccess = \"public\"\n[limits]\n{limits}\n");
    TestGate::start(upstream, Setup { tables: &tables, ..Setup::default() }).await
}

async fn connect(gate: &TestGate, octets: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(octets.as_bytes()).await.unwrap();
    stream
}

fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n")
}

async fn statuses(gate: &TestGate, request: &str) -> Vec<u16> {
    raw::statuses(&raw::send(gate.address(), request).await)
}

#[tokio::test]
async fn b16_targets_heads_and_methods_have_a_size() {
    let upstream = Upstream::start().await;
    let limits = "target_bytes = \"256B\"\nheader_bytes = \"8KiB\"\nheader_count = 20";
    let gate = gate(&upstream, limits).await;
    let close = "connection: close\r\n";
    let fits = format!("GET /{}", "a".repeat(255));
    assert_eq!(statuses(&gate, &head(&fits, close)).await, [200]);
    let queried = format!("GET /?{}", "a".repeat(254));
    assert_eq!(statuses(&gate, &head(&queried, close)).await, [200]);
    // `host` and `connection` are two of the twenty.
    assert_eq!(
        statuses(&gate, &head("GET /", &format!("{close}{}", "x: y\r\n".repeat(18)))).await,
        [200]
    );
    let before = upstream.count();
    assert_eq!(statuses(&gate, &head(&format!("{fits}a"), close)).await, [414]);
    assert_eq!(statuses(&gate, &head(&format!("{queried}a"), close)).await, [414]);
    assert_eq!(
        statuses(&gate, &head("GET /", &format!("{close}{}", "x: y\r\n".repeat(19)))).await,
        [431]
    );
    for (line, fields) in [
        ("GET /".to_owned(), format!("x: {}\r\n", "y".repeat(200 << 10))),
        ("GET /".to_owned(), "x: y\r\n".repeat(20_000)),
        ("GET /".to_owned(), format!("{}: y\r\n", "x".repeat(70_000))),
        (format!("GET /{}", "a".repeat(64 << 10)), String::new()),
        (format!("{} /", "M".repeat(64 << 10)), String::new()),
    ] {
        let answer = raw::exchange(gate.address(), head(&line, &fields).as_bytes()).await;
        let found = raw::statuses(&answer);
        let shown = &line[..line.len().min(20)];
        assert!(matches!(found[..], [] | [400 | 414 | 431 | 501]), "{found:?} for {shown}");
    }
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn b16_a_head_that_is_too_large_is_431_over_http2_too() {
    let upstream = Upstream::start().await;
    let tables =
        "[[route]]\naccess = \"public\"\n[limits]\nheader_count = 20\ntarget_bytes = \"256B\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, tls: true, ..Setup::default() }).await;
    let mut browser = gate.browser().over_http2();
    let names: Vec<_> = (0..30).map(|index| format!("x-{index}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let answer = browser.get_with("/", &fields).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let answer = browser.get(&format!("/{}", "a".repeat(300))).await;
    assert_eq!(answer.status, StatusCode::URI_TOO_LONG);
    assert_eq!(upstream.count(), 0);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn bodies_have_a_size_told_before_or_found_out_on_the_way() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "body_bytes = \"1KiB\"").await;
    let mut browser = gate.browser();
    let answer = browser.send(Method::POST, "/", &[], vec![b'x'; 1024].into()).await;
    assert_eq!((answer.status, upstream.last().body.len()), (StatusCode::OK, 1024));
    let answer = browser.send(Method::POST, "/", &[], vec![b'x'; 1025].into()).await;
    assert_eq!((answer.status, upstream.count()), (StatusCode::PAYLOAD_TOO_LARGE, 1));
    assert_eq!(answer.json()["type"], "urn:doorward:problem:too-large");
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    let chunked = |count: usize| {
        head("POST /", "transfer-encoding: chunked\r\nconnection: close\r\n")
            + &chunk.repeat(count)
            + "0\r\n\r\n"
    };
    assert_eq!(statuses(&gate, &chunked(2)).await, [200]);
    assert_eq!((upstream.count(), upstream.last().body.len()), (2, 1024));
    for count in [3, 4, 5000] {
        let found = raw::statuses(&raw::exchange(gate.address(), chunked(count).as_bytes()).await);
        assert!(found == [413] || found.is_empty(), "{found:?} for {count} chunks");
        assert_eq!(upstream.count(), 2, "the console got {count} chunks as a whole request");
    }
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_gates_own_pages_read_no_large_body() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "").await;
    let kind = [("content-type", "application/json")];
    let body = format!("{{\"account\": \"{}\"}}", "x".repeat(70_000));
    let answer =
        gate.browser().send(Method::POST, "/.doorward/api/v1/sign-in", &kind, body.into()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a06_methods_are_those_of_the_configuration() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "methods = [\"GET\", \"PROPFIND\"]").await;
    let close = "connection: close\r\n";
    for (line, expected) in [
        ("GET /", 200),
        ("PROPFIND /", 200),
        ("POST /", 405),
        ("HEAD /", 405),
        ("DELETE /", 405),
        ("MKCOL /", 501),
    ] {
        assert_eq!(statuses(&gate, &head(line, close)).await, [expected], "{line}");
    }
    assert_eq!(upstream.count(), 2);
    let refused = gate.browser().send(Method::PUT, "/", &[], "".into()).await;
    assert!(!refused.field("allow").is_empty(), "RFC 9110 §15.5.6: a 405 names what is allowed");
}

#[tokio::test]
async fn a_head_has_a_time_however_it_drips() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "header_time = \"1s\"").await;
    let whole = head("GET /", "");
    for part in ["G", "GET / HTTP/1.1\r\n", &whole[..whole.len() - 1]] {
        let mut stream = connect(&gate, part).await;
        let answer = raw::rest(&mut stream).await;
        assert!(matches!(raw::statuses(&answer)[..], [] | [408]), "{answer}");
    }
    // One octet and another, for as long as the gate takes them.
    let mut stream = connect(&gate, "GET / HTTP/1.1\r\nx: ").await;
    let dripping = async {
        let mut octet = [0];
        loop {
            let pause =
                tokio::time::timeout(Duration::from_millis(50), stream.read(&mut octet)).await;
            if pause.is_ok() || stream.write_all(b"y").await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, dripping).await.expect("the gate closes the connection");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_connection_that_has_rested_is_served_as_before() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "header_time = \"2s\"").await;
    let mut resting = Vec::new();
    for begun in [head("GET /", ""), String::new()] {
        // A head that comes in two parts is over when it is whole.
        let (begin, end) = begun.split_at(begun.len().min(10));
        let mut stream = connect(&gate, begin).await;
        if !begun.is_empty() {
            stream.write_all(end.as_bytes()).await.unwrap();
            assert!(raw::message(&mut stream).await.0.starts_with("HTTP/1.1 200"));
        }
        resting.push(stream);
    }
    // As long as it takes to let go of a slow one.
    raw::rest(&mut connect(&gate, "GET / HT").await).await;
    for mut stream in resting {
        let (first, second) = (head("GET /a", ""), head("GET /b", "connection: close\r\n"));
        let octets = first + &second;
        let (begin, end) = octets.split_at(5);
        for piece in [begin, end] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(raw::statuses(&raw::rest(&mut stream).await), [200, 200]);
    }
    assert_eq!(upstream.count(), 5);
}

#[tokio::test]
async fn a_connection_without_requests_has_a_time_and_one_with_them_has_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\naccess = \"public\"\n\
         [limits]\nkeep_alive = \"1s\"\nheader_time = \"1s\"\nbody_idle = \"1s\"\nwrite_idle = \"1s\"\n",
        listener.local_addr().unwrap()
    ))
    .await;
    let mut busy = connect(&gate, &head("GET /", "")).await;
    let (mut console, _) = listener.accept().await.unwrap();
    raw::message(&mut console).await;
    // Twice as long as an idle connection lives: one that never asked, and one after its answer.
    for first in ["", "GET /.doorward/jwks.json"] {
        let request = if first.is_empty() { String::new() } else { head(first, "") };
        let answer = raw::rest(&mut connect(&gate, &request).await).await;
        assert_eq!(raw::statuses(&answer).len(), usize::from(!first.is_empty()));
    }
    console.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine").await.unwrap();
    let (_, body) = raw::message(&mut busy).await;
    assert_eq!(body, b"fine", "a request that waits for the console is not idle");
}

#[tokio::test]
async fn a_client_that_pauses_within_its_body_is_let_go() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "body_idle = \"1s\"").await;
    for request in [
        head("POST /", "content-length: 10\r\n") + "hello",
        head("POST /", "content-length: 10\r\n"),
        head("POST /", "transfer-encoding: chunked\r\n") + "5\r\nhello\r\n",
        head("POST /.doorward/api/v1/sign-in", "content-length: 10\r\n") + "hello",
    ] {
        let answer = raw::rest(&mut connect(&gate, &request).await).await;
        assert!(raw::statuses(&answer).iter().all(|status| *status >= 400), "{answer}");
        assert_eq!(upstream.count(), 0, "half a request arrived");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_octet_is_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\naccess = \"public\"\n\
         [limits]\nwrite_idle = \"1s\"\n",
        listener.local_addr().unwrap()
    ))
    .await;
    let client = connect(&gate, &head("GET /", "")).await;
    let (mut console, _) = listener.accept().await.unwrap();
    raw::message(&mut console).await;
    console.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n").await.unwrap();
    let block = vec![b'x'; 64 << 10];
    let writing = async { while console.write_all(&block).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, writing).await.expect("the gate lets the console go");
    drop(client);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_places_come_free_again() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "connections = 4").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&gate, &head("GET /", "")).await;
        assert!(raw::message(&mut stream).await.0.starts_with("HTTP/1.1 200"));
        held.push(stream);
    }
    for _ in 0..3 {
        // Closing may overtake the word of it.
        let found = statuses(&gate, &head("GET /", "")).await;
        assert!(found == [503] || found.is_empty(), "one too many was served: {found:?}");
    }
    assert_eq!(upstream.count(), 4);
    for stream in &mut held {
        stream.write_all(head("GET /", "").as_bytes()).await.unwrap();
        assert!(
            raw::message(stream).await.0.starts_with("HTTP/1.1 200"),
            "those within the limit go on"
        );
    }
    held.pop();
    let close = head("GET /", "connection: close\r\n");
    eventually("a free place", async || statuses(&gate, &close).await == [200]).await;
}

#[tokio::test]
async fn slow_clients_leave_the_others_unharmed() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "connections = 500").await;
    let mut slow = Vec::new();
    for index in 0..200 {
        slow.push(match index % 3 {
            0 => connect(&gate, "GET / HTTP/1.1\r\nx: ").await,
            1 => connect(&gate, &(head("POST /", "content-length: 1000000\r\n") + "x")).await,
            _ => connect(&gate, "").await,
        });
    }
    let mut browser = gate.browser();
    let asking = async {
        for _ in 0..50 {
            assert_eq!(browser.get("/").await.status, StatusCode::OK);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking)
        .await
        .expect("answers as if nobody was slow");
    drop(slow);
}

#[tokio::test]
async fn a_tls_handshake_has_the_time_of_a_head() {
    let upstream = Upstream::start().await;
    let tables = "[limits]\nheader_time = \"1s\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, tls: true, ..Setup::default() }).await;
    for octets in ["", "\u{16}\u{3}\u{1}"] {
        let mut stream = connect(&gate, octets).await;
        raw::rest(&mut stream).await;
    }
    let mut plain = connect(&gate, &head("GET /", "")).await;
    assert_eq!(raw::statuses(&raw::rest(&mut plain).await), [0; 0], "plain HTTP at a TLS listener");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn c13_a_client_that_opens_no_window_is_let_go() {
    let upstream = Upstream::start().await;
    let tables = "[limits]\nwrite_idle = \"1s\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, tls: true, ..Setup::default() }).await;
    let config = raw::tls_config(&gate.scratch.path().join("ca.pem"), &[b"h2"]);
    let stream = raw::tls(gate.address(), PUBLIC_HOST, config).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("https://{PUBLIC_HOST}/.doorward/sign-in"));
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    // The page lies ready and is never taken; the sender stays, so only the gate can end this.
    assert!(tokio::time::timeout(DEADLINE, connection).await.is_ok(), "held for ever");
    drop((sender, response));
}
