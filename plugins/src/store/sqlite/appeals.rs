//! Appeals in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, failed, in_time, signed, time};
use crate::appeal::{AppealRecord, AppealState};
use crate::clock::Timestamp;
use crate::store::{AppealStore, StoreError};

#[async_trait]
impl AppealStore for SqliteStore {
    async fn lodge(&self, record: &AppealRecord, open_max: u32) -> Result<bool, StoreError> {
        self.write(async |writer| {
            let sql = "INSERT INTO appeal (id, principal_id, state, sealed, created_ms) \
                       SELECT ?, ?, ?, ?, ? WHERE (SELECT COUNT(*) FROM appeal WHERE state = 'open') < ?";
            let done = sqlx::query(sql)
                .bind(&record.id)
                .bind(&record.principal_id)
                .bind(record.state.as_str())
                .bind(&record.sealed)
                .bind(signed(record.created.0))
                .bind(open_max)
                .execute(writer)
                .await?;
            Ok(done.rows_affected() == 1)
        })
        .await
    }

    async fn appeal(&self, id: &str) -> Result<Option<AppealRecord>, StoreError> {
        let query = sqlx::query("SELECT * FROM appeal WHERE id = ?").bind(id.to_owned());
        in_time(query.fetch_optional(&self.readers)).await?.as_ref().map(appeal).transpose()
    }

    async fn appeals(&self, open_only: bool) -> Result<Vec<AppealRecord>, StoreError> {
        // Without what they say: that may be many megabytes.
        let sql = "SELECT id, principal_id, state, x'' AS sealed, created_ms, decided_ms, effective_ms \
                   FROM appeal WHERE ? = 0 OR state IN ('open', 'granted') ORDER BY created_ms LIMIT 1000";
        let query = sqlx::query(sql).bind(open_only);
        let rows = in_time(query.fetch_all(&self.readers)).await?;
        rows.iter().map(appeal).collect()
    }

    async fn open_appeal(&self, principal_id: &str) -> Result<Option<AppealRecord>, StoreError> {
        let sql = "SELECT * FROM appeal WHERE principal_id = ? AND state IN ('open', 'granted')";
        let query = sqlx::query(sql).bind(principal_id.to_owned());
        in_time(query.fetch_optional(&self.readers)).await?.as_ref().map(appeal).transpose()
    }

    async fn decide(
        &self,
        id: &str,
        (from, to): (AppealState, AppealState),
        (decided, effective): (Timestamp, Option<Timestamp>),
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE appeal SET state = ?, decided_ms = ?, effective_ms = ? \
                   WHERE id = ? AND state = ?";
        let query = sqlx::query(sql)
            .bind(to.as_str())
            .bind(signed(decided.0))
            .bind(effective.map(|at| signed(at.0)))
            .bind(id.to_owned())
            .bind(from.as_str());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn due_appeals(&self, now: Timestamp) -> Result<Vec<AppealRecord>, StoreError> {
        let sql = "SELECT * FROM appeal WHERE state = 'granted' AND effective_ms <= ? LIMIT 100";
        let query = sqlx::query(sql).bind(signed(now.0));
        let rows = in_time(query.fetch_all(&self.readers)).await?;
        rows.iter().map(appeal).collect()
    }

    async fn prune_appeals(&self, decided_before: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM appeal WHERE state NOT IN ('open', 'granted') AND decided_ms < ?";
        let query = sqlx::query(sql).bind(signed(decided_before.0));
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }
}

fn appeal(row: &SqliteRow) -> Result<AppealRecord, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let optional = |column: &str| {
        let at: Option<i64> = row.try_get(column).map_err(failed)?;
        Ok::<_, StoreError>(at.map(|at| Timestamp(at.unsigned_abs())))
    };
    Ok(AppealRecord {
        id: text("id")?,
        principal_id: text("principal_id")?,
        state: AppealState::parse(&text("state")?).ok_or(StoreError::Corrupt("appeal"))?,
        sealed: row.try_get("sealed").map_err(failed)?,
        created: time(row, "created_ms")?,
        decided: optional("decided_ms")?,
        effective: optional("effective_ms")?,
    })
}
