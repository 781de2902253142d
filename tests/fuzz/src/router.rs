//! From a PROXY header and a head to a route or a refusal: the first route that a naive reader
//! finds, unless another reading of the path meets another demand; and what is sent on is what was
//! judged, without what belongs to the connection or says who asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use doorward::Router;
use doorward::fuzzing::{enter, parse_host};
use doorward::http1::{Found, Reader};
use doorward::proxy_protocol::{Preamble, read};
use doorward_config::GatewayConfig;
use doorward_plugins::RequestContext;
use http::header::{HOST, VIA};
use http::request::Parts;
use http::{HeaderMap, Request, Version};

use super::strict::{self, Message};
use super::target;

/// A route, as it is written and as it is compared.
struct Rule {
    host: &'static str,
    path: &'static str,
    method: &'static str,
    public: bool,
    /// What stands instead of the beginning of the path.
    to: Option<&'static str>,
    other: bool,
}

const RULE: Rule = Rule { host: "", path: "/**", method: "", public: true, to: None, other: false };

const RULES: [Rule; 9] = [
    Rule { path: "/admin/**", public: false, ..RULE },
    Rule { path: "/public/**", ..RULE },
    Rule { path: "/app/**", to: Some("/"), ..RULE },
    Rule { path: "/old/api/**", public: false, to: Some("/v2"), ..RULE },
    Rule { host: "*.c.example", path: "/api/*", other: true, ..RULE },
    Rule { path: "/files/*.txt", ..RULE },
    Rule { path: "/read", method: "GET", ..RULE },
    Rule { host: "b.example", path: "/Upper/**", ..RULE },
    // What is not written: the rule for everything else.
    Rule { public: false, ..RULE },
];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const LIMITS: strict::Limits = strict::Limits { head: 64 << 10, fields: 100, target: 8 << 10 };

const UNIQUE: &str = "1f";

static CONFIG: LazyLock<Arc<GatewayConfig>> = LazyLock::new(|| {
    let mut text = "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        trusted_proxies = [\"10.0.0.0/8\"]\n[upstream.main]\naddress = \"http://127.0.0.1:9\"\n\
        [upstream.other]\naddress = \"http://127.0.0.1:8\"\nhosts = [\"b.example\"]\n\
        [store]\npath = \"x\"\n"
        .to_owned();
    for rule in &RULES[..RULES.len() - 1] {
        let access = if rule.public { "public" } else { "session" };
        text += &format!("[[route]]\npath = \"{}\"\naccess = \"{access}\"\n", rule.path);
        for (key, value) in [("hosts", rule.host), ("methods", rule.method)] {
            text += &if value.is_empty() { "".into() } else { format!("{key} = [\"{value}\"]\n") };
        }
        text += &rule.to.map_or("".into(), |to| format!("replace_prefix = \"{to}\"\n"));
        text += if rule.other { "upstream = \"other\"\n" } else { "" };
    }
    Arc::new(GatewayConfig::parse(&text, Path::new("/")).unwrap())
});

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(&CONFIG, UNIQUE).unwrap());

/// Takes the octets for the beginning of a connection of a proxy.
pub fn check(octets: &[u8]) {
    let own = SocketAddr::from(([127, 0, 0, 1], 1));
    let (peer, rest) = match read(octets) {
        Preamble::Header(length, client) => (client.unwrap_or(own), &octets[length..]),
        // Not every listener expects one.
        Preamble::Malformed => (own, octets),
        Preamble::Incomplete => return,
    };
    let sent = strict::read(rest, LIMITS);
    let Some(message) = sent.messages.first() else { return };
    let Some(head) = parts(message) else { return };
    let read = Reader::default().head(&mut rest.into(), &CONFIG.limits);
    let Found::Message(read) = read else { panic!("{read:?}: {message:?}") };
    assert!(read.refused.is_none(), "{message:?}");
    assert_eq!((&read.head.method, &read.head.uri), (&head.method, &head.uri));
    assert_eq!(read.head.headers, head.headers);

    let expected = expected(&head);
    let found = enter(&ROUTER, head.clone(), peer);
    let sides = (found.is_ok(), expected.is_some());
    assert!(sides.0 == sides.1, "{:?}, but {expected:?}: {head:?}", found.err());
    if let (Ok(cx), Some(expected)) = (found, expected) {
        check_way(&cx, &expected);
        check_fields(&cx, &head);
        let own = peer.ip().to_canonical();
        if !own.to_string().starts_with("10.") {
            assert_eq!((cx.client.address, cx.client.secure), (own, false));
            assert_eq!(cx.forwarded.unwrap().iter().next().unwrap().1, own.to_string());
        }
    }
}

/// The head as the HTTP library hands it on; `None` if it would not.
fn parts(message: &Message<'_>) -> Option<Parts> {
    let mut request = Request::builder().method(message.method).uri(message.target);
    for (name, value) in &message.fields {
        request = request.header(*name, *value);
    }
    let version = if message.old { Version::HTTP_10 } else { Version::HTTP_11 };
    Some(request.version(version).body(()).ok()?.into_parts().0)
}

/// Where a request goes.
#[derive(Debug)]
struct Way {
    host: String,
    path: String,
    /// `None`: the gate's own pages.
    rule: Option<usize>,
    upstream: Option<usize>,
    sent: String,
}

/// Where a naive reader would send it; `None`: nowhere.
fn expected(head: &Parts) -> Option<Way> {
    let method = METHODS.into_iter().find(|known| head.method == *known)?;
    let hosts: Vec<_> = head.headers.get_all(HOST).iter().collect();
    let [host] = hosts[..] else { return None };
    let authority = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => host.to_str().ok()?,
    };
    let host = parse_host(authority)?.to_string();
    let target = head.uri.path_and_query()?.as_str();
    let (raw, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let path = target::model(raw)?;
    let serving = match &*host {
        "b.example" => Some(1),
        "a.example" => Some(0),
        _ => host.strip_suffix(".c.example").map(|_| 0),
    };
    let items = head.headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    let own = format!("doorward-{UNIQUE}");
    let mut entries = items.flat_map(|value| value.split(','));
    let looped = entries.any(|entry| entry.split_whitespace().nth(1) == Some(&own));
    if is_reserved(&path) {
        let served = serving.is_some() || path == "/.doorward/jwks.json";
        let sent = target.to_owned();
        let way = Way { host, path, rule: None, upstream: None, sent };
        return (served && !looped).then_some(way);
    }
    let serving = serving?;
    let way = find(&host, &path, method, false).filter(|rule| {
        let bare: Vec<_> = path.split('/').map(|one| one.split(';').next().unwrap()).collect();
        let bare = bare.join("/");
        let others = [(&bare, false), (&path, true), (&bare, true)];
        others.iter().all(|(reading, fold)| {
            let other = find(&host, reading, method, *fold).unwrap();
            let demand = |rule: usize| {
                let Rule { public, to, other, path, .. } = RULES[rule];
                (public, to.map(|to| (to, path)), other)
            };
            demand(other) == demand(*rule)
        })
    });
    let sent = way.and_then(|rule| replaced(&RULES[rule], raw));
    let explained = ROUTER.explain(&host, raw, method).ok();
    assert_eq!(explained.as_ref().map(|found| &found.path), sent.as_ref(), "{host} {raw}");
    assert_eq!(explained.map(|found| found.route.order), way.filter(|_| sent.is_some()));
    let (rule, sent) = (way?, sent? + query);
    let upstream = if RULES[rule].other { 1 } else { serving };
    let way = Way { host, path, rule: Some(rule), upstream: Some(upstream), sent };
    (!looped).then_some(way)
}

fn is_reserved(path: &str) -> bool {
    path[1..].split(['/', ';']).next().unwrap().eq_ignore_ascii_case(".doorward")
}

/// The first rule that matches, which the last one does always.
fn find(host: &str, path: &str, method: &str, fold: bool) -> Option<usize> {
    let lower = |text: &str| if fold { text.to_ascii_lowercase() } else { text.to_owned() };
    RULES.iter().position(|rule| {
        let of_host = match rule.host.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => rule.host.is_empty() || rule.host == host,
        };
        let of_method = rule.method.is_empty()
            || rule.method == method
            || (rule.method, method) == ("GET", "HEAD");
        of_host && of_method && matches(&lower(rule.path), &lower(path))
    })
}

fn matches(pattern: &str, path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut given = path.split('/').skip(1);
    for wanted in pattern.split('/').skip(1) {
        let fits = match (wanted.split_once('*'), given.next()) {
            (Some(("", "*")), _) => return true,
            (_, None) => false,
            (None, Some(segment)) => segment == wanted,
            (Some((start, end)), Some(segment)) => {
                segment.strip_prefix(start).is_some_and(|rest| rest.ends_with(end))
            }
        };
        if !fits {
            return false;
        }
    }
    given.next().is_none()
}

/// The path that is sent on; `None` if it would have two readings, or be the gate's own.
fn replaced(rule: &Rule, raw: &str) -> Option<String> {
    let Some(to) = rule.to else { return Some(raw.into()) };
    let segments = rule.path.split('/').count() - 2;
    let rest: String = raw.split('/').skip(1 + segments).map(|one| format!("/{one}")).collect();
    let sent = format!("{}{rest}", to.trim_end_matches('/'));
    let sent = if sent.is_empty() { "/".into() } else { sent };
    (!is_reserved(&target::model(&sent)?)).then_some(sent)
}

fn check_way(cx: &RequestContext, expected: &Way) {
    assert_eq!((&*cx.host, cx.path()), (&*expected.host, &*expected.path));
    assert_eq!(cx.upstream, expected.upstream, "{expected:?}");
    match expected.rule {
        None => assert_eq!(cx.route.name, "the portal"),
        Some(rule) => assert_eq!(cx.route.order, rule, "{expected:?}"),
    }
    assert_eq!(cx.head.uri.to_string(), expected.sent, "{expected:?}");
}

/// What of the fields is sent on.
fn check_fields(cx: &RequestContext, before: &Parts) {
    let headers: &HeaderMap = &cx.head.headers;
    assert_eq!(headers.get_all(HOST).iter().count(), 1);
    let host = parse_host(headers[HOST].to_str().unwrap());
    assert_eq!(host.as_deref(), Some(&*cx.host));
    for name in headers.keys().map(http::HeaderName::as_str) {
        let hop = [
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
        ];
        assert!(!hop.contains(&name), "{name}");
        let ours = name == "x-forwarded-prefix" && cx.route.edits.replace_prefix.is_some();
        let said = name.starts_with("x-forwarded-")
            || ["x-original-url", "x-original-uri", "x-original-method"].contains(&name);
        assert!(ours || !(said || name == "forwarded" || name == "x-real-ip"), "{name}");
    }
    if let Some(told) = headers.get("x-forwarded-prefix") {
        assert!(told == "/app" || told == "/old/api", "{told:?}");
    }
    let values = before.headers.get_all("connection").iter();
    for listed in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
    {
        let name = listed.trim().to_ascii_lowercase();
        let kept = ["host", "content-length", "x-forwarded-prefix"].contains(&&*name);
        assert!(kept || name.is_empty() || !headers.contains_key(&*name), "{name}");
    }
    // Nothing else is lost or made up.
    for (name, value) in headers {
        let made = *name == HOST || name == "x-forwarded-prefix";
        assert!(made || before.headers.get_all(name).iter().any(|sent| sent == value), "{name}");
    }
}
