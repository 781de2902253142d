//! What administrators do about second factors.

use super::{AdminError, Administration, Reply};
use crate::account::PrincipalRecord;
use crate::audit::{Event, EventKind};
use crate::authenticator::{AuthenticatorSummary, token_file};
use crate::notify::alerts::{Alert, Occasion};
use crate::store::StoreError;

/// What came of removing somebody's factors.
pub(crate) struct Reset {
    pub(crate) record: PrincipalRecord,
    /// How many factors there were.
    pub(crate) removed: usize,
    /// How many sessions were ended.
    pub(crate) ended: usize,
}

impl Administration {
    pub(super) async fn list_factors(&self, name: &str) -> Result<Reply, AdminError> {
        let record = self.find(name).await?;
        let held = self.authenticators.list(&record.id).await?;
        Ok(Reply::Factors { factors: held.iter().map(AuthenticatorSummary::from).collect() })
    }

    pub(super) async fn reset_factors(&self, name: &str) -> Result<Reply, AdminError> {
        let nowhere = Occasion { address: None, device: "" };
        let Reset { record, removed, ended } = self.remove_factors(name, nowhere).await?;
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

    /// Removes all factors of somebody who has lost them, and ends their sessions: whoever has found
    /// the lost ones may be signed in. They are told; whoever asks notes it.
    pub(crate) async fn remove_factors(
        &self,
        name: &str,
        from: Occasion<'_>,
    ) -> Result<Reset, AdminError> {
        let (record, names, reset) = {
            let _turn = self.turn.lock().await;
            let record = self.find(name).await?;
            let held = self.authenticators.list(&record.id).await?;
            let names: Vec<_> = held.into_iter().map(|one| one.name).collect();
            let removed = self.authenticators.unbind_all(&record.id).await?;
            self.lockout.distrust(&record.id).await?;
            self.lockout.lift(&record.id).await?;
            (
                record.clone(),
                names,
                Reset { ended: self.end_all(&record.id).await?, removed, record },
            )
        };
        let names: Vec<_> = names.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
        if reset.removed > 0 {
            let alert = Alert::FactorRemoved { factor: &names.join(", ") };
            self.alerts.tell(&record, alert, from).await;
        }
        Ok(reset)
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
