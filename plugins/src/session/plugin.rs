//! `session` in the pipeline: finds, notes activity, takes the cookie out.

use std::sync::Arc;

use doorward_config::GatewayConfig;
use http::HeaderName;
use http::header::SET_COOKIE;
use http::response::Parts as ResponseHead;

use super::cookie::{CookieNames, sets_ours};
use super::token::TokenHash;
use super::{LiveSession, Sessions};
use crate::{Decision, Flow, Plugin, PluginError, RequestContext};

/// At what scope a session is worth something, and which requests keep it from going idle.
pub(crate) struct Usage {
    cookie_domain: Option<Arc<str>>,
    background: Option<HeaderName>,
}

impl Usage {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            cookie_domain: config.session.cookie_domain.as_deref().map(Arc::from),
            background: HeaderName::try_from(&config.session.background_header).ok(),
        }
    }

    /// The host, or the domain that hosts share.
    pub(crate) fn scope<'s>(&'s self, cx: &'s RequestContext) -> &'s Arc<str> {
        self.cookie_domain.as_ref().unwrap_or(&cx.host)
    }

    pub(crate) fn is_persons_act(&self, cx: &RequestContext) -> bool {
        // To look at the few there are costs less than to look for one.
        let is_background = |name: &HeaderName| cx.head.headers.keys().any(|other| other == name);
        cx.route.activity && !self.background.as_ref().is_some_and(is_background)
    }
}

/// Fills `cx.session` and `cx.principal`. Never refuses.
pub struct FindSession {
    names: CookieNames,
    usage: Usage,
    sessions: Arc<Sessions>,
}

impl FindSession {
    /// Finds among `sessions` by the rules of the configuration.
    pub fn new(config: &GatewayConfig, sessions: Arc<Sessions>) -> Self {
        Self { names: CookieNames::new(&config.session), usage: Usage::new(config), sessions }
    }
}

impl Plugin for FindSession {
    fn name(&self) -> &'static str {
        "session"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        let presented = self.names.take(&mut cx.head.headers);
        cx.cookies = presented.others;
        let Some(hash) = presented.session else { return Decision::CONTINUE };
        let (scope, counts) = (self.usage.scope(cx), self.usage.is_persons_act(cx));
        if let Some(found) = self.sessions.find_here(&hash, scope, cx.received, counts) {
            note(cx, hash, found);
            return Decision::CONTINUE;
        }
        Decision::later(async move {
            let scope = self.usage.scope(cx);
            let found = self.sessions.ask(&hash, scope, cx.received, counts).await;
            note(cx, hash, found.map_err(|error| PluginError(Box::new(error)))?);
            Ok(Flow::Continue)
        })
    }

    /// A console must not set the gate's cookie: it could sign a person in as somebody else.
    fn on_response(&self, cx: &RequestContext, head: &mut ResponseHead) {
        // What the gate itself answers at a console's path may set them.
        if cx.decided_by != "upstream" || !head.headers.contains_key(SET_COOKIE) {
            return;
        }
        if head.headers.get_all(SET_COOKIE).iter().any(|value| sets_ours(value.as_bytes())) {
            let kept: Vec<_> = head
                .headers
                .get_all(SET_COOKIE)
                .iter()
                .filter(|value| !sets_ours(value.as_bytes()))
                .cloned()
                .collect();
            head.headers.remove(SET_COOKIE);
            head.headers.extend(kept.into_iter().map(|value| (SET_COOKIE, value)));
        }
    }
}

/// Who is asking, by what was found for the token.
fn note(cx: &mut RequestContext, hash: TokenHash, found: Option<Arc<LiveSession>>) {
    match found {
        Some(session) => {
            cx.principal = Some(session.principal());
            cx.session = Some(session);
        }
        None => cx.stale_token = Some(hash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::{config, context};

    #[tokio::test]
    async fn the_consoles_cookies_pass_and_the_gates_do_not() {
        let (sessions, _) = super::super::live::tests::sessions("").await;
        let plugin = FindSession::new(&config(""), sessions);
        let mut cx = context("/");
        cx.head.headers.insert("cookie", "a=1; __Host-doorward=x".parse().unwrap());
        assert!(matches!(plugin.on_request(&mut cx).made().await.unwrap(), Flow::Continue));
        assert_eq!(cx.head.headers["cookie"], "a=1");

        let response = http::Response::builder()
            .header("set-cookie", "sid=1")
            .header("set-cookie", "__HOST-doorward=stolen")
            .header("set-cookie", "lang=en");
        let (mut head, ()) = response.body(()).unwrap().into_parts();
        cx.decided_by = "upstream";
        plugin.on_response(&cx, &mut head);
        let left: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(left, ["sid=1", "lang=en"]);
    }
}
