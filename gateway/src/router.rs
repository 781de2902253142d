//! Room 2: where a request is going, and what it has to meet there.
//!
//! Checks method, host and path; finds the route; removes what belongs to the connection and not
//! to the message; writes who asked. What can be read in two ways is refused here, so that every
//! later room can believe `cx`.
//!
//! Not here: who is asking (`session`), whether they may (`access`).

use std::borrow::Cow;
use std::sync::Arc;

use doorward_config::{Access, GatewayConfig, Limits, Route, is_forwarding_field};
use doorward_plugins::{Problem, RequestContext, RequestId, Timestamp};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, UPGRADE, VIA};
use http::request::Parts as RequestHead;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::connection::Peer;
use crate::forwarded::{self, Authority, Pseudonym, parse_host};
use crate::http1::is_token;
use crate::portal::PREFIX;
use crate::rewrite::Rewrite;
use crate::route_index::RouteIndex;
use crate::target::Target;

/// Path at which every host, named or not, gets the public keys: a sidecar's console asks by
/// address.
const JWKS_PATH: &str = "/.doorward/jwks.json";

/// Finds the way of a request.
pub struct Router {
    config: Arc<GatewayConfig>,
    routes: RouteIndex,
    /// The same by their paths in lower case; `None`: they have no capitals anyway.
    folded: Option<RouteIndex>,
    /// What replaces the beginning of the path, by the order of the routes.
    rewrites: Vec<Option<Rewrite>>,
    /// What the gate's own pages demand: nothing, and they are no activity.
    portal: Arc<Route>,
    pseudonym: Pseudonym,
    /// Tells its configuration from the others of this process.
    number: u64,
}

/// What a request would meet.
#[derive(Debug)]
pub struct Explained {
    /// Its route.
    pub route: Arc<Route>,
    /// Index of its upstream; `None`: the gate itself answers.
    pub upstream: Option<usize>,
    /// The path that the upstream would get.
    pub path: String,
    /// What the upstream would be told that it does not see of the path.
    pub prefix: Option<HeaderValue>,
}

/// What a request's head came to.
struct Judged {
    authority: Authority,
    /// It is what `Host` says, octet by octet.
    is_host: bool,
    target: PathAndQuery,
    decoded: Option<Box<str>>,
    route: Arc<Route>,
    upstream: Option<usize>,
}

impl Router {
    /// Routes by this configuration; `unique` tells this gate from others.
    pub fn new(config: &Arc<GatewayConfig>, unique: &str) -> Option<Self> {
        let last = config.routes.last()?;
        let routes: Vec<_> = config.routes.iter().cloned().map(Arc::new).collect();
        let has_capitals = routes.iter().any(|route| route.path.to_lower_case() != route.path);
        let portal = Route {
            name: "the portal".into(),
            access: Access::Public,
            activity: false,
            ..last.clone()
        };
        Some(Self {
            config: Arc::clone(config),
            routes: RouteIndex::new(&routes),
            folded: has_capitals.then(|| RouteIndex::in_lower_case(&routes)),
            rewrites: config
                .routes
                .iter()
                .map(|route| route.edits.replace_prefix.as_ref().map(Rewrite::new))
                .collect(),
            portal: Arc::new(portal),
            pseudonym: Pseudonym::new(unique)?,
            number: 0,
        })
    }

    /// The same for the configuration of this number.
    pub(crate) fn numbered(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// Makes the context of a request, ready to be judged, unless it is `refused` already.
    ///
    /// # Errors
    /// Why the request is refused, with what is known of it for the log.
    pub(crate) fn enter(
        &self,
        mut head: RequestHead,
        peer: &Peer,
        request_id: RequestId,
        received: Timestamp,
        refused: Option<Problem>,
    ) -> Result<Box<RequestContext>, (Problem, Box<RequestContext>)> {
        let listener = peer.listener(&self.config);
        let client =
            forwarded::client(&head.headers, peer.address(), peer.tls(), &listener.trusted_proxies);
        let judged = match refused.map_or_else(|| self.judge(&mut head, peer), Err) {
            Ok(judged) => judged,
            Err(problem) => {
                let route = Arc::clone(&self.portal);
                let mut cx = RequestContext::new(head, client, route, request_id, received);
                cx.decided_by = "router";
                return Err((problem, Box::new(cx)));
            }
        };
        let authority = judged.authority;
        let mut cx =
            Box::new(RequestContext::new(head, client, judged.route, request_id, received));
        (cx.host, cx.upstream) = (Arc::clone(&authority.host), judged.upstream);
        (cx.target, cx.decoded) = (judged.target, judged.decoded);
        cx.certificate = peer.certificate.get().cloned();
        let noted = Noted::of(&cx.head.headers);
        if noted.via && self.pseudonym.is_in(&cx.head.headers) {
            cx.decided_by = "router";
            return Err((Problem::Loop, cx));
        }
        if !judged.is_host {
            cx.head.headers.insert(HOST, authority.raw.clone());
        }
        self.prepare(&mut cx, &noted, &authority, peer);
        Ok(cx)
    }

    fn judge(&self, head: &mut RequestHead, peer: &Peer) -> Result<Judged, Problem> {
        verify_method(&head.method, &self.config.limits)?;
        if head.headers.len() > self.config.limits.header_count {
            return Err(Problem::HeadersTooLarge);
        }
        // HTTP/1 was read by the letter; of HTTP/2 the library lets more through.
        if head.version >= Version::HTTP_2 {
            let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
            if lengths > 1 || !head.headers.iter().all(is_field) {
                return Err(Problem::BadRequest);
            }
        }
        let (authority, is_host) = self.authority(head, peer)?;
        let target =
            head.uri.path_and_query().filter(|target| target.as_str().starts_with('/')).cloned();
        // `OPTIONS *` asks about the gate itself, which has nothing to say.
        let target = target.ok_or(Problem::BadRequest)?;
        if target.as_str().len() > self.config.limits.target_bytes {
            return Err(Problem::TargetTooLong);
        }
        let path = Target::parse(target.path()).map_err(|_| Problem::BadRequest)?.path;
        let (route, upstream) = if is_reserved(&path) {
            if authority.upstream.is_none() && path != JWKS_PATH {
                return Err(Problem::Misdirected);
            }
            (Arc::clone(&self.portal), None)
        } else {
            let serving = authority.upstream.ok_or(Problem::Misdirected)?;
            let route = self.route(&authority.host, &path, head.method.as_str())?;
            (Arc::clone(route), Some(route.upstream.unwrap_or(serving)))
        };
        let decoded = match path {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path.into_boxed_str()),
        };
        // Path and query of the target, octet by octet, but for a beginning that is replaced.
        head.uri = Uri::from(self.sent(&route, upstream, &target)?);
        Ok(Judged { authority, is_host, target, decoded, route, upstream })
    }

    /// The target that the upstream gets.
    fn sent(
        &self,
        route: &Route,
        upstream: Option<usize>,
        target: &PathAndQuery,
    ) -> Result<PathAndQuery, Problem> {
        match upstream.and_then(|_| self.rewrite(route)) {
            None => Ok(target.clone()),
            Some(rewrite) => rewrite.apply(target).ok_or(Problem::BadRequest),
        }
    }

    fn rewrite(&self, route: &Route) -> Option<&Rewrite> {
        self.rewrites.get(route.order)?.as_ref()
    }

    /// The first route that matches.
    ///
    /// Some backends drop path parameters or do not tell upper from lower case. If such a reading
    /// of the path would meet another demand, the request can be read in two ways.
    fn route(&self, host: &str, path: &str, method: &str) -> Result<&Arc<Route>, Problem> {
        // The last route matches everything.
        let route = self.routes.find(host, path, method).ok_or(Problem::Internal)?;
        let meets_same = |other: Option<&Arc<Route>>| {
            other.is_some_and(|other| Arc::ptr_eq(other, route) || other.demands_same(route))
        };
        let bare = path.contains(';').then(|| without_parameters(path));
        for reading in std::iter::once(path).chain(bare.as_deref()) {
            let lower = match &self.folded {
                _ if has_capitals(reading) => Cow::Owned(reading.to_ascii_lowercase()),
                Some(_) => Cow::Borrowed(reading),
                None => continue,
            };
            let folded = self.folded.as_ref().unwrap_or(&self.routes);
            if !meets_same(folded.find(host, &lower, method)) {
                return Err(Problem::BadRequest);
            }
        }
        match &bare {
            Some(bare) if !meets_same(self.routes.find(host, bare, method)) => {
                Err(Problem::BadRequest)
            }
            _ => Ok(route),
        }
    }

    /// What a request for `url_path` at `host` would meet; for `config explain`.
    ///
    /// # Errors
    /// Why such a request is refused.
    pub fn explain(&self, host: &str, url_path: &str, method: &str) -> Result<Explained, Problem> {
        let method = Method::try_from(method).map_err(|_| Problem::BadRequest)?;
        verify_method(&method, &self.config.limits)?;
        let path = Target::parse(url_path).map_err(|_| Problem::BadRequest)?.path;
        let serving = self.config.upstream_for(host).ok_or(Problem::Misdirected)?;
        if is_reserved(&path) {
            let route = Arc::clone(&self.portal);
            return Ok(Explained { route, upstream: None, path: url_path.into(), prefix: None });
        }
        let route = self.route(host, &path, method.as_str())?;
        let upstream = Some(route.upstream.unwrap_or(serving));
        let target = PathAndQuery::try_from(url_path).map_err(|_| Problem::BadRequest)?;
        Ok(Explained {
            path: self.sent(route, upstream, &target)?.to_string(),
            prefix: self.rewrite(route).and_then(Rewrite::told).cloned(),
            route: Arc::clone(route),
            upstream,
        })
    }

    /// What the request was sent to: the authority of an absolute target, or else `Host`
    /// (RFC 9112 §3.2.2, RFC 9113 §8.3.1); true if it is what `Host` says. Exactly one `Host` is
    /// demanded of HTTP/1.
    fn authority(&self, head: &RequestHead, peer: &Peer) -> Result<(Authority, bool), Problem> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let field = hosts.next();
        if hosts.next().is_some() || (field.is_none() && head.version < Version::HTTP_2) {
            return Err(Problem::BadRequest);
        }
        let is_host = head.uri.authority().is_none();
        let raw = match (head.uri.authority(), field) {
            (None, None) => return Err(Problem::BadRequest),
            (None, Some(host)) => host.clone(),
            (Some(authority), host) => {
                let differs = host.is_some_and(|host| {
                    !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
                });
                if differs && head.version >= Version::HTTP_2 {
                    return Err(Problem::BadRequest);
                }
                HeaderValue::try_from(authority.as_str()).map_err(|_| Problem::BadRequest)?
            }
        };
        if let Some(known) = peer.known_authority(&raw, self.number) {
            return Ok((known, is_host));
        }
        let host = raw.to_str().ok().and_then(parse_host).ok_or(Problem::BadRequest)?;
        // A copy: what is remembered must not keep the whole buffer of the head.
        let raw = HeaderValue::from_bytes(raw.as_bytes()).map_err(|_| Problem::BadRequest)?;
        let authority = Authority { upstream: self.config.upstream_for(&host), raw, host };
        peer.remember_authority(&authority, self.number);
        Ok((authority, is_host))
    }

    /// Turns the head as it was received into the head that will be sent on.
    fn prepare(&self, cx: &mut RequestContext, noted: &Noted, authority: &Authority, peer: &Peer) {
        // A trusted proxy's chain differs between requests; a client's own connection is one hop.
        cx.forwarded = Some(peer.forwarded_fields(cx, authority, &self.pseudonym));
        let headers = &mut cx.head.headers;
        if noted.goes {
            if cx.head.version == Version::HTTP_11 {
                cx.upgrade = headers.get(UPGRADE).cloned();
            }
            cx.takes_trailers = headers.get(TE).is_some_and(takes_trailers);
            remove_hop_by_hop(headers);
            while let Some(name) = headers.keys().find(|name| is_not_forwarded(name)).cloned() {
                headers.remove(name);
            }
        }
        if let Some(rewrite) = cx.upstream.and_then(|_| self.rewrite(&cx.route)) {
            rewrite.tell(headers);
        }
        cx.head.version = Version::HTTP_11;
    }
}

/// Is the name a token, and the value without white space around it (RFC 9113 §8.2.1)?
pub(crate) fn is_field((name, value): (&HeaderName, &HeaderValue)) -> bool {
    let octets = value.as_bytes();
    name.as_str().bytes().all(is_token) && octets.trim_ascii().len() == octets.len()
}

/// Does the client take fields after a body (RFC 9110 §10.1.4)?
fn takes_trailers(value: &HeaderValue) -> bool {
    let words = value.to_str().unwrap_or_default().split(',');
    words.map(str::trim).any(|word| word.eq_ignore_ascii_case("trailers"))
}

/// The gate answers `Expect` itself, and tells the upstream itself who asked. To announce trailers
/// is a courtesy, and their names could mislead.
fn is_not_forwarded(name: &HeaderName) -> bool {
    matches!(*name, EXPECT | TRAILER) || is_forwarding_field(name.as_str())
}

/// What the router has to see to in a head, most of which have nothing of it: one pass costs less
/// than to look for each.
#[derive(Default)]
struct Noted {
    /// It has come through other proxies, or says so.
    via: bool,
    /// Something in it is not for the upstream.
    goes: bool,
}

impl Noted {
    fn of(headers: &HeaderMap) -> Self {
        let mut noted = Self::default();
        for name in headers.keys() {
            noted.via |= *name == VIA;
            noted.goes |= is_hop_by_hop(name) || is_not_forwarded(name);
        }
        noted
    }
}

/// Removes what belongs to one connection, and what `Connection` names (RFC 9110 §7.6.1).
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have one such field or none: looking again is cheaper than a list.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        if name == CONNECTION {
            remove_listed(headers);
        }
        headers.remove(name);
    }
}

fn remove_listed(headers: &mut HeaderMap) {
    let is_plain = |value: &HeaderValue| matches!(value.as_bytes(), b"keep-alive" | b"close");
    if headers.get_all(CONNECTION).iter().all(is_plain) {
        return;
    }
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok());
    // The message's own framing and target are nobody's to strip; `Connection` goes last.
    let names: Vec<_> =
        names.filter(|name| ![HOST, CONTENT_LENGTH, CONNECTION].contains(name)).collect();
    for name in names {
        headers.remove(name);
    }
}

pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "transfer-encoding"
            | "upgrade"
            | "te"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
    )
}

fn verify_method(method: &Method, limits: &Limits) -> Result<(), Problem> {
    if limits.methods.iter().any(|allowed| allowed == method.as_str()) {
        return Ok(());
    }
    let known = matches!(
        *method,
        Method::TRACE
            | Method::CONNECT
            | Method::OPTIONS
            | Method::PUT
            | Method::DELETE
            | Method::PATCH
            | Method::POST
            | Method::GET
            | Method::HEAD
    );
    Err(if known { Problem::MethodNotAllowed } else { Problem::MethodUnknown })
}

/// Is this the gate's own path? In any case of letters: it must never reach a backend.
pub(crate) fn is_reserved(path: &str) -> bool {
    let bare = PREFIX.trim_end_matches('/');
    let first = path.get(..bare.len()).is_some_and(|start| start.eq_ignore_ascii_case(bare));
    first && matches!(path.as_bytes().get(bare.len()), None | Some(b'/' | b';'))
}

fn has_capitals(path: &str) -> bool {
    path.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn without_parameters(path: &str) -> String {
    let segments: Vec<_> =
        path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    segments.join("/")
}
