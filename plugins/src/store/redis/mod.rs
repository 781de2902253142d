//! Live state in Redis, or whatever speaks its protocol: what several gates share.
//!
//! Every step is atomic at the server: a script, or a document that is replaced only if it still is
//! what was read ([`RedisStore::update`]), so that what decides is the same code as in the embedded
//! store. All keys of one deployment have one hash tag, and stand at one node of a Cluster: that
//! gives failover, not more room. Room is no concern: a million sessions take less than a gigabyte.
//!
//! Times are those of the gates' clocks, not of the server's: whatever is over is removed by
//! [`RedisStore::reap`], which every gate calls once in a while.
//!
//! What is acknowledged is as durable as the server was told to make it; `appendonly yes` and
//! `appendfsync always` keep the embedded store's promise.

mod challenges;
mod codes;
#[cfg(test)]
mod document_tests;
mod guesses;
mod held;
mod link;
mod replicas;
mod sessions;
mod shared;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use async_trait::async_trait;
use doorward_config::Redis as Settings;
use redis::{Cmd, FromRedisValue, RedisError, Script, ScriptInvocation, ToRedisArgs};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Backend, Operation, StoreError, Timings, failed};
use crate::clock::Timestamp;
use link::{Connection, Link};
use replicas::Replicas;

/// How often a document is tried to be replaced that others replace at the same time. Within one
/// gate they wait for each other (`Turns`), so that these are other gates.
const TRIES_MAX: usize = 32;

/// How many documents may be replaced at once by one gate. Two may share a place.
const TURNS: usize = 256;

/// How many of those that are over are removed by one call, so that nobody waits long for it.
const REAPED_AT_ONCE: usize = 1000;

/// Commands that change something.
const WRITES: [&str; 8] =
    ["SET", "DEL", "ZADD", "ZREM", "ZREMRANGEBYSCORE", "SADD", "HSET", "HDEL"];

/// Replaces a document, if it still is what was read, and says when it is over.
///
/// KEYS: the document, the documents by the end of their time. ARGV: what was read, what it is to
/// be (both empty for none), when it is over (empty: never).
const REPLACE: &str = r"
local is = redis.call('GET', KEYS[1]) or ''
if is ~= ARGV[1] then return {0, is} end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
if ARGV[2] == '' or ARGV[3] == '' then redis.call('ZREM', KEYS[2], KEYS[1])
else redis.call('ZADD', KEYS[2], ARGV[3], KEYS[1]) end
return {1, ''}
";

/// Removes documents that are over. KEYS: the documents by the end of their time. ARGV: now, how
/// many at most, the first letters of their keys.
const REAP: &str = r"
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, key in ipairs(over) do
  redis.call('DEL', key)
  redis.call('ZREM', KEYS[1], key)
end
return #over
";

/// A document, and until when it matters.
trait Document: Serialize + DeserializeOwned + Send {
    /// What is said when it cannot be read.
    const NAME: &'static str;

    /// When it is over; `None`: not by itself.
    fn over(&self) -> Option<Timestamp>;
}

/// The shared store.
pub struct RedisStore {
    link: Link,
    /// Who has to have what must not be lost; `None`: the primary alone.
    replicas: Option<Replicas>,
    /// `{prefix}:`, the beginning of every key.
    root: String,
    replace: Script,
    reap: Script,
    sessions: sessions::Scripts,
    held: held::Scripts,
    challenges: challenges::Scripts,
    state: state::Scripts,
    turns: Vec<tokio::sync::Mutex<()>>,
    timings: Timings,
}

impl RedisStore {
    /// The store at these servers, which are asked when something is needed. Has to be called on
    /// the runtime that outlives all others.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the settings cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self {
            link: Link::new(settings)?,
            replicas: Replicas::new(settings)?,
            root: format!("{{{}}}:", settings.prefix),
            replace: Script::new(REPLACE),
            reap: Script::new(REAP),
            sessions: sessions::Scripts::new(),
            held: held::Scripts::new(),
            challenges: challenges::Scripts::new(),
            state: state::Scripts::new(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            timings: Timings::default(),
        })
    }

    fn key(&self, kind: &str, id: &str) -> String {
        format!("{}{kind}:{id}", self.root)
    }

    /// A key of which there is one.
    fn single(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// Does `work`, which changes what must not be lost.
    async fn lasting<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let work = async {
            match &self.replicas {
                Some(replicas) => replicas.with(work).await,
                None => self.link.with(work).await,
            }
        };
        self.timings.of(Operation::Write, work).await
    }

    async fn command<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, StoreError> {
        let changes = |name: redis::Arg<&[u8]>| match name {
            redis::Arg::Simple(name) => WRITES.iter().any(|write| write.as_bytes() == name),
            _ => false,
        };
        let is_write = command.args_iter().next().is_some_and(changes);
        let operation = if is_write { Operation::Write } else { Operation::Read };
        let work = self.link.with(async |connection| command.query_async(connection).await);
        self.timings.of(operation, work).await
    }

    /// Runs a script over these keys.
    async fn script<T: FromRedisValue + Send>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs + Sync],
    ) -> Result<T, StoreError> {
        let call = call(script, keys, arguments);
        let work = self.link.with(async |connection| call.invoke_async(connection).await);
        self.timings.of(Operation::Write, work).await
    }

    /// The same where what it changes must not be lost.
    async fn lasting_script<T: FromRedisValue + Send>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs + Sync],
    ) -> Result<T, StoreError> {
        let call = call(script, keys, arguments);
        self.lasting(async |connection| call.invoke_async(connection).await).await
    }

    async fn document<D: Document>(&self, key: &str) -> Result<Option<D>, StoreError> {
        let mut get = redis::cmd("GET");
        let found: Option<Vec<u8>> = self.command(get.arg(key)).await?;
        found.map(|octets| read(&octets)).transpose()
    }

    /// Changes a document as `change` does, atomically; `None` is a document that is not there.
    /// `change` may be called several times, and what it gives at last is given. The document is
    /// written only if it was changed.
    async fn update<D: Document, T>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut Option<D>) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let place = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + byte as usize);
        let _turn = match self.turns.get(place % TURNS) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let mut get = redis::cmd("GET");
        let mut is: Vec<u8> = self.command::<Option<_>>(get.arg(key)).await?.unwrap_or_default();
        let keys = [key.to_owned(), self.single("over")];
        for _ in 0..TRIES_MAX {
            let mut document = if is.is_empty() { None } else { Some(read::<D>(&is)?) };
            let given = change(&mut document)?;
            let next = document.as_ref().map(serde_json::to_vec).transpose().map_err(failed)?;
            let next = next.unwrap_or_default();
            if next == is {
                return Ok(given);
            }
            let over = document.and_then(|document| document.over());
            let over = over.map_or_else(Vec::new, |over| over.0.to_string().into_bytes());
            let arguments = [is, next, over];
            let (done, found): (bool, Vec<u8>) =
                self.lasting_script(&self.replace, &keys, &arguments).await?;
            if done {
                return Ok(given);
            }
            is = found;
        }
        Err(StoreError::Timeout)
    }

    /// Removes what is over.
    async fn reap(&self, now: Timestamp) -> Result<(), StoreError> {
        let keys = [self.single("over")];
        let arguments = [now.0.to_string(), REAPED_AT_ONCE.to_string()];
        while self.script::<usize>(&self.reap, &keys, &arguments).await? == REAPED_AT_ONCE {}
        Ok(())
    }
}

#[async_trait]
impl Backend for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn timings(&self) -> &Timings {
        &self.timings
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // A server that only reads, or has no memory left, is not there for a gate.
        let mut set = redis::cmd("SET");
        set.arg(self.single("probe")).arg("1");
        self.lasting(async |connection| set.query_async(connection).await).await
    }

    async fn close(&self) {
        self.link.close();
        if let Some(replicas) = &self.replicas {
            replicas.close();
        }
    }
}

fn call<'a>(
    script: &'a Script,
    keys: &[String],
    arguments: &[impl ToRedisArgs + Sync],
) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for key in keys {
        call.key(key);
    }
    for argument in arguments {
        call.arg(argument);
    }
    call
}

fn read<D: Document>(octets: &[u8]) -> Result<D, StoreError> {
    serde_json::from_slice(octets).map_err(|_| StoreError::Corrupt(D::NAME))
}

/// Octets in a document, as base64url: a list of numbers would take four times as much.
mod octets {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(octets))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)
    }
}
