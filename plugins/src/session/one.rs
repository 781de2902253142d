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

use super::token::TokenHash;
use super::{Evidence, SessionRecord};
use crate::account::{Principal, PrincipalRecord};
use crate::clock::Timestamp;
use crate::identity::CachedAssertion;

/// In place of the time of the last activity: the session is over.
const ENDED: u64 = 0;

/// One session that is, or was, live.
#[derive(Debug)]
pub struct LiveSession {
    pub(super) token_hash: TokenHash,
    /// Its public id.
    pub id: String,
    pub(super) principal_id: String,
    principal: Arc<ArcSwap<Principal>>,
    pub(super) scope: String,
    /// What was proven, oldest first.
    pub evidence: Vec<Evidence>,
    /// What the client said it is, shortened.
    pub device: String,
    /// Where the client signed in from.
    pub address: String,
    /// When it began.
    pub created: Timestamp,
    active: AtomicU64,
    /// Is it in the list of what has to be written?
    pub(super) noted: AtomicBool,
    pub(crate) assertions: Mutex<Vec<CachedAssertion>>,
}

impl LiveSession {
    /// Whom it is for, as of now.
    pub fn principal(&self) -> Arc<Principal> {
        self.principal.load_full()
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

    fn idle(&self, rules: &Rules) -> Duration {
        self.principal.load().idle.unwrap_or(rules.idle)
    }

    /// Is it live at `now`? If so and if `counts`, it has been active. If it has expired, it has
    /// ended for good.
    pub(super) fn observe(&self, now: Timestamp, rules: &Rules, counts: bool) -> bool {
        let idle = self.idle(rules);
        let mut active = self.active.load(Ordering::Acquire);
        loop {
            if active == ENDED {
                return false;
            }
            let expired = now >= Timestamp(active) + idle || now >= self.created + rules.absolute;
            if !expired && (!counts || now.0 <= active) {
                return true;
            }
            let next = if expired { ENDED } else { now.0 };
            match self.active.compare_exchange_weak(
                active,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return !expired,
                Err(changed) => active = changed,
            }
        }
    }

    pub(super) fn from_record(
        record: SessionRecord,
        principal: Arc<ArcSwap<Principal>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            token_hash: record.token_hash,
            id: record.id,
            principal_id: record.principal_id,
            principal,
            scope: record.scope,
            evidence: record.evidence,
            device: record.device,
            address: record.address,
            created: record.created,
            active: AtomicU64::new(record.active.0.max(1)),
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
