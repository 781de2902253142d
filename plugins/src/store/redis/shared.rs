//! What gates tell each other of sessions: a stream of numbered changes.
//!
//! Each change has the number after the one before, so that whoever reads them knows that none is
//! missing. A server that was restarted empty, or was replaced by one that had not heard the last,
//! has another epoch, smaller numbers, or at least another connection: then everything is read anew.

use async_trait::async_trait;
use redis::Value;

use super::{RedisStore, failed, sessions};
use crate::clock::Timestamp;
use crate::session::SessionRecord;
use crate::session::token::{SessionId, TokenHash};
use crate::store::{Change, Changes, Position, SharedSessionStore, StoreError};

/// How many changes are read at once.
const PART: usize = 2000;

/// KEYS: epoch, number of the last change, the stream. ARGV: the epoch, the number of the last that
/// was read, how many at most. Gives whether they follow each other, and them.
pub(super) const CHANGES: &str = r"
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local read = tonumber(ARGV[2])
if redis.call('GET', KEYS[1]) ~= ARGV[1] or last < read then return {0, {}} end
if last == read then return {1, {}} end
local found = redis.call('XRANGE', KEYS[3], (read + 1) .. '-0', '+', 'COUNT', ARGV[3])
if #found == 0 or found[1][1] ~= (read + 1) .. '-0' then return {0, {}} end
return {1, found}
";

impl RedisStore {
    fn change_keys(&self) -> [String; 3] {
        ["epoch", "change", "changes"].map(|name| self.single(name))
    }
}

#[async_trait]
impl SharedSessionStore for RedisStore {
    async fn position(&self) -> Result<Position, StoreError> {
        let [epoch, number, _] = self.change_keys();
        let fresh = crate::account::fresh_id().map_err(failed)?;
        let mut set = redis::cmd("SET");
        self.command::<Value>(set.arg(&epoch).arg(fresh).arg("NX")).await?;
        let mut get = redis::cmd("MGET");
        let (epoch, number): (String, Option<u64>) =
            self.command(get.arg(&epoch).arg(&number)).await?;
        // After the calls: whatever comes from here on on another connection is asked for anew.
        let connection = self.link.generation();
        Ok(Position { epoch, number: number.unwrap_or(0), connection })
    }

    async fn changes(&self, since: &Position) -> Result<Option<Changes>, StoreError> {
        let arguments = [since.epoch.clone(), since.number.to_string(), PART.to_string()];
        type Told = Vec<(String, (String, Vec<u8>))>;
        let (follows, told): (bool, Told) =
            self.script(&self.sessions.changes, &self.change_keys(), &arguments).await?;
        if !follows || self.link.generation() != since.connection {
            return Ok(None);
        }
        let mut changes = Vec::with_capacity(told.len());
        for (_, (kind, what)) in &told {
            let corrupt = || StoreError::Corrupt("change");
            let text = |octets| std::str::from_utf8(octets).map_err(|_| corrupt());
            changes.push(match kind.as_str() {
                "begun" => Change::Begun(Box::new(sessions::read(what, None)?)),
                "ended" => {
                    let (id, principal) = text(what)?.split_at_checked(22).ok_or_else(corrupt)?;
                    let id = SessionId::parse(id).ok_or_else(corrupt)?;
                    Change::Ended { id, principal_id: principal.to_owned() }
                }
                "principal" => Change::Principal(text(what)?.to_owned()),
                // A newer gate tells what this one does not know: not what to leave out.
                _ => return Err(corrupt()),
            });
        }
        let number = since.number + told.len() as u64;
        let whole = told.len() < PART;
        Ok(Some(Changes { changes, position: Position { number, ..since.clone() }, whole }))
    }

    async fn look_up(&self, hash: &TokenHash) -> Result<Option<SessionRecord>, StoreError> {
        let keys = self.session_keys();
        let found: Vec<Vec<u8>> =
            self.script(&self.sessions.look_up, &keys, &[hash.as_slice()]).await?;
        let [session, active] = found.as_slice() else { return Ok(None) };
        let active = std::str::from_utf8(active).ok().and_then(|text| text.parse().ok());
        sessions::read(session, active.map(Timestamp)).map(Some)
    }

    async fn expire(
        &self,
        sessions: &[(SessionId, Timestamp)],
    ) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let arguments: Vec<String> =
            sessions.iter().flat_map(|(id, at)| [id.to_string(), at.0.to_string()]).collect();
        let keys = self.session_keys();
        let active: Vec<u64> =
            self.lasting_script(&self.sessions.expire, &keys, &arguments).await?;
        Ok(active.into_iter().map(|at| (at > 0).then_some(Timestamp(at))).collect())
    }

    async fn tell_of(&self, principal_ids: &[String]) -> Result<(), StoreError> {
        let keys = self.session_keys();
        self.script(&self.sessions.tell, &keys, principal_ids).await
    }
}
