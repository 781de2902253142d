//! The embedded store: one SQLite file for records (`records/`), live state and the audit log.
//!
//! Write-ahead logging with `synchronous = FULL`: a commit is on disk when it returns. One
//! connection writes, so that no write of this process waits for a lock; a few others read. The
//! file, made with mode 0600, belongs to one process at a time (see `Services::open`).
//!
//! A write that fails, is cut off or gives up takes its connection with it. SQLite ends some
//! transactions by itself (a full disk) and not others, and a connection that is wrong about that
//! would acknowledge writes that never become durable.

mod audit;
mod challenges;
mod codes;
mod guesses;
mod held;
mod sessions;

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Connection as _, Row};
use tokio::sync::Mutex;

use super::migration::{Step, migrate};
use super::{Backend, DEADLINE, Operation, StoreError, Timings, failed, in_time, signed};
use crate::clock::Timestamp;

const MIGRATIONS: [Step; 11] = [
    (1, "accounts and sessions", include_str!("../migrations/0001_accounts_and_sessions.sql")),
    (2, "guesses and devices", include_str!("../migrations/0002_guesses_and_devices.sql")),
    (3, "audit", include_str!("../migrations/0003_audit.sql")),
    (4, "guesses by device", include_str!("../migrations/0004_guesses_by_device.sql")),
    (5, "second factors", include_str!("../migrations/0005_second_factors.sql")),
    (6, "messages", include_str!("../migrations/0006_messages.sql")),
    (7, "held requests", include_str!("../migrations/0007_held_requests.sql")),
    (8, "addresses", include_str!("../migrations/0008_addresses.sql")),
    (9, "trusted devices", include_str!("../migrations/0009_trusted_devices.sql")),
    (10, "tokens", include_str!("../migrations/0010_tokens.sql")),
    (11, "appeals", include_str!("../migrations/0011_appeals.sql")),
];

/// How many rows are in memory at once where all are read.
const PART: i64 = 2000;

/// The embedded store.
pub struct SqliteStore {
    /// Empty while a write is under way, and after one that did not succeed.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    options: SqliteConnectOptions,
    file: PathBuf,
    /// Device and inode of the file that was opened.
    identity: (u64, u64),
    /// A write did not succeed, and none has been tried since to see whether one can. Others that do
    /// succeed say nothing: where nothing has expired, a sweep writes nothing.
    failing: AtomicBool,
    timings: Timings,
}

impl SqliteStore {
    /// Opens `file`, making it when missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the file cannot be opened, is not a database, is damaged, or
    /// was written by a newer version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        // SQLite would make the file by the umask; its companions take the mode from it.
        OpenOptions::new().append(true).create(true).mode(0o600).open(file).map_err(failed)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(DEADLINE);
        let mut writer = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        migrate(&mut writer, &MIGRATIONS).await?;
        // A process before this one may have been told that its log could not be synced, and have
        // been killed: what it did not acknowledge can be read here, never to be on the disk, and
        // whatever followed it in the log would be lost with it. So it goes to the file itself.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut writer)
            .await
            .map_err(failed)?;
        // A torn page must not be taken for "there is no such account".
        let check = sqlx::query_as("PRAGMA quick_check(1)");
        let (verdict,): (String,) = check.fetch_one(&mut writer).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt("page"));
        }
        let readers = SqlitePoolOptions::new().max_connections(2);
        let readers = readers.connect_with(options.clone()).await.map_err(failed)?;
        let (writer, identity) = (Mutex::new(Some(writer)), identity(file).map_err(failed)?);
        let (failing, timings) = (AtomicBool::new(false), Timings::default());
        Ok(Self { writer, readers, options, file: file.to_owned(), identity, failing, timings })
    }

    /// Copies a file, which a process may be using, to one that is not there.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub async fn copy(file: &Path, to: &Path) -> Result<(), StoreError> {
        // SQLite would make it by the umask.
        let target = OpenOptions::new().append(true).create_new(true).mode(0o600).open(to);
        let target = target.map_err(failed)?;
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(DEADLINE);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        let copied = sqlx::query("VACUUM INTO ?")
            .bind(to.display().to_string())
            .execute(&mut connection)
            .await;
        let _ = connection.close().await;
        copied.map_err(failed)?;
        target.sync_all().map_err(failed)
    }

    /// Forgets sessions, and what people were asked for and sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_live(&self) -> Result<(), StoreError> {
        self.write(async |writer| {
            for table in ["session", "expired_session", "challenge", "code", "held", "message"] {
                let sql = format!("DELETE FROM {table}");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *writer).await?;
            }
            Ok(())
        })
        .await
    }

    /// What a query finds, if it does in time.
    pub(super) async fn read<T>(
        &self,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        self.timings.of(Operation::Read, in_time(query)).await
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Does `work` in a transaction, which is durable when this returns `Ok`.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.timings.of(Operation::Write, self.write_once(work)).await
    }

    async fn write_once<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let waiting = tokio::time::timeout(DEADLINE, self.writer.lock()).await;
        let mut slot = waiting.map_err(|_| StoreError::Timeout)?;
        // Not in the slot while it works: if this is cut off or fails, the connection is gone.
        let taken = slot.take();
        let result = in_time(async {
            let mut writer = match taken {
                Some(writer) => writer,
                None if self.readers.is_closed() => return Err(sqlx::Error::PoolClosed),
                None => SqliteConnection::connect_with(&self.options).await?,
            };
            // Said in SQL, so that nothing else keeps count of transactions: inside of one that
            // was left open this fails.
            sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await?;
            let done = work(&mut writer).await?;
            sqlx::query("COMMIT").execute(&mut writer).await?;
            Ok((writer, done))
        })
        .await;
        if !matches!(result, Ok(_) | Err(StoreError::Taken)) {
            self.failing.store(true, Ordering::Relaxed);
        }
        let (writer, done) = result?;
        *slot = Some(writer);
        Ok(done)
    }

    /// Shows every row of a query that takes the last row's number and how many may come next.
    /// As long as it takes: a start with a million sessions is slow, not wrong.
    async fn in_parts(
        &self,
        sql: impl Into<String>,
        mut visit: impl FnMut(&SqliteRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = Arc::new(sql.into());
        let mut last = i64::MIN;
        loop {
            let query = sqlx::query(sqlx::AssertSqlSafe(Arc::clone(&sql))).bind(last).bind(PART);
            let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
            rows.iter().try_for_each(&mut visit)?;
            match rows.last() {
                None => return Ok(()),
                Some(row) => last = row.try_get("rowid").map_err(failed)?,
            }
        }
    }
}

#[async_trait]
impl Backend for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Is it still the file that was opened too, and can it be written to if a write has failed?
    async fn ping(&self) -> Result<(), StoreError> {
        if identity(&self.file).map_err(failed)? != self.identity {
            return Err(StoreError::Failed("the file was replaced".into()));
        }
        let read = sqlx::query("SELECT 1 FROM session LIMIT 1").fetch_optional(&self.readers);
        self.read(read).await?;
        if !self.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sql = "INSERT INTO secret (name, value) VALUES ('probe', randomblob(16)) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.write(async |writer| sqlx::query(sql).execute(writer).await.map(drop)).await?;
        self.failing.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = self.writer.lock().await.take() {
            // A file that cannot be closed well is recovered from its log at the next start.
            let _ = writer.close().await;
        }
    }
}

/// Device and inode of a file.
fn identity(file: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    row.try_get::<i64, _>(column).map(|ms| Timestamp(ms.unsigned_abs())).map_err(failed)
}
