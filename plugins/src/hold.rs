//! Requests that are kept while somebody signs in again, or approves them.
//!
//! What is kept is encrypted with a key that only the browser's cookie gives: a copy of the store
//! shows who kept something, when, and how much, and nothing of what it says. It is given to whoever
//! sent it, by account and by cookie, and exactly once.
//!
//! Bounds: so many and so much for one person, and so much in all; what does not fit is not kept,
//! and whoever sent it is told before they approve.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_certs::vault::{seal_with, unseal_with};
use doorward_config::{SecondFactor as Rules, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::account::fresh_id;
use crate::clock::{Clock, Timestamp};
use crate::session::token;
use crate::store::{HoldStore, StoreError};

/// A kept request as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// Names it: 128 random bits in base64url.
    pub id: String,
    /// Who sent it.
    pub principal_id: String,
    /// The request, encrypted.
    pub sealed: Vec<u8>,
    /// When it is forgotten.
    pub expires: Timestamp,
}

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// Requests of one person.
    pub per_person: u32,
    /// Octets of all, as they are stored.
    pub total_bytes: u64,
}

/// A request that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRequest {
    /// Its method.
    pub method: String,
    /// The host that it was for.
    pub host: String,
    /// Its path and query.
    pub target: String,
    /// Its fields, without those of the connection, its length and its cookies.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Its body, in base64.
    body: String,
}

impl HeldRequest {
    /// A request with this body.
    pub fn new(
        method: &str,
        host: &str,
        target: &str,
        fields: Vec<(String, Vec<u8>)>,
        body: &[u8],
    ) -> Self {
        Self {
            method: method.to_owned(),
            host: host.to_owned(),
            target: target.to_owned(),
            fields,
            body: URL_SAFE_NO_PAD.encode(body),
        }
    }

    /// Its body.
    pub fn body(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(&self.body).unwrap_or_default()
    }
}

/// A request that was found.
#[derive(Clone, Debug)]
pub struct Held {
    /// As it is stored. Who sent it alone may go on with it.
    pub record: HoldRecord,
    /// The request.
    pub request: HeldRequest,
}

/// Keeps requests.
pub struct Holds {
    rules: Rules,
    store: Arc<dyn HoldStore>,
    clock: Clock,
}

impl Holds {
    /// Keeps them in `store`.
    pub fn new(rules: &Rules, store: Arc<dyn HoldStore>, clock: Clock) -> Self {
        Self { rules: rules.clone(), store, clock }
    }

    /// Keeps a request of this principal for the browser with this cookie. Gives its id, and the
    /// value of the cookie where the browser has none; `None`: there is no place for it.
    ///
    /// # Errors
    /// [`StoreError`]; it is not kept then.
    pub async fn keep(
        &self,
        principal_id: &str,
        cookie: Option<&str>,
        request: &HeldRequest,
    ) -> Result<Option<(String, Option<Secret>)>, StoreError> {
        let failed = |error| StoreError::Failed(Box::new(error));
        let held = cookie.filter(|cookie| token::hash(cookie.as_bytes()).is_some());
        let (cookie, fresh) = match held {
            Some(cookie) => (Zeroizing::new(cookie.to_owned()), None),
            None => {
                let (token, _) = token::issue().map_err(failed)?;
                (Zeroizing::new(token.expose().to_owned()), Some(token))
            }
        };
        let id = fresh_id().map_err(failed)?;
        let text = serde_json::to_vec(request).map(Zeroizing::new);
        let text = text.map_err(|error| StoreError::Failed(Box::new(error)))?;
        let mut sealed = Vec::with_capacity(text.len() + 32);
        let place = place(&id, principal_id);
        seal_with(&key(&cookie, &id), &place, &text, &mut sealed)
            .map_err(|error| StoreError::Failed(Box::new(error)))?;
        let now = self.clock.now();
        let record = HoldRecord {
            id: id.clone(),
            principal_id: principal_id.to_owned(),
            sealed,
            expires: now + self.rules.lifetime,
        };
        Ok(self.store.keep(&record, self.limits(), now).await?.then_some((id, fresh)))
    }

    /// What is kept under this id for the browser with this cookie.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, id: &str, cookie: &str) -> Result<Option<Held>, StoreError> {
        let found = self.store.held(id).await?;
        let Some(record) = found.filter(|record| self.clock.now() < record.expires) else {
            return Ok(None);
        };
        let place = place(id, &record.principal_id);
        let text = unseal_with(&key(cookie, id), &place, &record.sealed).ok();
        let request = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(request.map(|request| Held { record, request }))
    }

    /// Forgets it because it goes on, or is given up. Exactly one caller gets `true`.
    ///
    /// # Errors
    /// [`StoreError`]; it must not go on then.
    pub async fn take(&self, id: &str) -> Result<bool, StoreError> {
        self.store.take_held(id).await
    }

    /// Keeps again what was taken and has not gone on, nor will; `false`: there is no place for it
    /// any more.
    ///
    /// # Errors
    /// [`StoreError`]; it is lost then.
    pub async fn give_back(&self, record: &HoldRecord) -> Result<bool, StoreError> {
        self.store.keep(record, self.limits(), self.clock.now()).await
    }

    fn limits(&self) -> HoldLimits {
        HoldLimits { per_person: self.rules.hold_per_person, total_bytes: self.rules.hold_total }
    }

    /// Forgets those whose time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.store.prune_held(self.clock.now()).await
    }
}

/// The key of one request, which only the cookie gives.
fn key(cookie: &str, id: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in ["doorward held request", cookie, id] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

fn place(id: &str, principal_id: &str) -> String {
    format!("held {id} of {principal_id}")
}
