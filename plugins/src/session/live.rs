//! The sessions in memory: found without I/O, expired by the clock, written behind.
//!
//! Memory holds every live session; the store holds them for the next start. What must not be
//! lost (a session begun or ended) is durable before it is answered. Activity is noted in memory
//! and written every [`FLUSH_EVERY`]; after a crash a session counts as older by at most that,
//! never as newer.
//!
//! Where several gates share the store, this is a copy (see `shared.rs`).
//!
//! Bounds: `total_max` sessions in all, `parallel_max` for one person. A session that is not in use
//! takes some 300 octets and its share of its principal; one that is in use besides, for about a
//! minute, the assertions that its upstreams get, some 800 octets each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_config::{Secret, Session as Rules};

use super::one::{Life, Owner};
use super::shared::Shared;
use super::table::Table;
use super::texts::Texts;
use super::token::{self, TokenHash};
use super::{Evidence, LiveSession, NewSession, SessionKey, SessionRecord};
use crate::account::{Principal, PrincipalRecord};
use crate::clock::{Clock, Timestamp};
use crate::store::{AccountStore, SessionStore, StoreError};

/// How often activity is written. Well below the promised 5 s, so that a slow write keeps it.
pub const FLUSH_EVERY: Duration = Duration::from_secs(3);

/// How many sessions are written in one transaction, which has to be done within the deadline of
/// the store.
pub(super) const CHUNK: usize = 2000;

/// A stored time may lie this far ahead; beyond it the clock was set back, and nobody knows by
/// how much the session has aged.
const CLOCK_ERROR_MAX: Duration = Duration::from_secs(60);

/// Why no session began.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// There are as many sessions as there may be.
    #[error("there are too many sessions")]
    Full,
    /// The session that more was proven in is over.
    #[error("the session is over")]
    Over,
    /// The operating system had no randomness to give.
    #[error("no randomness")]
    Randomness,
    /// The session could not be made durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All live sessions.
pub struct Sessions {
    pub(super) rules: ArcSwap<Rules>,
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) table: Table,
    pub(super) texts: Texts,
    pub(super) people: Mutex<HashMap<Arc<str>, Person>>,
    count: AtomicUsize,
    /// Active since the last write.
    noted: Mutex<Vec<Arc<LiveSession>>>,
    /// Ended in memory, not yet in the store.
    unforgotten: Mutex<Vec<SessionKey>>,
    forgetting: tokio::sync::Mutex<()>,
    /// What is needed where others change sessions too.
    pub(super) shared: Option<Shared>,
}

/// Somebody with sessions, oldest first.
pub(super) struct Person {
    pub(super) owner: Arc<Owner>,
    pub(super) sessions: Vec<Arc<LiveSession>>,
}

impl Sessions {
    /// Loads what was live when the last process ended, however it ended.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn load(
        rules: &Rules,
        clock: Clock,
        store: Arc<dyn SessionStore>,
        accounts: &dyn AccountStore,
    ) -> Result<Arc<Self>, StoreError> {
        let sessions = Self::empty(rules, clock, store, None);
        let now = sessions.clock.now();
        sessions.prune().await?;
        // One record after the other: all at once they would take more than the sessions do.
        let mut owners = HashMap::new();
        accounts
            .each(&mut |owner| {
                if owner.is_active() {
                    let owner = Owner::of(&owner);
                    owners.insert(Arc::clone(&owner.id), owner);
                }
            })
            .await?;
        let (mut stale, mut expired) = (Vec::new(), Vec::new());
        sessions
            .store
            .each(&mut |record| {
                let usable = Self::is_usable(&record, now);
                let owner = owners.get(&*record.principal_id).filter(|_| usable);
                let Some(owner) = owner else {
                    stale.push(SessionKey { hash: record.token_hash, id: record.id });
                    return;
                };
                let session = sessions.insert(record, None, || Arc::clone(owner));
                if sessions.observe(&session, now, false) != Life::Live {
                    sessions.remove(&session);
                    expired.push(session);
                }
            })
            .await?;
        sessions.note_expired(&expired).await?;
        stale.extend(expired.iter().map(|session| session.key()));
        sessions.forget(stale).await?;
        Ok(Arc::new(sessions))
    }

    pub(super) fn empty(
        rules: &Rules,
        clock: Clock,
        store: Arc<dyn SessionStore>,
        shared: Option<Shared>,
    ) -> Self {
        Self {
            rules: ArcSwap::from_pointee(rules.clone()),
            clock,
            store,
            table: Table::new(),
            texts: Texts::default(),
            people: Mutex::default(),
            count: AtomicUsize::new(0),
            noted: Mutex::default(),
            unforgotten: Mutex::default(),
            forgetting: tokio::sync::Mutex::default(),
            shared,
        }
    }

    pub(super) fn observe(&self, session: &LiveSession, now: Timestamp, counts: bool) -> Life {
        session.observe(now, &self.rules.load(), counts, self.shared.is_some())
    }

    /// Can this session be used here? A clock that was set back must not prolong anything, however
    /// often; one by a certificate belongs to the process that began it.
    pub(super) fn is_usable(record: &SessionRecord, now: Timestamp) -> bool {
        let ahead = record.created.max(record.active).since(now) > CLOCK_ERROR_MAX;
        !ahead && !record.is_by_certificate()
    }

    /// The rules that sessions follow.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// How many sessions are in memory, some of which may have expired since the last sweep.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The live session of this token at this scope. If it `counts`, the session has been active.
    /// Of one that others share this is not the last word: see [`Self::find_or_ask`].
    pub fn find(
        &self,
        hash: &TokenHash,
        scope: &str,
        now: Timestamp,
        counts: bool,
    ) -> Option<Arc<LiveSession>> {
        let session = self.table.get(hash)?;
        let live = &*session.scope == scope && self.see(&session, now, counts) == Life::Live;
        live.then_some(session)
    }

    /// Does a connection of this session go on? If what passed `counts`, it has been active. Where
    /// others share it, one that has been idle here goes on until they were asked, which is done
    /// soon, and none goes on for long while nobody can be asked.
    pub fn is_live(&self, session: &Arc<LiveSession>, now: Timestamp, counts: bool) -> bool {
        match self.see(session, now, counts) {
            Life::Live => self.shared.as_ref().is_none_or(|shared| shared.is_patient(now)),
            Life::Over => false,
            Life::Idle => self.shared.as_ref().is_some_and(|shared| shared.doubt(session)),
        }
    }

    pub(super) fn see(&self, session: &Arc<LiveSession>, now: Timestamp, counts: bool) -> Life {
        let life = self.observe(session, now, counts);
        if counts && life == Life::Live {
            self.note(session);
        }
        life
    }

    /// It was active, which is written with the others soon.
    pub(super) fn note(&self, session: &Arc<LiveSession>) {
        if !session.noted.swap(true, Ordering::AcqRel) {
            lock(&self.noted).push(Arc::clone(session));
        }
    }

    /// Begins a session; it is durable when this returns. Ends the one that it replaces, and the
    /// person's longest unused one if there would be too many.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed then.
    pub async fn begin(
        &self,
        new: NewSession<'_>,
    ) -> Result<(Secret, Arc<LiveSession>), BeginError> {
        if self.count() >= self.rules.load().total_max {
            return Err(BeginError::Full);
        }
        let (token, token_hash) = token::issue().map_err(|_| BeginError::Randomness)?;
        let now = self.clock.now();
        let record = SessionRecord {
            token_hash,
            id: token::public_id(&token_hash),
            principal_id: new.principal.id.clone(),
            scope: new.scope.to_owned(),
            evidence: new.evidence,
            device: shorten(new.device),
            address: new.address,
            created: now,
            active: now,
        };
        let mut ending = self.surplus(&new.principal.id, now);
        if let Some(replaced) = new.replaces.and_then(|session| self.table.get(&session.token_hash))
        {
            ending.push(replaced);
        }
        let keys: Vec<_> = ending.iter().map(|session| session.key()).collect();
        self.store.begin(&record, &keys).await?;
        for session in &ending {
            self.remove(session);
        }
        let session = self.insert(record, None, || Owner::of(new.principal));
        self.verify_not_ended(&session)?;
        Ok((token, session))
    }

    /// Gives a session another token, because more was proven in it: the old one is worth nothing
    /// from now on. It stays the same session, with the same end; what it has under way goes on.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed then. [`BeginError::Over`] if it has ended.
    pub async fn step_up(
        &self,
        session: &Arc<LiveSession>,
        proven: &[Evidence],
    ) -> Result<(Secret, Arc<LiveSession>), BeginError> {
        let now = self.clock.now();
        // Two pages may step up at once: the second builds on what the first has made of it.
        let held = self.list(&session.owner.id, now);
        let session =
            held.into_iter().find(|held| held.id == session.id).ok_or(BeginError::Over)?;
        let (token, token_hash) = token::issue().map_err(|_| BeginError::Randomness)?;
        let mut evidence = session.evidence.to_vec();
        evidence.retain(|old| proven.iter().all(|new| new.method != old.method));
        evidence.extend(proven);
        let record = SessionRecord {
            token_hash,
            id: session.id,
            principal_id: session.owner.id.as_ref().to_owned(),
            scope: session.scope.as_ref().to_owned(),
            evidence,
            device: session.device.as_ref().to_owned(),
            address: session.address.clone().into(),
            created: session.created,
            active: now,
        };
        // Otherwise another gate has ended it, or given it another token, of which this one hears.
        if !self.store.step_up(&record, &session.token_hash).await? {
            return Err(BeginError::Over);
        }
        let stepped = self.insert(record, Some(&session), || Arc::clone(&session.owner));
        self.withdraw(&session);
        if stepped.active().is_none() {
            // It was ended meanwhile, under its old token.
            self.end(&[stepped]).await?;
            return Err(BeginError::Over);
        }
        self.verify_not_ended(&stepped)?;
        Ok((token, stepped))
    }

    /// Sessions that have to make room for one more of this person, longest unused first.
    fn surplus(&self, principal_id: &str, now: Timestamp) -> Vec<Arc<LiveSession>> {
        let mut held = self.list(principal_id, now);
        held.sort_by_key(|session| session.active());
        let surplus = (held.len() + 1).saturating_sub(self.rules.load().parallel_max);
        held.truncate(surplus);
        held
    }

    /// The live sessions of a principal, oldest first.
    pub fn list(&self, principal_id: &str, now: Timestamp) -> Vec<Arc<LiveSession>> {
        let people = lock(&self.people);
        let held =
            people.get(principal_id).map(|person| person.sessions.clone()).unwrap_or_default();
        drop(people);
        held.into_iter().filter(|session| self.observe(session, now, false) != Life::Over).collect()
    }

    /// The principals that have sessions.
    pub fn principal_ids(&self) -> Vec<String> {
        lock(&self.people).keys().map(|id| id.as_ref().to_owned()).collect()
    }

    /// Ends sessions. In this process they are over at once, whatever the store says.
    ///
    /// # Errors
    /// [`StoreError`]: a restart could bring them back. The store is asked again with every
    /// [`Self::flush`].
    pub async fn end(&self, sessions: &[Arc<LiveSession>]) -> Result<(), StoreError> {
        let mut ending = sessions.to_vec();
        // Whoever listed them may have done so before a step-up: what is meant is the session, not
        // the token that it had then.
        for session in sessions {
            let people = lock(&self.people);
            let held = people.get(&session.owner.id).map(|person| &person.sessions);
            let others = held.into_iter().flatten().filter(|held| held.id == session.id);
            ending.extend(others.filter(|held| !Arc::ptr_eq(held, session)).cloned());
        }
        let keys = ending.iter().map(|session| session.key()).collect();
        for session in &ending {
            self.remove(session);
        }
        self.forget(keys).await
    }

    /// Makes the store forget these, and those that it has not forgotten yet.
    ///
    /// One at a time, and nothing leaves the list before the store has forgotten it: whoever asks
    /// meanwhile, for the same session perhaps, waits and is not told that all is well.
    pub(super) async fn forget(&self, keys: Vec<SessionKey>) -> Result<(), StoreError> {
        lock(&self.unforgotten).extend(keys);
        let _turn = self.forgetting.lock().await;
        loop {
            let chunk: Vec<_> = lock(&self.unforgotten).iter().take(CHUNK).copied().collect();
            if chunk.is_empty() {
                return Ok(());
            }
            self.store.end(&chunk).await?;
            lock(&self.unforgotten).drain(..chunk.len());
        }
    }

    /// Makes the live sessions of a principal see its changed record. Before a change of the idle
    /// time is stored, [`Self::expire`] has to be called.
    pub(super) fn refresh_here(&self, record: &PrincipalRecord) {
        let now = self.clock.now();
        let people = lock(&self.people);
        let Some(person) = people.get(&*record.id) else { return };
        // What has expired since `expire` must not come back by a longer idle time either.
        for session in &person.sessions {
            self.observe(session, now, false);
        }
        person.owner.principal.store(Arc::new(Principal::from(record)));
    }

    /// Writes activity, and ends that the store has not heard of yet.
    ///
    /// # Errors
    /// [`StoreError`]: everything is kept for the next time.
    pub async fn flush(&self) -> Result<(), StoreError> {
        // Activity is written even if ends are not.
        let forgotten = self.forget(Vec::new()).await.and(self.tell_untold().await);
        let noted = std::mem::take(&mut *lock(&self.noted));
        for (index, chunk) in noted.chunks(CHUNK).enumerate() {
            if let Err(error) = self.write_activity(chunk).await {
                let unwritten = noted.iter().skip(index * CHUNK);
                // One that was noted anew meanwhile stands there twice, which does no harm.
                unwritten.clone().for_each(|session| session.noted.store(true, Ordering::Release));
                lock(&self.noted).extend(unwritten.cloned());
                return Err(error);
            }
        }
        forgotten
    }

    async fn write_activity(&self, sessions: &[Arc<LiveSession>]) -> Result<(), StoreError> {
        // Cleared before the time is read: activity from here on is noted anew.
        for session in sessions {
            session.noted.store(false, Ordering::Release);
        }
        let active = sessions.iter().filter_map(|session| Some((session.key(), session.active()?)));
        let active: Vec<_> = active.collect();
        if active.is_empty() { Ok(()) } else { self.store.touch(&active).await }
    }

    /// Shows every session in memory, some of which may be over.
    pub(crate) fn each(&self, mut visit: impl FnMut(&LiveSession)) {
        self.table.each(|session| visit(session));
    }

    /// Adds a session, of an owner like this unless its principal has sessions already.
    pub(super) fn insert(
        &self,
        record: SessionRecord,
        before: Option<&LiveSession>,
        owner: impl FnOnce() -> Arc<Owner>,
    ) -> Arc<LiveSession> {
        let mut people = lock(&self.people);
        let person = match people.get_mut(&*record.principal_id) {
            Some(person) => person,
            None => {
                let owner = owner();
                let id = Arc::clone(&owner.id);
                people.entry(id).or_insert(Person { owner, sessions: Vec::new() })
            }
        };
        // Another gate's way of telling may have been quicker than the answer.
        let same = |held: &&Arc<LiveSession>| held.token_hash == record.token_hash;
        if let Some(held) = person.sessions.iter().find(same) {
            return Arc::clone(held);
        }
        let session =
            LiveSession::from_record(record, Arc::clone(&person.owner), &self.texts, before);
        person.sessions.push(Arc::clone(&session));
        drop(people);
        self.table.insert(Arc::clone(&session));
        self.count.fetch_add(1, Ordering::Relaxed);
        session
    }

    /// Ends `session` in memory; a request that looks it up from here on does not find it.
    pub(super) fn remove(&self, session: &Arc<LiveSession>) {
        session.end();
        if let Some(shared) = &self.shared {
            shared.bury(session.id);
        }
        self.withdraw(session);
    }

    /// Makes its token worth nothing.
    pub(super) fn withdraw(&self, session: &Arc<LiveSession>) {
        if self.table.remove(&session.token_hash) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        let mut people = lock(&self.people);
        if let Some(person) = people.get_mut(&session.owner.id) {
            person.sessions.retain(|held| !Arc::ptr_eq(held, session));
            if person.sessions.is_empty() {
                people.remove(&session.owner.id);
            }
        }
    }
}

/// Locks; a panic of another holder left nothing half done that matters here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first part of what a client says of itself, without control characters.
fn shorten(device: &str) -> String {
    device.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
#[path = "live_tests.rs"]
pub(crate) mod tests;
