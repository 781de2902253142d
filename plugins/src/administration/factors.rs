//! What administrators do about second factors.

use super::{AdminError, Administration, Reply};
use crate::audit::{Event, EventKind};
use crate::authenticator::{AuthenticatorSummary, token_file};
use crate::store::StoreError;

impl Administration {
    pub(super) async fn list_factors(&self, name: &str) -> Result<Reply, AdminError> {
        let record = self.find(name).await?;
        let held = self.authenticators.list(&record.id).await?;
        Ok(Reply::Factors { factors: held.iter().map(AuthenticatorSummary::from).collect() })
    }

    /// Removes all factors of somebody who has lost them, and ends their sessions: whoever has found
    /// the lost ones may be signed in.
    pub(super) async fn reset_factors(&self, name: &str) -> Result<Reply, AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.find(name).await?;
        let removed = self.authenticators.unbind_all(&record.id).await?;
        self.lockout.distrust(&record.id).await?;
        self.lockout.lift(&record.id).await?;
        let ended = self.end_all(&record.id).await?;
        let event = Event::new(EventKind::FactorRemoved).principal(&record.id);
        let event = event.account(&record.name).with("by", "administrator");
        self.audit.record(&event.with("removed", removed));
        Ok(Reply::Ended { ended })
    }

    /// Takes hardware tokens in, which people then bind by serial number and two codes.
    pub(super) async fn import_tokens(&self, text: &str) -> Result<Reply, AdminError> {
        let tokens = token_file::read(text).map_err(AdminError::Refuse)?;
        self.authenticators.import(&tokens).await.map_err(|error| match error {
            StoreError::Taken => AdminError::Refuse(
                "one of these serial numbers is there already; nothing was imported".into(),
            ),
            error => error.into(),
        })?;
        let event = Event::new(EventKind::TokensImported).with("count", tokens.len());
        self.audit.record(&event);
        Ok(Reply::Imported { imported: tokens.len() })
    }

    /// Makes a new key for secrets in the store, and encrypts with it what is long-lived.
    pub(super) async fn rotate_vault(&self) -> Result<Reply, AdminError> {
        let vault = std::sync::Arc::clone(&self.vault);
        let failed = |error: &dyn std::fmt::Display| AdminError::Failed(error.to_string());
        let rotated = tokio::task::spawn_blocking(move || vault.rotate()).await;
        rotated.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        self.audit.record(&Event::new(EventKind::KeyRotated).with("key", "vault"));
        Ok(Reply::Sealed { sealed: self.authenticators.seal_anew().await? })
    }
}
