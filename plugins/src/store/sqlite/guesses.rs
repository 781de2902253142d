//! Guesses and devices, in SQLite.

use async_trait::async_trait;
use doorward_config::Lockout as Rules;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, failed, signed, time};
use crate::clock::Timestamp;
use crate::lockout::{Admission, DeviceId, Guess, SignedInDevice, Tally, TallyKey, TrustedDevice};
use crate::store::{Counts, GuessStore, KnownDevice, StoreError};

/// The most browsers that are known for one principal; those unused for longest are forgotten.
const DEVICES_MAX: i64 = 100;

/// How many rows one deletion takes at most, so that no sign-in waits long for it.
const PRUNED_AT_ONCE: u64 = 2000;

const SELECT: &str = "SELECT first_ms, in_window, in_row FROM guess \
                      WHERE subject = ? AND kind = ? AND device = ?";

#[async_trait]
impl GuessStore for SqliteStore {
    async fn tally(&self, key: &TallyKey) -> Result<Tally, StoreError> {
        let query = sqlx::query(SELECT)
            .bind(&key.subject)
            .bind(key.kind.as_str())
            .bind(device(key))
            .fetch_optional(&self.readers);
        self.read(query).await?.as_ref().map_or(Ok(Tally::default()), tally)
    }

    async fn admit(
        &self,
        key: &TallyKey,
        rules: &Rules,
        now: Timestamp,
        captcha_solved: bool,
    ) -> Result<Option<(Admission, Tally)>, StoreError> {
        self.write(async |writer| {
            if key.device.is_some() {
                let sql = "SELECT 1 FROM device WHERE id = ? AND principal_id = ?";
                let query = sqlx::query(sql).bind(device(key)).bind(&key.subject);
                if query.fetch_optional(&mut *writer).await?.is_none() {
                    return Ok(None);
                }
            }
            let found = sqlx::query(SELECT)
                .bind(&key.subject)
                .bind(key.kind.as_str())
                .bind(device(key))
                .fetch_optional(&mut *writer)
                .await?;
            // A row that cannot be read is an error, never an empty tally.
            let mut tally = match &found {
                Some(row) => tally(row).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
                None => Tally::default(),
            };
            let admission = tally.admit(rules, now, captcha_solved);
            if matches!(admission, Admission::Check | Admission::Disable) {
                let sql = "INSERT INTO guess (subject, kind, device, known, first_ms, in_window, in_row) \
                           VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subject, kind, device) DO UPDATE \
                           SET first_ms = excluded.first_ms, in_window = excluded.in_window, in_row = excluded.in_row";
                sqlx::query(sql)
                    .bind(&key.subject)
                    .bind(key.kind.as_str())
                    .bind(device(key))
                    .bind(key.known)
                    .bind(signed(tally.first.0))
                    .bind(tally.in_window)
                    .bind(tally.in_row)
                    .execute(&mut *writer)
                    .await?;
            }
            Ok(Some((admission, tally)))
        })
        .await
    }

    async fn succeed(
        &self,
        key: &TallyKey,
        signed_in: Option<&SignedInDevice<'_>>,
    ) -> Result<(), StoreError> {
        self.write(async |writer| {
            let sql = "DELETE FROM guess WHERE subject = ? AND kind = ? AND device = ?";
            sqlx::query(sql)
                .bind(&key.subject)
                .bind(key.kind.as_str())
                .bind(device(key))
                .execute(&mut *writer)
                .await?;
            match signed_in {
                Some(signed_in) => remember(writer, signed_in).await,
                None => Ok(()),
            }
        })
        .await
    }

    async fn tallies(&self, principal_id: &str) -> Result<Vec<(TallyKey, Tally)>, StoreError> {
        let sql = "SELECT * FROM guess WHERE subject = ? ORDER BY kind, device";
        let query = sqlx::query(sql).bind(principal_id.to_owned()).fetch_all(&self.readers);
        let rows = self.read(query).await?;
        rows.iter().map(|row| Ok((tally_key(row)?, tally(row)?))).collect()
    }

    async fn guessed_at(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT subject FROM guess WHERE known = 1";
        self.read(sqlx::query_scalar(sql).fetch_all(&self.readers)).await
    }

    async fn lift_kind(&self, principal_id: &str, kind: Guess) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM guess WHERE subject = ? AND kind = ?")
            .bind(principal_id.to_owned())
            .bind(kind.as_str());
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn lift(&self, principal_id: &str) -> Result<usize, StoreError> {
        let query = sqlx::query("DELETE FROM guess WHERE subject = ?").bind(principal_id);
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn knows_device(&self, id: &DeviceId, principal_id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM device WHERE id = ? AND principal_id = ?";
        let query = sqlx::query(sql).bind(id.as_str().to_owned()).bind(principal_id.to_owned());
        Ok(self.read(query.fetch_optional(&self.readers)).await?.is_some())
    }

    async fn trust_device(
        &self,
        id: &DeviceId,
        principal_id: &str,
        (name, until): (&str, Timestamp),
    ) -> Result<(), StoreError> {
        let sql = "UPDATE device SET trusted_ms = ?, name = ? WHERE id = ? AND principal_id = ?";
        let query = sqlx::query(sql)
            .bind(signed(until.0))
            .bind(name.to_owned())
            .bind(id.as_str().to_owned())
            .bind(principal_id.to_owned());
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn trusted_devices(
        &self,
        principal_id: &str,
        now: Timestamp,
    ) -> Result<Vec<TrustedDevice>, StoreError> {
        let sql = "SELECT id, name, trusted_ms FROM device WHERE principal_id = ? AND trusted_ms > ? \
                   ORDER BY active_ms DESC";
        let query = sqlx::query(sql).bind(principal_id.to_owned()).bind(signed(now.0));
        let rows = self.read(query.fetch_all(&self.readers)).await?;
        let device = |row: &SqliteRow| {
            let id: String = row.try_get("id").map_err(failed)?;
            Ok(TrustedDevice {
                id: DeviceId::stored(id).ok_or(StoreError::Corrupt("device"))?,
                name: row.try_get("name").map_err(failed)?,
                until: time(row, "trusted_ms")?,
            })
        };
        rows.iter().map(device).collect()
    }

    async fn distrust_devices(&self, principal_id: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE device SET trusted_ms = 0 WHERE principal_id = ?")
            .bind(principal_id.to_owned());
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn forget_devices(&self, principal_id: &str) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM device WHERE principal_id = ?").bind(principal_id);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn prune_guesses(
        &self,
        now: Timestamp,
        over: Timestamp,
        unknown_max: u64,
    ) -> Result<u64, StoreError> {
        self.write(async |writer| {
            sqlx::query("DELETE FROM device WHERE expires_ms <= ?")
                .bind(signed(now.0))
                .execute(&mut *writer)
                .await?;
            let sql = "DELETE FROM guess WHERE device <> '' AND NOT EXISTS \
                       (SELECT 1 FROM device WHERE id = guess.device AND principal_id = guess.subject)";
            sqlx::query(sql).execute(&mut *writer).await.map(drop)
        })
        .await?;
        // Over: their window has ended. What is counted in a row matters for principals only.
        let expired =
            "SELECT subject, kind, device FROM guess WHERE known = 0 AND first_ms <= ? LIMIT ?";
        self.delete_guesses(expired, signed(over.0), u64::MAX).await?;
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM guess WHERE known = 0");
        let count: i64 = self.read(count.fetch_one(&self.readers)).await?;
        let excess = count.unsigned_abs().saturating_sub(unknown_max);
        // Those with many guesses stay: whoever wants a name to be forgotten has to guess at more
        // names than there is room for, as often as at that one.
        let fewest = "SELECT subject, kind, device FROM guess WHERE known = 0 AND in_window > ? \
                      ORDER BY in_window, first_ms LIMIT ?";
        self.delete_guesses(fewest, 0, excess).await?;
        Ok(count.unsigned_abs() - excess)
    }
}

impl SqliteStore {
    /// What is counted of principals, and which browsers are known for them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn counted(&self) -> Result<Counts, StoreError> {
        let guesses = sqlx::query("SELECT * FROM guess WHERE known = 1").fetch_all(&self.readers);
        let guesses = guesses.await.map_err(failed)?;
        let devices = sqlx::query("SELECT * FROM device").fetch_all(&self.readers);
        let devices = devices.await.map_err(failed)?;
        let known = |row: &SqliteRow| {
            Ok(KnownDevice {
                id: row.try_get("id").map_err(failed)?,
                principal_id: row.try_get("principal_id").map_err(failed)?,
                name: row.try_get("name").map_err(failed)?,
                active: time(row, "active_ms")?,
                expires: time(row, "expires_ms")?,
                trusted: time(row, "trusted_ms")?,
            })
        };
        let guesses = guesses.iter().map(|row| Ok((tally_key(row)?, tally(row)?)));
        Ok(Counts {
            guesses: guesses.collect::<Result<_, StoreError>>()?,
            devices: devices.iter().map(known).collect::<Result<_, StoreError>>()?,
        })
    }

    /// Deletes `total` rows at most of those that `select` gives for `bound` and a limit.
    async fn delete_guesses(
        &self,
        select: &'static str,
        bound: i64,
        mut total: u64,
    ) -> Result<(), StoreError> {
        while total > 0 {
            let limit = total.min(PRUNED_AT_ONCE);
            let sql = format!("DELETE FROM guess WHERE (subject, kind, device) IN ({select})");
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(bound).bind(signed(limit));
            let done = self.write(async |writer| query.execute(writer).await).await?;
            if done.rows_affected() < limit {
                return Ok(());
            }
            total -= limit;
        }
        Ok(())
    }
}

/// Knows the browser under its new id, with all that was known and counted under the old one.
async fn remember(
    writer: &mut SqliteConnection,
    device: &SignedInDevice<'_>,
) -> Result<(), sqlx::Error> {
    let now = device.now.as_str();
    if let Some(before) = device.before {
        for sql in [
            "UPDATE device SET id = ? WHERE id = ?",
            "UPDATE guess SET device = ? WHERE device = ? AND device <> ''",
        ] {
            sqlx::query(sql).bind(now).bind(before.as_str()).execute(&mut *writer).await?;
        }
    }
    let sql = "INSERT INTO device (id, principal_id, active_ms, expires_ms) VALUES (?, ?, ?, ?) \
               ON CONFLICT (id, principal_id) DO UPDATE \
               SET active_ms = excluded.active_ms, expires_ms = excluded.expires_ms";
    sqlx::query(sql)
        .bind(now)
        .bind(device.principal_id)
        .bind(signed(device.active.0))
        .bind(signed(device.expires.0))
        .execute(&mut *writer)
        .await?;
    let sql = "DELETE FROM device WHERE principal_id = ? AND id NOT IN \
               (SELECT id FROM device WHERE principal_id = ? ORDER BY active_ms DESC LIMIT ?)";
    sqlx::query(sql)
        .bind(device.principal_id)
        .bind(device.principal_id)
        .bind(DEVICES_MAX)
        .execute(&mut *writer)
        .await
        .map(drop)
}

/// The column of a key's device.
fn device(key: &TallyKey) -> &str {
    key.device.as_ref().map_or("", DeviceId::as_str)
}

fn tally(row: &SqliteRow) -> Result<Tally, StoreError> {
    let count = |column: &str| row.try_get::<u32, _>(column).map_err(failed);
    Ok(Tally {
        first: time(row, "first_ms")?,
        in_window: count("in_window")?,
        in_row: count("in_row")?,
    })
}

fn tally_key(row: &SqliteRow) -> Result<TallyKey, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    Ok(TallyKey {
        subject: text("subject")?,
        known: row.try_get("known").map_err(failed)?,
        kind: Guess::parse(&text("kind")?).ok_or(StoreError::Corrupt("guess"))?,
        device: DeviceId::stored(text("device")?),
    })
}
