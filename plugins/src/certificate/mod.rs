//! Client certificates: a way to sign in for programs.
//!
//! A verified certificate begins an ordinary session, whose token nobody gets: it is found by the
//! certificate instead of by a cookie. So everything that holds for sessions holds for it: it goes
//! idle, it is listed and ended, the switch of its account ends it. The next request begins
//! another one, if the account may still sign in; who is to be kept out is disabled, or the
//! certificate is revoked. A restart ends it too.
//!
//! The certificate names an account, by name only. Nothing is created.
//!
//! - `plugin`: at which requests a certificate counts.
//!
//! Not here: the verification of certificates, and whom they name (`certs`).
//!
//! Bounds: one session for each certificate, name and scope; of them as many as there may be
//! sessions. Those that are over are forgotten with every sweep.

mod plugin;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use doorward_certs::clients::ClientCertificate;
use tokio::runtime::Handle;

use crate::account::PrincipalRecord;
use crate::account::name::Name;
use crate::audit::{Audit, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::session::{Evidence, LiveSession, Method, NewSession, Sessions};
use crate::sign_in::SignInError;
use crate::store::{AccountStore, StoreError};

pub use plugin::SignInByCertificate;

/// The sessions that certificates have begun.
pub struct CertificateSessions {
    accounts: Arc<dyn AccountStore>,
    sessions: Arc<Sessions>,
    clock: Clock,
    audit: Arc<Audit>,
    /// Held while an account is looked at for the last time and its session begins: see `SignIn`.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Where the store is asked.
    office: Handle,
    known: RwLock<HashMap<Key, Arc<LiveSession>>>,
}

/// One way in. Another listener may read another name in the same certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    fingerprint: [u8; 32],
    account: Arc<str>,
    scope: Arc<str>,
}

/// Who asks, for the session and the log.
#[derive(Debug)]
struct Asking {
    key: Key,
    address: String,
    request_id: String,
}

impl CertificateSessions {
    /// Begins `sessions` for those whom `accounts` knows, on the runtime of the caller; `turn` is
    /// shared with administration.
    pub fn new(
        accounts: Arc<dyn AccountStore>,
        sessions: Arc<Sessions>,
        clock: Clock,
        audit: Arc<Audit>,
        turn: Arc<tokio::sync::Mutex<()>>,
    ) -> Self {
        let (office, known) = (Handle::current(), RwLock::default());
        Self { accounts, sessions, clock, audit, turn, office, known }
    }

    /// Forgets sessions that are over.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, session| self.sessions.is_live(session, now, false));
    }

    /// The live session of this key. If it `counts`, it has been active.
    async fn find(
        &self,
        key: &Key,
        now: Timestamp,
        counts: bool,
    ) -> Result<Option<Arc<LiveSession>>, StoreError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        let Some(session) = known else { return Ok(None) };
        self.sessions.find_or_ask(&session.token_hash, &session.scope, now, counts).await
    }

    /// Begins a session, unless somebody else just has; it is durable when this returns.
    async fn begin(&self, asking: &Asking) -> Result<Arc<LiveSession>, SignInError> {
        let mut principal = None;
        let result = self.verify_and_begin(asking, &mut principal).await;
        let event = |kind| {
            let event = Event::new(kind).from_request(&asking.address, &asking.request_id);
            let certificate = hex(&asking.key.fingerprint);
            event.with("factor", "certificate").with("certificate", certificate)
        };
        let about = |event: Event| match &principal {
            Some(id) => event.principal(id),
            None => event,
        };
        match &result {
            Ok((_, false)) => {}
            Ok((session, true)) => {
                let principal = session.principal();
                let event = about(event(EventKind::LoginSuccess)).session(session.id);
                self.audit.record(&event.account(&principal.name));
            }
            // The name stands in a certificate that was verified: it is nobody's typing.
            Err(SignInError::Reject) => {
                let event = about(event(EventKind::LoginFail));
                self.audit.record(&event.with("name", &asking.key.account));
            }
            Err(error) => {
                let event = about(event(EventKind::LoginUnavailable));
                self.audit.record(&event.with("error", error));
            }
        }
        result.map(|(session, _)| session)
    }

    /// The session, and whether it is a new one.
    async fn verify_and_begin(
        &self,
        asking: &Asking,
        principal: &mut Option<String>,
    ) -> Result<(Arc<LiveSession>, bool), SignInError> {
        let name = Name::parse(&asking.key.account).map_err(|_| SignInError::Reject)?;
        // Before the turn, which those who may not sign in must not keep from others.
        let found = self.accounts.find(&name.key()).await?;
        *principal = found.as_ref().map(|record| record.id.clone());
        let record = found.filter(PrincipalRecord::is_active).ok_or(SignInError::Reject)?;
        let _turn = self.turn.lock().await;
        let now = self.clock.now();
        if let Some(session) = self.find(&asking.key, now, true).await? {
            return Ok((session, false));
        }
        let record = self.accounts.find_id(&record.id).await?;
        let record = record.filter(PrincipalRecord::is_active).ok_or(SignInError::Reject)?;
        let device = format!("client certificate {}", hex(&asking.key.fingerprint));
        let new = NewSession {
            principal: &record,
            evidence: vec![Evidence { method: Method::Certificate, at: now }],
            scope: &asking.key.scope,
            device: &device,
            address: asking.address.clone(),
            replaces: None,
        };
        // Whoever had the token could do without the certificate: it is dropped here.
        let (_, session) = self.sessions.begin(new).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(asking.key.clone(), Arc::clone(&session));
        Ok((session, true))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::State;
    use crate::account::tests::record;
    use crate::session::live::tests::{Scratch, sessions};
    use crate::store::Backend;

    pub(super) async fn certificates() -> (Arc<CertificateSessions>, Scratch) {
        let (sessions, scratch) = sessions("").await;
        let (store, clock) = (scratch.store.clone(), scratch.clock.clone());
        (
            Arc::new(CertificateSessions::new(
                store,
                sessions,
                clock,
                Arc::default(),
                Arc::default(),
            )),
            scratch,
        )
    }

    fn asking(account: &str, scope: &str) -> Asking {
        let key = Key { fingerprint: [7; 32], account: account.into(), scope: scope.into() };
        Asking { key, address: "192.0.2.1".into(), request_id: "1".into() }
    }

    #[tokio::test]
    async fn one_session_for_each_certificate_name_and_scope_and_another_when_it_is_over() {
        let (certificates, scratch) = certificates().await;
        let alice = asking("alice", "host");
        let first = certificates.begin(&alice).await.unwrap();
        assert!(Arc::ptr_eq(&certificates.begin(&alice).await.unwrap(), &first));
        for other in [asking("ALICE", "host"), asking("alice", "other")] {
            let another = certificates.begin(&other).await.unwrap();
            assert_ne!(another.id, first.id, "{other:?}");
        }
        certificates.sessions.end(std::slice::from_ref(&first)).await.unwrap();
        let now = scratch.clock.now();
        assert!(certificates.find(&alice.key, now, true).await.unwrap().is_none());
        certificates.sweep();
        assert_eq!(certificates.known.read().unwrap().len(), 2);
        assert_ne!(certificates.begin(&alice).await.unwrap().id, first.id);
        scratch.clock.advance(certificates.sessions.rules().idle);
        certificates.sweep();
        assert_eq!(certificates.known.read().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn whoever_may_not_sign_in_may_not_by_certificate() {
        let (certificates, scratch) = certificates().await;
        for name in ["nobody", "", "/", "alice/", "alice/dev", "alice/a/b", "ali ce", "alice\0"] {
            let result = certificates.begin(&asking(name, "host")).await;
            assert!(matches!(result, Err(SignInError::Reject)), "{name:?}");
        }
        for state in [State::Disabled, State::Deleted] {
            scratch.store.set_state(&record("alice"), state).await.unwrap();
            let result = certificates.begin(&asking("alice", "host")).await;
            assert!(matches!(result, Err(SignInError::Reject)), "{state:?}");
        }
        scratch.store.close().await;
        let result = certificates.begin(&asking("alice", "host")).await;
        assert!(matches!(result, Err(SignInError::Unavailable(_))));
    }
}
