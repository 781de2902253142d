//! Challenges in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, failed, signed, time};
use crate::challenge::ChallengeRecord;
use crate::clock::Timestamp;
use crate::store::{ChallengeStore, StoreError};

#[async_trait]
impl ChallengeStore for SqliteStore {
    async fn begin_challenge(
        &self,
        record: &ChallengeRecord,
        per_binding_max: u32,
    ) -> Result<(), StoreError> {
        self.write(async |writer| {
            sqlx::query(
                "DELETE FROM challenge WHERE id IN (SELECT id FROM challenge \
                 WHERE bound_to = ? AND purpose = ? ORDER BY created_ms DESC, rowid DESC LIMIT -1 OFFSET ?)",
            )
            .bind(&record.bound_to)
            .bind(&record.purpose)
            .bind(i64::from(per_binding_max.saturating_sub(1)))
            .execute(&mut *writer)
            .await?;
            sqlx::query("INSERT INTO challenge (id, purpose, bound_to, principal_id, state, version, tries, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(&record.id)
                .bind(&record.purpose)
                .bind(&record.bound_to)
                .bind(&record.principal_id)
                .bind(&record.state)
                .bind(record.version)
                .bind(record.tries)
                .bind(signed(record.created.0))
                .bind(signed(record.expires.0))
                .execute(&mut *writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn challenge(&self, id: &str) -> Result<Option<ChallengeRecord>, StoreError> {
        let query = sqlx::query("SELECT * FROM challenge WHERE id = ?").bind(id.to_owned());
        let row = self.read(query.fetch_optional(&self.readers)).await?;
        row.as_ref().map(challenge).transpose()
    }

    async fn latest_challenge(
        &self,
        purpose: &str,
        bound_to: &str,
    ) -> Result<Option<ChallengeRecord>, StoreError> {
        let sql = "SELECT * FROM challenge WHERE bound_to = ? AND purpose = ? \
                   ORDER BY created_ms DESC, rowid DESC LIMIT 1";
        let query = sqlx::query(sql).bind(bound_to.to_owned()).bind(purpose.to_owned());
        let row = self.read(query.fetch_optional(&self.readers)).await?;
        row.as_ref().map(challenge).transpose()
    }

    async fn count_try(&self, id: &str, most: u32, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE challenge SET tries = tries + 1 \
                   WHERE id = ? AND tries < ? AND expires_ms > ?";
        let query = sqlx::query(sql).bind(id.to_owned()).bind(most).bind(signed(now.0));
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn replace_state(
        &self,
        id: &str,
        version: u32,
        state: &[u8],
    ) -> Result<bool, StoreError> {
        let sql =
            "UPDATE challenge SET state = ?, version = version + 1 WHERE id = ? AND version = ?";
        let query = sqlx::query(sql).bind(state.to_vec()).bind(id.to_owned()).bind(version);
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn take_challenge(
        &self,
        id: &str,
        version: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "DELETE FROM challenge WHERE id = ? AND version = ? AND expires_ms > ?";
        let query = sqlx::query(sql).bind(id.to_owned()).bind(version).bind(signed(now.0));
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn prune_challenges(&self, now: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM challenge WHERE expires_ms <= ?").bind(signed(now.0));
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }
}

fn challenge(row: &SqliteRow) -> Result<ChallengeRecord, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    Ok(ChallengeRecord {
        id: text("id")?,
        purpose: text("purpose")?,
        bound_to: text("bound_to")?,
        principal_id: text("principal_id")?,
        state: row.try_get("state").map_err(failed)?,
        version: row.try_get("version").map_err(failed)?,
        tries: row.try_get("tries").map_err(failed)?,
        created: time(row, "created_ms")?,
        expires: time(row, "expires_ms")?,
    })
}
