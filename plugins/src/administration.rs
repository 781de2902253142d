//! Administration: what an operator may ask of accounts, sessions and keys.
//!
//! One request type serves the command line on a stopped gate, the administration socket of a
//! running one, and tests; so there is one meaning of each command. A change is durable, and holds
//! for live sessions, when its reply is given.
//!
//! Not here: who may ask (the socket's mode, or the store's), and how replies are printed.

mod appeals;
mod change;
mod factors;
mod new_password;

use std::sync::Arc;

use doorward_certs::signing::KeySummary;
use doorward_certs::vault::Vault;
use doorward_config::{Secret, Session as SessionRules};
use serde::{Deserialize, Serialize};

use crate::account::name::Name;
use crate::account::password::PasswordHasher;
use crate::account::rules::PasswordRules;
use crate::account::{PrincipalRecord, Protection, State, Verification, fresh_id};
use crate::appeal::{Appeals, Statement};
use crate::audit::{Audit, AuditQuestion, Event, EventKind, Record, Report};
use crate::authenticator::{AuthenticatorSummary, Authenticators};
use crate::clock::{Clock, Timestamp};
use crate::identity::Assertions;
use crate::lockout::{Guess, Lockout, TallySummary};
use crate::notify::alerts::Alerts;
use crate::session::{LiveSession, Sessions, assurance};
use crate::store::{AccountStore, StoreError};
pub use appeals::AppealSummary;
pub use change::AccountChange;
use new_password::NewPassword;

/// One thing to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the command of the same name; see `doorward help`")]
pub enum Request {
    AccountAdd { name: String, password: String, change: Box<AccountChange> },
    AccountImport { name: String, password_hash: String, change: Box<AccountChange> },
    AccountList,
    AccountShow { name: String },
    AccountSet { name: String, change: Box<AccountChange> },
    AccountEnable { name: String },
    AccountDisable { name: String },
    AccountDelete { name: String },
    AccountSetPassword { name: String, password: String },
    AccountSetPasswordHash { name: String, password_hash: String },
    SessionList { name: Option<String> },
    SessionRevoke { id: String },
    SessionRevokeAll { name: String },
    KeyList,
    KeyRotate,
    AuditList(AuditQuestion),
    AuditPage { after: u64 },
    AuditVerify,
    LockList,
    LockShow { name: String },
    LockLift { name: String },
    FactorList { name: String },
    FactorReset { name: String },
    TokenImport { text: String },
    AppealList { all: bool },
    AppealShow { id: String },
    AppealDecide { id: String, grant: bool },
    AppealStop { id: String },
    VaultRotate,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// One account or sub-user.
    Account(Box<PrincipalRecord>),
    /// Several.
    Accounts {
        /// By name.
        accounts: Vec<PrincipalRecord>,
    },
    /// Sessions.
    Sessions {
        /// Oldest first for each person.
        sessions: Vec<SessionSummary>,
    },
    /// Signing keys.
    Keys {
        /// Newest last.
        keys: Vec<KeySummary>,
    },
    /// Records of the audit log.
    AuditRecords {
        /// Oldest first.
        records: Vec<Record>,
        /// What is signed about the end of the log, with its last records.
        end: Option<String>,
    },
    /// What a verification of the audit log has come to.
    AuditReport(Report),
    /// What wrong guesses have led to.
    Locks {
        /// By account.
        locks: Vec<TallySummary>,
    },
    /// What somebody has bound.
    Factors {
        /// Oldest first.
        factors: Vec<AuthenticatorSummary>,
    },
    /// Appeals, without what they say.
    Appeals {
        /// Oldest first.
        appeals: Vec<AppealSummary>,
    },
    /// One appeal, and what it says.
    Appeal {
        /// The appeal.
        appeal: AppealSummary,
        /// What it says.
        statement: Statement,
    },
    /// How many tokens were imported.
    Imported {
        /// The count.
        imported: usize,
    },
    /// How many secrets were encrypted anew.
    Sealed {
        /// The count.
        sealed: usize,
    },
    /// How many sessions were ended.
    Ended {
        /// The count.
        ended: usize,
    },
}

/// What may be told about a session.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Its public id.
    pub id: String,
    /// Whom it is for.
    pub account: Name,
    /// How strongly that was proven.
    pub acr: String,
    /// What the client said it is.
    pub device: String,
    /// Where the client signed in from.
    pub address: String,
    /// When it began.
    pub created: Timestamp,
    /// When it was last active.
    pub active: Timestamp,
    /// When it ends if nothing more happens.
    pub expires: Timestamp,
}

impl SessionSummary {
    /// What may be told about this one.
    pub fn of(session: &LiveSession, rules: &SessionRules) -> Self {
        Self {
            id: session.id.to_string(),
            account: session.principal().name.clone(),
            acr: assurance(&session.evidence).to_owned(),
            device: session.device.as_ref().to_owned(),
            address: session.address.clone().into(),
            created: session.created,
            active: session.active().unwrap_or_default(),
            expires: session.expiry(rules).0,
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The request cannot be carried out as it is; the text says what to change.
    #[error("{0}")]
    Refuse(String),
    /// There is nobody, or no session, of this name.
    #[error("there is no {0}")]
    Unknown(String),
    /// Something that is needed failed; the request may be repeated.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken => Self::Refuse(
                "this name is taken, or was once: names are not handed out again".into(),
            ),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Carries out administration.
pub struct Administration {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) assertions: Arc<Assertions>,
    pub(crate) hasher: Arc<PasswordHasher>,
    pub(crate) password_rules: Arc<PasswordRules>,
    pub(crate) clock: Clock,
    pub(crate) audit: Arc<Audit>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) authenticators: Arc<Authenticators>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) appeals: Arc<Appeals>,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Administration {
    /// Does what is asked.
    ///
    /// # Errors
    /// [`AdminError`]; nothing has changed then.
    pub async fn execute(&self, request: Request) -> Result<Reply, AdminError> {
        match request {
            Request::AccountAdd { name, password, change } => {
                self.add(&name, NewPassword::Typed(Secret::new(password)), &change).await
            }
            Request::AccountImport { name, password_hash, change } => {
                self.add(&name, NewPassword::import(&password_hash)?, &change).await
            }
            Request::AccountList => Ok(Reply::Accounts { accounts: self.accounts.list().await? }),
            Request::AccountShow { name } => {
                self.find(&name).await.map(|record| Reply::Account(Box::new(record)))
            }
            Request::AccountSet { name, change } => self.set(&name, &change).await,
            Request::AccountEnable { name } => self.switch(&name, State::Active).await,
            Request::AccountDisable { name } => self.switch(&name, State::Disabled).await,
            Request::AccountDelete { name } => self.switch(&name, State::Deleted).await,
            Request::AccountSetPassword { name, password } => {
                self.set_password(&name, NewPassword::Typed(Secret::new(password))).await
            }
            Request::AccountSetPasswordHash { name, password_hash } => {
                self.set_password(&name, NewPassword::import(&password_hash)?).await
            }
            Request::SessionList { name } => self.list_sessions(name).await,
            Request::SessionRevoke { id } => self.revoke(&id).await,
            Request::SessionRevokeAll { name } => self.revoke_all(&name).await,
            Request::KeyList => Ok(Reply::Keys { keys: self.assertions.keys() }),
            Request::KeyRotate => self.rotate().await,
            Request::AuditList(question) => self.audit_list(question).await,
            Request::AuditPage { after } => {
                let (records, end) = self.audit.page(after).await?;
                Ok(Reply::AuditRecords { records, end })
            }
            Request::AuditVerify => Ok(Reply::AuditReport(self.audit.verify().await?)),
            Request::LockList => self.list_locks().await,
            Request::LockShow { name } => {
                let record = self.find(&name).await?;
                Ok(Reply::Locks { locks: self.lockout.show(&record).await? })
            }
            Request::LockLift { name } => self.lift(&name).await,
            Request::FactorList { name } => self.list_factors(&name).await,
            Request::FactorReset { name } => self.reset_factors(&name).await,
            Request::TokenImport { text } => self.import_tokens(&text).await,
            Request::AppealList { all } => self.list_appeals(all).await,
            Request::AppealShow { id } => self.show_appeal(&id).await,
            Request::AppealDecide { id, grant } => self.decide_appeal(&id, grant).await,
            Request::AppealStop { id } => self.stop_appeal(&id).await,
            Request::VaultRotate => self.rotate_vault().await,
        }
    }

    async fn add(
        &self,
        name: &str,
        password: NewPassword,
        change: &AccountChange,
    ) -> Result<Reply, AdminError> {
        let name = Name::parse(name).map_err(AdminError::Refuse)?;
        let id = fresh_id().map_err(|_| AdminError::Failed("no randomness".into()))?;
        let mut record = PrincipalRecord {
            account_id: id.clone(),
            id,
            display_name: None,
            email: None,
            phone: None,
            security_email: None,
            language: None,
            protection: Protection::default(),
            roles: Vec::new(),
            groups: Vec::new(),
            state: State::Active,
            account_state: State::Active,
            idle_secs: None,
            verification: Verification::default(),
            created: self.clock.now(),
            password_hash: String::new(),
            name,
        };
        if record.name.sub_user().is_some() {
            let account = self.find(record.name.account()).await?;
            record.account_id = account.account_id;
            (record.account_state, record.idle_secs, record.verification) =
                (account.account_state, account.idle_secs, account.verification);
            record.protection = account.protection;
            // The account's spelling, not the one on the command line.
            record.name = Name::new(account.name.account(), record.name.sub_user())
                .map_err(AdminError::Refuse)?;
        }
        change.apply(&mut record, &self.sessions.rules())?;
        record.password_hash = self.hash(&password, &record).await?;
        let _turn = self.turn.lock().await;
        self.accounts.add(&record).await?;
        self.note(EventKind::UserCreated, &record);
        Ok(Reply::Account(Box::new(record)))
    }

    async fn set(&self, name: &str, change: &AccountChange) -> Result<Reply, AdminError> {
        let record = self.change(name, change).await?;
        self.note(EventKind::UserUpdated, &record);
        Ok(Reply::Account(Box::new(record)))
    }

    /// Writes a change, which holds for live sessions at once. Whoever asks notes it.
    pub(crate) async fn change(
        &self,
        name: &str,
        change: &AccountChange,
    ) -> Result<PrincipalRecord, AdminError> {
        let _turn = self.turn.lock().await;
        let was = self.find(name).await?;
        let mut record = was.clone();
        change.apply(&mut record, &self.sessions.rules())?;
        let members = self.accounts.list_account(&record.account_id).await?;
        for member in &members {
            self.sessions.expire(&member.id).await?;
        }
        self.accounts.update(&was, &record).await?;
        // Idle time and verification are the account's: its sub-users' sessions follow.
        for member in self.accounts.list_account(&record.account_id).await? {
            self.sessions.refresh(&member).await?;
        }
        Ok(record)
    }

    async fn switch(&self, name: &str, state: State) -> Result<Reply, AdminError> {
        let _turn = self.turn.lock().await;
        let mut record = self.find(name).await?;
        let members = match record.name.sub_user() {
            None => self.accounts.list_account(&record.account_id).await?,
            Some(_) => vec![record.clone()],
        };
        self.accounts.set_state(&record, state).await?;
        if state != State::Active {
            for member in &members {
                self.end_all(&member.id).await?;
            }
        }
        match record.name.sub_user() {
            None => record.account_state = state,
            Some(_) => record.state = state,
        }
        let event = Event::new(EventKind::UserState).principal(&record.id).account(&record.name);
        self.audit.record(&event.with("state", state.as_str()));
        Ok(Reply::Account(Box::new(record)))
    }

    async fn set_password(&self, name: &str, password: NewPassword) -> Result<Reply, AdminError> {
        let record = self.find(name).await?;
        let hash = self.hash(&password, &record).await?;
        let _turn = self.turn.lock().await;
        let record = self.find(name).await?;
        self.accounts.set_password(&record.id, None, &hash).await?;
        // Whoever knew the old password may be signed in with it.
        self.end_all(&record.id).await?;
        // And what was guessed at it says nothing about the new one.
        self.lockout.lift_kind(&record.id, Guess::Password).await?;
        self.note(EventKind::PasswordChange, &record);
        Ok(Reply::Account(Box::new(record)))
    }

    async fn list_sessions(&self, name: Option<String>) -> Result<Reply, AdminError> {
        let ids = match name {
            Some(name) => vec![self.find(&name).await?.id],
            None => self.sessions.principal_ids(),
        };
        let now = self.clock.now();
        let live = ids.iter().flat_map(|id| self.sessions.list(id, now));
        Ok(Reply::Sessions {
            sessions: live
                .map(|session| SessionSummary::of(&session, &self.sessions.rules()))
                .collect(),
        })
    }

    async fn revoke(&self, id: &str) -> Result<Reply, AdminError> {
        let now = self.clock.now();
        let ids = self.sessions.principal_ids();
        let Some(session) = ids
            .iter()
            .flat_map(|owner| self.sessions.list(owner, now))
            .find(|session| *session.id == *id)
        else {
            return Err(AdminError::Unknown(format!("session {id}")));
        };
        self.sessions.end(std::slice::from_ref(&session)).await?;
        let principal = session.principal();
        let event = Event::new(EventKind::SessionRevoked).session(&session.id);
        self.audit.record(&event.principal(&principal.id).account(&principal.name));
        Ok(Reply::Ended { ended: 1 })
    }

    async fn revoke_all(&self, name: &str) -> Result<Reply, AdminError> {
        let _turn = self.turn.lock().await;
        let record = self.find(name).await?;
        let ended = self.end_all(&record.id).await?;
        let event = Event::new(EventKind::SessionRevoked).principal(&record.id);
        self.audit.record(&event.account(&record.name).with("count", ended));
        Ok(Reply::Ended { ended })
    }

    async fn rotate(&self) -> Result<Reply, AdminError> {
        let assertions = Arc::clone(&self.assertions);
        let rotated = tokio::task::spawn_blocking(move || assertions.rotate()).await;
        let keys = rotated
            .map_err(|error| AdminError::Failed(error.to_string()))?
            .map_err(|error| AdminError::Failed(error.to_string()))?;
        let kid = keys.last().map_or("", |key| key.kid.as_str());
        self.audit.record(&Event::new(EventKind::KeyRotated).with("kid", kid));
        Ok(Reply::Keys { keys })
    }

    fn note(&self, kind: EventKind, record: &PrincipalRecord) {
        self.audit.record(&Event::new(kind).principal(&record.id).account(&record.name));
    }

    async fn list_locks(&self) -> Result<Reply, AdminError> {
        let mut locks = Vec::new();
        for id in self.lockout.subjects().await? {
            if let Some(record) = self.accounts.find_id(&id).await? {
                locks.extend(self.lockout.show(&record).await?);
            }
        }
        locks.sort_by(|a, b| a.account.cmp(&b.account));
        Ok(Reply::Locks { locks })
    }

    async fn lift(&self, name: &str) -> Result<Reply, AdminError> {
        let record = self.find(name).await?;
        let locks = self.lockout.show(&record).await?;
        self.lockout.lift(&record.id).await?;
        self.note(EventKind::LoginUnlock, &record);
        Ok(Reply::Locks { locks })
    }

    /// Ends what somebody has from earlier sign-ins: their sessions, and the trust in their browsers.
    pub(crate) async fn end_all(&self, principal_id: &str) -> Result<usize, AdminError> {
        self.lockout.forget_devices(principal_id).await?;
        let sessions = self.sessions.all_of(principal_id).await?;
        self.sessions.end(&sessions).await?;
        Ok(sessions.len())
    }

    async fn find(&self, name: &str) -> Result<PrincipalRecord, AdminError> {
        let unknown = || AdminError::Unknown(format!("account {name:?}"));
        let key = Name::parse(name).map_err(|_| unknown())?.key();
        let found = self.accounts.find(&key).await?;
        found
            .filter(|record| {
                record.state != State::Deleted && record.account_state != State::Deleted
            })
            .ok_or_else(unknown)
    }
}
