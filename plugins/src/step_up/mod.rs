//! Step-up: a sensitive operation asks for a second factor, lately given or for it alone.
//!
//! Room 3 of the request path. Runs after `access` and `route_limits`: who may not do it at all is
//! not asked to prove anything. What a session has proven is evidence with times; whether it is
//! enough follows from the route's demand, here, for every request anew. An approval for one request
//! is a challenge in the store that is bound to the session and to the digest of the request, and
//! that exactly one request gets.
//!
//! - [`StepUp`]: the plugin. [`Approvals`]: what is asked for, given and used.
//!
//! Not here: how a factor is given (`second_factor`), and how a request is kept meanwhile (`hold`).

mod approvals;
mod key_binding;
mod request;

use std::sync::Arc;

use doorward_config::{GatewayConfig, StepUp as Demand};
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use crate::clock::Timestamp;
use crate::second_factor::is_fresh;
use crate::session::{AAL2, Evidence, Method};
use crate::{Decision, Flow, Plugin, PluginError, Problem, Refusal, RequestContext};

pub use approvals::{Approvals, Asked, Demanded, StepUpError, SteppedUp};
pub use key_binding::BindKeyError;
pub use request::{RequestDigest, shown_fields};

/// Demands a second factor where the route does.
pub struct StepUp {
    always: bool,
    approvals: Arc<Approvals>,
}

impl StepUp {
    /// Demands what routes say, as far as accounts may switch it off.
    pub fn new(config: &GatewayConfig, approvals: Arc<Approvals>) -> Self {
        Self { always: config.second_factor.always_protect_operations, approvals }
    }
}

impl Plugin for StepUp {
    fn name(&self) -> &'static str {
        "step_up"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        let (Some(demand), true) = (&cx.route.step_up, cx.upstream.is_some()) else {
            return Decision::CONTINUE;
        };
        let (Some(session), Some(principal)) = (&cx.session, &cx.principal) else {
            // Such a route is not public, so `access` has refused a stranger.
            return Decision::Now(Err(PluginError("a step-up without a session".into())));
        };
        if !self.always && !principal.protects_operations {
            return Decision::CONTINUE;
        }
        if !demand.for_one_request {
            return match is_met(demand, &session.evidence, cx.received) {
                true => Decision::CONTINUE,
                false => Decision::refuse(demanded(demand)),
            };
        }
        // Without the digest of its body nobody knows which request this is. The gateway reads the
        // body after this refusal and asks again.
        let Some(digest) = &cx.digest else { return Decision::refuse(demanded(demand)) };
        let cx = &*cx;
        Decision::later(async move {
            let used = self.approvals.use_up(session, digest, cx).await;
            match used.map_err(|error| PluginError(Box::new(error)))? {
                true => Ok(Flow::Continue),
                false => Ok(Flow::Refuse(demanded(demand))),
            }
        })
    }
}

/// Was one of the factors that the demand accepts given lately enough?
pub fn is_met(demand: &Demand, evidence: &[Evidence], now: Timestamp) -> bool {
    is_fresh(evidence, |method| accepts(demand, method), demand.max_age, now)
}

/// Is it one of the factors that the demand accepts?
fn accepts(demand: &Demand, method: Method) -> bool {
    method.factor().is_some_and(|factor| demand.factors.contains(&factor))
}

/// The refusal that asks for it (RFC 9470 §3).
fn demanded(demand: &Demand) -> Refusal {
    let max_age = demand.max_age.as_secs();
    let challenge = format!(
        "Bearer realm=\"doorward\", error=\"insufficient_user_authentication\", \
         error_description=\"A second factor is needed for this.\", \
         acr_values=\"{AAL2}\", max_age=\"{max_age}\""
    );
    let mut refusal = Refusal::new(Problem::StepUpRequired);
    refusal.fields.extend(HeaderValue::try_from(challenge).map(|value| (WWW_AUTHENTICATE, value)));
    refusal
}

#[cfg(test)]
mod tests;
