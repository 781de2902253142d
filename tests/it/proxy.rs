//! Proxying: what belongs to a connection stays there, everything else passes as it is.

use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const PUBLIC: &str = "[[route]]\naccess = \"public\"\n";

/// A gate that lets everybody in.
async fn open(upstream: &Upstream, setup: Setup<'_>) -> TestGate {
    let tables = format!("{}\n{PUBLIC}", setup.tables);
    TestGate::start(upstream, Setup { tables: &tables, ..setup }).await
}

async fn ask(gate: &TestGate, line: &str, fields: &str) -> String {
    let request =
        format!("{line} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}connection: close\r\n\r\n");
    raw::send(gate.address(), request).await
}

/// The lines of a raw answer that hold this field.
fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn d01_what_belongs_to_one_connection_goes_no_further_in_either_direction() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive, X-Hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\n\
          proxy-connection: keep-alive\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\ntrailer: x-t\r\n\
          x-kept: 1\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = open(&upstream, Setup::default()).await;
    let hops = "connection: x-hop, Keep-Alive ,X-Other,,\r\nx-hop: 1\r\nx-other: 1\r\nkeep-alive: timeout=5\r\n\
        proxy-connection: keep-alive\r\nproxy-authorization: Basic eA==\r\nte: trailers, gzip\r\ntrailer: x-t\r\n\
        upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nx-kept: 1\r\n";
    let answer = ask(&gate, "GET /", hops).await;
    let last = upstream.last();
    // That the gate itself takes trailers, it says for its own connection.
    assert_eq!((last.field("te"), last.field("connection")), (Some("trailers"), Some("te")));
    for name in [
        "x-hop",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "trailer",
        "upgrade",
        "http2-settings",
        "transfer-encoding",
    ] {
        assert_eq!(last.field(name), None, "{name} arrived");
    }
    assert_eq!(last.field("x-kept"), Some("1"));
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "upgrade",
        "transfer-encoding",
    ] {
        assert_eq!(values(&answer, name), [""; 0], "{name} came back");
    }
    assert_eq!(values(&answer, "connection"), ["close"], "only what the gate itself says");
    assert_eq!(values(&answer, "x-kept"), ["1"]);
}

#[tokio::test]
async fn d02_via_names_the_gate_by_a_pseudonym_behind_those_before_it() {
    let upstream = Upstream::start().await;
    let gate = open(&upstream, Setup::default()).await;
    ask(&gate, "GET /", "").await;
    let own = upstream.last().field("via").unwrap().to_owned();
    let (protocol, name) = own.split_once(' ').unwrap();
    assert_eq!(protocol, "1.1");
    assert!(name.starts_with("doorward-") && !name.contains("127.0.0.1"), "{own}");
    ask(&gate, "GET /", "via: 1.0 first, 1.1 second\r\nvia: 2 third\r\n").await;
    assert_eq!(upstream.last().all("via"), ["1.0 first, 1.1 second", "2 third", &own]);
}

#[tokio::test]
async fn d03_unknown_fields_pass_unchanged_and_lines_of_one_name_stay_in_order() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\nx-c: 1\r\nset-cookie: a=1\r\nx-b: \xe4\r\nset-cookie: b=2\r\nx-c: 3\r\n\
          set-cookie: c=3\r\nx-c: 2\r\nx-empty: \r\nx-served: s\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let gate = open(&upstream, Setup::default()).await;
    let mut fields = String::new();
    for index in 0..80 {
        fields.push_str(&format!("x-field-{}: value {index}; \"q\", <{index}>\r\n", index % 40));
    }
    fields.push_str("x-empty: \r\naccept: */*\r\naccept: text/html;q=0.5\r\n");
    let answer = ask(&gate, "GET /", &fields).await;
    let last = upstream.last();
    for index in 0..40 {
        let expected = [index, index + 40].map(|index| format!("value {index}; \"q\", <{index}>"));
        assert_eq!(last.all(&format!("x-field-{index}")), expected);
    }
    assert_eq!(last.all("x-empty"), [""]);
    assert_eq!(last.all("accept"), ["*/*", "text/html;q=0.5"]);
    assert_eq!(values(&answer, "set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!(values(&answer, "x-c"), ["1", "3", "2"]);
    assert_eq!((values(&answer, "x-empty"), values(&answer, "x-served")), (vec![""], vec!["s"]));
}

#[tokio::test]
async fn d06_a_gate_in_front_of_itself_answers_508_and_asks_once() {
    // The gate's address is known once it listens; until then its upstream is a wire to nowhere.
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{PUBLIC}",
        wire.local_addr().unwrap()
    ))
    .await;
    let address = gate.address();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = wire.accept().await.unwrap();
            let mut to = TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut from, &mut to).await });
        }
    });
    assert_eq!(gate.browser().get("/").await.status, StatusCode::LOOP_DETECTED);
    doorward_tests::eventually("the log", async || gate.access_log().await.len() >= 2).await;
    let log = gate.access_log().await;
    // Two workers write, in either order.
    let mut decided: Vec<_> = log.iter().map(|line| line["decided_by"].as_str().unwrap()).collect();
    decided.sort_unstable();
    assert_eq!(decided, ["router", "upstream"]);
}

#[tokio::test]
async fn d13_the_gates_own_answers_are_not_stored_and_the_consoles_are_as_it_says() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\ncache-control: public, max-age=60\r\nvary: accept\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    for (target, program, person) in [
        ("/", 401, 303),
        ("/.doorward/sign-in", 200, 200),
        ("/.doorward/account", 401, 303),
        ("/.doorward/session", 401, 401),
        ("/.doorward/api/v1/session", 401, 401),
        ("/.doorward/none", 404, 404),
        ("//", 400, 400),
    ] {
        for (mut browser, status) in
            [(gate.browser(), program), (gate.browser().navigating(), person)]
        {
            let answer = browser.get(target).await;
            assert_eq!(answer.status.as_u16(), status, "{target}");
            assert_eq!(answer.field("cache-control"), "no-store", "{target}");
        }
    }
    let mut alice = gate.signed_in().await;
    let answer = alice.get("/").await;
    assert_eq!(
        (answer.field("cache-control"), answer.field("vary")),
        ("public, max-age=60", "accept")
    );
    let before = upstream.count();
    alice.get("/").await;
    assert_eq!(upstream.count(), before + 1, "the gate keeps no copies");
}

#[tokio::test]
async fn d15_conditional_and_range_requests_pass() {
    let upstream = Upstream::replying(|request| {
        Some(if request.field("if-none-match").is_some() {
            b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n".to_vec()
        } else {
            b"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nab".to_vec()
        })
    })
    .await;
    let gate = open(&upstream, Setup::default()).await;
    let mut browser = gate.browser();
    let fields = [
        ("if-none-match", "\"a\", W/\"b\""),
        ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
    ];
    let answer = browser.get_with("/", &fields).await;
    assert_eq!((answer.status, answer.field("etag")), (StatusCode::NOT_MODIFIED, "\"a\""));
    for (name, value) in fields {
        assert_eq!(upstream.last().field(name), Some(value));
    }
    let fields = [("range", "bytes=0-1,5-6"), ("if-range", "\"a\""), ("if-match", "*")];
    let answer = browser.get_with("/", &fields).await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!((answer.field("content-range"), &answer.body[..]), ("bytes 0-1/9", &b"ab"[..]));
    for (name, value) in fields {
        assert_eq!(upstream.last().field(name), Some(value));
    }
}

#[tokio::test]
async fn d18_redirects_of_the_console_are_the_clients() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/elsewhere\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let gate = open(&upstream, Setup::default()).await;
    let answer = gate.browser().get("/").await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::FOUND, "http://127.0.0.1:1/elsewhere")
    );
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn d21_b19_answers_without_a_body_have_none() {
    let upstream = Upstream::replying(|request| {
        let (method, target) = request.line().split_once(' ').unwrap();
        Some(match (method, target) {
            ("HEAD", _) => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: \"a\"\r\n\r\n".to_vec(),
            (_, "/204") => b"HTTP/1.1 204 No Content\r\nx-kept: 1\r\n\r\n".to_vec(),
            (_, "/304") => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n".to_vec(),
            (_, "/204-coded") => {
                b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()
            }
            (_, "/204-body") => {
                b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello".to_vec()
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        })
    })
    .await;
    let gate = open(&upstream, Setup::default()).await;
    for (line, status) in [
        ("HEAD /", 200),
        ("GET /204", 204),
        ("GET /304", 304),
        ("GET /204-coded", 204),
        ("GET /204-body", 204),
    ] {
        let answer = ask(&gate, line, "").await;
        assert_eq!(raw::statuses(&answer), [status], "{line}");
        assert!(answer.ends_with("\r\n\r\n"), "{line} has a body: {answer}");
        assert_eq!(values(&answer, "transfer-encoding"), [""; 0], "{line}");
        if status == 204 {
            assert_eq!(values(&answer, "content-length"), [""; 0], "RFC 9110 §8.6");
        }
        let next = ask(&gate, "GET /next", "").await;
        assert!(next.ends_with("\r\n\r\nok"), "after {line}: {next}");
    }
    assert_eq!(
        values(&ask(&gate, "HEAD /", "").await, "content-length"),
        ["5"],
        "HEAD tells the length"
    );
}

#[tokio::test]
async fn a14_d08_a_stranger_states_no_address_and_no_scheme() {
    let upstream = Upstream::start().await;
    let gate = open(&upstream, Setup::default()).await;
    let spoof = "x-forwarded-for: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nforwarded: for=1.2.3.4;proto=https\r\n\
        x-real-ip: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nx-forwarded-port: 1\r\n\
        x-forwarded-ssl: on\r\nx-request-id: mine\r\n";
    ask(&gate, "GET /", spoof).await;
    let last = upstream.last();
    assert_eq!(last.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(last.field("x-forwarded-proto"), Some("http"));
    assert_eq!(last.field("x-forwarded-host"), Some(PUBLIC_HOST));
    let element = format!("for=127.0.0.1;host=\"{PUBLIC_HOST}\";proto=http");
    assert_eq!(last.field("forwarded"), Some(&*element));
    for name in ["x-real-ip", "x-forwarded-port", "x-forwarded-ssl"] {
        assert_eq!(last.field(name), None, "{name} arrived");
    }
    let id = last.field("x-request-id").unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    doorward_tests::eventually("the log", async || !gate.access_log().await.is_empty()).await;
    let log = gate.access_log().await;
    assert_eq!(
        (log[0]["client"].as_str(), log[0]["request_id"].as_str()),
        (Some("127.0.0.1"), Some(&*id))
    );
    // A PROXY preamble is no request.
    let preamble =
        format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    assert_eq!(raw::statuses(&raw::send(gate.address(), preamble).await), [400]);
}

#[tokio::test]
async fn a14_d08_a_trusted_proxys_chain_is_believed_from_its_right_end() {
    let upstream = Upstream::start().await;
    let setup = Setup { listener: "trusted_proxies = [\"127.0.0.0/8\"]", ..Setup::default() };
    let gate = open(&upstream, setup).await;
    for (fields, client, chain, proto) in [
        ("", "127.0.0.1", "127.0.0.1", "http"),
        (
            "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\n",
            "192.0.2.7",
            "192.0.2.7, 127.0.0.1",
            "https",
        ),
        (
            "x-forwarded-for: 6.6.6.6, 192.0.2.7\r\n",
            "192.0.2.7",
            "6.6.6.6, 192.0.2.7, 127.0.0.1",
            "http",
        ),
        (
            "x-forwarded-for: 192.0.2.7, 127.0.0.9\r\n",
            "192.0.2.7",
            "192.0.2.7, 127.0.0.9, 127.0.0.1",
            "http",
        ),
        ("x-forwarded-for: nonsense\r\n", "127.0.0.1", "127.0.0.1", "http"),
        (
            "forwarded: for=\"[2001:db8::1]:80\";proto=https\r\n",
            "2001:db8::1",
            "2001:db8::1, 127.0.0.1",
            "https",
        ),
    ] {
        let before = gate.access_log().await.len();
        ask(&gate, "GET /", fields).await;
        let last = upstream.last();
        assert_eq!(last.field("x-forwarded-for"), Some(chain), "{fields}");
        assert_eq!(last.field("x-forwarded-proto"), Some(proto), "{fields}");
        assert!(last.field("forwarded").unwrap().ends_with(&format!("proto={proto}")), "{fields}");
        doorward_tests::eventually("the log", async || gate.access_log().await.len() > before)
            .await;
        assert_eq!(gate.access_log().await[before]["client"], client, "{fields}");
    }
    // What a trusted proxy says of host and address of the page is still not what was judged.
    ask(&gate, "GET /", "x-forwarded-host: evil\r\nx-original-url: /evil\r\n").await;
    assert!(!upstream.last().head.contains("evil"), "{}", upstream.last().head);
}

#[tokio::test]
async fn the_console_gets_the_host_that_the_configuration_says() {
    let upstream = Upstream::start().await;
    let own = upstream.address.to_string();
    for (keys, host) in [
        ("", "Console.example.com:8443"),
        ("host_header = \"keep\"", "Console.example.com:8443"),
        ("host_header = \"upstream\"", &*own),
        ("host_header = \"inside.example\"", "inside.example"),
    ] {
        let gate = open(&upstream, Setup { upstream: keys, ..Setup::default() }).await;
        let request =
            "GET / HTTP/1.1\r\nhost: Console.example.com:8443\r\nconnection: close\r\n\r\n";
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [200]);
        assert_eq!(upstream.last().field("host"), Some(host), "{keys}");
        assert_eq!(upstream.last().field("x-forwarded-host"), Some("Console.example.com:8443"));
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream_like_any_other() {
    let folder = doorward_tests::Scratch::new();
    let socket = folder.path().join("console.sock");
    let upstream = Upstream::unix(&socket).await;
    for host_header in ["keep", "upstream"] {
        let gate = TestGate::with_config(&format!(
            "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.console]\naddress = \"unix:{}\"\nhost_header = \"{host_header}\"\n\
             [store]\npath = \"doorward.db\"\n[operations]\naddress = \"127.0.0.1:0\"\n",
            socket.display()
        ))
        .await;
        let mut alice = gate.signed_in().await;
        let answer = alice.send(Method::POST, "/a?b", &[], "body".into()).await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "hello"));
        let last = upstream.last();
        assert_eq!((last.line(), last.body.as_slice()), ("POST /a?b", &b"body"[..]));
        let host = if host_header == "keep" { PUBLIC_HOST } else { "localhost" };
        assert_eq!((last.field("host"), last.field("remote-user")), (Some(host), Some("alice")));
        assert_eq!(gate.browser().get("/").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn d05_max_forwards_is_counted_down_and_answered_here_when_it_is_used_up() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut browser = gate.signed_in().await;
    let options = Method::OPTIONS;
    for (sent, forwarded) in [("10", "9"), ("1", "0"), ("many", "many")] {
        browser.send(options.clone(), "/", &[("max-forwards", sent)], bytes::Bytes::new()).await;
        assert_eq!(upstream.last().field("max-forwards"), Some(forwarded));
    }
    let before = upstream.count();
    let zero = [("max-forwards", "0")];
    let answer = browser.send(options.clone(), "/", &zero, bytes::Bytes::new()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.field("allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    let stranger = gate.browser().send(options, "/", &zero, bytes::Bytes::new()).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "a stranger is told nothing");
    assert_eq!(upstream.count(), before);
    browser.get_with("/", &zero).await;
    assert_eq!(upstream.last().field("max-forwards"), Some("0"), "it means nothing with GET");
}
