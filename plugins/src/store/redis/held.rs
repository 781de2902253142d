//! Kept requests in Redis: a hash each, and indexes by the end of their time, all and each person's.

use async_trait::async_trait;
use redis::Script;

use super::RedisStore;
use crate::clock::Timestamp;
use crate::hold::{HoldLimits, HoldRecord};
use crate::store::{HoldStore, StoreError};

/// Forgets a request: what all the scripts below have in common.
const FORGET: &str = r"
local function forget(key)
  local person, bytes = unpack(redis.call('HMGET', key, 'person', 'bytes'))
  local there = redis.call('DEL', key)
  redis.call('ZREM', KEYS[1], key)
  if person then
    redis.call('ZREM', person, key)
    redis.call('DECRBY', KEYS[2], bytes)
  end
  return there
end
local function forget_over(now)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do forget(key) end
end
";

/// KEYS: all by the end of their time, the octets of all, the request, the person's. ARGV: now, how
/// many a person may keep, how many octets all may, the principal, the request, when it is over.
const KEEP: &str = r"
forget_over(ARGV[1])
local surplus = redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[2]) + 1
if surplus > 0 then
  for _, key in ipairs(redis.call('ZRANGE', KEYS[4], 0, surplus - 1)) do forget(key) end
end
local bytes = string.len(ARGV[5])
if tonumber(redis.call('GET', KEYS[2]) or '0') + bytes > tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[3], 'principal', ARGV[4], 'sealed', ARGV[5], 'expires', ARGV[6],
  'person', KEYS[4], 'bytes', bytes)
redis.call('ZADD', KEYS[1], ARGV[6], KEYS[3])
redis.call('ZADD', KEYS[4], ARGV[6], KEYS[3])
redis.call('INCRBY', KEYS[2], bytes)
return 1
";

const TAKE: &str = "return forget(KEYS[3])";

const PRUNE: &str = "forget_over(ARGV[1]) return 1";

pub(super) struct Scripts {
    keep: Script,
    take: Script,
    prune: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |body| Script::new(&[FORGET, body].concat());
        Self { keep: script(KEEP), take: script(TAKE), prune: script(PRUNE) }
    }
}

impl RedisStore {
    fn held_keys(&self, id: &str, principal_id: &str) -> [String; 4] {
        [
            self.single("held-over"),
            self.single("held-bytes"),
            self.key("held", id),
            self.key("held-of", principal_id),
        ]
    }
}

#[async_trait]
impl HoldStore for RedisStore {
    async fn keep(
        &self,
        record: &HoldRecord,
        limits: HoldLimits,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let keys = self.held_keys(&record.id, &record.principal_id);
        let arguments = [
            now.0.to_string().into_bytes(),
            limits.per_person.max(1).to_string().into_bytes(),
            limits.total_bytes.to_string().into_bytes(),
            record.principal_id.clone().into_bytes(),
            record.sealed.clone(),
            record.expires.0.to_string().into_bytes(),
        ];
        self.lasting_script(&self.held.keep, &keys, &arguments).await
    }

    async fn held(&self, id: &str) -> Result<Option<HoldRecord>, StoreError> {
        type Found = (Option<String>, Option<Vec<u8>>, Option<u64>);
        let mut get = redis::cmd("HMGET");
        get.arg(self.key("held", id)).arg("principal").arg("sealed").arg("expires");
        let (Some(principal_id), Some(sealed), Some(expires)) = self.command::<Found>(&get).await?
        else {
            return Ok(None);
        };
        Ok(Some(HoldRecord {
            id: id.to_owned(),
            principal_id,
            sealed,
            expires: Timestamp(expires),
        }))
    }

    async fn take_held(&self, id: &str) -> Result<bool, StoreError> {
        let keys = self.held_keys(id, "");
        self.lasting_script(&self.held.take, &keys, &[""]).await
    }

    async fn prune_held(&self, now: Timestamp) -> Result<(), StoreError> {
        let keys = self.held_keys("", "");
        self.script(&self.held.prune, &keys, &[now.0.to_string()]).await
    }
}
