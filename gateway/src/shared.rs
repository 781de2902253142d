//! What a configuration makes of a gate: one whole, that nobody changes and that is swapped as one.

use std::sync::Arc;

use doorward_certs::clients::ClientAuthorities;
use doorward_certs::tls::TlsIdentities;
use doorward_config::Upstream as UpstreamRules;
use doorward_plugins::{Pipeline, Services, pipeline};
use tokio::runtime::Handle;

use crate::gate::StartError;
use crate::log::LogSink;
use crate::notify;
use crate::outgoing::HttpsClient;
use crate::portal::{self, Portal};
use crate::router::Router;
use crate::tls::{self, Tls};
use crate::traces::Traces;
use crate::upstream::Upstream;

/// What all workers share, and nobody changes.
pub(crate) struct Shared {
    pub(crate) services: Arc<Services>,
    pub(crate) router: Router,
    pub(crate) pipeline: Pipeline,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// By index of the listener; `None`: plain HTTP.
    pub(crate) tls: Vec<Option<Arc<Tls>>>,
    pub(crate) portal: Portal,
    /// `None`: nobody is told of requests.
    pub(crate) traces: Option<Arc<Traces>>,
    pub(crate) log: LogSink,
    pub(crate) office: Handle,
    /// How many configurations this process had before.
    pub(crate) number: u64,
    /// By this the gate knows requests that it has forwarded itself.
    unique: String,
}

impl Shared {
    /// The first of a gate.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn new(
        services: Arc<Services>,
        log: LogSink,
        office: Handle,
    ) -> Result<Self, StartError> {
        let unique = doorward_plugins::account::fresh_id()
            .map_err(|_| StartError::Config("no randomness".into()))?;
        Self::make(services, (log, office, unique), None)
    }

    /// The one behind this. What is as it was goes on: connections to upstreams and what is known of
    /// their health, and how listeners talk TLS.
    ///
    /// # Errors
    /// [`StartError`]; nothing has changed then.
    pub(crate) fn again(&self, services: Arc<Services>) -> Result<Self, StartError> {
        let parts = (self.log.clone(), self.office.clone(), self.unique.clone());
        Self::make(services, parts, Some(self))
    }

    fn make(
        services: Arc<Services>,
        (log, office, unique): (LogSink, Handle, String),
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let config = &services.config;
        HttpsClient::serve(&services);
        notify::connect(&services)?;
        let number = before.map_or(0, |before| before.number + 1);
        let router = Router::new(config, &unique)
            .ok_or_else(|| StartError::Config("there is no route".into()))?;
        let upstreams = before.map(|before| before.upstreams.as_slice()).unwrap_or_default();
        let make = |rules| upstream(rules, upstreams);
        let listeners = before.map(|before| before.tls.as_slice()).unwrap_or_default();
        Ok(Self {
            router: router.numbered(number),
            pipeline: pipeline(&services),
            upstreams: config.upstreams.iter().map(make).collect::<Result<_, _>>()?,
            tls: tls::open(config, &services.clock, listeners)?,
            portal: portal::build(Arc::clone(&services)),
            traces: traces(&services, &office, before)?,
            log,
            office,
            number,
            unique,
            services,
        })
    }

    /// Reads certificates, and whom clients are verified with, again where files have changed.
    pub(crate) fn reload_certificates(&self) {
        let shown = self.identities().map(|identities| (identities.reload_if_changed(), "own"));
        let asked = self.clients().map(|clients| (clients.reload_if_changed(), "clients"));
        for (reloaded, of) in shown.chain(asked) {
            match reloaded {
                Ok(false) => {}
                Ok(true) => tracing::info!(event = "certificate_reloaded", of),
                Err(error) => {
                    tracing::error!(event = "certificate_reload_failed", of, %error, "the old one stays");
                }
            }
        }
    }

    /// Every certificate that the gate shows, to clients and to upstreams.
    fn identities(&self) -> impl Iterator<Item = &Arc<TlsIdentities>> {
        let shown = self.tls.iter().flatten().map(|tls| &tls.identities);
        shown.chain(self.upstreams.iter().filter_map(|upstream| upstream.own.as_ref()))
    }

    /// Whom the gate believes about clients.
    fn clients(&self) -> impl Iterator<Item = &Arc<ClientAuthorities>> {
        self.tls.iter().flatten().filter_map(|tls| tls.clients.as_ref())
    }
}

/// Where spans go, by the sender that was there `before` if its rules are the same.
fn traces(
    services: &Services,
    office: &Handle,
    before: Option<&Shared>,
) -> Result<Option<Arc<Traces>>, StartError> {
    let rules = &services.config.tracing;
    match before {
        Some(before) if before.services.config.tracing == *rules => Ok(before.traces.clone()),
        _ => rules.as_ref().map(|rules| Traces::start(rules, office).map(Arc::new)).transpose(),
    }
}

/// The upstream of these rules: the one that was there `before`, if its files cannot have changed.
fn upstream(rules: &UpstreamRules, before: &[Arc<Upstream>]) -> Result<Arc<Upstream>, StartError> {
    let fresh = Arc::new(Upstream::new(rules)?);
    let known = before.iter().find(|known| known.rules == *rules && rules.ca_file.is_none());
    Ok(known.map_or(fresh, Arc::clone))
}
