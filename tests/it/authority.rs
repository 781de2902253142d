//! Authority and method: what is judged is what is routed, and nothing else is let in.

use doorward_tests::frames::{self, Outcome};
use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};

/// A public host beside the one that needs a session.
const TABLES: &str = "[[route]]\nhosts = [\"open.example.com\"]\naccess = \"public\"\n";

const SHUT: &str = PUBLIC_HOST;

async fn statuses(gate: &TestGate, line: &str, fields: &str) -> Vec<u16> {
    let request = format!("{line} HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
    raw::statuses(&raw::send(gate.address(), request).await)
}

#[tokio::test]
async fn a05_b09_an_absolute_target_beats_host_for_policy_and_for_the_console() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TABLES, ..Setup::default() }).await;
    for (line, host, expected) in [
        ("GET /a", "open.example.com", 200),
        ("GET /a", SHUT, 401),
        ("GET http://console.example.com/a", "open.example.com", 401),
        ("GET https://console.example.com/a", "open.example.com", 401),
        ("GET http://open.example.com/a", SHUT, 200),
        ("GET http://open.example.com/a", "elsewhere.example.com", 200),
        ("GET http://elsewhere.example.com/a", "open.example.com", 421),
        ("GET http://CONSOLE.example.com/a", "open.example.com", 401),
        ("GET http://console.example.com./a", "open.example.com", 401),
        ("GET http://console.example.com:80/a", "open.example.com", 401),
        ("GET http://open.example.com@console.example.com/a", "open.example.com", 400),
        ("GET http:///a", "open.example.com", 400),
        ("GET //console.example.com/a", "open.example.com", 400),
    ] {
        let before = upstream.count();
        let found = statuses(&gate, line, &format!("host: {host}\r\n")).await;
        assert_eq!(found, [expected], "{line} with Host {host}");
        assert_eq!(upstream.count(), before + usize::from(expected == 200), "{line}");
        if expected == 200 {
            let last = upstream.last();
            assert_eq!((last.line(), last.field("host")), ("GET /a", Some("open.example.com")));
            assert_eq!(last.field("x-forwarded-host"), Some("open.example.com"));
        }
    }
}

#[tokio::test]
async fn a05_hosts_have_one_form_and_unknown_ones_are_misdirected() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TABLES, ..Setup::default() }).await;
    for (host, expected) in [
        ("open.example.com", 200),
        ("OPEN.Example.COM", 200),
        ("open.example.com.", 200),
        ("open.example.com:8443", 200),
        ("Open.example.com.:1", 200),
        ("console.example.com", 401),
        ("CONSOLE.EXAMPLE.COM", 401),
        ("console.example.com.", 401),
        ("console.example.com:80", 401),
        ("other.example.com", 421),
        ("a.open.example.com", 421),
        ("open.example.com.evil.example", 421),
        ("evil-open.example.com", 421),
        ("127.0.0.1", 421),
        ("localhost", 421),
        ("[::1]", 421),
        ("open.example.com..", 400),
        ("open.example.com:", 400),
        ("open.example.com:x", 400),
        ("open.example.com:99999", 400),
        ("open.example.com/a", 400),
        ("a@open.example.com", 400),
        ("open.example.com, console.example.com", 400),
        ("open.example.com console.example.com", 400),
        ("open.example.com#", 400),
        ("open.example.com?x", 400),
        ("open.example.com\\", 400),
        ("", 400),
        ("..", 400),
        ("open%2eexample.com", 400),
        ("оpen.example.com", 400),
    ] {
        let before = upstream.count();
        assert_eq!(
            statuses(&gate, "GET /", &format!("host: {host}\r\n")).await,
            [expected],
            "{host:?}"
        );
        assert_eq!(upstream.count(), before + usize::from(expected == 200), "{host:?}");
    }
    for fields in [
        "",
        "host: open.example.com\r\nhost: open.example.com\r\n",
        "host: open.example.com\r\nHost: console.example.com\r\n",
    ] {
        let before = upstream.count();
        assert_eq!(statuses(&gate, "GET /", fields).await, [400], "{fields}");
        assert_eq!(upstream.count(), before);
    }
}

#[tokio::test]
async fn a05_fields_that_name_another_host_or_target_change_nothing() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TABLES, ..Setup::default() }).await;
    for name in [
        "x-forwarded-host",
        "x-host",
        "x-original-host",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-forwarded-uri",
        "x-forwarded-prefix",
        "x-forwarded-server",
    ] {
        let value = if name == "forwarded" { "host=open.example.com" } else { "open.example.com" };
        let fields = format!("host: {SHUT}\r\n{name}: {value}\r\n");
        assert_eq!(statuses(&gate, "GET /", &fields).await, [401], "{name}");
        assert_eq!(upstream.count(), 0, "{name}");
    }
    let fields = "host: open.example.com\r\nx-original-url: /secret\r\nx-rewrite-url: /secret\r\n\
        x-original-uri: /secret\r\nx-forwarded-uri: /secret\r\nx-forwarded-prefix: /secret\r\n\
        x-original-method: DELETE\r\n";
    assert_eq!(statuses(&gate, "GET /", fields).await, [200]);
    assert!(!upstream.last().head.contains("secret"), "{}", upstream.last().head);
}

#[tokio::test]
async fn a05_c05_over_http2_authority_and_host_must_agree() {
    let upstream = Upstream::start().await;
    let setup = Setup { tables: TABLES, tls: true, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    let ca_file = gate.scratch.path().join("ca.pem");
    let ask = async |fields: &[(&str, &str)]| {
        let config = raw::tls_config(&ca_file, &[b"h2"]);
        let stream = raw::tls(gate.address(), "localhost", config).await.unwrap();
        frames::request(stream, fields, &[]).await
    };
    let head = [(":method", "GET"), (":scheme", "https"), (":path", "/a")];
    let with = |more: &[(&'static str, &'static str)]| [&head[..], more].concat();
    let refused = |outcome: &Outcome| {
        matches!(outcome, Outcome::Status(400) | Outcome::Reset | Outcome::Closed)
    };
    for (more, expected) in [
        (&[(":authority", "open.example.com")][..], 200),
        (&[(":authority", "open.example.com"), ("host", "open.example.com")], 200),
        (&[(":authority", SHUT)], 401),
        (&[("host", SHUT)], 401),
        (&[("host", "open.example.com")], 200),
        (&[(":authority", "elsewhere.example.com")], 421),
    ] {
        assert_eq!(ask(&with(more)).await, Outcome::Status(expected), "{more:?}");
    }
    assert_eq!(upstream.count(), 3);
    for more in [
        &[(":authority", "open.example.com"), ("host", SHUT)][..],
        &[(":authority", SHUT), ("host", "open.example.com")],
        &[(":authority", "open.example.com"), ("host", "open.example.com"), ("host", SHUT)],
        &[(":authority", "open.example.com"), (":authority", SHUT)],
        &[("host", "open.example.com"), ("host", SHUT)],
        &[],
    ] {
        let outcome = ask(&with(more)).await;
        assert!(refused(&outcome), "{outcome:?} for {more:?}");
    }
    for path in ["/public/../a", "//a", "a", "", "*", "http://open.example.com/a"] {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", path),
            (":authority", "open.example.com"),
        ];
        let outcome = ask(&fields).await;
        assert!(refused(&outcome), "{outcome:?} for {path:?}");
    }
    assert_eq!(upstream.count(), 3, "a refused request arrived");
}

#[tokio::test]
async fn a06_b21_only_listed_methods_come_in() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: TABLES, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for (line, expected) in [
        ("TRACE /", 405),
        ("CONNECT open.example.com:22", 405),
        ("CONNECT /", 405),
        ("FOO /", 501),
        ("get /", 501),
        ("Get /", 501),
        ("GETX /", 501),
        ("PROPFIND /", 501),
        ("PURGE /", 501),
        ("TRACK /", 501),
        ("POST_ /", 501),
        ("PRI *", 501),
    ] {
        for host in ["open.example.com", SHUT] {
            let fields = format!("host: {host}\r\ncookie: __Host-doorward={token}\r\n");
            let found = statuses(&gate, line, &fields).await;
            let odd_target = line.starts_with("CONNECT /") || line.starts_with("PRI");
            assert!(found == [expected] || (odd_target && found == [400]), "{line}: {found:?}");
        }
    }
    assert_eq!(upstream.count(), 0);
    let long = "M".repeat(1000);
    let found = statuses(&gate, &format!("{long} /"), "host: open.example.com\r\n").await;
    assert!(found == [501] || found == [400], "{found:?}");
}

#[tokio::test]
async fn a06_no_field_changes_the_method_that_is_judged_or_the_one_that_arrives() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/list\"\nmethods = [\"GET\"]\naccess = \"public\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut stranger = gate.browser();
    let names =
        ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"];
    for name in names {
        let answer = stranger.send(Method::POST, "/list", &[(name, "GET")], "".into()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(upstream.count(), 0);
    }
    for name in names {
        for name in [name.to_owned(), name.replace('-', "_")] {
            let answer = stranger.get_with("/list", &[(&name, "DELETE")]).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}");
            assert!(!upstream.last().head.contains("DELETE"), "{name} arrived");
            assert_eq!(upstream.last().line(), "GET /list");
        }
    }
    let answer = stranger.send(Method::HEAD, "/list", &[], "".into()).await;
    assert_eq!(answer.status, StatusCode::OK, "a route for GET is one for HEAD");
    assert_eq!(upstream.last().line(), "HEAD /list");
}
