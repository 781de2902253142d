//! Sign-in: a name and a password become a session.
//!
//! Known and unknown names are alike from outside: both cost one password hash, and every reason
//! to refuse somebody has the same answer. The reasons are told apart in the log only.
//!
//! A guess is counted before the password is looked at, and a password that cannot be counted is not
//! looked at; what is counted, and what follows, is `lockout`'s.
//!
//! Who needs a second factor gets no session yet: `second_step` has the rest.
//!
//! Not here: what a second factor is (`second_factor`).

mod second_step;

use std::sync::Arc;
use std::time::Duration;

use doorward_config::Secret;

use crate::account::PrincipalRecord;
use crate::account::name::NameKey;
use crate::account::password::{HashError, PasswordHasher, Verdict};
use crate::audit::{Audit, Event, EventKind};
use crate::clock::Clock;
use crate::lockout::GuessError;
use crate::notify::alerts::Occasion;
use crate::password_check::{Guesser, PasswordCheck, Right};
use crate::risk::{Arrival, Risk, SIGNED_IN};
use crate::second_factor::SecondFactors;
use crate::session::{BeginError, Evidence, LiveSession, Method, NewSession, Sessions};
use crate::store::{AccountStore, StoreError};

pub use second_step::{BindFirst, PendingSignIn, SecondStepError, Waiting};

/// What somebody typed.
#[derive(Debug)]
pub struct Credentials {
    /// Name of the account.
    pub account: String,
    /// Name of the sub-user; empty for the account itself.
    pub sub_user: String,
    /// The password.
    pub password: Secret,
}

/// Where a sign-in comes from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The host, or the cookie domain, at which the session is to be worth something.
    pub scope: &'a str,
    /// What the client says it is.
    pub device: &'a str,
    /// Who asks.
    pub guesser: Guesser<'a>,
    /// The session that the browser has now; it ends.
    pub session: Option<&'a LiveSession>,
}

/// What came of a sign-in.
#[derive(Debug)]
pub struct SignedIn {
    /// The token of the session.
    pub token: Secret,
    /// The session.
    pub session: Arc<LiveSession>,
    /// Value and life of the browser's new device cookie.
    pub device_cookie: Option<(String, Duration)>,
}

/// What a right password led to.
#[derive(Debug)]
pub enum Entered {
    /// A session.
    SignedIn(SignedIn),
    /// A sign-in that waits for its second factor.
    Waits(Waiting),
}

/// Why a sign-in produced no session.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Too many people are signing in, or are signed in.
    #[error("no place for another sign-in")]
    Busy,
    /// A captcha has to be solved first. Nothing was counted, and the password was not looked at.
    #[error("a captcha is needed")]
    Captcha,
    /// So much was guessed that nothing is looked at, for this time.
    #[error("too much was guessed")]
    Suspect(Duration),
    /// Wrong password, no such account, or one that is disabled: alike from outside.
    #[error("rejected")]
    Reject,
    /// Nothing is known about the credentials.
    #[error("sign-in is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<HashError> for SignInError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed => Self::Unavailable(Box::new(error)),
        }
    }
}

impl From<GuessError> for SignInError {
    fn from(error: GuessError) -> Self {
        match error {
            GuessError::Busy => Self::Busy,
            GuessError::Captcha => Self::Captcha,
            GuessError::Store(error) => error.into(),
        }
    }
}

impl From<BeginError> for SignInError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Full => Self::Busy,
            error => Self::Unavailable(Box::new(error)),
        }
    }
}

/// What a right password began.
enum Begun {
    Session(Secret, Arc<LiveSession>),
    Waits(Waiting),
}

/// Signs people in.
pub struct SignIn {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) hasher: Arc<PasswordHasher>,
    pub(crate) check: Arc<PasswordCheck>,
    pub(crate) second: Arc<SecondFactors>,
    pub(crate) risk: Arc<Risk>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) clock: Clock,
    /// Held while an account is looked at for the last time and its session begins, and while an
    /// administrator changes an account: a session cannot slip in behind a change.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl SignIn {
    /// Would an attempt be refused as [`SignInError::Busy`], whatever it says? Costs nothing, so that
    /// it can be asked before anything is read. Such an attempt is not logged.
    pub fn is_full(&self) -> bool {
        self.hasher.is_full()
    }

    /// How many passwords were compared with a principal's hash, right or wrong.
    pub fn passwords_checked(&self) -> u64 {
        self.hasher.checked()
    }

    /// How many passwords wait or are being hashed.
    pub fn passwords_waiting(&self) -> usize {
        self.hasher.waiting()
    }

    /// Verifies the password and begins a session with a new token, or asks for a second factor. The
    /// session that the browser had ends with the new one, so that nobody goes on in a session that
    /// somebody else put there.
    ///
    /// # Errors
    /// [`SignInError`]; no session has begun then.
    pub async fn attempt(
        &self,
        credentials: &Credentials,
        origin: Origin<'_>,
    ) -> Result<Entered, SignInError> {
        let key = NameKey::of(&credentials.account, &credentials.sub_user);
        let found = self.accounts.find(&key).await;
        let (result, known) = match found {
            Ok(found) => (self.enter(credentials, &origin, &key, found.as_ref()).await, found),
            Err(error) => (Err(error.into()), None),
        };
        match &result {
            Ok(Entered::SignedIn(signed_in)) => self.note_success(signed_in, origin.guesser),
            // Told when it is complete, or not.
            Ok(Entered::Waits(_)) => {}
            Err(error) => self.check.note_refused(error, known.as_ref(), origin.guesser),
        }
        result
    }

    async fn enter(
        &self,
        credentials: &Credentials,
        origin: &Origin<'_>,
        key: &NameKey,
        found: Option<&PrincipalRecord>,
    ) -> Result<Entered, SignInError> {
        let right = self.check.check(key, found, &credentials.password, origin.guesser).await?;
        let begun = self.begin(&right, credentials, origin).await?;
        Ok(match begun {
            Begun::Session(token, session) => {
                let device_cookie = self.check.settle(right, origin.guesser).await;
                Entered::SignedIn(SignedIn { token, session, device_cookie })
            }
            Begun::Waits(waiting) => {
                self.check.settle_half(right, origin.guesser).await;
                Entered::Waits(waiting)
            }
        })
    }

    /// Notes who signed in, and by what.
    fn note_success(&self, signed_in: &SignedIn, guesser: Guesser<'_>) {
        let (session, principal) = (&signed_in.session, signed_in.session.principal());
        let event = Event::new(EventKind::LoginSuccess).session(session.id);
        let event = event.principal(&principal.id).account(&principal.name);
        let factors: Vec<_> = session.evidence.iter().map(|one| one.method.as_str()).collect();
        let event = event.with("factor", factors.join(" "));
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
    }

    async fn begin(
        &self,
        Right { record, verdict, .. }: &Right,
        credentials: &Credentials,
        origin: &Origin<'_>,
    ) -> Result<Begun, SignInError> {
        let rehashed = match verdict {
            Verdict::RightButOld => self.hasher.hash(&credentials.password).await.ok(),
            Verdict::Right | Verdict::Wrong => None,
        };
        let _turn = self.turn.lock().await;
        // Hashing took its time: what was true before it need not be any more.
        let record = match self.accounts.find_id(&record.id).await? {
            Some(now) if now.is_active() && now.password_hash == record.password_hash => now,
            _ => return Err(SignInError::Reject),
        };
        let mut record = record;
        if let Some(hash) = rehashed {
            let was = Some(record.password_hash.as_str());
            self.accounts.set_password(&record.id, was, &hash).await?;
            record.password_hash = hash;
        }
        let evidence = vec![Evidence { method: Method::Password, at: self.clock.now() }];
        let asks = self.second.is_required(&record)
            && !self.second.trusts(&record, origin.guesser).await?;
        if asks || self.is_suspect(&record, origin).await? {
            return Ok(Begun::Waits(self.wait(&record, evidence).await?));
        }
        let (token, session) = self.begin_session(&record, evidence, origin).await?;
        Ok(Begun::Session(token, session))
    }

    pub(crate) async fn begin_session(
        &self,
        record: &PrincipalRecord,
        evidence: Vec<Evidence>,
        origin: &Origin<'_>,
    ) -> Result<(Secret, Arc<LiveSession>), BeginError> {
        let new = NewSession {
            principal: record,
            evidence,
            scope: origin.scope,
            device: origin.device,
            address: origin.guesser.address.to_string(),
            replaces: origin.session,
        };
        let (token, session) = self.sessions.begin(new).await?;
        // Another gate does not wait for the turn here. It may have set another password, or the
        // account's switch, and have ended all sessions, just before this one began.
        if self.sessions.are_shared() {
            let now = self.accounts.find_id(&record.id).await?;
            let is_same = |now: &PrincipalRecord| {
                now.is_active() && now.password_hash == record.password_hash
            };
            if !now.as_ref().is_some_and(is_same) {
                self.sessions.end(&[session]).await?;
                return Err(BeginError::Over);
            }
        }
        self.tell_unusual(record, origin).await;
        Ok((token, session))
    }

    /// Is the sign-in so unusual that whoever has a second factor is to give it? Of others it is not
    /// asked: whoever has stolen their password would bind one.
    async fn is_suspect(
        &self,
        record: &PrincipalRecord,
        origin: &Origin<'_>,
    ) -> Result<bool, StoreError> {
        if !self.risk.may_demand() {
            return Ok(false);
        }
        let arrival = self.arrival(record, origin).await?;
        let signals = self.risk.judge(&record.id, arrival).await?;
        Ok(self.risk.demands_second_factor(&signals) && !self.second.ways(record).await?.is_empty())
    }

    /// Remembers a sign-in that succeeded, and tells its owner what was unusual about it.
    async fn tell_unusual(&self, record: &PrincipalRecord, origin: &Origin<'_>) {
        let told = async {
            let arrival = self.arrival(record, origin).await?;
            let signals = self.risk.judge(&record.id, arrival).await?;
            self.risk.note(&record.id, arrival, SIGNED_IN).await?;
            let from = Occasion { device: origin.device, ..origin.guesser.into() };
            for signal in &signals {
                self.check.alerts.tell(record, signal.alert(), from).await;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = told.await {
            let principal = &record.id;
            tracing::error!(event = "store_write_failed", principal, %error, "a sign-in is not in the history");
        }
    }

    async fn arrival<'o>(
        &self,
        record: &PrincipalRecord,
        origin: &Origin<'o>,
    ) -> Result<Arrival<'o>, StoreError> {
        let Guesser { address, device_cookie, .. } = origin.guesser;
        let known_device = self.check.lockout.knows(device_cookie, &record.id).await?;
        Ok(Arrival { address, user_agent: origin.device, known_device })
    }
}

#[cfg(test)]
mod tests;
