//! Kept requests in SQLite.

use async_trait::async_trait;
use sqlx::Row;

use super::{SqliteStore, failed, signed, time};
use crate::clock::Timestamp;
use crate::hold::{HoldLimits, HoldRecord};
use crate::store::{HoldStore, StoreError};

#[async_trait]
impl HoldStore for SqliteStore {
    async fn keep(
        &self,
        record: &HoldRecord,
        limits: HoldLimits,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(async |writer| {
            sqlx::query("DELETE FROM held WHERE expires_ms <= ?")
                .bind(signed(now.0))
                .execute(&mut *writer)
                .await?;
            // A person's oldest make room; what others keep does not.
            sqlx::query(
                "DELETE FROM held WHERE id IN (SELECT id FROM held WHERE principal_id = ? \
                 ORDER BY expires_ms DESC, rowid DESC LIMIT -1 OFFSET ?)",
            )
            .bind(&record.principal_id)
            .bind(i64::from(limits.per_person.saturating_sub(1)))
            .execute(&mut *writer)
            .await?;
            let most = limits.total_bytes.saturating_sub(record.sealed.len() as u64);
            let done = sqlx::query(
                "INSERT INTO held (id, principal_id, sealed, expires_ms) SELECT ?, ?, ?, ? \
                 WHERE (SELECT COALESCE(SUM(LENGTH(sealed)), 0) FROM held) <= ?",
            )
            .bind(&record.id)
            .bind(&record.principal_id)
            .bind(&record.sealed)
            .bind(signed(record.expires.0))
            .bind(signed(most))
            .execute(writer)
            .await?;
            Ok(done.rows_affected() == 1)
        })
        .await
    }

    async fn held(&self, id: &str) -> Result<Option<HoldRecord>, StoreError> {
        let query = sqlx::query("SELECT * FROM held WHERE id = ?").bind(id.to_owned());
        let Some(row) = self.read(query.fetch_optional(&self.readers)).await? else {
            return Ok(None);
        };
        Ok(Some(HoldRecord {
            id: row.try_get("id").map_err(failed)?,
            principal_id: row.try_get("principal_id").map_err(failed)?,
            sealed: row.try_get("sealed").map_err(failed)?,
            expires: time(&row, "expires_ms")?,
        }))
    }

    async fn take_held(&self, id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM held WHERE id = ?").bind(id.to_owned());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn prune_held(&self, now: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM held WHERE expires_ms <= ?").bind(signed(now.0));
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }
}
