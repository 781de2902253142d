//! What a store gives besides, if several gates share it.

use std::time::Duration;

use async_trait::async_trait;

use super::{SessionStore, StoreError};
use crate::clock::Timestamp;
use crate::rate_limit::Measure;
use crate::session::SessionRecord;
use crate::session::token::{SessionId, TokenHash};

/// How far the changes of a store were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which life of the store this is.
    pub epoch: String,
    /// Number of the last change that was read.
    pub number: u64,
    /// On which connection. What another one tells may not follow.
    pub connection: u64,
}

/// Something that a gate did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session began, or got another token.
    Begun(Box<SessionRecord>),
    /// A session is over.
    Ended {
        /// Its id.
        id: SessionId,
        /// Whose it was.
        principal_id: String,
    },
    /// The record of the principal with this id was changed.
    Principal(String),
}

/// What was done since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which it was done.
    pub changes: Vec<Change>,
    /// How far these go.
    pub position: Position,
    /// There are no more yet.
    pub whole: bool,
}

/// Live state of several gates: each has a copy of the sessions, and hears what the others do.
#[async_trait]
pub trait SharedSessionStore: SessionStore {
    /// How far changes go now. Sessions that are read after this are what they were then, or newer.
    async fn position(&self) -> Result<Position, StoreError>;

    /// What was done since. `None`: that is not known any more, everything has to be read anew.
    async fn changes(&self, since: &Position) -> Result<Option<Changes>, StoreError>;

    /// The session of this token, with its latest activity.
    async fn look_up(&self, hash: &TokenHash) -> Result<Option<SessionRecord>, StoreError>;

    /// Ends sessions unless they were active after the time given with each. Tells for each when it
    /// was last active, `None` where it is over.
    async fn expire(
        &self,
        sessions: &[(SessionId, Timestamp)],
    ) -> Result<Vec<Option<Timestamp>>, StoreError>;

    /// Tells all gates that these principals' records have changed.
    async fn tell_of(&self, principal_ids: &[String]) -> Result<(), StoreError>;
}

/// Live state of several gates that no single one could keep.
#[async_trait]
pub trait SharedState: Send + Sync {
    /// Notes that something was used. `false`: it was before. It is remembered until that time.
    async fn use_once(
        &self,
        what: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Measures a request by the generic cell rate algorithm, and takes it from the allowance of
    /// this key: `burst` requests, of which one comes back in each stretch of `every`.
    async fn measure(
        &self,
        key: &str,
        (every, burst): (Duration, u32),
        now: Timestamp,
    ) -> Result<Measure, StoreError>;

    /// Shows others the public keys of this gate, by their names, until that time.
    async fn publish_keys(
        &self,
        keys: &[(String, String)],
        until: Timestamp,
    ) -> Result<(), StoreError>;

    /// The public keys of all gates.
    async fn published_keys(&self, now: Timestamp) -> Result<Vec<String>, StoreError>;

    /// What time it is for the gates that are there; `None`: there are none.
    async fn clock(&self) -> Result<Option<Timestamp>, StoreError>;

    /// This gate is there. Gives how many there are that have said so since `since`.
    async fn attend(&self, gate: &str, now: Timestamp, since: Timestamp)
    -> Result<u32, StoreError>;
}
