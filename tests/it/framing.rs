//! Framing: at most the requests that were judged reach the console, however octets are arranged.

use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream, raw};

const PUBLIC: &str = "[[route]]\npath = \"/public/**\"\naccess = \"public\"\n";

/// What a smuggler hides behind another request.
const TAIL: &str = "GET /public/smuggled HTTP/1.1\r\nhost: console.example.com\r\n\r\n";

async fn gate(upstream: &Upstream) -> TestGate {
    TestGate::start(upstream, Setup { tables: PUBLIC, ..Setup::default() }).await
}

/// Sends a request with these fields and this body on a connection of its own and gives the
/// statuses that come back until the gate closes.
async fn statuses(gate: &TestGate, line: &str, fields: &str, body: &str) -> Vec<u16> {
    let request = format!("{line}\r\n{fields}\r\n{body}");
    raw::statuses(&raw::exchange(gate.address(), request.as_bytes()).await)
}

fn lines(upstream: &Upstream) -> Vec<String> {
    upstream.requests().iter().map(|request| request.line().to_owned()).collect()
}

/// Sends POST /public/a with these framing fields and expects 400, a closed connection and
/// nothing at the console.
async fn check_refused(gate: &TestGate, upstream: &Upstream, fields: &str, body: &str) {
    let before = upstream.count();
    let request =
        format!("POST /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n{body}{TAIL}");
    let found = raw::statuses(&raw::send(gate.address(), request).await);
    assert_eq!(found, [400], "{fields:?}");
    assert_eq!(upstream.count(), before, "{fields:?} arrived");
}

#[tokio::test]
async fn b01_both_lengths_are_refused_and_end_the_connection() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "Content-Length: 5\r\nTRANSFER-ENCODING: Chunked\r\n",
        "content-length: 0\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 500\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n",
        "transfer-encoding: chunked\r\ncontent-length: nonsense\r\n",
    ] {
        let before = upstream.count();
        let request = format!(
            "POST /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n0\r\n\r\n{TAIL}"
        );
        let found = raw::statuses(&raw::send(gate.address(), request).await);
        assert_eq!(found, [400], "{fields}");
        assert_eq!(upstream.count(), before, "{fields}");
    }
}

#[tokio::test]
async fn b02_codings_other_than_chunked_last_are_refused() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for coding in [
        "chunked, gzip",
        "gzip",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;",
        "chunked, identity",
        "",
        ",",
        "\"chunked\"",
        "chun ked",
        "chunked\u{b}",
        "x chunked",
        "chunked, chunked, x",
        "chunked x",
    ] {
        check_refused(&gate, &upstream, &format!("transfer-encoding: {coding}\r\n"), "0\r\n\r\n")
            .await;
        let twice = format!("transfer-encoding: chunked\r\ntransfer-encoding: {coding}\r\n");
        check_refused(&gate, &upstream, &twice, "0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn b03_lengths_that_are_no_lengths_are_refused() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for length in [
        "5, 6",
        "5,5",
        "+5",
        "-1",
        "0x5",
        "5 5",
        "99999999999999999999",
        "18446744073709551616",
        "5_0",
        "",
        "5.0",
        "1e1",
        "٥",
        "5;",
        "\"5\"",
        "five",
        "5\u{b}",
        "05 ,",
    ] {
        check_refused(&gate, &upstream, &format!("content-length: {length}\r\n"), "abcde").await;
    }
    check_refused(&gate, &upstream, "content-length: 5\r\ncontent-length: 10\r\n", "abcde").await;
    check_refused(&gate, &upstream, "content-length: 5\r\nContent-Length: 0\r\n", "abcde").await;
    check_refused(&gate, &upstream, "content-length: 5\r\ncontent-length: x\r\n", "abcde").await;
}

#[tokio::test]
async fn b04_a_coding_in_http10_is_faulty_framing() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for more in
        ["", "connection: keep-alive\r\n", "content-length: 5\r\nconnection: keep-alive\r\n"]
    {
        let fields = format!("host: {PUBLIC_HOST}\r\ntransfer-encoding: chunked\r\n{more}");
        let found =
            statuses(&gate, "POST /public/a HTTP/1.0", &fields, &format!("0\r\n\r\n{TAIL}")).await;
        assert_eq!(found, [400], "{more}");
    }
    assert_eq!(lines(&upstream), [""; 0]);
}

#[tokio::test]
async fn b05_b06_b07_fields_that_parsers_read_in_two_ways_are_refused() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for fields in [
        "Content-Length : 5\r\n",
        "x : y\r\n",
        "x\t: y\r\n",
        ": y\r\n",
        "x\r\n",
        "x y\r\n",
        "x y: z\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "x: y\r\n folded\r\n",
        "x: y\r\n\tfolded\r\n",
        "x: y\rz: w\r\n",
        "x: y\r\r\n",
        "\rx: y\r\n",
        "x\r: y\r\n",
        "x: a\0b\r\n",
        "x\0: y\r\n",
        "x: a\x01b\r\n",
        "x: a\x7fb\r\n",
        "x: a\x1bb\r\n",
        "(x): y\r\n",
        "x,z: y\r\n",
        "x\u{e9}: y\r\n",
        "\"x\": y\r\n",
        "x@: y\r\n",
        "x[]: y\r\n",
    ] {
        check_refused(&gate, &upstream, &format!("{fields}content-length: 5\r\n"), "abcde").await;
    }
    for start in [" host: x\r\n", "\thost: x\r\n", " x: y\r\n"] {
        let request = format!("GET /public/a HTTP/1.1\r\n{start}host: {PUBLIC_HOST}\r\n\r\n{TAIL}");
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [400], "{start:?}");
    }
    assert_eq!(lines(&upstream), [""; 0]);
}

#[tokio::test]
async fn b08_b23_request_lines_and_hosts_that_are_none_are_refused() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let host = format!("host: {PUBLIC_HOST}\r\n");
    for line in [
        "GET /public/a",
        "GET  /public/a HTTP/1.1",
        "GET /public/a  HTTP/1.1",
        "GET /public/a HTTP/1.1 ",
        " GET /public/a HTTP/1.1",
        "GET /public/a HTTP/2.0",
        "GET /public/a HTTP/1.2",
        "GET /public/a HTTP/0.9",
        "GET /public/a http/1.1",
        "GET /public/a HTTP/11",
        "GET /public/a XTTP/1.1",
        "GET\t/public/a\tHTTP/1.1",
        "/public/a HTTP/1.1",
        "GET HTTP/1.1",
        "GET",
        "G\0T /public/a HTTP/1.1",
        "GÉT /public/a HTTP/1.1",
        "GET /public/a\0 HTTP/1.1",
        "GET /public/\u{80} b HTTP/1.1",
        "GET /public/a HTTP/1.1\rx: y",
    ] {
        let request = format!("{line}\r\n{host}\r\n{TAIL}");
        // A version that could be one has a status of its own.
        let version = ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9"].iter().any(|end| line.ends_with(end));
        let expected = if version { 505 } else { 400 };
        let found = raw::statuses(&raw::send(gate.address(), request).await);
        assert_eq!(found, [expected], "{line:?}");
    }
    for fields in [
        "",
        "host:\r\n",
        "host: a b\r\n",
        "host: a, b\r\n",
        "host: a\r\nhost: a\r\n",
        "host: a/b\r\n",
        "host: \u{e9}.example.com\r\n",
        "host: a\tb\r\n",
        "host: a:b\r\n",
        "host: @a\r\n",
        "host: a#b\r\n",
    ] {
        let request = format!("GET /public/a HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [400], "{fields:?}");
    }
    assert_eq!(lines(&upstream), [""; 0]);
}

#[tokio::test]
async fn b10_chunks_that_are_none_never_make_a_whole_request() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let long = format!("5;{}\r\nabcde\r\n0\r\n\r\n", "x".repeat(1 << 20));
    for body in [
        "FFFFFFFFFFFFFFFF1\r\nabc",
        "-1\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdeX0\r\n\r\n",
        "5\r\nabcdef\r\n0\r\n\r\n",
        "\r\nabcde\r\n0\r\n\r\n",
        "5 x\r\nabcde\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "5\rabcde\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "5;x\ny\r\nabcde\r\n0\r\n\r\n",
        "0\r\nx: y\rz\r\n\r\n",
        &long,
    ] {
        let request = format!(
            "POST /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ntransfer-encoding: chunked\r\n\r\n{body}{TAIL}"
        );
        let found = raw::statuses(&raw::send(gate.address(), request).await);
        let shown = &body[..body.len().min(40)];
        // A request whose body broke off may have no answer, but never a good one and no follower.
        assert!(
            found.len() <= 1 && found.iter().all(|status| *status >= 400),
            "{found:?} for {shown:?}"
        );
        // The console's record has whole requests only.
        assert_eq!(upstream.count(), 0, "{shown:?}");
    }
    for body in [
        "5;name=value\r\nabcde\r\n0\r\n\r\n",
        "05\r\nabcde\r\n000\r\n\r\n",
        "5 ;x\r\nabcde\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{body}"
        );
        let found = raw::statuses(&raw::send(gate.address(), request).await);
        assert!(found == [200] || found == [400], "{found:?} for {body:?}");
        assert!(found == [400] || upstream.last().body == b"abcde");
    }
}

#[tokio::test]
async fn b12_a_body_that_nobody_read_is_never_the_next_request() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    // Early refusals, with a body that looks like requests: small, and beyond any buffer.
    for count in [1, 200, 20_000] {
        let body = TAIL.repeat(count);
        for fields in [
            format!("content-length: {}\r\n\r\n{body}", body.len()),
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        ] {
            let request = format!("POST /private HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}");
            let found = raw::statuses(&raw::exchange(gate.address(), request.as_bytes()).await);
            assert!(found == [401] || found.is_empty(), "{found:?} for {count}");
            assert_eq!(upstream.count(), 0, "a body became a request");
        }
    }
}

#[tokio::test]
async fn b24_after_close_nothing_more_is_processed() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for fields in [
        "connection: close\r\n",
        "connection: x, Close\r\n",
        "connection: keep-alive\r\nconnection: close\r\n",
    ] {
        let before = upstream.count();
        let request =
            format!("GET /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n{TAIL}");
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [200], "{fields}");
        assert_eq!(upstream.count(), before + 1, "{fields}");
    }
    let request = format!("GET /public/a HTTP/1.0\r\nhost: {PUBLIC_HOST}\r\n\r\n{TAIL}");
    assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [200], "HTTP/1.0 closes");
}

#[tokio::test]
async fn b17_octets_of_a_value_are_refused_or_arrive_as_they_are() {
    let upstream =
        Upstream::replying(|_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()))
            .await;
    let gate = gate(&upstream).await;
    for octet in 0..=255_u8 {
        let head = format!(
            "GET /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\nx-any: a"
        );
        let request = [head.as_bytes(), &[octet], b"b\r\n\r\n"].concat();
        let before = upstream.count();
        let found = raw::statuses(&raw::send(gate.address(), request).await);
        if matches!(octet, b'\t' | 0x20..=0x7e | 0x80..) {
            assert_eq!(found, [200], "{octet:#x}");
            let expected = format!("a{}b", char::from(octet));
            assert_eq!(upstream.last().field("x-any"), Some(&*expected), "{octet:#x}");
        } else {
            assert_eq!((found, upstream.count()), (vec![400], before), "{octet:#x}");
        }
    }
}

#[tokio::test]
async fn b18_expectations_open_no_way_around_framing() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let head = format!(
        "POST /public/a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n"
    );
    let mut stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    let (interim, _) = raw::message(&mut stream).await;
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"abcde").await.unwrap();
    let (answer, body) = raw::message(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && body == b"hello", "{answer}");
    let last = upstream.last();
    assert_eq!((last.body.as_slice(), last.field("expect")), (&b"abcde"[..], None));

    // Refused before the body: the body that comes all the same is not a request.
    let private =
        head.replace("/public/a", "/private").replace(": 5", &format!(": {}", TAIL.len()));
    let next =
        format!("GET /public/b HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n");
    let answer = raw::send(gate.address(), format!("{private}\r\n{TAIL}{next}")).await;
    assert_eq!(raw::statuses(&answer), [401, 200], "{answer}");
    assert_eq!(lines(&upstream), ["POST /public/a", "GET /public/b"]);
}
