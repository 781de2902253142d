//! What people say about themselves, and what the main principal of an account decides about it and
//! its sub-users.
//!
//! The change itself is administration's, so that it means the same whoever asks for it. What guards
//! others needs a session that proved lately who it is. Name and language guard nothing, and do not.

use std::sync::Arc;

use crate::account::PrincipalRecord;
use crate::administration::{AccountChange, AdminError, Administration};
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::{Authenticators, Kind};
use crate::language::Language;
use crate::password_check::Guesser;
use crate::session::LiveSession;
use crate::step_up::Approvals;
use crate::store::{AccountStore, StoreError};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CentreError {
    /// The account's settings are its main principal's.
    #[error("only the account itself may change this")]
    NotYours,
    /// What was given cannot be taken; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The session has to prove once more who it is.
    #[error("not fresh enough")]
    Stale,
    /// There is no such sub-user.
    #[error("there is no such sub-user")]
    Unknown,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdminError> for CentreError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Refuse(reason) => Self::Refused(reason),
            AdminError::Unknown(_) => Self::Unknown,
            AdminError::Failed(reason) => Self::Store(StoreError::Failed(reason.into())),
        }
    }
}

/// What the main principal sees of a sub-user.
pub struct SubUser {
    /// Who it is.
    pub record: PrincipalRecord,
    /// How many authenticators they have bound.
    pub factors: usize,
}

/// Changes what people may decide themselves.
pub struct AccountCentre {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) administration: Arc<Administration>,
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) authenticators: Arc<Authenticators>,
    pub(crate) audit: Arc<Audit>,
}

impl AccountCentre {
    /// The person of this session.
    ///
    /// # Errors
    /// [`CentreError`].
    pub async fn person(&self, session: &LiveSession) -> Result<PrincipalRecord, CentreError> {
        let found = self.accounts.find_id(&session.principal().id).await?;
        found.filter(PrincipalRecord::is_active).ok_or(CentreError::Unknown)
    }

    /// Sets what a person is called, and in which language they are written to.
    ///
    /// # Errors
    /// [`CentreError`]; everything is as before then.
    pub async fn set_profile(
        &self,
        session: &LiveSession,
        (display_name, language): (Option<String>, Option<Language>),
        guesser: Guesser<'_>,
    ) -> Result<PrincipalRecord, CentreError> {
        let record = self.person(session).await?;
        let language = language.map(|language| language.code().to_owned());
        let change = AccountChange { display_name, language, ..AccountChange::default() };
        let changed = self.administration.change(&record.name.to_string(), &change).await?;
        let event = Event::new(EventKind::UserUpdated).with("did", "profile");
        self.note(session, &changed, event, guesser);
        Ok(changed)
    }

    /// Sets after how long without activity the account's sessions end, in seconds; zero: what the
    /// configuration says. It holds at once, for sub-users too.
    ///
    /// # Errors
    /// [`CentreError`]; it is as before then.
    pub async fn set_idle(
        &self,
        session: &LiveSession,
        secs: u64,
        guesser: Guesser<'_>,
    ) -> Result<(), CentreError> {
        let owner = self.owner(session).await?;
        let change = AccountChange { idle_secs: Some(secs), ..AccountChange::default() };
        let changed = self.administration.change(&owner.name.to_string(), &change).await?;
        let event = Event::new(EventKind::UserUpdated).with("did", "idle_time").with("secs", secs);
        self.note(session, &changed, event, guesser);
        Ok(())
    }

    /// The sub-users of the account that this session's person owns, by name.
    ///
    /// # Errors
    /// [`CentreError::NotYours`] where they own none.
    pub async fn sub_users(&self, session: &LiveSession) -> Result<Vec<SubUser>, CentreError> {
        let owner = mine(self.person(session).await?)?;
        let mut members = self.accounts.list_account(&owner.account_id).await?;
        members.retain(|member| member.id != owner.id);
        members.sort_by_key(|member| member.name.key());
        let mut sub_users = Vec::with_capacity(members.len());
        for record in members {
            let held = self.authenticators.list(&record.id).await?;
            let factors = held.iter().filter(|one| one.kind != Kind::Recovery).count();
            sub_users.push(SubUser { record, factors });
        }
        Ok(sub_users)
    }

    /// Removes all factors of a sub-user and ends their sessions; they are told.
    ///
    /// # Errors
    /// [`CentreError`].
    pub async fn reset_factors(
        &self,
        session: &LiveSession,
        id: &str,
        guesser: Guesser<'_>,
    ) -> Result<(), CentreError> {
        let owner = self.owner(session).await?;
        let found = self.accounts.find_id(id).await?;
        let member = found.filter(|record| {
            record.account_id == owner.account_id && record.name.sub_user().is_some()
        });
        let member = member.ok_or(CentreError::Unknown)?;
        let name = member.name.to_string();
        let reset = self.administration.remove_factors(&name, guesser.into()).await?;
        let event = Event::new(EventKind::FactorRemoved).with("by", &owner.name);
        let event = event.with("removed", reset.removed);
        self.note(session, &reset.record, event, guesser);
        Ok(())
    }

    /// The main principal of an account, if this session has proven lately enough that it is theirs.
    async fn owner(&self, session: &LiveSession) -> Result<PrincipalRecord, CentreError> {
        mine(self.approvals.fresh(session).await?.ok_or(CentreError::Stale)?)
    }

    fn note(
        &self,
        session: &LiveSession,
        about: &PrincipalRecord,
        event: Event,
        guesser: Guesser<'_>,
    ) {
        let event = event.principal(&about.id).account(&about.name).session(session.id);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
    }
}

/// Whose account it is decides about it.
fn mine(record: PrincipalRecord) -> Result<PrincipalRecord, CentreError> {
    match record.name.sub_user() {
        None => Ok(record),
        Some(_) => Err(CentreError::NotYours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::tests::record;

    #[test]
    fn a_sub_user_decides_about_nobody() {
        assert!(mine(record("alice")).is_ok());
        assert!(matches!(mine(record("alice/dev")), Err(CentreError::NotYours)));
    }
}
