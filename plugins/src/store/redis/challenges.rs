//! Challenges in Redis: a document each, and an index of those of one purpose and binding.

use async_trait::async_trait;
use redis::Script;
use serde::{Deserialize, Serialize};

use super::{Document, RedisStore, failed};
use crate::challenge::ChallengeRecord;
use crate::clock::Timestamp;
use crate::store::{ChallengeStore, StoreError};

/// Adds a challenge, and removes the oldest of its index until there is room.
///
/// KEYS: the document, the documents by the end of their time, the index, which counts as one of
/// them. ARGV: the document, when it is over, when it was made, how many the index may have.
const BEGIN: &str = r"
local left = {}
for _, key in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  if redis.call('EXISTS', key) == 1 then left[#left + 1] = key
  else redis.call('ZREM', KEYS[3], key) end
end
for i = 1, #left - tonumber(ARGV[4]) + 1 do
  redis.call('DEL', left[i])
  redis.call('ZREM', KEYS[2], left[i])
  redis.call('ZREM', KEYS[3], left[i])
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], KEYS[1])
redis.call('ZADD', KEYS[3], ARGV[3], KEYS[1])
redis.call('ZADD', KEYS[2], 'GT', ARGV[2], KEYS[3])
return 1
";

pub(super) struct Scripts {
    begin: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { begin: Script::new(BEGIN) }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    purpose: String,
    bound_to: String,
    principal_id: String,
    #[serde(with = "super::octets")]
    state: Vec<u8>,
    version: u32,
    tries: u32,
    created: Timestamp,
    expires: Timestamp,
}

impl Document for Stored {
    const NAME: &'static str = "challenge";

    fn over(&self) -> Option<Timestamp> {
        Some(self.expires)
    }
}

impl From<ChallengeRecord> for Stored {
    fn from(record: ChallengeRecord) -> Self {
        let ChallengeRecord {
            id,
            purpose,
            bound_to,
            principal_id,
            state,
            version,
            tries,
            created,
            expires,
        } = record;
        Self { id, purpose, bound_to, principal_id, state, version, tries, created, expires }
    }
}

impl From<Stored> for ChallengeRecord {
    fn from(stored: Stored) -> Self {
        let Stored { id, purpose, bound_to, principal_id, state, version, tries, created, expires } =
            stored;
        Self { id, purpose, bound_to, principal_id, state, version, tries, created, expires }
    }
}

impl RedisStore {
    fn challenge_key(&self, id: &str) -> String {
        self.key("challenge", id)
    }

    fn index_key(&self, purpose: &str, bound_to: &str) -> String {
        self.key("challenges", &format!("{purpose}:{bound_to}"))
    }
}

#[async_trait]
impl ChallengeStore for RedisStore {
    async fn begin_challenge(
        &self,
        record: &ChallengeRecord,
        per_binding_max: u32,
    ) -> Result<(), StoreError> {
        let keys = [
            self.challenge_key(&record.id),
            self.single("over"),
            self.index_key(&record.purpose, &record.bound_to),
        ];
        let document = serde_json::to_string(&Stored::from(record.clone())).map_err(failed)?;
        let (expires, created) = (record.expires.0.to_string(), record.created.0.to_string());
        let arguments = [document, expires, created, per_binding_max.max(1).to_string()];
        self.script(&self.challenges.begin, &keys, &arguments).await
    }

    async fn challenge(&self, id: &str) -> Result<Option<ChallengeRecord>, StoreError> {
        let found: Option<Stored> = self.document(&self.challenge_key(id)).await?;
        Ok(found.map(ChallengeRecord::from))
    }

    async fn latest_challenge(
        &self,
        purpose: &str,
        bound_to: &str,
    ) -> Result<Option<ChallengeRecord>, StoreError> {
        let index = self.index_key(purpose, bound_to);
        let mut range = redis::cmd("ZREVRANGE");
        // The latest may have been taken.
        let keys: Vec<String> = self.command(range.arg(&index).arg(0).arg(-1)).await?;
        for key in keys {
            if let Some(found) = self.document::<Stored>(&key).await? {
                return Ok(Some(found.into()));
            }
        }
        Ok(None)
    }

    async fn count_try(&self, id: &str, most: u32, now: Timestamp) -> Result<bool, StoreError> {
        self.update(&self.challenge_key(id), |found: &mut Option<Stored>| match found {
            Some(stored) if stored.tries < most && stored.expires > now => {
                stored.tries += 1;
                Ok(true)
            }
            _ => Ok(false),
        })
        .await
    }

    async fn replace_state(
        &self,
        id: &str,
        version: u32,
        state: &[u8],
    ) -> Result<bool, StoreError> {
        self.update(&self.challenge_key(id), |found: &mut Option<Stored>| match found {
            Some(stored) if stored.version == version => {
                stored.state = state.to_vec();
                stored.version += 1;
                Ok(true)
            }
            _ => Ok(false),
        })
        .await
    }

    async fn take_challenge(
        &self,
        id: &str,
        version: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.update(&self.challenge_key(id), |found: &mut Option<Stored>| {
            let right = |stored: &Stored| stored.version == version && stored.expires > now;
            let taken = found.as_ref().is_some_and(right);
            if taken {
                *found = None;
            }
            Ok(taken)
        })
        .await
    }

    async fn prune_challenges(&self, now: Timestamp) -> Result<(), StoreError> {
        self.reap(now).await
    }
}
