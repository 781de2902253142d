//! What was heard of others, and cannot be believed before an account's record is read.
//!
//! Records are kept by another server, which may be slow or gone while everything else is well.
//! Nobody waits for it who is not concerned: ends are heard at once, and what needs a record waits
//! here. Of its principals nothing that the copy says is trusted; each request of theirs asks.
//!
//! Bounds: [`UNREAD_MAX`] changes. When there are as many, the next is not heard before some are
//! read, and soon no copy is trusted.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::live::lock;
use super::shared::Shared;
use super::{SessionKey, SessionRecord, Sessions};
use crate::store::{Change, StoreError};

const UNREAD_MAX: usize = 10_000;

/// Changes in the order in which they were heard.
#[derive(Default)]
pub(super) struct Unread {
    queue: Mutex<Queue>,
    /// There are some: the one thing that a request looks at when there are none.
    some: AtomicBool,
    /// One at a time reads.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Queue {
    changes: VecDeque<Change>,
    /// How many of them there are of each principal.
    principals: HashMap<String, usize>,
    /// Principals of whom the store has said something else than the copy, and when in the order of
    /// questions: until an answer to a later one was heard, the copy may be behind.
    doubted: HashMap<String, u64>,
    /// How often others were asked what is new.
    questions: u64,
}

impl Queue {
    fn has_some(&self) -> bool {
        !self.changes.is_empty() || !self.doubted.is_empty()
    }
}

impl Unread {
    /// # Errors
    /// When there are too many.
    pub(super) fn push(&self, change: Change) -> Result<(), StoreError> {
        let mut queue = lock(&self.queue);
        if queue.changes.len() >= UNREAD_MAX {
            return Err(StoreError::Failed("too many accounts' records wait to be read".into()));
        }
        *queue.principals.entry(principal(&change).to_owned()).or_default() += 1;
        queue.changes.push_back(change);
        self.some.store(true, Ordering::Release);
        Ok(())
    }

    /// Is there something of this principal?
    pub(super) fn is_about(&self, principal_id: &str) -> bool {
        if !self.some.load(Ordering::Acquire) {
            return false;
        }
        let queue = lock(&self.queue);
        queue.principals.contains_key(principal_id) || queue.doubted.contains_key(principal_id)
    }

    /// The copy is behind in what concerns this principal, of whom it has a session.
    pub(super) fn doubt(&self, principal_id: &str) {
        let mut queue = lock(&self.queue);
        let questions = queue.questions;
        queue.doubted.insert(principal_id.to_owned(), questions);
        self.some.store(true, Ordering::Release);
    }

    /// Others are asked what is new: gives the number of the question.
    pub(super) fn ask(&self) -> u64 {
        let mut queue = lock(&self.queue);
        queue.questions += 1;
        queue.questions
    }

    /// All that was new when this question was put is known.
    pub(super) fn hear(&self, question: u64) {
        if self.some.load(Ordering::Acquire) {
            let mut queue = lock(&self.queue);
            queue.doubted.retain(|_, at| *at >= question);
            self.some.store(queue.has_some(), Ordering::Release);
        }
    }

    fn first(&self) -> Option<Change> {
        lock(&self.queue).changes.front().cloned()
    }

    fn remove_first(&self) {
        let mut queue = lock(&self.queue);
        let Some(change) = queue.changes.pop_front() else { return };
        if let Some(count) = queue.principals.get_mut(principal(&change)) {
            *count -= 1;
            if *count == 0 {
                queue.principals.remove(principal(&change));
            }
        }
        self.some.store(queue.has_some(), Ordering::Release);
    }
}

fn principal(change: &Change) -> &str {
    match change {
        Change::Begun(record) => &record.principal_id,
        Change::Ended { principal_id, .. } | Change::Principal(principal_id) => principal_id,
    }
}

impl Sessions {
    /// Reads the records that what was heard is waiting for. Does nothing where there are none.
    ///
    /// # Errors
    /// [`StoreError`]: what was not read waits on.
    pub(crate) async fn read_unread(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let _turn = shared.unread.turn.lock().await;
        while let Some(change) = shared.unread.first() {
            self.apply(shared, change).await?;
            shared.unread.remove_first();
        }
        Ok(())
    }

    /// Makes the copy say what was heard.
    pub(super) async fn apply(&self, shared: &Shared, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Begun(record) => self.hear_begun(shared, *record).await,
            Change::Ended { id, principal_id } => {
                shared.bury(id);
                if let Some(session) = self.held(&principal_id, id) {
                    self.remove(&session);
                }
                Ok(())
            }
            Change::Principal(id) => match shared.accounts.find_id(&id).await? {
                Some(record) if record.is_active() => {
                    self.refresh_here(&record);
                    Ok(())
                }
                _ => {
                    let ended = self.drop_owner(&id);
                    self.forget(ended).await
                }
            },
        }
    }

    async fn hear_begun(&self, shared: &Shared, record: SessionRecord) -> Result<(), StoreError> {
        let usable = Self::is_usable(&record, self.clock.now());
        if !usable || shared.is_buried(record.id) || self.table.get(&record.token_hash).is_some() {
            return Ok(());
        }
        // It may have got another token since, from this gate perhaps.
        let Some(record) = shared.store.look_up(&record.token_hash).await? else { return Ok(()) };
        match shared.accounts.find_id(&record.principal_id).await? {
            Some(owner) if owner.is_active() => {
                self.take_in(shared, record, &owner).await.map(drop)
            }
            // Who disabled the owner did not know of it.
            Some(_) => {
                self.forget(vec![SessionKey { hash: record.token_hash, id: record.id }]).await
            }
            // Of a gate that has other accounts.
            None => Ok(()),
        }
    }
}
