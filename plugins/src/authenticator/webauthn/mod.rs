//! Security keys and passkeys (WebAuthn Level 3): the two ceremonies, without any store.
//!
//! [`Ceremonies`] makes what a browser is asked and judges what it answers. Between the two the
//! caller keeps a state, on the server only, which is good for one answer, for
//! [`Ceremonies::timeout`] and for the session it began in. What is judged is pure: a credential
//! changes only in the value that comes back when every check has passed.
//!
//! The library follows the specification; where that leaves a choice or the library is lenient,
//! this is stricter: one exact list of origins, no frames of others, one reading of every message,
//! no attestation but none and self. A counter that does not grow refuses: keys whose counters
//! work count every use, so that of two answers that arrive in the wrong order the earlier is
//! refused and is given again.

mod cbor;
mod credential;
mod keys;
mod response;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_config::WebAuthn;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::error::WebauthnError as CoreError;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, ParsedAttestationData, RegistrationState,
    ResidentKeyRequirement, UserVerificationPolicy,
};

pub use credential::Credential;
pub use keys::{Asked, KeyError, Keys, Sent, Used};
pub use response::RESPONSE_BYTES_MAX;
use response::{Authentication, Registration};

/// Octets of a principal's id, which is what a key knows its user by.
const USER_HANDLE: usize = 16;

/// Why an answer of a browser is refused. Which of them it was is for the log, not for whoever
/// sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebauthnError {
    /// More octets than any honest answer has.
    #[error("the answer is too large")]
    TooLarge,
    /// Not in the form of the specification, or in two.
    #[error("the answer is malformed")]
    Malformed,
    /// A new key where a known one was asked for, or the reverse.
    #[error("the answer is of another ceremony")]
    Type,
    /// Another challenge than the one that was set.
    #[error("the challenge is another")]
    Challenge,
    /// The page was not one of ours.
    #[error("the origin is not one of ours")]
    Origin,
    /// The page was in a frame of another site.
    #[error("the page was in another site's frame")]
    CrossOrigin,
    /// The key was asked on behalf of another domain.
    #[error("the key answered another domain")]
    RelyingParty,
    /// Nobody touched the key.
    #[error("nobody was present")]
    UserPresence,
    /// The key did not make sure who touched it.
    #[error("the user was not verified")]
    UserVerification,
    /// The flags about copies contradict each other, or what was said when the key was bound.
    #[error("the backup flags are inconsistent")]
    BackupFlags,
    /// A kind of key that was not asked for.
    #[error("the algorithm was not offered")]
    Algorithm,
    /// An attestation that is unknown, false, or in need of trust that nobody configured.
    #[error("the attestation is not accepted")]
    Attestation,
    /// The key is bound already.
    #[error("the key is bound already")]
    AlreadyBound,
    /// No key of whom it should belong to.
    #[error("the key is not one of those asked for")]
    UnknownCredential,
    /// The key says that it belongs to somebody else, or does not say to whom.
    #[error("the key belongs to somebody else")]
    NotTheOwner,
    /// Not signed by this key.
    #[error("the signature is wrong")]
    Signature,
    /// The key has been used less often than is known: there may be a copy of it.
    #[error("the counter did not grow; the key may have been copied")]
    Counter,
    /// The state is not of this ceremony, or not of this gate. No answer of a browser causes it.
    #[error("the ceremony cannot go on")]
    State,
}

impl From<CoreError> for WebauthnError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::InvalidClientDataType => Self::Type,
            CoreError::MismatchedChallenge => Self::Challenge,
            CoreError::InvalidRPOrigin => Self::Origin,
            CoreError::CredentialCrossOrigin => Self::CrossOrigin,
            CoreError::InvalidRPIDHash => Self::RelyingParty,
            CoreError::UserNotPresent => Self::UserPresence,
            CoreError::UserNotVerified => Self::UserVerification,
            CoreError::CredentialMayNotBeHardwareBound
            | CoreError::CredentialBackupEligibilityInconsistent => Self::BackupFlags,
            CoreError::CredentialAlteredAlgFromRequest
            | CoreError::CredentialInsecureCryptography
            | CoreError::COSEKeyInvalidAlgorithm
            | CoreError::COSEKeyInvalidType => Self::Algorithm,
            CoreError::AttestationNotSupported
            | CoreError::AttestationNotVerifiable
            | CoreError::AttestationStatementSigInvalid => Self::Attestation,
            CoreError::CredentialNotFound => Self::UnknownCredential,
            CoreError::AuthenticationFailure => Self::Signature,
            CoreError::CredentialPossibleCompromise => Self::Counter,
            _ => Self::Malformed,
        }
    }
}

/// Whom a new key is for.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The principal's id.
    pub id: &'a str,
    /// What it signs in with: browsers show it to choose by.
    pub name: &'a str,
    /// What people call it.
    pub display_name: &'a str,
}

/// A ceremony that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// What the browser is asked, in the JSON form of the specification (§5.1.8, §5.1.9).
    pub options: Value,
    /// What the answer is judged by. It stays on the server.
    pub state: String,
}

/// A key that proved itself.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its id, in base64url.
    pub credential_id: String,
    /// Did it make sure who touched it, this time? Only then it counts as two factors.
    pub user_verified: bool,
    /// How often it says it has been used.
    pub counter: u32,
    /// Does it say that there are copies of it?
    pub backed_up: bool,
    /// As it is to be kept from now on.
    pub credential: Credential,
}

/// What an answer without a name claims, before anything of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The principal that the key says it belongs to.
    pub principal_id: String,
    /// The key, in base64url.
    pub credential_id: String,
}

/// What is kept while a browser asks for a key.
#[derive(Serialize, Deserialize)]
enum State {
    Registration { owner: String, existing: Vec<String>, ceremony: RegistrationState },
    Authentication { owner: String, asked: Vec<String>, ceremony: AuthenticationState },
    Passwordless { ceremony: AuthenticationState },
}

/// Begins ceremonies and judges their ends.
#[derive(Debug)]
pub struct Ceremonies {
    core: WebauthnCore,
    origins: Vec<String>,
    timeout: Duration,
    second_factor: UserVerificationPolicy,
    passwordless: bool,
}

impl Ceremonies {
    /// For the domain and the origins that the operator named.
    ///
    /// # Errors
    /// [`WebauthnError::Origin`] for an origin that is none; the configuration refuses those.
    pub fn new(config: &WebAuthn) -> Result<Self, WebauthnError> {
        let urls = config.origins.iter().map(|origin| Url::parse(origin));
        let urls = urls.collect::<Result<Vec<_>, _>>().map_err(|_| WebauthnError::Origin)?;
        let (name, id) = (&config.rp_name, &config.rp_id);
        // Neither subdomains nor other ports: the origins are exactly those.
        let core = WebauthnCore::new_unsafe_experts_only(
            name,
            id,
            urls,
            config.timeout,
            Some(false),
            Some(false),
        );
        Ok(Self {
            core,
            origins: config.origins.clone(),
            timeout: config.timeout,
            second_factor: if config.user_verification_required {
                UserVerificationPolicy::Required
            } else {
                UserVerificationPolicy::Preferred
            },
            passwordless: config.passwordless,
        })
    }

    /// For how long an answer may be waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// May a passkey be a whole sign-in?
    pub fn passwordless(&self) -> bool {
        self.passwordless
    }

    /// Asks for a new key of `owner`, who has the `existing` ones.
    ///
    /// # Errors
    /// [`WebauthnError::State`] if the owner has no usable id or name.
    pub fn begin_registration(
        &self,
        owner: &Owner<'_>,
        existing: &[Credential],
    ) -> Result<Begun, WebauthnError> {
        let handle = URL_SAFE_NO_PAD.decode(owner.id).map_err(|_| WebauthnError::State)?;
        if handle.len() != USER_HANDLE {
            return Err(WebauthnError::State);
        }
        let builder = self
            .core
            .new_challenge_register_builder(&handle, owner.name, owner.display_name)
            .map_err(|_| WebauthnError::State)?
            .attestation(AttestationConveyancePreference::None)
            .user_verification_policy(self.second_factor)
            .exclude_credentials(Some(existing.iter().map(Credential::raw_id).collect()));
        let (mut options, ceremony) =
            self.core.generate_challenge_register(builder).map_err(|_| WebauthnError::State)?;
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            // One that can name its user itself serves both ways; a plain security key is welcome.
            selection.resident_key = Some(ResidentKeyRequirement::Preferred);
        }
        let existing = existing.iter().map(Credential::id).collect();
        let state = State::Registration { owner: owner.id.to_owned(), existing, ceremony };
        begun(&options, &state)
    }

    /// Judges a new key. Whether anybody else has bound it is for the store to refuse.
    ///
    /// # Errors
    /// Why the key is refused.
    pub fn finish_registration(
        &self,
        principal_id: &str,
        state: &str,
        response: &[u8],
    ) -> Result<Credential, WebauthnError> {
        let State::Registration { owner, existing, ceremony } = read(state)? else {
            return Err(WebauthnError::State);
        };
        if owner != principal_id {
            return Err(WebauthnError::State);
        }
        let answer = Registration::read(response, &self.origins)?;
        if existing.contains(&answer.response.id) {
            return Err(WebauthnError::AlreadyBound);
        }
        let mut bound = self.core.register_credential(&answer.response, &ceremony, None)?;
        match bound.attestation.data {
            ParsedAttestationData::None | ParsedAttestationData::Self_ => {}
            _ => return Err(WebauthnError::Attestation),
        }
        // The library keeps these only of keys that attest; they are no more than a hint anyway.
        bound.transports = (!answer.transports.is_empty()).then_some(answer.transports);
        Ok(Credential::from(bound))
    }

    /// Asks `principal_id` for one of its keys, as a second factor.
    ///
    /// # Errors
    /// [`WebauthnError::UnknownCredential`] if it has none.
    pub fn begin_authentication(
        &self,
        principal_id: &str,
        credentials: &[Credential],
    ) -> Result<Begun, WebauthnError> {
        if credentials.is_empty() {
            return Err(WebauthnError::UnknownCredential);
        }
        let (options, ceremony) = self.challenge(credentials, self.second_factor)?;
        let asked = credentials.iter().map(Credential::id).collect();
        let state = State::Authentication { owner: principal_id.to_owned(), asked, ceremony };
        begun(&options, &state)
    }

    /// Judges a second factor by the keys that `principal_id` has now: one that was taken away
    /// since it was asked for is refused.
    ///
    /// # Errors
    /// Why the key is refused.
    pub fn finish_authentication(
        &self,
        principal_id: &str,
        state: &str,
        response: &[u8],
        credentials: &[Credential],
    ) -> Result<Verified, WebauthnError> {
        let State::Authentication { owner, asked, ceremony } = read(state)? else {
            return Err(WebauthnError::State);
        };
        if owner != principal_id {
            return Err(WebauthnError::State);
        }
        let answer = Authentication::read(response, &self.origins)?;
        let credential = credentials
            .iter()
            .find(|known| known.id() == answer.id && asked.contains(&answer.id))
            .ok_or(WebauthnError::UnknownCredential)?;
        // A key that is not discoverable need not say whose it is (§7.2, step 6).
        if answer.user.as_deref().is_some_and(|user| user != owner) {
            return Err(WebauthnError::NotTheOwner);
        }
        self.verify(&answer, &ceremony, credential)
    }

    /// Which key the answer says it is of, in base64url. Nothing is verified yet.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn answered_by(&self, response: &[u8]) -> Result<String, WebauthnError> {
        Ok(Authentication::read(response, &self.origins)?.id)
    }

    /// Asks whoever is there for a passkey. It tells nothing about anybody.
    ///
    /// # Errors
    /// [`WebauthnError::State`] if passkeys are no whole sign-in here.
    pub fn begin_passwordless(&self) -> Result<Begun, WebauthnError> {
        if !self.passwordless {
            return Err(WebauthnError::State);
        }
        let (options, ceremony) = self.challenge(&[], UserVerificationPolicy::Required)?;
        let mut begun = begun(&options, &State::Passwordless { ceremony })?;
        // An empty list means the same as none (§5.5), and not every client knows.
        if let Some(asked) = begun.options.get_mut("publicKey").and_then(Value::as_object_mut) {
            asked.remove("allowCredentials");
        }
        Ok(begun)
    }

    /// Whose key the answer says it is, so that it can be looked up. Nothing is verified yet.
    ///
    /// # Errors
    /// [`WebauthnError::NotTheOwner`] if it does not say; any other if it cannot be read.
    pub fn claimed(&self, response: &[u8]) -> Result<Claimed, WebauthnError> {
        let answer = Authentication::read(response, &self.origins)?;
        let handle = answer.response.response.user_handle.as_ref();
        match (answer.user, handle.map(Vec::len)) {
            (Some(principal_id), Some(USER_HANDLE)) => {
                Ok(Claimed { principal_id, credential_id: answer.id })
            }
            _ => Err(WebauthnError::NotTheOwner),
        }
    }

    /// Judges a sign-in by the key that [`Self::claimed`] named, which `principal_id` has.
    ///
    /// # Errors
    /// Why the key is refused.
    pub fn finish_passwordless(
        &self,
        principal_id: &str,
        state: &str,
        response: &[u8],
        credential: &Credential,
    ) -> Result<Verified, WebauthnError> {
        let State::Passwordless { ceremony } = read(state)? else {
            return Err(WebauthnError::State);
        };
        let answer = Authentication::read(response, &self.origins)?;
        if !self.passwordless {
            return Err(WebauthnError::State);
        }
        if answer.user.as_deref() != Some(principal_id) {
            return Err(WebauthnError::NotTheOwner);
        }
        self.verify(&answer, &ceremony, credential)
    }

    fn challenge(
        &self,
        credentials: &[Credential],
        policy: UserVerificationPolicy,
    ) -> Result<(impl Serialize + use<>, AuthenticationState), WebauthnError> {
        let known = credentials.iter().map(|known| known.core().clone()).collect();
        let builder = self.core.new_challenge_authenticate_builder(known, Some(policy));
        let begun = builder.and_then(|builder| self.core.generate_challenge_authenticate(builder));
        let (options, mut ceremony) = begun.map_err(|_| WebauthnError::State)?;
        // Judged by what is stored then, not by a copy from now.
        ceremony.set_allowed_credentials(Vec::new());
        Ok((options, ceremony))
    }

    fn verify(
        &self,
        answer: &Authentication,
        ceremony: &AuthenticationState,
        credential: &Credential,
    ) -> Result<Verified, WebauthnError> {
        let core = credential.core();
        let result = self.core.authenticate_single_credential(&answer.response, ceremony, core)?;
        Ok(Verified {
            credential_id: answer.id.clone(),
            user_verified: result.user_verified(),
            counter: result.counter(),
            backed_up: result.backup_state(),
            credential: credential.used(result.counter(), result.backup_state()),
        })
    }
}

fn begun(options: &impl Serialize, state: &State) -> Result<Begun, WebauthnError> {
    let options = serde_json::to_value(options).map_err(|_| WebauthnError::State)?;
    let state = serde_json::to_string(state).map_err(|_| WebauthnError::State)?;
    Ok(Begun { options, state })
}

fn read(state: &str) -> Result<State, WebauthnError> {
    serde_json::from_str(state).map_err(|_| WebauthnError::State)
}

#[cfg(test)]
mod tests;
