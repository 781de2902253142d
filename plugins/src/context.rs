//! What is known about one request while it is decided.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use doorward_certs::clients::ClientCertificate;
use doorward_config::Route;
use http::request::Parts as RequestHead;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::account::Principal;
use crate::clock::Timestamp;
use crate::field_block::FieldBlock;
use crate::identity::{ASSERTION_FIELD, PlainNames};
use crate::session::LiveSession;
use crate::session::cookie::GateCookies;
use crate::session::token::TokenHash;
use crate::step_up::RequestDigest;

/// The facts that rooms and plugins share. Each field names who writes it.
#[derive(Debug)]
pub struct RequestContext {
    /// Method, target and fields, as they will be forwarded. Written by the router; plugins take
    /// fields out and put fields in.
    pub head: RequestHead,
    /// Fields that tell of the way here; they stand behind those of `head`, which has none of these
    /// names but `via`. Written by the router.
    pub forwarded: Option<Arc<FieldBlock>>,
    /// The plain fields that tell who is asking, behind those. Written by `assert_identity`.
    pub plain: Option<Arc<PlainNames>>,
    /// The signed form of it. Written by the same.
    pub assertion: Option<HeaderValue>,
    /// The client takes trailers behind an answer. Written by the router.
    pub takes_trailers: bool,
    /// The protocol that the client asks to switch to. Written by the router; `upgrade` takes it
    /// out where the connection must not switch.
    pub upgrade: Option<HeaderValue>,
    /// Host that was asked for, lower case without port. Written by the router.
    pub host: Arc<str>,
    /// Target as it was sent. Written by the router; see [`Self::path`].
    pub target: PathAndQuery,
    /// The decoded path, where it differs from that of `target`. Written by the router.
    pub decoded: Option<Box<str>>,
    /// What the request has to meet. Written by the router.
    pub route: Arc<Route>,
    /// Index of the upstream in the configuration; `None` for the gate's own pages. Written by
    /// the router.
    pub upstream: Option<usize>,
    /// Who is at the other end. Written by the router.
    pub client: Client,
    /// Names this request in logs, here and at the backend. Written by the router.
    pub request_id: RequestId,
    /// When its head was complete, on the steady clock. Written by the router.
    pub received: Timestamp,
    /// The certificate that its client showed. Written by the router; `certificate` knows what it
    /// is worth.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The gate's other cookies, for its own pages. Written by `session`.
    pub cookies: GateCookies,
    /// Hash of the token that its cookie has, of no live session. Written by `session`.
    pub stale_token: Option<TokenHash>,
    /// The live session that its cookie names, or that its certificate began. Written by `session`
    /// and `certificate`.
    pub session: Option<Arc<LiveSession>>,
    /// Whom the session is for. Written with it.
    pub principal: Option<Arc<Principal>>,
    /// Stands for exactly this request, body included. Written by the room that reads the body, where
    /// `step_up` needs it.
    pub digest: Option<RequestDigest>,
    /// Which plugin or room answered; empty while none has. Written by the pipeline.
    pub decided_by: &'static str,
    /// Fields of the answer, whoever gives it. Written by `route_limits`.
    pub answer_fields: Vec<(HeaderName, HeaderValue)>,
    /// Is the answer the upstream's own, and not a refusal on its behalf? Written by the room that
    /// asks the upstream.
    pub answered_by_upstream: bool,
    /// Is it certain that nothing of the request was sent on? Written by the same room.
    pub nothing_sent: bool,
    /// When it was sent on, on [`Clock::exact`](crate::Clock::exact), and how long the upstream took
    /// to begin its answer, or to give none. Written by the same room.
    pub sent_on: Option<(Duration, Duration)>,
}

impl RequestContext {
    /// A request of which nothing has been judged yet.
    pub fn new(
        head: RequestHead,
        client: Client,
        route: Arc<Route>,
        request_id: RequestId,
        received: Timestamp,
    ) -> Self {
        Self {
            head,
            forwarded: None,
            plain: None,
            assertion: None,
            takes_trailers: false,
            upgrade: None,
            // Shared, and not made anew.
            host: Arc::default(),
            target: PathAndQuery::from_static("/"),
            decoded: None,
            route,
            upstream: None,
            client,
            request_id,
            received,
            certificate: None,
            cookies: GateCookies::default(),
            stale_token: None,
            session: None,
            principal: None,
            digest: None,
            decided_by: "",
            answer_fields: Vec::new(),
            answered_by_upstream: false,
            nothing_sent: false,
            sent_on: None,
        }
    }

    /// The fields that tell who is asking: none before `assert_identity` has let the request through.
    pub fn identity_fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let plain = self.plain.as_deref().zip(self.principal.as_deref());
        let plain = plain.into_iter().flat_map(|(plain, principal)| plain.of(principal));
        plain.chain(self.assertion.iter().map(|assertion| (&ASSERTION_FIELD, assertion)))
    }

    /// The path that was judged, decoded.
    pub fn path(&self) -> &str {
        self.decoded.as_deref().unwrap_or(self.target.path())
    }
}

/// Who is at the other end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client itself: the peer, or what trusted proxies say of it.
    pub address: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Is the peer one whose forwarded fields are believed?
    pub trusted_peer: bool,
    /// Did the client itself come over TLS?
    pub secure: bool,
}

impl Client {
    /// The client's end of its connection, as far as it is known: behind a proxy nobody says the
    /// port.
    pub fn end(&self) -> SocketAddr {
        let own = self.address == self.peer.ip().to_canonical();
        SocketAddr::new(self.address, if own { self.peer.port() } else { 0 })
    }
}

/// Names a request: 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// Joins what is the same for a worker with what counts its requests.
    pub fn new(worker: u64, count: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'0'; 32];
        for (place, digit) in text.iter_mut().enumerate() {
            let (word, shift) =
                if place < 16 { (worker, 60 - 4 * place) } else { (count, 60 - 4 * (place - 16)) };
            let nibble = usize::try_from((word >> shift) & 0xf).unwrap_or_default();
            *digit = DIGITS.get(nibble).copied().unwrap_or(b'0');
        }
        Self(text)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use doorward_config::{Access, GatewayConfig};

    use super::*;

    /// A configuration with one console and `extra` behind it.
    pub(crate) fn config(extra: &str) -> Arc<GatewayConfig> {
        let text = format!(
            "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n{extra}"
        );
        Arc::new(GatewayConfig::parse(&text, std::path::Path::new("/nowhere")).unwrap())
    }

    /// A GET request for `path` on the default route.
    pub(crate) fn context(path: &str) -> RequestContext {
        let (head, ()) = http::Request::get(path).body(()).unwrap().into_parts();
        let route = config("").routes.last().unwrap().clone();
        assert!(matches!(route.access, Access::Session { .. }));
        let client = Client {
            address: IpAddr::from([192, 0, 2, 1]),
            peer: SocketAddr::from(([192, 0, 2, 1], 4711)),
            trusted_peer: false,
            secure: true,
        };
        let id = RequestId::new(1, 2);
        let mut cx =
            RequestContext::new(head, client, Arc::new(route), id, Timestamp(1_800_000_000_000));
        cx.target = path.parse().unwrap();
        (cx.host, cx.upstream) = ("console.example.com".into(), Some(0));
        cx
    }

    #[test]
    fn request_ids_are_32_digits() {
        assert_eq!(RequestId::new(0xabc, 0x1f).as_str(), "0000000000000abc000000000000001f");
    }
}
