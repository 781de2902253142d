//! Edits: what a route changes of the fields of requests and answers.
//!
//! Rooms 3 and 5 of the request path. On the request, runs after everything that reads what the
//! client sent and before `assert_identity`, so that no edit can say who is asking; `config`
//! refuses such names besides. On the answer, touches only what the console itself answered, never
//! the gate's own pages and refusals.
//!
//! Fields that make a page safer are added only where the console says nothing of its own. Unasked
//! that is `Strict-Transport-Security` alone: the gate is for TLS only anyway, or its cookie would
//! not work. The others can break a console (a script of another type, a page that stands in a
//! portal's frame), and cost every answer several hundred instructions.
//!
//! Not here: the path (`rewrite` of the gateway). Names and values are made once, at the start.

use doorward_config::{FieldEdits, FieldLine, GatewayConfig, PublicUrl, Route, SecurityHeaders};
use http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, SERVER, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::response::Parts as ResponseHead;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Decision, Plugin, RequestContext};

const POWERED_BY: &str = "x-powered-by";

/// A year, this host alone (RFC 6797 §6.1): what lies below it is not the gate's to speak for.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Makes the edits of the route.
pub struct EditFields {
    /// By the order of the routes.
    routes: Vec<RouteEdits>,
    /// Is the public host one that could be for TLS only?
    tls_only: bool,
}

struct RouteEdits {
    request: Lines,
    response: Lines,
    security: SecurityHeaders,
    show_server: bool,
}

/// Fields that go, then lines that come.
struct Lines {
    remove: Vec<HeaderName>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl EditFields {
    /// Edits as the routes of the configuration say.
    pub fn new(config: &GatewayConfig) -> Self {
        let edits = |route: &Route| RouteEdits {
            request: Lines::new(&route.edits.request),
            response: Lines::new(&route.edits.response),
            security: route.edits.security_headers,
            show_server: route.edits.show_server,
        };
        Self {
            routes: config.routes.iter().map(edits).collect(),
            tls_only: may_be_tls_only(&config.public_url),
        }
    }
}

/// Not a host of this machine: a browser would keep it from every other server there. A host that
/// is an address cannot be (RFC 6797 §8.1.1), and browsers see to that.
fn may_be_tls_only(url: &PublicUrl) -> bool {
    url.scheme == "https" && !matches!(url.host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
}

impl Lines {
    fn new(edits: &FieldEdits) -> Self {
        let name = |name: &str| HeaderName::try_from(name).ok();
        let line = |line: &FieldLine| {
            Some((name(&line.name)?, HeaderValue::try_from(line.value.as_str()).ok()?))
        };
        let replaced = edits.set.iter().map(|line| &line.name);
        Self {
            remove: edits.remove.iter().chain(replaced).filter_map(|text| name(text)).collect(),
            add: edits.set.iter().chain(&edits.add).filter_map(line).collect(),
        }
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

impl Plugin for EditFields {
    fn name(&self) -> &'static str {
        "edits"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        if cx.upstream.is_some()
            && let Some(edits) = self.routes.get(cx.route.order)
        {
            edits.request.apply(&mut cx.head.headers);
        }
        Decision::CONTINUE
    }

    fn on_response(&self, cx: &RequestContext, head: &mut ResponseHead) {
        if !cx.answered_by_upstream {
            return;
        }
        let Some(edits) = self.routes.get(cx.route.order) else { return };
        let headers = &mut head.headers;
        if !edits.show_server {
            hide_server(headers);
        }
        edits.response.apply(headers);
        if edits.security != SecurityHeaders::None && self.tls_only && cx.client.secure {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(TLS_ONLY);
        }
        if edits.security == SecurityHeaders::All {
            fence(headers);
        }
    }
}

/// Removes what tells with which programs, of which versions, the console is made.
fn hide_server(headers: &mut HeaderMap) {
    // One pass over the names costs less than looking for each, and most answers have one of them.
    let (mut server, mut powered_by) = (false, false);
    for name in headers.keys() {
        server |= *name == SERVER;
        powered_by |= name.as_str() == POWERED_BY;
    }
    if server {
        headers.remove(SERVER);
    }
    if powered_by {
        headers.remove(POWERED_BY);
    }
}

/// Adds what fences a page in, where the console says nothing of it.
fn fence(headers: &mut HeaderMap) {
    for (name, value) in
        [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "strict-origin-when-cross-origin")]
    {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let says_frames = |policy: &HeaderValue| {
        let directives = policy.as_bytes().split(|byte| matches!(byte, b';' | b','));
        directives.map(<[u8]>::trim_ascii).any(|directive| {
            let name = directive.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            name.eq_ignore_ascii_case(b"frame-ancestors")
        })
    };
    // The policy's word on frames is the newer one, and browsers that know it ignore the other.
    if !headers.get_all(CONTENT_SECURITY_POLICY).iter().any(says_frames) {
        headers.entry(X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("SAMEORIGIN"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::context::tests::{config, context};

    /// The fields of an answer with `sent`, in order of names, on a route with these keys.
    fn answered(keys: &str, sent: &[(&str, &str)], by_upstream: bool) -> Vec<String> {
        let config = config(&format!("[[route]]\n{keys}"));
        let mut cx = context("/");
        cx.route = Arc::new(config.routes[0].clone());
        cx.answered_by_upstream = by_upstream;
        let mut response = http::Response::builder();
        for (name, value) in sent {
            response = response.header(*name, *value);
        }
        let (mut head, ()) = response.body(()).unwrap().into_parts();
        EditFields::new(&config).on_response(&cx, &mut head);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = head.headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn only_what_the_upstream_answered_is_edited() {
        let keys = "response_headers = { set = { X-A = \"1\" } }";
        assert_eq!(answered(keys, &[("server", "s")], false), ["server: s"]);
        let edited = ["strict-transport-security: max-age=31536000", "x-a: 1"];
        assert_eq!(answered(keys, &[("server", "s"), ("x-a", "0")], true), edited);
    }

    #[test]
    fn what_the_console_says_of_its_safety_stands() {
        let own = [
            ("content-security-policy", "default-src 'self'; Frame-Ancestors https://a.example"),
            ("referrer-policy", "no-referrer"),
            ("strict-transport-security", "max-age=1"),
            ("x-content-type-options", "nosniff"),
        ];
        let lines = own.map(|(name, value)| format!("{name}: {value}"));
        assert_eq!(answered("security_headers = \"all\"", &own, true), lines);
        let other = [("content-security-policy", "report-uri /x?frame-ancestors")];
        let lines = answered("security_headers = \"all\"", &other, true);
        assert!(lines.contains(&"x-frame-options: SAMEORIGIN".to_owned()), "{lines:?}");
        assert_eq!(answered("security_headers = \"none\"", &[], true), [""; 0]);
    }

    #[test]
    fn a_host_of_this_machine_is_not_kept_for_tls() {
        for (text, expected) in [
            ("https://console.example.com", true),
            ("https://localhost:8443", false),
            ("https://127.0.0.1", false),
        ] {
            let config = config("");
            let url = PublicUrl {
                host: text.trim_start_matches("https://").split(':').next().unwrap().into(),
                ..config.public_url.clone()
            };
            assert_eq!(may_be_tls_only(&url), expected, "{text}");
        }
    }
}
