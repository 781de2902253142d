//! A person's change of their own password. It needs the present one, which is counted as a guess:
//! a session that somebody left open must not be a place to try passwords.

use std::sync::Arc;
use std::time::Duration;

use doorward_config::Secret;

use crate::account::password::PasswordHasher;
use crate::account::rules::{PasswordRules, RuleError, Weakness};
use crate::audit::{Audit, Event, EventKind};
use crate::lockout::{Guess, Lockout};
use crate::notify::alerts::Alert;
use crate::password_check::{Guesser, PasswordCheck};
use crate::second_factor::SecondFactors;
use crate::session::{LiveSession, Sessions};
use crate::sign_in::SignInError;
use crate::store::{AccountStore, StoreError};

/// What a person asks for.
#[derive(Debug)]
pub struct NewPassword {
    /// The one that they have.
    pub current: Secret,
    /// The one that they want.
    pub new: Secret,
    /// End their other sessions, and forget their other browsers?
    pub end_others: bool,
}

/// Why a password stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The present one was not accepted.
    #[error(transparent)]
    Check(#[from] SignInError),
    /// The session has to prove once more who it is.
    #[error("not fresh enough")]
    Stale,
    /// The new one is not to be had.
    #[error(transparent)]
    Weak(Weakness),
}

impl From<RuleError> for ChangeError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Weak(weakness) => Self::Weak(weakness),
            error @ RuleError::Unavailable(_) => {
                Self::Check(SignInError::Unavailable(Box::new(error)))
            }
        }
    }
}

/// Changes passwords.
pub struct PasswordChange {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) hasher: Arc<PasswordHasher>,
    pub(crate) rules: Arc<PasswordRules>,
    pub(crate) check: Arc<PasswordCheck>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) second: Arc<SecondFactors>,
    pub(crate) audit: Arc<Audit>,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl PasswordChange {
    /// May this session change the password of whoever it is for, by their password alone?
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn may_change(&self, session: &LiveSession) -> Result<bool, SignInError> {
        let found = self.accounts.find_id(&session.principal().id).await?;
        let record = found.ok_or(SignInError::Reject)?;
        // A factor that is bound guards the password too. Who has none gives the password itself.
        Ok(!self.second.has_bound(&record).await?
            || self.second.may_change_account(&session.evidence, &record).await?)
    }

    /// Changes the password of whoever this session is for. The session goes on. Gives the value of
    /// the browser's new device cookie and how long that holds.
    ///
    /// # Errors
    /// [`ChangeError`]; the password is the old one then. Other sessions may have ended.
    pub async fn change(
        &self,
        session: &LiveSession,
        password: &NewPassword,
        guesser: Guesser<'_>,
    ) -> Result<Option<(String, Duration)>, ChangeError> {
        let unavailable = SignInError::from;
        let id = &session.principal().id;
        let found = self.accounts.find_id(id).await.map_err(unavailable)?;
        let record = found.ok_or(SignInError::Reject)?;
        if !self.may_change(session).await? {
            return Err(ChangeError::Stale);
        }
        // Then, as it costs no guess.
        self.rules.verify_new(&password.new, &record).await?;
        let key = record.name.key();
        let checked = self.check.check(&key, Some(&record), &password.current, guesser).await;
        let right = checked.inspect_err(|error| {
            self.check.note_refused(error, Some(&record), guesser);
        })?;
        let hash = self.hasher.hash(&password.new).await.map_err(SignInError::from)?;
        {
            let _turn = self.turn.lock().await;
            // Hashing took its time: an administrator may have set another one, or ended the session.
            match self.accounts.find_id(id).await.map_err(unavailable)? {
                Some(now) if now.is_active() && now.password_hash == right.record.password_hash => {
                }
                _ => return Err(SignInError::Reject.into()),
            }
            if session.active().is_none() {
                return Err(SignInError::Reject.into());
            }
            // Before the password: whoever is told of a failure still has the old one.
            if password.end_others {
                self.end_others(session).await.map_err(unavailable)?;
                self.lockout.forget_devices(id).await.map_err(unavailable)?;
            }
            let was = Some(right.record.password_hash.as_str());
            self.accounts.set_password(id, was, &hash).await.map_err(unavailable)?;
            // Those that began at other gates meanwhile; what begins from here on knows the new one.
            if password.end_others && self.sessions.are_shared() {
                self.end_others(session).await.map_err(unavailable)?;
            }
        }
        // What was guessed at the old one says nothing about the new one, which holds already; what
        // was guessed at other factors stays.
        if let Err(error) = self.lockout.lift_kind(id, Guess::Password).await {
            tracing::error!(event = "store_write_failed", %error, "wrong passwords stay counted");
        }
        let event = Event::new(EventKind::PasswordChange).principal(id).account(&record.name);
        let event = event.session(session.id).with("ended_others", password.end_others);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        self.check.alerts.tell(&record, Alert::PasswordChanged, guesser.into()).await;
        Ok(self.check.settle(right, guesser).await)
    }

    async fn end_others(&self, session: &LiveSession) -> Result<(), StoreError> {
        let mut others = self.sessions.all_of(&session.principal().id).await?;
        others.retain(|other| other.id != session.id);
        self.sessions.end(&others).await
    }
}
