//! Identity headers: what a client says of itself never arrives, what the gate says always does.

use doorward_config::IdentityHeaders;
use doorward_plugins::administration::{AccountChange, Request};
use doorward_tests::{Browser, PUBLIC_HOST, Recorded, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};

/// Every name that some preset uses, and the signed form.
const NAMES: [&str; 13] = [
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-user",
    "x-doorward-assertion",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
];

const PUBLIC: &str = "[[route]]\npath = \"/public\"\naccess = \"public\"\n\
    [[route]]\npath = \"/missing\"\naccess = \"public\"\n";

/// What backends make of one name: `Remote_User` and `REMOTE-USER` are one variable to many.
fn canonical(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The identity fields of a request as it arrived, by name, as `name: value`.
fn identity(recorded: &Recorded) -> Vec<String> {
    let lines = recorded.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut found: Vec<_> = lines
        .map(|(name, value)| (canonical(name), value.trim()))
        .filter(|(name, _)| NAMES.contains(&name.as_str()))
        .map(|(name, value)| {
            let signed = name == "x-doorward-assertion" && value.split('.').count() == 3;
            format!("{name}: {}", if signed { "signed" } else { value })
        })
        .collect();
    found.sort();
    found
}

/// What alice's requests carry under the usual preset.
const ALICE: [&str; 3] =
    ["remote-groups: staff", "remote-user: alice", "x-doorward-assertion: signed"];

fn spellings(name: &str) -> Vec<String> {
    let alternating: String = name
        .chars()
        .enumerate()
        .map(|(index, c)| if index % 2 == 0 { c } else { c.to_ascii_uppercase() })
        .collect();
    let title: Vec<_> = name
        .split('-')
        .map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]))
        .collect();
    vec![
        name.into(),
        name.to_ascii_uppercase(),
        title.join("-"),
        alternating,
        name.replace('-', "_"),
        name.replacen('-', "_", 1),
        title.join("_"),
        name.to_ascii_uppercase().replace('-', "_"),
    ]
}

async fn console() -> Upstream {
    Upstream::replying(|request| {
        let status = if request.line().ends_with("/missing") { "404 Not Found" } else { "200 OK" };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").into_bytes())
    })
    .await
}

#[test]
fn a02_the_names_tested_here_are_all_there_are() {
    assert_eq!(IdentityHeaders::reserved(&IdentityHeaders::default()), NAMES);
}

#[tokio::test]
async fn a02_a_clients_identity_fields_never_arrive_in_any_spelling_over_http1() {
    let upstream = console().await;
    let gate = TestGate::start(&upstream, Setup { tables: PUBLIC, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for spelling in 0..8 {
        for values in [&["root"][..], &["root", "admin"], &[""], &["", "root"], &["a,root"]] {
            let mut fields = String::new();
            for name in NAMES {
                for value in values {
                    fields.push_str(&format!("{}: {value}\r\n", spellings(name)[spelling]));
                }
            }
            for (path, cookie) in [
                ("/", true),
                ("/", false),
                ("/public", true),
                ("/public", false),
                ("/missing", true),
                ("/missing", false),
            ] {
                let before = upstream.count();
                let cookie_field = if cookie {
                    format!("cookie: __Host-doorward={token}\r\n")
                } else {
                    String::new()
                };
                let request = format!(
                    "GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{fields}{cookie_field}connection: close\r\n\r\n"
                );
                let statuses = raw::statuses(&raw::send(gate.address(), request).await);
                if path == "/" && !cookie {
                    assert_eq!(statuses, [401], "{fields}");
                    assert_eq!(upstream.count(), before, "a refused request arrived: {fields}");
                    continue;
                }
                assert_eq!(statuses, [if path == "/missing" { 404 } else { 200 }], "{fields}");
                let expected: &[&str] = if cookie { &ALICE } else { &[] };
                assert_eq!(identity(&upstream.last()), expected, "{path} with {fields}");
            }
        }
    }
}

#[tokio::test]
async fn a02_a_clients_identity_fields_never_arrive_over_http2() {
    let upstream = console().await;
    let gate =
        TestGate::start(&upstream, Setup { tables: PUBLIC, tls: true, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await.over_http2();
    let mut stranger = gate.browser().over_http2();
    for spelling in 0..8 {
        let fields: Vec<_> = NAMES
            .iter()
            .flat_map(|name| {
                let name = spellings(name)[spelling].to_ascii_lowercase();
                [(name.clone(), "root"), (name, "")]
            })
            .collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        for path in ["/", "/public", "/missing"] {
            alice.get_with(path, &fields).await;
            assert_eq!(identity(&upstream.last()), ALICE, "{path} with {fields:?}");
            let before = upstream.count();
            let status = stranger.get_with(path, &fields).await.status;
            if path == "/" {
                assert_eq!((status, upstream.count()), (StatusCode::UNAUTHORIZED, before));
            } else {
                assert_eq!(identity(&upstream.last()), [""; 0], "{path} with {fields:?}");
            }
        }
    }
}

#[tokio::test]
async fn a02_b11_identity_fields_in_trailers_never_arrive() {
    let upstream = console().await;
    let gate = TestGate::start(&upstream, Setup { tables: PUBLIC, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    let mut trailers = String::new();
    for name in NAMES {
        trailers.push_str(&format!("{name}: root\r\n{}: root\r\n", name.replace('-', "_")));
    }
    trailers.push_str("cookie: a=b\r\nauthorization: Basic cm9vdDo=\r\nhost: evil\r\nx-any: 1\r\n");
    for (path, cookie) in
        [("/", format!("cookie: __Host-doorward={token}\r\n")), ("/public", String::new())]
    {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n{cookie}trailer: remote-user\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n"
        );
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [200], "{path}");
        let last = upstream.last();
        assert_eq!(last.body, b"abc");
        assert_eq!(last.trailers, ["x-any: 1"], "{path}: only what decides nothing arrives");
        let expected: &[&str] = if cookie.is_empty() { &[] } else { &ALICE };
        assert_eq!(identity(&last), expected, "{path}");
        assert_eq!(
            (last.field("trailer"), last.field("authorization"), last.field("x-any")),
            (None, None, None)
        );
    }
}

#[tokio::test]
async fn a03_fields_named_in_connection_arrive_all_the_same() {
    let upstream = console().await;
    let gate = TestGate::start(&upstream, Setup { tables: PUBLIC, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    let facts = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "via",
        "x-request-id",
        "host",
    ];
    for name in NAMES.iter().chain(&facts) {
        for list in [(*name).to_owned(), name.to_ascii_uppercase(), format!("close, {name} ,x")] {
            let answer = alice.get_with("/", &[("connection", &list)]).await;
            assert_eq!(answer.status, StatusCode::OK, "{list}");
            let last = upstream.last();
            assert_eq!(identity(&last), ALICE, "{list}");
            for fact in facts {
                assert!(last.field(fact).is_some(), "{fact} is gone with Connection: {list}");
            }
            assert_eq!(last.field("connection"), None);
        }
    }
    // The cookie that is named there is gone for the backend, and still decided.
    let answer = alice.get_with("/", &[("connection", "cookie")]).await;
    assert!(
        matches!(answer.status, StatusCode::OK | StatusCode::UNAUTHORIZED),
        "{}",
        answer.status
    );
}

#[tokio::test]
async fn a13_names_and_groups_cannot_bend_a_header() {
    let upstream = console().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let mut alice = gate.signed_in().await;
    let odd = [
        ("Zoë Ä.", "Zo%C3%AB %C3%84."),
        ("张伟", "%E5%BC%A0%E4%BC%9F"),
        ("😀\u{202e}gnp", "%F0%9F%98%80%E2%80%AEgnp"),
        ("a,b", "a%2Cb"),
        ("50%2C", "50%252C"),
        ("a;b=\"c\"", "a;b=\"c\""),
        ("<script>", "<script>"),
        ("=?utf-8?q?x?=", "=?utf-8?q?x?="),
        ("a\u{2028}b", "a%E2%80%A8b"),
    ];
    for (text, encoded) in odd {
        let change = AccountChange {
            display_name: Some(text.into()),
            groups: Some(vec![text.into(), "staff".into()]),
            ..AccountChange::default()
        };
        set(&gate, change).await.unwrap();
        assert_eq!(alice.get("/").await.status, StatusCode::OK, "{text}");
        let last = upstream.last();
        assert_eq!(last.field("remote-name"), Some(encoded));
        assert_eq!(last.field("remote-groups"), Some(format!("{encoded},staff").as_str()));
        assert!(last.head.is_ascii(), "{}", last.head);
    }
    for text in ["a\r\nRemote-User: root", "a\nb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
        let name = AccountChange { display_name: Some(text.into()), ..AccountChange::default() };
        assert!(set(&gate, name).await.is_err(), "{text:?} became a name");
        let group = AccountChange { groups: Some(vec![text.into()]), ..AccountChange::default() };
        assert!(set(&gate, group).await.is_err(), "{text:?} became a group");
    }
    alice.get("/").await;
    assert_eq!(identity(&upstream.last()).len(), 4, "name, groups, user and the assertion");
}

async fn set(
    gate: &TestGate,
    change: AccountChange,
) -> Result<doorward_plugins::administration::Reply, doorward_plugins::administration::AdminError> {
    gate.ask(Request::AccountSet { name: "alice".into(), change: Box::new(change) }).await
}

#[tokio::test]
async fn a02_what_the_gate_does_not_know_is_absent_and_not_the_clients() {
    let upstream = console().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    gate.add("bob", AccountChange::default()).await;
    let mut bob = gate.browser();
    bob.sign_in("bob").await;
    let own: Vec<_> = NAMES.iter().map(|name| (*name, "root")).collect();
    for method in [Method::GET, Method::OPTIONS, Method::POST] {
        bob.send(method.clone(), "/", &own, "".into()).await;
        let last = upstream.last();
        assert_eq!(
            identity(&last),
            ["remote-user: bob", "x-doorward-assertion: signed"],
            "{method}"
        );
    }
}

/// What the console is told of alice, who has everything, under `[identity]` keys.
async fn told(keys: &str) -> Recorded {
    let upstream = console().await;
    let gate = TestGate::start(&upstream, Setup { tables: keys, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    let change = AccountChange {
        display_name: Some("Alice".into()),
        email: Some("alice@example.com".into()),
        ..AccountChange::default()
    };
    set(&gate, change).await.unwrap();
    let client: Vec<_> =
        NAMES.iter().chain(&["x-own-user", "x_own_user"]).map(|name| (*name, "root")).collect();
    alice.get_with("/", &client).await;
    upstream.last()
}

#[tokio::test]
async fn presets_and_own_names_are_what_the_console_reads() {
    let values =
        [("user", "alice"), ("groups", "staff"), ("name", "Alice"), ("email", "alice@example.com")];
    for (preset, prefix, display) in [
        ("remote", "remote-", "name"),
        ("forwarded", "x-forwarded-", "preferred-username"),
        ("auth-request", "x-auth-request-", "preferred-username"),
    ] {
        let mut expected: Vec<_> = values
            .iter()
            .map(|(part, value)| {
                format!("{prefix}{}: {value}", if *part == "name" { display } else { part })
            })
            .collect();
        expected.push("x-doorward-assertion: signed".into());
        expected.sort();
        let last = told(&format!("[identity]\npreset = \"{preset}\"")).await;
        assert_eq!(identity(&last), expected, "{preset}");
        assert_eq!(last.all("x_own_user"), [""; 0]);
    }
    let last = told("[identity]\npreset = \"none\"").await;
    assert_eq!(identity(&last), ["x-doorward-assertion: signed"]);
    let last = told("[identity]\npreset = \"none\"\nassertion = false").await;
    assert_eq!(identity(&last), [""; 0]);
    let own = "[identity.headers]\nuser = \"X-Own-User\"\nroles = \"X-Own-Roles\"";
    let last = told(own).await;
    assert_eq!(
        (last.field("x-own-user"), last.field("x-own-roles")),
        (Some("alice"), Some("owner"))
    );
    assert_eq!(
        (last.field("remote-user"), last.field("remote-email")),
        (None, Some("alice@example.com"))
    );
}

#[tokio::test]
async fn the_gates_cookies_never_reach_the_console_and_never_come_from_it() {
    let upstream = Upstream::answering(
        b"HTTP/1.1 200 OK\r\nset-cookie: sid=1\r\nset-cookie: __Host-doorward=evil; Path=/\r\n\
          set-cookie: __host-DOORWARD=evil\r\nset-cookie:  __Host-doorward =evil\r\n\
          set-cookie: __Secure-doorward=evil\r\nset-cookie: __Host-doorward-form=evil\r\n\
          set-cookie: =__Host-doorward=evil\r\nset-cookie: lang=en\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let gate = TestGate::start(&upstream, Setup { tables: PUBLIC, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    let token = alice.token().to_owned();
    alice.jar.insert("theme".into(), "dark".into());
    alice.jar.insert("__Host-doorward-language".into(), "en".into());
    for path in ["/", "/public"] {
        let answer = alice.get(path).await;
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(set, ["sid=1", "lang=en"], "{path}");
        let last = upstream.last();
        assert!(!last.head.contains(&token), "{path}: the token arrived");
        let cookie = last.field("cookie").unwrap();
        assert!(cookie.contains("theme=dark") && !cookie.contains("doorward"), "{cookie}");
    }
    let mut only: Browser = gate.browser();
    only.jar.insert("__Host-doorward".into(), token);
    only.get("/").await;
    assert_eq!(upstream.last().field("cookie"), None);
}
