//! Codes that were sent, in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, failed, signed, time};
use crate::clock::Timestamp;
use crate::code::{Sending, StoredCode};
use crate::store::{CodeStore, StoreError};

/// The most sendings that are remembered. Then nothing is sent: none is forgotten before its time.
const SENDINGS_MAX: i64 = 200_000;

#[async_trait]
impl CodeStore for SqliteStore {
    async fn count_sending(
        &self,
        destination: &str,
        now: Timestamp,
        rules: &doorward_config::Codes,
    ) -> Result<Sending, StoreError> {
        self.write(async |writer| {
            let sql =
                "SELECT at_ms FROM code_sent WHERE destination = ? ORDER BY at_ms DESC LIMIT ?";
            let sent: Vec<i64> = sqlx::query_scalar(sql)
                .bind(destination)
                .bind(rules.per_day.max(1))
                .fetch_all(&mut *writer)
                .await?;
            let sent: Vec<_> = sent.iter().map(|at| Timestamp(at.unsigned_abs())).collect();
            let decided = Sending::decide(&sent, now, rules);
            if decided != Sending::Fits || !has_room(writer).await? {
                return Ok(if decided == Sending::Fits { Sending::Full } else { decided });
            }
            sqlx::query("INSERT INTO code_sent (destination, at_ms) VALUES (?, ?)")
                .bind(destination)
                .bind(signed(now.0))
                .execute(&mut *writer)
                .await?;
            Ok(decided)
        })
        .await
    }

    async fn put_code(&self, code: &StoredCode, now: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT INTO code (binding, hash, destination, tries, expires_ms) \
                   VALUES (?, ?, ?, 0, ?) ON CONFLICT (binding) DO UPDATE SET hash = excluded.hash, \
                   destination = excluded.destination, expires_ms = excluded.expires_ms, \
                   tries = CASE WHEN expires_ms <= ? THEN 0 ELSE tries END";
        let query = sqlx::query(sql)
            .bind(&code.binding)
            .bind(code.hash.as_slice())
            .bind(&code.destination)
            .bind(signed(code.expires.0))
            .bind(signed(now.0));
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn code_tries(&self, binding: &str, now: Timestamp) -> Result<u32, StoreError> {
        let sql = "SELECT tries FROM code WHERE binding = ? AND expires_ms > ?";
        let query = sqlx::query_scalar(sql).bind(binding.to_owned()).bind(signed(now.0));
        Ok(self.read(query.fetch_optional(&self.readers)).await?.unwrap_or(0))
    }

    async fn try_code(
        &self,
        binding: &str,
        now: Timestamp,
        tries_max: u32,
    ) -> Result<Option<StoredCode>, StoreError> {
        let sql = "UPDATE code SET tries = tries + 1 \
                   WHERE binding = ? AND expires_ms > ? AND tries < ? RETURNING *";
        let query = sqlx::query(sql).bind(binding).bind(signed(now.0)).bind(tries_max);
        let row = self.write(async |writer| query.fetch_optional(writer).await).await?;
        row.as_ref().map(read_code).transpose()
    }

    async fn use_code(&self, code: &StoredCode) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM code WHERE binding = ? AND hash = ?")
            .bind(&code.binding)
            .bind(code.hash.as_slice());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn prune_codes(&self, now: Timestamp, sent: Timestamp) -> Result<(), StoreError> {
        self.write(async |writer| {
            for (sql, before) in [
                ("DELETE FROM code WHERE expires_ms <= ?", now),
                ("DELETE FROM code_sent WHERE at_ms <= ?", sent),
            ] {
                sqlx::query(sql).bind(signed(before.0)).execute(&mut *writer).await?;
            }
            Ok(())
        })
        .await
    }
}

async fn has_room(writer: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let query = sqlx::query("SELECT 1 FROM code_sent LIMIT 1 OFFSET ?").bind(SENDINGS_MAX - 1);
    Ok(query.fetch_optional(writer).await?.is_none())
}

fn read_code(row: &SqliteRow) -> Result<StoredCode, StoreError> {
    let hash: Vec<u8> = row.try_get("hash").map_err(failed)?;
    Ok(StoredCode {
        binding: row.try_get("binding").map_err(failed)?,
        hash: hash.try_into().map_err(|_| StoreError::Corrupt("code"))?,
        destination: row.try_get("destination").map_err(failed)?,
        expires: time(row, "expires_ms")?,
    })
}
