//! What happened, told once and in one shape: who tried, what came of it, from where.
//!
//! [`Audit::record`] never waits: it is called where somebody is being answered. An event is written
//! into the store within [`WRITE_EVERY`] and the time of a commit; until then a crash loses it. The
//! answer does not wait for it. While the store cannot be written to, events wait in memory, up to
//! `audit.queue`; further ones are counted, and the count becomes a record of its own
//! (`audit_gap`) where they would have stood. Nobody is refused for it.
//!
//! - `event`: what there is to tell. `queue`: what waits, and how floods become counts.
//! - `record`: an event in the chain. `writer`: how the chain grows and is pruned. `seal`: what is
//!   signed about it. `chain`: verification. `file`: the copy as JSON lines.
//!   `question`: what operators ask.
//!
//! Source of the names: OWASP Logging Vocabulary Cheat Sheet.

mod chain;
mod event;
mod file;
mod question;
mod queue;
mod record;
mod seal;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward_config::GatewayConfig;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use self::file::FileCopy;
use self::seal::Seals;
use self::writer::Writer;
use crate::clock::Clock;
use crate::services::OpenError;
use crate::store::{AuditFilter, AuditStore, StoreError};

pub use chain::{Finding, Report, Verifier};
pub use event::{Event, EventKind, Severity, tame};
pub use question::AuditQuestion;
pub use record::{Hash, Head, Record, schema};

/// How often events are written into the store.
pub const WRITE_EVERY: Duration = Duration::from_secs(1);

/// How long writing what still waits may take at the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How many records are read at once.
pub const PAGE: u32 = 500;

/// Takes events. The default one only writes them to the log of the process.
#[derive(Default)]
pub struct Audit {
    open: Option<Open>,
    counts: Counts,
}

/// How often each kind of event happened, by its place in [`EventKind::ALL`].
struct Counts([AtomicU64; EventKind::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// A log with a store.
struct Open {
    writer: Arc<Writer>,
    file: Option<Arc<FileCopy>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Audit {
    /// Opens the log of a store, and writes what happens into it from now on, on the runtime of the
    /// caller.
    ///
    /// # Errors
    /// [`OpenError`] when the key or the store cannot be used.
    pub async fn open(
        config: &GatewayConfig,
        store: Arc<dyn AuditStore>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let rules = config.audit.clone();
        let place = || config.store.path.display().to_string();
        let head_file = config.store.beside("audit-head");
        let seals = Seals::open(&rules.key_file, head_file, clock.wall())?;
        let file = rules.file.clone();
        let writer = Writer::open(store, seals, rules, clock).await;
        let writer = Arc::new(writer.map_err(|error| OpenError::Store(place(), error))?);
        let file = file.map(|path| Arc::new(FileCopy::new(&path, writer.end())));
        let mut tasks = vec![tokio::spawn(keep_writing(Arc::clone(&writer)))];
        if let Some(file) = &file {
            tasks.push(tokio::spawn(keep_copying(Arc::clone(file), Arc::clone(&writer))));
        }
        Ok(Self { open: Some(Open { writer, file, tasks }), counts: Counts::default() })
    }

    /// Notes that something happened. Never waits and never fails.
    pub fn record(&self, event: &Event) {
        if let Some(count) = self.counts.0.get(event.kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let event = event.tamed();
        event.trace();
        if let Some(open) = &self.open {
            open.writer.push(event);
        }
    }

    /// How often each kind of event has happened since the gate began, but for what the log says of
    /// itself.
    pub fn counts(&self) -> impl Iterator<Item = (EventKind, u64)> {
        let counts = self.counts.0.iter().map(|count| count.load(Ordering::Relaxed));
        let all = EventKind::ALL.iter().copied().zip(counts);
        all.filter(|(kind, _)| kind.per_minute() < u64::MAX)
    }

    /// How often the log was found changed by somebody else.
    pub fn broken(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.writer.broken())
    }

    /// How many events wait to be written.
    pub fn waiting(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.writer.waiting())
    }

    /// How many events are not in the log, because too many waited.
    pub fn dropped(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.writer.dropped())
    }

    /// Writes what waits, now.
    ///
    /// # Errors
    /// [`StoreError`]; it then goes on waiting.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let Some(open) = &self.open else { return Ok(()) };
        open.writer.write(false).await?;
        if let Some(file) = &open.file {
            file.catch_up(&*open.writer.store, open.writer.end()).await;
        }
        Ok(())
    }

    /// Removes what is too old, if it has not been looked for within the hour.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune(&self) -> Result<(), StoreError> {
        match &self.open {
            Some(open) => open.writer.prune().await,
            None => Ok(()),
        }
    }

    /// The latest `limit` records that are asked for, oldest first: none from before those that
    /// pruning has left, and none from behind the end, which somebody else has written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(open) = &self.open else { return Ok(Vec::new()) };
        // What cannot be written yet cannot be read either; what is there can.
        let _ = self.flush().await;
        let (store, end) = (&open.writer.store, open.writer.end());
        let pruned = AuditFilter {
            event: Some(EventKind::AuditPruned.name().into()),
            ..AuditFilter::default()
        };
        let pruned = store.latest(&pruned, end, 1).await?;
        let first = pruned.first().map_or(0, chain::first_kept);
        let mut records = store.latest(filter, end, limit).await?;
        records.retain(|record| record.sequence >= first);
        Ok(records)
    }

    /// The first records behind the number `after`; with the last of them what is signed about the
    /// end of the log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(&self, after: u64) -> Result<(Vec<Record>, Option<String>), StoreError> {
        let Some(open) = &self.open else { return Ok((Vec::new(), None)) };
        if after == 0 {
            let _ = self.flush().await;
        }
        // Records and the signed end must be of one moment.
        let _pause = open.writer.pause().await;
        let records = open.writer.store.page(after, PAGE).await?;
        let is_last = records.len() < PAGE as usize;
        if !is_last {
            open.writer.note_read();
        }
        let end = if is_last { open.writer.seals.end_token() } else { None };
        Ok((records, end))
    }

    /// Verifies the whole log.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn verify(&self) -> Result<Report, StoreError> {
        let Some(open) = &self.open else { return Ok(Report::default()) };
        let mut verifier = Verifier::new(open.writer.seals.reader(), false);
        verifier.take_unnumbered(open.writer.store.unnumbered().await?);
        let mut after = 0;
        loop {
            let (records, end) = self.page(after).await?;
            records.iter().for_each(|record| verifier.take(record));
            match records.last() {
                Some(last) if records.len() == PAGE as usize => after = last.sequence,
                _ => return Ok(verifier.finish(end.as_deref())),
            }
        }
    }

    /// Writes what still waits, for a few seconds at most, and ends.
    pub async fn close(&self) {
        let Some(open) = &self.open else { return };
        open.tasks.iter().for_each(JoinHandle::abort);
        let end = async {
            let written = open.writer.write(true).await;
            if let Some(file) = &open.file {
                file.catch_up(&*open.writer.store, open.writer.end()).await;
            }
            written.is_ok()
        };
        if !tokio::time::timeout(CLOSE_WITHIN, end).await.unwrap_or(false) {
            let count = open.writer.give_up();
            tracing::error!(
                event = "audit_events_lost",
                count,
                "the store could not be written to"
            );
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

async fn keep_writing(writer: Arc<Writer>) {
    let mut turn = tokio::time::interval(WRITE_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        // A failure is told where it happens, and what failed is tried again.
        if writer.write(false).await.is_ok()
            && let Err(error) = writer.prune().await
        {
            tracing::error!(event = "audit_prune_failed", %error, "old records stay for now");
        }
    }
}

async fn keep_copying(file: Arc<FileCopy>, writer: Arc<Writer>) {
    let mut turn = tokio::time::interval(WRITE_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        file.catch_up(&*writer.store, writer.end()).await;
    }
}
