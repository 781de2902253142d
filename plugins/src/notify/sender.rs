//! Who sends a message, and what can go wrong. Who speaks SMTP or HTTP is the gateway.

use std::time::Duration;

use async_trait::async_trait;

use super::message::{Body, Channel};
use crate::clock::{Clock, Timestamp};
use crate::store::MessageStore;

/// A message as a sender gets it.
pub struct Parcel<'a> {
    /// The same however often it is tried.
    pub id: &'a str,
    /// By which way it goes.
    pub channel: Channel,
    /// What it is.
    pub kind: &'a str,
    /// The time of this try, by the wall clock.
    pub at: Timestamp,
    /// What it says.
    pub body: &'a Body,
}

/// Sends messages of one way out.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Sends it. A sender whose receiver cannot tell that a message comes twice calls
    /// [`Handover::pass`] before it gives the message away, and sends nothing if that fails.
    ///
    /// # Errors
    /// [`SendError`].
    async fn send(&self, parcel: &Parcel<'_>, handover: &Handover<'_>) -> Result<(), SendError>;

    /// How long a try can take.
    fn longest(&self) -> Duration;
}

/// Why a message was not sent, or is not known to have been. Nothing here says what a server said
/// in words of its own: it might repeat the message.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Definitely not accepted, and it may be otherwise later.
    #[error("not accepted for now: {0}")]
    Later(String),
    /// Definitely not accepted, now and later.
    #[error("refused: {0}")]
    Refused(String),
    /// Perhaps accepted.
    #[error("perhaps accepted: {0}")]
    Unclear(String),
    /// Another gate has it by now.
    #[error("somebody else sends it")]
    Taken,
}

/// The point after which only the receiver knows whether it has the message.
pub struct Handover<'a> {
    store: &'a dyn MessageStore,
    clock: &'a Clock,
    id: &'a str,
    claim: &'a str,
    lease: Duration,
}

impl<'a> Handover<'a> {
    pub(super) fn new(
        store: &'a dyn MessageStore,
        clock: &'a Clock,
        id: &'a str,
        claim: &'a str,
        lease: Duration,
    ) -> Self {
        Self { store, clock, id, claim, lease }
    }

    /// Notes durably that the message is about to be given away: should this gate vanish, nobody
    /// sends it again.
    ///
    /// # Errors
    /// When it could not be noted, or somebody else has the message: it must not be sent then.
    pub async fn pass(&self) -> Result<(), SendError> {
        let lease = self.clock.now() + self.lease;
        match self.store.hand_over(self.id, self.claim, lease).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SendError::Taken),
            Err(error) => Err(SendError::Later(error.to_string())),
        }
    }
}
