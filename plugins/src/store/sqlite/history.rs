//! Recent sign-ins, in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, failed, in_time, signed, time};
use crate::risk::PastSignIn;
use crate::store::{HistoryStore, StoreError};

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn note_sign_in(&self, sign_in: &PastSignIn, most: u32) -> Result<(), StoreError> {
        self.write(async |writer| {
            let sql = "INSERT INTO sign_in_history \
                       (principal_id, at_ms, address, region, device, result) VALUES (?, ?, ?, ?, ?, ?)";
            sqlx::query(sql)
                .bind(&sign_in.principal_id)
                .bind(signed(sign_in.at.0))
                .bind(&sign_in.address)
                .bind(&sign_in.region)
                .bind(&sign_in.device)
                .bind(&sign_in.result)
                .execute(&mut *writer)
                .await?;
            // Each result is bounded by itself: failures, which strangers can cause, push out none
            // of what succeeded.
            let sql = "DELETE FROM sign_in_history WHERE principal_id = ? AND result = ? \
                       AND rowid NOT IN (SELECT rowid FROM sign_in_history \
                       WHERE principal_id = ? AND result = ? ORDER BY at_ms DESC, rowid DESC LIMIT ?)";
            sqlx::query(sql)
                .bind(&sign_in.principal_id)
                .bind(&sign_in.result)
                .bind(&sign_in.principal_id)
                .bind(&sign_in.result)
                .bind(most)
                .execute(&mut *writer)
                .await
                .map(drop)
        })
        .await
    }

    async fn sign_ins(&self, principal_id: &str, n: u32) -> Result<Vec<PastSignIn>, StoreError> {
        let sql = "SELECT * FROM sign_in_history WHERE principal_id = ? \
                   ORDER BY at_ms DESC, rowid DESC LIMIT ?";
        let query = sqlx::query(sql).bind(principal_id.to_owned()).bind(n);
        in_time(query.fetch_all(&self.readers)).await?.iter().map(read_sign_in).collect()
    }
}

fn read_sign_in(row: &SqliteRow) -> Result<PastSignIn, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    Ok(PastSignIn {
        principal_id: text("principal_id")?,
        at: time(row, "at_ms")?,
        address: text("address")?,
        region: text("region")?,
        device: text("device")?,
        result: text("result")?,
    })
}
