//! Which server keeps what.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    AccountStore, AppealStore, AuditStore, AuthenticatorStore, ChallengeStore, CodeStore,
    GuessStore, HistoryStore, HoldStore, MessageStore, PostgresStore, RedisStore, SessionStore,
    SharedSessionStore, SharedState, SqliteStore, StoreError, Timings,
};

/// A server, or a file, that keeps some of it.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Stable `snake_case` name, used in logs and metrics.
    fn name(&self) -> &'static str;

    /// Does it answer, and can it be written to?
    ///
    /// # Errors
    /// [`StoreError`] when not.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Waits for work under way and lets go of it for good.
    async fn close(&self);

    /// How long its calls take. Every one of them is counted there.
    fn timings(&self) -> &Timings;
}

/// Each kind of what is kept, at whoever keeps it.
pub struct Stores {
    /// Who there is.
    pub accounts: Arc<dyn AccountStore>,
    /// What they can prove themselves with.
    pub authenticators: Arc<dyn AuthenticatorStore>,
    /// What they have asked for when they could not.
    pub appeals: Arc<dyn AppealStore>,
    /// When they signed in.
    pub history: Arc<dyn HistoryStore>,
    /// What they are to be told.
    pub messages: Arc<dyn MessageStore>,
    /// Who is signed in.
    pub sessions: Arc<dyn SessionStore>,
    /// The same, if other gates change it too.
    pub shared_sessions: Option<Arc<dyn SharedSessionStore>>,
    /// What gates know together, if there are several.
    pub shared_state: Option<Arc<dyn SharedState>>,
    /// Wrong guesses.
    pub guesses: Arc<dyn GuessStore>,
    /// What people were asked for.
    pub challenges: Arc<dyn ChallengeStore>,
    /// Requests that are kept.
    pub holds: Arc<dyn HoldStore>,
    /// Codes that were sent.
    pub codes: Arc<dyn CodeStore>,
    /// What has happened at this gate.
    pub audit: Arc<dyn AuditStore>,
    backends: Vec<Arc<dyn Backend>>,
}

impl Stores {
    /// All in one file.
    pub fn embedded(store: &Arc<SqliteStore>) -> Self {
        Self {
            accounts: store.clone(),
            authenticators: store.clone(),
            appeals: store.clone(),
            history: store.clone(),
            messages: store.clone(),
            sessions: store.clone(),
            shared_sessions: None,
            shared_state: None,
            guesses: store.clone(),
            challenges: store.clone(),
            holds: store.clone(),
            codes: store.clone(),
            audit: store.clone(),
            backends: vec![store.clone()],
        }
    }

    /// What is live stands in a server that other gates share.
    #[must_use]
    pub fn with_live_in(mut self, store: &Arc<RedisStore>) -> Self {
        self.sessions = store.clone();
        self.shared_sessions = Some(store.clone());
        self.shared_state = Some(store.clone());
        self.guesses = store.clone();
        self.challenges = store.clone();
        self.holds = store.clone();
        self.codes = store.clone();
        self.backends.push(store.clone());
        self
    }

    /// Records in PostgreSQL; the rest stays where it is.
    #[must_use]
    pub fn with_records_in(mut self, postgres: &Arc<PostgresStore>) -> Self {
        self.accounts = postgres.clone();
        self.authenticators = postgres.clone();
        self.appeals = postgres.clone();
        self.history = postgres.clone();
        self.messages = postgres.clone();
        self.backends.push(postgres.clone());
        self
    }

    /// Do all of them answer?
    ///
    /// # Errors
    /// [`StoreError`] of the first that does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        for backend in &self.backends {
            backend.ping().await?;
        }
        Ok(())
    }

    /// How long the calls to each of them take, by its name.
    pub fn timings(&self) -> impl Iterator<Item = (&'static str, &Timings)> {
        self.backends.iter().map(|backend| (backend.name(), backend.timings()))
    }

    /// Waits for work under way and lets go of all of them for good.
    pub async fn close(&self) {
        for backend in &self.backends {
            backend.close().await;
        }
    }
}
