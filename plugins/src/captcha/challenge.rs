//! Proof of work by the ALTCHA protocol, version 2: a challenge, and whether it was solved.
//!
//! A challenge has a nonce and a salt. It is solved by a counter for which
//! `PBKDF2-HMAC-SHA256(nonce || counter, salt)` begins with the key prefix; each try costs the
//! iterations that the challenge names. All of it is signed, so a client can change nothing.
//!
//! It is made here of `aws-lc-rs` rather than of the crate `altcha`, which reads the machine's clock
//! by itself and brings a second implementation of SHA-2, HMAC and PBKDF2; the tests hold the two
//! against each other. When it runs out is told to the gate only (`data.expires`), not to the widget
//! (`expiresAt`): a person whose clock is wrong would never get through.
//!
//! Source: <https://altcha.org/docs/v2/proof-of-work-captcha/>.

use std::num::NonZeroU32;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{constant_time, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::CaptchaError;
use crate::Timestamp;

const ALGORITHM: &str = "PBKDF2/SHA-256";

/// What the derived key has to begin with, in hex: a solution takes 256 tries on average.
const KEY_PREFIX: &str = "00";

/// Octets of a derived key.
const KEY_LENGTH: usize = 32;

/// How every solution begins: the base64 form of `{"challenge"`.
const BEGINNING: &str = "eyJjaGFsbGVuZ2Ui";

/// What a client is asked to solve.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    parameters: Parameters,
    signature: String,
}

// In the order of their names, in which they are signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parameters {
    algorithm: String,
    cost: u32,
    data: Data,
    key_length: usize,
    key_prefix: String,
    nonce: String,
    salt: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    /// The browser or network that it was given to, hashed.
    bound: String,
    /// In milliseconds.
    expires: Timestamp,
    purpose: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    challenge: Challenge,
    solution: Solution,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Solution {
    counter: u32,
    derived_key: String,
    /// How long it took, as the client says.
    #[serde(default, rename = "time")]
    _time: Option<f64>,
}

/// A challenge of ours that came back, and what is said to solve it.
pub(super) struct Attempt {
    pub(super) id: String,
    pub(super) cost: u32,
    pub(super) expires: Timestamp,
    payload: Payload,
}

/// Is this text meant to be a solution of ours?
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(BEGINNING)
}

/// A new challenge, for what [`Attempt::read`] will be told.
pub(super) fn issue(
    key: &hmac::Key,
    purpose: &str,
    bound: &str,
    cost: u32,
    expires: Timestamp,
) -> Result<Challenge, Unspecified> {
    let mut random = [0; 32];
    rand::fill(&mut random)?;
    let (nonce, salt) = random.split_at(16);
    let parameters = Parameters {
        algorithm: ALGORITHM.into(),
        cost,
        data: Data { bound: bound.into(), expires, purpose: purpose.into() },
        key_length: KEY_LENGTH,
        key_prefix: KEY_PREFIX.into(),
        nonce: hex(nonce),
        salt: hex(salt),
    };
    let signature = parameters.sign(key).ok_or(Unspecified)?;
    Ok(Challenge { parameters, signature })
}

impl Parameters {
    fn sign(&self, key: &hmac::Key) -> Option<String> {
        let json = serde_json::to_string(self).ok()?;
        Some(hex(hmac::sign(key, json.as_bytes()).as_ref()))
    }
}

impl Attempt {
    /// Reads what came back; it is one of ours, and given out for this purpose and client.
    pub(super) fn read(
        key: &hmac::Key,
        purpose: &str,
        bound: &str,
        text: &str,
    ) -> Result<Self, CaptchaError> {
        let json = STANDARD.decode(text).map_err(|_| CaptchaError::Malformed)?;
        let payload: Payload =
            serde_json::from_slice(&json).map_err(|_| CaptchaError::Malformed)?;
        let Challenge { parameters, signature } = &payload.challenge;
        let expected = parameters.sign(key).ok_or(CaptchaError::Malformed)?;
        if !same(&expected, signature)
            || !same(&parameters.data.bound, bound)
            || parameters.data.purpose != purpose
        {
            return Err(CaptchaError::Foreign);
        }
        Ok(Self {
            id: parameters.nonce.clone(),
            cost: parameters.cost,
            expires: parameters.data.expires,
            payload,
        })
    }

    /// Is it solved? Takes as long as one try.
    pub(super) fn is_solved(&self) -> bool {
        let Parameters { cost, nonce, salt, .. } = &self.payload.challenge.parameters;
        let solution = &self.payload.solution;
        let (Some(mut password), Some(salt), Some(cost)) =
            (unhex(nonce), unhex(salt), NonZeroU32::new(*cost))
        else {
            return false;
        };
        password.extend_from_slice(&solution.counter.to_be_bytes());
        let mut derived = [0; KEY_LENGTH];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, cost, &salt, &password, &mut derived);
        let derived = hex(&derived);
        derived.starts_with(KEY_PREFIX) && same(&derived, &solution.derived_key)
    }
}

/// Compares in constant time.
pub(super) fn same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
