//! What people change about their own second factors, and what their account asks for.
//!
//! What weakens or widens what guards an account needs a session that proved lately who it is
//! (`Approvals::may_change_account`), asked here and not only by the pages; and the owner is told of
//! it. A name, a clock that is followed by two codes, and trusting no browser any more need none.

use std::sync::Arc;

use doorward_config::Secret;
use zeroize::Zeroizing;

use crate::account::{PrincipalRecord, Protection};
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::binding::{self, BindTotp, BindTotpError};
use crate::authenticator::{AuthenticatorRecord, BindError, Kind};
use crate::challenge::Challenge;
use crate::lockout::{Guess, TrustedDevice};
use crate::notify::alerts::{Alert, Alerts};
use crate::password_check::Guesser;
use crate::second_factor::{ProveError, SecondFactors, Way};
use crate::session::{LiveSession, Method, Sessions};
use crate::step_up::Approvals;
use crate::store::{AccountStore, StoreError};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FactorChangeError {
    /// Too many answers wait already.
    #[error("too many answers at once")]
    Busy,
    /// The session has to prove once more who it is.
    #[error("not fresh enough")]
    Stale,
    /// There are as many as one person may have.
    #[error("there are too many authenticators")]
    Full,
    /// It is the last factor of somebody who needs one at every sign-in.
    #[error("this is the last one, and one is required")]
    Last,
    /// The account's settings are its owner's.
    #[error("only the account itself may change this")]
    NotYours,
    /// It has to be begun anew.
    #[error("the binding is over")]
    Over,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such authenticator.
    #[error("there is no such authenticator")]
    Unknown,
    /// The code is wrong.
    #[error("wrong")]
    Wrong,
}

impl From<ProveError> for FactorChangeError {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Busy => Self::Busy,
            ProveError::Over => Self::Over,
            ProveError::Wrong => Self::Wrong,
            ProveError::Store(error) => Self::Store(error),
        }
    }
}

impl From<BindTotpError> for FactorChangeError {
    fn from(error: BindTotpError) -> Self {
        match error {
            BindTotpError::Full => Self::Full,
            BindTotpError::Over => Self::Over,
            BindTotpError::Store(error) => Self::Store(error),
            BindTotpError::Wrong => Self::Wrong,
        }
    }
}

impl From<BindError> for FactorChangeError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Full => Self::Full,
            BindError::Store(error) => Self::Store(error),
        }
    }
}

/// What somebody sees of their factors.
pub struct Overview {
    /// Whose.
    pub record: PrincipalRecord,
    /// What is bound, oldest first, without recovery codes.
    pub bound: Vec<AuthenticatorRecord>,
    /// How many recovery codes are left; `None`: none were ever made.
    pub recovery_codes: Option<usize>,
    /// Browsers that are not asked at sign-in.
    pub trusted: Vec<TrustedDevice>,
    /// In which ways a second factor can be given.
    pub ways: Vec<Way>,
    /// A second factor is asked for at sign-in whatever the account says.
    pub is_required: bool,
}

/// Changes factors.
pub struct FactorChange {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) second: Arc<SecondFactors>,
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) alerts: Arc<Alerts>,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl FactorChange {
    /// What the person of this session has bound.
    ///
    /// # Errors
    /// [`FactorChangeError`].
    pub async fn overview(&self, session: &LiveSession) -> Result<Overview, FactorChangeError> {
        let record = self.record(session).await?;
        let held = self.second.authenticators.list(&record.id).await?;
        let recovery_codes = self.second.authenticators.recovery_codes_left(&held)?;
        let ways = self.second.ways_of(&record, &held)?;
        let bound = held.into_iter().filter(|one| one.kind != Kind::Recovery).collect();
        let is_required = self.second.rules().requires(&record.groups);
        let trusted = self.second.trusted(&record).await?;
        Ok(Overview { record, bound, recovery_codes, trusted, ways, is_required })
    }

    /// The person of this session, if it has proven lately enough who it is.
    ///
    /// # Errors
    /// [`FactorChangeError::Stale`] when it has not.
    pub async fn fresh(&self, session: &LiveSession) -> Result<PrincipalRecord, FactorChangeError> {
        self.approvals.fresh(session).await?.ok_or(FactorChangeError::Stale)
    }

    /// Shows a seed that an app can be bound with.
    ///
    /// # Errors
    /// [`FactorChangeError`].
    pub async fn begin_app(
        &self,
        session: &LiveSession,
    ) -> Result<(Challenge<BindTotp>, PrincipalRecord), FactorChangeError> {
        let record = self.fresh(session).await?;
        let rules = self.second.rules();
        let limits = (rules.lifetime, rules.tries);
        let begun =
            binding::begin(&self.second.challenges, &record.id, &session.id, limits).await?;
        Ok((begun, record))
    }

    /// Binds the app by two codes in a row.
    ///
    /// # Errors
    /// [`FactorChangeError`]; nothing is bound then.
    pub async fn bind_app(
        &self,
        session: &LiveSession,
        named: (&str, [&str; 2]),
        guesser: Guesser<'_>,
    ) -> Result<AuthenticatorRecord, FactorChangeError> {
        let (challenge, record) = self.begin_app(session).await?;
        let second = &self.second;
        let parts = (&*second.challenges, &*second.authenticators);
        let tries = second.rules().tries;
        let bound = binding::finish(parts, &challenge, &record, named, tries).await?;
        second.forgive_all(&record.id, Guess::Totp).await;
        self.tell_added(session, &record, &bound, guesser).await;
        Ok(bound)
    }

    /// Binds a hardware token that an administrator has imported, by its serial number and two codes
    /// in a row. Counted as guesses at codes are: numbers and codes can be guessed.
    ///
    /// # Errors
    /// [`FactorChangeError`]; nothing is bound then.
    pub async fn bind_token(
        &self,
        session: &LiveSession,
        (serial, name): (&str, &str),
        codes: [&str; 2],
        guesser: Guesser<'_>,
    ) -> Result<AuthenticatorRecord, FactorChangeError> {
        let record = self.fresh(session).await?;
        let authenticators = &self.second.authenticators;
        let attempt = self.second.count_guess(&record, guesser).await?;
        let seed = authenticators.free_token(serial.trim()).await?;
        let found = seed.and_then(|seed| {
            let step = authenticators.verify_two(&seed, codes, true)?;
            Some((seed, step))
        });
        let Some((seed, step)) = found.filter(|_| attempt.is_some()) else {
            return Err(FactorChangeError::Wrong);
        };
        let named = (serial.trim(), name);
        let bound = authenticators.bind_token(&record.id, named, &seed, step).await?;
        self.second.forgive_all(&record.id, Guess::Totp).await;
        self.tell_added(session, &record, &bound, guesser).await;
        Ok(bound)
    }

    /// Follows the clock of an app or token that has gone astray, by two codes in a row.
    ///
    /// # Errors
    /// [`FactorChangeError`]; everything is as before then.
    pub async fn resynchronise(
        &self,
        session: &LiveSession,
        (id, codes): (&str, [&str; 2]),
        guesser: Guesser<'_>,
    ) -> Result<(), FactorChangeError> {
        let record = self.fresh(session).await?;
        let held = self.second.authenticators.list(&record.id).await?;
        let found = held.iter().find(|one| one.id == id && one.kind == Kind::Totp);
        let found = found.ok_or(FactorChangeError::Unknown)?;
        let admitted = self.second.count_guess(&record, guesser).await?.is_some();
        if !admitted || !self.second.authenticators.resynchronise(found, codes).await? {
            return Err(FactorChangeError::Wrong);
        }
        self.second.forgive_all(&record.id, Guess::Totp).await;
        Ok(())
    }

    /// Notes that something was bound, and tells its owner.
    pub async fn tell_added(
        &self,
        session: &LiveSession,
        record: &PrincipalRecord,
        bound: &AuthenticatorRecord,
        guesser: Guesser<'_>,
    ) {
        let event = Event::new(EventKind::FactorAdded).with("factor", bound.kind.as_str());
        self.note(session, record, event.with("authenticator", &bound.id), guesser);
        let alert = Alert::FactorAdded { factor: &bound.name };
        self.alerts.tell(record, alert, guesser.into()).await;
    }

    /// Removes an authenticator. An app needs a code of its own, unless a recovery code was given
    /// lately: then it is lost.
    ///
    /// # Errors
    /// [`FactorChangeError`]; it is still bound then.
    pub async fn unbind(
        &self,
        session: &LiveSession,
        (id, code): (&str, &Secret),
        guesser: Guesser<'_>,
    ) -> Result<(), FactorChangeError> {
        let record = self.fresh(session).await?;
        let held = self.second.authenticators.list(&record.id).await?;
        let found = held.iter().find(|one| one.id == id && one.kind != Kind::Recovery);
        let found = found.ok_or(FactorChangeError::Unknown)?;
        self.verify_not_last(&record, &held, id)?;
        if found.kind == Kind::Totp && !self.has_lost(session) {
            self.second.prove_one(&record, found, code, guesser).await?;
        }
        let _turn = self.turn.lock().await;
        // Two may be taken off at once, each of which is not the last as long as the other is there.
        let now = self.second.authenticators.list(&record.id).await?;
        self.verify_not_last(&record, &now, id)?;
        if !self.second.authenticators.unbind(id, &record.id).await? {
            return Err(FactorChangeError::Unknown);
        }
        let event = Event::new(EventKind::FactorRemoved).with("factor", found.kind.as_str());
        self.note(session, &record, event.with("authenticator", id), guesser);
        let alert = Alert::FactorRemoved { factor: &found.name };
        self.alerts.tell(&record, alert, guesser.into()).await;
        Ok(())
    }

    /// Is there another factor beside this one, if there has to be one?
    fn verify_not_last(
        &self,
        record: &PrincipalRecord,
        held: &[AuthenticatorRecord],
        id: &str,
    ) -> Result<(), FactorChangeError> {
        let others: Vec<_> = held.iter().filter(|one| one.id != id).cloned().collect();
        let last = self.second.ways_of(record, &others)?.is_empty();
        if last && self.second.is_required(record) { Err(FactorChangeError::Last) } else { Ok(()) }
    }

    /// Gives an authenticator another name.
    ///
    /// # Errors
    /// [`FactorChangeError`].
    pub async fn rename(
        &self,
        session: &LiveSession,
        (id, name): (&str, &str),
    ) -> Result<(), FactorChangeError> {
        let record = self.record(session).await?;
        let held = self.second.authenticators.list(&record.id).await?;
        let found = held.iter().find(|one| one.id == id && one.kind != Kind::Recovery);
        let found = found.ok_or(FactorChangeError::Unknown)?;
        match self.second.authenticators.rename(found, name).await? {
            true => Ok(()),
            false => Err(FactorChangeError::Unknown),
        }
    }

    /// Makes new recovery codes, to be shown once.
    ///
    /// # Errors
    /// [`FactorChangeError`].
    pub async fn make_recovery_codes(
        &self,
        session: &LiveSession,
        guesser: Guesser<'_>,
    ) -> Result<Vec<Zeroizing<String>>, FactorChangeError> {
        let record = self.fresh(session).await?;
        let codes = self.second.authenticators.make_recovery_codes(&record.id).await?;
        let event = Event::new(EventKind::RecoveryCodes).with("did", "made");
        self.note(session, &record, event, guesser);
        self.alerts.tell(&record, Alert::RecoveryCodesMade, guesser.into()).await;
        Ok(codes)
    }

    /// Switches what an account asks for. Its main principal alone may, for all its sub-users.
    ///
    /// # Errors
    /// [`FactorChangeError`]; everything is as before then.
    pub async fn protect(
        &self,
        session: &LiveSession,
        protection: Protection,
        guesser: Guesser<'_>,
    ) -> Result<(), FactorChangeError> {
        if session.principal().name.sub_user().is_some() {
            return Err(FactorChangeError::NotYours);
        }
        self.fresh(session).await?;
        let _turn = self.turn.lock().await;
        let was = self.record(session).await?;
        let record = PrincipalRecord { protection, ..was.clone() };
        self.accounts.update(&was, &record).await?;
        for member in self.accounts.list_account(&record.account_id).await? {
            self.sessions.refresh(&member).await?;
        }
        let event = Event::new(EventKind::ProtectionChanged).with("login", protection.login);
        let event = event.with("operations", protection.operations);
        self.note(session, &record, event, guesser);
        self.alerts.tell(&record, Alert::ProtectionChanged, guesser.into()).await;
        Ok(())
    }

    /// From now on every browser is asked for a second factor again. It takes no freshness to be
    /// more careful.
    ///
    /// # Errors
    /// [`FactorChangeError`].
    pub async fn distrust(
        &self,
        session: &LiveSession,
        guesser: Guesser<'_>,
    ) -> Result<(), FactorChangeError> {
        let record = self.record(session).await?;
        self.second.distrust(&record).await?;
        let event = Event::new(EventKind::ProtectionChanged).with("trusted_browsers", 0);
        self.note(session, &record, event, guesser);
        Ok(())
    }

    /// Did this session give a recovery code lately?
    fn has_lost(&self, session: &LiveSession) -> bool {
        let (rules, now) = (self.second.rules(), self.approvals.now());
        let is_recovery = |method| method == Method::RecoveryCode;
        crate::second_factor::is_fresh(&session.evidence, is_recovery, rules.fresh, now)
    }

    async fn record(&self, session: &LiveSession) -> Result<PrincipalRecord, FactorChangeError> {
        let found = self.accounts.find_id(&session.principal().id).await?;
        found.filter(PrincipalRecord::is_active).ok_or(FactorChangeError::Stale)
    }

    fn note(
        &self,
        session: &LiveSession,
        record: &PrincipalRecord,
        event: Event,
        guesser: Guesser<'_>,
    ) {
        let event = event.principal(&record.id).account(&record.name).session(session.id);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_not_to_prove_is_one_not_to_change() {
        assert!(matches!(ProveError::Wrong.into(), FactorChangeError::Wrong));
        assert!(matches!(BindTotpError::Full.into(), FactorChangeError::Full));
        assert!(matches!(BindError::Full.into(), FactorChangeError::Full));
    }
}
