//! Messages that wait to be sent.

use async_trait::async_trait;

use super::{Row, SqlRecords, values};
use crate::clock::Timestamp;
use crate::notify::{Channel, Claimed, Due, GivenUp, Outcome, Waiting};
use crate::store::{MessageStore, StoreError};

/// How many rows one deletion takes at most.
const PRUNED_AT_ONCE: i64 = 2000;

/// What stands for the text of a message that needs none any more.
const NOTHING: &[u8] = &[];

#[async_trait]
impl<S: SqlRecords> MessageStore for S {
    async fn add_message(&self, message: &Waiting, queue_max: u64) -> Result<bool, StoreError> {
        let channel = message.channel.as_str();
        let values = values![
            &message.id,
            channel,
            &message.kind,
            message.body.as_slice(),
            message.due,
            message.expires,
            queue_max,
        ];
        let write = self.database().write(async |writer| {
            writer.lock("message_room", channel).await?;
            let sql = "INSERT INTO message (id, channel, kind, body, state, tries, due_ms, expires_ms, claim) \
                       SELECT $1, $2, $3, $4, 'waiting', 0, $5, $6, '' WHERE $7 > \
                       (SELECT COUNT(*) FROM message WHERE channel = $2 AND state IN ('waiting', 'handed'))";
            Ok(writer.execute(sql, values).await? > 0)
        });
        write.await
    }

    async fn claim_messages(
        &self,
        channel: Channel,
        claim: &str,
        now: Timestamp,
        lease: Timestamp,
        limit: u32,
    ) -> Result<Due, StoreError> {
        let channel = channel.as_str();
        // Looked at first: most of the time there is nothing to write.
        let sql = "SELECT id FROM message WHERE channel = $1 AND state IN ('waiting', 'handed') \
                   AND (due_ms <= $2 OR expires_ms <= $2) LIMIT 1";
        if self.database().row(sql, values![channel, now]).await?.is_none() {
            return Ok(Due::default());
        }
        let write = self.database().write(async |writer| {
            writer.lock("message_claim", channel).await?;
            let sql = "UPDATE message SET body = $3, claim = '', \
                       state = CASE state WHEN 'handed' THEN 'unclear' ELSE 'expired' END \
                       WHERE channel = $1 AND ((state = 'handed' AND due_ms <= $2) \
                       OR (state = 'waiting' AND expires_ms <= $2 AND (claim = '' OR due_ms <= $2))) \
                       RETURNING id, kind, state";
            let given_up = writer.rows(sql, values![channel, now, NOTHING]).await?;
            // Said twice, because whoever had a message may hand it over between the two.
            let sql = "UPDATE message SET tries = tries + 1, due_ms = $3, claim = $4 WHERE id IN \
                       (SELECT id FROM message WHERE channel = $1 AND state = 'waiting' \
                       AND due_ms <= $2 ORDER BY expires_ms LIMIT $5) \
                       AND state = 'waiting' AND due_ms <= $2 RETURNING id, kind, tries, body, expires_ms";
            let claimed = writer.rows(sql, values![channel, now, lease, claim, limit]).await?;
            Ok((given_up, claimed))
        });
        let (given_up, claimed) = write.await?;
        Ok(Due {
            given_up: given_up.iter().map(read_given_up).collect::<Result<_, _>>()?,
            claimed: claimed.iter().map(read_claimed).collect::<Result<_, _>>()?,
        })
    }

    async fn hand_over(&self, id: &str, claim: &str, lease: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE message SET state = 'handed', due_ms = $1 \
                   WHERE id = $2 AND claim = $3 AND state = 'waiting'";
        Ok(self.database().execute(sql, values![lease, id, claim]).await? > 0)
    }

    async fn settle_message(
        &self,
        message: &Claimed,
        claim: &str,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let (sql, values) = match outcome {
            Outcome::Retry(due) => (
                "UPDATE message SET state = 'waiting', claim = '', due_ms = $1 \
                 WHERE id = $2 AND claim = $3",
                values![due, &message.id, claim],
            ),
            done => (
                "UPDATE message SET body = $4, claim = '', state = $1 WHERE id = $2 AND claim = $3",
                values![done.as_str(), &message.id, claim, NOTHING],
            ),
        };
        self.database().execute(sql, values).await.map(drop)
    }

    async fn waiting(&self, channel: Channel) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS waiting FROM message \
                   WHERE channel = $1 AND state IN ('waiting', 'handed')";
        let row = self.database().row(sql, values![channel.as_str()]).await?;
        row.map_or(Ok(0), |row| row.number("waiting"))
    }

    async fn prune_messages(&self, before: Timestamp) -> Result<(), StoreError> {
        let write = self.database().write(async |writer| {
            writer.lock("message_prune", "").await?;
            let sql = "DELETE FROM message WHERE id IN (SELECT id FROM message \
                       WHERE state NOT IN ('waiting', 'handed') AND expires_ms <= $1 LIMIT $2)";
            writer.execute(sql, values![before, PRUNED_AT_ONCE]).await.map(drop)
        });
        write.await
    }
}

fn read_given_up(row: &Row) -> Result<GivenUp, StoreError> {
    Ok(GivenUp {
        id: row.text("id")?,
        kind: row.text("kind")?,
        perhaps_sent: row.text("state")? == Outcome::Unclear.as_str(),
    })
}

fn read_claimed(row: &Row) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        id: row.text("id")?,
        kind: row.text("kind")?,
        tries: u32::try_from(row.number("tries")?).unwrap_or(u32::MAX),
        body: row.octets("body")?,
        expires: row.time("expires_ms")?,
    })
}
