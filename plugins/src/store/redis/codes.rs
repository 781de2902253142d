//! Codes that were sent, in Redis: a document each, and one for every destination.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Document, RedisStore};
use crate::clock::Timestamp;
use crate::code::{Sending, StoredCode};
use crate::store::{CodeStore, StoreError};

/// The most sendings that are remembered. Then nothing is sent: none is forgotten before its time.
const SENDINGS_MAX: u64 = 200_000;

/// How long a sending is remembered: as long as any limit looks back.
const DAY_MS: u64 = 86_400_000;

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(with = "super::octets")]
    hash: Vec<u8>,
    destination: String,
    tries: u32,
    expires: Timestamp,
}

impl Document for Stored {
    const NAME: &'static str = "code";

    fn over(&self) -> Option<Timestamp> {
        Some(self.expires)
    }
}

/// When codes went to one destination, latest first.
#[derive(Default, Serialize, Deserialize)]
struct Sent(Vec<Timestamp>);

impl Document for Sent {
    const NAME: &'static str = "sending";

    fn over(&self) -> Option<Timestamp> {
        self.0.first().map(|at| Timestamp(at.0.saturating_add(DAY_MS)))
    }
}

#[async_trait]
impl CodeStore for RedisStore {
    async fn count_sending(
        &self,
        destination: &str,
        now: Timestamp,
        rules: &doorward_config::Codes,
    ) -> Result<Sending, StoreError> {
        let all = self.single("sendings");
        let over = now.0.saturating_sub(DAY_MS);
        let mut count = redis::cmd("ZCOUNT");
        let count: u64 = self.command(count.arg(&all).arg(over).arg("+inf")).await?;
        let key = self.key("sent", destination);
        let decided = self.update(&key, |found: &mut Option<Sent>| {
            let mut sent = found.take().unwrap_or_default();
            let mut decided = Sending::decide(&sent.0, now, rules);
            if decided == Sending::Fits && count >= SENDINGS_MAX {
                decided = Sending::Full;
            }
            if decided == Sending::Fits {
                sent.0.insert(0, now);
                sent.0.sort_unstable_by(|one, other| other.cmp(one));
                sent.0.truncate(usize::try_from(rules.per_day.max(1)).unwrap_or(usize::MAX));
            }
            *found = Some(sent).filter(|sent| !sent.0.is_empty());
            Ok(decided)
        });
        let decided = decided.await?;
        if decided == Sending::Fits {
            let mut add = redis::cmd("ZADD");
            let name = format!("{destination}:{}", now.0);
            self.command::<u64>(add.arg(&all).arg(now.0).arg(name)).await?;
        }
        Ok(decided)
    }

    async fn put_code(&self, code: &StoredCode, now: Timestamp) -> Result<(), StoreError> {
        self.update(&self.key("code", &code.binding), |found: &mut Option<Stored>| {
            let before = found.as_ref().filter(|before| before.expires > now);
            *found = Some(Stored {
                hash: code.hash.to_vec(),
                destination: code.destination.clone(),
                tries: before.map_or(0, |before| before.tries),
                expires: code.expires,
            });
            Ok(())
        })
        .await
    }

    async fn code_tries(&self, binding: &str, now: Timestamp) -> Result<u32, StoreError> {
        let found: Option<Stored> = self.document(&self.key("code", binding)).await?;
        Ok(found.filter(|code| code.expires > now).map_or(0, |code| code.tries))
    }

    async fn try_code(
        &self,
        binding: &str,
        now: Timestamp,
        tries_max: u32,
    ) -> Result<Option<StoredCode>, StoreError> {
        self.update(&self.key("code", binding), |found: &mut Option<Stored>| match found {
            Some(code) if code.expires > now && code.tries < tries_max => {
                code.tries += 1;
                Ok(Some(StoredCode {
                    binding: binding.to_owned(),
                    hash: code
                        .hash
                        .as_slice()
                        .try_into()
                        .map_err(|_| StoreError::Corrupt(Stored::NAME))?,
                    destination: code.destination.clone(),
                    expires: code.expires,
                }))
            }
            _ => Ok(None),
        })
        .await
    }

    async fn use_code(&self, code: &StoredCode) -> Result<bool, StoreError> {
        self.update(&self.key("code", &code.binding), |found: &mut Option<Stored>| {
            let same = found.as_ref().is_some_and(|stored| stored.hash == code.hash);
            if same {
                *found = None;
            }
            Ok(same)
        })
        .await
    }

    async fn prune_codes(&self, now: Timestamp, sent: Timestamp) -> Result<(), StoreError> {
        let mut remove = redis::cmd("ZREMRANGEBYSCORE");
        remove.arg(self.single("sendings")).arg("-inf").arg(sent.0);
        self.command::<u64>(&remove).await?;
        self.reap(now).await
    }
}
