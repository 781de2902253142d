//! What the outbox, codes and the history of sign-ins ask of a store.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::code::{Sending, StoredCode};
use crate::notify::{Channel, Claimed, Due, Outcome, Waiting};
use crate::risk::PastSignIn;

/// Live state: messages that wait to be sent.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Adds a message, unless `queue_max` of its channel wait already. `false`: they do.
    async fn add_message(&self, message: &Waiting, queue_max: u64) -> Result<bool, StoreError>;

    /// Gives up what has expired, and what was handed over by somebody who never said what came of
    /// it; then takes up to `limit` messages that are due, those that expire first, for whoever has
    /// this `claim`, until `lease`, and counts the try. Nobody else gets them meanwhile.
    async fn claim_messages(
        &self,
        channel: Channel,
        claim: &str,
        now: Timestamp,
        lease: Timestamp,
        limit: u32,
    ) -> Result<Due, StoreError>;

    /// Notes that from now on only the receiver knows what becomes of the message. `false`: it is
    /// somebody else's by now.
    async fn hand_over(&self, id: &str, claim: &str, lease: Timestamp) -> Result<bool, StoreError>;

    /// Notes what came of a try, and forgets the text if there will be no other. What is somebody
    /// else's by now stays as it is.
    async fn settle_message(
        &self,
        message: &Claimed,
        claim: &str,
        outcome: Outcome,
    ) -> Result<(), StoreError>;

    /// How many messages of a channel wait.
    async fn waiting(&self, channel: Channel) -> Result<u64, StoreError>;

    /// Forgets messages that were settled, and expired before this.
    async fn prune_messages(&self, before: Timestamp) -> Result<(), StoreError>;
}

/// Live state: codes that were sent, and how often.
#[async_trait]
pub trait CodeStore: Send + Sync {
    /// Counts a code to this destination, if there is room for it. What was counted is durable.
    async fn count_sending(
        &self,
        destination: &str,
        now: Timestamp,
        rules: &doorward_config::Codes,
    ) -> Result<Sending, StoreError>;

    /// Puts a code in the place of the one of the same binding. The tries at that one stay counted,
    /// unless it has expired by `now`.
    async fn put_code(&self, code: &StoredCode, now: Timestamp) -> Result<(), StoreError>;

    /// How many tries at the code of this binding were counted; none if there is no such code, or it
    /// has expired.
    async fn code_tries(&self, binding: &str, now: Timestamp) -> Result<u32, StoreError>;

    /// Counts a try at the code of this binding, and gives it. `None`, and nothing is counted, when
    /// there is none, it has expired, or it was tried too often.
    async fn try_code(
        &self,
        binding: &str,
        now: Timestamp,
        tries_max: u32,
    ) -> Result<Option<StoredCode>, StoreError>;

    /// Forgets this very code. `false`: it is not there any more.
    async fn use_code(&self, code: &StoredCode) -> Result<bool, StoreError>;

    /// Forgets codes that have expired by `now`, and what was sent before `sent`.
    async fn prune_codes(&self, now: Timestamp, sent: Timestamp) -> Result<(), StoreError>;
}

/// Records: recent sign-ins.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// Adds a sign-in, and forgets the oldest of the same principal and result but for so many.
    async fn note_sign_in(&self, sign_in: &PastSignIn, most: u32) -> Result<(), StoreError>;

    /// The latest `n` of a principal, latest first.
    async fn sign_ins(&self, principal_id: &str, n: u32) -> Result<Vec<PastSignIn>, StoreError>;
}
