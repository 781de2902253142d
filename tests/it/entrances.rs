//! How connections begin and end beside the usual: HTTP/2 without TLS, the PROXY protocol, clients
//! that close half, interim responses, and limits by connection and address.

use doorward_tests::{Browser, PUBLIC_HOST, Setup, TestGate, Upstream, eventually, raw};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PUBLIC: &str = "[[route]]\naccess = \"public\"\n";

fn head(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n")
}

async fn gate(upstream: &Upstream, listener: &str, limits: &str) -> TestGate {
    let tables = format!("[limits]\n{limits}\n{PUBLIC}");
    TestGate::start(upstream, Setup { listener, tables: &tables, ..Setup::default() }).await
}

#[tokio::test]
async fn c15_http2_without_tls_only_where_the_listener_takes_it() {
    let upstream = Upstream::start().await;
    let open = gate(&upstream, "h2c = true", "").await;
    let answer = open.browser().over_http2().get("/a").await;
    assert_eq!((answer.status, upstream.count()), (StatusCode::OK, 1));
    // The same listener speaks HTTP/1.1 as before, and refuses what only begins like HTTP/2.
    assert_eq!(open.browser().get("/b").await.status, StatusCode::OK);
    let begins = "PRI / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(raw::statuses(&raw::send(open.address(), begins).await), [501]);

    let closed = gate(&upstream, "", "").await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
    let answer = raw::send(closed.address(), preface).await;
    assert_eq!(raw::statuses(&answer), [505], "{answer:?}");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a14_d23_a_trusted_proxy_says_who_the_client_is_and_a_stranger_says_nothing() {
    let upstream = Upstream::start().await;
    let keys = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let trusting = gate(&upstream, keys, "").await;
    let request = head("x-forwarded-for: 198.51.100.99\r\nconnection: close\r\n");
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x02\x12\x67\x01\xbb"[..],
        request.as_bytes(),
    ];
    let v1 = format!("PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n{request}");
    for octets in [v1.into_bytes(), v2.concat()] {
        assert_eq!(raw::statuses(&raw::send(trusting.address(), &octets).await), [200]);
        // The client is no proxy that is believed, whatever it says of others.
        assert_eq!(upstream.last().field("x-forwarded-for"), Some("192.0.2.7"));
        // Drip by drip is the same.
        let mut stream = TcpStream::connect(trusting.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for octet in &octets {
            stream.write_all(&[*octet]).await.unwrap();
        }
        assert_eq!(raw::statuses(&raw::rest(&mut stream).await), [200]);
        assert_eq!(upstream.last().field("x-forwarded-for"), Some("192.0.2.7"));
    }
    let log = trusting.access_log().await;
    assert!(log.iter().all(|line| line["client"] == "192.0.2.7"), "{log:?}");
    // LOCAL: the proxy itself.
    let local =
        [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], head("connection: close\r\n").as_bytes()].concat();
    assert_eq!(raw::statuses(&raw::send(trusting.address(), local).await), [200]);
    assert_eq!(upstream.last().field("x-forwarded-for"), Some("127.0.0.1"));
    let before = upstream.count();
    for octets in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        format!("PROXY TCP4 nonsense\r\n{request}"),
    ] {
        assert_eq!(raw::send(trusting.address(), octets).await, "", "nothing is said to it");
    }
    let strange =
        gate(&upstream, "proxy_protocol = true\ntrusted_proxies = [\"192.0.2.0/24\"]", "").await;
    let v1 = format!("PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n{request}");
    assert_eq!(raw::send(strange.address(), &v1).await, "", "a stranger is not listened to");
    // Without the key the header is no request.
    let plain = gate(&upstream, "", "").await;
    assert_eq!(raw::statuses(&raw::send(plain.address(), &v1).await), [400]);
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn a_client_that_closes_its_half_gets_its_answer() {
    let console = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{PUBLIC}",
        console.local_addr().unwrap()
    ))
    .await;
    let mut server = None;
    for body in ["", "content-length: 5\r\n"] {
        let octets = head(body) + if body.is_empty() { "" } else { "hello" };
        let asking = tokio::spawn({
            let address = gate.address();
            async move { raw::exchange(address, octets.as_bytes()).await }
        });
        if server.is_none() {
            server = Some(console.accept().await.unwrap().0);
        }
        let server = server.as_mut().unwrap();
        raw::message(server).await;
        server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.unwrap();
        server.write_all(b"ok").await.unwrap();
        let answer = asking.await.unwrap();
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    }
    // Pipelined ones too.
    let answering = async {
        let mut server = server.unwrap();
        for _ in 0..3 {
            raw::message(&mut server).await;
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
        server
    };
    let octets = head("").repeat(3);
    let (_server, answer) =
        tokio::join!(answering, raw::exchange(gate.address(), octets.as_bytes()));
    assert_eq!(raw::statuses(&answer), [204, 204, 204]);
}

#[tokio::test]
async fn d07_interim_responses_reach_the_client_after_the_decision() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
          set-cookie: __Host-doorward=evil\r\nconnection: x\r\nx: y\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
          HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = TestGate::start(
        &upstream,
        Setup { tables: "[[route]]\npath = \"/open\"\naccess = \"public\"\n", ..Setup::default() },
    )
    .await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    let closing = format!("GET /open HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n");
    let answer = raw::send(gate.address(), request("/open") + &request("/shut") + &closing).await;
    assert_eq!(raw::statuses(&answer), [103, 102, 200, 401, 103, 102, 200], "{answer}");
    let hints = answer.split("\r\n\r\n").next().unwrap();
    assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload");
    // A client of HTTP/1.0 knows none.
    let old = format!("GET /open HTTP/1.0\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    assert_eq!(raw::statuses(&raw::send(gate.address(), old).await), [200]);
    assert_eq!(upstream.count(), 3);
    // Without end they are no answer.
    let endless =
        Upstream::replying(|_| Some(b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100))).await;
    let gate = TestGate::start(&endless, Setup { tables: PUBLIC, ..Setup::default() }).await;
    let answer = raw::send(gate.address(), head("connection: close\r\n")).await;
    assert_eq!(raw::statuses(&answer).last(), Some(&502), "{answer}");
}

#[tokio::test]
async fn d07_an_interim_response_never_lands_within_another_answer() {
    let large = vec![b'x'; 8_000_000];
    let body = large.clone();
    let upstream = Upstream::replying(move |request| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec();
        let answer = [head.as_bytes(), &body].concat();
        Some(if request.line() == "GET /2" { [hints, answer].concat() } else { answer })
    })
    .await;
    let gate = gate(&upstream, "", "").await;
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    let line = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n")
    };
    let octets = line("/1", "") + &line("/2", "") + &line("/3", "connection: close\r\n");
    stream.write_all(octets.as_bytes()).await.unwrap();
    // Nothing is read until the console has been asked for the first.
    eventually("the first", async || upstream.count() >= 1).await;
    for number in 1..=3 {
        let mut head = raw::message(&mut stream).await;
        if head.0.starts_with("HTTP/1.1 103 ") {
            assert_eq!(number, 2);
            head = raw::message(&mut stream).await;
        }
        assert!(head.0.starts_with("HTTP/1.1 200 "), "{}", head.0);
        assert!(head.1 == large, "the body of {number} is not what the console sent");
    }
}

#[tokio::test]
async fn o10_connections_of_one_address_have_a_number() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "", "connections_per_address = 2").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        stream.write_all(head("").as_bytes()).await.unwrap();
        assert!(raw::message(&mut stream).await.0.starts_with("HTTP/1.1 200"));
        held.push(stream);
    }
    let mut third = TcpStream::connect(gate.address()).await.unwrap();
    let refused = raw::rest(&mut third).await;
    assert_eq!(raw::statuses(&refused), [429]);
    assert!(
        refused.contains("\r\nretry-after: 1\r\n")
            && refused.contains("urn:doorward:problem:too-many-connections")
    );
    held.pop();
    let close = head("connection: close\r\n");
    eventually("a free place", async || {
        raw::statuses(&raw::send(gate.address(), &close).await) == [200]
    })
    .await;
    // A proxy's connections are those of many.
    let trusting =
        self::gate(&upstream, "trusted_proxies = [\"127.0.0.0/8\"]", "connections_per_address = 1")
            .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(trusting.address()).await.unwrap();
        stream.write_all(head("").as_bytes()).await.unwrap();
        assert!(raw::message(&mut stream).await.0.starts_with("HTTP/1.1 200"));
        held.push(stream);
    }
}

#[tokio::test]
async fn o10_a_connection_carries_so_many_requests() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream, "", "requests_per_connection = 3").await;
    let answer = raw::send(gate.address(), head("").repeat(10)).await;
    assert_eq!(raw::statuses(&answer), [200; 3]);
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn o11_a_body_has_a_pace_and_an_exchange_an_end() {
    let upstream = Upstream::start().await;
    let limits = "body_idle = \"1s\"\nbody_rate = \"1MiB\"\nexchange_time = \"2s\"";
    let its_gate = gate(&upstream, "", limits).await;
    // It never pauses for a second, and is too slow all the same.
    let mut stream = TcpStream::connect(its_gate.address()).await.unwrap();
    let request =
        format!("POST / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncontent-length: 1000000\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut often = tokio::time::interval(std::time::Duration::from_millis(100));
        while writing.write_all(b"x").await.is_ok() {
            often.tick().await;
        }
    });
    let answer = raw::rest(&mut reading).await;
    assert_eq!(raw::statuses(&answer), [408], "{answer}");
    dripping.abort();

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[limits]\nexchange_time = \"1s\"\n{PUBLIC}",
        silent.local_addr().unwrap()
    ))
    .await;
    assert_eq!(gate.browser().get("/").await.status, StatusCode::GATEWAY_TIMEOUT);
    // Nor may the answer go on for longer, though it never pauses.
    let asking = tokio::spawn(raw::send(gate.address(), head("")));
    let (mut server, _) = silent.accept().await.unwrap();
    let (mut server2, _) = silent.accept().await.unwrap();
    let _ = server.read(&mut [0; 1024]).await;
    raw::message(&mut server2).await;
    server2.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let mut often = tokio::time::interval(std::time::Duration::from_millis(100));
    while server2.write_all(b"x").await.is_ok() && !asking.is_finished() {
        often.tick().await;
    }
    assert_eq!(raw::statuses(&asking.await.unwrap()), [200]);
}

#[tokio::test]
async fn a07_http2_without_tls_meets_the_same_decision() {
    let upstream = Upstream::start().await;
    let gate =
        TestGate::start(&upstream, Setup { listener: "h2c = true", ..Setup::default() }).await;
    let anonymous: Browser = gate.browser();
    assert_eq!(anonymous.over_http2().get("/").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
    let alice = gate.signed_in().await;
    assert_eq!(alice.over_http2().get("/").await.status, StatusCode::OK);
    assert_eq!(upstream.last().field("remote-user"), Some("alice"));
}
