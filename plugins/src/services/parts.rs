//! Parts of the services that stand on each other.

use std::sync::Arc;

use doorward_certs::vault::Vault;
use doorward_config::GatewayConfig;

use super::{OpenError, secret};
use crate::audit::Audit;
use crate::authenticator::Authenticators;
use crate::authenticator::webauthn::Keys;
use crate::challenge::Challenges;
use crate::clock::Clock;
use crate::code::Codes;
use crate::lockout::Lockout;
use crate::notify::Notify;
use crate::notify::alerts::Alerts;
use crate::rate_limit::RateLimits;
use crate::risk::Risk;
use crate::second_factor::SecondFactors;
use crate::store::{SqliteStore, StoreError};

/// What leaves the gate, and why.
pub(super) struct Messages {
    pub(super) notify: Arc<Notify>,
    pub(super) codes: Arc<Codes>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) risk: Arc<Risk>,
}

impl Messages {
    pub(super) async fn open(
        config: &GatewayConfig,
        store: &Arc<SqliteStore>,
        vault: &Arc<Vault>,
        clock: &Clock,
        rate_limits: &Arc<RateLimits>,
    ) -> Result<Self, OpenError> {
        let key = secret(&**store, "code-key").await;
        let key = key.map_err(|error| store_failed(config, error))?;
        let vault = Arc::clone(vault);
        let notify = Notify::new(&config.notify, store.clone(), vault, clock.clone());
        let codes = Codes::new(
            config,
            store.clone(),
            Arc::clone(&notify),
            clock.clone(),
            (Arc::clone(rate_limits), &key),
        );
        let alerts = Alerts::new(config, Arc::clone(&notify), clock.clone());
        let risk = Risk::open(&config.risk, store.clone(), clock.clone())?;
        let (codes, alerts, risk) = (Arc::new(codes), Arc::new(alerts), Arc::new(risk));
        Ok(Self { notify, codes, alerts, risk })
    }
}

pub(super) fn store_failed(config: &GatewayConfig, error: StoreError) -> OpenError {
    OpenError::Store(config.store.path.display().to_string(), error)
}

pub(super) async fn lockout(
    config: &GatewayConfig,
    store: &Arc<SqliteStore>,
    clock: &Clock,
) -> Result<Arc<Lockout>, OpenError> {
    let key = secret(&**store, "guess-key").await;
    let key = key.map_err(|error| store_failed(config, error))?;
    Ok(Arc::new(Lockout::new(&config.lockout, store.clone(), clock.clone(), &key)))
}

/// Second factors, and the keys among them.
pub(super) fn second_factors(
    config: &GatewayConfig,
    store: &Arc<SqliteStore>,
    vault: &Arc<Vault>,
    clock: &Clock,
    (lockout, audit): (&Arc<Lockout>, &Arc<Audit>),
    messages: &Messages,
) -> Result<(Arc<SecondFactors>, Option<Arc<Keys>>), OpenError> {
    let rules = &config.second_factor;
    let authenticators =
        Authenticators::new(rules, store.clone(), Arc::clone(vault), clock.clone());
    let authenticators = Arc::new(authenticators);
    let challenges = Challenges::new(store.clone(), Arc::clone(vault), clock.clone());
    let challenges = Arc::new(challenges);
    let keys = Keys::open(config, Arc::clone(&authenticators), Arc::clone(&challenges))?;
    let keys = keys.map(Arc::new);
    let second = SecondFactors {
        rules: rules.clone(),
        authenticators,
        challenges,
        keys: keys.clone(),
        lockout: Arc::clone(lockout),
        codes: Arc::clone(&messages.codes),
        audit: Arc::clone(audit),
        alerts: Arc::clone(&messages.alerts),
        clock: clock.clone(),
    };
    Ok((Arc::new(second), keys))
}
