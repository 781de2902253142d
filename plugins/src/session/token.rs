//! The session token: what a cookie carries, and the form in which it is kept.
//!
//! The cookie's value is 256 random bits, opaque, without any personal data. The store and the
//! memory keep only its SHA-256, so that a stolen store opens no session. The public id of a
//! session is a hash of that hash: it can be shown and logged, and leads back to neither.

use std::fmt;
use std::ops::Deref;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_config::Secret;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// Length of a cookie value: 32 bytes in base64url.
const TEXT_LEN: usize = 43;

/// Makes a token and its hash.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn issue() -> Result<(Secret, TokenHash), aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    let hash = sha256(&bytes);
    Ok((Secret::new(URL_SAFE_NO_PAD.encode(bytes)), hash))
}

/// The hash of a token as a client sent it; `None` if it cannot be one.
///
/// The token is then looked up by this hash: how long that takes tells nothing about tokens that
/// exist, because nobody can choose the hash of what they send.
pub fn hash(text: &[u8]) -> Option<TokenHash> {
    let mut bytes = [0; 33];
    let decoded = (text.len() == TEXT_LEN).then(|| URL_SAFE_NO_PAD.decode_slice(text, &mut bytes));
    match decoded {
        Some(Ok(32)) => Some(sha256(bytes.get(..32)?)),
        _ => None,
    }
}

/// The public id of a session: 22 characters of base64url. A `str` in use; held in place, because
/// there is one for each of very many sessions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 22]);

impl Deref for SessionId {
    type Target = str;

    fn deref(&self) -> &str {
        // Base64 is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl SessionId {
    /// Reads an id as it is shown; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = <[u8; 22]>::try_from(text.as_bytes()).ok()?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        bytes.iter().all(plain).then_some(Self(bytes))
    }
}

/// The public id of the session that began with this token hash.
pub fn public_id(hash: &TokenHash) -> SessionId {
    let mut labelled = [0; 52];
    let (label, rest) = labelled.split_at_mut(20);
    label.copy_from_slice(b"doorward session id ");
    rest.copy_from_slice(hash);
    let id = sha256(&labelled);
    let mut text = [b'A'; 22];
    // Sixteen octets are 22 characters, always.
    let _ = URL_SAFE_NO_PAD.encode_slice(id.first_chunk::<16>().unwrap_or(&[0; 16]), &mut text);
    SessionId(text)
}

fn sha256(bytes: &[u8]) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn e01_tokens_are_long_and_differ() {
        let tokens: HashSet<_> =
            (0..10_000).map(|_| issue().unwrap().0.expose().to_owned()).collect();
        assert_eq!(tokens.len(), 10_000);
        assert!(tokens.iter().all(|token| token.len() == TEXT_LEN));
        // Every character of every place turns up about equally often: 10,000 draws of 64.
        let mut counts = [0_u32; 128];
        for token in &tokens {
            // The last character carries only four of its six bits.
            token.bytes().take(42).for_each(|byte| counts[byte as usize] += 1);
        }
        let expected = 10_000.0 * 42.0 / 64.0;
        let chi_square: f64 = counts
            .iter()
            .filter(|count| **count > 0)
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        // 63 degrees of freedom: above 130 once in a million runs.
        assert!(chi_square < 130.0, "{chi_square}");
    }

    #[test]
    fn a09_only_the_exact_token_has_its_hash() {
        let (token, expected) = issue().unwrap();
        let text = token.expose();
        assert_eq!(hash(text.as_bytes()), Some(expected));
        let swapped: String = text
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        assert_ne!(hash(swapped.as_bytes()), Some(expected));
        for wrong in [
            "",
            &text[1..],
            &format!("{text}="),
            &format!("{text}A"),
            &text.replace(|_| true, "\0"),
            &"A".repeat(4096),
        ] {
            assert_eq!(hash(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn e20_the_public_id_leads_nowhere() {
        let (token, hash) = issue().unwrap();
        let id = public_id(&hash);
        assert_eq!(id.len(), 22);
        assert!(!token.expose().contains(&*id) && !URL_SAFE_NO_PAD.encode(hash).contains(&*id));
    }
}
