//! What is decided about a request: who is asking, what the route demands, what the console is
//! told.
//!
//! A [`Plugin`] is one decision. [`pipeline`] lists them all, in the order in which a request
//! meets them. [`Services`] holds what outlives requests: accounts, sessions, signing keys.
//!
//! Not here: HTTP servers, upstreams, HTML. A refusal is a [`Refusal`]; the gateway dresses it.

pub mod access;
pub mod account;
pub mod account_centre;
pub mod address_change;
pub mod administration;
pub mod appeal;
pub mod audit;
pub mod authenticator;
pub mod captcha;
pub mod certificate;
pub mod challenge;
mod clock;
pub mod code;
mod context;
pub mod edits;
pub mod factor_change;
mod field_block;
pub mod histogram;
pub mod hold;
pub mod identity;
pub mod language;
pub mod lockout;
pub mod network;
pub mod notify;
mod origin;
pub mod outgoing;
pub mod passkey_sign_in;
pub mod password_change;
pub mod password_check;
pub mod priority;
mod private_place;
pub mod rate_limit;
pub mod recovery;
mod refusal;
pub mod risk;
pub mod second_factor;
mod services;
pub mod session;
pub mod sign_in;
pub mod step_up;
pub mod store;
pub mod stuffing;
pub mod upgrade;

use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;
use http::response::Parts as ResponseHead;

use audit::{Audit, Event, EventKind};

pub use clock::{Clock, Timestamp, jittered};
pub use context::{Client, RequestContext, RequestId};
pub use field_block::FieldBlock;
pub use refusal::{Problem, Refusal};
pub use services::{OpenError, Services, back_up, migrate, restore, unreached};

/// One decision about a request. Plugins run in the order listed in [`pipeline`] and share
/// nothing but the named fields of [`RequestContext`].
pub trait Plugin: Send + Sync {
    /// Stable `snake_case` name, used in logs, metrics and configuration.
    fn name(&self) -> &'static str;

    /// Decides before the upstream is contacted.
    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a>;

    /// Takes out of a request's trailers what the plugin would take out of its head. The default
    /// changes nothing.
    fn on_trailers(&self, _trailers: &mut HeaderMap) {}

    /// Edits the response head on its way downstream. Runs for every answer, so it must not
    /// assume that its own `on_request` ran. The default changes nothing.
    fn on_response(&self, _cx: &RequestContext, _head: &mut ResponseHead) {}
}

/// What a plugin decides, or "could not decide": [`Pipeline::on_request`] refuses with 503 then.
pub type Decided = Result<Flow, PluginError>;

/// A decision, or the wait for it. Nearly all are made at once, and cost no memory for a wait.
#[must_use]
pub enum Decision<'a> {
    /// It is made.
    Now(Decided),
    /// Something has to be asked first.
    Later(Pin<Box<dyn Future<Output = Decided> + Send + 'a>>),
}

impl<'a> Decision<'a> {
    /// The request goes on.
    pub const CONTINUE: Self = Self::Now(Ok(Flow::Continue));

    /// The request is refused.
    pub fn refuse(refusal: Refusal) -> Self {
        Self::Now(Ok(Flow::Refuse(refusal)))
    }

    /// The decision is what this comes to.
    pub fn later(wait: impl Future<Output = Decided> + Send + 'a) -> Self {
        Self::Later(Box::pin(wait))
    }

    /// Is it made, and does the request go on?
    #[cfg(test)]
    pub(crate) fn is_to_go_on(&self) -> bool {
        matches!(self, Self::Now(Ok(Flow::Continue)))
    }

    /// The decision, when it is made.
    #[cfg(test)]
    pub(crate) async fn made(self) -> Decided {
        match self {
            Self::Now(decided) => decided,
            Self::Later(wait) => wait.await,
        }
    }
}

/// What happens to the request next.
#[derive(Debug)]
pub enum Flow {
    /// Ask the next plugin, then the upstream.
    Continue,
    /// Answer downstream now; later plugins and the upstream never see the request.
    Refuse(Refusal),
}

/// Why a plugin could not decide.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PluginError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Every plugin, in the order a request meets them.
///
/// The order is a security property: `tests/it/order.rs` has one test for each comment below.
pub fn pipeline(services: &Services) -> Pipeline {
    let plugins: Vec<Box<dyn Plugin>> = vec![
        // First, so that no branch exists on which a client's identity field survives.
        Box::new(identity::StripIdentity::new(&services.config)),
        // Before anything is looked up: a flood is to cost as little as it can.
        Box::new(rate_limit::ClientLimits::new(Arc::clone(&services.rate_limits))),
        // Fills `cx.session` and `cx.principal`, and takes the gate's cookie out. Never refuses.
        Box::new(session::FindSession::new(&services.config, Arc::clone(&services.sessions))),
        // Fills the same where a client certificate signs in. After `session`: who has a live cookie
        // has said who they are. Before `access`, which cannot tell the two apart.
        Box::new(certificate::SignInByCertificate::new(
            &services.config,
            Arc::clone(&services.certificates),
        )),
        // Compares `cx.principal` with what the route demands. Needs the session.
        Box::new(access::Access),
        // Needs to know who asks, and that they may: who may not uses up nobody's allowance.
        Box::new(rate_limit::RouteLimits::new(Arc::clone(&services.rate_limits))),
        // Needs to know who asks, that they may, and that they do not ask too often: being asked for
        // a factor costs a row in the store.
        Box::new(step_up::StepUp::new(&services.config, Arc::clone(&services.approvals))),
        // A connection that switches is judged like any request, and once: after this nothing in it
        // is. Needs the session, which the page of another origin must not use.
        Box::new(upgrade::Upgrade::new(&services.config)),
        // After all that reads what the client sent, and before `assert_identity`, so that no edit
        // can say who is asking. Needs a request that was let through.
        Box::new(edits::EditFields::new(&services.config)),
        // Last, because the upstream may only hear of a principal that was let through.
        Box::new(identity::AssertIdentity::new(&services.config, Arc::clone(&services.assertions))),
    ];
    Pipeline::new(plugins, Arc::clone(&services.audit))
}

/// The ordered list of plugins.
pub struct Pipeline {
    plugins: Vec<Box<dyn Plugin>>,
    audit: Arc<Audit>,
}

impl Pipeline {
    /// Runs `plugins` in this order, and tells `audit` what they refuse.
    pub fn new(plugins: Vec<Box<dyn Plugin>>, audit: Arc<Audit>) -> Self {
        Self { plugins, audit }
    }

    /// Asks every plugin until one refuses. `None`: all let the request through.
    ///
    /// The only place where "could not decide" becomes an answer: 503, nothing forwarded.
    pub async fn on_request(&self, cx: &mut RequestContext) -> Option<Refusal> {
        self.from(cx, 0).await
    }

    /// Asks the plugin that refused once more, because something is known now that it lacked, and
    /// then those behind it.
    pub async fn again(&self, cx: &mut RequestContext) -> Option<Refusal> {
        let place = self.plugins.iter().position(|plugin| plugin.name() == cx.decided_by);
        cx.decided_by = "";
        self.from(cx, place.unwrap_or(0)).await
    }

    async fn from(&self, cx: &mut RequestContext, place: usize) -> Option<Refusal> {
        for plugin in self.plugins.iter().skip(place) {
            let decided = match plugin.on_request(cx) {
                Decision::Now(decided) => decided,
                Decision::Later(wait) => wait.await,
            };
            let refusal = match decided {
                Ok(Flow::Continue) => continue,
                Ok(Flow::Refuse(refusal)) => refusal,
                Err(error) => {
                    let request_id = cx.request_id.as_str();
                    tracing::error!(plugin = plugin.name(), request_id, %error, "could not decide");
                    Refusal::new(Problem::Undecided)
                }
            };
            cx.decided_by = plugin.name();
            self.note(cx, &refusal);
            return Some(refusal);
        }
        None
    }

    /// Notes what an attack, or somebody who tries their luck, meets. That a stranger has to sign in
    /// belongs to the day.
    fn note(&self, cx: &RequestContext, refusal: &Refusal) {
        let kind = match refusal.problem {
            Problem::Forbidden => EventKind::AuthorizationFail,
            Problem::CrossSite => EventKind::CsrfRefused,
            _ => return,
        };
        let event = Event::new(kind).from_request(cx.client.address, cx.request_id.as_str());
        let event = event.with("plugin", cx.decided_by).with("route", &cx.route.name);
        self.audit.record(&match (&cx.session, &cx.principal) {
            (Some(session), Some(principal)) => {
                event.session(session.id).principal(&principal.id).account(&principal.name)
            }
            _ => event,
        });
    }

    /// Lets every plugin take out of a request's trailers what has no business there.
    pub fn on_trailers(&self, trailers: &mut HeaderMap) {
        self.plugins.iter().for_each(|plugin| plugin.on_trailers(trailers));
    }

    /// Lets every plugin edit the head of the answer, last plugin first.
    pub fn on_response(&self, cx: &RequestContext, head: &mut ResponseHead) {
        for plugin in self.plugins.iter().rev() {
            plugin.on_response(cx, head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Plugin for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn on_request<'a>(&'a self, _cx: &'a mut RequestContext) -> Decision<'a> {
            Decision::Now(Err(PluginError("the store is on fire".into())))
        }
    }

    #[tokio::test]
    async fn a01_a_plugin_that_cannot_decide_refuses() {
        let mut cx = context::tests::context("/");
        let refusal = Pipeline::new(vec![Box::new(Broken)], Arc::default())
            .on_request(&mut cx)
            .await
            .unwrap();
        assert_eq!(refusal.problem.status(), http::StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(cx.decided_by, "broken");
    }
}
