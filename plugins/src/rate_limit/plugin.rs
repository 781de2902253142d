//! The two places in a request's life where limits are asked.

use std::sync::Arc;

use http::response::Parts as ResponseHead;

use super::RateLimits;
use crate::context::RequestContext;
use crate::network;
use crate::{Decision, Flow, Plugin};

/// Limits all clients together, and each address, before anything is looked up for them.
pub struct ClientLimits(Arc<RateLimits>);

impl ClientLimits {
    /// Asks these limits.
    pub fn new(limits: Arc<RateLimits>) -> Self {
        Self(limits)
    }
}

impl Plugin for ClientLimits {
    fn name(&self) -> &'static str {
        "client_limits"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        if self.0.all.is_none() && self.0.address.is_none() {
            return Decision::CONTINUE;
        }
        let origin = (cx.client.address, cx.request_id.as_str());
        let all = self.0.all.as_ref().map_or(Ok(()), |limit| self.0.take_here(limit, (), origin));
        let taken = all.and_then(|()| match &self.0.address {
            Some(limit) => self.0.take_here(limit, network::client(cx.client.address), origin),
            None => Ok(()),
        });
        taken.map_or_else(Decision::refuse, |()| Decision::CONTINUE)
    }
}

/// Limits who asks for what a route is about.
pub struct RouteLimits(Arc<RateLimits>);

impl RouteLimits {
    /// Asks these limits.
    pub fn new(limits: Arc<RateLimits>) -> Self {
        Self(limits)
    }
}

impl Plugin for RouteLimits {
    fn name(&self) -> &'static str {
        "route_limits"
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestContext) -> Decision<'a> {
        if cx.route.rate_limits.is_empty() {
            return Decision::CONTINUE;
        }
        Decision::later(async move {
            Ok(self.0.take_by_route(cx).await.map_or_else(Flow::Refuse, |()| Flow::Continue))
        })
    }

    fn on_response(&self, cx: &RequestContext, head: &mut ResponseHead) {
        for (name, value) in &cx.answer_fields {
            head.headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::context::tests::{config, context};

    fn limits(tables: &str) -> Arc<RateLimits> {
        let clock = Clock::manual(Timestamp(1_000));
        Arc::new(RateLimits::new(&config(tables), &clock, Arc::default()))
    }

    #[test]
    fn without_limits_every_request_goes_on_at_once() {
        let mut cx = context("/");
        let none = limits("");
        let client = ClientLimits::new(Arc::clone(&none)).on_request(&mut cx).is_to_go_on();
        assert!(client && RouteLimits::new(none).on_request(&mut cx).is_to_go_on());
    }

    #[tokio::test]
    async fn an_address_is_refused_when_its_allowance_is_used_up() {
        let plugin = ClientLimits::new(limits("[rate_limit]\naddress = \"1/1m\"\n"));
        let mut cx = context("/");
        assert!(matches!(plugin.on_request(&mut cx).made().await, Ok(Flow::Continue)));
        let Ok(Flow::Refuse(refusal)) = plugin.on_request(&mut cx).made().await else { panic!() };
        assert_eq!(refusal.problem, crate::Problem::TooManyRequests);
        assert_eq!(refusal.retry_after, Some(std::time::Duration::from_secs(60)));
    }
}
