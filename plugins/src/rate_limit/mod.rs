//! Rate limits: how often somebody may ask.
//!
//! Counted in memory: a flood must not cost the store anything. What has to outlive a restart, wrong
//! passwords, is counted by `lockout`. Where several gates share a store, sign-ins, codes and what
//! routes say are counted there, so that nobody gets the allowance once at each; whoever is over the
//! limit is refused from memory. While that store is away, each gate gives its share. What all clients
//! and an address may do is each gate's own: it protects the gate.
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
mod together;

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
use crate::store::SharedState;

pub use plugin::{ClientLimits, RouteLimits};

pub use limit::Measure;
use limit::{Limit, seconds};
use table::Table;
use together::Together;

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
    shared: Option<Arc<Together>>,
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
            shared: before.and_then(|before| before.shared.clone()),
        }
    }

    /// The same, counted with other gates.
    #[must_use]
    pub fn shared_by(mut self, store: Option<Arc<dyn SharedState>>, clock: &Clock) -> Self {
        self.shared = store.map(|store| Arc::new(Together::new(store, clock.clone())));
        self
    }

    /// So many gates share the limits.
    pub fn set_gates(&self, gates: u32) {
        if let Some(shared) = &self.shared {
            shared.set_gates(gates);
        }
    }

    /// Counts a sign-in that is tried from this address.
    ///
    /// # Errors
    /// The refusal, when there were too many.
    pub async fn sign_in(&self, address: IpAddr, request_id: &str) -> Result<(), Refusal> {
        let (one, all) = (network::client(address), network::network(address));
        self.take(&self.sign_in_address, &one.to_string(), (address, request_id)).await?;
        self.take(&self.sign_in_network, &all.to_string(), (address, request_id)).await
    }

    /// Counts a code that is asked for from this address.
    ///
    /// # Errors
    /// The refusal, when there were too many.
    pub async fn code(&self, address: IpAddr, request_id: &str) -> Result<(), Refusal> {
        let key = network::client(address).to_string();
        self.take(&self.codes_address, &key, (address, request_id)).await
    }

    /// Takes one request from somebody's allowance at all gates.
    async fn take(&self, limit: &Limit, key: &str, origin: (IpAddr, &str)) -> Result<(), Refusal> {
        let measure = self.measure(limit, key).await;
        if measure.fits { Ok(()) } else { self.exceed(limit, measure, origin) }
    }

    async fn measure(&self, limit: &Limit, key: &str) -> Measure {
        match &self.shared {
            Some(shared) => shared.measure(limit, key).await,
            None => limit.measure(key),
        }
    }

    /// Takes one request from somebody's allowance at this gate.
    fn take_here(
        &self,
        limit: &Limit,
        key: impl Hash,
        origin: (IpAddr, &str),
    ) -> Result<(), Refusal> {
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
    async fn take_by_route(&self, cx: &mut RequestContext) -> Result<(), Refusal> {
        let limits = self.routes.get(cx.route.order).map(Vec::as_slice).unwrap_or_default();
        for RouteLimit { limit, by, .. } in limits {
            let key = allowance(by, cx);
            let measure = self.measure(limit, &key).await;
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

/// Whose allowance a request takes from, in words that mean nobody else.
fn allowance(by: &[By], cx: &RequestContext) -> String {
    let mut key = String::new();
    for by in by {
        let session = cx.session.as_ref().map(|session| &*session.id);
        let (kind, whose) = match by {
            By::Account => ("account", cx.principal.as_ref().map(|principal| &*principal.id)),
            By::Session => ("session", session),
            By::Address => ("", None),
        };
        // Writing to a String cannot fail.
        let _ = match whose {
            Some(whose) => write!(key, "{kind} {whose};"),
            None => write!(key, "address {};", network::client(cx.client.address)),
        };
    }
    key
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
