//! What the services stand on, in the order in which each needs what is before it.

use std::fs::File;
use std::sync::Arc;

use doorward_certs::vault::Vault;
use doorward_config::GatewayConfig;
use tokio::sync::Semaphore;

use super::base::Base;
use super::lock::lock_store;
use super::{OpenError, secret};
use crate::account::password::{HashError, PasswordHasher};
use crate::account::rules::PasswordRules;
use crate::audit::Audit;
use crate::authenticator::Authenticators;
use crate::authenticator::webauthn::Keys;
use crate::captcha::Captcha;
use crate::challenge::Challenges;
use crate::clock::Clock;
use crate::code::Codes;
use crate::identity::Assertions;
use crate::lockout::Lockout;
use crate::notify::Notify;
use crate::notify::alerts::Alerts;
use crate::rate_limit::RateLimits;
use crate::recovery::SENDING_MAX;
use crate::risk::Risk;
use crate::second_factor::SecondFactors;
use crate::session::Sessions;
use crate::store::{AccountStore, PostgresStore, RedisStore, SqliteStore, StoreError, Stores};
use crate::stuffing::Stuffing;

/// The store, and what is opened on it before anybody can be served.
pub(super) struct Ground {
    /// Keeps other processes away from the store while this lives.
    lock: Arc<File>,
    pub(super) stores: Arc<Stores>,
    pub(super) assertions: Arc<Assertions>,
    pub(super) captcha: Arc<Captcha>,
    pub(super) rate_limits: Arc<RateLimits>,
    pub(super) vault: Arc<Vault>,
    pub(super) messages: Messages,
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) stuffing: Arc<Stuffing>,
    pub(super) form_key: Vec<u8>,
    /// How many codes for recovery are on their way.
    pub(super) sending: Arc<Semaphore>,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// This process, among the gates.
    pub(super) name: String,
    sessions: Arc<Sessions>,
    hasher: Arc<PasswordHasher>,
    password_rules: Arc<PasswordRules>,
    lockout: Arc<Lockout>,
    audit: Arc<Audit>,
    second: Arc<SecondFactors>,
}

impl Ground {
    pub(super) async fn open(
        config: &Arc<GatewayConfig>,
        clock: &Clock,
    ) -> Result<Self, OpenError> {
        let lock = lock_store(&config.store)?;
        let failed = |error| store_failed(config, error);
        let stores = Arc::new(open_stores(config).await?);
        let sessions = sessions(config, &stores, clock).await?;
        let assertions = Arc::new(Assertions::open(config, clock.clone())?);
        let hasher = PasswordHasher::new(&config.accounts.hashing)?;
        let password_rules = Arc::new(PasswordRules::open(config)?);
        let lockout = lockout(config, &stores, clock).await?;
        let captcha = Arc::new(captcha(config, &stores, clock).await?);
        let audit = Arc::new(Audit::open(config, Arc::clone(&stores.audit), clock.clone()).await?);
        let rate_limits = RateLimits::new(config, clock, Arc::clone(&audit));
        let rate_limits = Arc::new(rate_limits.shared_by(stores.shared_state.clone(), clock));
        let vault = Arc::new(Vault::open(&config.second_factor.key_file)?);
        verify_vault(&*stores.accounts, &vault).await.map_err(failed)?;
        let notify = Arc::clone(&stores.messages);
        let notify = Notify::new(&config.notify, notify, Arc::clone(&vault), clock.clone());
        let messages = Messages::open(config, &stores, clock, (notify, &rate_limits)).await?;
        let counts = (&lockout, &audit);
        let (second, keys) = second_factors(config, &stores, &vault, clock, counts, &messages)?;
        let form_key = secret(&*stores.accounts, "form-key").await.map_err(failed)?;
        Ok(Self {
            lock: Arc::new(lock),
            stores,
            assertions,
            captcha,
            rate_limits,
            vault,
            messages,
            keys,
            stuffing: Arc::new(Stuffing::new(&config.stuffing)),
            form_key,
            sending: Arc::new(Semaphore::new(SENDING_MAX)),
            turn: Arc::default(),
            name: crate::account::fresh_id().map_err(|_| HashError::Failed)?,
            sessions,
            hasher,
            password_rules,
            lockout,
            audit,
            second,
        })
    }

    /// The same ground by another configuration: the same store, and all that is in memory. What has
    /// rules only is made anew.
    pub(super) async fn again(
        &self,
        config: &Arc<GatewayConfig>,
        clock: &Clock,
    ) -> Result<Self, OpenError> {
        let hashing = &config.accounts.hashing;
        let hasher = match self.hasher.is_by(hashing) {
            true => Arc::clone(&self.hasher),
            false => PasswordHasher::new(hashing)?,
        };
        let rate_limits = Arc::new(self.rate_limits.again(config));
        let notify = self.messages.notify.again(&config.notify);
        let opened = Messages::open(config, &self.stores, clock, (notify, &rate_limits));
        let (messages, lockout) = (opened.await?, Arc::new(self.lockout.again(&config.lockout)));
        let counts = (&lockout, &self.audit);
        let (second, keys) =
            second_factors(config, &self.stores, &self.vault, clock, counts, &messages)?;
        Ok(Self {
            lock: Arc::clone(&self.lock),
            stores: Arc::clone(&self.stores),
            assertions: Arc::new(self.assertions.again(config)),
            captcha: Arc::new(self.captcha.again(&config.captcha)),
            rate_limits,
            vault: Arc::clone(&self.vault),
            messages,
            keys,
            stuffing: Arc::new(self.stuffing.again(&config.stuffing)),
            form_key: self.form_key.clone(),
            sending: Arc::clone(&self.sending),
            turn: Arc::clone(&self.turn),
            name: self.name.clone(),
            sessions: Arc::clone(&self.sessions),
            hasher,
            password_rules: Arc::new(PasswordRules::open(config)?),
            lockout,
            audit: Arc::clone(&self.audit),
            second,
        })
    }

    /// What the ways in, and administration, have in common.
    pub(super) fn base(&self, clock: &Clock) -> Base {
        Base {
            accounts: Arc::clone(&self.stores.accounts),
            second: Arc::clone(&self.second),
            sessions: Arc::clone(&self.sessions),
            hasher: Arc::clone(&self.hasher),
            password_rules: Arc::clone(&self.password_rules),
            lockout: Arc::clone(&self.lockout),
            audit: Arc::clone(&self.audit),
            alerts: Arc::clone(&self.messages.alerts),
            risk: Arc::clone(&self.messages.risk),
            clock: clock.clone(),
            turn: Arc::clone(&self.turn),
        }
    }
}

/// What is kept in this gate's own file, and what at servers that gates share.
async fn open_stores(config: &GatewayConfig) -> Result<Stores, OpenError> {
    let path = &config.store.path;
    let file = SqliteStore::open(path).await;
    let file = file.map_err(|error| OpenError::Store(path.display().to_string(), error))?;
    let stores = Stores::embedded(&Arc::new(file));
    let stores = match &config.store.redis {
        Some(redis) => {
            let live = RedisStore::open(redis).map_err(|error| redis_failed(config, error))?;
            stores.with_live_in(&Arc::new(live))
        }
        None => stores,
    };
    let Some(postgres) = &config.store.postgres else { return Ok(stores) };
    let records = PostgresStore::open(postgres).await;
    let records = records.map_err(|error| OpenError::Store(postgres.to_string(), error))?;
    Ok(stores.with_records_in(&Arc::new(records)))
}

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
        stores: &Stores,
        clock: &Clock,
        (notify, rate_limits): (Arc<Notify>, &Arc<RateLimits>),
    ) -> Result<Self, OpenError> {
        let key = secret(&*stores.accounts, "code-key").await;
        let key = key.map_err(|error| store_failed(config, error))?;
        let codes = Codes::new(
            config,
            Arc::clone(&stores.codes),
            Arc::clone(&notify),
            clock.clone(),
            (Arc::clone(rate_limits), &key),
        );
        let alerts = Alerts::new(config, Arc::clone(&notify), clock.clone());
        let risk = Risk::open(&config.risk, Arc::clone(&stores.history), clock.clone())?;
        let (codes, alerts, risk) = (Arc::new(codes), Arc::new(alerts), Arc::new(risk));
        Ok(Self { notify, codes, alerts, risk })
    }
}

async fn captcha(
    config: &GatewayConfig,
    stores: &Stores,
    clock: &Clock,
) -> Result<Captcha, OpenError> {
    let captcha = Captcha::new(&config.captcha, clock.clone());
    let captcha = captcha.map_err(|_| HashError::Failed)?;
    let Some(shared) = &stores.shared_state else { return Ok(captcha) };
    let key = secret(&*stores.accounts, "captcha-key").await;
    let key = key.map_err(|error| store_failed(config, error))?;
    Ok(captcha.shared_by(&key, Arc::clone(shared)))
}

/// The sessions of this gate, or the copy of those that it shares.
async fn sessions(
    config: &GatewayConfig,
    stores: &Stores,
    clock: &Clock,
) -> Result<Arc<Sessions>, OpenError> {
    let (rules, clock) = (&config.session, clock.clone());
    match &stores.shared_sessions {
        Some(shared) => {
            let failed = |error| redis_failed(config, error);
            super::gates::verify_clock(stores, clock.now()).await.map_err(failed)?;
            let accounts = Arc::clone(&stores.accounts);
            let joined = Sessions::join(rules, clock, Arc::clone(shared), accounts).await;
            joined.map_err(failed)
        }
        None => {
            let store = Arc::clone(&stores.sessions);
            let loaded = Sessions::load(rules, clock, store, &*stores.accounts).await;
            loaded.map_err(|error| store_failed(config, error))
        }
    }
}

pub(super) fn redis_failed(config: &GatewayConfig, error: StoreError) -> OpenError {
    let place = match &config.store.redis {
        Some(servers) => format!("store.redis: {servers}"),
        None => "store.redis".to_owned(),
    };
    OpenError::Store(place, error)
}

pub(super) fn store_failed(config: &GatewayConfig, error: StoreError) -> OpenError {
    let file = config.store.path.display();
    let place = match &config.store.postgres {
        None => file.to_string(),
        Some(server) => format!("{file}, or {server}"),
    };
    OpenError::Store(place, error)
}

pub(super) async fn lockout(
    config: &GatewayConfig,
    stores: &Stores,
    clock: &Clock,
) -> Result<Arc<Lockout>, OpenError> {
    let key = secret(&*stores.accounts, "guess-key").await;
    let key = key.map_err(|error| store_failed(config, error))?;
    Ok(Arc::new(Lockout::new(&config.lockout, Arc::clone(&stores.guesses), clock.clone(), &key)))
}

/// Second factors, and the keys among them.
pub(super) fn second_factors(
    config: &GatewayConfig,
    stores: &Stores,
    vault: &Arc<Vault>,
    clock: &Clock,
    (lockout, audit): (&Arc<Lockout>, &Arc<Audit>),
    messages: &Messages,
) -> Result<(Arc<SecondFactors>, Option<Arc<Keys>>), OpenError> {
    let rules = &config.second_factor;
    let authenticators = Authenticators::new(
        rules,
        Arc::clone(&stores.authenticators),
        Arc::clone(vault),
        clock.clone(),
    );
    let authenticators = Arc::new(authenticators);
    let challenges =
        Challenges::new(Arc::clone(&stores.challenges), Arc::clone(vault), clock.clone());
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

/// Says so if the vault is not the one that this store's secrets were encrypted with. The gate goes
/// on: who needs none of them is not to be locked out.
async fn verify_vault(accounts: &dyn AccountStore, vault: &Vault) -> Result<(), StoreError> {
    const PLACE: &str = "vault check";
    let sealed = vault.seal(PLACE, b"the vault of this store");
    let sealed = sealed.map_err(|error| StoreError::Failed(Box::new(error)))?;
    let kept = accounts.secret("vault-check", &sealed).await?;
    if vault.unseal(PLACE, &kept).is_err() {
        tracing::error!(
            event = "vault_lost",
            "second_factor.key_file is not the one of this store: nobody's authenticator works. \
             Put the right file back, or remove factors by `doorward factor reset`"
        );
    }
    Ok(())
}
