//! A new password for one that was forgotten, and the names of accounts that were.
//!
//! Anybody may begin, so nothing of it is kept before a code has come back: what is under way is a
//! ticket in the browser. Codes are sent behind the answer, and what is shown for a name that nobody
//! has looks like the rest ([`Masks`]), so that neither tells a stranger who exists.
//!
//! A code proves the way to a person. Where a sign-in needs a second factor, so does this: a bound
//! one, a recovery code, or a code by another kind of channel (NIST SP 800-63B-4 §4.2.2.2). A new
//! password ends all sessions and signs nobody in: the next sign-in asks for what it always asks.
//!
//! Bounds: [`SENDING_MAX`] codes on their way into the outbox; codes have limits of their own.
//! Not here: the captcha that comes first, and the limits of clients (the portal asks for them).

mod mask;
mod names;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_config::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::account::address::AddressKind;
use crate::account::name::NameKey;
use crate::account::password::{HashError, PasswordHasher};
use crate::account::rules::{PasswordRules, RuleError, Weakness};
use crate::account::{PrincipalRecord, fresh_id};
use crate::administration::{AdminError, Administration};
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::webauthn;
use crate::challenge::{Challenge, Purpose, Ticket};
use crate::code::{self, Codes, Destination, IssueError, Request};
use crate::language::Language;
use crate::lockout::Guess;
use crate::lockout::Lockout;
use crate::notify::Channel;
use crate::notify::alerts::{Alert, Alerts};
use crate::password_check::Guesser;
use crate::second_factor::{ProveError, SecondFactors, Way};
use crate::store::{AccountStore, StoreError};

pub use mask::{Masks, Shown};

/// How many codes may be on their way into the outbox at once.
pub(crate) const SENDING_MAX: usize = 64;

/// Why a step led to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Too much is under way already.
    #[error("too much at once")]
    Busy,
    /// It has to be begun anew.
    #[error("the recovery is over")]
    Over,
    /// This is no address that a code could go to.
    #[error("this is no address")]
    Malformed,
    /// A second factor is needed besides, and none that differs from the code is bound.
    #[error("no second factor that would do is bound")]
    NoFactor,
    /// A second factor is needed first.
    #[error("a second factor is needed")]
    SecondFactor,
    /// This client had too many codes.
    #[error("too many codes")]
    TooOften(Duration),
    /// The new password is not to be had.
    #[error(transparent)]
    Weak(Weakness),
    /// The code is wrong.
    #[error("wrong")]
    Wrong,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ProveError> for RecoveryError {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Busy => Self::Busy,
            ProveError::Over => Self::Over,
            ProveError::Wrong => Self::Wrong,
            ProveError::Store(error) => Self::Store(error),
        }
    }
}

impl From<IssueError> for RecoveryError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::TooOften(after) => Self::TooOften(after),
            IssueError::Spent => Self::Over,
            IssueError::Unfit => Self::NoFactor,
            IssueError::Unavailable(error) => Self::Store(StoreError::Failed(error)),
        }
    }
}

impl From<RuleError> for RecoveryError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Weak(weakness) => Self::Weak(weakness),
            error @ RuleError::Unavailable(_) => Self::Store(StoreError::Failed(Box::new(error))),
        }
    }
}

impl From<HashError> for RecoveryError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            error @ HashError::Failed => Self::Store(StoreError::Failed(Box::new(error))),
        }
    }
}

impl From<AdminError> for RecoveryError {
    fn from(error: AdminError) -> Self {
        Self::Store(StoreError::Failed(Box::new(error)))
    }
}

/// A recovery before its code has come back. The browser keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// `None`: nobody has the name.
    principal_id: Option<String>,
    /// What is shown.
    pub shown: Vec<Shown>,
    /// What codes are bound to.
    code_id: String,
    /// Where the code went.
    chosen: Option<AddressKind>,
}

impl Purpose for Asked {
    const NAME: &'static str = "recover";
}

/// A recovery whose code has come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recovering {
    /// Stands for the password that was forgotten: if it is changed meanwhile, this is over.
    mark: String,
    /// By which channel the code came.
    by: AddressKind,
    /// A second factor was given as well.
    second: bool,
}

impl Purpose for Recovering {
    const NAME: &'static str = "recovering";
    const CODE: Option<code::Purpose> = Some(code::Purpose::ResetPassword);
}

/// A recovery that goes on, and what it needs before a new password.
pub struct Open {
    /// Its owner.
    pub record: PrincipalRecord,
    /// In which ways the second factor can be given that is needed, strongest first; empty: none is.
    pub ways: Vec<Way>,
    challenge: Challenge<Recovering>,
}

/// Gives new passwords for forgotten ones.
pub struct Recovery {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) second: Arc<SecondFactors>,
    pub(crate) codes: Arc<Codes>,
    pub(crate) administration: Arc<Administration>,
    pub(crate) rules: Arc<PasswordRules>,
    pub(crate) hasher: Arc<PasswordHasher>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) masks: Masks,
    pub(crate) places: Arc<Semaphore>,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Recovery {
    /// Can codes be sent at all?
    pub fn is_offered(&self) -> bool {
        self.codes.can(Channel::TextMessage) || self.codes.can(Channel::Email)
    }

    /// Begins for a name, in a browser: gives a ticket, and the channels to choose from. None: no
    /// codes are sent here.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn begin(
        &self,
        (account, sub_user): (&str, &str),
        browser: &str,
        guesser: Guesser<'_>,
    ) -> Result<(String, Vec<Shown>), RecoveryError> {
        let name = NameKey::of(account, sub_user);
        let found = self.accounts.find(&name).await?.filter(PrincipalRecord::is_active);
        let can = |kind: AddressKind| {
            self.codes.can(match kind {
                AddressKind::Phone => Channel::TextMessage,
                AddressKind::Email | AddressKind::SecurityEmail => Channel::Email,
            })
        };
        let shown = self.masks.shown(&name, found.as_ref(), can);
        let event = Event::new(EventKind::RecoveryAsked).with("known", found.is_some());
        let event = match &found {
            Some(record) => event.principal(&record.id).account(&record.name),
            None => event,
        };
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        let asked = Asked {
            principal_id: found.map(|record| record.id),
            shown: shown.clone(),
            code_id: id()?,
            chosen: None,
        };
        Ok((self.write(browser, asked)?, shown))
    }

    /// Sends a code by this channel, behind the answer. Gives another ticket.
    ///
    /// # Errors
    /// [`RecoveryError`], for names that nobody has as well.
    pub async fn send(
        &self,
        (ticket, browser): (&str, &str),
        channel: AddressKind,
        (language, guesser): (Language, Guesser<'_>),
    ) -> Result<String, RecoveryError> {
        let mut asked: Asked = self.read(ticket, browser)?;
        if !asked.shown.iter().any(|shown| shown.channel == channel) {
            return Err(RecoveryError::Over);
        }
        asked.chosen = Some(channel);
        let (accounts, found) = (Arc::clone(&self.accounts), asked.principal_id.clone());
        let place = async move {
            let record = accounts.find_id(found.as_deref().unwrap_or_default()).await?;
            let record = record.filter(PrincipalRecord::is_active);
            Ok(record.and_then(|record| channel.read(channel.of(&record)?)))
        };
        let of = (code::Purpose::ResetPassword, asked.code_id.clone());
        self.send_behind(place, of, (language, guesser)).await?;
        self.write(browser, asked)
    }

    /// Puts a code into the outbox, if there is somewhere to send it, while the answer is on its
    /// way: nobody learns which from how long it takes.
    async fn send_behind(
        &self,
        place: impl Future<Output = Result<Option<Destination>, StoreError>> + Send + 'static,
        (purpose, bound_to): (code::Purpose, String),
        (language, guesser): (Language, Guesser<'_>),
    ) -> Result<(), RecoveryError> {
        self.codes.admit(guesser.address, guesser.request_id).await?;
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| RecoveryError::Busy)?;
        let (codes, address) = (Arc::clone(&self.codes), guesser.address);
        let request_id = guesser.request_id.to_owned();
        tokio::spawn(async move {
            let _permit = permit;
            let (bound_to, request_id) = (&*bound_to, &*request_id);
            let request = Request { purpose, bound_to, language, address, request_id };
            let sent = match place.await {
                Ok(Some(place)) => codes.send(&place, request).await.map(drop),
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = sent {
                tracing::warn!(event = "code_not_sent", %error, request_id);
            }
        });
        Ok(())
    }

    /// Takes the code. Gives the token by which the recovery goes on.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn verify(
        &self,
        (ticket, browser): (&str, &str),
        code: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<(String, Open), RecoveryError> {
        let asked: Asked = self.read(ticket, browser)?;
        let by = asked.chosen.ok_or(RecoveryError::Over)?;
        let proved = self.codes.verify(code::Purpose::ResetPassword, &asked.code_id, code).await?;
        let found =
            self.accounts.find_id(asked.principal_id.as_deref().unwrap_or_default()).await?;
        // A code that went to another address, which was changed since, proves nothing.
        let reaches = |record: &PrincipalRecord| {
            let place = by.of(record).and_then(|address| by.read(address));
            record.is_active() && place.is_some() && place == proved
        };
        let Some(record) = found.clone().filter(reaches) else {
            let event = Event::new(EventKind::RecoveryFail).with("known", found.is_some());
            let event = match &found {
                Some(record) => event.principal(&record.id).account(&record.name),
                None => event,
            };
            self.audit.record(&event.from_request(guesser.address, guesser.request_id));
            return Err(RecoveryError::Wrong);
        };
        let token = id()?;
        let state = Recovering { mark: mark(&record), by, second: false };
        let (life, place) = (self.second.rules().lifetime, place(&token, browser));
        let challenge = self.second.challenges.begin(&record.id, &place, state, life).await?;
        let ways = self.missing(&record, &challenge.state).await?;
        Ok((token, Open { record, ways, challenge }))
    }

    /// The recovery of this token.
    ///
    /// # Errors
    /// [`RecoveryError::Over`] when there is none.
    pub async fn open(&self, token: &str, browser: &str) -> Result<Open, RecoveryError> {
        let found = self.second.challenges.latest::<Recovering>(&place(token, browser)).await?;
        let challenge = found.ok_or(RecoveryError::Over)?;
        let found = self.accounts.find_id(&challenge.principal_id).await?;
        let same =
            |record: &PrincipalRecord| record.is_active() && mark(record) == challenge.state.mark;
        let record = found.filter(same).ok_or(RecoveryError::Over)?;
        let ways = self.missing(&record, &challenge.state).await?;
        Ok(Open { record, ways, challenge })
    }

    /// Sends a code by text message as the second factor, where the first came by e-mail.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn send_second(
        &self,
        open: &Open,
        asking: (Language, Guesser<'_>),
    ) -> Result<Duration, RecoveryError> {
        if !open.ways.contains(&Way::TextMessage) {
            return Err(RecoveryError::NoFactor);
        }
        Ok(self.second.send_code(&open.challenge, &open.record, asking).await?)
    }

    /// Asks for one of the person's keys.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn ask_for_key(&self, open: &Open) -> Result<webauthn::Asked, RecoveryError> {
        if !open.ways.contains(&Way::Webauthn) {
            return Err(RecoveryError::NoFactor);
        }
        Ok(self.second.ask_for_key(&open.challenge).await?)
    }

    /// Takes a second factor.
    ///
    /// # Errors
    /// [`RecoveryError`].
    pub async fn prove(
        &self,
        mut open: Open,
        answer: (Way, &Secret),
        from: (Guesser<'_>, &str),
    ) -> Result<Open, RecoveryError> {
        if !open.ways.contains(&answer.0) {
            return Err(RecoveryError::Wrong);
        }
        let proven = self.second.prove(&open.challenge, &open.record, answer, from).await?;
        open.challenge.state.second = true;
        if !self.second.challenges.replace(&mut open.challenge).await? {
            return Err(RecoveryError::Over);
        }
        self.second.settle_in_session(proven).await;
        Ok(Open { ways: Vec::new(), ..open })
    }

    /// Sets the new password. All sessions end, wrong passwords are forgiven, and nobody is signed
    /// in.
    ///
    /// # Errors
    /// [`RecoveryError`]; the password is the old one then. Sessions may have ended.
    pub async fn finish(
        &self,
        open: &Open,
        password: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<(), RecoveryError> {
        let Open { record, challenge, ways } = open;
        if !ways.is_empty() {
            return Err(RecoveryError::SecondFactor);
        }
        self.rules.verify_new(password, record).await?;
        let hash = self.hasher.hash(password).await?;
        {
            let _turn = self.turn.lock().await;
            // Hashing took its time.
            let now = self.accounts.find_id(&record.id).await?;
            let now = now.filter(|now| now.is_active() && mark(now) == challenge.state.mark);
            let now = now.ok_or(RecoveryError::Over)?;
            if !self.second.challenges.take(challenge).await? {
                return Err(RecoveryError::Over);
            }
            self.administration.end_all(&record.id).await?;
            self.accounts.set_password(&record.id, Some(&now.password_hash), &hash).await?;
        }
        // Guesses at second factors stay counted: this is no way to have more of them.
        if let Err(error) = self.lockout.lift_kind(&record.id, Guess::Password).await {
            tracing::error!(event = "store_write_failed", %error, "wrong passwords stay counted");
        }
        let event = Event::new(EventKind::PasswordChange).principal(&record.id);
        let event = event.account(&record.name).with("by", "recovery");
        let event = event.with("channel", challenge.state.by.as_str());
        let event = event.with("second_factor", challenge.state.second);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        self.alerts.tell(record, Alert::PasswordChanged, guesser.into()).await;
        Ok(())
    }

    /// In which ways the second factor can be given that is still needed; empty: none is. Whoever
    /// needs one at sign-in and has never bound any binds it there, after the new password.
    async fn missing(
        &self,
        record: &PrincipalRecord,
        state: &Recovering,
    ) -> Result<Vec<Way>, RecoveryError> {
        if state.second || !self.second.is_required(record) {
            return Ok(Vec::new());
        }
        let mut ways = self.second.ways(record).await?;
        if ways.is_empty() {
            return Ok(ways);
        }
        // Two codes by one channel prove one thing.
        ways.retain(|way| *way != Way::TextMessage || state.by != AddressKind::Phone);
        if ways.is_empty() { Err(RecoveryError::NoFactor) } else { Ok(ways) }
    }

    fn write<P: Purpose>(&self, browser: &str, state: P) -> Result<String, RecoveryError> {
        // Time to read a mail, and then to go on.
        let life = self.codes.life(code::Purpose::ResetPassword, Channel::Email);
        let life = life + self.second.rules().lifetime;
        Ok(self.second.challenges.write_ticket(browser, state, life)?)
    }

    fn read<P: Purpose>(&self, ticket: &str, browser: &str) -> Result<P, RecoveryError> {
        let read = self.second.challenges.read_ticket::<P>(ticket, browser);
        read.map(|ticket: Ticket<P>| ticket.state).ok_or(RecoveryError::Over)
    }
}

fn id() -> Result<String, StoreError> {
    fresh_id().map_err(|error| StoreError::Failed(Box::new(error)))
}

/// Where a recovery is looked for: by its token, in its browser.
fn place(token: &str, browser: &str) -> String {
    let hash = digest(&SHA256, format!("{token}\0{browser}").as_bytes());
    format!("recovery {}", URL_SAFE_NO_PAD.encode(hash))
}

/// Stands for the password of a principal, and leads back to nothing.
fn mark(record: &PrincipalRecord) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, record.password_hash.as_bytes()))
}
