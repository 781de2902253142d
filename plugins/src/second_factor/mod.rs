//! Second factors: when one is asked for, which ways there are, and what an answer proves.
//!
//! Every answer is counted twice before it is looked at: at its challenge, which ends after so many,
//! and at the account (`lockout`), whatever session or challenge it was given in. So neither many
//! challenges nor many sessions give more guesses.

mod way;

use std::sync::Arc;
use std::time::Duration;

use doorward_config::{SecondFactor as Rules, Secret};

use crate::account::PrincipalRecord;
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::webauthn::{Asked, KeyError, Keys};
use crate::authenticator::{AuthenticatorRecord, Authenticators, Kind};
use crate::challenge::{Challenge, Challenges, Purpose};
use crate::clock::{Clock, Timestamp};
use crate::code::{Codes, Destination, IssueError, Request};
use crate::language::Language;
use crate::lockout::{Admission, Attempt, Guess, GuessError, Lockout, TrustedDevice};
use crate::notify::Channel;
use crate::notify::alerts::{Alert, Alerts, Occasion};
use crate::password_check::Guesser;
use crate::session::{Evidence, Method};
use crate::store::StoreError;

pub use way::Way;

/// With so few recovery codes left their owner is told to make new ones.
const FEW_CODES: usize = 3;

/// What an answer proved.
pub struct Proven {
    /// How, and when.
    pub evidence: Evidence,
    /// How many recovery codes are left, if it was one of them.
    pub recovery_codes_left: Option<usize>,
    /// How it was counted at the account, if it could have been guessed.
    attempt: Option<Attempt>,
}

/// Why an answer proved nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// Too many answers wait already.
    #[error("too many answers at once")]
    Busy,
    /// The challenge is over: too many wrong answers, or too late. Nothing was looked at.
    #[error("the challenge is over")]
    Over,
    /// It is wrong, or was used before, or came when nobody's would have been accepted.
    #[error("wrong")]
    Wrong,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no code was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is nothing that it could be for.
    #[error("the challenge is over")]
    Over,
    /// It cannot be sent, or not now.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl From<GuessError> for ProveError {
    fn from(error: GuessError) -> Self {
        match error {
            // No captcha is ever asked for here.
            GuessError::Busy | GuessError::Captcha => Self::Busy,
            GuessError::Store(error) => Self::Store(error),
        }
    }
}

impl From<KeyError> for ProveError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Refused(_) | KeyError::Over | KeyError::Full => Self::Wrong,
            KeyError::Store(error) => Self::Store(error),
        }
    }
}

/// Asks for second factors.
pub struct SecondFactors {
    pub(crate) rules: Rules,
    /// Everybody's authenticators.
    pub authenticators: Arc<Authenticators>,
    /// What people were asked for.
    pub challenges: Arc<Challenges>,
    /// Everybody's security keys and passkeys; `None`: there are none here.
    pub keys: Option<Arc<Keys>>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) codes: Arc<Codes>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) clock: Clock,
}

impl SecondFactors {
    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Does this principal need a second factor at sign-in?
    pub fn is_required(&self, record: &PrincipalRecord) -> bool {
        record.protection.login || self.rules.requires(&record.groups)
    }

    /// In which ways can they give one? Strongest first; empty: they have bound nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ways(&self, record: &PrincipalRecord) -> Result<Vec<Way>, StoreError> {
        let held = self.authenticators.list(&record.id).await?;
        self.ways_of(record, &held)
    }

    /// The same where what they have bound is known already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ways_of(
        &self,
        record: &PrincipalRecord,
        held: &[AuthenticatorRecord],
    ) -> Result<Vec<Way>, StoreError> {
        let has = |kind| held.iter().any(|record| record.kind == kind);
        let mut ways = Vec::new();
        if self.keys.is_some() && has(Kind::Webauthn) {
            ways.push(Way::Webauthn);
        }
        if has(Kind::Totp) {
            ways.push(Way::Totp);
        }
        if record.phone.is_some() && self.codes.can(Channel::TextMessage) {
            ways.push(Way::TextMessage);
        }
        // Recovery codes stand in for a factor that was lost, and are none of their own.
        if !ways.is_empty() && self.authenticators.recovery_codes_left(held)?.unwrap_or(0) > 0 {
            ways.push(Way::RecoveryCode);
        }
        Ok(ways)
    }

    /// Looks at a code that was typed, or at what a key answered, in a browser that says it is
    /// `device`. A code is counted first, and used up if it is right. The owner is told of wrong
    /// ones, once for each challenge: whoever gave them knew the password, or has a session.
    ///
    /// # Errors
    /// [`ProveError`].
    pub async fn prove<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
        record: &PrincipalRecord,
        answer: (Way, &Secret),
        (guesser, device): (Guesser<'_>, &str),
    ) -> Result<Proven, ProveError> {
        let looked_at = self.look(challenge, record, answer, guesser).await;
        let from = Occasion { device, ..guesser.into() };
        match &looked_at {
            Ok(Proven { recovery_codes_left: Some(left), .. }) => {
                let event = Event::new(EventKind::RecoveryCodes).principal(&record.id);
                let event = event.account(&record.name).with("did", "used").with("left", left);
                self.audit.record(&event.from_request(guesser.address, guesser.request_id));
                let used = Alert::RecoveryCodeUsed { left: *left };
                self.alerts.tell(record, used, from).await;
                if *left <= FEW_CODES {
                    let few = Alert::FewRecoveryCodes { left: *left };
                    self.alerts.tell(record, few, from).await;
                }
            }
            Err(ProveError::Wrong) => {
                let failed = Alert::SecondFactorFailed;
                self.alerts.tell_once(&challenge.id, record, failed, from).await;
            }
            Ok(_) | Err(_) => {}
        }
        looked_at
    }

    async fn look<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
        record: &PrincipalRecord,
        (way, code): (Way, &Secret),
        guesser: Guesser<'_>,
    ) -> Result<Proven, ProveError> {
        if !self.challenges.count(challenge, self.rules.tries).await? {
            return Err(ProveError::Over);
        }
        let guess = match way {
            Way::Totp => Guess::Totp,
            Way::RecoveryCode => Guess::RecoveryCode,
            Way::TextMessage => Guess::TextMessage,
            Way::Webauthn => return self.prove_by_key(challenge, record, code, guesser).await,
            // It is no second factor.
            Way::Password => return Err(ProveError::Wrong),
        };
        let (name, cookie) = (record.name.key(), guesser.device_cookie);
        let turn = self.lockout.turn(guess, &name, Some(record), cookie, true).await?;
        let attempt = self.lockout.count(turn, true).await?;
        let mut proven = None;
        if attempt.admission == Admission::Check {
            proven = self.look_at(challenge, record, way, code).await?;
        }
        let Some((method, recovery_codes_left)) = proven else {
            self.note_wrong::<P>(record, &attempt, guess, guesser);
            return Err(ProveError::Wrong);
        };
        let evidence = Evidence { method, at: self.clock.now() };
        Ok(Proven { evidence, recovery_codes_left, attempt: Some(attempt) })
    }

    /// Sends a code by text message, for this challenge, to the number of the person's record.
    ///
    /// # Errors
    /// [`IssueError`]; nothing is sent then.
    pub async fn send_code<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
        record: &PrincipalRecord,
        (language, guesser): (Language, Guesser<'_>),
    ) -> Result<Duration, IssueError> {
        let place = record.phone.as_deref().and_then(Destination::phone);
        let (Some(place), Some(purpose)) = (place, P::CODE) else { return Err(IssueError::Unfit) };
        let Guesser { address, request_id, .. } = guesser;
        let bound_to = challenge.id.as_str();
        let request = Request { purpose, bound_to, language, address, request_id };
        self.codes.issue(&place, request).await
    }

    /// Somebody binds a factor anew: what was guessed at the one before says nothing about it.
    pub(crate) async fn forgive_all(&self, principal_id: &str, guess: Guess) {
        if let Err(error) = self.lockout.forgive_all(principal_id, guess).await {
            tracing::error!(event = "store_write_failed", %error, "wrong codes stay counted");
        }
    }

    /// Asks for one of the person's keys, for this challenge.
    ///
    /// # Errors
    /// [`ProveError::Wrong`] when there is none.
    pub async fn ask_for_key<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
    ) -> Result<Asked, ProveError> {
        let keys = self.keys.as_ref().ok_or(ProveError::Wrong)?;
        Ok(keys.ask(&challenge.principal_id, &challenge.bound_to).await?)
    }

    /// Looks at what a key answered. It is not counted at the account: nobody can guess it.
    async fn prove_by_key<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
        record: &PrincipalRecord,
        answer: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<Proven, ProveError> {
        let keys = self.keys.as_ref().ok_or(ProveError::Wrong)?;
        match keys.answer_to(&record.id, &challenge.bound_to, answer.expose()).await {
            Ok(used) => {
                let evidence = Evidence { method: used.method, at: self.clock.now() };
                Ok(Proven { evidence, recovery_codes_left: None, attempt: None })
            }
            Err(error) => {
                let event = Event::new(EventKind::SecondFactorFail).principal(&record.id);
                let event = event.account(&record.name).with("factor", Kind::Webauthn.as_str());
                let event = event.with("purpose", P::NAME).with("reason", &error);
                self.audit.record(&event.from_request(guesser.address, guesser.request_id));
                Err(error.into())
            }
        }
    }

    /// Counts a guess at codes that is looked at elsewhere; `None`: it must not be looked at.
    pub(crate) async fn count_guess(
        &self,
        record: &PrincipalRecord,
        guesser: Guesser<'_>,
    ) -> Result<Option<()>, ProveError> {
        let (name, cookie) = (record.name.key(), guesser.device_cookie);
        let turn = self.lockout.turn(Guess::Totp, &name, Some(record), cookie, true).await?;
        let attempt = self.lockout.count(turn, true).await?;
        self.note_locked(&attempt, Guess::Totp, guesser);
        Ok((attempt.admission == Admission::Check).then_some(()))
    }

    /// Looks at a code without a challenge: whoever gives it is signed in, and unbinds what made it.
    /// Counted at the account like any other.
    ///
    /// # Errors
    /// [`ProveError`].
    pub async fn prove_one(
        &self,
        record: &PrincipalRecord,
        authenticator: &AuthenticatorRecord,
        code: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<(), ProveError> {
        let (name, cookie) = (record.name.key(), guesser.device_cookie);
        let turn = self.lockout.turn(Guess::Totp, &name, Some(record), cookie, true).await?;
        let attempt = self.lockout.count(turn, true).await?;
        let held = std::slice::from_ref(authenticator);
        let right = attempt.admission == Admission::Check
            && self.authenticators.use_totp(held, code.expose()).await?.is_some();
        if !right {
            self.note_locked(&attempt, Guess::Totp, guesser);
            return Err(ProveError::Wrong);
        }
        self.forgive(attempt).await;
        Ok(())
    }

    /// What was proven signs somebody in. Gives the value of the browser's new device cookie and how
    /// long that holds, if browsers are to be known. `trusted`: what the browser says it is that is
    /// not to be asked next time.
    pub async fn settle(
        &self,
        proven: Proven,
        record: &PrincipalRecord,
        (guesser, trusted): (Guesser<'_>, Option<&str>),
    ) -> Option<(String, Duration)> {
        let known = match proven.attempt {
            Some(attempt) => self.lockout.succeed(attempt, guesser.device_cookie).await,
            None => self.lockout.know(&record.id, guesser.device_cookie).await,
        };
        let settled = async {
            let cookie = known?;
            let life = self.rules.trust_device_for;
            if let (Some((value, _)), Some(name), false) = (&cookie, trusted, life.is_zero()) {
                let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
                self.lockout.trust(&record.id, value, (&name, life)).await?;
                let event = Event::new(EventKind::DeviceTrusted).principal(&record.id);
                let event = event.account(&record.name);
                self.audit.record(&event.from_request(guesser.address, guesser.request_id));
            }
            Ok::<_, StoreError>(cookie)
        };
        settled.await.unwrap_or_else(|error| {
            tracing::error!(event = "store_write_failed", %error, "wrong codes stay counted");
            None
        })
    }

    /// Browsers that are not asked for this principal's second factor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trusted(
        &self,
        record: &PrincipalRecord,
    ) -> Result<Vec<TrustedDevice>, StoreError> {
        self.lockout.trusted(&record.id).await
    }

    /// From now on all are asked again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn distrust(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        self.lockout.distrust(&record.id).await
    }

    /// Need somebody who is to give a second factor at sign-in not give it in this browser?
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trusts(
        &self,
        record: &PrincipalRecord,
        guesser: Guesser<'_>,
    ) -> Result<bool, StoreError> {
        if self.rules.trust_device_for.is_zero() {
            return Ok(false);
        }
        self.lockout.trusts(&record.id, guesser.device_cookie).await
    }

    /// What was proven is for somebody who is signed in already.
    pub async fn settle_in_session(&self, proven: Proven) {
        if let Some(attempt) = proven.attempt {
            self.forgive(attempt).await;
        }
    }

    async fn forgive(&self, attempt: Attempt) {
        if let Err(error) = self.lockout.forgive(attempt).await {
            tracing::error!(event = "store_write_failed", %error, "wrong codes stay counted");
        }
    }

    async fn look_at<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
        record: &PrincipalRecord,
        way: Way,
        code: &Secret,
    ) -> Result<Option<(Method, Option<usize>)>, StoreError> {
        let held = self.authenticators.list(&record.id).await?;
        Ok(match way {
            Way::Totp => {
                let used = self.authenticators.use_totp(&held, code.expose()).await?;
                used.map(|_| (Method::Totp, None))
            }
            Way::RecoveryCode => {
                let left = self.authenticators.use_recovery_code(&held, code.expose()).await?;
                left.map(|left| (Method::RecoveryCode, Some(left)))
            }
            Way::TextMessage => {
                let Some(purpose) = P::CODE else { return Ok(None) };
                let sent_to = self.codes.verify(purpose, &challenge.id, code).await?;
                // A code that went to another number, which was changed since, proves nothing.
                let phone = record.phone.as_deref();
                let right = sent_to.is_some_and(|place| Some(place.as_str()) == phone);
                right.then_some((Method::TextMessage, None))
            }
            Way::Webauthn | Way::Password => None,
        })
    }

    fn note_wrong<P: Purpose>(
        &self,
        record: &PrincipalRecord,
        attempt: &Attempt,
        guess: Guess,
        guesser: Guesser<'_>,
    ) {
        let event = Event::new(EventKind::SecondFactorFail).principal(&record.id);
        let event = event.account(&record.name).with("factor", guess.as_str());
        let event = event.with("purpose", P::NAME);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        self.note_locked(attempt, guess, guesser);
    }

    fn note_locked(&self, attempt: &Attempt, guess: Guess, guesser: Guesser<'_>) {
        for (kind, so) in [
            (EventKind::LoginLock, self.lockout.locks(attempt)),
            (EventKind::AuthenticatorDisabled, self.lockout.disables(attempt)),
        ] {
            if so {
                let event = attempt.describe(Event::new(kind).with("factor", guess.as_str()));
                self.audit.record(&event.from_request(guesser.address, guesser.request_id));
            }
        }
    }
}

/// Was one of these factors proven at most this long ago?
pub fn is_fresh(
    evidence: &[Evidence],
    accepts: impl Fn(Method) -> bool,
    max_age: Duration,
    now: Timestamp,
) -> bool {
    // A time that lies ahead was written by a clock that was set back since, and proves nothing.
    let young = |one: &&Evidence| one.at <= now && now.since(one.at) < max_age;
    evidence.iter().filter(young).any(|one| accepts(one.method))
}

#[cfg(test)]
pub(crate) mod tests;
