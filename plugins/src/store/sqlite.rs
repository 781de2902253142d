//! The embedded store: one SQLite file for records and live state.
//!
//! Write-ahead logging with `synchronous = FULL`: a commit is on disk when it returns. One
//! connection writes, so that no write of this process waits for a lock; a few others read. The
//! file, made with mode 0600, belongs to one process at a time (see `Services::open`).

use std::fs::OpenOptions;
use std::future::Future;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr};

use super::{AccountStore, SessionStore, StoreError};
use crate::account::name::{Name, NameKey};
use crate::account::{PrincipalRecord, State, Verification};
use crate::clock::Timestamp;
use crate::session::SessionRecord;
use crate::session::token::TokenHash;

/// How long one call may take. A disk that hangs must not hang a sign-in.
const DEADLINE: Duration = Duration::from_secs(5);

const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "accounts and sessions", include_str!("migrations/0001_accounts_and_sessions.sql"))];

const PRINCIPAL: &str = "SELECT p.id, p.account_id, a.name, p.sub_user, p.display_name, p.email, p.role_list, \
     p.group_list, p.state, a.state AS account_state, a.idle_secs, a.verification, p.created_ms, p.password_hash \
     FROM principal p JOIN account a ON a.id = p.account_id ";

/// The embedded store.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
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
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        let migrations = MIGRATIONS.map(|(version, description, sql)| {
            Migration::new(
                version,
                description.into(),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        });
        Migrator::with_migrations(migrations.into()).run(&writer).await.map_err(failed)?;
        // A torn page must not be taken for "there is no such account".
        let (verdict,): (String,) =
            sqlx::query_as("PRAGMA quick_check(1)").fetch_one(&writer).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt("page"));
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .map_err(failed)?;
        Ok(Self { writer, readers })
    }

    /// Waits for work under way and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn one(
        &self,
        condition: &'static str,
        values: &[&str],
    ) -> Result<Option<PrincipalRecord>, StoreError> {
        Ok(self.many(condition, values).await?.pop())
    }

    async fn many(
        &self,
        condition: &'static str,
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
        in_time(async {
            let mut transaction = self.writer.begin().await?;
            if record.name.sub_user().is_none() {
                sqlx::query("INSERT INTO account (id, name, name_key, state, idle_secs, verification, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?)")
                    .bind(&record.account_id)
                    .bind(record.name.account())
                    .bind(&key.account)
                    .bind(record.account_state.as_str())
                    .bind(record.idle_secs.map(signed))
                    .bind(record.verification.as_str())
                    .bind(signed(record.created.0))
                    .execute(&mut *transaction)
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
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn find(&self, name: &NameKey) -> Result<Option<PrincipalRecord>, StoreError> {
        self.one("WHERE a.name_key = ? AND p.sub_user_key = ?", &[&name.account, &name.sub_user])
            .await
    }

    async fn find_id(&self, id: &str) -> Result<Option<PrincipalRecord>, StoreError> {
        self.one("WHERE p.id = ?", &[id]).await
    }

    async fn list(&self) -> Result<Vec<PrincipalRecord>, StoreError> {
        self.many("WHERE p.state <> 'deleted' AND a.state <> 'deleted' ORDER BY a.name_key, p.sub_user_key", &[]).await
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
        in_time(async {
            let mut transaction = self.writer.begin().await?;
            sqlx::query("UPDATE principal SET display_name = ?, email = ?, role_list = ?, group_list = ? WHERE id = ?")
                .bind(&record.display_name)
                .bind(&record.email)
                .bind(roles)
                .bind(groups)
                .bind(&record.id)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE account SET idle_secs = ?, verification = ? WHERE id = ?")
                .bind(record.idle_secs.map(signed))
                .bind(record.verification.as_str())
                .bind(&record.account_id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn set_state(&self, record: &PrincipalRecord, state: State) -> Result<(), StoreError> {
        let (sql, id) = match record.name.sub_user() {
            None => ("UPDATE account SET state = ? WHERE id = ?", &record.account_id),
            Some(_) => ("UPDATE principal SET state = ? WHERE id = ?", &record.id),
        };
        in_time(sqlx::query(sql).bind(state.as_str()).bind(id).execute(&self.writer))
            .await
            .map(drop)
    }

    async fn set_password(&self, id: &str, hash: &str) -> Result<(), StoreError> {
        let query =
            sqlx::query("UPDATE principal SET password_hash = ? WHERE id = ?").bind(hash).bind(id);
        in_time(query.execute(&self.writer)).await.map(drop)
    }

    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let insert =
            sqlx::query("INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(name)
                .bind(fresh);
        in_time(insert.execute(&self.writer)).await?;
        let select = sqlx::query_scalar("SELECT value FROM secret WHERE name = ?").bind(name);
        in_time(select.fetch_one(&self.writer)).await
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn load(&self) -> Result<Vec<SessionRecord>, StoreError> {
        let rows = in_time(sqlx::query("SELECT * FROM session").fetch_all(&self.writer)).await?;
        rows.iter().map(session).collect()
    }

    async fn begin(&self, session: &SessionRecord, ended: &[TokenHash]) -> Result<(), StoreError> {
        let evidence = serde_json::to_string(&session.evidence).map_err(failed)?;
        in_time(async {
            let mut transaction = self.writer.begin().await?;
            for hash in ended {
                sqlx::query("DELETE FROM session WHERE token_hash = ?").bind(hash.as_slice()).execute(&mut *transaction).await?;
            }
            sqlx::query("INSERT INTO session (token_hash, id, principal_id, scope, evidence, device, address, created_ms, active_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(session.token_hash.as_slice())
                .bind(&session.id)
                .bind(&session.principal_id)
                .bind(&session.scope)
                .bind(evidence)
                .bind(&session.device)
                .bind(&session.address)
                .bind(signed(session.created.0))
                .bind(signed(session.active.0))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
    }

    async fn end(&self, ended: &[TokenHash]) -> Result<(), StoreError> {
        in_time(async {
            let mut transaction = self.writer.begin().await?;
            for hash in ended {
                sqlx::query("DELETE FROM session WHERE token_hash = ?")
                    .bind(hash.as_slice())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
        .await
    }

    async fn touch(&self, active: &[(TokenHash, Timestamp)]) -> Result<(), StoreError> {
        in_time(async {
            let mut transaction = self.writer.begin().await?;
            for (hash, at) in active {
                sqlx::query(
                    "UPDATE session SET active_ms = MAX(active_ms, ?) WHERE token_hash = ?",
                )
                .bind(signed(at.0))
                .bind(hash.as_slice())
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        in_time(sqlx::query("SELECT 1 FROM session LIMIT 1").fetch_optional(&self.readers))
            .await
            .map(drop)
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
        id: text("id")?,
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
