//! `[[route]]`: what requests demand. The first route that matches holds.

use crate::edits::{self, Edits, verify_prefix};
use crate::pattern::{HostPattern, PathPattern};
use crate::problem::Fault;
use crate::public_url::{PublicUrl, verify_public_url};
use crate::rate_limit::{self, RouteLimit};
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional};
use crate::step_up::{self, StepUp};
use crate::text::{some_text, verify_group, verify_host, verify_method};
use crate::upstream::Upstream;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What requests demand; the first route that matches holds.",
    keys: &[
        default(
            "hosts",
            Kind::List(&Kind::Text(verify_host)),
            "[]",
            "Hosts that the route is about; every one when empty.",
        ),
        default(
            "path",
            Kind::Text(verify_path),
            "\"/**\"",
            "Paths that the route is about: decoded, by segment, with * within a segment and ** for any number of last ones.",
        ),
        default(
            "methods",
            Kind::List(&Kind::Text(verify_method)),
            "[]",
            "Methods that the route is about; every one when empty. GET includes HEAD.",
        ),
        default(
            "access",
            Kind::Choice(&["session", "public"]),
            "\"session\"",
            "\"session\": a signed-in person; \"public\": anybody.",
        ),
        optional(
            "groups",
            Kind::List(&Kind::Text(verify_group)),
            "The person must be in one of these groups.",
        ),
        optional(
            "roles",
            Kind::List(&Kind::Text(verify_group)),
            "The person must have one of these roles, besides being in one of the groups.",
        ),
        default(
            "certificate_sign_in",
            Kind::Flag,
            "false",
            "Does a verified client certificate sign in here, as a session cookie does? For programs: it counts for nothing in requests from pages of other sites, beside a live cookie, and from trusted proxies.",
        ),
        optional(
            "step_up",
            Kind::Table(&step_up::SPEC),
            "A second factor is needed for this, given lately or for exactly this request.",
        ),
        optional(
            "upstream",
            Kind::Text(some_text),
            "Name of the upstream; the one that serves the host when left out.",
        ),
        optional(
            "activity",
            Kind::Flag,
            "Do requests keep the session from going idle? When left out: yes, except where access is public.",
        ),
        default(
            "upgrade",
            Kind::List(&Kind::Text(verify_protocol)),
            "[]",
            "Protocols that a connection may switch to here, for example [\"websocket\"].",
        ),
        default(
            "upgrade_origins",
            Kind::List(&Kind::Text(verify_public_url)),
            "[]",
            "Other origins whose pages may open upgraded connections with a session; the host's own always may.",
        ),
        default(
            "upgrade_activity",
            Kind::Flag,
            "false",
            "Does traffic inside upgraded connections keep the session from going idle?",
        ),
        default(
            "streaming",
            Kind::Flag,
            "false",
            "Requests and answers may pause for as long as the session lasts: server-sent events, long polls, gRPC streams. Lifts limits.body_idle, body_rate and exchange_time and the upstream's response_timeout and idle_timeout.",
        ),
        optional(
            "replace_prefix",
            Kind::Text(verify_prefix),
            "What the console gets instead of the literal beginning of `path`, such as \"/\" to take it off. The console is told in X-Forwarded-Prefix; what it answers (Location, cookie paths) stays as it is.",
        ),
        optional(
            "rate_limit",
            Kind::Tables(&rate_limit::ROUTE_SPEC),
            "How often somebody may ask for this; each limit on its own.",
        ),
        optional(
            "request_headers",
            Kind::Table(&edits::REQUEST_SPEC),
            "Edits to the fields of requests, as the console gets them.",
        ),
        optional(
            "response_headers",
            Kind::Table(&edits::RESPONSE_SPEC),
            "Edits to the fields of the console's answers.",
        ),
        default(
            "security_headers",
            Kind::Choice(&["transport", "all", "none"]),
            "\"transport\"",
            "What is added to the console's answers that lack it. \"transport\": Strict-Transport-Security, to clients that came over TLS; \"all\": besides it X-Content-Type-Options, Referrer-Policy and X-Frame-Options; \"none\".",
        ),
        default(
            "hide_server",
            Kind::Flag,
            "true",
            "Leave Server and X-Powered-By out of the console's answers.",
        ),
    ],
};

/// What requests demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its place among the routes as written, from 1, or "the default route".
    pub name: String,
    /// Its place among the routes, from 0.
    pub order: usize,
    /// Hosts that it is about; empty: every one.
    pub hosts: Vec<HostPattern>,
    /// Paths that it is about.
    pub path: PathPattern,
    /// Methods that it is about; empty: every one.
    pub methods: Vec<String>,
    /// Who may pass.
    pub access: Access,
    /// Does a verified client certificate sign in?
    pub certificate_sign_in: bool,
    /// What has to be proven lately; `None`: nothing more than for the session.
    pub step_up: Option<StepUp>,
    /// Index of its upstream in the configuration; `None`: the one that serves the host.
    pub upstream: Option<usize>,
    /// Do requests keep the session from going idle?
    pub activity: bool,
    /// Protocols that a connection may switch to, in lower case.
    pub upgrade: Vec<String>,
    /// Other origins whose pages may open upgraded connections with a session.
    pub upgrade_origins: Vec<String>,
    /// Does traffic inside upgraded connections count as activity?
    pub upgrade_activity: bool,
    /// Requests and answers may pause.
    pub streaming: bool,
    /// How often somebody may ask; each limit on its own.
    pub rate_limits: Vec<RouteLimit>,
    /// What it changes on the way.
    pub edits: Edits,
}

/// Who may pass a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A signed-in person in one of the groups and with one of the roles.
    Session {
        /// Empty: no group is needed.
        groups: Vec<String>,
        /// Empty: no role is needed.
        roles: Vec<String>,
    },
}

impl Route {
    /// The routes as written and, last, the rule for what none of them names.
    pub(crate) fn read_all(
        root: &Reader<'_>,
        upstreams: &[Upstream],
        served: &[String],
        identity: &[String],
        asks_certificates: bool,
    ) -> Vec<Self> {
        let mut routes: Vec<Self> = Vec::new();
        let mut everything_before = None;
        for reader in root.tables("route") {
            let route = Self { order: routes.len(), ..Self::read(&reader, upstreams, identity) };
            route.verify_reach(&reader, everything_before.as_deref(), served);
            route.verify_certificates(&reader, asks_certificates);
            if everything_before.is_none() && route.is_everything() {
                everything_before = Some(route.name.clone());
            }
            routes.push(route);
        }
        let open: Vec<_> = upstreams.iter().filter(|upstream| upstream.hosts.is_empty()).collect();
        if open.len() > 1 {
            let names: Vec<_> = open.iter().map(|upstream| upstream.name.as_str()).collect();
            let reason = format!("{} all serve every host.", names.join(" and "));
            root.problem("upstream", Fault::new(reason, "Give all but one of them `hosts`."));
        }
        routes.push(Self {
            name: "the default route".into(),
            order: routes.len(),
            hosts: Vec::new(),
            path: everything(),
            methods: Vec::new(),
            access: Access::Session { groups: Vec::new(), roles: Vec::new() },
            certificate_sign_in: false,
            step_up: None,
            upstream: None,
            activity: true,
            upgrade: Vec::new(),
            upgrade_origins: Vec::new(),
            upgrade_activity: false,
            streaming: false,
            rate_limits: Vec::new(),
            edits: Edits::default(),
        });
        routes
    }

    fn read(reader: &Reader<'_>, upstreams: &[Upstream], identity: &[String]) -> Self {
        let (groups, roles) = (reader.texts("groups"), reader.texts("roles"));
        let public = reader.text("access") == "public";
        for (key, list) in [("groups", &groups), ("roles", &roles)] {
            if public && !list.is_empty() {
                reader.problem(
                    key,
                    Fault::new(
                        "cannot be demanded of a stranger.",
                        "Remove it, or remove access = \"public\".",
                    ),
                );
            }
            if !public && reader.has(key) && list.is_empty() {
                reader.problem(
                    key,
                    Fault::new(
                        "is empty, so that nobody could pass.",
                        "Name one, or leave the key out.",
                    ),
                );
            }
        }
        if public && reader.has("step_up") {
            let advice = "Remove it, or remove access = \"public\".";
            reader.problem("step_up", Fault::new("cannot be demanded of a stranger.", advice));
        }
        let upstream = reader.optional_text("upstream");
        let found = upstream
            .as_ref()
            .and_then(|name| upstreams.iter().position(|upstream| upstream.name == *name));
        if let (Some(name), None) = (&upstream, found) {
            let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            reader.problem(
                "upstream",
                Fault::new(
                    format!("there is no upstream {name:?}."),
                    format!("Known: {}.", names.join(", ")),
                ),
            );
        }
        let path = PathPattern::parse(&reader.text("path")).unwrap_or_else(|_| everything());
        Self {
            name: reader.name().to_owned(),
            order: 0,
            hosts: reader
                .texts("hosts")
                .iter()
                .filter_map(|host| HostPattern::parse(host).ok())
                .collect(),
            edits: Edits::read(reader, &path, identity),
            path,
            methods: reader.texts("methods"),
            access: if public { Access::Public } else { Access::Session { groups, roles } },
            certificate_sign_in: reader.flag("certificate_sign_in"),
            step_up: reader.has("step_up").then(|| StepUp::read(&reader.table("step_up"))),
            upstream: found,
            activity: reader.optional_flag("activity").unwrap_or(!public),
            upgrade: reader.texts("upgrade").iter().map(|name| name.to_ascii_lowercase()).collect(),
            upgrade_origins: reader
                .texts("upgrade_origins")
                .iter()
                .filter_map(|url| Some(PublicUrl::parse(url).ok()?.origin()))
                .collect(),
            upgrade_activity: reader.flag("upgrade_activity"),
            streaming: reader.flag("streaming"),
            rate_limits: reader.tables("rate_limit").iter().map(RouteLimit::read).collect(),
        }
    }

    /// Does every request match?
    fn is_everything(&self) -> bool {
        self.hosts.is_empty() && self.methods.is_empty() && self.path.is_everything()
    }

    /// Notes what could never come to this route; `everything_before` is the first before it that
    /// matches everything.
    fn verify_reach(
        &self,
        reader: &Reader<'_>,
        everything_before: Option<&str>,
        served: &[String],
    ) {
        if let Some(first) = everything_before {
            let reason = format!("can never match: {first} matches everything before it.");
            reader.problem("path", Fault::new(reason, "Put it before that one."));
        }
        if let Some(method) = self.methods.iter().find(|method| !served.contains(method)) {
            let reason = format!("{method} can never match: limits.methods does not let it in.");
            let advice = "Add it there, or remove it here.";
            reader.problem("methods", Fault::new(reason, advice));
        }
    }

    /// Notes a sign-in by certificate that cannot be: `asked` says whether any listener asks for
    /// certificates.
    fn verify_certificates(&self, reader: &Reader<'_>, asked: bool) {
        let fault = match self.access {
            _ if !self.certificate_sign_in => return,
            // Beginning a session needs the store, for which nobody waits at a public route.
            Access::Public => Fault::new(
                "has no effect where everybody may pass.",
                "Remove it, or remove access = \"public\".",
            ),
            Access::Session { .. } if !asked => Fault::new(
                "has no effect: no listener asks for certificates.",
                "Set client_ca_file on a listener with tls, or remove it.",
            ),
            Access::Session { .. } => return,
        };
        reader.problem("certificate_sign_in", fault);
    }

    /// Is a request with this host, decoded path and method what the route is about?
    pub fn matches(&self, host: &str, path: &str, method: &str) -> bool {
        self.matches_method(method)
            && (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && self.path.matches(path)
    }

    /// Is a request with this method what the route is about?
    pub fn matches_method(&self, method: &str) -> bool {
        // Whoever guards GET means what HEAD tells as well (RFC 9110 §9.3.2).
        let wanted = |listed: &String| listed == method || (method == "HEAD" && listed == "GET");
        self.methods.is_empty() || self.methods.iter().any(wanted)
    }

    /// Do the two ask the same of a request, send it to the same place and change the same of it?
    ///
    /// The edits of answers count too: a policy that a route sets for its pages is as good as gone
    /// if another spelling of the path does without it.
    pub fn demands_same(&self, other: &Self) -> bool {
        self.access == other.access
            && self.certificate_sign_in == other.certificate_sign_in
            && self.step_up == other.step_up
            && self.upstream == other.upstream
            && self.rate_limits == other.rate_limits
            && self.edits == other.edits
    }
}

fn everything() -> PathPattern {
    #[expect(clippy::expect_used, reason = "a literal that the tests of pattern.rs parse")]
    PathPattern::parse("/**").expect("a literal pattern")
}

/// The name of a protocol, without a version.
fn verify_protocol(text: &str) -> Result<(), Fault> {
    if text.eq_ignore_ascii_case("h2c") {
        // It would open a way around what is judged of each request (RFC 9113 §3.1).
        let advice = "Set h2c on the listener: clients then begin with HTTP/2.";
        return Err(Fault::new("HTTP/2 is not upgraded to.", advice));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(Fault::new(format!("{text:?} is not a protocol."), "Write for example \"websocket\"."))
}

fn verify_path(text: &str) -> Result<(), Fault> {
    if text == "/.doorward" || text.starts_with("/.doorward/") {
        return Err(Fault::new(
            "is the gate's own path.",
            "Routes are about the consoles; leave /.doorward/ out.",
        ));
    }
    PathPattern::parse(text).map(drop)
}
