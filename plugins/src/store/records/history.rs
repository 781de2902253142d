//! Recent sign-ins.

use async_trait::async_trait;

use super::{Row, SqlRecords, values};
use crate::risk::PastSignIn;
use crate::store::{HistoryStore, StoreError};

#[async_trait]
impl<S: SqlRecords> HistoryStore for S {
    async fn note_sign_in(&self, sign_in: &PastSignIn, most: u32) -> Result<(), StoreError> {
        let PastSignIn { principal_id, at, address, region, device, result } = sign_in;
        let write = self.database().write(async |writer| {
            writer.lock("sign_in_history", principal_id).await?;
            let sql = "INSERT INTO sign_in_history \
                       (principal_id, at_ms, address, region, device, result) VALUES ($1, $2, $3, $4, $5, $6)";
            let values = values![principal_id, *at, address, region, device, result];
            writer.execute(sql, values).await?;
            // Each result is bounded by itself: failures, which strangers can cause, push out none
            // of what succeeded.
            let sql = "DELETE FROM sign_in_history WHERE principal_id = $1 AND result = $2 \
                       AND rowid NOT IN (SELECT rowid FROM sign_in_history \
                       WHERE principal_id = $1 AND result = $2 ORDER BY at_ms DESC, rowid DESC LIMIT $3)";
            writer.execute(sql, values![principal_id, result, most]).await.map(drop)
        });
        write.await
    }

    async fn sign_ins(&self, principal_id: &str, n: u32) -> Result<Vec<PastSignIn>, StoreError> {
        let sql = "SELECT * FROM sign_in_history WHERE principal_id = $1 \
                   ORDER BY at_ms DESC, rowid DESC LIMIT $2";
        let rows = self.database().rows(sql, values![principal_id, n]).await?;
        rows.iter().map(read_sign_in).collect()
    }
}

fn read_sign_in(row: &Row) -> Result<PastSignIn, StoreError> {
    Ok(PastSignIn {
        principal_id: row.text("principal_id")?,
        at: row.time("at_ms")?,
        address: row.text("address")?,
        region: row.text("region")?,
        device: row.text("device")?,
        result: row.text("result")?,
    })
}
