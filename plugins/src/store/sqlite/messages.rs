//! Messages that wait to be sent, in SQLite.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, failed, in_time, signed};
use crate::clock::Timestamp;
use crate::notify::{Channel, Claimed, Due, GivenUp, Outcome, Waiting};
use crate::store::{MessageStore, StoreError};

/// How many rows one deletion takes at most.
const PRUNED_AT_ONCE: i64 = 2000;

#[async_trait]
impl MessageStore for SqliteStore {
    async fn add_message(&self, message: &Waiting, queue_max: u64) -> Result<bool, StoreError> {
        let channel = message.channel.as_str();
        let sql = "INSERT INTO message (id, channel, kind, body, state, tries, due_ms, expires_ms, claim) \
                   SELECT ?, ?, ?, ?, 'waiting', 0, ?, ?, '' WHERE ? > \
                   (SELECT COUNT(*) FROM message WHERE channel = ? AND state IN ('waiting', 'handed'))";
        let query = sqlx::query(sql)
            .bind(&message.id)
            .bind(channel)
            .bind(&message.kind)
            .bind(message.body.as_slice())
            .bind(signed(message.due.0))
            .bind(signed(message.expires.0))
            .bind(signed(queue_max))
            .bind(channel);
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn claim_messages(
        &self,
        channel: Channel,
        claim: &str,
        now: Timestamp,
        lease: Timestamp,
        limit: u32,
    ) -> Result<Due, StoreError> {
        let (name, now) = (channel.as_str(), signed(now.0));
        // Looked at by a reader first: most of the time there is nothing to write.
        let sql = "SELECT 1 FROM message WHERE channel = ? AND state IN ('waiting', 'handed') \
                   AND (due_ms <= ? OR expires_ms <= ?) LIMIT 1";
        let look = sqlx::query(sql).bind(name).bind(now).bind(now).fetch_optional(&self.readers);
        if in_time(look).await?.is_none() {
            return Ok(Due::default());
        }
        let (given_up, claimed) = self
            .write(async |writer| {
                let sql = "UPDATE message SET body = x'', claim = '', \
                           state = CASE state WHEN 'handed' THEN 'unclear' ELSE 'expired' END \
                           WHERE channel = ? AND ((state = 'handed' AND due_ms <= ?) \
                           OR (state = 'waiting' AND expires_ms <= ? AND (claim = '' OR due_ms <= ?))) \
                           RETURNING id, kind, state";
                let given_up = sqlx::query(sql).bind(name).bind(now).bind(now).bind(now);
                let given_up = given_up.fetch_all(&mut *writer).await?;
                let sql = "UPDATE message SET tries = tries + 1, due_ms = ?, claim = ? WHERE id IN \
                           (SELECT id FROM message WHERE channel = ? AND state = 'waiting' \
                           AND due_ms <= ? ORDER BY expires_ms LIMIT ?) RETURNING id, kind, tries, body, expires_ms";
                let claimed = sqlx::query(sql)
                    .bind(signed(lease.0))
                    .bind(claim)
                    .bind(name)
                    .bind(now)
                    .bind(limit)
                    .fetch_all(&mut *writer)
                    .await?;
                Ok((given_up, claimed))
            })
            .await?;
        Ok(Due {
            given_up: given_up.iter().map(read_given_up).collect::<Result<_, _>>()?,
            claimed: claimed.iter().map(read_claimed).collect::<Result<_, _>>()?,
        })
    }

    async fn hand_over(&self, id: &str, claim: &str, lease: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE message SET state = 'handed', due_ms = ? \
                   WHERE id = ? AND claim = ? AND state = 'waiting'";
        let query = sqlx::query(sql).bind(signed(lease.0)).bind(id).bind(claim);
        let done = self.write(async |writer| query.execute(writer).await).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn settle_message(
        &self,
        message: &Claimed,
        claim: &str,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let query = match outcome {
            Outcome::Retry(due) => {
                let sql = "UPDATE message SET state = 'waiting', claim = '', due_ms = ? \
                           WHERE id = ? AND claim = ?";
                sqlx::query(sql).bind(signed(due.0))
            }
            done => {
                let sql = "UPDATE message SET body = x'', claim = '', state = ? \
                           WHERE id = ? AND claim = ?";
                sqlx::query(sql).bind(done.as_str())
            }
        };
        let query = query.bind(&message.id).bind(claim);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }

    async fn waiting(&self, channel: Channel) -> Result<u64, StoreError> {
        let sql =
            "SELECT COUNT(*) FROM message WHERE channel = ? AND state IN ('waiting', 'handed')";
        let query = sqlx::query_scalar(sql).bind(channel.as_str());
        let count: i64 = in_time(query.fetch_one(&self.readers)).await?;
        Ok(count.unsigned_abs())
    }

    async fn prune_messages(&self, before: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE FROM message WHERE id IN (SELECT id FROM message \
                   WHERE state NOT IN ('waiting', 'handed') AND expires_ms <= ? LIMIT ?)";
        let query = sqlx::query(sql).bind(signed(before.0)).bind(PRUNED_AT_ONCE);
        self.write(async |writer| query.execute(writer).await.map(drop)).await
    }
}

fn read_given_up(row: &SqliteRow) -> Result<GivenUp, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    Ok(GivenUp {
        id: text("id")?,
        kind: text("kind")?,
        perhaps_sent: text("state")? == Outcome::Unclear.as_str(),
    })
}

fn read_claimed(row: &SqliteRow) -> Result<Claimed, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    Ok(Claimed {
        id: text("id")?,
        kind: text("kind")?,
        tries: row.try_get("tries").map_err(failed)?,
        body: row.try_get("body").map_err(failed)?,
        expires: super::time(row, "expires_ms")?,
    })
}
