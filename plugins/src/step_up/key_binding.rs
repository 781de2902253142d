//! Binding a security key or passkey to whoever is signed in, who has proven lately who they are.

use super::{Approvals, StepUpError};
use crate::account::PrincipalRecord;
use crate::audit::{Event, EventKind};
use crate::authenticator::AuthenticatorRecord;
use crate::authenticator::webauthn::{Asked, KeyError, Keys, Owner, Sent};
use crate::notify::alerts::{Alert, Occasion};
use crate::password_check::Guesser;
use crate::session::LiveSession;

/// Why no key was bound.
#[derive(Debug, thiserror::Error)]
pub enum BindKeyError {
    /// The key is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are no keys here.
    #[error("there are no keys here")]
    NoKeys,
    /// Who binds a key must have proven more lately who they are.
    #[error("not proven lately")]
    NotFresh,
    /// The session is over.
    #[error("the session is over")]
    SessionOver,
}

impl From<crate::store::StoreError> for BindKeyError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Key(error.into())
    }
}

impl From<StepUpError> for BindKeyError {
    fn from(error: StepUpError) -> Self {
        match error {
            StepUpError::Store(error) => error.into(),
            _ => Self::SessionOver,
        }
    }
}

impl Approvals {
    /// Asks for a new key of whoever is signed in.
    ///
    /// # Errors
    /// [`BindKeyError`].
    pub async fn begin_key_binding(&self, session: &LiveSession) -> Result<Asked, BindKeyError> {
        let (keys, record) = self.may_bind(session).await?;
        let name = record.name.to_string();
        let display_name = record.display_name.as_deref().filter(|name| !name.is_empty());
        let display_name = display_name.unwrap_or(&name);
        let owner = Owner { id: &record.id, name: &name, display_name };
        Ok(keys.begin_binding(&owner, &session.id).await?)
    }

    /// Binds the key that answered, under this name.
    ///
    /// # Errors
    /// [`BindKeyError`]; no key is bound then.
    pub async fn finish_key_binding(
        &self,
        session: &LiveSession,
        (name, sent): (&str, &str),
        guesser: Guesser<'_>,
    ) -> Result<AuthenticatorRecord, BindKeyError> {
        let (keys, record) = self.may_bind(session).await?;
        let Sent { challenge, credential } = Sent::read(sent).map_err(KeyError::from)?;
        let credential = credential.to_string();
        let bound = keys
            .finish_binding(&record.id, &session.id, &challenge, name, credential.as_bytes())
            .await?;
        let event = Event::new(EventKind::FactorAdded).session(session.id);
        let event = event.principal(&record.id).account(&record.name);
        let event = event.with("factor", bound.kind.as_str()).with("authenticator", &bound.id);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        let from = Occasion { device: &session.device, ..guesser.into() };
        let alert = Alert::FactorAdded { factor: &bound.name };
        self.second.alerts.tell(&record, alert, from).await;
        Ok(bound)
    }

    async fn may_bind(
        &self,
        session: &LiveSession,
    ) -> Result<(&Keys, PrincipalRecord), BindKeyError> {
        let keys = self.second.keys.as_deref().ok_or(BindKeyError::NoKeys)?;
        let record = self.accounts.find_id(&session.principal().id).await?;
        let record = record.filter(PrincipalRecord::is_active).ok_or(BindKeyError::SessionOver)?;
        match self.may_change_account(session, &record).await? {
            true => Ok((keys, record)),
            false => Err(BindKeyError::NotFresh),
        }
    }
}
