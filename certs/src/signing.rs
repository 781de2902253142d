//! The keys that sign assertions.
//!
//! One key signs; the ones before it are listed until the last assertion that they signed has
//! expired. All stand in one file, mode 0600, made on first use. `now` is in seconds since the
//! Unix epoch throughout.
//!
//! Sources: RFC 7517 (JWK set), RFC 7638 (key id by thumbprint), RFC 7518 §3.4 (ES256), RFC 8037
//! (EdDSA).

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, Signature,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorward_config::SigningAlgorithm;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::file::{KeyFileError, read_private, replace_private};

/// The `typ` of an assertion, so that no token of another kind can pass for one (RFC 8725 §3.11).
pub const ASSERTION_TYPE: &str = "doorward-assertion+jwt";

/// How long a retired key stays listed beyond the life of its last assertion: the clock of a
/// verifier may be slow.
const SKEW_SECS: u64 = 60;

/// What a signature takes, with both algorithms.
const SIGNATURE_BYTES: usize = 64;

/// The `typ` of what seals the audit log.
pub const AUDIT_TYPE: &str = "doorward-audit+jwt";

/// All signing keys of one use, newest last.
pub struct SigningKeys {
    file: PathBuf,
    /// The `typ` of what they sign.
    token_type: &'static str,
    keys: Vec<SigningKey>,
}

/// One signing key.
pub struct SigningKey {
    stored: StoredKey,
    algorithm: Algorithm,
    kid: String,
    /// The encoded header of everything that it signs, with the full stop behind it.
    header: String,
    pair: KeyPair,
    public: Jwk,
}

/// A key that has been read, and is ready: reading takes as long as signing.
enum KeyPair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The claims are no JSON.
    #[error("the claims cannot be encoded: {0}")]
    Claims(#[from] serde_json::Error),
    /// The cryptographic library refused.
    #[error("the key does not sign")]
    Refused,
    /// There is no key.
    #[error("there is no key")]
    Missing,
}

/// A key as it stands in the file.
#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    algorithm: String,
    created: u64,
    /// When its successor took over; `None`: it signs.
    retired: Option<u64>,
    /// Private key, PKCS #8 DER in base64.
    pkcs8: String,
}

/// What may be told about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySummary {
    /// Its id, the `kid` of assertions.
    pub kid: String,
    /// `ES256` or `EdDSA`.
    pub algorithm: String,
    /// When it was made.
    pub created: u64,
    /// When its successor took over; `None`: it signs.
    pub retired: Option<u64>,
}

impl SigningKeys {
    /// Opens the key file of tokens of this type, making it with a first key when it is missing. A
    /// file whose newest key is of another algorithm gets a new one.
    ///
    /// # Errors
    /// [`KeyFileError`] when the file cannot be read or written, is readable by others, or does
    /// not hold keys.
    pub fn open(
        file: &Path,
        token_type: &'static str,
        algorithm: SigningAlgorithm,
        now: u64,
    ) -> Result<Self, KeyFileError> {
        let stored: Vec<StoredKey> = match read_private(file)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| KeyFileError::content(file, "does not hold signing keys"))?,
        };
        let keys: Result<Vec<_>, _> =
            stored.into_iter().map(|key| SigningKey::load(key, token_type, file)).collect();
        let mut opened = Self { file: file.to_owned(), token_type, keys: keys? };
        let current =
            opened.keys.last().is_some_and(|key| key.algorithm == jwt_algorithm(algorithm));
        if !current {
            opened.rotate(algorithm, now)?;
        }
        Ok(opened)
    }

    /// Makes a new key, which signs from now on.
    ///
    /// # Errors
    /// [`KeyFileError`] when the file cannot be written; the old key then goes on signing.
    pub fn rotate(&mut self, algorithm: SigningAlgorithm, now: u64) -> Result<(), KeyFileError> {
        let fresh = SigningKey::generate(algorithm, self.token_type, now, &self.file)?;
        let mut stored: Vec<_> = self.keys.iter().map(|key| key.stored.clone()).collect();
        for key in &mut stored {
            key.retired.get_or_insert(now);
        }
        stored.push(fresh.stored.clone());
        self.save(&stored)?;
        for key in &mut self.keys {
            key.stored.retired.get_or_insert(now);
        }
        self.keys.push(fresh);
        Ok(())
    }

    /// Rotates if the signing key is `age_max` old, and forgets keys whose assertions, which live
    /// for `lifetime`, have all expired. Says whether anything changed.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn maintain(
        &mut self,
        algorithm: SigningAlgorithm,
        age_max: Duration,
        lifetime: Duration,
        now: u64,
    ) -> Result<bool, KeyFileError> {
        let due = self
            .keys
            .last()
            .is_none_or(|key| now.saturating_sub(key.stored.created) >= age_max.as_secs());
        if due {
            self.rotate(algorithm, now)?;
        }
        let listed = |key: &StoredKey| {
            key.retired.is_none_or(|at| now < at + lifetime.as_secs() + SKEW_SECS)
        };
        let count = self.keys.len();
        if self.keys.iter().all(|key| listed(&key.stored)) {
            return Ok(due);
        }
        let kept: Vec<_> = self.keys.iter().map(|key| key.stored.clone()).filter(listed).collect();
        self.save(&kept)?;
        self.keys.retain(|key| listed(&key.stored));
        Ok(due || self.keys.len() < count)
    }

    fn save(&self, stored: &[StoredKey]) -> Result<(), KeyFileError> {
        let bytes = serde_json::to_vec(stored)
            .map_err(|_| KeyFileError::content(&self.file, "cannot be encoded"))?;
        replace_private(&self.file, &bytes)
    }

    /// Signs `claims` with the newest key: a JWS in compact form (RFC 7515 §7.1).
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SignError> {
        self.keys.last().ok_or(SignError::Missing)?.sign(claims)
    }

    /// The public keys as a JWK set (RFC 7517 §5).
    pub fn jwks(&self) -> serde_json::Value {
        serde_json::json!({"keys": self.keys.iter().map(|key| &key.public).collect::<Vec<_>>()})
    }

    /// What may be told about each key, newest last.
    pub fn summaries(&self) -> Vec<KeySummary> {
        self.keys.iter().map(SigningKey::summary).collect()
    }
}

impl SigningKey {
    fn generate(
        algorithm: SigningAlgorithm,
        token_type: &str,
        now: u64,
        file: &Path,
    ) -> Result<Self, KeyFileError> {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            SigningAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random),
        };
        let pkcs8 = pkcs8.map_err(|_| KeyFileError::content(file, "no key could be generated"))?;
        let stored = StoredKey {
            algorithm: algorithm_name(jwt_algorithm(algorithm)).into(),
            created: now,
            retired: None,
            pkcs8: STANDARD.encode(pkcs8.as_ref()),
        };
        Self::load(stored, token_type, file)
    }

    fn load(stored: StoredKey, token_type: &str, file: &Path) -> Result<Self, KeyFileError> {
        let wrong = || KeyFileError::content(file, "holds a key that cannot be used");
        let der = STANDARD.decode(&stored.pkcs8).map_err(|_| wrong())?;
        let (algorithm, pair, encoding) = match stored.algorithm.as_str() {
            "ES256" => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
                let pair = KeyPair::Es256(pair.map_err(|_| wrong())?);
                (Algorithm::ES256, pair, EncodingKey::from_ec_der(&der))
            }
            "EdDSA" => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
                let pair = KeyPair::EdDsa(pair.map_err(|_| wrong())?);
                (Algorithm::EdDSA, pair, EncodingKey::from_ed_der(&der))
            }
            _ => return Err(wrong()),
        };
        let mut public = Jwk::from_encoding_key(&encoding, algorithm).map_err(|_| wrong())?;
        let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(|_| wrong())?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let header = Header {
            typ: Some(token_type.into()),
            kid: Some(kid.clone()),
            ..Header::new(algorithm)
        };
        let header = serde_json::to_vec(&header).map_err(|_| wrong())?;
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header));
        Ok(Self { stored, algorithm, kid, header, pair, public })
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, SignError> {
        let claims = serde_json::to_vec(claims)?;
        let octets = |length: usize| length.div_ceil(3) * 4;
        let length = self.header.len() + octets(claims.len()) + 1 + octets(SIGNATURE_BYTES);
        let mut token = String::with_capacity(length);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.pair.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn summary(&self) -> KeySummary {
        KeySummary {
            kid: self.kid.clone(),
            algorithm: self.stored.algorithm.clone(),
            created: self.stored.created,
            retired: self.stored.retired,
        }
    }
}

impl KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        match self {
            // Both halves at fixed length, one behind the other (RFC 7518 §3.4).
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message),
            Self::EdDsa(pair) => pair.try_sign(message),
        }
        .map_err(|_| SignError::Refused)
    }
}

/// Verifies an assertion as a backend has to: signature by a listed key, `typ`, issuer, audience
/// and expiry. Gives its claims.
///
/// # Errors
/// What is wrong with it.
pub fn verify_assertion(
    jwks: &serde_json::Value,
    token: &str,
    issuer: &str,
    audience: &str,
) -> Result<serde_json::Value, jsonwebtoken::errors::Error> {
    let (key, mut rules) = key_for(jwks, token, ASSERTION_TYPE)?;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules.leeway = 5;
    Ok(jsonwebtoken::decode(token, &key, &rules)?.claims)
}

/// Verifies that `token` is of this type and was signed by a listed key; it is about no time and
/// nobody. Gives its claims.
///
/// # Errors
/// What is wrong with it.
pub fn verify_signature<T: DeserializeOwned>(
    jwks: &serde_json::Value,
    token: &str,
    token_type: &str,
) -> Result<T, jsonwebtoken::errors::Error> {
    let (key, mut rules) = key_for(jwks, token, token_type)?;
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    Ok(jsonwebtoken::decode(token, &key, &rules)?.claims)
}

/// The listed key that signed `token`, and the rules that its algorithm sets.
fn key_for(
    jwks: &serde_json::Value,
    token: &str,
    token_type: &str,
) -> Result<(DecodingKey, Validation), jsonwebtoken::errors::Error> {
    use jsonwebtoken::errors::ErrorKind::{InvalidKeyFormat, InvalidToken};
    let header = jsonwebtoken::decode_header(token)?;
    let keys: JwkSet = serde_json::from_value(jwks.clone()).map_err(|_| InvalidKeyFormat)?;
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or(InvalidToken)?;
    // The key says which algorithm, not the token (RFC 8725 §3.1).
    let algorithm = match key.common.key_algorithm {
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        _ => return Err(InvalidKeyFormat.into()),
    };
    if header.typ.as_deref() != Some(token_type) {
        return Err(InvalidToken.into());
    }
    Ok((DecodingKey::from_jwk(key)?, Validation::new(algorithm)))
}

fn jwt_algorithm(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::Es256 => Algorithm::ES256,
        SigningAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn algorithm_name(algorithm: Algorithm) -> &'static str {
    if algorithm == Algorithm::EdDSA { "EdDSA" } else { "ES256" }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const LIFE: Duration = Duration::from_secs(120);
    const AGE: Duration = Duration::from_secs(30 * 86_400);

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("doorward-keys-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("keys.json")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[track_caller]
    fn check_signed(keys: &SigningKeys, token: &str, expected: bool) {
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!(header.typ.as_deref(), Some(ASSERTION_TYPE));
        let set: JwkSet = serde_json::from_value(keys.jwks()).unwrap();
        let verified = set.find(header.kid.as_deref().unwrap()).is_some_and(|jwk| {
            let mut rules = Validation::new(header.alg);
            rules.required_spec_claims.clear();
            rules.validate_exp = false;
            jsonwebtoken::decode::<serde_json::Value>(
                token,
                &DecodingKey::from_jwk(jwk).unwrap(),
                &rules,
            )
            .is_ok()
        });
        assert_eq!(verified, expected);
    }

    #[test]
    fn keys_survive_a_restart_in_a_file_of_mode_0600() {
        for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
            let scratch = Scratch::new(&format!("{algorithm:?}"));
            let first = SigningKeys::open(&scratch.file(), ASSERTION_TYPE, algorithm, NOW).unwrap();
            let token = first.sign(&serde_json::json!({"sub": "alice"})).unwrap();
            assert_eq!(
                std::fs::metadata(scratch.file()).unwrap().permissions().mode() & 0o777,
                0o600
            );
            check_signed(
                &SigningKeys::open(&scratch.file(), ASSERTION_TYPE, algorithm, NOW + 1).unwrap(),
                &token,
                true,
            );
        }
    }

    #[test]
    fn a_retired_key_is_listed_until_its_assertions_have_expired() {
        let scratch = Scratch::new("rotation");
        let mut keys =
            SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::Es256, NOW)
                .unwrap();
        let token = keys.sign(&serde_json::json!({})).unwrap();
        assert!(
            !keys.maintain(SigningAlgorithm::Es256, AGE, LIFE, NOW + AGE.as_secs() - 1).unwrap()
        );
        let rotated = NOW + AGE.as_secs();
        assert!(keys.maintain(SigningAlgorithm::Es256, AGE, LIFE, rotated).unwrap());
        assert_eq!(keys.summaries().len(), 2);
        check_signed(&keys, &token, true);
        assert!(!keys.maintain(SigningAlgorithm::Es256, AGE, LIFE, rotated + 179).unwrap());
        assert!(keys.maintain(SigningAlgorithm::Es256, AGE, LIFE, rotated + 180).unwrap());
        check_signed(&keys, &token, false);
        assert_eq!(
            SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::Es256, rotated)
                .unwrap()
                .summaries(),
            keys.summaries()
        );
    }

    #[test]
    fn another_algorithm_makes_another_key() {
        let scratch = Scratch::new("algorithm");
        SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::Es256, NOW).unwrap();
        let keys = SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::EdDsa, NOW)
            .unwrap();
        let algorithms: Vec<_> = keys.summaries().into_iter().map(|key| key.algorithm).collect();
        assert_eq!(algorithms, ["ES256", "EdDSA"]);
    }

    #[test]
    fn o03_a_torn_or_open_file_is_refused() {
        let scratch = Scratch::new("torn");
        SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::Es256, NOW).unwrap();
        std::fs::set_permissions(scratch.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused =
            SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::Es256, NOW)
                .err()
                .unwrap();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        std::fs::set_permissions(scratch.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(scratch.file(), "[{").unwrap();
        assert!(
            SigningKeys::open(&scratch.file(), ASSERTION_TYPE, SigningAlgorithm::Es256, NOW)
                .is_err()
        );
    }
}
