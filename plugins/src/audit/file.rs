//! The copy of the log in a file, as JSON lines.
//!
//! It is written from the store, behind it: a file that cannot be written to for a while catches up,
//! and nothing waits for it. Where it goes on is read from its last line. One that is new begins with
//! what happens next.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::record::Record;
use crate::store::{AuditStore, StoreError};

/// How many records are copied at once.
const PART: u32 = 500;

/// No line is longer.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Copies records into a file.
pub(super) struct FileCopy {
    path: PathBuf,
    /// Where the log ended when this process began.
    began_behind: u64,
    /// Whoever holds it copies.
    turn: tokio::sync::Mutex<Progress>,
    file: Arc<Mutex<Option<File>>>,
}

#[derive(Default)]
struct Progress {
    /// The record that was copied last. `None`: the file has not been looked at.
    copied: Option<u64>,
    failing: bool,
}

impl FileCopy {
    /// For a log that ends at the record `began_behind`.
    pub(super) fn new(path: &Path, began_behind: u64) -> Self {
        let (path, turn, file) = (path.to_owned(), Default::default(), Arc::default());
        Self { path, began_behind, turn, file }
    }

    /// Copies what is in the store and not in the file, up to the record `end`: what somebody has
    /// written far behind it must not keep what follows out of the file.
    pub(super) async fn catch_up(&self, store: &dyn AuditStore, end: u64) {
        let mut progress = self.turn.lock().await;
        let result = self.copy(&mut progress, store, end).await;
        if result.is_err() != progress.failing {
            progress.failing = !progress.failing;
            let file = self.path.display();
            match &result {
                Err(error) => tracing::error!(event = "audit_file_failed", %file, %error),
                Ok(()) => tracing::info!(event = "audit_file_recovered", %file),
            }
        }
    }

    async fn copy(
        &self,
        progress: &mut Progress,
        store: &dyn AuditStore,
        end: u64,
    ) -> std::result::Result<(), StoreError> {
        let mut copied = match progress.copied {
            Some(copied) => copied,
            // A file that has more than the log is of a log that was cut, and that goes on.
            None => self
                .blocking(last_sequence)
                .await?
                .map_or(self.began_behind, |last| last.min(self.began_behind)),
        };
        loop {
            progress.copied = Some(copied);
            let mut records = store.page(copied, PART).await?;
            records.retain(|record| record.sequence <= end);
            let Some(last) = records.last() else { return Ok(()) };
            copied = last.sequence;
            let mut lines = String::new();
            for record in &records {
                lines.push_str(&record.line());
                lines.push('\n');
            }
            self.blocking(move |file, path| append(file, path, lines.as_bytes())).await?;
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<File>, &Path) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let work = move || work(&mut file.lock().unwrap_or_else(PoisonError::into_inner), &path);
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.map_err(|error| StoreError::Failed(error.into()))?;
        done.map_err(|error| StoreError::Failed(error.into()))
    }
}

/// The file at the path; opened again when it is another one than was opened before.
fn current<'a>(slot: &'a mut Option<File>, path: &Path) -> Result<&'a mut File> {
    let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    let there = std::fs::metadata(path).ok();
    if there.as_ref().is_some_and(|metadata| !metadata.is_file()) {
        // Nobody may read from a pipe, and then it is waited for.
        return Err(std::io::Error::other("it is no regular file"));
    }
    let opened = slot.as_ref().and_then(|file| file.metadata().ok());
    if slot.is_none() || opened.as_ref().map(identity) != there.as_ref().map(identity) {
        let mut options = OpenOptions::new();
        *slot = Some(options.read(true).append(true).create(true).mode(0o600).open(path)?);
    }
    slot.as_mut().ok_or_else(|| std::io::Error::other("it is not open"))
}

/// Adds whole lines, or nothing.
fn append(slot: &mut Option<File>, path: &Path, lines: &[u8]) -> Result<()> {
    let file = current(slot, path)?;
    let length = file.metadata()?.len();
    file.write_all(lines).inspect_err(|_| {
        // A piece of a line must not stay. If this fails too, the next look at the file mends it.
        let _ = file.set_len(length);
    })
}

/// The number of the last record in the file; removes a piece of a line behind it, which a crash has
/// left.
fn last_sequence(slot: &mut Option<File>, path: &Path) -> Result<Option<u64>> {
    let file = current(slot, path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(LINE_BYTES_MAX).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        file.set_len(from + whole as u64)?;
    }
    let lines = tail.get(..whole).unwrap_or_default();
    let last = lines.split(|octet| *octet == b'\n').rev().find(|line| !line.is_empty());
    let record = last.and_then(|line| serde_json::from_slice::<Record>(line).ok());
    Ok(record.map(|record| record.sequence))
}
