//! Writes events into the store, one batch after the other, each record chained to the one before.
//!
//! All that waits is written in one transaction, at most [`BATCH`] at a time. A batch that fails stays
//! and is tried again as it is: it may have gone through although nobody said so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_config::Audit as Rules;
use tokio::sync::MutexGuard;

use super::chain::{FIRST_KEPT, FOUND, Finding, verify_end};
use super::queue::Queue;
use super::record::{Head, Record};
use super::seal::{End, SEAL, Seals};
use super::{Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::store::{AuditStore, StoreError};

/// How many records a transaction has at most, give or take a checkpoint.
const BATCH: usize = 1000;

/// How often records are looked for that are too old.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// How many records are removed in one transaction.
const PRUNE_BATCH: u32 = 2000;

/// How long nothing is pruned after a part of the log was read with more to come: who reads on must
/// not find a hole.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// How far behind the end of the log somebody else's record is gone on behind. Those further away
/// (the last number there is, say) are left where they are, for verification to find, or there
/// would be no numbers left.
const REACH: u64 = 1 << 40;

/// What is written, by whom, and where to.
pub(super) struct Writer {
    pub(super) store: Arc<dyn AuditStore>,
    pub(super) seals: Arc<Seals>,
    rules: Rules,
    clock: Clock,
    queue: Mutex<Queue>,
    dropped: AtomicU64,
    /// How often the log was found changed.
    broken: AtomicU64,
    /// Whoever holds it writes; nobody else does.
    chain: tokio::sync::Mutex<Chain>,
    /// The number of the last record of this log, whatever others have written.
    end: AtomicU64,
    /// When a part of the log was read, with more to come.
    read: Mutex<Option<Timestamp>>,
}

/// How far the log is.
pub(super) struct Chain {
    /// What the next record is chained to: whatever stands there.
    head: Head,
    /// Where the log ends as far as it is known to be ours: what is signed to be its end until the
    /// batch is there. If `head` is somebody else's, the batch begins with a record that says so, and
    /// until that is committed this stays what it was: nobody gets a signature on another log by
    /// keeping the batch from being written. `None`: nothing was signed, and nothing will be before.
    ours: Option<Head>,
    /// What is being written: the same until it is there.
    batch: Vec<Record>,
    /// Records since the latest checkpoint, and when that was.
    unsealed: u64,
    sealed: Timestamp,
    pruned: Option<Timestamp>,
    failing: bool,
}

impl Writer {
    /// Goes on where the store's log ends, and notes if that is not where it should end.
    pub(super) async fn open(
        store: Arc<dyn AuditStore>,
        (seals, is_new): (Seals, bool),
        rules: Rules,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let token = seals.end_token();
        let end = token.as_deref().and_then(|token| seals.reader().end(token));
        let reach = end.map_or(0, |end| end.next.sequence).saturating_add(REACH);
        let last = store.last(reach).await?;
        let far = store.last(u64::MAX).await?.map(|last| last.sequence);
        let far = far.filter(|sequence| *sequence > reach);
        let head = last.as_ref().map(Record::head).unwrap_or_default();
        let sealed = |last: Record| last.event == EventKind::AuditCheckpoint.name();
        let begins = is_new && token.is_none() && head == Head::default();
        let found = match end {
            None if begins => None,
            None => {
                let what = "and the records before it have no signed end".to_owned();
                Some(Finding { sequence: head.sequence, what })
            }
            Some(end) => verify_end(head, end),
        };
        let ours = if found.is_none() { Some(head) } else { end.map(|end| end.now) };
        let found = found.or(far.map(|sequence| {
            let what = "has a number that the log has not reached: somebody else wrote it".into();
            Finding { sequence, what }
        }));
        let wall = clock.wall();
        let told = found
            .map(|Finding { sequence, what }| Record::chain(&broken(sequence, &what), wall, head));
        let broken = AtomicU64::new(u64::from(told.is_some()));
        let chain = Chain {
            head,
            ours,
            // Before everything else.
            batch: told.into_iter().collect(),
            // How many there are does not matter: the next checkpoint comes when it is time.
            unsealed: u64::from(!last.is_none_or(sealed)),
            sealed: clock.now(),
            pruned: None,
            failing: false,
        };
        let queue = Mutex::new(Queue::new(rules.queue));
        let (seals, chain) = (Arc::new(seals), tokio::sync::Mutex::new(chain));
        let (dropped, end) = (AtomicU64::new(0), AtomicU64::new(head.sequence));
        let read = Mutex::default();
        let writer = Self { store, seals, rules, clock, queue, dropped, broken, chain, end, read };
        if begins {
            // From now on a log without a signed end is one that somebody has meddled with.
            writer.write_end(End { now: head, next: head }).await?;
        }
        Ok(writer)
    }

    /// Adds an event to those that wait. Never waits itself.
    pub(super) fn push(&self, event: Event) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        if !self.queue().push(event, now, wall) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events did not fit.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How often the log was found changed.
    pub(super) fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last record of this log.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// A part of the log was read, and there is more.
    pub(super) fn note_read(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        *read = Some(self.clock.now());
    }

    fn is_read(&self) -> bool {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.is_some_and(|at| self.clock.now().since(at) < READ_WITHIN)
    }

    /// Keeps others from writing, for who compares the log with its signed end.
    pub(super) async fn pause(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().await
    }

    /// Writes all that waits. `last`: a checkpoint ends it, and counts are told that would wait.
    pub(super) async fn write(&self, last: bool) -> Result<(), StoreError> {
        let mut chain = self.chain.lock().await;
        let result = self.write_all(&mut chain, last).await;
        if result.is_err() != chain.failing {
            chain.failing = !chain.failing;
            match &result {
                Err(error) => {
                    tracing::error!(event = "audit_write_failed", %error, "events wait in memory");
                }
                Ok(()) => tracing::info!(event = "audit_write_recovered"),
            }
        }
        result
    }

    async fn write_all(&self, chain: &mut Chain, last: bool) -> Result<(), StoreError> {
        {
            let (now, wall) = (self.clock.now(), self.clock.wall());
            let mut queue = self.queue();
            queue.summarise(now, wall);
            if last {
                queue.summarise_at_once(wall);
            }
        }
        let mut was_replaced = false;
        loop {
            if chain.batch.is_empty() {
                let waiting = self.queue().take(BATCH, self.clock.wall());
                let ends = last && self.queue().len() == 0;
                chain.batch = self.chained(chain, waiting, ends);
            }
            if chain.batch.is_empty() {
                return Ok(());
            }
            match self.append(chain).await {
                Err(StoreError::Taken) if !was_replaced => {
                    was_replaced = true;
                    self.go_on_behind_foreign(chain).await?;
                }
                result => result?,
            }
        }
    }

    /// The records of events, with the checkpoints that are due among them.
    fn chained(&self, chain: &Chain, waiting: Vec<(Event, Timestamp)>, last: bool) -> Vec<Record> {
        let (mut head, mut unsealed) = (chain.head, chain.unsealed);
        let mut records = Vec::with_capacity(waiting.len() + 1);
        let seal = |head: &mut Head, unsealed: &mut u64, records: &mut Vec<Record>| {
            let wall = self.clock.wall();
            if let Some(event) = self.seals.checkpoint(*head, wall) {
                let record = Record::chain(&event, wall, *head);
                (*head, *unsealed) = (record.head(), 0);
                records.push(record);
            }
        };
        for (event, time) in waiting {
            let record = Record::chain(&event, time, head);
            head = record.head();
            records.push(record);
            unsealed += 1;
            if unsealed >= self.rules.checkpoint_records {
                seal(&mut head, &mut unsealed, &mut records);
            }
        }
        let is_time = self.clock.now().since(chain.sealed) >= self.rules.checkpoint_interval;
        if unsealed > 0 && (last || is_time) {
            seal(&mut head, &mut unsealed, &mut records);
        }
        records
    }

    /// Writes the batch; then there is none.
    async fn append(&self, chain: &mut Chain) -> Result<(), StoreError> {
        let next = chain.batch.last().map_or(chain.head, Record::head);
        if let Some(now) = chain.ours {
            self.write_end(End { now, next }).await?;
        }
        match self.store.append(&chain.batch).await {
            Err(StoreError::Taken) => {
                let last = self.store.last(next.sequence).await?;
                // It went through the last time, although nobody said so.
                if last.map(|record| record.head()) != Some(next) {
                    return Err(StoreError::Taken);
                }
            }
            result => result?,
        }
        (chain.head, chain.ours) = (next, Some(next));
        self.end.store(next.sequence, Ordering::Relaxed);
        for record in chain.batch.drain(..) {
            if record.event == EventKind::AuditCheckpoint.name() {
                (chain.unsealed, chain.sealed) = (0, self.clock.now());
            } else {
                chain.unsealed += 1;
            }
        }
        // If this fails, the earlier statement still holds.
        let _ = self.write_end(End { now: next, next }).await;
        Ok(())
    }

    /// Somebody else has written into the log: the batch goes behind that, and says so.
    async fn go_on_behind_foreign(&self, chain: &mut Chain) -> Result<(), StoreError> {
        let reach = chain.head.sequence.saturating_add(REACH);
        let last = self.store.last(reach).await?.map(|record| record.head()).unwrap_or_default();
        let first = chain.head.sequence + 1;
        let what = format!("and all up to record {} were added by somebody else", last.sequence);
        let wall = self.clock.wall();
        let mut head = last;
        self.broken.fetch_add(1, Ordering::Relaxed);
        let mut batch = vec![Record::chain(&broken(first, &what), wall, head)];
        for record in chain.batch.drain(..) {
            if record.event != EventKind::AuditCheckpoint.name() {
                head = batch.last().map_or(head, Record::head);
                batch.push(record.rechained(head));
            }
        }
        // What is ours stays what it was.
        (chain.head, chain.batch) = (last, batch);
        Ok(())
    }

    async fn write_end(&self, end: End) -> Result<(), StoreError> {
        let (seals, wall) = (Arc::clone(&self.seals), self.clock.wall());
        let written = tokio::task::spawn_blocking(move || seals.write_end(end, wall)).await;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Failed(error);
        written.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))
    }

    /// Removes what is too old, once in a while: everything before the latest checkpoint that is old
    /// enough, which the log has said before.
    pub(super) async fn prune(&self) -> Result<(), StoreError> {
        let mut chain = self.chain.lock().await;
        let now = self.clock.now();
        let was_done = chain.pruned.is_some_and(|at| now.since(at) < PRUNE_EVERY);
        if was_done || !chain.batch.is_empty() || self.is_read() {
            return Ok(());
        }
        chain.pruned = Some(now);
        let keep = u64::try_from(self.rules.keep.as_millis()).unwrap_or(u64::MAX);
        // A clock that is set ahead while the gate runs must not cost the log.
        let today = self.clock.wall().min(now);
        let before = Timestamp(today.0.saturating_sub(keep));
        let checkpoint = EventKind::AuditCheckpoint.name();
        let kept = self.store.last_older(checkpoint, before).await?;
        let first = self.store.page(0, 1).await?;
        let (Some(kept), Some(first)) = (kept, first.first()) else { return Ok(()) };
        if first.sequence >= kept.sequence {
            return Ok(());
        }
        // Times in the store are anybody's, who could have all that happened today removed: what
        // counts is when the checkpoint was signed.
        let stated = kept.details.get(SEAL).and_then(|seal| self.seals.reader().sealed(seal));
        if !stated.is_some_and(|(head, at)| head.hash == kept.prev && at < before) {
            let reason = "the log says of itself that it is older than it is; nothing is removed";
            tracing::error!(event = "audit_prune_failed", sequence = kept.sequence, reason);
            return Ok(());
        }
        let event = Event::new(EventKind::AuditPruned).with(FIRST_KEPT, kept.sequence);
        chain.batch = self.chained(&chain, vec![(event, self.clock.wall())], false);
        self.append(&mut chain).await?;
        while self.store.forget_before(kept.sequence, PRUNE_BATCH).await? > 0 {}
        Ok(())
    }

    /// Nothing more will be written: how many events are lost.
    pub(super) fn give_up(&self) -> u64 {
        let waiting = self.queue().len();
        let batch = self.chain.try_lock().map_or(0, |chain| chain.batch.len());
        let lost = (waiting + batch) as u64;
        self.dropped.fetch_add(lost, Ordering::Relaxed);
        lost
    }
}

fn broken(sequence: u64, what: &str) -> Event {
    Event::new(EventKind::AuditBroken).with(FOUND, format!("record {sequence} {what}"))
}
