//! Messages that leave the gate: the outbox.
//!
//! A message is durable before whoever asked for it hears so ([`Notify::enqueue`]), and is sent
//! later ([`Notify::deliver`]), by whichever gate takes it first. What was definitely not accepted is
//! tried again, with growing waits, up to a number of tries and an age; what may have been accepted
//! is not sent again by a sender whose receiver could not tell ([`Handover`]). A code is never sent
//! late: it is dropped when it is worth nothing any more. The text of a message is
//! encrypted in the store, gone from it as soon as it is known what came of it, and never logged.
//!
//! Bounds: `queue_max` messages wait for each way out. When they do, [`EnqueueError::Full`]. Ways out
//! do not wait for each other, and at most [`PARALLEL`] messages of each are on their way at once.
//!
//! - [`texts`]: what messages say. [`alerts`]: who is told of what.
//! - [`device`]: what a browser is called in them.
//!
//! Not here: SMTP, HTTP and files, which are the gateway's [`Sender`]s.

pub mod alerts;
pub mod device;
mod message;
mod sender;
pub mod texts;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_certs::vault::Vault;
use doorward_config::Notify as Rules;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::account::fresh_id;
use crate::clock::{Clock, Timestamp};
use crate::store::{MessageStore, StoreError};

pub use message::{Body, Channel, Claimed, Due, GivenUp, Message, Outcome, Waiting};
pub use sender::{Handover, Parcel, SendError, Sender};

/// How many messages of one way out are on their way at once.
pub const PARALLEL: u32 = 8;

/// How often it is looked whether a message is due. A new one is looked at at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much longer than its sender may take a message stays with who tries to send it: the store is
/// asked twice meanwhile.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// Nobody has said how messages of this kind are sent.
    #[error("no way to send this is configured")]
    NoWay,
    /// Too many messages wait already.
    #[error("too many messages wait")]
    Full,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be written down.
    #[error("the message could not be made")]
    Failed,
}

/// The outbox.
pub struct Notify {
    rules: Rules,
    store: Arc<dyn MessageStore>,
    vault: Arc<Vault>,
    clock: Clock,
    senders: OnceLock<Senders>,
    wake: Arc<tokio::sync::Notify>,
    /// Held by who delivers: a second one of this process would find nothing to do.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Who sends what.
#[derive(Default)]
pub struct Senders {
    /// E-mail.
    pub email: Option<Arc<dyn Sender>>,
    /// Text messages.
    pub text_message: Option<Arc<dyn Sender>>,
    /// What operators are told.
    pub webhook: Option<Arc<dyn Sender>>,
}

impl Senders {
    fn of(&self, channel: Channel) -> Option<&Arc<dyn Sender>> {
        match channel {
            Channel::Email => self.email.as_ref(),
            Channel::TextMessage => self.text_message.as_ref(),
            Channel::Webhook => self.webhook.as_ref(),
        }
    }
}

impl Notify {
    /// An outbox over this store. Nothing is sent before [`Self::connect`].
    pub fn new(
        rules: &Rules,
        store: Arc<dyn MessageStore>,
        vault: Arc<Vault>,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            rules: rules.clone(),
            store,
            vault,
            clock,
            senders: OnceLock::new(),
            wake: Arc::default(),
            turn: Arc::default(),
        })
    }

    /// The same outbox by other rules. Nothing is sent before [`Self::connect`].
    pub fn again(&self, rules: &Rules) -> Arc<Self> {
        Arc::new(Self {
            rules: rules.clone(),
            store: Arc::clone(&self.store),
            vault: Arc::clone(&self.vault),
            clock: self.clock.clone(),
            senders: OnceLock::new(),
            wake: Arc::clone(&self.wake),
            turn: Arc::clone(&self.turn),
        })
    }

    /// Says who sends. The first to say so is believed.
    pub fn connect(&self, senders: Senders) {
        // A second call changes nothing.
        let _ = self.senders.set(senders);
        self.wake.notify_one();
    }

    /// Does the configuration have a way to send this?
    pub fn can(&self, channel: Channel) -> bool {
        let is_configured = match channel {
            Channel::Email => self.rules.smtp.is_some(),
            Channel::TextMessage => self.rules.text_message.is_some(),
            Channel::Webhook => self.rules.webhook.is_some(),
        };
        is_configured || self.rules.outbox_dir.is_some()
    }

    /// Puts a message into the outbox. It is durable when this returns `Ok`; gives its id.
    ///
    /// # Errors
    /// [`EnqueueError`]; nothing will be sent then.
    pub async fn enqueue(&self, message: &Message) -> Result<String, EnqueueError> {
        if !self.can(message.channel) {
            return Err(EnqueueError::NoWay);
        }
        let id = match &message.once {
            Some(name) => id_of(name, message),
            None => fresh_id().map_err(|_| EnqueueError::Failed)?,
        };
        let now = self.clock.now();
        let sealed = message.body.seal(&self.vault, &id).ok_or(EnqueueError::Failed)?;
        let waiting = Waiting {
            id: id.clone(),
            channel: message.channel,
            kind: message.kind.clone(),
            body: sealed,
            due: now,
            expires: message.expires.unwrap_or(now + self.rules.age_max),
        };
        match self.store.add_message(&waiting, self.rules.queue_max).await {
            Ok(true) => self.wake.notify_one(),
            Ok(false) => return Err(EnqueueError::Full),
            // It was told before, by another gate perhaps.
            Err(StoreError::Taken) if message.once.is_some() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(id)
    }

    /// Delivers whatever is due, for ever, by the rules that hold by then.
    pub(crate) async fn run(current: impl Fn() -> Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = Arc::clone(&current().wake);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = wake.notified() => {}
            }
            current().deliver().await;
        }
    }

    /// Delivers what is due now. Returns when each of these messages was tried.
    pub async fn deliver(self: &Arc<Self>) {
        let _turn = self.turn.lock().await;
        let Some(senders) = self.senders.get() else { return };
        let by = async |channel| {
            let Some(sender) = senders.of(channel) else { return };
            if let Err(error) = self.deliver_by(channel, sender).await {
                let channel = channel.as_str();
                tracing::error!(event = "outbox_unavailable", channel, %error, "messages wait");
            }
        };
        tokio::join!(by(Channel::Email), by(Channel::TextMessage), by(Channel::Webhook));
    }

    /// How many messages wait to be sent this way.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not say.
    pub async fn waiting(&self, channel: Channel) -> Result<u64, StoreError> {
        self.store.waiting(channel).await
    }

    /// Forgets what came of messages of which nobody needs to know any more.
    ///
    /// # Errors
    /// [`StoreError`] when they are still there.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now().0;
        let keep = u64::try_from(self.rules.keep.as_millis()).unwrap_or(u64::MAX);
        self.store.prune_messages(Timestamp(now.saturating_sub(keep))).await
    }

    async fn deliver_by(
        self: &Arc<Self>,
        channel: Channel,
        sender: &Arc<dyn Sender>,
    ) -> Result<(), StoreError> {
        let lease = sender.longest() + LEASE_MARGIN;
        loop {
            let claim = fresh_id().map_err(|error| StoreError::Failed(Box::new(error)))?;
            let now = self.clock.now();
            let due =
                self.store.claim_messages(channel, &claim, now, now + lease, PARALLEL).await?;
            for GivenUp { id, kind, perhaps_sent } in &due.given_up {
                tracing::warn!(event = "message_given_up", id, kind, perhaps_sent);
            }
            if due.claimed.is_empty() {
                return Ok(());
            }
            let mut on_their_way = JoinSet::new();
            for claimed in due.claimed {
                let (notify, sender) = (Arc::clone(self), Arc::clone(sender));
                let claim = claim.clone();
                on_their_way
                    .spawn(async move { notify.try_one(channel, &*sender, claimed, &claim).await });
            }
            let mut stuck = false;
            while let Some(tried) = on_their_way.join_next().await {
                // What panicked is tried again when its lease is over.
                stuck |= tried.unwrap_or(Ok(true))?;
            }
            // Who does not take messages now is left alone until the next look.
            if stuck {
                return Ok(());
            }
        }
    }

    /// Tries to send one message; says whether it has to be tried again.
    async fn try_one(
        &self,
        channel: Channel,
        sender: &dyn Sender,
        claimed: Claimed,
        claim: &str,
    ) -> Result<bool, StoreError> {
        let lease = sender.longest() + LEASE_MARGIN;
        let handover = Handover::new(&*self.store, &self.clock, &claimed.id, claim, lease);
        let sent = match Body::unseal(&self.vault, &claimed.id, &claimed.body) {
            Some(body) => {
                let (id, kind, at) = (&*claimed.id, &*claimed.kind, self.clock.wall());
                sender.send(&Parcel { id, channel, kind, at, body: &body }, &handover).await
            }
            None => Err(SendError::Refused("it cannot be read".into())),
        };
        let outcome = match &sent {
            Ok(()) => Outcome::Sent,
            // Another gate has it by now, and says what comes of it.
            Err(SendError::Taken) => return Ok(false),
            Err(SendError::Unclear(_)) => Outcome::Unclear,
            Err(SendError::Refused(_)) => Outcome::Failed,
            Err(SendError::Later(_)) if claimed.tries >= self.rules.tries_max => Outcome::Failed,
            Err(SendError::Later(_)) => {
                Outcome::Retry(self.clock.now() + self.wait_after(claimed.tries))
            }
        };
        let (id, kind, tries) = (&claimed.id, &claimed.kind, claimed.tries);
        match (&sent, outcome) {
            (Ok(()), _) => tracing::info!(event = "message_sent", id, kind, tries),
            (Err(error), Outcome::Retry(_)) => {
                tracing::warn!(event = "message_delayed", id, kind, tries, %error)
            }
            (Err(error), _) => tracing::error!(event = "message_failed", id, kind, tries, %error),
        }
        self.store.settle_message(&claimed, claim, outcome).await?;
        Ok(matches!(outcome, Outcome::Retry(_)))
    }

    /// How long a message waits after so many tries: twice as long each time, to the longest, and a
    /// quarter more or less by chance, so that messages of one moment do not come back together.
    fn wait_after(&self, tries: u32) -> Duration {
        let doubled = 2_u32.checked_pow(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.rules.retry_first.saturating_mul(doubled).min(self.rules.retry_max);
        let mut chance = [128];
        // Without randomness they come back together.
        let _ = aws_lc_rs::rand::fill(&mut chance);
        wait.mul_f64(0.75 + f64::from(chance[0]) / 512.0)
    }
}

/// The id of a message that goes once: the same for whoever makes it.
fn id_of(name: &str, message: &Message) -> String {
    let parts = [name, &message.kind, message.channel.as_str(), &message.body.to];
    let hash = digest(&SHA256, parts.join("\n").as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests;
