//! Authenticators in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{SqliteStore, failed, in_time, signed, time};
use crate::authenticator::{AuthenticatorRecord, Kind};
use crate::clock::Timestamp;
use crate::store::{AuthenticatorStore, StoreError};

#[async_trait]
impl AuthenticatorStore for SqliteStore {
    async fn bind(&self, record: &AuthenticatorRecord, most: usize) -> Result<bool, StoreError> {
        self.write(async |writer| insert(writer, record, most).await).await
    }

    async fn add_tokens(
        &self,
        tokens: &[(String, Vec<u8>)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(async |writer| {
            for (serial, secret) in tokens {
                sqlx::query("INSERT INTO token (serial, secret, imported_ms) VALUES (?, ?, ?)")
                    .bind(serial)
                    .bind(secret)
                    .bind(signed(now.0))
                    .execute(&mut *writer)
                    .await?;
            }
            Ok(())
        })
        .await
    }

    async fn token(&self, serial: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query_scalar("SELECT secret FROM token WHERE serial = ?");
        in_time(query.bind(serial.to_owned()).fetch_optional(&self.readers)).await
    }

    async fn each_token(
        &self,
        visit: &mut (dyn FnMut(String, Vec<u8>) + Send),
    ) -> Result<(), StoreError> {
        let sql = "SELECT rowid, * FROM token WHERE rowid > ? ORDER BY rowid LIMIT ?";
        self.in_parts(sql, |row| {
            visit(row.try_get("serial").map_err(failed)?, row.try_get("secret").map_err(failed)?);
            Ok(())
        })
        .await
    }

    async fn replace_token(&self, serial: &str, old: &[u8], new: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE token SET secret = ? WHERE serial = ? AND secret = ?";
        let query = sqlx::query(sql).bind(new.to_vec()).bind(serial.to_owned()).bind(old.to_vec());
        self.write(async |writer| query.execute(writer).await).await.map(drop)
    }

    async fn bind_token(
        &self,
        serial: &str,
        record: &AuthenticatorRecord,
        most: usize,
    ) -> Result<bool, StoreError> {
        self.write(async |writer| {
            let sql = "SELECT COUNT(*) FROM token WHERE serial = ?";
            let there: i64 = sqlx::query_scalar(sql).bind(serial).fetch_one(&mut *writer).await?;
            if there == 0 || !insert(writer, record, most).await? {
                return Ok(false);
            }
            let query = sqlx::query("DELETE FROM token WHERE serial = ?").bind(serial);
            query.execute(writer).await?;
            Ok(true)
        })
        .await
    }

    async fn authenticators(
        &self,
        principal_id: &str,
    ) -> Result<Vec<AuthenticatorRecord>, StoreError> {
        let sql = "SELECT * FROM authenticator WHERE principal_id = ? ORDER BY created_ms, rowid";
        let query = sqlx::query(sql).bind(principal_id.to_owned());
        let rows = in_time(query.fetch_all(&self.readers)).await?;
        rows.iter().map(authenticator).collect()
    }

    async fn authenticator_by(
        &self,
        lookup: &str,
    ) -> Result<Option<AuthenticatorRecord>, StoreError> {
        let query =
            sqlx::query("SELECT * FROM authenticator WHERE lookup = ?").bind(lookup.to_owned());
        let row = in_time(query.fetch_optional(&self.readers)).await?;
        row.as_ref().map(authenticator).transpose()
    }

    async fn advance(&self, id: &str, counter: u64, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE authenticator SET counter = ?, used_ms = ? WHERE id = ? AND counter < ?";
        let query = sqlx::query(sql)
            .bind(signed(counter))
            .bind(signed(now.0))
            .bind(id.to_owned())
            .bind(signed(counter));
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn replace_secret(
        &self,
        id: &str,
        old: &[u8],
        new: &[u8],
        counter: u64,
        used: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE authenticator SET secret = ?, counter = MAX(counter, ?), \
                   used_ms = COALESCE(?, used_ms) WHERE id = ? AND secret = ?";
        let query = sqlx::query(sql)
            .bind(new.to_vec())
            .bind(signed(counter))
            .bind(used.map(|used| signed(used.0)))
            .bind(id.to_owned())
            .bind(old.to_vec());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn rename(&self, id: &str, principal_id: &str, name: &str) -> Result<bool, StoreError> {
        let query =
            sqlx::query("UPDATE authenticator SET name = ? WHERE id = ? AND principal_id = ?")
                .bind(name.to_owned())
                .bind(id.to_owned())
                .bind(principal_id.to_owned());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn unbind(&self, id: &str, principal_id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM authenticator WHERE id = ? AND principal_id = ?")
            .bind(id.to_owned())
            .bind(principal_id.to_owned());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn unbind_kind(&self, principal_id: &str, kind: Kind) -> Result<usize, StoreError> {
        let query = sqlx::query("DELETE FROM authenticator WHERE principal_id = ? AND kind = ?")
            .bind(principal_id.to_owned())
            .bind(kind.as_str());
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn each_authenticator(
        &self,
        visit: &mut (dyn FnMut(AuthenticatorRecord) + Send),
    ) -> Result<(), StoreError> {
        let sql = "SELECT rowid, * FROM authenticator WHERE rowid > ? ORDER BY rowid LIMIT ?";
        self.in_parts(sql, |row| authenticator(row).map(&mut *visit)).await
    }
}

/// Adds an authenticator unless its principal has `most` of its kind; says whether it did.
async fn insert(
    writer: &mut SqliteConnection,
    record: &AuthenticatorRecord,
    most: usize,
) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO authenticator (id, principal_id, kind, name, secret, lookup, counter, \
               created_ms, used_ms) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? \
               WHERE (SELECT COUNT(*) FROM authenticator WHERE principal_id = ? AND kind = ?) < ?";
    let done = sqlx::query(sql)
        .bind(&record.id)
        .bind(&record.principal_id)
        .bind(record.kind.as_str())
        .bind(&record.name)
        .bind(&record.secret)
        .bind(&record.lookup)
        .bind(signed(record.counter))
        .bind(signed(record.created.0))
        .bind(record.used.map(|used| signed(used.0)))
        .bind(&record.principal_id)
        .bind(record.kind.as_str())
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .execute(writer)
        .await?;
    Ok(done.rows_affected() == 1)
}

fn authenticator(row: &SqliteRow) -> Result<AuthenticatorRecord, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let used: Option<i64> = row.try_get("used_ms").map_err(failed)?;
    let counter: i64 = row.try_get("counter").map_err(failed)?;
    Ok(AuthenticatorRecord {
        id: text("id")?,
        principal_id: text("principal_id")?,
        kind: Kind::parse(&text("kind")?).ok_or(StoreError::Corrupt("authenticator"))?,
        name: text("name")?,
        secret: row.try_get("secret").map_err(failed)?,
        lookup: row.try_get("lookup").map_err(failed)?,
        counter: counter.unsigned_abs(),
        created: time(row, "created_ms")?,
        used: used.map(|used| Timestamp(used.unsigned_abs())),
    })
}
