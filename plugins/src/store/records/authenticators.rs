//! Authenticators.

use async_trait::async_trait;

use super::{Connection, Row, SqlRecords, values};
use crate::authenticator::{AuthenticatorRecord, Kind};
use crate::clock::Timestamp;
use crate::store::{AuthenticatorStore, StoreError};

#[async_trait]
impl<S: SqlRecords> AuthenticatorStore for S {
    async fn bind(&self, record: &AuthenticatorRecord, most: usize) -> Result<bool, StoreError> {
        self.database().write(async |writer| insert(writer, record, most).await).await
    }

    async fn add_tokens(
        &self,
        tokens: &[(String, Vec<u8>)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let write = self.database().write(async |writer| {
            writer.lock("token", "").await?;
            for (serial, secret) in tokens {
                let sql = "INSERT INTO token (serial, secret, imported_ms) VALUES ($1, $2, $3)";
                writer.execute(sql, values![serial, secret, now]).await?;
            }
            Ok(())
        });
        write.await
    }

    async fn token(&self, serial: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT secret FROM token WHERE serial = $1";
        let row = self.database().row(sql, values![serial]).await?;
        row.map(|row| row.octets("secret")).transpose()
    }

    async fn each_token(
        &self,
        visit: &mut (dyn FnMut(String, Vec<u8>) + Send),
    ) -> Result<(), StoreError> {
        let sql =
            "SELECT rowid, serial, secret FROM token WHERE rowid > $1 ORDER BY rowid LIMIT $2";
        let each = self.database().in_parts(sql, |row| {
            visit(row.text("serial")?, row.octets("secret")?);
            Ok(())
        });
        each.await
    }

    async fn replace_token(&self, serial: &str, old: &[u8], new: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE token SET secret = $1 WHERE serial = $2 AND secret = $3";
        self.database().execute(sql, values![new, serial, old]).await.map(drop)
    }

    async fn bind_token(
        &self,
        serial: &str,
        record: &AuthenticatorRecord,
        most: usize,
    ) -> Result<bool, StoreError> {
        let write = self.database().write(async |writer| {
            writer.lock("token", serial).await?;
            let there = writer.rows("SELECT serial FROM token WHERE serial = $1", values![serial]);
            if there.await?.is_empty() || !insert(writer, record, most).await? {
                return Ok(false);
            }
            writer.execute("DELETE FROM token WHERE serial = $1", values![serial]).await?;
            Ok(true)
        });
        write.await
    }

    async fn authenticators(
        &self,
        principal_id: &str,
    ) -> Result<Vec<AuthenticatorRecord>, StoreError> {
        let sql = "SELECT * FROM authenticator WHERE principal_id = $1 ORDER BY created_ms, rowid";
        let rows = self.database().rows(sql, values![principal_id]).await?;
        rows.iter().map(authenticator).collect()
    }

    async fn authenticator_by(
        &self,
        lookup: &str,
    ) -> Result<Option<AuthenticatorRecord>, StoreError> {
        let sql = "SELECT * FROM authenticator WHERE lookup = $1";
        let row = self.database().row(sql, values![lookup]).await?;
        row.as_ref().map(authenticator).transpose()
    }

    async fn advance(&self, id: &str, counter: u64, now: Timestamp) -> Result<bool, StoreError> {
        let sql =
            "UPDATE authenticator SET counter = $1, used_ms = $2 WHERE id = $3 AND counter < $1";
        Ok(self.database().execute(sql, values![counter, now, id]).await? == 1)
    }

    async fn replace_secret(
        &self,
        id: &str,
        old: &[u8],
        new: &[u8],
        counter: u64,
        used: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE authenticator SET secret = $1, \
                   counter = CASE WHEN counter < $2 THEN $2 ELSE counter END, \
                   used_ms = COALESCE($3, used_ms) WHERE id = $4 AND secret = $5";
        Ok(self.database().execute(sql, values![new, counter, used, id, old]).await? == 1)
    }

    async fn rename(&self, id: &str, principal_id: &str, name: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE authenticator SET name = $1 WHERE id = $2 AND principal_id = $3";
        Ok(self.database().execute(sql, values![name, id, principal_id]).await? == 1)
    }

    async fn unbind(&self, id: &str, principal_id: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM authenticator WHERE id = $1 AND principal_id = $2";
        Ok(self.database().execute(sql, values![id, principal_id]).await? == 1)
    }

    async fn unbind_kind(&self, principal_id: &str, kind: Kind) -> Result<usize, StoreError> {
        let sql = "DELETE FROM authenticator WHERE principal_id = $1 AND kind = $2";
        let removed = self.database().execute(sql, values![principal_id, kind.as_str()]).await?;
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }

    async fn each_authenticator(
        &self,
        visit: &mut (dyn FnMut(AuthenticatorRecord) + Send),
    ) -> Result<(), StoreError> {
        let sql = "SELECT rowid, a.* FROM authenticator a WHERE rowid > $1 ORDER BY rowid LIMIT $2";
        self.database().in_parts(sql, |row| authenticator(row).map(&mut *visit)).await
    }
}

/// Adds an authenticator unless its principal has `most` of its kind; says whether it did.
async fn insert(
    writer: &mut Connection<'_>,
    record: &AuthenticatorRecord,
    most: usize,
) -> Result<bool, sqlx::Error> {
    writer.lock("authenticator", &record.principal_id).await?;
    let sql = "INSERT INTO authenticator (id, principal_id, kind, name, secret, lookup, counter, \
               created_ms, used_ms) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
               WHERE (SELECT COUNT(*) FROM authenticator WHERE principal_id = $2 AND kind = $3) < $10";
    let values = values![
        &record.id,
        &record.principal_id,
        record.kind.as_str(),
        &record.name,
        &record.secret,
        &record.lookup,
        record.counter,
        record.created,
        record.used,
        u64::try_from(most).unwrap_or(u64::MAX),
    ];
    Ok(writer.execute(sql, values).await? == 1)
}

fn authenticator(row: &Row) -> Result<AuthenticatorRecord, StoreError> {
    let kind = Kind::parse(&row.text("kind")?);
    Ok(AuthenticatorRecord {
        id: row.text("id")?,
        principal_id: row.text("principal_id")?,
        kind: kind.ok_or(StoreError::Corrupt("authenticator"))?,
        name: row.text("name")?,
        secret: row.octets("secret")?,
        lookup: row.optional_text("lookup")?,
        counter: row.number("counter")?,
        created: row.time("created_ms")?,
        used: row.optional_time("used_ms")?,
    })
}
