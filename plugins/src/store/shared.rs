//! What a store of sessions gives besides, if several gates share it.

use async_trait::async_trait;

use super::{SessionStore, StoreError};
use crate::clock::Timestamp;
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
        /// The token that it had last.
        hash: TokenHash,
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
