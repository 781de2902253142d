//! Live sessions in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, failed, signed, time};
use crate::clock::Timestamp;
use crate::session::token::{SessionId, TokenHash};
use crate::session::{SessionKey, SessionRecord, known_evidence};
use crate::store::{SessionStore, StoreError};

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

    async fn begin(&self, session: &SessionRecord, ended: &[SessionKey]) -> Result<(), StoreError> {
        let evidence = serde_json::to_string(&session.evidence).map_err(failed)?;
        self.write(async |writer| {
            for key in ended {
                delete(writer, &key.hash).await?;
            }
            insert(writer, session, &evidence).await
        })
        .await
    }

    async fn step_up(&self, session: &SessionRecord, old: &TokenHash) -> Result<bool, StoreError> {
        let evidence = serde_json::to_string(&session.evidence).map_err(failed)?;
        self.write(async |writer| {
            let there = delete(writer, old).await? > 0;
            if there {
                insert(writer, session, &evidence).await?;
            }
            Ok(there)
        })
        .await
    }

    async fn end(&self, ended: &[SessionKey]) -> Result<(), StoreError> {
        self.write(async |writer| {
            for key in ended {
                delete(writer, &key.hash).await?;
            }
            Ok(())
        })
        .await
    }

    async fn touch(&self, active: &[(SessionKey, Timestamp)]) -> Result<(), StoreError> {
        self.write(async |writer| {
            for (key, at) in active {
                sqlx::query(
                    "UPDATE session SET active_ms = MAX(active_ms, ?) WHERE token_hash = ?",
                )
                .bind(signed(at.0))
                .bind(key.hash.as_slice())
                .execute(&mut *writer)
                .await?;
            }
            Ok(())
        })
        .await
    }

    async fn note_expired(
        &self,
        expired: &[(TokenHash, String)],
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(async |writer| {
            sqlx::query("DELETE FROM expired_session WHERE expired_ms < ?")
                .bind(signed(forget.0))
                .execute(&mut *writer)
                .await?;
            for (hash, principal_id) in expired {
                sqlx::query(
                    "INSERT INTO expired_session (token_hash, principal_id, expired_ms) \
                     VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                )
                .bind(hash.as_slice())
                .bind(principal_id)
                .bind(signed(now.0))
                .execute(&mut *writer)
                .await?;
            }
            Ok(())
        })
        .await
    }

    async fn expired(&self, hash: &TokenHash) -> Result<Option<String>, StoreError> {
        let sql = "SELECT principal_id FROM expired_session WHERE token_hash = ?";
        let query = sqlx::query_scalar(sql).bind(hash.to_vec());
        self.read(query.fetch_optional(&self.readers)).await
    }
}

async fn delete(writer: &mut SqliteConnection, hash: &TokenHash) -> Result<u64, sqlx::Error> {
    let query = sqlx::query("DELETE FROM session WHERE token_hash = ?").bind(hash.as_slice());
    Ok(query.execute(writer).await?.rows_affected())
}

async fn insert(
    writer: &mut SqliteConnection,
    session: &SessionRecord,
    evidence: &str,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO session \
               (token_hash, id, principal_id, scope, evidence, device, address, created_ms, active_ms) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(session.token_hash.as_slice())
        .bind(&*session.id)
        .bind(&session.principal_id)
        .bind(&session.scope)
        .bind(evidence)
        .bind(&session.device)
        .bind(&session.address)
        .bind(signed(session.created.0))
        .bind(signed(session.active.0))
        .execute(writer)
        .await
        .map(drop)
}

fn session(row: &SqliteRow) -> Result<SessionRecord, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let hash: Vec<u8> = row.try_get("token_hash").map_err(failed)?;
    Ok(SessionRecord {
        token_hash: hash.try_into().map_err(|_| StoreError::Corrupt("session"))?,
        id: SessionId::parse(&text("id")?).ok_or(StoreError::Corrupt("session"))?,
        principal_id: text("principal_id")?,
        scope: text("scope")?,
        evidence: known_evidence(&mut serde_json::Deserializer::from_str(&text("evidence")?))
            .map_err(|_| StoreError::Corrupt("session"))?,
        device: text("device")?,
        address: text("address")?,
        created: time(row, "created_ms")?,
        active: time(row, "active_ms")?,
    })
}
