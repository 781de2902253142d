//! Rate limits: how often somebody may ask.
//!
//! Counted in memory, for this process: a flood must not cost the store anything. What has to
//! outlive a restart, wrong passwords, is counted by `lockout`.
//!
//! - [`ClientLimits`], the first look at a request: all clients together, and its address.
//! - [`RouteLimits`], once it is known who asks: what the route says.
//! - [`RateLimits::sign_in`]: how often an address, and its network, may try passwords.
//! - [`RateLimits::code`]: how often an address may have a code sent, to whomever.
//!
//! Sources: RFC 6585 §4 (429), draft-ietf-httpapi-ratelimit-headers-10 (`RateLimit`,
//! `RateLimit-Policy`).

mod limit;
mod plugin;
mod table;

use std::fmt::Write as _;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorward_config::{By, GatewayConfig, HostPattern, PathPattern, Route};
use http::{HeaderName, HeaderValue};

use crate::audit::{Audit, Event, EventKind};
use crate::clock::Clock;
use crate::context::RequestContext;
use crate::network;
use crate::refusal::{Problem, Refusal};

pub use plugin::{ClientLimits, RouteLimits};

use limit::{Limit, Measure, seconds};
use table::Table;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// All limits of a gate.
pub struct RateLimits {
    enforce: bool,
    all: Option<Limit>,
    address: Option<Limit>,
    sign_in_address: Limit,
    sign_in_network: Limit,
    codes_address: Limit,
    /// Of each route, by its order.
    routes: Vec<Vec<RouteLimit>>,
    table: Table,
    clock: Clock,
    audit: Arc<Audit>,
}

struct RouteLimit {
    limit: Limit,
    by: Vec<By>,
    /// What its route reaches, and its number there: by these it is known again when routes around
    /// it come and go.
    of: (Vec<HostPattern>, PathPattern, Vec<String>, usize),
}

impl RateLimits {
    /// The limits of this configuration, with nothing counted.
    pub fn new(config: &GatewayConfig, clock: &Clock, audit: Arc<Audit>) -> Self {
        let table = Table::new(config.rate_limits.keys_max);
        Self::make(config, (clock.clone(), table, audit), None)
    }

    /// The limits of another configuration. Those that were there before go on, at whatever rates;
    /// the table stays as large as it was.
    pub fn again(&self, config: &GatewayConfig) -> Self {
        let parts = (self.clock.clone(), self.table.clone(), Arc::clone(&self.audit));
        Self::make(config, parts, Some(self))
    }

    fn make(
        config: &GatewayConfig,
        (clock, table, audit): (Clock, Table, Arc<Audit>),
        before: Option<&Self>,
    ) -> Self {
        let rules = &config.rate_limits;
        let limit = |name: &str, rate, before: Option<&Limit>| {
            let limit = Limit::new(name.into(), rate, &table, &clock);
            match before {
                Some(before) => limit.go_on(before),
                None => limit,
            }
        };
        let of_route = |route: &Route| {
            let numbered = route.rate_limits.iter().enumerate();
            let limits = numbered.map(|(number, rules)| {
                let (hosts, path) = (route.hosts.clone(), route.path.clone());
                let of = (hosts, path, route.methods.clone(), number);
                let name = format!("route-{}-{}", route.order + 1, number + 1);
                let mut known = before.iter().flat_map(|before| before.routes.iter().flatten());
                let known = known.find(|known| known.of == of && known.by == rules.by);
                let limit = limit(&name, rules.rate, known.map(|known| &known.limit));
                RouteLimit { limit, by: rules.by.clone(), of }
            });
            limits.collect()
        };
        let all = before.and_then(|before| before.all.as_ref());
        let address = before.and_then(|before| before.address.as_ref());
        let [by_address, by_network, codes] = [
            before.map(|before| &before.sign_in_address),
            before.map(|before| &before.sign_in_network),
            before.map(|before| &before.codes_address),
        ];
        Self {
            enforce: rules.enforce,
            all: rules.all.map(|rate| limit("all", rate, all)),
            address: rules.address.map(|rate| limit("address", rate, address)),
            sign_in_address: limit("sign-in-address", rules.sign_in_address, by_address),
            sign_in_network: limit("sign-in-network", rules.sign_in_network, by_network),
            codes_address: limit("codes-address", config.codes.address, codes),
            routes: config.routes.iter().map(of_route).collect(),
            table,
            clock,
            audit,
        }
    }

    /// Counts a sign-in that is tried from this address.
    ///
    /// # Errors
    /// The refusal, when there were too many.
    pub fn sign_in(&self, address: IpAddr, request_id: &str) -> Result<(), Refusal> {
        self.take(&self.sign_in_address, network::client(address), (address, request_id))?;
        self.take(&self.sign_in_network, network::network(address), (address, request_id))
    }

    /// Counts a code that is asked for from this address.
    ///
    /// # Errors
    /// The refusal, when there were too many.
    pub fn code(&self, address: IpAddr, request_id: &str) -> Result<(), Refusal> {
        self.take(&self.codes_address, network::client(address), (address, request_id))
    }

    /// Takes one request from somebody's allowance.
    fn take(&self, limit: &Limit, key: impl Hash, origin: (IpAddr, &str)) -> Result<(), Refusal> {
        let measure = limit.measure(key);
        if measure.fits { Ok(()) } else { self.exceed(limit, measure, origin) }
    }

    /// What follows for a request for which there is no room.
    fn exceed(
        &self,
        limit: &Limit,
        measure: Measure,
        (address, request_id): (IpAddr, &str),
    ) -> Result<(), Refusal> {
        if limit.is_to_be_told() {
            let event = Event::new(EventKind::RateLimitExceeded).with("limit", &limit.name);
            let event = event.with("refused", self.enforce);
            self.audit.record(&event.from_request(address, request_id));
        }
        if !self.enforce {
            return Ok(());
        }
        let after = Duration::from_secs(seconds(measure.after).max(1));
        let mut refusal = Refusal::after(Problem::TooManyRequests, after);
        refusal.fields = fields(limit, measure).into();
        Err(refusal)
    }

    /// Takes a request from the allowances that its route gives; notes for the client what is left
    /// of the first.
    fn take_by_route(&self, cx: &mut RequestContext) -> Result<(), Refusal> {
        let limits = self.routes.get(cx.route.order).map(Vec::as_slice).unwrap_or_default();
        for RouteLimit { limit, by, .. } in limits {
            let address = network::client(cx.client.address);
            let session = cx.session.as_ref().map(|session| &*session.id);
            let principal = cx.principal.as_ref().map(|principal| principal.id.as_str());
            let key: Vec<_> = by
                .iter()
                .map(|by| match by {
                    By::Account => principal.map_or((1, Some(address), ""), |id| (2, None, id)),
                    By::Address => (1, Some(address), ""),
                    By::Session => session.map_or((1, Some(address), ""), |id| (3, None, id)),
                })
                .collect();
            let measure = limit.measure(key);
            if cx.answer_fields.is_empty() {
                cx.answer_fields.extend(fields(limit, measure));
            }
            if !measure.fits {
                self.exceed(limit, measure, (cx.client.address, cx.request_id.as_str()))?;
            }
        }
        Ok(())
    }

    fn limits(&self) -> impl Iterator<Item = &Limit> {
        let routes = self.routes.iter().flatten().map(|route| &route.limit);
        let own = [&self.sign_in_address, &self.sign_in_network, &self.codes_address];
        self.all.iter().chain(&self.address).chain(own).chain(routes)
    }

    /// What came of all limits so far, in the text format of Prometheus. The number of series is
    /// fixed by the configuration.
    pub fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP doorward_rate_limit_total Requests by what a limit said: \"near\" are those among the allowed that left less than a fifth.\n\
             # TYPE doorward_rate_limit_total counter\n",
        );
        for limit in self.limits() {
            let (name, counts) = (&limit.name, limit.counts());
            for (result, count) in [
                ("allowed", &counts.allowed),
                ("near", &counts.near),
                ("exceeded", &counts.exceeded),
            ] {
                let count = count.load(Ordering::Relaxed);
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "doorward_rate_limit_total{{limit=\"{name}\",result=\"{result}\"}} {count}"
                );
            }
        }
        text
    }
}

/// What tells a client of a limit: its policy, and what is left.
fn fields(limit: &Limit, measure: Measure) -> [(HeaderName, HeaderValue); 2] {
    let Limit { name, rate, .. } = limit;
    let policy = format!("\"{name}\";q={};w={}", rate.requests, seconds(rate.per));
    let left = format!("\"{name}\";r={};t={}", measure.remaining, seconds(measure.after));
    // Letters, digits and marks of our own.
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    [(RATE_LIMIT_POLICY, value(policy)), (RATE_LIMIT, value(left))]
}
