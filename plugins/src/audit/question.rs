//! What an operator may ask of the log.

use serde::{Deserialize, Serialize};

use crate::account::name::Name;
use crate::administration::{AdminError, Administration, Reply};
use crate::clock::Timestamp;
use crate::store::AuditFilter;

/// The most records that are listed; who wants more exports the log.
const LISTED_MAX: u32 = 10_000;

/// Which records are wanted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct AuditQuestion {
    /// Those about an account or sub-user.
    pub account: Option<String>,
    /// Those of an event, by name.
    pub event: Option<String>,
    /// Those of the last so many seconds.
    pub since_secs: Option<u64>,
    /// The latest so many.
    pub limit: u32,
}

impl Administration {
    pub(crate) async fn audit_list(&self, question: AuditQuestion) -> Result<Reply, AdminError> {
        let known = super::EventKind::ALL.iter();
        if let Some(name) = &question.event
            && known.clone().all(|kind| kind.name() != name)
        {
            let names: Vec<_> = known.map(|kind| kind.name()).collect();
            let reason = format!("there is no event {name:?}; there are {}", names.join(", "));
            return Err(AdminError::Refuse(reason));
        }
        let since = question
            .since_secs
            .map_or(0, |secs| self.clock.wall().0.saturating_sub(secs.saturating_mul(1000)));
        let mut filter = AuditFilter {
            since: Timestamp(since),
            event: question.event,
            account: question.account,
            principal: None,
        };
        if let Some(name) = filter.account.as_deref().and_then(|name| Name::parse(name).ok())
            // Deleted ones too: what they did is still there.
            && let Some(record) = self.accounts.find(&name.key()).await?
        {
            filter.account = Some(record.name.to_string());
            filter.principal = Some(record.id);
        }
        let records = self.audit.latest(&filter, question.limit.min(LISTED_MAX)).await?;
        Ok(Reply::AuditRecords { records, end: None })
    }
}
