//! Upgrade: may this connection switch to another protocol, such as WebSocket?
//!
//! Room 3 of the request path. Runs after `access`. Where the route names the protocol the request
//! goes on as one that switches; elsewhere it goes on as if it had not asked, which is for the
//! console to answer (RFC 9110 §7.8).
//!
//! A browser opens a WebSocket to any host, cookies and all, without asking that host, so the page
//! that opens it must be one of this host, of `public_url` or of `upgrade_origins` when a session
//! is used (RFC 6455 §10.2).
//!
//! Not here: what passes once the connection has switched (`gateway`).

use doorward_config::GatewayConfig;
use http::{HeaderValue, Method};

use crate::origin::{Claim, OwnOrigin};
use crate::{Decision, Plugin, Problem, Refusal, RequestContext};

/// Lets connections switch that may.
pub struct Upgrade {
    own: OwnOrigin,
}

impl Upgrade {
    /// Compares origins with those of the configuration.
    pub fn new(config: &GatewayConfig) -> Self {
        Self { own: OwnOrigin::new(config) }
    }

    /// Is the page that asks one that may use the session?
    fn is_from_here(&self, cx: &RequestContext) -> bool {
        let Claim::One(origin) = Claim::of(cx) else { return false };
        self.own.is(origin, cx) || cx.route.upgrade_origins.iter().any(|other| other == origin)
    }
}

impl Plugin for Upgrade {
    fn name(&self) -> &'static str {
        "upgrade"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        let Some(wanted) = &cx.upgrade else { return Decision::CONTINUE };
        if cx.head.method != Method::GET || !names_one_of(wanted, &cx.route.upgrade) {
            cx.upgrade = None;
            return Decision::CONTINUE;
        }
        if cx.session.is_some() && !self.is_from_here(cx) {
            return Decision::refuse(Refusal::new(Problem::CrossSite));
        }
        Decision::CONTINUE
    }
}

/// Does the field name one protocol only, and one of these?
fn names_one_of(wanted: &HeaderValue, allowed: &[String]) -> bool {
    allowed.iter().any(|name| wanted.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::{HOST, ORIGIN};

    use super::*;
    use crate::Flow;
    use crate::context::tests::{config, context};

    async fn decide(protocol: &str, origins: &[&str], signed_in: bool) -> (Option<Problem>, bool) {
        let config = config(
            "[[route]]\nupgrade = [\"websocket\"]\nupgrade_origins = [\"https://app.example.com\"]\n",
        );
        let mut cx = context("/");
        cx.route = Arc::new(config.routes[0].clone());
        cx.upgrade = Some(protocol.parse().unwrap());
        cx.head.headers.insert(HOST, "console.example.com".parse().unwrap());
        for origin in origins {
            cx.head.headers.append(ORIGIN, origin.parse().unwrap());
        }
        if signed_in {
            let (sessions, _scratch) = crate::session::live::tests::sessions("").await;
            cx.session = Some(crate::session::live::tests::begin(&sessions).await);
        }
        let flow = Upgrade::new(&config).on_request(&mut cx).made().await.unwrap();
        let problem = match flow {
            Flow::Continue => None,
            Flow::Refuse(refusal) => Some(refusal.problem),
        };
        (problem, cx.upgrade.is_some())
    }

    #[tokio::test]
    async fn d10_the_page_of_another_origin_cannot_use_a_session() {
        for origin in [
            "https://console.example.com",
            "https://CONSOLE.example.com",
            "https://app.example.com",
        ] {
            assert_eq!(decide("websocket", &[origin], true).await, (None, true), "{origin}");
        }
        let own = "https://console.example.com";
        for origins in [
            &["https://evil.example"][..],
            &["null"],
            &[""],
            &[],
            &["http://console.example.com"],
            &["https://console.example.com.evil.example"],
            &["https://evil.example/https://console.example.com"],
            &["https://console.example.com:444"],
            &[own, own],
        ] {
            let (problem, _) = decide("websocket", origins, true).await;
            assert_eq!(problem, Some(Problem::CrossSite), "{origins:?}");
        }
        assert_eq!(decide("websocket", &["https://evil.example"], false).await, (None, true));
    }

    #[tokio::test]
    async fn d09_only_what_the_route_names_is_switched_to() {
        assert_eq!(decide("WebSocket", &[], false).await, (None, true));
        for protocol in ["h2c", "websocket, h2c", "tls/1.0", ""] {
            assert_eq!(decide(protocol, &[], false).await, (None, false), "{protocol}");
        }
    }
}
