//! Appeals: somebody knows their password and has lost every second factor.
//!
//! Only who has given a right password can appeal, so strangers cannot; and what an appeal says is
//! encrypted. An administrator decides. The owner is told on every channel when one is lodged and
//! when it is decided; a granted one takes effect after a waiting time, in which whoever still has a
//! factor can stop it, and so can an administrator.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorward_certs::vault::Vault;
use doorward_config::Appeal as Rules;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::account::{PrincipalRecord, fresh_id};
use crate::audit::{Audit, Event, EventKind};
use crate::authenticator::Authenticators;
use crate::clock::{Clock, Timestamp};
use crate::lockout::Lockout;
use crate::notify::alerts::{Alert, Alerts, Occasion};
use crate::password_check::Guesser;
use crate::session::Sessions;
use crate::store::{AccountStore, AppealStore, StoreError};

/// The most characters of a reason.
pub const REASON_CHARS_MAX: usize = 2000;

/// The most characters of a contact.
pub const CONTACT_CHARS_MAX: usize = 200;

/// An appeal as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppealRecord {
    /// Names it: 128 random bits in base64url. Whoever has it sees how far the appeal is.
    pub id: String,
    /// Whose it is.
    pub principal_id: String,
    /// How far it is.
    pub state: AppealState,
    /// What it says, encrypted.
    pub sealed: Vec<u8>,
    /// When it was lodged.
    pub created: Timestamp,
    /// When it was decided.
    pub decided: Option<Timestamp>,
    /// When it takes effect, if it was granted.
    pub effective: Option<Timestamp>,
}

/// How far an appeal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppealState {
    /// It has taken effect: the factors are gone.
    Done,
    /// It was granted, and waits.
    Granted,
    /// Nobody has decided yet.
    Open,
    /// It was refused.
    Refused,
    /// The owner, or an administrator, has stopped it.
    Stopped,
}

impl AppealState {
    /// As it is stored and printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Granted => "granted",
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Done, Self::Granted, Self::Open, Self::Refused, Self::Stopped];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// What an appeal says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Statement {
    /// Why.
    pub reason: String,
    /// How the person can be reached.
    pub contact: String,
    /// What came with it.
    pub documents: Vec<Document>,
}

/// A document that came with an appeal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// Of what kind it is.
    pub kind: DocumentKind,
    /// Its octets in base64.
    content: String,
}

/// Kinds of documents that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// A picture.
    Jpeg,
    /// A document.
    Pdf,
    /// A picture.
    Png,
}

impl DocumentKind {
    /// The end of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Pdf => "pdf",
            Self::Png => "png",
        }
    }
}

impl Document {
    /// A document of one of the kinds that are taken, by its first octets, whatever its sender calls
    /// it; `None`: it is none.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let kind = match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => DocumentKind::Png,
            [0xff, 0xd8, 0xff, ..] => DocumentKind::Jpeg,
            [b'%', b'P', b'D', b'F', b'-', ..] => DocumentKind::Pdf,
            _ => return None,
        };
        Some(Self { kind, content: STANDARD.encode(bytes) })
    }

    /// Its octets.
    pub fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.content).unwrap_or_default()
    }
}

/// Why no appeal was lodged, or none decided.
#[derive(Debug, thiserror::Error)]
pub enum AppealError {
    /// One is open already, or too many of others are.
    #[error("no further appeal can be lodged now")]
    Full,
    /// A reason or a contact is missing or too long, or a document is too large, one too many, or of
    /// another kind.
    #[error("the appeal is incomplete, or something in it is too long")]
    Invalid,
    /// There is no such appeal in this state.
    #[error("there is no such appeal that could be decided so")]
    Unknown,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes appeals and decides them.
pub struct Appeals {
    pub(crate) rules: Rules,
    pub(crate) store: Arc<dyn AppealStore>,
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) authenticators: Arc<Authenticators>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) clock: Clock,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Appeals {
    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Lodges an appeal of somebody whose password was right. Gives its id.
    ///
    /// # Errors
    /// [`AppealError`]; none is lodged then.
    pub async fn lodge(
        &self,
        record: &PrincipalRecord,
        statement: &Statement,
        guesser: Guesser<'_>,
    ) -> Result<String, AppealError> {
        let count = |text: &str| text.trim().chars().count();
        let fits = self.rules.enabled
            && (1..=REASON_CHARS_MAX).contains(&count(&statement.reason))
            && (1..=CONTACT_CHARS_MAX).contains(&count(&statement.contact))
            && statement.documents.len() <= self.rules.documents_max
            && statement.documents.iter().all(|one| one.bytes().len() <= self.rules.document_bytes);
        if !fits {
            return Err(AppealError::Invalid);
        }
        let failed = |error| AppealError::Store(StoreError::Failed(error));
        let id = fresh_id().map_err(|error| failed(Box::new(error)))?;
        let text = serde_json::to_vec(statement).map(Zeroizing::new);
        let text = text.map_err(|error| failed(Box::new(error)))?;
        let sealed = self.vault.seal(&place(&id), &text);
        let appeal = AppealRecord {
            id: id.clone(),
            principal_id: record.id.clone(),
            state: AppealState::Open,
            sealed: sealed.map_err(|error| failed(Box::new(error)))?,
            created: self.clock.now(),
            decided: None,
            effective: None,
        };
        match self.store.lodge(&appeal, self.rules.open_max).await {
            Ok(true) => {}
            Ok(false) | Err(StoreError::Taken) => return Err(AppealError::Full),
            Err(error) => return Err(error.into()),
        }
        let event = self.event(EventKind::AppealLodged, record, &id);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        self.alerts.tell(record, Alert::AppealReceived, guesser.into()).await;
        Ok(id)
    }

    /// The appeal of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, id: &str) -> Result<Option<AppealRecord>, StoreError> {
        self.store.appeal(id).await
    }

    /// The appeal of a principal that is not over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_of(&self, principal_id: &str) -> Result<Option<AppealRecord>, StoreError> {
        self.store.open_appeal(principal_id).await
    }

    /// Appeals, oldest first, without what they say: all, or those that are not over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, open_only: bool) -> Result<Vec<AppealRecord>, StoreError> {
        self.store.appeals(open_only).await
    }

    /// What an appeal says.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn statement(&self, appeal: &AppealRecord) -> Result<Statement, StoreError> {
        let text = self.vault.unseal(&place(&appeal.id), &appeal.sealed).ok();
        let statement = text.and_then(|text| serde_json::from_slice(&text).ok());
        statement.ok_or(StoreError::Corrupt("appeal"))
    }

    /// Grants an open appeal, which takes effect after the waiting time, or refuses it. Gives when it
    /// takes effect.
    ///
    /// # Errors
    /// [`AppealError`].
    pub async fn decide(&self, id: &str, grant: bool) -> Result<Option<Timestamp>, AppealError> {
        let appeal = self.store.appeal(id).await?.ok_or(AppealError::Unknown)?;
        let now = self.clock.now();
        let effective = grant.then(|| now + self.rules.wait);
        let to = if grant { AppealState::Granted } else { AppealState::Refused };
        let step = (AppealState::Open, to);
        if !self.store.decide(id, step, (now, effective)).await? {
            return Err(AppealError::Unknown);
        }
        if let Some(record) = self.accounts.find_id(&appeal.principal_id).await? {
            self.audit
                .record(&self.event(EventKind::AppealDecided, &record, id).with("granted", grant));
            let told = Alert::AppealDecided { granted: grant };
            let from = Occasion { address: None, device: "" };
            self.alerts.tell(&record, told, from).await;
        }
        Ok(effective)
    }

    /// Stops an appeal that is not over: the owner has a factor after all, or never asked.
    ///
    /// # Errors
    /// [`AppealError`].
    pub async fn stop(&self, id: &str, record: &PrincipalRecord) -> Result<(), AppealError> {
        let now = self.clock.now();
        for from in [AppealState::Open, AppealState::Granted] {
            if self.store.decide(id, (from, AppealState::Stopped), (now, None)).await? {
                self.audit.record(
                    &self.event(EventKind::AppealDecided, record, id).with("stopped", true),
                );
                return Ok(());
            }
        }
        Err(AppealError::Unknown)
    }

    /// Lets those take effect whose time has come, and forgets old ones.
    ///
    /// # Errors
    /// [`StoreError`]; the rest waits for the next time.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for appeal in self.store.due_appeals(now).await? {
            let _turn = self.turn.lock().await;
            let Some(record) = self.accounts.find_id(&appeal.principal_id).await? else { continue };
            let step = (AppealState::Granted, AppealState::Done);
            // Of several gates one does it.
            if !self.store.decide(&appeal.id, step, (now, appeal.effective)).await? {
                continue;
            }
            let removed = self.authenticators.unbind_all(&record.id).await?;
            self.lockout.forget_devices(&record.id).await?;
            self.lockout.lift(&record.id).await?;
            self.sessions.end(&self.sessions.all_of(&record.id).await?).await?;
            let event = self.event(EventKind::FactorRemoved, &record, &appeal.id);
            self.audit.record(&event.with("by", "appeal").with("removed", removed));
            let told = Alert::FactorRemoved { factor: "appeal" };
            let from = Occasion { address: None, device: "" };
            self.alerts.tell(&record, told, from).await;
        }
        let keep = u64::try_from(self.rules.keep.as_millis()).unwrap_or(u64::MAX);
        self.store.prune_appeals(Timestamp(now.0.saturating_sub(keep))).await
    }

    /// How long a granted appeal waits.
    pub fn wait(&self) -> Duration {
        self.rules.wait
    }

    fn event(&self, kind: EventKind, record: &PrincipalRecord, id: &str) -> Event {
        Event::new(kind).principal(&record.id).account(&record.name).with("appeal", id)
    }
}

fn place(id: &str) -> String {
    format!("appeal {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_known_by_its_first_octets() {
        let kind = |bytes: &[u8]| Document::of(bytes).map(|document| document.kind);
        assert_eq!(kind(b"\x89PNG\r\n\x1a\nrest"), Some(DocumentKind::Png));
        assert_eq!(kind(b"\xff\xd8\xff\xe0rest"), Some(DocumentKind::Jpeg));
        assert_eq!(kind(b"%PDF-1.7"), Some(DocumentKind::Pdf));
        for other in [&b""[..], b"<svg>", b"PK\x03\x04", b"%PD", b"\x7fELF"] {
            assert_eq!(kind(other), None);
        }
        assert_eq!(Document::of(b"%PDF-1.7").unwrap().bytes(), b"%PDF-1.7");
    }
}
