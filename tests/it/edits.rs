//! Edits: what a route changes reaches the console, or the client, and nothing else is changed.

use doorward_tests::{PUBLIC_HOST, Recorded, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};

/// A public route with these keys, tables last.
fn public(path: &str, keys: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\naccess = \"public\"\n{keys}\n")
}

async fn gate(upstream: &Upstream, tables: &str) -> TestGate {
    TestGate::start(upstream, Setup { tables, ..Setup::default() }).await
}

async fn ask(gate: &TestGate, line: &str, fields: &str) -> String {
    let request =
        format!("{line} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}connection: close\r\n\r\n");
    raw::send(gate.address(), request).await
}

/// The status for this target, and the line with which it arrived; "": it did not.
async fn arrival(gate: &TestGate, upstream: &Upstream, target: &str) -> (u16, String) {
    let before = upstream.count();
    let answer = ask(gate, &format!("GET {target}"), "").await;
    let arrived = upstream.count() > before;
    let line = if arrived { upstream.last().line().to_owned() } else { String::new() };
    (raw::statuses(&answer)[0], line)
}

const FIELDS: &str = "[route.request_headers]\nset = { X-Env = \"prod\", X-Two = [\"1\", \"2\"] }\n\
    add = { X-Tag = [\"a\", \"b\"] }\nremove = [\"Accept-Language\", \"Cookie\"]\n";

#[tokio::test]
async fn fields_of_requests_are_set_added_and_removed_whatever_the_client_sent() {
    let upstream = Upstream::start().await;
    let tables = public("/edited/**", FIELDS) + &public("/plain/**", "");
    let gate = gate(&upstream, &tables).await;
    let check = |last: &Recorded, tags: &[&str]| {
        assert_eq!((last.all("x-env"), last.all("x-two")), (vec!["prod"], vec!["1", "2"]));
        assert_eq!(last.all("x-tag"), tags);
        assert_eq!((last.field("accept-language"), last.field("cookie")), (None, None));
    };
    let sent = "X-ENV: evil\r\nx-env: more\r\nx-two: 0\r\nx-tag: c\r\naccept-language: zh\r\n\
        accept-language: en\r\ncookie: lang=zh\r\nx-kept: 1\r\n";
    ask(&gate, "GET /edited/x", sent).await;
    check(&upstream.last(), &["c", "a", "b"]);
    assert_eq!(upstream.last().field("x-kept"), Some("1"));
    ask(&gate, "HEAD /edited", "").await;
    check(&upstream.last(), &["a", "b"]);
    let mut alice = gate.signed_in().await;
    alice.get_with("/edited/x", &[("x-env", "evil")]).await;
    check(&upstream.last(), &["a", "b"]);
    assert_eq!(upstream.last().field("remote-user"), Some("alice"), "the session was found before");
    ask(&gate, "GET /plain/x", sent).await;
    let last = upstream.last();
    assert_eq!((last.all("x-env"), last.all("x-tag")), (vec!["evil", "more"], vec!["c"]));
    assert_eq!((last.field("cookie"), last.all("accept-language").len()), (Some("lang=zh"), 2));
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: nginx/1.22\r\nx-powered-by: PHP/5\r\nx-old: 1\r\nx-old: 2\r\n\
    vary: accept\r\nset-cookie: sid=1\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn fields_of_answers_are_edited_and_only_those_of_the_console() {
    let upstream = Upstream::replying(|request| {
        let broken = request.line().ends_with("/broken");
        let head = request.line().starts_with("HEAD");
        let length = ANSWER.len() - if head { 2 } else { 0 };
        Some(if broken { b"nonsense\r\n\r\n".to_vec() } else { ANSWER[..length].to_vec() })
    })
    .await;
    let fields = "[route.response_headers]\nset = { X-Old = \"new\", Cache-Control = \"no-store\" }\n\
        add = { Vary = \"cookie\", Set-Cookie = \"lang=en\" }\n";
    let tables = public("/edited/**", fields)
        + &format!("[[route]]\npath = \"/closed/**\"\n{fields}")
        + &public("/kept/**", "hide_server = false");
    let gate = gate(&upstream, &tables).await;
    let mut browser = gate.browser();
    for method in [Method::GET, Method::HEAD] {
        let answer = browser.send(method, "/edited/x", &[], "".into()).await;
        let all = |name: &str| {
            answer
                .headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!((all("x-old"), all("cache-control")), (vec!["new"], vec!["no-store"]));
        assert_eq!(
            (all("vary"), all("set-cookie")),
            (vec!["accept", "cookie"], vec!["sid=1", "lang=en"])
        );
        assert_eq!((all("server"), all("x-powered-by")), (vec![""; 0], vec![""; 0]));
    }
    let kept = browser.get("/kept/x").await;
    assert_eq!((kept.field("server"), kept.field("x-powered-by")), ("nginx/1.22", "PHP/5"));
    assert_eq!(kept.headers.get_all("x-old").iter().count(), 2);
    // Refusals of every room: by a plugin, by the router, on behalf of the upstream.
    for (path, status) in [
        ("/closed/x", StatusCode::UNAUTHORIZED),
        ("/edited//x", StatusCode::BAD_REQUEST),
        ("/edited/broken", StatusCode::BAD_GATEWAY),
        ("/.doorward/session", StatusCode::UNAUTHORIZED),
    ] {
        let answer = browser.get(path).await;
        assert_eq!((answer.status, answer.field("x-old")), (status, ""), "{path}");
        assert!(!answer.headers.get_all("set-cookie").iter().any(|cookie| cookie == "lang=en"));
        assert_eq!(answer.field("x-frame-options"), "DENY", "{path}: the gate's own");
    }
}

#[tokio::test]
async fn a_prefix_is_replaced_and_what_follows_arrives_octet_by_octet() {
    let upstream = Upstream::start().await;
    let tables = public("/app/**", "replace_prefix = \"/\"")
        + &public("/v1/api/**", "replace_prefix = \"/api\"")
        + &public("/same/**", "");
    let gate = gate(&upstream, &tables).await;
    for (target, expected) in [
        ("/app", "/"),
        ("/app/", "/"),
        ("/app?", "/?"),
        ("/app/x?next=/app/y%2F&a=%41", "/x?next=/app/y%2F&a=%41"),
        ("/app/%E4%BD%A0/%41?q", "/%E4%BD%A0/%41?q"),
        ("/app/x;v=1/Y", "/x;v=1/Y"),
        ("/%61pp/app/x", "/app/x"),
        ("/app/x/", "/x/"),
        ("/v1/api", "/api"),
        ("/v1/%61pi/x?y", "/api/x?y"),
        ("/same/app?", "/same/app?"),
    ] {
        let arrived = arrival(&gate, &upstream, target).await;
        assert_eq!(arrived, (200, format!("GET {expected}")), "{target}");
        let told = upstream.last().field("x-forwarded-prefix").map(str::to_owned);
        let prefix = match target {
            _ if target.starts_with("/same") => None,
            _ if target.starts_with("/v1") => Some("/v1/api"),
            _ => Some("/app"),
        };
        assert_eq!(told.as_deref(), prefix, "{target}");
    }
    ask(&gate, "GET /app/x", "x-forwarded-prefix: /evil\r\n").await;
    assert_eq!(upstream.last().field("x-forwarded-prefix"), Some("/app"));
    ask(&gate, "GET /same/x", "x-forwarded-prefix: /evil\r\n").await;
    assert_eq!(upstream.last().field("x-forwarded-prefix"), None);
    doorward_tests::eventually("the log", async || {
        gate.access_log().await.iter().any(|line| line["path"] == "/v1/api/x")
    })
    .await;
}

#[tokio::test]
async fn a_path_that_could_be_replaced_in_two_ways_is_refused() {
    let upstream = Upstream::start().await;
    let tables = public("/app/**", "replace_prefix = \"/\"")
        + &public(
            "/Keys/**",
            "[route.request_headers]\nset = { Authorization = \"Basic eA==\" }\n",
        )
        + &public("/**", "");
    let gate = gate(&upstream, &tables).await;
    for target in [
        // A backend that drops parameters, or does not tell cases apart, would read another route.
        "/app;x",
        "/app;x/y",
        "/APP/x",
        "/App",
        "/%41pp/x",
        "/aPP;x/y",
        "/keys/x",
        "/KEYS",
        "/Keys;a/x",
        "/app//x",
        "/app/../x",
        "/app/./x",
        "/app%2fx",
        "/app/%2e%2e/x",
        "/app/.;/x",
        // What would be left is the gate's own, which no upstream gets.
        "/app/.doorward/session",
        "/app/.Doorward;x/y",
        "/app/.%64oorward",
    ] {
        assert_eq!(arrival(&gate, &upstream, target).await, (400, String::new()), "{target}");
    }
    for (target, expected) in [
        ("/apps/x", "/apps/x"),
        ("/x/app/y", "/x/app/y"),
        ("/app/Y;z", "/Y;z"),
        ("/Keys/x", "/Keys/x"),
    ] {
        let arrived = arrival(&gate, &upstream, target).await;
        assert_eq!(arrived, (200, format!("GET {expected}")), "{target}");
    }
}

const SAFETY: [&str; 4] =
    ["strict-transport-security", "x-content-type-options", "referrer-policy", "x-frame-options"];

#[tokio::test]
async fn security_fields_are_added_where_the_console_has_none_and_only_over_tls_that_of_tls() {
    let upstream = Upstream::replying(|request| {
        let own = if request.line().contains("/own") {
            "strict-transport-security: max-age=0\r\nx-content-type-options: own\r\n\
             referrer-policy: no-referrer\r\ncontent-security-policy: frame-ancestors 'none'\r\n"
        } else {
            ""
        };
        Some(format!("HTTP/1.1 200 OK\r\n{own}content-length: 0\r\n\r\n").into_bytes())
    })
    .await;
    let tables = public("/all/**", "security_headers = \"all\"")
        + &public("/none/**", "security_headers = \"none\"")
        + &public("/**", "");
    let hsts = "max-age=31536000";
    let all = ["nosniff", "strict-origin-when-cross-origin", "SAMEORIGIN"];
    for tls in [true, false] {
        let setup = Setup { tables: &tables, tls, ..Setup::default() };
        let gate = TestGate::start(&upstream, setup).await;
        let secure = if tls { hsts } else { "" };
        for (path, expected) in [
            ("/", [secure, "", "", ""]),
            ("/own", ["max-age=0", "own", "no-referrer", ""]),
            ("/none", ["", "", "", ""]),
            ("/all", [secure, all[0], all[1], all[2]]),
            ("/all/own", ["max-age=0", "own", "no-referrer", ""]),
        ] {
            let answer = gate.browser().get(path).await;
            assert_eq!(SAFETY.map(|name| answer.field(name)), expected, "{path}, TLS: {tls}");
            for name in SAFETY {
                assert!(answer.headers.get_all(name).iter().count() <= 1, "{name} of {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_trusted_says_whether_the_client_came_over_tls() {
    let upstream = Upstream::start().await;
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]";
    let tables = public("/**", "");
    let setup = Setup { listener, tables: &tables, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    for (proto, expected) in [("https", "max-age=31536000"), ("http", "")] {
        let fields = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", proto)];
        let answer = gate.browser().get_with("/", &fields).await;
        assert_eq!(answer.field("strict-transport-security"), expected, "{proto}");
    }
}
