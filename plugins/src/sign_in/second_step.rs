//! The second step of a sign-in: a right password waits for a second factor.
//!
//! What waits is a challenge that only the browser with its token can meet. Nothing else of the gate
//! takes that token: whoever has not given the second factor has no session.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_config::Secret;
use serde::{Deserialize, Serialize};

use super::{Origin, SignIn, SignInError, SignedIn};
use crate::account::PrincipalRecord;
use crate::audit::{Event, EventKind};
use crate::authenticator::binding::{self, BindTotp, BindTotpError};
use crate::authenticator::totp::Seed;
use crate::authenticator::webauthn::Asked;
use crate::challenge::{Challenge, Purpose};
use crate::code;
use crate::language::Language;
use crate::lockout::Guess;
use crate::notify::alerts::{Alert, Occasion};
use crate::password_check::Guesser;
use crate::second_factor::{ProveError, SendError, Way};
use crate::session::token;
use crate::session::{BeginError, Evidence, Method};
use crate::store::StoreError;

/// A sign-in that waits for its second factor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// What was proven already.
    pub evidence: Vec<Evidence>,
    /// Stands for the password that it was proven with: if that is changed meanwhile, or the account
    /// is, it is over.
    mark: String,
}

impl Purpose for PendingSignIn {
    const NAME: &'static str = "sign-in";
    const CODE: Option<code::Purpose> = Some(code::Purpose::SignIn);
}

/// What the browser of such a sign-in gets.
#[derive(Debug)]
pub struct Waiting {
    /// The token that alone can go on with it.
    pub token: Secret,
    /// How long that is good for.
    pub life: Duration,
    /// In which ways it can be completed, strongest first. Empty: by binding an app first.
    pub ways: Vec<Way>,
}

/// An app has to be bound first.
#[derive(Clone)]
pub struct BindFirst {
    /// What the app is bound with.
    pub seed: Seed,
    /// Whose it will be.
    pub record: PrincipalRecord,
}

/// Why the second step led to no session.
#[derive(Debug, thiserror::Error)]
pub enum SecondStepError {
    /// An app cannot be bound here: there is another way already, or too many are bound.
    #[error("nothing can be bound here")]
    CannotBind,
    /// Too many people are signing in, or are signed in.
    #[error("no place for another sign-in")]
    Busy,
    /// There is no such sign-in, or it is over: it has to be begun anew.
    #[error("the sign-in is over")]
    Over,
    /// Nothing is known about what was given.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was given is wrong.
    #[error("wrong")]
    Wrong,
}

impl From<ProveError> for SecondStepError {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Busy => Self::Busy,
            ProveError::Over => Self::Over,
            ProveError::Wrong => Self::Wrong,
            ProveError::Store(error) => Self::Store(error),
        }
    }
}

impl From<BeginError> for SecondStepError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Store(error) => Self::Store(error),
            BeginError::Full => Self::Busy,
            BeginError::Over => Self::Over,
            error @ BeginError::Randomness => Self::Store(StoreError::Failed(Box::new(error))),
        }
    }
}

impl SignIn {
    /// Begins to wait.
    pub(super) async fn wait(
        &self,
        record: &PrincipalRecord,
        evidence: Vec<Evidence>,
    ) -> Result<Waiting, SignInError> {
        let issued = token::issue();
        let (token, hash) = issued.map_err(|error| SignInError::Unavailable(Box::new(error)))?;
        let ways = self.second.ways(record).await?;
        let life = self.second.rules().lifetime;
        let pending = PendingSignIn { evidence, mark: mark(record) };
        let bound_to = URL_SAFE_NO_PAD.encode(hash);
        self.second.challenges.begin(&record.id, &bound_to, pending, life).await?;
        Ok(Waiting { token, life, ways })
    }

    /// The sign-in that waits for the browser with this token, and whose it is.
    ///
    /// # Errors
    /// [`SecondStepError::Over`] when there is none, or what it stands on has changed.
    pub async fn waiting(
        &self,
        token: &str,
    ) -> Result<(Challenge<PendingSignIn>, PrincipalRecord), SecondStepError> {
        let hash = token::hash(token.as_bytes()).ok_or(SecondStepError::Over)?;
        let bound_to = URL_SAFE_NO_PAD.encode(hash);
        let found = self.second.challenges.latest::<PendingSignIn>(&bound_to).await?;
        let challenge = found.ok_or(SecondStepError::Over)?;
        let record = self.accounts.find_id(&challenge.principal_id).await?;
        let same =
            |record: &PrincipalRecord| record.is_active() && mark(record) == challenge.state.mark;
        let record = record.filter(same).ok_or(SecondStepError::Over)?;
        Ok((challenge, record))
    }

    /// Sends a code by text message for a sign-in that waits.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub async fn send_code(
        &self,
        token: &str,
        language: Language,
        guesser: Guesser<'_>,
    ) -> Result<Duration, SendError> {
        let waiting = self.waiting(token).await;
        let (challenge, record) = waiting.map_err(|error| match error {
            SecondStepError::Store(error) => SendError::Issue(error.into()),
            _ => SendError::Over,
        })?;
        Ok(self.second.send_code(&challenge, &record, (language, guesser)).await?)
    }

    /// Completes a sign-in by a code. If the person `trusts` their browser, it is not asked for one
    /// next time, where the configuration lets them.
    ///
    /// # Errors
    /// [`SecondStepError`]; no session has begun then.
    pub async fn complete_by_code(
        &self,
        token: &str,
        answer: (Way, &Secret),
        (origin, trusts): (&Origin<'_>, bool),
    ) -> Result<SignedIn, SecondStepError> {
        let (challenge, record) = self.waiting(token).await?;
        let guesser = origin.guesser;
        let asked = (guesser, origin.device);
        let proven = self.second.prove(&challenge, &record, answer, asked).await?;
        let mut signed_in = self.complete(&challenge, proven.evidence, origin).await?;
        let trusted = trusts.then_some(origin.device);
        signed_in.device_cookie = self.second.settle(proven, &record, (guesser, trusted)).await;
        Ok(signed_in)
    }

    /// Asks for one of the person's keys.
    ///
    /// # Errors
    /// [`SecondStepError`].
    pub async fn ask_for_key(&self, token: &str) -> Result<Asked, SecondStepError> {
        let (challenge, _) = self.waiting(token).await?;
        Ok(self.second.ask_for_key(&challenge).await?)
    }

    /// Completes a sign-in by what was proven besides. Of several that try, one does.
    ///
    /// # Errors
    /// [`SecondStepError`]; no session has begun then.
    pub async fn complete(
        &self,
        challenge: &Challenge<PendingSignIn>,
        proven: Evidence,
        origin: &Origin<'_>,
    ) -> Result<SignedIn, SecondStepError> {
        let _turn = self.turn.lock().await;
        let record = self.accounts.find_id(&challenge.principal_id).await?;
        let same =
            |record: &PrincipalRecord| record.is_active() && mark(record) == challenge.state.mark;
        let record = record.filter(same).ok_or(SecondStepError::Over)?;
        if !self.second.challenges.take(challenge).await? {
            return Err(SecondStepError::Over);
        }
        let mut evidence = challenge.state.evidence.clone();
        evidence.push(proven);
        let (token, session) = self.begin_session(&record, evidence, origin).await?;
        let signed_in = SignedIn { token, session, device_cookie: None };
        self.note_success(&signed_in, origin.guesser);
        Ok(signed_in)
    }

    /// What somebody binds who needs a second factor and has none.
    ///
    /// # Errors
    /// [`SecondStepError::CannotBind`] when they have one: nobody binds another instead of giving it.
    pub async fn bind_first(&self, token: &str) -> Result<BindFirst, SecondStepError> {
        let (challenge, record) = self.waiting(token).await?;
        let bind = self.binding(&challenge, &record).await?;
        Ok(BindFirst { seed: bind.state.seed, record })
    }

    /// Binds an app by two codes in a row, which completes the sign-in as well.
    ///
    /// # Errors
    /// [`SecondStepError`]; no session has begun then. The app may be bound nevertheless.
    pub async fn complete_by_binding(
        &self,
        token: &str,
        named: (&str, [&str; 2]),
        origin: &Origin<'_>,
    ) -> Result<SignedIn, SecondStepError> {
        let (challenge, record) = self.waiting(token).await?;
        let bind = self.binding(&challenge, &record).await?;
        let second = &self.second;
        let parts = (&*second.challenges, &*second.authenticators);
        let bound = binding::finish(parts, &bind, &record, named, second.rules().tries).await;
        let bound = bound.map_err(|error| match error {
            BindTotpError::Full => SecondStepError::CannotBind,
            BindTotpError::Over => SecondStepError::Over,
            BindTotpError::Store(error) => SecondStepError::Store(error),
            BindTotpError::Wrong => SecondStepError::Wrong,
        })?;
        self.second.forgive_all(&record.id, Guess::Totp).await;
        let event = Event::new(EventKind::FactorAdded).principal(&record.id).account(&record.name);
        let event = event.with("factor", bound.kind.as_str()).with("authenticator", &bound.id);
        let Guesser { address, request_id, .. } = origin.guesser;
        self.audit.record(&event.from_request(address, request_id));
        let from = Occasion { device: origin.device, ..origin.guesser.into() };
        let added = Alert::FactorAdded { factor: &bound.name };
        self.check.alerts.tell(&record, added, from).await;
        let proven = Evidence { method: Method::Totp, at: self.clock.now() };
        self.complete(&challenge, proven, origin).await
    }

    async fn binding(
        &self,
        challenge: &Challenge<PendingSignIn>,
        record: &PrincipalRecord,
    ) -> Result<Challenge<BindTotp>, SecondStepError> {
        if !self.second.ways(record).await?.is_empty() {
            return Err(SecondStepError::CannotBind);
        }
        let life = self.second.rules().lifetime;
        let bound_to = &challenge.bound_to;
        Ok(binding::begin(&self.second.challenges, &record.id, bound_to, life).await?)
    }
}

/// Stands for the password of a principal, and leads back to nothing.
fn mark(record: &PrincipalRecord) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, record.password_hash.as_bytes()))
}
