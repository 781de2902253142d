//! Recovery codes: for the day when everything else is lost.
//!
//! 120 random bits each, so that a plain hash keeps them (SP 800-63B-4 §3.1.2.2: those with 112 bits
//! or more need no password hash).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How many codes there are.
pub const COUNT: usize = 10;

/// Letters and digits that are not taken for each other (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Letters of a code, five bits each.
const LEN: usize = 24;

/// What is kept of the codes that were not used.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RecoveryCodes(Vec<String>);

impl RecoveryCodes {
    /// New codes, to be shown once, and what is kept of them.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn fresh() -> Result<(Vec<Zeroizing<String>>, Self), aws_lc_rs::error::Unspecified> {
        let mut codes = Vec::with_capacity(COUNT);
        for _ in 0..COUNT {
            let mut bytes = Zeroizing::new([0; LEN]);
            rand::fill(bytes.as_mut_slice())?;
            let mut code = Zeroizing::new(String::with_capacity(LEN + 3));
            for (place, byte) in bytes.iter().enumerate() {
                if place > 0 && place % 6 == 0 {
                    code.push('-');
                }
                // 256 is a multiple of 32: every letter is equally likely.
                code.push(LETTERS.get(usize::from(byte % 32)).copied().map_or('0', char::from));
            }
            codes.push(code);
        }
        let kept = codes.iter().filter_map(|code| hash(code)).collect();
        Ok((codes, Self(kept)))
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The others, if this is one of them.
    pub fn without(&self, code: &str) -> Option<Self> {
        let wanted = hash(code)?;
        let others: Vec<_> = self.0.iter().filter(|kept| **kept != wanted).cloned().collect();
        (others.len() < self.0.len()).then_some(Self(others))
    }
}

/// Hash of a code as somebody types it; `None` if it is none. Nobody can choose the hash of what
/// they type, so how long it takes to find it tells nothing.
fn hash(typed: &str) -> Option<String> {
    if typed.len() > 4 * LEN {
        return None;
    }
    let mut plain = Zeroizing::new(String::new());
    for letter in typed.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        plain.push(match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        });
    }
    (plain.len() == LEN).then(|| STANDARD_NO_PAD.encode(digest(&SHA256, plain.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g18_a_code_is_long_and_good_once() {
        let (codes, kept) = RecoveryCodes::fresh().unwrap();
        assert_eq!((codes.len(), kept.left()), (COUNT, COUNT));
        assert!(codes.iter().all(|code| code.len() == 27 && code.matches('-').count() == 3));
        let typed = codes[3].to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        let rest = kept.without(&typed).unwrap();
        assert_eq!(rest.left(), COUNT - 1);
        assert!(rest.without(&codes[3]).is_none());
        for wrong in ["", "000000", "000000-000000-000000-000000", &"0".repeat(5000)] {
            assert!(kept.without(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn g19_codes_are_not_what_is_stored() {
        let (codes, kept) = RecoveryCodes::fresh().unwrap();
        let stored = serde_json::to_string(&kept).unwrap();
        assert!(codes.iter().all(|code| !stored.contains(&code[..6])));
    }
}
