//! Which page a request comes from, as the browser says (RFC 6454 §7.3), and whether that page is
//! one of this host.
//!
//! Not here: what follows from it (`upgrade`, `certificate`).

use doorward_config::GatewayConfig;
use http::header::{HOST, ORIGIN};

use crate::RequestContext;

/// What a request says of the page that it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim<'a> {
    /// Nothing: it may come from no page at all.
    None,
    /// This origin.
    One(&'a str),
    /// Several, or what is no text.
    Unclear,
}

impl<'a> Claim<'a> {
    pub(crate) fn of(cx: &'a RequestContext) -> Self {
        let mut origins = cx.head.headers.get_all(ORIGIN).iter();
        match (origins.next().map(|origin| origin.to_str()), origins.next()) {
            (None, _) => Self::None,
            (Some(Ok(origin)), None) => Self::One(origin),
            _ => Self::Unclear,
        }
    }
}

/// The origins that are this gate's own.
pub(crate) struct OwnOrigin {
    /// That of `public_url`.
    public: String,
}

impl OwnOrigin {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self { public: config.public_url.origin() }
    }

    /// Is `origin` that of the host which was asked, or of `public_url`?
    pub(crate) fn is(&self, origin: &str, cx: &RequestContext) -> bool {
        let scheme = if cx.client.secure { "https" } else { "http" };
        let host = cx.head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let same = origin.split_once("://").is_some_and(|(its_scheme, authority)| {
            its_scheme == scheme && host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        });
        same || origin == self.public
    }
}
