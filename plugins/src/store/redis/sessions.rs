//! Sessions in Redis: one hash of all by their ids, one of their tokens, and two indexes by time.
//!
//! A session keeps its id through all its tokens, so that whoever ends it need not know which token
//! it has by now. Every change is told in a stream (see `shared.rs`), by the same script that makes
//! it: in the order in which the stream tells them, changes happened.

use async_trait::async_trait;
use redis::Script;

use super::{RedisStore, failed};
use crate::clock::Timestamp;
use crate::session::token::{SessionId, TokenHash};
use crate::session::{Evidence, SessionKey, SessionRecord, known_evidence};
use crate::store::{SessionStore, StoreError};

/// How many changes can be read later; whoever has missed more reads everything anew.
const CHANGES_KEPT: u32 = 20_000;

/// How many sessions one call of [`SessionStore::prune`] removes.
const PRUNED_AT_ONCE: usize = 1000;

/// How many sessions are read at once.
const PART: usize = 1000;

/// What all scripts have in common.
///
/// KEYS: sessions by id, ids by token hash, ids by last activity, ids by beginning, the stream of
/// changes, the number of the last, whose expired sessions were, those by time. A session is 32
/// octets of token hash, and JSON.
const COMMON: &str = r"
local function tell(kind, what)
  local number = redis.call('INCR', KEYS[6])
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', '@CHANGES@', number .. '-0', kind, what)
end
local function forget(id)
  local session = redis.call('HGET', KEYS[1], id)
  if not session then return 0 end
  redis.call('HDEL', KEYS[2], string.sub(session, 1, 32))
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
  tell('ended', id .. cjson.decode(string.sub(session, 33)).principal)
  return 1
end
local function put(id, session, active, created)
  redis.call('HSET', KEYS[1], id, session)
  redis.call('HSET', KEYS[2], string.sub(session, 1, 32), id)
  redis.call('ZADD', KEYS[3], 'GT', active, id)
  redis.call('ZADD', KEYS[4], created, id)
  tell('begun', session)
end
";

/// ARGV: id, session, last activity, beginning, and ids of those that end.
const BEGIN: &str = r"
for i = 5, #ARGV do forget(ARGV[i]) end
if redis.call('HEXISTS', KEYS[2], string.sub(ARGV[2], 1, 32)) == 1 then return 0 end
put(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
return 1
";

/// ARGV: id, session, last activity, beginning, the token hash that it had.
const STEP_UP: &str = r"
if redis.call('HGET', KEYS[2], ARGV[5]) ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[5])
put(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
return 1
";

/// ARGV: ids.
const END: &str = "for i = 1, #ARGV do forget(ARGV[i]) end return 1";

/// ARGV: beginning, last activity, how many at most.
const PRUNE: &str = r"
local count = 0
for index, before in pairs({[4] = ARGV[1], [3] = ARGV[2]}) do
  local old = redis.call('ZRANGEBYSCORE', KEYS[index], '-inf', '(' .. before, 'LIMIT', 0, ARGV[3])
  for _, id in ipairs(old) do
    if forget(id) == 0 then redis.call('ZREM', KEYS[index], id) end
  end
  count = count + #old
end
return count
";

/// ARGV: now, from when on it is known whose expired sessions were, and token hashes with whose they
/// were.
const EXPIRED: &str = r"
local old = redis.call('ZRANGEBYSCORE', KEYS[8], '-inf', '(' .. ARGV[2], 'LIMIT', 0, 1000)
for _, hash in ipairs(old) do
  redis.call('HDEL', KEYS[7], hash)
  redis.call('ZREM', KEYS[8], hash)
end
for i = 3, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[7], ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('ZADD', KEYS[8], ARGV[1], ARGV[i])
  end
end
return 1
";

/// Ends sessions unless they were active later. ARGV: ids, each with a time. Gives for each when it
/// was active, or 0 where it is over.
const EXPIRE: &str = r"
local active = {}
for i = 1, #ARGV, 2 do
  local at = redis.call('ZSCORE', KEYS[3], ARGV[i])
  if at and tonumber(at) <= tonumber(ARGV[i + 1]) then
    forget(ARGV[i])
    at = false
  end
  active[#active + 1] = at or '0'
end
return active
";

/// ARGV: a token hash.
const LOOK_UP: &str = r"
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id then return {} end
return {redis.call('HGET', KEYS[1], id), redis.call('ZSCORE', KEYS[3], id)}
";

/// ARGV: what to tell of, each.
const TELL: &str = "for i = 1, #ARGV do tell('principal', ARGV[i]) end return 1";

pub(super) struct Scripts {
    begin: Script,
    step_up: Script,
    end: Script,
    prune: Script,
    expired: Script,
    pub(super) expire: Script,
    pub(super) look_up: Script,
    pub(super) tell: Script,
    pub(super) changes: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let common = COMMON.replace("@CHANGES@", &CHANGES_KEPT.to_string());
        let script = |body: &str| Script::new(&[&common, body].concat());
        Self {
            begin: script(BEGIN),
            step_up: script(STEP_UP),
            end: script(END),
            prune: script(PRUNE),
            expired: script(EXPIRED),
            expire: script(EXPIRE),
            look_up: script(LOOK_UP),
            tell: script(TELL),
            changes: Script::new(super::shared::CHANGES),
        }
    }
}

/// What a session says beside its token; when it was active stands in the index.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored<'a> {
    id: std::borrow::Cow<'a, str>,
    principal: std::borrow::Cow<'a, str>,
    scope: std::borrow::Cow<'a, str>,
    #[serde(deserialize_with = "known_evidence")]
    evidence: std::borrow::Cow<'a, [Evidence]>,
    device: std::borrow::Cow<'a, str>,
    address: std::borrow::Cow<'a, str>,
    created: Timestamp,
    active: Timestamp,
}

fn write(session: &SessionRecord) -> Result<Vec<u8>, StoreError> {
    let stored = Stored {
        id: (&*session.id).into(),
        principal: (&*session.principal_id).into(),
        scope: (&*session.scope).into(),
        evidence: (&*session.evidence).into(),
        device: (&*session.device).into(),
        address: (&*session.address).into(),
        created: session.created,
        active: session.active,
    };
    let mut octets = session.token_hash.to_vec();
    serde_json::to_writer(&mut octets, &stored).map_err(failed)?;
    Ok(octets)
}

/// A session as it is stored; `active`, if it is known, is later than what stands in it.
pub(super) fn read(octets: &[u8], active: Option<Timestamp>) -> Result<SessionRecord, StoreError> {
    let corrupt = || StoreError::Corrupt("session");
    let (hash, json) = octets.split_first_chunk::<32>().ok_or_else(corrupt)?;
    let stored: Stored<'_> = serde_json::from_slice(json).map_err(|_| corrupt())?;
    Ok(SessionRecord {
        token_hash: *hash,
        id: SessionId::parse(&stored.id).ok_or_else(corrupt)?,
        principal_id: stored.principal.into_owned(),
        scope: stored.scope.into_owned(),
        evidence: stored.evidence.into_owned(),
        device: stored.device.into_owned(),
        address: stored.address.into_owned(),
        created: stored.created,
        active: active.unwrap_or_default().max(stored.active),
    })
}

impl RedisStore {
    pub(super) fn session_keys(&self) -> [String; 8] {
        [
            "sessions",
            "session-tokens",
            "session-active",
            "session-created",
            "changes",
            "change",
            "expired",
            "expired-at",
        ]
        .map(|name| self.single(name))
    }

    async fn put(
        &self,
        script: &Script,
        session: &SessionRecord,
        more: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let mut arguments = vec![
            session.id.as_bytes().to_vec(),
            write(session)?,
            session.active.0.to_string().into_bytes(),
            session.created.0.to_string().into_bytes(),
        ];
        arguments.extend(more);
        self.lasting_script(script, &self.session_keys(), &arguments).await
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn each(&self, visit: &mut (dyn FnMut(SessionRecord) + Send)) -> Result<(), StoreError> {
        let [sessions, _, active, ..] = self.session_keys();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&sessions).arg(cursor).arg("COUNT").arg(PART);
            let (next, found): (u64, Vec<(String, Vec<u8>)>) = self.command(&scan).await?;
            if !found.is_empty() {
                let mut scores = redis::cmd("ZMSCORE");
                scores.arg(&active);
                for (id, _) in &found {
                    scores.arg(id);
                }
                let scores: Vec<Option<u64>> = self.command(&scores).await?;
                for ((_, octets), at) in found.iter().zip(scores) {
                    // Without a time of activity it has ended meanwhile.
                    if let Some(at) = at {
                        visit(read(octets, Some(Timestamp(at)))?);
                    }
                }
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn prune(&self, created: Timestamp, active: Timestamp) -> Result<(), StoreError> {
        let arguments = [created.0.to_string(), active.0.to_string(), PRUNED_AT_ONCE.to_string()];
        let keys = self.session_keys();
        while self.script::<usize>(&self.sessions.prune, &keys, &arguments).await? > 0 {}
        Ok(())
    }

    async fn begin(&self, session: &SessionRecord, ended: &[SessionKey]) -> Result<(), StoreError> {
        let ended = ended.iter().map(|key| key.id.as_bytes().to_vec());
        match self.put(&self.sessions.begin, session, ended).await? {
            true => Ok(()),
            false => Err(StoreError::Taken),
        }
    }

    async fn step_up(&self, session: &SessionRecord, old: &TokenHash) -> Result<bool, StoreError> {
        self.put(&self.sessions.step_up, session, [old.to_vec()]).await
    }

    async fn end(&self, ended: &[SessionKey]) -> Result<(), StoreError> {
        let ids: Vec<&str> = ended.iter().map(|key| &*key.id).collect();
        self.lasting_script(&self.sessions.end, &self.session_keys(), &ids).await
    }

    async fn touch(&self, active: &[(SessionKey, Timestamp)]) -> Result<(), StoreError> {
        let mut add = redis::cmd("ZADD");
        // Those that are not there stay away, and nobody becomes older.
        add.arg(self.single("session-active")).arg("XX").arg("GT");
        for (key, at) in active {
            add.arg(at.0).arg(&*key.id);
        }
        if active.is_empty() {
            return Ok(());
        }
        self.command::<u64>(&add).await.map(drop)
    }

    async fn note_expired(
        &self,
        expired: &[(TokenHash, String)],
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<(), StoreError> {
        let mut arguments = vec![now.0.to_string().into_bytes(), forget.0.to_string().into_bytes()];
        for (hash, principal_id) in expired {
            arguments.push(hash.to_vec());
            arguments.push(principal_id.clone().into_bytes());
        }
        self.script(&self.sessions.expired, &self.session_keys(), &arguments).await
    }

    async fn expired(&self, hash: &TokenHash) -> Result<Option<String>, StoreError> {
        let mut get = redis::cmd("HGET");
        self.command(get.arg(self.single("expired")).arg(hash.as_slice())).await
    }
}
