//! The audit log in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, signed};
use crate::audit::{Hash, Record};
use crate::clock::Timestamp;
use crate::store::{AuditFilter, AuditStore, StoreError};

/// What stands for a text that cannot be read: no record says it, so that its hash is not right.
const UNREADABLE: &str = "\u{fffd} unreadable";

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append(&self, records: &[Record]) -> Result<(), StoreError> {
        self.write(async |writer| {
            for record in records {
                sqlx::query("INSERT INTO audit (sequence, time_ms, event, severity, outcome, principal, account, session, address, request_id, details, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
                    .bind(signed(record.sequence))
                    .bind(signed(record.time.0))
                    .bind(&record.event)
                    .bind(&record.severity)
                    .bind(&record.outcome)
                    .bind(&record.principal)
                    .bind(&record.account)
                    .bind(&record.session)
                    .bind(&record.address)
                    .bind(&record.request_id)
                    .bind(record.details_text())
                    .bind(record.prev.0.as_slice())
                    .bind(record.hash.0.as_slice())
                    .execute(&mut *writer)
                    .await?;
            }
            Ok(())
        })
        .await
    }

    async fn last(&self, up_to: u64) -> Result<Option<Record>, StoreError> {
        let sql =
            "SELECT * FROM audit WHERE sequence BETWEEN 1 AND ? ORDER BY sequence DESC LIMIT 1";
        let query = sqlx::query(sql).bind(signed(up_to));
        Ok(self.read(query.fetch_optional(&self.readers)).await?.as_ref().map(record))
    }

    async fn unnumbered(&self) -> Result<u64, StoreError> {
        let query = sqlx::query_as("SELECT COUNT(*) FROM audit WHERE sequence < 1");
        let (count,): (i64,) = self.read(query.fetch_one(&self.readers)).await?;
        Ok(count.unsigned_abs())
    }

    async fn page(&self, after: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT * FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?";
        let query = sqlx::query(sql).bind(signed(after)).bind(limit);
        Ok(self.read(query.fetch_all(&self.readers)).await?.iter().map(record).collect())
    }

    async fn latest(
        &self,
        filter: &AuditFilter,
        up_to: u64,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT * FROM audit WHERE sequence BETWEEN 1 AND ?6 AND time_ms >= ?1 AND (?2 IS NULL OR event = ?2) \
                   AND (?3 IS NULL OR account = ?3 OR principal = ?4) \
                   ORDER BY sequence DESC LIMIT ?5";
        let query = sqlx::query(sql)
            .bind(signed(filter.since.0))
            .bind(&filter.event)
            .bind(&filter.account)
            .bind(&filter.principal)
            .bind(limit)
            .bind(signed(up_to));
        let rows = self.read(query.fetch_all(&self.readers)).await?;
        Ok(rows.iter().rev().map(record).collect())
    }

    async fn last_older(&self, event: &str, than: Timestamp) -> Result<Option<Record>, StoreError> {
        let sql = "SELECT * FROM audit WHERE event = ?1 AND sequence > 0 AND sequence < COALESCE( \
                   (SELECT sequence FROM audit WHERE sequence > 0 AND time_ms >= ?2 ORDER BY sequence LIMIT 1), ?3) \
                   ORDER BY sequence DESC LIMIT 1";
        let query = sqlx::query(sql).bind(event.to_owned()).bind(signed(than.0)).bind(i64::MAX);
        Ok(self.read(query.fetch_optional(&self.readers)).await?.as_ref().map(record))
    }

    async fn forget_before(&self, sequence: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM audit WHERE sequence IN \
                   (SELECT sequence FROM audit WHERE sequence > 0 AND sequence < ? ORDER BY sequence LIMIT ?)";
        let query = sqlx::query(sql).bind(signed(sequence)).bind(limit);
        let deleted = self.write(async |writer| query.execute(writer).await).await?;
        Ok(deleted.rows_affected())
    }
}

/// What stands in a row. Never fails: somebody may have written anything into it, and a record
/// whose hash is not right is found by its number.
fn record(row: &SqliteRow) -> Record {
    let unreadable = || UNREADABLE.to_owned();
    let text = |column: &str| row.try_get::<String, _>(column).unwrap_or_else(|_| unreadable());
    let optional = |column: &str| {
        row.try_get::<Option<String>, _>(column).unwrap_or_else(|_| Some(unreadable()))
    };
    let number =
        |column: &str| row.try_get::<i64, _>(column).ok().and_then(|number| number.try_into().ok());
    let hash = |column: &str| {
        let octets = row.try_get::<Vec<u8>, _>(column).ok();
        Hash(octets.and_then(|octets| octets.try_into().ok()).unwrap_or([0xff; 32]))
    };
    let mut record = Record {
        sequence: number("sequence").unwrap_or(u64::MAX),
        time: Timestamp(number("time_ms").unwrap_or(u64::MAX)),
        event: text("event"),
        severity: text("severity"),
        outcome: optional("outcome"),
        principal: optional("principal"),
        account: optional("account"),
        session: optional("session"),
        address: optional("address"),
        request_id: optional("request_id"),
        details: serde_json::from_str(&text("details")).unwrap_or_default(),
        prev: hash("prev"),
        hash: hash("hash"),
    };
    if record.details_text() != text("details") {
        record.details.insert(UNREADABLE.into(), text("details"));
    }
    record
}
