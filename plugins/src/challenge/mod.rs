//! Challenges: what somebody was asked for and has not given yet.
//!
//! The second step of a sign-in, an approval, the binding of an authenticator: each is a record in
//! the store, so that it does not matter which gate of several is asked next, or whether one was
//! restarted meanwhile. A challenge is bound to the session, or to the token of the pending sign-in,
//! that it was made for; nobody else finds it. It ends at its time, after so many wrong answers, and
//! when it is met: then exactly one caller gets it ([`Challenges::take`]).
//!
//! Bounds: so many of one purpose for one binding ([`PER_BINDING_MAX`]); the oldest make room. Who
//! can begin one has given a right password, or a session.

mod ticket;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_certs::vault::Vault;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::fresh_id;
use crate::clock::{Clock, Timestamp};
use crate::code;
use crate::store::{ChallengeStore, StoreError};

pub use ticket::Ticket;

/// How many challenges of one purpose there are for one session or pending sign-in.
pub const PER_BINDING_MAX: u32 = 16;

/// A challenge as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeRecord {
    /// Names it: 128 random bits in base64url.
    pub id: String,
    /// What it is for.
    pub purpose: String,
    /// The session, or the hash of a token, that alone can meet it.
    pub bound_to: String,
    /// Whom it is about.
    pub principal_id: String,
    /// What the purpose keeps, encrypted.
    pub state: Vec<u8>,
    /// How often the state was replaced.
    pub version: u32,
    /// Wrong answers so far, the one under way included.
    pub tries: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When it is over.
    pub expires: Timestamp,
}

/// What a kind of challenge keeps.
pub trait Purpose: Serialize + DeserializeOwned + Send + Sync {
    /// Stable name in the store.
    const NAME: &'static str;

    /// What a code by text message is for that meets such a challenge; `None`: none does.
    const CODE: Option<code::Purpose> = None;
}

/// A challenge that was found, and is live.
#[derive(Clone, Debug)]
pub struct Challenge<P> {
    /// Names it.
    pub id: String,
    /// Whom it is about.
    pub principal_id: String,
    /// Who alone can meet it.
    pub bound_to: String,
    /// What it is about.
    pub state: P,
    /// When it is over.
    pub expires: Timestamp,
    /// Answers so far.
    pub tries: u32,
    version: u32,
}

/// All challenges.
pub struct Challenges {
    store: Arc<dyn ChallengeStore>,
    vault: Arc<Vault>,
    clock: Clock,
    /// How many were begun and how they went on, by purpose.
    counts: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Challenges {
    /// Keeps them in `store`, encrypted by `vault`.
    pub fn new(store: Arc<dyn ChallengeStore>, vault: Arc<Vault>, clock: Clock) -> Self {
        Self { store, vault, clock, counts: Mutex::default() }
    }

    /// How many were begun at this gate, met, and tried too often, by purpose.
    pub fn counts(&self) -> Vec<((&'static str, &'static str), u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(what, count)| (*what, *count)).collect()
    }

    fn note<P: Purpose>(&self, outcome: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((P::NAME, outcome)).or_default() += 1;
    }

    /// Begins a challenge; it is durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; there is none then.
    pub async fn begin<P: Purpose>(
        &self,
        principal_id: &str,
        bound_to: &str,
        state: P,
        life: Duration,
    ) -> Result<Challenge<P>, StoreError> {
        let id = fresh_id().map_err(|error| StoreError::Failed(Box::new(error)))?;
        let now = self.clock.now();
        let record = ChallengeRecord {
            state: self.seal(&id, &state)?,
            purpose: P::NAME.to_owned(),
            bound_to: bound_to.to_owned(),
            principal_id: principal_id.to_owned(),
            version: 0,
            tries: 0,
            created: now,
            expires: now + life,
            id,
        };
        self.store.begin_challenge(&record, PER_BINDING_MAX).await?;
        self.note::<P>("begun");
        Ok(opened(record, state))
    }

    /// The live challenge of this id, if it is of this purpose and binding.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find<P: Purpose>(
        &self,
        id: &str,
        bound_to: &str,
    ) -> Result<Option<Challenge<P>>, StoreError> {
        let found = self.store.challenge(id).await?;
        self.open(found, bound_to)
    }

    /// The latest live challenge of this purpose and binding.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest<P: Purpose>(
        &self,
        bound_to: &str,
    ) -> Result<Option<Challenge<P>>, StoreError> {
        let found = self.store.latest_challenge(P::NAME, bound_to).await?;
        self.open(found, bound_to)
    }

    /// Counts an answer, durably and before it is looked at. `false`: there were `tries_max` of
    /// them, or the challenge is gone; the answer must not be looked at.
    ///
    /// # Errors
    /// [`StoreError`]; the answer must not be looked at then either.
    pub async fn count<P: Purpose>(
        &self,
        challenge: &Challenge<P>,
        tries_max: u32,
    ) -> Result<bool, StoreError> {
        let counted = self.store.count_try(&challenge.id, tries_max, self.clock.now()).await?;
        if !counted {
            self.note::<P>("tried-too-often");
        }
        Ok(counted)
    }

    /// Replaces what it keeps, unless somebody else did so meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace<P: Purpose>(
        &self,
        challenge: &mut Challenge<P>,
    ) -> Result<bool, StoreError> {
        let sealed = self.seal(&challenge.id, &challenge.state)?;
        let replaced = self.store.replace_state(&challenge.id, challenge.version, &sealed).await?;
        if replaced {
            challenge.version += 1;
        }
        Ok(replaced)
    }

    /// Ends it because it was met. Exactly one of all that try gets `true`, in the state that it has
    /// here: not if that was replaced meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take<P: Purpose>(&self, challenge: &Challenge<P>) -> Result<bool, StoreError> {
        let (id, version) = (&challenge.id, challenge.version);
        let taken = self.store.take_challenge(id, version, self.clock.now()).await?;
        if taken {
            self.note::<P>("met");
        }
        Ok(taken)
    }

    /// Forgets those whose time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.store.prune_challenges(self.clock.now()).await
    }

    fn open<P: Purpose>(
        &self,
        found: Option<ChallengeRecord>,
        bound_to: &str,
    ) -> Result<Option<Challenge<P>>, StoreError> {
        let live = |record: &ChallengeRecord| {
            record.purpose == P::NAME
                && record.bound_to == bound_to
                && self.clock.now() < record.expires
        };
        let Some(record) = found.filter(live) else { return Ok(None) };
        let state = self.vault.unseal(&place(&record.id), &record.state);
        let state = state.ok().and_then(|state| serde_json::from_slice(&state).ok());
        let state = state.ok_or(StoreError::Corrupt("challenge"))?;
        Ok(Some(opened(record, state)))
    }

    fn seal<P: Purpose>(&self, id: &str, state: &P) -> Result<Vec<u8>, StoreError> {
        let text = serde_json::to_vec(state).map(zeroize::Zeroizing::new);
        let text = text.map_err(|error| StoreError::Failed(Box::new(error)))?;
        self.vault.seal(&place(id), &text).map_err(|error| StoreError::Failed(Box::new(error)))
    }
}

fn opened<P>(record: ChallengeRecord, state: P) -> Challenge<P> {
    Challenge {
        id: record.id,
        principal_id: record.principal_id,
        bound_to: record.bound_to,
        state,
        expires: record.expires,
        tries: record.tries,
        version: record.version,
    }
}

fn place(id: &str) -> String {
    format!("challenge {id}")
}
