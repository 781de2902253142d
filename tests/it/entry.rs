//! Entry: whichever way a request comes in, and whatever its cookie looks like, the decision is one.

use std::time::Duration;

use doorward_plugins::administration::Request;
use doorward_tests::{Browser, PUBLIC_HOST, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

const POLICY: &str = "[[route]]\npath = \"/public\"\naccess = \"public\"\n\
    [[route]]\npath = \"/staff\"\ngroups = [\"staff\"]\n\
    [[route]]\npath = \"/auditors\"\ngroups = [\"auditors\"]\n\
    [[route]]\npath = \"/owners\"\nroles = [\"owner\"]\n\
    [[route]]\npath = \"/viewers\"\nroles = [\"viewer\"]\n\
    [[route]]\npath = \"/both\"\ngroups = [\"staff\", \"other\"]\nroles = [\"owner\"]\n\
    [[route]]\npath = \"/half\"\ngroups = [\"staff\"]\nroles = [\"viewer\"]\n";

/// Path, status for a stranger, status for alice.
const TABLE: [(&str, u16, u16); 9] = [
    ("/public", 200, 200),
    ("/", 401, 200),
    ("/anything/else", 401, 200),
    ("/staff", 401, 200),
    ("/auditors", 401, 403),
    ("/owners", 401, 200),
    ("/viewers", 401, 403),
    ("/both", 401, 200),
    ("/half", 401, 403),
];

/// The ways in.
#[derive(Clone, Copy, Debug)]
enum Way {
    Http10,
    Http11,
    Http2,
    Head,
    Http2Head,
    Options,
    Post,
    Delete,
}

const WAYS: [Way; 8] = [
    Way::Http10,
    Way::Http11,
    Way::Http2,
    Way::Head,
    Way::Http2Head,
    Way::Options,
    Way::Post,
    Way::Delete,
];

async fn status(gate: &TestGate, way: Way, path: &str, token: &str) -> u16 {
    let mut browser = gate.browser();
    if !token.is_empty() {
        browser.jar.insert("__Host-doorward".into(), token.into());
    }
    let (method, browser) = match way {
        Way::Http10 => return http10(gate, path, token).await,
        Way::Http11 => (Method::GET, browser),
        Way::Http2 => (Method::GET, browser.over_http2()),
        Way::Head => (Method::HEAD, browser),
        Way::Http2Head => (Method::HEAD, browser.over_http2()),
        Way::Options => (Method::OPTIONS, browser),
        Way::Post => (Method::POST, browser),
        Way::Delete => (Method::DELETE, browser),
    };
    let mut browser: Browser = browser;
    browser.send(method, path, &[], "".into()).await.status.as_u16()
}

async fn http10(gate: &TestGate, path: &str, token: &str) -> u16 {
    let config = raw::tls_config(&gate.scratch.path().join("ca.pem"), &[]);
    let mut stream = raw::tls(gate.address(), PUBLIC_HOST, config).await.unwrap();
    let cookie = if token.is_empty() {
        String::new()
    } else {
        format!("cookie: __Host-doorward={token}\r\n")
    };
    let request = format!("GET {path} HTTP/1.0\r\nhost: {PUBLIC_HOST}\r\n{cookie}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    raw::statuses(&raw::rest(&mut stream).await)[0]
}

#[tokio::test]
async fn a07_every_way_in_meets_the_same_decision() {
    let upstream = Upstream::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gate =
        TestGate::start(&upstream, Setup { tables: POLICY, tls: true, ..Setup::default() }).await;
    let full = gate.signed_in().await.token().to_owned();
    let mut signed_out = gate.signed_in().await;
    let ended = signed_out.token().to_owned();
    signed_out.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    let made_up = "A".repeat(43);
    for way in WAYS {
        for (path, stranger, alice) in TABLE {
            for (token, expected) in
                [("", stranger), (&*made_up, stranger), (&*ended, stranger), (&*full, alice)]
            {
                let before = upstream.count();
                assert_eq!(
                    status(&gate, way, path, token).await,
                    expected,
                    "{way:?} {path} {token}"
                );
                let arrived = upstream.count() - before;
                assert_eq!(arrived, usize::from(expected == 200), "{way:?} {path} {token}");
            }
        }
    }
    gate.clock.advance(Duration::from_secs(3601));
    for way in WAYS {
        let before = upstream.count();
        for (path, stranger, _) in TABLE {
            assert_eq!(status(&gate, way, path, &full).await, stranger, "{way:?} {path}, expired");
        }
        assert_eq!(upstream.count(), before + 1, "only /public");
    }
}

#[tokio::test]
async fn a07_b20_the_console_is_always_asked_in_http11() {
    let upstream = Upstream::start().await;
    let gate =
        TestGate::start(&upstream, Setup { tables: POLICY, tls: true, ..Setup::default() }).await;
    for way in [Way::Http10, Way::Http11, Way::Http2] {
        assert_eq!(status(&gate, way, "/public", "").await, 200);
        assert!(upstream.last().head.starts_with("GET /public HTTP/1.1\r\n"), "{way:?}");
    }
}

/// What `Cookie` may look like; `TOKEN` stands for a live session's.
fn odd_cookies() -> Vec<Vec<u8>> {
    let name = "__Host-doorward";
    let long = "x".repeat(4096);
    let mut all: Vec<Vec<u8>> = [
        "",
        ";",
        "=",
        ";;;;",
        "==",
        "=;=",
        " ",
        "a",
        "a=",
        "=a",
        name,
        &format!("{name}="),
        &format!("{name}=;"),
        &format!("{name}==TOKEN"),
        &format!("{name}=TOKEN="),
        &format!("{name}=\"TOKEN\""),
        &format!("{name}=TOKE"),
        &format!("{name}=TOKENA"),
        &format!("{name}=TOKEN TOKEN"),
        &format!("{name}=TOKEN,TOKEN"),
        &format!("{name}=TOKEN, a=b"),
        &format!("{name}=%20TOKEN"),
        &format!("{name}=TOKEN%00"),
        &format!("{name}={long}"),
        &format!("{name}=TOKEN{long}"),
        &format!("{long}={name}=TOKEN"),
        &format!("{name}=TOKEN; {name}=TOKEN"),
        &format!("{name}=evil; {name}=TOKEN"),
        &format!("{name}=TOKEN; {name}=evil"),
        &format!("{name}=TOKEN; {name}"),
        &format!("{name}=TOKEN; {name}="),
        "__host-doorward=TOKEN",
        "__HOST-DOORWARD=TOKEN",
        "__Host-Doorward=TOKEN",
        "__Secure-doorward=TOKEN",
        "doorward=TOKEN",
        "__Host-doorward-form=TOKEN",
        "__Host-doorward2=TOKEN",
        "x__Host-doorward=TOKEN",
        "$Version=1; __host-doorward=TOKEN",
        "__Host-doorward\u{a0}=TOKEN",
        "__Host%2ddoorward=TOKEN",
        "TOKEN",
        "TOKEN=TOKEN",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for octet in (1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')) {
        all.push([name.as_bytes(), b"=TOK", &[octet], b"EN"].concat());
    }
    all
}

#[tokio::test]
async fn a09_odd_cookies_are_nobody_and_never_an_error() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: POLICY, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for cookie in odd_cookies() {
        let shown = String::from_utf8_lossy(&cookie).into_owned();
        let cookie: Vec<_> =
            cookie.split(|octet| *octet == b'\n').flat_map(|part| replace(part, &token)).collect();
        for path in ["/", "/public"] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncookie: ");
            let request = [head.as_bytes(), &cookie, b"\r\nconnection: close\r\n\r\n"].concat();
            let first = raw::statuses(&raw::send(gate.address(), &request).await);
            let second = raw::statuses(&raw::send(gate.address(), &request).await);
            assert_eq!(first, second, "{shown:?} is decided in two ways");
            let allowed = if path == "/" { [401, 400] } else { [200, 400] };
            assert!(first.len() == 1 && allowed.contains(&first[0]), "{first:?} for {shown:?}");
        }
    }
    for request in upstream.requests() {
        assert_eq!(request.line(), "GET /public");
        assert_eq!(request.field("remote-user"), None);
    }
    let fine = format!(
        "GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncookie: a=1\r\ncookie: __Host-doorward={token}\r\ncookie: b=2\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(
        raw::statuses(&raw::send(gate.address(), &fine).await),
        [200],
        "c06: split fields are one"
    );
    assert_eq!(upstream.last().field("cookie"), Some("a=1; b=2"));
}

/// `octets` with the live token for `TOKEN`.
fn replace(octets: &[u8], token: &str) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = octets;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"TOKEN") {
            replaced.extend_from_slice(token.as_bytes());
            rest = after;
        } else {
            replaced.push(*first);
            rest = after;
        }
    }
    replaced
}

#[tokio::test]
async fn a09_many_cookie_fields_and_a_nul_are_no_error_either() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: POLICY, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    let many = "cookie: a=1\r\n".repeat(80);
    for (fields, expected) in [
        (format!("{many}cookie: __Host-doorward={token}\r\n"), 200),
        (format!("cookie: __Host-doorward={token}\r\ncookie: __Host-doorward={token}\r\n"), 401),
        (format!("cookie: __Host-doorward={token}\r\ncookie: __Host-doorward=x\r\n"), 401),
        (format!("cookie: __Host-doorward={token}\0\r\n"), 400),
        (format!("cookie: __Host-doorward=\0{token}\r\n"), 400),
        (format!("cookie: a=1\rcookie: __Host-doorward={token}\r\n"), 400),
    ] {
        let request =
            format!("GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}connection: close\r\n\r\n");
        assert_eq!(
            raw::statuses(&raw::send(gate.address(), request).await),
            [expected],
            "{fields:?}"
        );
    }
}

#[tokio::test]
async fn a09_every_request_of_a_connection_is_asked_for_its_own_session() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut alice = gate.signed_in().await;
    let (token, session) = (alice.token().to_owned(), alice.get("/.doorward/session").await.json());
    let request = |fields: &str| format!("GET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n");
    let cookie = format!("cookie: __Host-doorward={token}\r\n");
    let mut stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
    for (fields, expected) in [(&*cookie, "200"), ("", "401"), (&*cookie, "200"), ("", "401")] {
        stream.write_all(request(fields).as_bytes()).await.unwrap();
        let (head, _) = raw::message(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{head}");
    }
    let id = session["session"].as_str().unwrap().to_owned();
    gate.ask(Request::SessionRevoke { id }).await.unwrap();
    stream.write_all(request(&cookie).as_bytes()).await.unwrap();
    let (head, _) = raw::message(&mut stream).await;
    assert!(
        head.starts_with("HTTP/1.1 401"),
        "an ended session lived on in its connection: {head}"
    );
    assert_eq!(upstream.count(), 2);
    assert_eq!(gate.browser().get("/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn b13_pipelined_requests_are_answered_in_order_each_by_its_own_right() {
    let upstream = Upstream::replying(|request| {
        let body = request.line().to_owned();
        Some(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    })
    .await;
    let gate = TestGate::start(&upstream, Setup { tables: POLICY, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    let request = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}\r\n")
    };
    let cookie = format!("cookie: __Host-doorward={token}\r\n");
    let pipeline = request("/1", &cookie)
        + &request("/2", "")
        + &request("/3", &cookie)
        + &request("/public", "")
        + &request("/auditors", &cookie)
        + &request("/4", "connection: close\r\n");
    let answer = raw::send(gate.address(), pipeline).await;
    assert_eq!(raw::statuses(&answer), [200, 401, 200, 200, 403, 401], "{answer}");
    let (one, three) = (answer.find("GET /1").unwrap(), answer.find("GET /3").unwrap());
    assert!(one < three && three < answer.find("GET /public").unwrap());
    let lines: Vec<_> =
        upstream.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["GET /1", "GET /3", "GET /public"]);
    assert_eq!(upstream.requests()[2].field("remote-user"), None, "a stranger got alice's name");
}
