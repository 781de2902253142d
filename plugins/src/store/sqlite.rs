//! The embedded store: one SQLite file for records and live state.
//!
//! Write-ahead logging with `synchronous = FULL`: a commit is on disk when it returns. One
//! connection writes, so that no write of this process waits for a lock; a few others read. The
//! file, made with mode 0600, belongs to one process at a time (see `Services::open`).
//!
//! A write that fails, is cut off or gives up takes its connection with it. SQLite ends some
//! transactions by itself (a full disk) and not others, and a connection that is wrong about that
//! would acknowledge writes that never become durable.

mod guesses;

use std::fs::OpenOptions;
use std::future::Future;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Connection as _, Row, SqlSafeStr};
use tokio::sync::Mutex;

use super::{AccountStore, SessionStore, StoreError};
use crate::account::name::{Name, NameKey};
use crate::account::{PrincipalRecord, State, Verification};
use crate::clock::Timestamp;
use crate::session::SessionRecord;
use crate::session::token::{TokenHash, public_id};

/// How long one call may take. A disk that hangs must not hang a sign-in.
const DEADLINE: Duration = Duration::from_secs(5);

const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "accounts and sessions", include_str!("migrations/0001_accounts_and_sessions.sql")),
    (2, "guesses and devices", include_str!("migrations/0002_guesses_and_devices.sql")),
];

/// How many rows are in memory at once where all are read.
const PART: i64 = 2000;

const PRINCIPAL: &str = "SELECT p.rowid, p.id, p.account_id, a.name, p.sub_user, p.display_name, p.email, p.role_list, \
     p.group_list, p.state, a.state AS account_state, a.idle_secs, a.verification, p.created_ms, p.password_hash \
     FROM principal p JOIN account a ON a.id = p.account_id ";

/// The embedded store.
pub struct SqliteStore {
    /// Empty while a write is under way, and after one that did not succeed.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    options: SqliteConnectOptions,
    file: PathBuf,
    /// Device and inode of the file that was opened.
    identity: (u64, u64),
    /// The latest write did not succeed.
    failing: AtomicBool,
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
        let migrations = MIGRATIONS.map(|(version, description, sql)| {
            let sql = sql.into_sql_str();
            Migration::new(version, description.into(), MigrationType::Simple, sql, false)
        });
        Migrator::with_migrations(migrations.into()).run(&mut writer).await.map_err(failed)?;
        // A torn page must not be taken for "there is no such account".
        let check = sqlx::query_as("PRAGMA quick_check(1)");
        let (verdict,): (String,) = check.fetch_one(&mut writer).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt("page"));
        }
        let readers = SqlitePoolOptions::new().max_connections(2);
        let readers = readers.connect_with(options.clone()).await.map_err(failed)?;
        let (writer, identity) = (Mutex::new(Some(writer)), identity(file).map_err(failed)?);
        let failing = AtomicBool::new(false);
        Ok(Self { writer, readers, options, file: file.to_owned(), identity, failing })
    }

    /// Waits for work under way and closes the file for good.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = self.writer.lock().await.take() {
            // A file that cannot be closed well is recovered from its log at the next start.
            let _ = writer.close().await;
        }
    }

    /// Does `work` in a transaction, which is durable when this returns `Ok`.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut slot = self.writer.lock().await;
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
        let is_healthy = matches!(result, Ok(_) | Err(StoreError::Taken));
        self.failing.store(!is_healthy, Ordering::Relaxed);
        let (writer, done) = result?;
        *slot = Some(writer);
        Ok(done)
    }

    /// Does the store answer, is it still the file that was opened, and can it be written to if
    /// the latest write failed?
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        if identity(&self.file).map_err(failed)? != self.identity {
            return Err(StoreError::Failed("the file was replaced".into()));
        }
        let read = sqlx::query("SELECT 1 FROM session LIMIT 1").fetch_optional(&self.readers);
        in_time(read).await?;
        if !self.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let sql = "INSERT INTO secret (name, value) VALUES ('probe', randomblob(16)) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.write(async |writer| sqlx::query(sql).execute(writer).await.map(drop)).await
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

    async fn one(
        &self,
        condition: &str,
        values: &[&str],
    ) -> Result<Option<PrincipalRecord>, StoreError> {
        Ok(self.many(condition, values).await?.pop())
    }

    async fn many(
        &self,
        condition: &str,
        values: &[&str],
    ) -> Result<Vec<PrincipalRecord>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{PRINCIPAL}{condition}"));
        let mut query = sqlx::query(sql);
        for value in values {
            query = query.bind((*value).to_owned());
        }
        let rows = in_time(query.fetch_all(&self.readers)).await?;
        rows.iter().map(principal).collect()
    }
}

/// Device and inode of a file.
fn identity(file: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Failed(Box::new(error))
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Err(_) => Err(StoreError::Timeout),
        Ok(Err(sqlx::Error::Database(error))) if error.is_unique_violation() => {
            Err(StoreError::Taken)
        }
        Ok(result) => result.map_err(failed),
    }
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn add(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        let key = record.name.key();
        let (roles, groups) = (encode(&record.roles)?, encode(&record.groups)?);
        self.write(async |writer| {
            if record.name.sub_user().is_none() {
                sqlx::query("INSERT INTO account (id, name, name_key, state, idle_secs, verification, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)")
                    .bind(&record.account_id)
                    .bind(record.name.account())
                    .bind(&key.account)
                    .bind(record.account_state.as_str())
                    .bind(record.idle_secs.map(signed))
                    .bind(record.verification.as_str())
                    .bind(signed(record.created.0))
                    .execute(&mut *writer)
                    .await?;
            }
            sqlx::query("INSERT INTO principal (id, account_id, sub_user, sub_user_key, display_name, email, role_list, group_list, state, password_hash, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(&record.id)
                .bind(&record.account_id)
                .bind(record.name.sub_user())
                .bind(&key.sub_user)
                .bind(&record.display_name)
                .bind(&record.email)
                .bind(roles)
                .bind(groups)
                .bind(record.state.as_str())
                .bind(&record.password_hash)
                .bind(signed(record.created.0))
                .execute(&mut *writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn find(&self, name: &NameKey) -> Result<Option<PrincipalRecord>, StoreError> {
        // Somebody else's row is read where there is none, so that both take the same time.
        let sql = "WHERE a.name_key = ? AND p.sub_user_key = ? UNION ALL ";
        let sql =
            format!("{sql}{PRINCIPAL}WHERE p.rowid = (SELECT MIN(rowid) FROM principal) LIMIT 1");
        let found = self.one(&sql, &[&name.account, &name.sub_user]).await?;
        Ok(found.filter(|record| record.name.key() == *name))
    }

    async fn find_id(&self, id: &str) -> Result<Option<PrincipalRecord>, StoreError> {
        self.one("WHERE p.id = ?", &[id]).await
    }

    async fn list(&self) -> Result<Vec<PrincipalRecord>, StoreError> {
        self.many("WHERE p.state <> 'deleted' AND a.state <> 'deleted' ORDER BY a.name_key, p.sub_user_key", &[]).await
    }

    async fn each(
        &self,
        visit: &mut (dyn FnMut(PrincipalRecord) + Send),
    ) -> Result<(), StoreError> {
        let sql = format!(
            "{PRINCIPAL}WHERE p.rowid > ? AND p.state <> 'deleted' AND a.state <> 'deleted' \
             ORDER BY p.rowid LIMIT ?"
        );
        self.in_parts(sql, |row| principal(row).map(&mut *visit)).await
    }

    async fn list_account(&self, account_id: &str) -> Result<Vec<PrincipalRecord>, StoreError> {
        self.many(
            "WHERE p.account_id = ? AND p.state <> 'deleted' ORDER BY p.sub_user_key",
            &[account_id],
        )
        .await
    }

    async fn update(&self, record: &PrincipalRecord) -> Result<(), StoreError> {
        let (roles, groups) = (encode(&record.roles)?, encode(&record.groups)?);
        self.write(async |writer| {
            sqlx::query("UPDATE principal SET display_name = ?, email = ?, role_list = ?, group_list = ? WHERE id = ?")
                .bind(&record.display_name)
                .bind(&record.email)
                .bind(roles)
                .bind(groups)
                .bind(&record.id)
                .execute(&mut *writer)
                .await?;
            sqlx::query("UPDATE account SET idle_secs = ?, verification = ? WHERE id = ?")
                .bind(record.idle_secs.map(signed))
                .bind(record.verification.as_str())
                .bind(&record.account_id)
                .execute(&mut *writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn set_state(&self, record: &PrincipalRecord, state: State) -> Result<(), StoreError> {
        let (sql, id) = match record.name.sub_user() {
            None => ("UPDATE account SET state = ? WHERE id = ?", &record.account_id),
            Some(_) => ("UPDATE principal SET state = ? WHERE id = ?", &record.id),
        };
        let query = sqlx::query(sql).bind(state.as_str()).bind(id);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn set_password(&self, id: &str, hash: &str) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE principal SET password_hash = ? WHERE id = ?").bind(hash).bind(id);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let insert =
            sqlx::query("INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(name)
                .bind(fresh);
        self.write(async |writer| insert.execute(writer).await.map(drop)).await?;
        let select = sqlx::query_scalar("SELECT value FROM secret WHERE name = ?").bind(name);
        in_time(select.fetch_one(&self.readers)).await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn each(&self, visit: &mut (dyn FnMut(SessionRecord) + Send)) -> Result<(), StoreError> {
        let sql = "SELECT rowid, * FROM session WHERE rowid > ? ORDER BY rowid LIMIT ?";
        self.in_parts(sql, |row| session(row).map(&mut *visit)).await
    }

    async fn prune(&self, created: Timestamp, active: Timestamp) -> Result<(), StoreError> {
        loop {
            let sql = "DELETE FROM session WHERE token_hash IN \
                       (SELECT token_hash FROM session WHERE created_ms < ? OR active_ms < ? LIMIT 5000)";
            let query = sqlx::query(sql).bind(signed(created.0)).bind(signed(active.0));
            let deleted = self.write(async |writer| query.execute(writer).await).await?;
            if deleted.rows_affected() == 0 {
                return Ok(());
            }
        }
    }

    async fn begin(&self, session: &SessionRecord, ended: &[TokenHash]) -> Result<(), StoreError> {
        let evidence = serde_json::to_string(&session.evidence).map_err(failed)?;
        self.write(async |writer| {
            for hash in ended {
                sqlx::query("DELETE FROM session WHERE token_hash = ?").bind(hash.as_slice()).execute(&mut *writer).await?;
            }
            sqlx::query("INSERT INTO session (token_hash, id, principal_id, scope, evidence, device, address, created_ms, active_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(session.token_hash.as_slice())
                .bind(&*public_id(&session.token_hash))
                .bind(&session.principal_id)
                .bind(&session.scope)
                .bind(evidence)
                .bind(&session.device)
                .bind(&session.address)
                .bind(signed(session.created.0))
                .bind(signed(session.active.0))
                .execute(&mut *writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn end(&self, ended: &[TokenHash]) -> Result<(), StoreError> {
        self.write(async |writer| {
            for hash in ended {
                sqlx::query("DELETE FROM session WHERE token_hash = ?")
                    .bind(hash.as_slice())
                    .execute(&mut *writer)
                    .await?;
            }
            Ok(())
        })
        .await
    }

    async fn touch(&self, active: &[(TokenHash, Timestamp)]) -> Result<(), StoreError> {
        self.write(async |writer| {
            for (hash, at) in active {
                sqlx::query(
                    "UPDATE session SET active_ms = MAX(active_ms, ?) WHERE token_hash = ?",
                )
                .bind(signed(at.0))
                .bind(hash.as_slice())
                .execute(&mut *writer)
                .await?;
            }
            Ok(())
        })
        .await
    }
}

fn principal(row: &SqliteRow) -> Result<PrincipalRecord, StoreError> {
    let corrupt = || StoreError::Corrupt("principal");
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(failed);
    let list = |column: &str| serde_json::from_str(&text(column)?).map_err(|_| corrupt());
    let state = |column: &str| State::parse(&text(column)?).ok_or_else(corrupt);
    Ok(PrincipalRecord {
        id: text("id")?,
        account_id: text("account_id")?,
        name: Name::new(&text("name")?, optional("sub_user")?.as_deref()).map_err(|_| corrupt())?,
        display_name: optional("display_name")?,
        email: optional("email")?,
        roles: list("role_list")?,
        groups: list("group_list")?,
        state: state("state")?,
        account_state: state("account_state")?,
        idle_secs: row
            .try_get::<Option<i64>, _>("idle_secs")
            .map_err(failed)?
            .map(i64::unsigned_abs),
        verification: Verification::parse(&text("verification")?).ok_or_else(corrupt)?,
        created: time(row, "created_ms")?,
        password_hash: text("password_hash")?,
    })
}

fn session(row: &SqliteRow) -> Result<SessionRecord, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let hash: Vec<u8> = row.try_get("token_hash").map_err(failed)?;
    Ok(SessionRecord {
        token_hash: hash.try_into().map_err(|_| StoreError::Corrupt("session"))?,
        principal_id: text("principal_id")?,
        scope: text("scope")?,
        evidence: serde_json::from_str(&text("evidence")?)
            .map_err(|_| StoreError::Corrupt("session"))?,
        device: text("device")?,
        address: text("address")?,
        created: time(row, "created_ms")?,
        active: time(row, "active_ms")?,
    })
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    row.try_get::<i64, _>(column).map(|ms| Timestamp(ms.unsigned_abs())).map_err(failed)
}

fn encode(list: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(failed)
}

/// SQLite's integers are signed; times and counts of ours stay far below the limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
