//! Authenticators: what somebody can prove themselves with besides a password.
//!
//! Each is a row with a secret that is encrypted ([`Vault`]) and bound to that row. What a code is
//! worth is decided here, atomically in the store: a code is good once and only forward in time,
//! whichever gate is asked.
//!
//! - [`totp`]: codes of apps and tokens. [`binding`]: how an app gets its seed. [`webauthn`]: security
//!   keys and passkeys. [`recovery`]: codes for the day when all else is lost.
//!
//! Not here: when a second factor is asked for, and how guesses at it are counted
//! (`second_factor`).

pub mod binding;
pub mod recovery;
mod token;
pub mod token_file;
pub mod totp;
pub mod webauthn;

use std::sync::Arc;

use doorward_certs::vault::Vault;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::account::fresh_id;
use crate::clock::{Clock, Timestamp};
use crate::store::{AuthenticatorStore, StoreError};
use recovery::RecoveryCodes;
use totp::Seed;

/// The most characters that an authenticator's name may have.
pub const NAME_CHARS_MAX: usize = 64;

/// An authenticator as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorRecord {
    /// Names it: 128 random bits in base64url.
    pub id: String,
    /// Whose it is.
    pub principal_id: String,
    /// What it is.
    pub kind: Kind,
    /// What its owner calls it.
    pub name: String,
    /// Its secret, encrypted, and bound to [`Self::id`].
    pub secret: Vec<u8>,
    /// What it is found by where nobody has said who they are; nobody else's may have the same.
    pub lookup: Option<String>,
    /// The last time step that was used, or the last counter of a key.
    pub counter: u64,
    /// When it was bound.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Option<Timestamp>,
}

/// Kinds of authenticators that are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Recovery codes; one row for all of a person's.
    Recovery,
    /// An app or a token whose codes change with time.
    Totp,
    /// A security key or passkey.
    Webauthn,
}

impl Kind {
    /// As it is stored and logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Totp => "totp",
            Self::Webauthn => "webauthn",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Recovery, Self::Totp, Self::Webauthn].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What may be told about an authenticator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthenticatorSummary {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// What its owner calls it.
    pub name: String,
    /// When it was bound.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Option<Timestamp>,
}

impl From<&AuthenticatorRecord> for AuthenticatorSummary {
    fn from(record: &AuthenticatorRecord) -> Self {
        let AuthenticatorRecord { id, kind, name, created, used, .. } = record;
        Self { id: id.clone(), kind: *kind, name: name.clone(), created: *created, used: *used }
    }
}

/// Why an authenticator was not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There are as many as one person may have.
    #[error("there are too many authenticators")]
    Full,
    /// It could not be stored; [`StoreError::Taken`]: it is bound already, to somebody.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everybody's authenticators.
pub struct Authenticators {
    store: Arc<dyn AuthenticatorStore>,
    vault: Arc<Vault>,
    clock: Clock,
    /// How many of a kind one person may have.
    most: usize,
    /// Steps before and after the present one whose codes are right.
    skew: u64,
}

impl Authenticators {
    /// Keeps them in `store`, encrypted by `vault`.
    pub fn new(
        rules: &doorward_config::SecondFactor,
        store: Arc<dyn AuthenticatorStore>,
        vault: Arc<Vault>,
        clock: Clock,
    ) -> Self {
        Self { store, vault, clock, most: rules.per_person_max, skew: rules.skew }
    }

    /// All of a principal, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, principal_id: &str) -> Result<Vec<AuthenticatorRecord>, StoreError> {
        self.store.authenticators(principal_id).await
    }

    /// The one that is found by this, whosever it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_by(&self, lookup: &str) -> Result<Option<AuthenticatorRecord>, StoreError> {
        self.store.authenticator_by(lookup).await
    }

    /// What is kept of an authenticator in secret.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it cannot be opened, or is something else.
    pub fn open<S: DeserializeOwned>(&self, record: &AuthenticatorRecord) -> Result<S, StoreError> {
        self.unseal_at(&place(&record.id), &record.secret)
    }

    /// Binds an authenticator with this secret.
    ///
    /// # Errors
    /// [`BindError`]; it is not bound then.
    pub async fn bind<S: Serialize + Sync>(
        &self,
        principal_id: &str,
        kind: Kind,
        name: &str,
        secret: &S,
        lookup: Option<String>,
        counter: u64,
    ) -> Result<AuthenticatorRecord, BindError> {
        let id = fresh_id().map_err(|error| StoreError::Failed(Box::new(error)))?;
        let record = AuthenticatorRecord {
            secret: self.seal(&id, secret)?,
            id,
            principal_id: principal_id.to_owned(),
            kind,
            name: label(name, kind),
            lookup,
            counter,
            created: self.clock.now(),
            used: None,
        };
        let most = if kind == Kind::Recovery { 1 } else { self.most };
        if self.store.bind(&record, most).await? { Ok(record) } else { Err(BindError::Full) }
    }

    /// Replaces the secret of an authenticator, unless somebody else did so since it was read. The
    /// counter never goes back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace<S: Serialize + Sync>(
        &self,
        record: &AuthenticatorRecord,
        secret: &S,
        counter: u64,
        used: bool,
    ) -> Result<bool, StoreError> {
        let sealed = self.seal(&record.id, secret)?;
        let used = used.then(|| self.clock.now());
        self.store.replace_secret(&record.id, &record.secret, &sealed, counter, used).await
    }

    /// Gives one of a principal's another name; `false`: there is no such.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rename(
        &self,
        record: &AuthenticatorRecord,
        name: &str,
    ) -> Result<bool, StoreError> {
        self.store.rename(&record.id, &record.principal_id, &label(name, record.kind)).await
    }

    /// Removes one of a principal's; `false`: there is no such.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unbind(&self, id: &str, principal_id: &str) -> Result<bool, StoreError> {
        self.store.unbind(id, principal_id).await
    }

    /// Removes all of a principal's.
    ///
    /// # Errors
    /// [`StoreError`]; some may be removed then.
    pub async fn unbind_all(&self, principal_id: &str) -> Result<usize, StoreError> {
        let mut removed = 0;
        for kind in [Kind::Totp, Kind::Webauthn, Kind::Recovery] {
            removed += self.store.unbind_kind(principal_id, kind).await?;
        }
        Ok(removed)
    }

    /// Uses the code of an app or token: the first of `held` whose code it is. Good once, and never
    /// again after a later one.
    ///
    /// # Errors
    /// [`StoreError`]; the code may be used up then.
    pub async fn use_totp(
        &self,
        held: &[AuthenticatorRecord],
        code: &str,
    ) -> Result<Option<AuthenticatorRecord>, StoreError> {
        let secs = self.clock.wall().secs();
        for record in held.iter().filter(|record| record.kind == Kind::Totp) {
            let seed: Seed = self.open(record)?;
            let Some(step) = seed.matching(code, secs, self.skew) else { continue };
            if self.store.advance(&record.id, step, self.clock.now()).await? {
                return Ok(Some(record.clone()));
            }
        }
        Ok(None)
    }

    /// The step of the second of two codes of this seed that follow each other, the latter not
    /// before `after`.
    pub fn verify_two(&self, seed: &Seed, codes: [&str; 2], wide: bool) -> Option<u64> {
        seed.matching_two(codes, self.clock.wall().secs(), self.skew, wide)
    }

    /// Uses a recovery code; gives how many are left.
    ///
    /// # Errors
    /// [`StoreError`]; the code may be used up then.
    pub async fn use_recovery_code(
        &self,
        held: &[AuthenticatorRecord],
        code: &str,
    ) -> Result<Option<usize>, StoreError> {
        let Some(record) = held.iter().find(|record| record.kind == Kind::Recovery) else {
            return Ok(None);
        };
        let codes: RecoveryCodes = self.open(record)?;
        let Some(rest) = codes.without(code) else { return Ok(None) };
        let used = self.replace(record, &rest, 0, true).await?;
        Ok(used.then_some(rest.left()))
    }

    /// How many recovery codes are left; `None`: none were ever made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recovery_codes_left(
        &self,
        held: &[AuthenticatorRecord],
    ) -> Result<Option<usize>, StoreError> {
        let record = held.iter().find(|record| record.kind == Kind::Recovery);
        let codes = record.map(|record| self.open::<RecoveryCodes>(record)).transpose()?;
        Ok(codes.map(|codes| codes.left()))
    }

    /// Makes new recovery codes instead of those that there were, and gives them, to be shown once.
    ///
    /// # Errors
    /// [`BindError`]; those that there were hold then.
    pub async fn make_recovery_codes(
        &self,
        principal_id: &str,
    ) -> Result<Vec<Zeroizing<String>>, BindError> {
        let fresh = RecoveryCodes::fresh();
        let (codes, kept) = fresh.map_err(|error| StoreError::Failed(Box::new(error)))?;
        // At one stroke: nobody is left without any by a gate that stops in between.
        let held = self.list(principal_id).await?;
        match held.iter().find(|record| record.kind == Kind::Recovery) {
            Some(record) if self.replace(record, &kept, 0, false).await? => {}
            // One was used meanwhile, or others were made.
            Some(_) => return Err(StoreError::Taken.into()),
            None => drop(self.bind(principal_id, Kind::Recovery, "", &kept, None, 0).await?),
        }
        Ok(codes)
    }

    /// Encrypts with the newest key what was encrypted with an older one; says how many there were.
    ///
    /// # Errors
    /// [`StoreError`]; it can be begun again.
    pub async fn seal_anew(&self) -> Result<usize, StoreError> {
        let mut old = Vec::new();
        self.store
            .each_authenticator(&mut |record| {
                if !self.vault.is_current(&record.secret) {
                    old.push(record);
                }
            })
            .await?;
        let mut done = 0;
        for record in old {
            let sealed = self.reseal(&place(&record.id), &record.secret)?;
            // One that changed meanwhile was sealed with the newest key then.
            let counter = record.counter;
            self.store.replace_secret(&record.id, &record.secret, &sealed, counter, None).await?;
            done += 1;
        }
        Ok(done + self.seal_tokens_anew().await?)
    }

    /// The same, encrypted with the newest key.
    fn reseal(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let secret = self.vault.unseal(place, sealed);
        let secret = secret.map_err(|_| StoreError::Corrupt("authenticator"))?;
        self.vault.seal(place, &secret).map_err(|error| StoreError::Failed(Box::new(error)))
    }

    fn seal<S: Serialize>(&self, id: &str, secret: &S) -> Result<Vec<u8>, StoreError> {
        self.seal_at(&place(id), secret)
    }

    fn seal_at<S: Serialize>(&self, place: &str, secret: &S) -> Result<Vec<u8>, StoreError> {
        let text = serde_json::to_vec(secret).map(Zeroizing::new);
        let text = text.map_err(|error| StoreError::Failed(Box::new(error)))?;
        self.vault.seal(place, &text).map_err(|error| StoreError::Failed(Box::new(error)))
    }

    fn unseal_at<S: DeserializeOwned>(&self, place: &str, sealed: &[u8]) -> Result<S, StoreError> {
        let secret = self.vault.unseal(place, sealed).ok();
        let secret = secret.and_then(|text| serde_json::from_slice(&text).ok());
        secret.ok_or(StoreError::Corrupt("authenticator"))
    }
}

fn place(id: &str) -> String {
    format!("authenticator {id}")
}

/// A name that can be shown; the kind where the owner gave none.
fn label(name: &str, kind: Kind) -> String {
    let plain: String = crate::audit::tame(name.trim()).chars().take(NAME_CHARS_MAX).collect();
    if plain.is_empty() { kind.as_str().to_owned() } else { plain }
}
