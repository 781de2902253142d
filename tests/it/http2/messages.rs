//! Messages that are none (RFC 9113 §8): refused, and never at the console.

use doorward_tests::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, frame};
use doorward_tests::{TestGate, Upstream};

use super::{GET, POST, connect, gate};

async fn ask(gate: &TestGate, fields: &[(&str, &str)], body: &[u8]) -> Outcome {
    frames::request(connect(gate).await, fields, body).await
}

fn with<'a>(fields: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [fields, more].concat()
}

/// Expects that nothing arrives of a request with these fields.
async fn check_malformed(gate: &TestGate, upstream: &Upstream, fields: &[(&str, &str)]) {
    let before = upstream.count();
    let outcome = ask(gate, fields, b"").await;
    let refused = matches!(outcome, Outcome::Status(400) | Outcome::Reset | Outcome::Closed);
    assert!(refused, "{outcome:?} for {fields:?}");
    assert_eq!(upstream.count(), before, "{fields:?} arrived");
}

#[tokio::test]
async fn c01_names_and_values_that_are_none_never_arrive() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let odd = (0..0x21_u8).chain([b':', b'"', b'(', b',', b'/', b';', b'@', b'[', b'{', 0x7f]);
    let mut names: Vec<_> = odd.map(|octet| format!("x{}y", char::from(octet))).collect();
    names.extend(
        ["X-Up", "x-Up", "Content-Length", "", "é", "x\u{80}", "x: y", "x\r\nz", "x ", " x"]
            .map(Into::into),
    );
    for name in &names {
        check_malformed(&gate, &upstream, &with(&GET, &[(name, "v")])).await;
    }
    let odd = (0..0x20_u8).filter(|octet| *octet != b'\t').chain([0x7f]);
    let mut values: Vec<_> = odd.map(|octet| format!("a{}b", char::from(octet))).collect();
    values.extend([" a", "a ", "\ta", "a\t", " ", "a\r\nx: y"].map(Into::into));
    for value in &values {
        check_malformed(&gate, &upstream, &with(&GET, &[("x-any", value)])).await;
    }
    for value in ["", "a b", "a\tb", "é"] {
        let outcome = ask(&gate, &with(&GET, &[("x-any", value)]), b"").await;
        assert_eq!(outcome, Outcome::Status(200), "{value:?}");
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn c01_trailers_that_are_none_never_arrive() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for (trailer, whole) in [
        (("x-sum", "5"), true),
        (("X-Sum", "5"), false),
        (("x sum", "5"), false),
        (("x\"sum", "5"), false),
        (("x-sum", "5\r\nz: w"), false),
        (("x-sum", " 5"), false),
        (("x-sum", "5 "), false),
        (("connection", "close"), false),
        (("transfer-encoding", "chunked"), false),
    ] {
        let before = upstream.count();
        let mut octets = Vec::new();
        frame(&mut octets, HEADERS, END_HEADERS, 1, &frames::block(&POST));
        frame(&mut octets, DATA, 0, 1, b"hello");
        let block = frames::block(&[trailer]);
        frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 1, &block);
        let outcome = frames::outcome(connect(&gate).await, &octets).await;
        assert_eq!(outcome == Outcome::Status(200), whole, "{outcome:?} for {trailer:?}");
        assert_eq!(upstream.count() > before, whole, "{trailer:?}");
    }
    assert_eq!(upstream.last().trailers, ["x-sum: 5"]);
    // Pseudo-fields have no meaning there: refused, or left out.
    for trailer in [(":path", "/b"), (":status", "200"), (":authority", "a")] {
        let mut octets = Vec::new();
        frame(&mut octets, HEADERS, END_HEADERS, 1, &frames::block(&POST));
        let block = frames::block(&[trailer, ("x-sum", "5")]);
        frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 1, &block);
        frames::outcome(connect(&gate).await, &octets).await;
        let last = upstream.last();
        assert_eq!((last.line(), &*last.trailers), ("POST /a", &["x-sum: 5".to_owned()][..]));
    }
}

#[tokio::test]
async fn c02_fields_of_a_connection_make_a_message_malformed() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for field in [
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("connection", ""),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", "chunked"),
        ("te", ""),
    ] {
        check_malformed(&gate, &upstream, &with(&GET, &[field])).await;
        check_malformed(&gate, &upstream, &with(&POST, &[field])).await;
    }
    assert_eq!(ask(&gate, &with(&GET, &[("te", "trailers")]), b"").await, Outcome::Status(200));
    assert_eq!(upstream.last().field("te"), Some("trailers"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn c03_a_length_that_is_not_the_bodys_makes_no_whole_request() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    for (lengths, body, whole) in [
        (&["5"][..], "hello", true),
        (&["0"], "", true),
        (&["5"], "", false),
        (&["5"], "hell", false),
        (&["5"], "hello!", false),
        (&["0"], "h", false),
        (&["5", "6"], "hello", false),
        (&["5", "6"], "hello!", false),
        (&["5, 5"], "hello", false),
        (&["+5"], "hello", false),
        (&["-5"], "hello", false),
        (&["0x5"], "hello", false),
        (&["18446744073709551621"], "hello", false),
    ] {
        let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        let before = upstream.count();
        let outcome = ask(&gate, &with(&POST, &fields), body.as_bytes()).await;
        assert_eq!(outcome == Outcome::Status(200), whole, "{outcome:?} for {lengths:?} {body}");
        // The console's record has whole requests only.
        assert_eq!(upstream.count() > before, whole, "{lengths:?} {body}");
    }
    // In pieces, and with trailers instead of the missing octet.
    for (pieces, trailers) in
        [(&["he", "ll"][..], false), (&["he", "ll"], true), (&["hell", "o!"], false)]
    {
        let mut octets = Vec::new();
        let block = frames::block(&with(&POST, &[("content-length", "5")]));
        frame(&mut octets, HEADERS, END_HEADERS, 1, &block);
        for (at, piece) in pieces.iter().enumerate() {
            let last = at + 1 == pieces.len() && !trailers;
            frame(&mut octets, DATA, if last { END_STREAM } else { 0 }, 1, piece.as_bytes());
        }
        if trailers {
            let block = frames::block(&[("x-sum", "5")]);
            frame(&mut octets, HEADERS, END_HEADERS | END_STREAM, 1, &block);
        }
        let outcome = frames::outcome(connect(&gate).await, &octets).await;
        assert!(
            matches!(outcome, Outcome::Status(400) | Outcome::Reset | Outcome::Closed),
            "{outcome:?}"
        );
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn c04_pseudo_fields_come_once_first_and_are_known() {
    let upstream = Upstream::start().await;
    let gate = gate(&upstream).await;
    let [method, scheme, path, authority] = GET;
    for fields in [
        &[scheme, path, authority][..],
        &[method, path, authority],
        &[method, scheme, authority],
        &[method, scheme, path],
        &[authority],
        &[],
        &[method, method, scheme, path, authority],
        &[method, scheme, scheme, path, authority],
        &[method, scheme, path, path, authority],
        &[method, scheme, path, (":path", "/b"), authority],
        &[method, scheme, path, authority, authority],
        &[method, scheme, path, authority, (":status", "200")],
        &[method, scheme, path, authority, (":protocol", "websocket")],
        &[method, scheme, path, authority, (":unknown", "a")],
        &[method, scheme, path, authority, (":", "a")],
        &[method, scheme, path, ("x-any", "a"), authority],
        &[("x-any", "a"), method, scheme, path, authority],
        &[method, ("x-any", "a"), scheme, path, authority],
        &[method, scheme, (":path", ""), authority],
        &[method, scheme, (":path", "a"), authority],
        &[method, scheme, (":path", "/a b"), authority],
        &[method, scheme, (":path", "/a\r\nx: y"), authority],
        &[method, scheme, (":path", "/a HTTP/1.1\r\nx: y"), authority],
        &[method, scheme, (":path", "/a\0"), authority],
        &[method, scheme, (":path", "http://console.example.com/a"), authority],
        &[method, scheme, path, (":authority", "")],
        &[method, scheme, path, (":authority", "x@console.example.com")],
        &[method, scheme, path, (":authority", "console.example.com/a")],
        &[method, scheme, path, (":authority", "console.example.com\r\nx: y")],
        &[method, scheme, path, (":authority", " console.example.com")],
        &[method, scheme, path, (":authority", "console.example.com:a")],
        &[(":method", ""), scheme, path, authority],
        &[(":method", "GET /b HTTP/1.1\r\nhost: a\r\n\r\nGET"), scheme, path, authority],
        &[(":method", "GET "), scheme, path, authority],
        &[method, (":scheme", "ht tp"), path, authority],
        &[method, (":scheme", "http\r\nx: y"), path, authority],
    ] {
        check_malformed(&gate, &upstream, fields).await;
    }
    // `CONNECT` has neither scheme nor path (§8.5), and is not for us.
    for fields in [
        &[(":method", "CONNECT"), authority][..],
        &[(":method", "CONNECT"), (":protocol", "websocket"), scheme, path, authority],
    ] {
        let outcome = ask(&gate, fields, b"").await;
        assert!(
            matches!(outcome, Outcome::Status(400..=501) | Outcome::Reset | Outcome::Closed),
            "{outcome:?}"
        );
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask(&gate, &[path, authority, scheme, method], b"").await, Outcome::Status(200));
}
