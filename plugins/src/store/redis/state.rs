//! What several gates know together: what was used, who asks how often, whose keys are good, and how
//! many gates there are.

use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::RedisStore;
use crate::clock::Timestamp;
use crate::rate_limit::Measure;
use crate::store::{SharedState, StoreError};

/// Keys that others use are remembered for longer than any clock is wrong.
const SPARE_MS: u64 = 60_000;

/// The generic cell rate algorithm (ITU-T I.371). KEYS: the theoretical arrival time of the next
/// request. ARGV: now, the time between two requests, the burst; times in microseconds. Gives whether
/// there is room, for how many more, and how long until there is again, or all is back.
const MEASURE: &str = r"
local now, every = tonumber(ARGV[1]), tonumber(ARGV[2])
local whole = every * tonumber(ARGV[3])
local next = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + every
if next - whole > now then return {0, 0, next - whole - now} end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return {1, math.floor((whole - (next - now)) / every), next - now}
";

/// KEYS: gates by when they were there last, what time it is for them, which is forgotten when there
/// are none. ARGV: the gate, now, since when, how long that is.
const ATTEND: &str = r"
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
return redis.call('ZCARD', KEYS[1])
";

pub(super) struct Scripts {
    measure: Script,
    attend: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { measure: Script::new(MEASURE), attend: Script::new(ATTEND) }
    }
}

#[async_trait]
impl SharedState for RedisStore {
    async fn use_once(
        &self,
        what: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut set = redis::cmd("SET");
        let life = until.0.saturating_sub(now.0).saturating_add(SPARE_MS);
        set.arg(self.key("used", what)).arg("1").arg("NX").arg("PX").arg(life);
        let done: Option<String> =
            self.lasting(async |connection| set.query_async(connection).await).await?;
        Ok(done.is_some())
    }

    async fn measure(
        &self,
        key: &str,
        (every, burst): (Duration, u32),
        now: Timestamp,
    ) -> Result<Measure, StoreError> {
        let micros = |ms: u64| ms.saturating_mul(1000).to_string();
        let arguments = [micros(now.0), every.as_micros().max(1).to_string(), burst.to_string()];
        let keys = [self.key("limit", key)];
        let (fits, remaining, after): (bool, u32, u64) =
            self.script(&self.state.measure, &keys, &arguments).await?;
        Ok(Measure { fits, remaining, after: Duration::from_micros(after) })
    }

    async fn publish_keys(
        &self,
        keys: &[(String, String)],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let mut set = redis::cmd("HSET");
        set.arg(self.single("keys"));
        for (name, key) in keys {
            set.arg(name).arg(format!("{} {key}", until.0));
        }
        self.command::<u64>(&set).await.map(drop)
    }

    async fn published_keys(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut get = redis::cmd("HGETALL");
        let found: Vec<(String, String)> = self.command(get.arg(self.single("keys"))).await?;
        let mut keys = Vec::new();
        for (name, published) in found {
            let (until, key) = published.split_once(' ').ok_or(StoreError::Corrupt("key"))?;
            if until.parse::<u64>().is_ok_and(|until| until > now.0) {
                keys.push(key.to_owned());
            } else {
                let mut delete = redis::cmd("HDEL");
                self.command::<u64>(delete.arg(self.single("keys")).arg(name)).await?;
            }
        }
        Ok(keys)
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut get = redis::cmd("GET");
        let found: Option<u64> = self.command(get.arg(self.single("clock"))).await?;
        Ok(found.map(Timestamp))
    }

    async fn attend(
        &self,
        gate: &str,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<u32, StoreError> {
        let lately = now.0.saturating_sub(since.0).max(1);
        let arguments =
            [gate.to_owned(), now.0.to_string(), since.0.to_string(), lately.to_string()];
        let keys = [self.single("gates"), self.single("clock")];
        self.script(&self.state.attend, &keys, &arguments).await
    }
}
