//! Everybody's keys: bound, asked for and used.
//!
//! What is kept of a key changes only here, when all checks have passed, and only if nobody else
//! changed it meanwhile: of two answers at once one is refused, and may be given again.

use std::sync::Arc;

use doorward_config::GatewayConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ceremonies, Credential, Owner, RESPONSE_BYTES_MAX, Verified, WebauthnError};
use crate::authenticator::{AuthenticatorRecord, Authenticators, BindError, Kind};
use crate::challenge::{Challenges, Purpose, Ticket};
use crate::session::Method;
use crate::store::StoreError;

/// How often an answer is judged again because its key was used elsewhere at the same time.
const TURNS: usize = 5;

/// Why a key was not bound, or proved nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key's answer is refused.
    #[error(transparent)]
    Refused(#[from] WebauthnError),
    /// It was asked for too long ago, for somebody else, or has been answered.
    #[error("the challenge is over")]
    Over,
    /// There are as many keys as one person may have.
    #[error("there are too many keys")]
    Full,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken => Self::Refused(WebauthnError::AlreadyBound),
            error => Self::Store(error),
        }
    }
}

impl From<BindError> for KeyError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Full => Self::Full,
            BindError::Store(error) => error.into(),
        }
    }
}

/// What a browser is to ask for, and what its answer comes back with.
#[derive(Clone, Debug)]
pub struct Asked {
    /// In the JSON form of the specification.
    pub options: Value,
    /// Names the challenge.
    pub challenge: String,
}

/// What comes back of it.
#[derive(Deserialize)]
pub struct Sent {
    /// What came with the options.
    pub challenge: String,
    /// What the key answered, in the JSON form of the specification.
    pub credential: Value,
}

impl Sent {
    /// Reads it.
    ///
    /// # Errors
    /// [`WebauthnError`] for what is too large, or is none.
    pub fn read(text: &str) -> Result<Self, WebauthnError> {
        if text.len() > 2 * RESPONSE_BYTES_MAX {
            return Err(WebauthnError::TooLarge);
        }
        serde_json::from_str(text).map_err(|_| WebauthnError::Malformed)
    }
}

/// A key that proved itself, and is kept as it is now.
#[derive(Clone, Debug)]
pub struct Used {
    /// As it was before.
    pub record: AuthenticatorRecord,
    /// What it proved.
    pub method: Method,
    /// Its counter.
    pub counter: u32,
    /// Does it say that there are copies of it?
    pub backed_up: bool,
}

#[derive(Serialize, Deserialize)]
struct Binding {
    state: String,
}

impl Purpose for Binding {
    const NAME: &'static str = "webauthn-bind";
}

#[derive(Serialize, Deserialize)]
struct SecondFactor {
    state: String,
}

impl Purpose for SecondFactor {
    const NAME: &'static str = "webauthn-use";
}

#[derive(Serialize, Deserialize)]
struct PasskeySignIn {
    state: String,
}

impl Purpose for PasskeySignIn {
    const NAME: &'static str = "webauthn-sign-in";
}

/// Everybody's keys.
pub struct Keys {
    ceremonies: Ceremonies,
    authenticators: Arc<Authenticators>,
    challenges: Arc<Challenges>,
}

impl Keys {
    /// Keeps them with all other authenticators.
    pub fn new(
        ceremonies: Ceremonies,
        authenticators: Arc<Authenticators>,
        challenges: Arc<Challenges>,
    ) -> Self {
        Self { ceremonies, authenticators, challenges }
    }

    /// The same as the configuration says; `None`: there are no keys here.
    ///
    /// # Errors
    /// [`WebauthnError`]; the configuration refuses what leads to it.
    pub fn open(
        config: &GatewayConfig,
        authenticators: Arc<Authenticators>,
        challenges: Arc<Challenges>,
    ) -> Result<Option<Self>, WebauthnError> {
        let Some(rules) = &config.webauthn else { return Ok(None) };
        Ok(Some(Self::new(Ceremonies::new(rules)?, authenticators, challenges)))
    }

    /// May a passkey be a whole sign-in?
    pub fn passwordless(&self) -> bool {
        self.ceremonies.passwordless()
    }

    /// Asks for a new key in this session. Whether its owner may bind one now is the caller's to
    /// know.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn begin_binding(&self, owner: &Owner<'_>, session: &str) -> Result<Asked, KeyError> {
        let held = self.authenticators.list(owner.id).await?;
        let begun = self.ceremonies.begin_registration(owner, &self.credentials(&held)?)?;
        let (state, life) = (Binding { state: begun.state }, self.ceremonies.timeout());
        let challenge = self.challenges.begin(owner.id, session, state, life).await?;
        Ok(Asked { options: begun.options, challenge: challenge.id })
    }

    /// Binds the key that answered. A challenge is good for one answer, right or wrong.
    ///
    /// # Errors
    /// [`KeyError`]; no key is bound then.
    pub async fn finish_binding(
        &self,
        principal_id: &str,
        session: &str,
        challenge: &str,
        name: &str,
        response: &[u8],
    ) -> Result<AuthenticatorRecord, KeyError> {
        let challenge = self.challenges.find::<Binding>(challenge, session).await?;
        let challenge = challenge.filter(|found| found.principal_id == principal_id);
        let challenge = challenge.ok_or(KeyError::Over)?;
        if !self.challenges.take(&challenge).await? {
            return Err(KeyError::Over);
        }
        let state = &challenge.state.state;
        let key = self.ceremonies.finish_registration(principal_id, state, response)?;
        let (lookup, counter) = (Some(lookup(&key.id())), u64::from(key.counter()));
        let kind = Kind::Webauthn;
        Ok(self.authenticators.bind(principal_id, kind, name, &key, lookup, counter).await?)
    }

    /// Asks a principal for one of its keys, as a second factor of what is bound so: a session, or a
    /// sign-in that waits.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn ask(&self, principal_id: &str, bound_to: &str) -> Result<Asked, KeyError> {
        let held = self.authenticators.list(principal_id).await?;
        let keys = self.credentials(&held)?;
        let begun = self.ceremonies.begin_authentication(principal_id, &keys)?;
        let (state, life) = (SecondFactor { state: begun.state }, self.ceremonies.timeout());
        let challenge = self.challenges.begin(principal_id, bound_to, state, life).await?;
        Ok(Asked { options: begun.options, challenge: challenge.id })
    }

    /// Uses the key that answered, if the principal holds it now. A challenge is good for one
    /// answer, right or wrong.
    ///
    /// # Errors
    /// [`KeyError`]; nothing is proven, and nothing has changed then.
    pub async fn answer(
        &self,
        principal_id: &str,
        bound_to: &str,
        challenge: &str,
        response: &[u8],
    ) -> Result<Used, KeyError> {
        let challenge = self.challenges.find::<SecondFactor>(challenge, bound_to).await?;
        let challenge = challenge.filter(|found| found.principal_id == principal_id);
        let challenge = challenge.ok_or(KeyError::Over)?;
        if !self.challenges.take(&challenge).await? {
            return Err(KeyError::Over);
        }
        let state = &challenge.state.state;
        let held = self.authenticators.list(principal_id).await?;
        let wanted = lookup(&self.ceremonies.answered_by(response)?);
        let record = held.iter().find(|record| record.lookup.as_deref() == Some(&*wanted));
        let record = record.ok_or(WebauthnError::UnknownCredential)?;
        self.keep(record.clone(), |key| {
            let keys = std::slice::from_ref(key);
            self.ceremonies.finish_authentication(principal_id, state, response, keys)
        })
        .await
    }

    /// The same by what a page or a program sends: `challenge`, and `credential` in the JSON form of
    /// the specification.
    ///
    /// # Errors
    /// [`KeyError`]; nothing is proven, and nothing has changed then.
    pub async fn answer_to(
        &self,
        principal_id: &str,
        bound_to: &str,
        sent: &str,
    ) -> Result<Used, KeyError> {
        let Sent { challenge, credential } = Sent::read(sent)?;
        self.answer(principal_id, bound_to, &challenge, credential.to_string().as_bytes()).await
    }

    /// Asks whoever is at this browser for a passkey.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn begin_sign_in(&self, browser: &str) -> Result<Asked, KeyError> {
        let begun = self.ceremonies.begin_passwordless()?;
        let (state, life) = (PasskeySignIn { state: begun.state }, self.ceremonies.timeout());
        let challenge = self.challenges.write_ticket(browser, state, life)?;
        Ok(Asked { options: begun.options, challenge })
    }

    /// Uses the passkey that answered: it says whose it is, and has verified who holds it.
    ///
    /// # Errors
    /// [`KeyError`]; nothing is proven, and nothing has changed then.
    pub async fn finish_sign_in(
        &self,
        browser: &str,
        challenge: &str,
        response: &[u8],
    ) -> Result<Used, KeyError> {
        let ticket: Ticket<PasskeySignIn> =
            self.challenges.read_ticket(challenge, browser).ok_or(KeyError::Over)?;
        let claimed = self.ceremonies.claimed(response)?;
        let record = self.authenticators.find_by(&lookup(&claimed.credential_id)).await?;
        let record = record.filter(|record| record.kind == Kind::Webauthn);
        let record = record.ok_or(WebauthnError::UnknownCredential)?;
        let (owner, state) = (record.principal_id.clone(), &ticket.state.state);
        let verify =
            |key: &Credential| self.ceremonies.finish_passwordless(&owner, state, response, key);
        // Whoever cannot answer costs the store nothing.
        verify(&self.authenticators.open(&record)?)?;
        if !self.challenges.use_ticket(&ticket).await? {
            return Err(KeyError::Over);
        }
        self.keep(record, verify).await
    }

    /// Keeps a key as its answer left it. Where somebody else changed it meanwhile, the answer is
    /// judged once more, by what is kept now.
    async fn keep(
        &self,
        mut record: AuthenticatorRecord,
        verify: impl Fn(&Credential) -> Result<Verified, WebauthnError>,
    ) -> Result<Used, KeyError> {
        for _ in 0..TURNS {
            let Verified { user_verified, counter, backed_up, credential, .. } =
                verify(&self.authenticators.open(&record)?)?;
            let kept =
                self.authenticators.replace(&record, &credential, counter.into(), true).await?;
            if kept {
                let method = if user_verified { Method::VerifiedKey } else { Method::Key };
                return Ok(Used { record, method, counter, backed_up });
            }
            let now = self.authenticators.find_by(&lookup(&credential.id())).await?;
            let now = now.filter(|now| now.id == record.id);
            record = now.ok_or(WebauthnError::UnknownCredential)?;
        }
        Err(KeyError::Store(StoreError::Timeout))
    }

    fn credentials(&self, held: &[AuthenticatorRecord]) -> Result<Vec<Credential>, StoreError> {
        let keys = held.iter().filter(|record| record.kind == Kind::Webauthn);
        keys.map(|record| self.authenticators.open(record)).collect()
    }
}

/// Where a key is found by its id. Other kinds of authenticators have no ids of their own choosing.
fn lookup(credential_id: &str) -> String {
    format!("webauthn:{credential_id}")
}
