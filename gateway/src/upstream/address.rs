//! The addresses of an upstream, as all workers see them: how busy each is, and whether it is
//! well.
//!
//! A request goes to the address with the fewest outstanding ones among those that are well.
//! An address that failed so often in a row is left alone for a while (passive ejection), and one
//! that fails its health checks until it passes them again. If none is well, one request a second
//! is let through to find out, and the others are answered at once: a dead set is not asked twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use doorward_certs::KeyFileError;
use doorward_certs::tls::TlsIdentities;
use doorward_config::{HostHeader, Upstream as Rules, UpstreamAddress};
use doorward_plugins::Timestamp;
use http::HeaderValue;

use super::connect::Connector;

/// How often a set of which none is well is tried.
const TRIAL_EVERY: Duration = Duration::from_secs(1);

/// What all workers know of an upstream.
pub(crate) struct Upstream {
    pub(crate) rules: Rules,
    pub(super) addresses: Vec<Address>,
    /// With which the gate shows who it is.
    pub(crate) own: Option<Arc<TlsIdentities>>,
    /// When a set of which none is well may be tried again, in milliseconds.
    trial_at: AtomicU64,
}

/// One address of an upstream.
pub(super) struct Address {
    pub(super) connector: Connector,
    /// The `Host` that it gets; `None`: the client's.
    pub(super) host: Option<HeaderValue>,
    /// How the log and the metrics call it.
    pub(super) name: String,
    outstanding: AtomicUsize,
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds.
    ejected_until: AtomicU64,
    /// It does not pass its health checks.
    sick: AtomicBool,
}

impl Upstream {
    /// Prepares for an upstream; its certificates are read now.
    pub(crate) fn new(rules: &Rules) -> Result<Self, KeyFileError> {
        let own = rules.client_certificate.clone().map(|files| TlsIdentities::load(&[files]));
        let own = own.transpose()?;
        let make = |address| Address::new(address, rules, own.as_ref());
        let addresses = rules.addresses.iter().map(make);
        Ok(Self {
            addresses: addresses.collect::<Result<_, _>>()?,
            own,
            trial_at: AtomicU64::new(0),
            rules: rules.clone(),
        })
    }

    /// How many addresses are well, and how many there are.
    pub(crate) fn count_well(&self, now: Timestamp) -> (usize, usize) {
        let well = self.addresses.iter().filter(|address| address.is_well(|| now));
        (well.count(), self.addresses.len())
    }

    /// The address for the next request, by its index; none of `tried`.
    pub(super) fn choose(
        self: &Arc<Self>,
        tried: &[usize],
        now: impl Fn() -> Timestamp,
    ) -> Option<Lease> {
        let untried = || {
            let all = self.addresses.iter().enumerate();
            all.filter(|(index, _)| !tried.contains(index))
        };
        let well = untried().filter(|(_, address)| address.is_well(&now));
        let fewest = well.min_by_key(|(_, address)| address.outstanding.load(Ordering::Relaxed));
        let chosen = fewest.or_else(|| self.trial(untried(), tried, now()));
        chosen.map(|(index, _)| Lease::new(self, index))
    }

    fn trial<'a>(
        &self,
        mut untried: impl Iterator<Item = (usize, &'a Address)>,
        tried: &[usize],
        now: Timestamp,
    ) -> Option<(usize, &'a Address)> {
        let due = self.trial_at.load(Ordering::Relaxed);
        let next = (now + TRIAL_EVERY).0;
        let won = tried.is_empty()
            && now.0 >= due
            && self
                .trial_at
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won { untried.next() } else { None }
    }

    /// An address failed to take a request.
    pub(super) fn note_failure(&self, index: usize, now: Timestamp) {
        let (Some(address), after) = (self.addresses.get(index), self.rules.eject_after) else {
            return;
        };
        let failures = address.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if after == 0 || failures < after {
            return;
        }
        let was_well = address.is_well(|| now);
        address.ejected_until.store((now + self.rules.eject_for).0, Ordering::Relaxed);
        self.trial_at.store((now + TRIAL_EVERY).0, Ordering::Relaxed);
        if was_well {
            let upstream = self.rules.name.as_str();
            tracing::warn!(event = "upstream_ejected", upstream, address = address.name, failures);
        }
    }

    /// An address answered.
    pub(super) fn note_success(&self, index: usize) {
        let Some(address) = self.addresses.get(index) else { return };
        if address.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        address.failures.store(0, Ordering::Relaxed);
        if address.ejected_until.swap(0, Ordering::Relaxed) != 0 {
            let upstream = self.rules.name.as_str();
            tracing::info!(event = "upstream_recovered", upstream, address = address.name);
        }
    }

    /// What a health check found. Says whether that is news.
    pub(super) fn note_health(&self, index: usize, sick: bool) {
        let Some(address) = self.addresses.get(index) else { return };
        if address.sick.swap(sick, Ordering::Relaxed) == sick {
            return;
        }
        let upstream = self.rules.name.as_str();
        if sick {
            tracing::warn!(event = "upstream_unhealthy", upstream, address = address.name);
        } else {
            address.failures.store(0, Ordering::Relaxed);
            address.ejected_until.store(0, Ordering::Relaxed);
            tracing::info!(event = "upstream_healthy", upstream, address = address.name);
        }
    }
}

impl Address {
    fn new(
        address: &UpstreamAddress,
        rules: &Rules,
        own: Option<&Arc<TlsIdentities>>,
    ) -> Result<Self, KeyFileError> {
        let host = match &rules.host_header {
            HostHeader::Keep => None,
            HostHeader::Upstream => HeaderValue::try_from(address.authority()).ok(),
            HostHeader::Literal(host) => HeaderValue::try_from(host).ok(),
        };
        Ok(Self {
            connector: Connector::new(address, rules, own)?,
            host,
            name: address.to_string(),
            outstanding: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            sick: AtomicBool::new(false),
        })
    }

    fn is_well(&self, now: impl FnOnce() -> Timestamp) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        !self.sick.load(Ordering::Relaxed) && (until == 0 || until <= now().0)
    }
}

/// One outstanding request at an address, counted as long as this lives.
pub(super) struct Lease {
    /// `None`: there is one address only, and nothing to choose by counting.
    counted: Option<Arc<Upstream>>,
    index: usize,
}

impl Lease {
    pub(super) fn new(upstream: &Arc<Upstream>, index: usize) -> Self {
        let counted = (upstream.addresses.len() > 1).then(|| Arc::clone(upstream));
        let made = Self { counted, index };
        if let Some(address) = made.address_counted() {
            address.outstanding.fetch_add(1, Ordering::Relaxed);
        }
        made
    }

    /// Index of the address.
    pub(super) fn address(&self) -> usize {
        self.index
    }

    fn address_counted(&self) -> Option<&Address> {
        self.counted.as_ref()?.addresses.get(self.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(address) = self.address_counted() {
            address.outstanding.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
