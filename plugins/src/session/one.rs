//! One session, and the state machine of its life.
//!
//! `active` is a time while the session lives, [`ENDED`] for ever after. Every transition is one
//! compare-and-swap, so that a request and a sign-out that meet agree on which came first, and an
//! expired session cannot be revived by a late one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_config::Session as Rules;

use super::texts::Texts;
use super::token::{SessionId, TokenHash};
use super::{Evidence, SessionKey, SessionRecord};
use crate::account::{Principal, PrincipalRecord};
use crate::clock::Timestamp;
use crate::identity::CachedAssertion;

/// In place of the time of the last activity: the session is over.
const ENDED: u64 = 0;

/// How it stands with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Live,
    /// Nothing has happened here for so long that it is over, unless another gate has seen it since.
    Idle,
    Over,
}

/// One session that is, or was, live.
///
/// There may be a million. What it says of itself takes 192 octets with the counters around it,
/// and besides only its evidence and its address; what others say too is shared with them.
#[derive(Debug)]
pub struct LiveSession {
    pub(crate) token_hash: TokenHash,
    /// Its public id, the same through all its tokens.
    pub id: SessionId,
    /// Is it in the list of what has to be written?
    pub(super) noted: AtomicBool,
    pub(super) owner: Arc<Owner>,
    pub(crate) scope: Arc<str>,
    /// What was proven, oldest first.
    pub evidence: Box<[Evidence]>,
    /// What the client said it is, shortened.
    pub device: Arc<str>,
    /// Where the client signed in from.
    pub address: Box<str>,
    /// When it began.
    pub created: Timestamp,
    /// When it was last active. Shared with what it was before a step-up gave it another token:
    /// what began under the old one goes on, and ends with the new one.
    active: Arc<AtomicU64>,
    /// What upstreams were told lately; empty for a session that is not in use.
    pub(crate) assertions: Mutex<Vec<CachedAssertion>>,
}

/// Whom sessions are for: one for all sessions of a principal.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) id: Arc<str>,
    /// As of now.
    pub(super) principal: ArcSwap<Principal>,
}

impl Owner {
    pub(super) fn of(record: &PrincipalRecord) -> Arc<Self> {
        let principal = ArcSwap::from_pointee(Principal::from(record));
        Arc::new(Self { id: record.id.as_str().into(), principal })
    }
}

impl LiveSession {
    /// Whom it is for, as of now.
    pub fn principal(&self) -> Arc<Principal> {
        self.owner.principal.load_full()
    }

    /// When it was last active; `None` if it has ended.
    pub fn active(&self) -> Option<Timestamp> {
        match self.active.load(Ordering::Acquire) {
            ENDED => None,
            at => Some(Timestamp(at)),
        }
    }

    /// When it ends if nothing more happens, and when it ends whatever happens.
    pub fn expiry(&self, rules: &Rules) -> (Timestamp, Timestamp) {
        let absolute = self.created + rules.absolute;
        let idle = self.active().unwrap_or_default() + self.idle(rules);
        (idle.min(absolute), absolute)
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.active.store(ENDED, Ordering::Release);
    }

    pub(super) fn idle(&self, rules: &Rules) -> Duration {
        self.owner.principal.load().idle.unwrap_or(rules.idle)
    }

    /// Does it live at `now`? If so and if `counts`, it has been active. If it has expired, it has
    /// ended for good, unless it was idle and others `share` it, who may have seen it since.
    pub(super) fn observe(
        &self,
        now: Timestamp,
        rules: &Rules,
        counts: bool,
        shared: bool,
    ) -> Life {
        let idle = self.idle(rules);
        let mut active = self.active.load(Ordering::Acquire);
        loop {
            if active == ENDED {
                return Life::Over;
            }
            let is_old = now >= self.created + rules.absolute;
            let is_idle = now >= Timestamp(active) + idle;
            if is_idle && shared && !is_old {
                return Life::Idle;
            }
            let expired = is_old || is_idle;
            if !expired && (!counts || now.0 <= active) {
                return Life::Live;
            }
            let next = if expired { ENDED } else { now.0 };
            match self.active.compare_exchange_weak(
                active,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return if expired { Life::Over } else { Life::Live },
                Err(changed) => active = changed,
            }
        }
    }

    /// Somebody has seen it active at this time, if it is not over.
    pub(super) fn raise(&self, at: Timestamp) {
        let later = |active| (active != ENDED && active < at.0).then_some(at.0);
        let _ = self.active.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    /// How it is named in a store.
    pub(super) fn key(&self) -> SessionKey {
        SessionKey { hash: self.token_hash, id: self.id }
    }

    /// The session of `record`, of which `texts` holds what others share; with the life of what it
    /// was `before`.
    pub(super) fn from_record(
        record: SessionRecord,
        owner: Arc<Owner>,
        texts: &Texts,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let active = match before {
            Some(before) => Arc::clone(&before.active),
            None => Arc::new(AtomicU64::new(record.active.0.max(1))),
        };
        Arc::new(Self {
            token_hash: record.token_hash,
            id: record.id,
            owner,
            scope: texts.of(&record.scope),
            evidence: record.evidence.into(),
            device: texts.of(&record.device),
            address: record.address.into(),
            created: record.created,
            active,
            noted: AtomicBool::new(false),
            assertions: Mutex::default(),
        })
    }
}

/// What a new session is made of.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Whom it is for.
    pub principal: &'a PrincipalRecord,
    /// What was proven.
    pub evidence: Vec<Evidence>,
    /// The host, or the cookie domain, at which it is worth something.
    pub scope: &'a str,
    /// What the client says it is.
    pub device: &'a str,
    /// Where the client is.
    pub address: String,
    /// The session that the browser had before, which ends.
    pub replaces: Option<&'a LiveSession>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_small() {
        let counters = 2 * size_of::<usize>();
        assert!(size_of::<LiveSession>() + counters <= 192, "{}", size_of::<LiveSession>());
    }
}
