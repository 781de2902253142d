//! The sessions in memory as a copy of what several gates share.
//!
//! Every gate has all sessions, and hears what the others do ([`Sessions::hear`], a few times a
//! second): numbered changes, none of which can be missed unnoticed. The copy is trusted for
//! [`TRUSTED_FOR`] after the last time that everything was heard; so a session that was ended
//! anywhere is refused everywhere within a second. A gate that has not heard asks the store for every
//! request, and if that does not answer, nothing is known: the request is not decided, the cookie
//! stays what it is.
//!
//! Where what is heard has to do with an account, its record is read apart from that (`unread.rs`).
//!
//! Who is idle here may be busy elsewhere: before a session is refused because nothing has happened,
//! the store is asked when others saw it last. They write that with a delay ([`WRITE_BEHIND`]),
//! which is granted on top: a session never ends too early, and too late by that at most.
//!
//! A server that takes the place of another may not have heard of the last sessions that ended: gates
//! remember those for a while, refuse them whatever the store says, and end them there again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward_config::Session as Rules;

use super::live::{BeginError, lock};
use super::one::{Life, Owner};
use super::token::{SessionId, TokenHash};
use super::unread::Unread;
use super::{LiveSession, SessionKey, SessionRecord, Sessions};
use crate::account::PrincipalRecord;
use crate::clock::{Clock, Timestamp};
use crate::store::{AccountStore, Change, Position, SharedSessionStore, StoreError};

/// How often the changes of others are asked for.
pub(crate) const HEAR_EVERY: Duration = Duration::from_millis(250);

/// For how long the copy is trusted after it was known to be whole.
const TRUSTED_FOR: Duration = Duration::from_millis(900);

/// How much later than here the store may know of activity at another gate.
const WRITE_BEHIND: Duration = Duration::from_secs(5);

/// How long a connection that is open goes on while nobody can be asked whether its session does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many sessions are asked about at once.
const CHUNK: usize = 1000;

/// How many ended sessions are remembered; half of them when there are more.
const GRAVES: usize = 100_000;

/// What [`Sessions`] need besides, where others change sessions too.
pub(super) struct Shared {
    pub(super) store: Arc<dyn SharedSessionStore>,
    pub(super) accounts: Arc<dyn AccountStore>,
    /// How far the changes were heard; `None`: everything has to be read.
    position: tokio::sync::Mutex<Option<Position>>,
    /// The copy was whole at this time, in milliseconds.
    heard: AtomicU64,
    /// Ended sessions: some of the latest, and some before.
    graves: Mutex<[HashSet<SessionId>; 2]>,
    /// Idle here, and asked about with the next turn.
    doubted: Mutex<HashMap<SessionId, Arc<LiveSession>>>,
    /// What was heard, and needs the record of an account.
    pub(super) unread: Unread,
    /// Principals that were changed, of which the others have not heard.
    untold: Mutex<Vec<String>>,
    /// How often the store was asked because the copy could not say.
    asked: AtomicU64,
}

impl Shared {
    /// Remembers that it is over, whatever is heard later.
    pub(super) fn bury(&self, id: SessionId) {
        let mut graves = lock(&self.graves);
        let [latest, before] = &mut *graves;
        latest.insert(id);
        if latest.len() > GRAVES / 2 {
            *before = std::mem::take(latest);
        }
    }

    pub(super) fn is_buried(&self, id: SessionId) -> bool {
        lock(&self.graves).iter().any(|some| some.contains(&id))
    }

    /// Asks about an idle session soon. `true`: it goes on until then.
    pub(super) fn doubt(&self, session: &Arc<LiveSession>) -> bool {
        lock(&self.doubted).insert(session.id, Arc::clone(session));
        true
    }

    /// Do connections that are open go on?
    pub(super) fn is_patient(&self, now: Timestamp) -> bool {
        now.since(self.heard()) <= PATIENCE
    }

    fn heard(&self) -> Timestamp {
        Timestamp(self.heard.load(Ordering::Acquire))
    }
}

impl Sessions {
    /// A copy of what is in a store that others share.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn join(
        rules: &Rules,
        clock: Clock,
        store: Arc<dyn SharedSessionStore>,
        accounts: Arc<dyn AccountStore>,
    ) -> Result<Arc<Self>, StoreError> {
        let shared = Shared {
            store: Arc::clone(&store),
            accounts,
            position: tokio::sync::Mutex::default(),
            heard: AtomicU64::new(0),
            graves: Mutex::default(),
            doubted: Mutex::default(),
            unread: Unread::default(),
            untold: Mutex::default(),
            asked: AtomicU64::new(0),
        };
        let sessions = Self::empty(rules, clock, store, Some(shared));
        sessions.prune().await?;
        sessions.hear().await?;
        Ok(Arc::new(sessions))
    }

    /// The live session of this token at this scope, whichever gate it began at. If it `counts`, the
    /// session has been active.
    ///
    /// # Errors
    /// [`StoreError`] when that is not known.
    pub(crate) async fn find_or_ask(
        &self,
        hash: &TokenHash,
        scope: &str,
        now: Timestamp,
        counts: bool,
    ) -> Result<Option<Arc<LiveSession>>, StoreError> {
        match self.find_here(hash, scope, now, counts) {
            Some(found) => Ok(found),
            None => self.ask(hash, scope, now, counts).await,
        }
    }

    /// The same as far as it is known here: `None`, others have to be asked ([`Self::ask`]).
    pub(super) fn find_here(
        &self,
        hash: &TokenHash,
        scope: &str,
        now: Timestamp,
        counts: bool,
    ) -> Option<Option<Arc<LiveSession>>> {
        let found = self.find(hash, scope, now, counts);
        let Some(shared) = &self.shared else { return Some(found) };
        let is_certain = found.as_ref().is_some_and(|session| {
            now.since(shared.heard()) <= TRUSTED_FOR && !shared.unread.is_about(&session.owner.id)
        });
        is_certain.then_some(found)
    }

    /// The same as the store that others share has it.
    ///
    /// # Errors
    /// [`StoreError`] when it does not say.
    pub(super) async fn ask(
        &self,
        hash: &TokenHash,
        scope: &str,
        now: Timestamp,
        counts: bool,
    ) -> Result<Option<Arc<LiveSession>>, StoreError> {
        let Some(shared) = &self.shared else { return Ok(None) };
        shared.asked.fetch_add(1, Ordering::Relaxed);
        let Some(session) = self.look_up(shared, hash, now).await? else { return Ok(None) };
        if &*session.scope != scope {
            return Ok(None);
        }
        if counts {
            session.raise(now);
            self.note(&session);
        }
        Ok(Some(session))
    }

    /// How often the store was asked for a session because the copy could not say, and how long ago
    /// the copy was known to be whole; of a gate that is alone: never, and now.
    pub fn copy(&self) -> (u64, Duration) {
        self.shared.as_ref().map_or((0, Duration::ZERO), |shared| {
            let age = self.clock.now().since(shared.heard());
            (shared.asked.load(Ordering::Relaxed), age)
        })
    }

    /// Asks the store for a session, and makes the copy say the same.
    async fn look_up(
        &self,
        shared: &Shared,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<Arc<LiveSession>>, StoreError> {
        let here = self.table.get(hash);
        let found = shared.store.look_up(hash).await?;
        let found = found.filter(|record| Self::is_usable(record, now) || here.is_some());
        // What the copy says otherwise is put right when it is heard: the session may have another
        // token by now, and go on.
        let found = found.filter(|record| !shared.is_buried(record.id));
        let Some(record) = found else {
            // Nor is the copy believed again before that: who was refused is not let in again.
            if let Some(here) = here {
                shared.unread.doubt(&here.owner.id);
            }
            return Ok(None);
        };
        // The principal too may have been changed without this gate hearing of it.
        let owner = shared.accounts.find_id(&record.principal_id).await?;
        let Some(owner) = owner.filter(PrincipalRecord::is_active) else {
            self.drop_owner(&record.principal_id);
            return Ok(None);
        };
        self.refresh_here(&owner);
        let active = record.active;
        let Some(session) = self.take_in(shared, record, &owner).await? else { return Ok(None) };
        session.raise(active);
        let idle = session.idle(&self.rules()) + WRITE_BEHIND;
        let over = |session: &LiveSession| {
            session.active().is_none_or(|active| now >= active + idle)
                || now >= session.created + self.rules().absolute
        };
        Ok((!over(&session) && !shared.is_buried(session.id)).then_some(session))
    }

    /// Takes a session into the copy. `None`: it has ended since its record was read, or has another
    /// token by now, which the copy may have had already.
    pub(super) async fn take_in(
        &self,
        shared: &Shared,
        record: SessionRecord,
        owner: &PrincipalRecord,
    ) -> Result<Option<Arc<LiveSession>>, StoreError> {
        let hash = record.token_hash;
        let is_other = |held: Arc<LiveSession>| held.token_hash != hash;
        let replaces = self.held(&record.principal_id, record.id).is_some_and(is_other);
        let taken = self.adopt(shared, record, || Owner::of(owner));
        if let Some(session) = taken.as_ref().filter(|_| replaces)
            && shared.store.look_up(&hash).await?.is_none()
        {
            self.withdraw(session);
            return Ok(None);
        }
        Ok(taken)
    }

    /// The session of this record in the copy, under the token that the record names. `None`: it has
    /// ended since the record was read.
    fn adopt(
        &self,
        shared: &Shared,
        record: SessionRecord,
        owner: impl FnOnce() -> Arc<Owner>,
    ) -> Option<Arc<LiveSession>> {
        if let Some(here) = self.table.get(&record.token_hash) {
            return Some(here);
        }
        let before = self.held(&record.principal_id, record.id);
        // Whoever buries it later finds it, and nobody finds one that is buried.
        let graves = lock(&shared.graves);
        if graves.iter().any(|some| some.contains(&record.id)) {
            return None;
        }
        let session = self.insert(record, before.as_deref(), owner);
        drop(graves);
        if let Some(before) = before {
            self.withdraw(&before);
        }
        Some(session)
    }

    /// The session of this id in the copy, whatever its token.
    pub(super) fn held(&self, principal_id: &str, id: SessionId) -> Option<Arc<LiveSession>> {
        let people = lock(&self.people);
        let held = people.get(principal_id).map(|person| &person.sessions);
        held.into_iter().flatten().find(|held| held.id == id).cloned()
    }

    /// Nobody has a session here any more who is this principal.
    pub(super) fn drop_owner(&self, principal_id: &str) -> Vec<SessionKey> {
        let held = lock(&self.people).get(principal_id).map(|person| person.sessions.clone());
        let held = held.unwrap_or_default();
        held.iter().for_each(|session| self.remove(session));
        held.iter().map(|session| session.key()).collect()
    }

    /// Hears what the others have done, and reads all that it needs for that. Does nothing where
    /// there are none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hear(&self) -> Result<(), StoreError> {
        self.hear_changes().await?;
        self.read_unread().await
    }

    /// Hears what the others have done, as far as that needs no record of an account; the rest is left to
    /// [`Self::read_unread`].
    ///
    /// # Errors
    /// [`StoreError`]: the copy is not trusted for long any more.
    pub(crate) async fn hear_changes(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let mut position = shared.position.lock().await;
        loop {
            let (now, question) = (self.clock.now(), shared.unread.ask());
            let Some(since) = position.as_ref() else {
                // Before anything is read: what happens meanwhile is heard afterwards.
                let fresh = shared.store.position().await?;
                self.read_all(shared).await?;
                *position = Some(fresh);
                continue;
            };
            match shared.store.changes(since).await? {
                None => *position = None,
                Some(heard) => {
                    for change in heard.changes {
                        match &change {
                            Change::Ended { .. } => self.apply(shared, change).await?,
                            // By this gate.
                            Change::Begun(begun) if self.table.get(&begun.token_hash).is_some() => {
                            }
                            Change::Begun(_) | Change::Principal(_) => {
                                shared.unread.push(change)?
                            }
                        }
                    }
                    *position = Some(heard.position);
                    if heard.whole {
                        shared.heard.store(now.0, Ordering::Release);
                        shared.unread.hear(question);
                        break;
                    }
                }
            }
        }
        drop(position);
        let doubted = std::mem::take(&mut *lock(&shared.doubted));
        let mut doubted: Vec<_> = doubted.into_values().collect();
        self.settle(&mut doubted).await?;
        self.note_expired(&doubted).await
    }

    /// Makes the copy say what the store says.
    async fn read_all(&self, shared: &Shared) -> Result<(), StoreError> {
        let mut here = Vec::new();
        self.table.each(|session| here.push(Arc::clone(session)));
        let mut owners = HashMap::new();
        shared
            .accounts
            .each(&mut |owner| {
                if owner.is_active() {
                    self.refresh_here(&owner);
                    owners.insert(owner.id.clone(), owner);
                }
            })
            .await?;
        let (now, mut there, mut ended) = (self.clock.now(), HashSet::new(), Vec::new());
        let mut of_strangers = Vec::new();
        // One record after the other: all at once they would take more than the sessions do.
        shared
            .store
            .each(&mut |record| {
                there.insert(record.id);
                let key = SessionKey { hash: record.token_hash, id: record.id };
                match owners.get(&record.principal_id) {
                    // The server that still has it had not heard of its end.
                    _ if shared.is_buried(record.id) => ended.push(key),
                    Some(owner) if Self::is_usable(&record, now) => {
                        let active = record.active;
                        if let Some(session) = self.adopt(shared, record, || Owner::of(owner)) {
                            session.raise(active);
                        }
                    }
                    Some(_) => {}
                    None => of_strangers.push((record.principal_id, key)),
                }
            })
            .await?;
        for (principal_id, key) in of_strangers {
            // Who disabled the owner did not know of it; or they are of a gate with other accounts.
            if shared.accounts.find_id(&principal_id).await?.is_some_and(|owner| !owner.is_active())
            {
                ended.push(key);
            }
        }
        here.retain(|session| !there.contains(&session.id));
        here.iter().for_each(|session| self.remove(session));
        self.forget(ended).await
    }

    /// Asks whether idle sessions have been active elsewhere: those that were are taken out of
    /// `idle`; the rest is over everywhere.
    pub(super) async fn settle(&self, idle: &mut Vec<Arc<LiveSession>>) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let now = self.clock.now();
        let mut over = Vec::new();
        for chunk in idle.chunks(CHUNK) {
            let asked = chunk.iter().map(|session| {
                let allowed = session.idle(&self.rules()) + WRITE_BEHIND;
                let allowed = u64::try_from(allowed.as_millis()).unwrap_or(u64::MAX);
                (session.id, Timestamp(now.0.saturating_sub(allowed)))
            });
            let active = shared.store.expire(&asked.collect::<Vec<_>>()).await?;
            for (session, active) in chunk.iter().zip(active) {
                match active {
                    Some(at) if self.observe(session, now, false) != Life::Over => {
                        session.raise(at);
                    }
                    _ => {
                        self.remove(session);
                        over.push(Arc::clone(session));
                    }
                }
            }
        }
        *idle = over;
        Ok(())
    }

    /// Makes the live sessions of a principal see its changed record, at every gate. Before a change
    /// of the idle time is stored, [`Self::expire`] has to be called.
    ///
    /// # Errors
    /// [`StoreError`]: the others have not heard of it. They are told with the next
    /// [`Self::flush`] that succeeds.
    pub async fn refresh(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        self.refresh_here(record);
        if let Some(shared) = &self.shared {
            lock(&shared.untold).push(record.id.clone());
        }
        self.tell_untold().await
    }

    /// Tells the others which principals were changed.
    pub(super) async fn tell_untold(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let untold = std::mem::take(&mut *lock(&shared.untold));
        if untold.is_empty() {
            return Ok(());
        }
        let told = shared.store.tell_of(&untold).await;
        if told.is_err() {
            lock(&shared.untold).extend(untold);
        }
        told
    }

    /// Do other gates begin and end sessions too?
    pub fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// All sessions of a principal, those of which this gate has not heard yet too: whoever ends all
    /// means those as well.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_of(&self, principal_id: &str) -> Result<Vec<Arc<LiveSession>>, StoreError> {
        self.hear_changes().await?;
        if self.shared.as_ref().is_some_and(|shared| shared.unread.is_about(principal_id)) {
            self.read_unread().await?;
        }
        Ok(self.list(principal_id, self.clock.now()))
    }

    /// What began may have been ended by another gate before it was known here.
    pub(super) fn verify_not_ended(&self, session: &Arc<LiveSession>) -> Result<(), BeginError> {
        match &self.shared {
            Some(shared) if shared.is_buried(session.id) => {
                self.remove(session);
                Err(BeginError::Over)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
