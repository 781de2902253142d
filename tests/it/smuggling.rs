//! Request smuggling, the classic ways: whatever hides behind a request is never one of its own.
//!
//! What is hidden asks for a path that needs a session. The console gets it in no way at all: what
//! is framed properly is judged and refused, and what is not is no request.

use doorward_tests::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use doorward_tests::{PUBLIC_HOST, Recorded, Setup, TestGate, Upstream, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HIDDEN: &str = "GET /private/smuggled HTTP/1.1\r\nhost: console.example.com\r\n\r\n";
const TABLES: &str = "[[route]]\npath = \"/public/**\"\naccess = \"public\"\n";

async fn gate(upstream: &Upstream) -> TestGate {
    let setup = Setup { listener: "h2c = true", tables: TABLES, ..Setup::default() };
    TestGate::start(upstream, setup).await
}

/// Expects that each request has one way to be read, and that none is what was hidden.
fn check_arrived(requests: &[Recorded], payload: &str) {
    for request in requests {
        let line = request.line();
        assert!(line.contains(" /public/"), "{line} arrived after {payload:?}");
        let lengths = request.all("content-length");
        let codings = request.all("transfer-encoding");
        assert!(lengths.len() + codings.len() <= 1, "{} after {payload:?}", request.head);
        assert!(codings.iter().all(|coding| *coding == "chunked"), "{}", request.head);
        let head = request.head.to_ascii_lowercase();
        assert_eq!(head.matches("transfer").count(), codings.len(), "{head} after {payload:?}");
        assert_eq!(head.matches("\n").count(), head.matches("\r\n").count(), "{head}");
    }
}

/// Sends `payload`, in which `HIDDEN` stands for what is hidden, and another request behind it.
async fn smuggle(gate: &TestGate, upstream: &Upstream, payload: &str) -> Vec<u16> {
    let before = upstream.count();
    let next =
        format!("GET /public/next HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n");
    let octets = payload.replace("HIDDEN", HIDDEN) + &next;
    let found = raw::statuses(&raw::exchange(gate.address(), octets.as_bytes()).await);
    check_arrived(&upstream.requests()[before..], payload);
    found
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn b25_a_coding_and_a_length_do_not_disagree() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let chunked = "0\r\n\r\nHIDDEN";
    let length = "content-length: 6\r\n";
    for (coding, line) in [
        ("transfer-encoding: chunked", length),
        ("Transfer-Encoding: xchunked", length),
        ("Transfer-Encoding : chunked", length),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", length),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", length),
        ("Transfer-Encoding:\tchunked", length),
        (" Transfer-Encoding: chunked", length),
        ("X: X\nTransfer-Encoding: chunked", length),
        ("X: X\rTransfer-Encoding: chunked", length),
        ("Transfer-Encoding\r\n: chunked", length),
        ("Transfer-Encoding\n: chunked", length),
        ("Transfer-Encoding:\r\n chunked", length),
        ("Transfer-Encoding:\n\tchunked", length),
        ("Transfer-Encoding: \"chunked\"", length),
        ("Transfer-Encoding: 'chunked'", length),
        ("Transfer-Encoding: chunked, identity", length),
        ("Transfer-Encoding: identity, chunked", length),
        ("Transfer-Encoding: chunked, cow", length),
        ("Transfer-Encoding: chunk", length),
        ("Transfer-Encoding: \u{b}chunked", length),
        ("Transfer-Encoding: \0chunked", length),
        ("Transfer-Encoding: chunked\0", length),
        ("Transfer-Encoding: chunked\u{c}", length),
        ("Transfer-Encoding: chunked;q=1", length),
        ("\0Transfer-Encoding: chunked", length),
        ("Transfer\u{7f}-Encoding: chunked", length),
        ("Transfer-\u{ff}Encoding: chunked", length),
        ("tRANSFER-ENCODING: CHUNKED", length),
        ("Foo: bar\r\n\rTransfer-Encoding: chunked", length),
        ("Content-Encoding: x\r\n Transfer-Encoding: chunked", length),
    ] {
        for fields in [format!("{coding}\r\n{line}"), format!("{line}{coding}\r\n")] {
            let found = smuggle(&gate, &upstream, &post(&fields, chunked)).await;
            assert_eq!(found, [400], "{fields:?}");
        }
    }
    // Each with nothing beside it either.
    for fields in ["Transfer_Encoding: chunked\r\n", "Transfer-Encoding-X: chunked\r\n"] {
        let before = upstream.count();
        let payload = post(&format!("{fields}content-length: 0\r\n"), "").replace("-X", "X");
        raw::exchange(gate.address(), payload.as_bytes()).await;
        let arrived = &upstream.requests()[before..];
        assert!(arrived.iter().all(|request| request.body.is_empty()), "{fields}");
    }
}

#[tokio::test]
async fn b25_lengths_hide_nothing() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let hidden = HIDDEN.len();
    for (payload, expected) in [
        // Two lengths, or one that some do not see (CL.0, 0.CL).
        (post(&format!("content-length: 0\r\ncontent-length: {hidden}\r\n"), "HIDDEN"), &[400][..]),
        (post(&format!("content-length: {hidden}\r\ncontent-length: 0\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length: 0, {hidden}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length : {hidden}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length:\r\n {hidden}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("x: y\r\n content-length: {hidden}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length: +{hidden}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length: {hidden} 0\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length: \u{b}{hidden}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length: 0x{hidden:x}\r\n"), "HIDDEN"), &[400]),
        (post(&format!("content-length: {hidden}\n"), "HIDDEN"), &[400]),
        (post(&format!("content\u{ad}length: {hidden}\r\n"), "HIDDEN"), &[400]),
        // Properly framed: a body is a body, with whatever method.
        (post(&format!("content-length: {hidden}\r\n"), "HIDDEN"), &[200, 200]),
        (post(&format!("content-length: 00{hidden}\r\n"), "HIDDEN"), &[200, 200]),
        (
            post(&format!("content-length: {hidden}\r\n"), "HIDDEN").replace("POST", "GET"),
            &[200, 200],
        ),
        (
            post(&format!("content-length: {hidden}\r\n"), "HIDDEN").replace("POST", "OPTIONS"),
            &[200, 200],
        ),
        (
            post(&format!("content-length: {hidden}\r\nexpect: 100-continue\r\n"), "HIDDEN"),
            &[200, 200],
        ),
        // No body: the next is a request of its own, which is judged.
        (post("", "HIDDEN"), &[200, 401, 200]),
        (post("content-length: 0\r\n", "HIDDEN"), &[200, 401, 200]),
        (post("content-length: 0\r\n", "\r\nHIDDEN"), &[200, 401, 200]),
        (post("content_length: 99\r\n", "HIDDEN"), &[200, 401, 200]),
        (post("connection: content-length\r\ncontent-length: 0\r\n", "HIDDEN"), &[200, 401, 200]),
        (
            post(&format!("connection: content-length\r\ncontent-length: {hidden}\r\n"), "HIDDEN"),
            &[200, 200],
        ),
    ] {
        let mut found = smuggle(&gate, &upstream, &payload).await;
        // "100 Continue" may come or not: the body was there already.
        found.retain(|status| *status != 100);
        let refused = expected.len() > 1 && found == [400];
        assert!(found == expected || refused, "{found:?} for {payload:?}");
    }
}

#[tokio::test]
async fn b25_chunks_hide_nothing() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let size = HIDDEN.len();
    for body in [
        // Extensions and line ends that are read in two ways.
        "0;\nHIDDEN\r\n\r\n".to_owned(),
        "0\n\nHIDDEN".into(),
        "0\r\n\nHIDDEN".into(),
        "0\n\r\nHIDDEN".into(),
        "0\r\rHIDDEN".into(),
        "1;a\nb\r\nx\r\n0\r\n\r\nHIDDEN".into(),
        "1;a\rb\r\nx\r\n0\r\n\r\nHIDDEN".into(),
        "1;\r\nxx\r\n0\r\n\r\nHIDDEN".into(),
        "1\r\nx0\r\n\r\nHIDDEN".into(),
        "1\r\nx\n0\r\n\r\nHIDDEN".into(),
        "1\r\nx\r0\r\n\r\nHIDDEN".into(),
        "1\r\nxYY0\r\n\r\nHIDDEN".into(),
        "0x1\r\nx\r\n0\r\n\r\nHIDDEN".into(),
        "1_0\r\nx\r\n0\r\n\r\nHIDDEN".into(),
        "+0\r\n\r\nHIDDEN".into(),
        "-0\r\n\r\nHIDDEN".into(),
        " 0\r\n\r\nHIDDEN".into(),
        "\u{b}0\r\n\r\nHIDDEN".into(),
        "10000000000000000\r\nHIDDEN".into(),
        "0\0\r\n\r\nHIDDEN".into(),
        "\r\n0\r\n\r\nHIDDEN".into(),
        // Trailers that would be a request.
        "0\r\nHIDDEN".into(),
        "0\r\nx\r\n\r\nHIDDEN".into(),
        "0\r\nx: y\n\nHIDDEN".into(),
        // TE.CL, read as it is meant: one body, and then what is judged.
        format!("{size:x}\r\nHIDDEN\r\n0\r\n\r\n"),
        format!("{size:x};a=b\r\nHIDDEN\r\n0\r\n\r\n"),
        "0\r\ncontent-length: 99\r\nx-y: z\r\n\r\nHIDDEN".into(),
        "0\r\n\r\nHIDDEN".into(),
    ] {
        let found = smuggle(&gate, &upstream, &post("transfer-encoding: chunked\r\n", &body)).await;
        let proper = found == [200, 200] || found == [200, 401, 200];
        let refused = found.iter().all(|status| *status >= 400) && found.len() <= 1;
        assert!(proper || refused, "{found:?} for {body:?}");
    }
}

#[tokio::test]
async fn b25_the_gates_own_answers_leave_no_body_behind() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    // Answers for which nobody needs the body (client-side desync, CL.0).
    for path in [
        "/.doorward/sign-in",
        "/.doorward/jwks.json",
        "/.doorward/api/v1/sign-in",
        "/.doorward/nothing",
        "/private",
        "/public/../private",
        "//",
        "/public/%00",
    ] {
        for method in ["POST", "GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "FOO"] {
            for (fields, body) in [
                (format!("content-length: {}\r\n", HIDDEN.len()), "HIDDEN".to_owned()),
                (
                    "transfer-encoding: chunked\r\n".into(),
                    format!("{:x}\r\nHIDDEN\r\n0\r\n\r\n", HIDDEN.len()),
                ),
            ] {
                let payload =
                    post(&fields, &body).replace("POST /public/a", &format!("{method} {path}"));
                let found = smuggle(&gate, &upstream, &payload).await;
                // The first answer, and perhaps the one to what follows.
                let whole = found.len() == 1 || (found.len() == 2 && found[1] == 200);
                assert!(whole, "{found:?} for {payload:?}");
            }
        }
    }
}

#[tokio::test]
async fn b25_an_answer_before_the_body_leaves_no_body_behind_at_the_console() {
    let console = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{TABLES}",
        console.local_addr().unwrap()
    ))
    .await;
    let mut client = TcpStream::connect(gate.address()).await.unwrap();
    let length = format!("content-length: {}\r\n", HIDDEN.len());
    client.write_all(post(&length, "").as_bytes()).await.unwrap();
    let (mut first, _) = console.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(first.read_u8().await.unwrap());
    }
    // The console does not wait for the body and thinks that the next octets are a request.
    first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let (answer, _) = raw::message(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let _ = client.write_all(HIDDEN.as_bytes()).await;
    // Somebody else's request comes on a connection of its own.
    let next = format!("GET /public/next HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    let mut other = TcpStream::connect(gate.address()).await.unwrap();
    other.write_all(next.as_bytes()).await.unwrap();
    let (mut second, _) = console.accept().await.unwrap();
    let (head, _) = raw::message(&mut second).await;
    assert!(head.starts_with("GET /public/next "), "{head}");
    drop((client, other));
    let rest = raw::rest(&mut first).await;
    assert!(rest.is_empty() || rest == HIDDEN, "{rest}");
}

#[tokio::test]
async fn b25_from_http2_nothing_is_hidden_in_http1() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let hidden = HIDDEN.len().to_string();
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let inject = format!("a\r\ntransfer-encoding: chunked\r\n\r\n{HIDDEN}");
    let path = format!("/public/a HTTP/1.1\r\nhost: a\r\n\r\n{HIDDEN}");
    let name = format!("x: y\r\n\r\n{HIDDEN}");
    let fields = |more: &[(&str, &str)]| {
        let plain = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/public/a"),
            (":authority", PUBLIC_HOST),
        ];
        // A field of the same name instead of the plain one.
        let kept = plain.iter().filter(|(name, _)| more.iter().all(|(other, _)| name != other));
        let (pseudo, regular): (Vec<_>, Vec<_>) =
            kept.chain(more).copied().partition(|(name, _)| name.starts_with(':'));
        frames::block(&[pseudo, regular].concat())
    };
    for (what, block, body) in [
        ("H2.CL", fields(&[("content-length", "0")]), HIDDEN),
        ("H2.CL, less", fields(&[("content-length", "1")]), HIDDEN),
        ("H2.CL, more", fields(&[("content-length", "999")]), HIDDEN),
        ("H2.CL, twice", fields(&[("content-length", &hidden), ("content-length", "0")]), HIDDEN),
        (
            "H2.CL, same",
            fields(&[("content-length", &hidden), ("content-length", &hidden)]),
            HIDDEN,
        ),
        ("H2.CL, proper", fields(&[("content-length", &hidden)]), HIDDEN),
        ("H2.0", fields(&[]), HIDDEN),
        ("H2.0, GET", fields(&[(":method", "GET")]), HIDDEN),
        ("H2.0, HEAD", fields(&[(":method", "HEAD")]), HIDDEN),
        ("H2.TE", fields(&[("transfer-encoding", "chunked")]), &chunked),
        ("H2.TE, odd", fields(&[("transfer-encoding", "xchunked")]), &chunked),
        ("H2.TE, name", fields(&[("transfer-encoding ", "chunked")]), &chunked),
        ("H2.TE, colon", fields(&[("transfer-encoding:", "chunked")]), &chunked),
        ("H2.TE, in a name", fields(&[("x: y\r\ntransfer-encoding", "chunked")]), &chunked),
        ("H2.TE, in a value", fields(&[("x", "y\r\ntransfer-encoding: chunked")]), &chunked),
        ("H2.TE, line feed", fields(&[("x", "y\ntransfer-encoding: chunked")]), &chunked),
        ("a value", fields(&[("x", &inject)]), ""),
        ("a cookie", fields(&[("cookie", &inject)]), ""),
        ("a name", fields(&[(&name, "z")]), ""),
        ("a path", fields(&[(":path", &path)]), ""),
        ("a method", fields(&[(":method", &path)]), ""),
        ("an authority", fields(&[(":authority", &inject)]), ""),
        ("a scheme", fields(&[(":scheme", &inject)]), ""),
        ("a host", fields(&[("host", &inject)]), ""),
    ] {
        let before = upstream.count();
        let mut octets = Vec::new();
        frame(&mut octets, HEADERS, END_HEADERS, 1, &block);
        frame(&mut octets, DATA, END_STREAM, 1, body.as_bytes());
        let outcome =
            frames::outcome(TcpStream::connect(gate.address()).await.unwrap(), &octets).await;
        let arrived = &upstream.requests()[before..];
        check_arrived(arrived, what);
        let whole = arrived.iter().all(|request| request.body == HIDDEN.as_bytes());
        assert!(whole && arrived.len() <= 1, "{what}: {outcome:?}, {arrived:?}");
    }
    assert_eq!(
        raw::statuses(&raw::send(gate.address(), post("connection: close\r\n", "")).await),
        [200]
    );
}
