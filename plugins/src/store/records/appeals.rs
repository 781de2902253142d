//! Appeals.

use async_trait::async_trait;

use super::{Row, SqlRecords, values};
use crate::appeal::{AppealRecord, AppealState};
use crate::clock::Timestamp;
use crate::store::{AppealStore, StoreError};

#[async_trait]
impl<S: SqlRecords> AppealStore for S {
    async fn lodge(&self, record: &AppealRecord, open_max: u32) -> Result<bool, StoreError> {
        let values = values![
            &record.id,
            &record.principal_id,
            record.state.as_str(),
            &record.sealed,
            record.created,
            open_max,
        ];
        let write = self.database().write(async |writer| {
            writer.lock("appeal", "").await?;
            let sql = "INSERT INTO appeal (id, principal_id, state, sealed, created_ms) \
                       SELECT $1, $2, $3, $4, $5 WHERE (SELECT COUNT(*) FROM appeal WHERE state = 'open') < $6";
            Ok(writer.execute(sql, values).await? == 1)
        });
        write.await
    }

    async fn appeal(&self, id: &str) -> Result<Option<AppealRecord>, StoreError> {
        let row = self.database().row("SELECT * FROM appeal WHERE id = $1", values![id]).await?;
        row.as_ref().map(appeal).transpose()
    }

    async fn appeals(&self, open_only: bool) -> Result<Vec<AppealRecord>, StoreError> {
        // Without what they say: that may be many megabytes.
        let sql = "SELECT id, principal_id, state, $2 AS sealed, created_ms, decided_ms, effective_ms \
                   FROM appeal WHERE NOT $1 OR state IN ('open', 'granted') ORDER BY created_ms LIMIT 1000";
        let nothing: &[u8] = &[];
        let rows = self.database().rows(sql, values![open_only, nothing]).await?;
        rows.iter().map(appeal).collect()
    }

    async fn open_appeal(&self, principal_id: &str) -> Result<Option<AppealRecord>, StoreError> {
        let sql = "SELECT * FROM appeal WHERE principal_id = $1 AND state IN ('open', 'granted')";
        let row = self.database().row(sql, values![principal_id]).await?;
        row.as_ref().map(appeal).transpose()
    }

    async fn decide(
        &self,
        id: &str,
        (from, to): (AppealState, AppealState),
        (decided, effective): (Timestamp, Option<Timestamp>),
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE appeal SET state = $1, decided_ms = $2, effective_ms = $3 \
                   WHERE id = $4 AND state = $5";
        let values = values![to.as_str(), decided, effective, id, from.as_str()];
        Ok(self.database().execute(sql, values).await? == 1)
    }

    async fn due_appeals(&self, now: Timestamp) -> Result<Vec<AppealRecord>, StoreError> {
        let sql = "SELECT * FROM appeal WHERE state = 'granted' AND effective_ms <= $1 LIMIT 100";
        self.database().rows(sql, values![now]).await?.iter().map(appeal).collect()
    }

    async fn prune_appeals(&self, decided_before: Timestamp) -> Result<(), StoreError> {
        let write = self.database().write(async |writer| {
            writer.lock("appeal", "").await?;
            let sql =
                "DELETE FROM appeal WHERE state NOT IN ('open', 'granted') AND decided_ms < $1";
            writer.execute(sql, values![decided_before]).await.map(drop)
        });
        write.await
    }
}

fn appeal(row: &Row) -> Result<AppealRecord, StoreError> {
    Ok(AppealRecord {
        id: row.text("id")?,
        principal_id: row.text("principal_id")?,
        state: AppealState::parse(&row.text("state")?).ok_or(StoreError::Corrupt("appeal"))?,
        sealed: row.octets("sealed")?,
        created: row.time("created_ms")?,
        decided: row.optional_time("decided_ms")?,
        effective: row.optional_time("effective_ms")?,
    })
}
