//! The signed assertion: signed once a session, upstream and minute, not once a request.
//!
//! Source: RFC 7519 (JWT), RFC 8725 (its good practice: one algorithm a key, a `typ` of its own,
//! an audience), RFC 9470 §6.1 (`acr` and `auth_time` tell of the real event).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_certs::KeyFileError;
use doorward_certs::signing::{ASSERTION_TYPE, KeySummary, SigningKeys};
use doorward_config::{GatewayConfig, SigningAlgorithm};
use http::HeaderValue;
use serde::Serialize;

use crate::PluginError;
use crate::account::{Principal, fresh_id};
use crate::clock::{Clock, Timestamp};
use crate::session::{LiveSession, assurance, methods, stepped_up};

/// An assertion that a session has had signed.
#[derive(Debug)]
pub struct CachedAssertion {
    upstream: usize,
    value: HeaderValue,
    signed: Timestamp,
    /// Whom it speaks of, in the form that they had then.
    principal: Arc<Principal>,
}

/// Signs assertions and keeps the keys for it.
pub struct Assertions {
    keys: Arc<RwLock<SigningKeys>>,
    /// Public keys of other gates, with which backends may meet assertions too.
    others: Arc<ArcSwap<Vec<serde_json::Value>>>,
    clock: Clock,
    issuer: String,
    /// `aud` by index of the upstream.
    audiences: Vec<String>,
    /// The number of the first of them. Upstreams are numbered on through all configurations of a
    /// process, so that what was signed for one of a former one is given to none of this.
    first: usize,
    algorithm: SigningAlgorithm,
    lifetime: Duration,
    key_age_max: Duration,
    signed: AtomicU64,
}

/// What an assertion says.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    sid: &'a str,
    acr: &'a str,
    amr: Vec<&'a str>,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_up_time: Option<u64>,
    account: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    roles: &'a [String],
    groups: &'a [String],
    verification: &'a str,
}

impl Assertions {
    /// Opens the signing keys beside the store.
    ///
    /// # Errors
    /// [`KeyFileError`] when the key file cannot be used.
    pub fn open(config: &GatewayConfig, clock: Clock) -> Result<Self, KeyFileError> {
        let keys = SigningKeys::open(
            &config.store.beside("keys"),
            ASSERTION_TYPE,
            config.identity.algorithm,
            clock.wall().secs(),
        )?;
        Ok(Self::with(config, clock, (Arc::new(RwLock::new(keys)), Arc::default()), 0))
    }

    /// Signs by another configuration, with the same keys.
    pub fn again(&self, config: &GatewayConfig) -> Self {
        let first = self.first.wrapping_add(self.audiences.len());
        Self::with(
            config,
            self.clock.clone(),
            (Arc::clone(&self.keys), Arc::clone(&self.others)),
            first,
        )
    }

    fn with(
        config: &GatewayConfig,
        clock: Clock,
        (keys, others): (Arc<RwLock<SigningKeys>>, Arc<ArcSwap<Vec<serde_json::Value>>>),
        first: usize,
    ) -> Self {
        Self {
            keys,
            others,
            clock,
            issuer: config.identity.issuer.clone(),
            audiences: config.upstreams.iter().map(|upstream| upstream.audience.clone()).collect(),
            first,
            algorithm: config.identity.algorithm,
            lifetime: config.identity.lifetime,
            key_age_max: config.identity.key_age_max,
            signed: AtomicU64::new(0),
        }
    }

    /// The assertion of a session for an upstream.
    ///
    /// # Errors
    /// When it cannot be signed; the request must not go on then.
    pub fn of(
        &self,
        session: &LiveSession,
        principal: &Arc<Principal>,
        upstream: usize,
    ) -> Result<HeaderValue, PluginError> {
        let (now, number) = (self.clock.wall(), self.first.wrapping_add(upstream));
        let mut cached = session.assertions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cached.iter().find(|found| found.upstream == number)
            && self.is_fresh(found, now)
            && Arc::ptr_eq(&found.principal, principal)
        {
            return Ok(found.value.clone());
        }
        let value = self.sign(session, principal, upstream, now)?;
        self.signed.fetch_add(1, Ordering::Relaxed);
        cached.retain(|found| found.upstream != number);
        // Most sessions meet one upstream: no place is kept for more.
        cached.reserve_exact(1);
        cached.push(CachedAssertion {
            upstream: number,
            value: value.clone(),
            signed: now,
            principal: Arc::clone(principal),
        });
        Ok(value)
    }

    /// Forgets assertions of a session that would be signed anew. Of a session that is not in use
    /// nothing is left of them then.
    pub(crate) fn forget_old(&self, session: &LiveSession) {
        let now = self.clock.wall();
        let mut cached = session.assertions.lock().unwrap_or_else(PoisonError::into_inner);
        if !cached.is_empty() {
            cached.retain(|found| self.is_fresh(found, now));
            cached.shrink_to_fit();
        }
    }

    fn is_fresh(&self, cached: &CachedAssertion, now: Timestamp) -> bool {
        let reuse = self.lifetime.div_f32(2.0).min(Duration::from_secs(60));
        // A clock that was set back makes `signed` lie ahead; then it is signed anew.
        now >= cached.signed && now.since(cached.signed) < reuse
    }

    fn sign(
        &self,
        session: &LiveSession,
        principal: &Principal,
        upstream: usize,
        now: Timestamp,
    ) -> Result<HeaderValue, PluginError> {
        let failed =
            |error: &dyn std::fmt::Display| PluginError(format!("no assertion: {error}").into());
        let claims = Claims {
            iss: &self.issuer,
            aud: self
                .audiences
                .get(upstream)
                .map(String::as_str)
                .ok_or_else(|| failed(&"unknown upstream"))?,
            sub: &principal.id,
            iat: now.secs(),
            exp: (now + self.lifetime).secs(),
            jti: fresh_id().map_err(|error| failed(&error))?,
            sid: &session.id,
            acr: assurance(&session.evidence),
            amr: methods(&session.evidence),
            auth_time: session
                .evidence
                .first()
                .map_or(session.created, |evidence| evidence.at)
                .secs(),
            step_up_time: stepped_up(&session.evidence).map(Timestamp::secs),
            account: principal.name.account(),
            sub_user: principal.name.sub_user(),
            name: principal.display_name.as_deref(),
            email: principal.email.as_deref(),
            roles: &principal.roles,
            groups: &principal.groups,
            verification: principal.verification.as_str(),
        };
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let token = keys.sign(&claims).map_err(|error| failed(&error))?;
        HeaderValue::try_from(token).map_err(|error| failed(&error))
    }

    /// How many were signed.
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// The public keys of all gates, as a JWK set.
    pub fn jwks(&self) -> serde_json::Value {
        let mut set = self.own_jwks();
        if let Some(keys) = set.get_mut("keys").and_then(serde_json::Value::as_array_mut) {
            for other in self.others.load().iter() {
                if keys.iter().all(|key| key.get("kid") != other.get("kid")) {
                    keys.push(other.clone());
                }
            }
        }
        set
    }

    fn own_jwks(&self) -> serde_json::Value {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).jwks()
    }

    /// The public keys of this gate, each with its id.
    pub fn public_keys(&self) -> Vec<(String, String)> {
        let set = self.own_jwks();
        let keys = set.get("keys").and_then(serde_json::Value::as_array).into_iter().flatten();
        keys.filter_map(|key| Some((key.get("kid")?.as_str()?.to_owned(), key.to_string())))
            .collect()
    }

    /// Other gates have these public keys; what cannot be read is left out.
    pub fn set_others(&self, keys: &[String]) {
        let keys = keys.iter().filter_map(|key| serde_json::from_str(key).ok());
        self.others.store(Arc::new(keys.collect()));
    }

    /// What may be told about each key, newest last.
    pub fn keys(&self) -> Vec<KeySummary> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).summaries()
    }

    /// Makes a new key, which signs from now on. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`]; the old key goes on signing then.
    pub fn rotate(&self) -> Result<Vec<KeySummary>, KeyFileError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(self.algorithm, self.clock.wall().secs())?;
        Ok(keys.summaries())
    }

    /// Rotates a key that is too old, and forgets keys that nobody needs. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn maintain(&self) -> Result<bool, KeyFileError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.maintain(self.algorithm, self.key_age_max, self.lifetime, self.clock.wall().secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tests::config;
    use crate::session::{Evidence, Method, NewSession};

    /// With keys in this folder.
    fn assertions(folder: &std::path::Path) -> Arc<Assertions> {
        let mut config = (*config("")).clone();
        config.store.path = folder.join("a.db");
        Arc::new(Assertions::open(&config, Clock::manual(Timestamp(1_800_000_000_000))).unwrap())
    }

    fn claims(value: &HeaderValue) -> serde_json::Value {
        jsonwebtoken::dangerous_claims(value.to_str().unwrap())
    }

    mod jsonwebtoken {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;

        /// The claims, unverified: signatures are the business of `doorward-certs`' tests.
        pub(super) fn dangerous_claims(token: &str) -> serde_json::Value {
            let payload = token.split('.').nth(1).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
        }
    }

    #[tokio::test]
    async fn an_assertion_is_signed_once_a_minute_and_when_its_subject_changes() {
        let (sessions, scratch) = crate::session::live::tests::sessions("").await;
        let at = Timestamp(1_800_000_000_000);
        let record = crate::account::tests::record("alice");
        let new = NewSession {
            principal: &record,
            evidence: vec![Evidence { method: Method::Password, at }],
            scope: "host",
            device: "",
            address: String::new(),
            replaces: None,
        };
        let (_, session) = sessions.begin(new).await.unwrap();
        let assertions = assertions(&scratch.folder);
        let first = assertions.of(&session, &session.principal(), 0).unwrap();
        assertions.clock.advance(Duration::from_secs(59));
        assert_eq!(assertions.of(&session, &session.principal(), 0).unwrap(), first);
        assertions.clock.advance(Duration::from_secs(1));
        let second = assertions.of(&session, &session.principal(), 0).unwrap();
        assert_ne!(second, first);
        let seen = claims(&second);
        assert_eq!(seen["exp"].as_u64().unwrap() - seen["iat"].as_u64().unwrap(), 120);
        assert_eq!(
            (&seen["auth_time"], &seen["acr"], &seen["amr"][0]),
            (&at.secs().into(), &"aal1".into(), &"pwd".into())
        );
        assert_eq!((&seen["aud"], &seen["sid"]), (&"console".into(), &(*session.id).into()));

        sessions
            .refresh(&crate::account::PrincipalRecord { groups: vec![], ..record })
            .await
            .unwrap();
        let third = assertions.of(&session, &session.principal(), 0).unwrap();
        assert_eq!(
            claims(&third)["groups"].as_array().unwrap().len(),
            0,
            "a group that was taken away is gone at once"
        );
        assert!(assertions.of(&session, &session.principal(), 7).is_err());

        assertions.clock.advance(Duration::from_secs(59));
        assertions.forget_old(&session);
        assert_eq!(assertions.of(&session, &session.principal(), 0).unwrap(), third);
        assertions.clock.advance(Duration::from_secs(1));
        assertions.forget_old(&session);
        let cached = session.assertions.lock().unwrap();
        assert_eq!(cached.capacity(), 0, "an idle session goes back to its small size");
    }
}
