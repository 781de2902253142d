//! What outlives requests, opened once: accounts, sessions, signing keys.

mod backup;
mod base;
mod gates;
mod ground;
mod lock;
mod migrate;
mod reach;

use std::sync::Arc;
use std::time::Duration;

use doorward_certs::KeyFileError;
use doorward_config::GatewayConfig;
use tokio::time::MissedTickBehavior;

use crate::account::password::HashError;
use crate::account::rules::PasswordRules;
use crate::account::rules::breach_list::BreachListError;
use crate::account_centre::AccountCentre;
use crate::address_change::AddressChange;
use crate::administration::Administration;
use crate::appeal::Appeals;
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::webauthn::{Keys, WebauthnError};
use crate::captcha::Captcha;
use crate::certificate::CertificateSessions;
use crate::clock::Clock;
use crate::code::Codes;
use crate::factor_change::FactorChange;
use crate::hold::Holds;
use crate::identity::Assertions;
use crate::lockout::Lockout;
use crate::notify::Notify;
use crate::notify::alerts::Alerts;
use crate::passkey_sign_in::PasskeySignIn;
use crate::password_change::PasswordChange;
use crate::rate_limit::RateLimits;
use crate::recovery::Recovery;
use crate::risk::Risk;
use crate::second_factor::SecondFactors;
use crate::session::Sessions;
use crate::session::live::FLUSH_EVERY;
use crate::sign_in::SignIn;
use crate::step_up::Approvals;
use crate::store::{AccountStore, StoreError, Timings};
pub use backup::{back_up, restore};
use ground::Ground;
pub use migrate::migrate;
pub use reach::unreached;

/// How often expired sessions and old keys are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Everything that plugins, portal and administration share.
pub struct Services {
    /// The configuration they were opened with.
    pub config: Arc<GatewayConfig>,
    /// Tells the time to all of them.
    pub clock: Clock,
    /// Who is signed in.
    pub sessions: Arc<Sessions>,
    /// Signs what the console is told.
    pub assertions: Arc<Assertions>,
    /// Takes what happens.
    pub audit: Arc<Audit>,
    /// Counts wrong guesses.
    pub lockout: Arc<Lockout>,
    /// How often somebody may ask.
    pub rate_limits: Arc<RateLimits>,
    /// Asks for more than a password where guessing is suspected.
    pub captcha: Arc<Captcha>,
    /// What may be a new password.
    pub password_rules: Arc<PasswordRules>,
    /// Turns names and passwords into sessions.
    pub sign_in: Arc<SignIn>,
    /// Everybody's security keys and passkeys; `None`: there are none here.
    pub keys: Option<Arc<Keys>>,
    /// Signs people in by passkeys; `None`: that is not allowed here.
    pub passkey_sign_in: Option<PasskeySignIn>,
    /// Asks for second factors.
    pub second: Arc<SecondFactors>,
    /// Asks for them before sensitive operations.
    pub approvals: Arc<Approvals>,
    /// Keeps requests meanwhile.
    pub holds: Arc<Holds>,
    /// Changes people's own second factors.
    pub factor_change: FactorChange,
    /// Takes appeals of people who have lost every second factor.
    pub appeals: Arc<Appeals>,
    /// Changes people's own phones and e-mail addresses.
    pub address_change: AddressChange,
    /// Changes what people say about themselves, and owners about their accounts.
    pub account_centre: AccountCentre,
    /// Gives new passwords for forgotten ones.
    pub recovery: Recovery,
    /// Changes passwords.
    pub password_change: PasswordChange,
    /// Turns client certificates into sessions.
    pub certificates: Arc<CertificateSessions>,
    /// Sends messages.
    pub notify: Arc<Notify>,
    /// Codes by text message and e-mail.
    pub codes: Arc<Codes>,
    /// Tells owners and operators what happens.
    pub alerts: Arc<Alerts>,
    /// Recent sign-ins, and what is unusual about a new one.
    pub risk: Arc<Risk>,
    /// What operators may ask.
    pub administration: Arc<Administration>,
    /// Key of the codes that bind forms to browsers; the same after a restart.
    pub form_key: Vec<u8>,
    ground: Ground,
}

/// Why the services could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the store.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// The folder or the lock file could not be used, or others can.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// The store could not be used.
    #[error("{0}: {1}")]
    Store(String, #[source] StoreError),
    /// A key file could not be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Passwords could not be hashed with the configured parameters.
    #[error("password hashing: {0}")]
    Hashing(#[from] HashError),
    /// The file of regions could not be used.
    #[error("risk.regions_file: {0}")]
    Regions(#[from] maxminddb::MaxMindDbError),
    /// Keys cannot be asked for as configured.
    #[error("webauthn: {0}")]
    Webauthn(#[from] WebauthnError),
    /// The list of breached passwords could not be used.
    #[error("accounts.breach_list: {0}")]
    BreachList(#[from] BreachListError),
}

impl OpenError {
    /// Is a server away, which comes back by itself?
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Store(_, error) if error.is_away())
    }
}

impl Services {
    /// Opens the store and all that stands on it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: Arc<GatewayConfig>, clock: Clock) -> Result<Self, OpenError> {
        let ground = Ground::open(&config, &clock).await?;
        let certificates = Arc::new(ground.base(&clock).certificates());
        let services = Self::assemble(config, clock, ground, certificates);
        // Before anything is signed that another gate's keys could be asked for.
        let failed = |error| ground::redis_failed(&services.config, error);
        gates::attend(&services).await.map_err(failed)?;
        Ok(services)
    }

    /// Services by another configuration, over the same store and with all that these have in
    /// memory. Sessions go on by the rules of these until [`Self::take_effect`].
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed then.
    pub async fn again(&self, config: Arc<GatewayConfig>) -> Result<Self, OpenError> {
        let ground = self.ground.again(&config, &self.clock).await?;
        let certificates = Arc::clone(&self.certificates);
        Ok(Self::assemble(config, self.clock.clone(), ground, certificates))
    }

    /// Makes sessions, which are one memory under all configurations, follow this one from now on.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub async fn take_effect(&self) -> Result<(), StoreError> {
        self.sessions.follow(&self.config.session).await
    }

    fn assemble(
        config: Arc<GatewayConfig>,
        clock: Clock,
        ground: Ground,
        certificates: Arc<CertificateSessions>,
    ) -> Self {
        let base = ground.base(&clock);
        let Ground { stores, assertions, vault, messages, keys, form_key, .. } = &ground;
        let check = Arc::new(base.check(Arc::clone(&ground.stuffing)));
        let sealed = (Arc::clone(&stores.appeals), Arc::clone(vault));
        let appeals = Arc::new(base.appeals(&config.appeal, sealed));
        let administration =
            base.administration(Arc::clone(assertions), Arc::clone(vault), Arc::clone(&appeals));
        let administration = Arc::new(administration);
        let approvals = Arc::new(base.approvals(Arc::clone(&check)));
        let holds =
            Arc::new(Holds::new(&config.second_factor, Arc::clone(&stores.holds), clock.clone()));
        let factor_change = base.factor_change(Arc::clone(&approvals));
        let parts = (&approvals, &administration, &messages.codes);
        let per_phone = config.accounts.accounts_per_phone;
        let (address_change, account_centre) = base.centre(parts, per_phone);
        let recovery = base.recovery(parts, form_key, Arc::clone(&ground.sending));
        let password_change = base.password_change(Arc::clone(&check));
        let second = Arc::clone(&base.second);
        let common = (Arc::clone(&base.sessions), Arc::clone(&base.audit));
        let counts = (Arc::clone(&base.lockout), Arc::clone(&base.password_rules));
        let sign_in = Arc::new(base.sign_in(check));
        let passwordless = keys.as_ref().filter(|keys| keys.passwordless());
        let passkey_sign_in = passwordless
            .map(|keys| PasskeySignIn { keys: Arc::clone(keys), sign_in: Arc::clone(&sign_in) });
        Self {
            config,
            clock,
            sessions: common.0,
            assertions: Arc::clone(assertions),
            audit: common.1,
            lockout: counts.0,
            rate_limits: Arc::clone(&ground.rate_limits),
            captcha: Arc::clone(&ground.captcha),
            password_rules: counts.1,
            second,
            sign_in,
            keys: keys.clone(),
            passkey_sign_in,
            approvals,
            holds,
            factor_change,
            appeals,
            address_change,
            account_centre,
            recovery,
            password_change,
            certificates,
            notify: Arc::clone(&messages.notify),
            codes: Arc::clone(&messages.codes),
            alerts: Arc::clone(&messages.alerts),
            risk: Arc::clone(&messages.risk),
            administration,
            form_key: form_key.clone(),
            ground,
        }
    }

    /// Does the store answer?
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.ground.stores.ping().await
    }

    /// How long calls to each store take, by its name.
    pub fn store_timings(&self) -> impl Iterator<Item = (&'static str, &Timings)> {
        self.ground.stores.timings()
    }

    /// Writes activity behind, forgets what has expired, rotates keys, sends messages: for ever, by
    /// whatever services are the `current` ones by then.
    pub async fn maintain(current: impl Fn() -> Arc<Self>) {
        let notify = Notify::run(|| Arc::clone(&current().notify));
        tokio::join!(
            Self::keep_house(&current),
            gates::hear(&current),
            gates::read(&current),
            gates::tend(&current),
            notify
        );
    }

    async fn keep_house(current: impl Fn() -> Arc<Self>) {
        let mut flush = tokio::time::interval(FLUSH_EVERY);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        // A store that was slow is not asked for everything that it missed.
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = flush.tick() => {
                    if let Err(error) = current().sessions.flush().await {
                        tracing::error!(event = "store_write_failed", %error, "activity is kept in memory");
                    }
                }
                _ = sweep.tick() => current().sweep().await,
            }
        }
    }

    async fn sweep(&self) {
        match self.sessions.sweep().await {
            Ok(0) => {}
            Ok(count) => {
                let event = Event::new(EventKind::SessionExpired);
                self.audit.record(&event.with("count", count));
            }
            Err(error) => {
                tracing::error!(event = "store_write_failed", %error, "expired sessions stay in the store")
            }
        }
        if let Err(error) = self.lockout.sweep().await {
            tracing::error!(event = "store_write_failed", %error, "old guesses stay in the store");
        }
        for swept in [
            self.notify.sweep().await,
            self.codes.sweep().await,
            self.second.challenges.sweep().await,
            self.holds.sweep().await,
        ] {
            if let Err(error) = swept {
                tracing::error!(event = "store_write_failed", %error, "what is over stays in the store");
            }
        }
        if let Err(error) = self.appeals.sweep().await {
            tracing::error!(event = "store_write_failed", %error, "granted appeals wait");
        }
        self.certificates.sweep();
        let (assertions, sessions) = (Arc::clone(&self.assertions), Arc::clone(&self.sessions));
        let maintain = move || {
            sessions.each(|session| assertions.forget_old(session));
            assertions.maintain()
        };
        match tokio::task::spawn_blocking(maintain).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => self.audit.record(&Event::new(EventKind::KeyRotated)),
            Ok(Err(error)) => tracing::error!(event = "key_rotation_failed", %error),
            Err(error) => tracing::error!(event = "key_rotation_failed", %error),
        }
    }

    /// Writes what is still in memory and closes the store.
    pub async fn close(&self) {
        if let Err(error) = self.sessions.flush().await {
            tracing::error!(event = "store_write_failed", %error, "the last activity is lost");
        }
        self.audit.close().await;
        self.ground.stores.close().await;
    }
}

/// The secret of this name: 32 random bytes, made when it is first asked for.
async fn secret(accounts: &dyn AccountStore, name: &str) -> Result<Vec<u8>, StoreError> {
    let mut fresh = [0; 32];
    aws_lc_rs::rand::fill(&mut fresh).map_err(|error| StoreError::Failed(Box::new(error)))?;
    accounts.secret(name, &fresh).await
}
