//! How sessions end by themselves.

use std::sync::Arc;
use std::time::Duration;

use doorward_config::Session as Rules;

use super::live::{CHUNK, lock};
use super::one::Life;
use super::token::TokenHash;
use super::{LiveSession, Sessions};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// How long it is known whose an expired session was, in milliseconds.
const EXPIRED_KEPT_MS: u64 = 86_400_000;

impl Sessions {
    /// Makes all sessions follow other rules from now on. What has expired by the former ones is
    /// durably over before, so that a longer time brings nothing back.
    ///
    /// # Errors
    /// As [`Self::end`]; the former rules stay then.
    pub async fn follow(&self, rules: &Rules) -> Result<(), StoreError> {
        if *self.rules.load_full() != *rules {
            self.sweep().await?;
            let now = self.clock.now();
            self.table.each(|session| {
                self.observe(session, now, false);
            });
            self.rules.store(Arc::new(rules.clone()));
        }
        Ok(())
    }

    /// Ends the sessions of a principal that have expired by its present idle time, durably, so
    /// that a longer one brings none of them back.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn expire(&self, principal_id: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let held = lock(&self.people).get(principal_id).map(|person| person.sessions.clone());
        let mut expired = held.unwrap_or_default();
        expired.retain(|session| self.observe(session, now, false) != Life::Live);
        self.settle(&mut expired).await?;
        self.end(&expired).await
    }

    /// Forgets sessions that have expired; says how many.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let mut expired = Vec::new();
        self.table.each(|session| {
            if self.observe(session, now, false) != Life::Live {
                expired.push(Arc::clone(session));
            }
        });
        self.settle(&mut expired).await?;
        self.note_expired(&expired).await?;
        self.end(&expired).await?;
        self.texts.sweep();
        Ok(expired.len())
    }

    /// Keeps whose they were, for a day: whoever sends a form with such a token has not lost it.
    pub(super) async fn note_expired(
        &self,
        expired: &[Arc<LiveSession>],
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let forget = Timestamp(now.0.saturating_sub(EXPIRED_KEPT_MS));
        let whose =
            |session: &Arc<LiveSession>| (session.token_hash, session.owner.id.as_ref().to_owned());
        for chunk in expired.chunks(CHUNK) {
            let noted: Vec<_> = chunk.iter().map(whose).collect();
            self.store.note_expired(&noted, now, forget).await?;
        }
        Ok(())
    }

    /// Whose session this token was, if it ended by itself within the last day.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expired_owner(&self, hash: &TokenHash) -> Result<Option<String>, StoreError> {
        // Until the next sweep it is here; one that was ended on purpose is not.
        match self.table.get(hash) {
            Some(session) => Ok(Some(session.owner.id.as_ref().to_owned())),
            None => self.store.expired(hash).await,
        }
    }

    /// Forgets those in the store that are over by any rule.
    pub(super) async fn prune(&self) -> Result<(), StoreError> {
        let (now, rules) = (self.clock.now(), self.rules());
        let before = |lifetime: Duration| {
            Timestamp(now.0.saturating_sub(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)))
        };
        self.store.prune(before(rules.absolute), before(rules.idle_max)).await
    }
}
