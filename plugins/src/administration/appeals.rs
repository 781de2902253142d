//! What administrators do about appeals.

use serde::{Deserialize, Serialize};

use super::{AdminError, Administration, Reply};
use crate::appeal::{AppealError, AppealRecord, AppealState};
use crate::clock::Timestamp;

/// What may be told about an appeal.
#[derive(Debug, Serialize, Deserialize)]
pub struct AppealSummary {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// How far it is.
    pub state: AppealState,
    /// When it was lodged.
    pub created: Timestamp,
    /// When it was decided.
    pub decided: Option<Timestamp>,
    /// When it takes effect, if it was granted.
    pub effective: Option<Timestamp>,
}

impl From<AppealError> for AdminError {
    fn from(error: AppealError) -> Self {
        match error {
            AppealError::Unknown => Self::Unknown("such appeal in that state".into()),
            AppealError::Store(error) => error.into(),
            error => Self::Refuse(error.to_string()),
        }
    }
}

impl Administration {
    pub(super) async fn list_appeals(&self, all: bool) -> Result<Reply, AdminError> {
        let mut appeals = Vec::new();
        for appeal in self.appeals.list(!all).await? {
            appeals.push(self.summary(&appeal).await?);
        }
        Ok(Reply::Appeals { appeals })
    }

    pub(super) async fn show_appeal(&self, id: &str) -> Result<Reply, AdminError> {
        let appeal = self.appeals.find(id).await?.ok_or(AppealError::Unknown)?;
        let statement = self.appeals.statement(&appeal)?;
        Ok(Reply::Appeal { appeal: self.summary(&appeal).await?, statement })
    }

    pub(super) async fn decide_appeal(&self, id: &str, grant: bool) -> Result<Reply, AdminError> {
        self.appeals.decide(id, grant).await?;
        self.one(id).await
    }

    pub(super) async fn stop_appeal(&self, id: &str) -> Result<Reply, AdminError> {
        let appeal = self.appeals.find(id).await?.ok_or(AppealError::Unknown)?;
        let record = self.accounts.find_id(&appeal.principal_id).await?;
        self.appeals.stop(id, &record.ok_or(AppealError::Unknown)?).await?;
        self.one(id).await
    }

    async fn one(&self, id: &str) -> Result<Reply, AdminError> {
        let appeal = self.appeals.find(id).await?.ok_or(AppealError::Unknown)?;
        Ok(Reply::Appeals { appeals: vec![self.summary(&appeal).await?] })
    }

    async fn summary(&self, appeal: &AppealRecord) -> Result<AppealSummary, AdminError> {
        let record = self.accounts.find_id(&appeal.principal_id).await?;
        let account = record.map_or_else(String::new, |record| record.name.to_string());
        let AppealRecord { id, state, created, decided, effective, .. } = appeal.clone();
        Ok(AppealSummary { id, account, state, created, decided, effective })
    }
}
