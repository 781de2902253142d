//! Codes of authenticator apps and tokens, which change with time (RFC 6238).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Secret as TotpSecret, Totp};
use zeroize::Zeroizing;

/// Seconds for which a code is shown.
pub const PERIOD: u64 = 30;

/// Octets of a new seed: 160 bits (RFC 4226 §4, R6).
const SEED_LEN: usize = 20;

/// How far a token's clock may be off where two codes show how far it is: about half an hour.
const RESYNC_STEPS: u64 = 60;

/// A seed, and how codes are made of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Seed {
    /// Base64 of the octets.
    seed: Zeroizing<String>,
    /// The hash that codes are made with.
    pub algorithm: Algorithm,
    /// How long codes are: 6 to 8.
    pub digits: u8,
    /// By how many steps the token's clock is off.
    #[serde(default)]
    pub drift: i64,
}

/// The hash of a HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// What every app understands. Its weakness is none for a HMAC.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name in `otpauth` addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    fn of_library(self) -> totp_rs::Algorithm {
        match self {
            Self::Sha1 => totp_rs::Algorithm::SHA1,
            Self::Sha256 => totp_rs::Algorithm::SHA256,
            Self::Sha512 => totp_rs::Algorithm::SHA512,
        }
    }
}

impl Seed {
    /// A new one, for an app.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn fresh() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        aws_lc_rs::rand::fill(seed.as_mut_slice())?;
        Ok(Self::new(seed.as_slice(), Algorithm::Sha1, 6))
    }

    /// One as people type it (RFC 4648 §6), spaces and all; `None` if it is not one, or shorter than
    /// 128 bits (RFC 4226 §4, R6).
    pub fn from_text(text: &str, algorithm: Algorithm, digits: u8) -> Option<Self> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '=').collect();
        let secret = TotpSecret::try_from_base32(plain.to_ascii_uppercase()).ok()?;
        let bytes = secret.as_bytes();
        (16..=128).contains(&bytes.len()).then(|| Self::new(bytes, algorithm, digits))
    }

    /// One that a token was made with, whose codes last for [`PERIOD`].
    pub fn new(seed: &[u8], algorithm: Algorithm, digits: u8) -> Self {
        let seed = Zeroizing::new(STANDARD.encode(seed));
        Self { seed, algorithm, digits, drift: 0 }
    }

    /// The seed as people type it (RFC 4648 §6), in groups of four.
    pub fn text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(self.secret().to_base32());
        let mut text = Zeroizing::new(String::new());
        for (place, letter) in secret.chars().filter(|letter| *letter != '=').enumerate() {
            if place > 0 && place % 4 == 0 {
                text.push(' ');
            }
            text.push(letter);
        }
        text
    }

    /// What an app reads from a QR code.
    pub fn address(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let secret = self.text().replace(' ', "");
        let (issuer, account) = (encode(issuer), encode(account));
        let (algorithm, digits) = (self.algorithm.as_str(), self.digits);
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}\
             &algorithm={algorithm}&digits={digits}&period={PERIOD}"
        ))
    }

    /// The time step at this second of the wall clock, by the token's own clock.
    pub fn step_at(&self, secs: u64) -> u64 {
        (secs / PERIOD).saturating_add_signed(self.drift)
    }

    /// The latest step, at most `skew` from that of this second, whose code this is.
    pub fn matching(&self, code: &str, secs: u64, skew: u64) -> Option<u64> {
        let now = self.step_at(secs);
        self.matching_in(code, now.saturating_sub(skew)..=now.saturating_add(skew))
    }

    /// The step of the second of two codes that follow each other. `wide`: the clock that made them
    /// may be off by half an hour.
    pub fn matching_two(
        &self,
        [first, second]: [&str; 2],
        secs: u64,
        skew: u64,
        wide: bool,
    ) -> Option<u64> {
        let reach = if wide { RESYNC_STEPS } else { skew + 1 };
        let now = self.step_at(secs);
        let steps = now.saturating_sub(reach)..=now.saturating_add(reach);
        // By chance the same code may stand for two steps: each is tried.
        let follows = |step: &u64| self.is_code(first, *step) && self.is_code(second, *step + 1);
        steps.rev().find(follows).map(|step| step + 1)
    }

    fn matching_in(&self, code: &str, steps: std::ops::RangeInclusive<u64>) -> Option<u64> {
        steps.rev().fold(None, |found, step| match (found, self.is_code(code, step)) {
            (None, true) => Some(step),
            (found, _) => found,
        })
    }

    /// Is this the code of a step? Compares in constant time.
    fn is_code(&self, code: &str, step: u64) -> bool {
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let right = self.library().generate(step.saturating_mul(PERIOD)).to_string();
        aws_lc_rs::constant_time::verify_slices_are_equal(code.as_bytes(), right.as_bytes()).is_ok()
    }

    /// The code of a step.
    #[cfg(test)]
    pub(crate) fn code(&self, step: u64) -> String {
        self.library().generate(step * PERIOD).to_string()
    }

    /// Steps are counted here: the library is only asked for the code of a step.
    fn library(&self) -> Totp {
        let builder = Builder::new()
            .with_algorithm(self.algorithm.of_library())
            .with_digits(self.digits.clamp(6, 8))
            .with_secret(self.secret())
            .with_skew(0)
            .with_step_duration(PERIOD);
        builder.build_noncompliant()
    }

    fn secret(&self) -> TotpSecret {
        TotpSecret::from(STANDARD.decode(self.seed.as_str()).unwrap_or_default())
    }
}

/// Percent-encodes all but what has no meaning anywhere in an address (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// RFC 6238, appendix B: the seed of each algorithm is as long as its hash.
    #[test]
    fn g06_the_codes_are_those_of_the_standard() {
        let seed = b"1234567890".repeat(7);
        for (secs, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            for (algorithm, length, code) in [
                (Algorithm::Sha1, 20, sha1),
                (Algorithm::Sha256, 32, sha256),
                (Algorithm::Sha512, 64, sha512),
            ] {
                let eight = Seed::new(&seed[..length], algorithm, 8);
                assert_eq!(eight.code(secs / PERIOD), code, "{algorithm:?} at {secs}");
                let six = Seed::new(&seed[..length], algorithm, 6);
                assert_eq!(six.code(secs / PERIOD), code[2..], "{algorithm:?} at {secs}");
            }
        }
    }

    #[test]
    fn g02_only_codes_near_the_present_are_right() {
        let seed = Seed::fresh().unwrap();
        let secs = 1_800_000_015;
        let now = secs / PERIOD;
        for skew in 0..=2 {
            for offset in 0..=6 {
                let step = now + offset - 3;
                let expected = step.abs_diff(now) <= skew;
                let found = seed.matching(&seed.code(step), secs, skew);
                assert_eq!(found.is_some(), expected, "{offset} steps off, {skew} allowed");
                assert!(found.is_none_or(|found| found == step));
            }
        }
        assert_eq!(seed.matching("", secs, 1), None);
        assert_eq!(seed.matching(&format!("+{}", &seed.code(now)[1..]), secs, 1), None);
        let spaced = format!(" {} {} ", &seed.code(now)[..3], &seed.code(now)[3..]);
        assert_eq!(seed.matching(&spaced, secs, 0), Some(now));
    }

    #[test]
    fn two_codes_have_to_follow_each_other() {
        let seed = Seed::fresh().unwrap();
        let secs = 1_800_000_015;
        let now = secs / PERIOD;
        let codes = |a: u64, b: u64| [seed.code(a), seed.code(b)];
        let check = |codes: [String; 2], wide, expected| {
            let codes = [codes[0].as_str(), codes[1].as_str()];
            assert_eq!(seed.matching_two(codes, secs, 1, wide), expected, "{codes:?}");
        };
        check(codes(now - 1, now), false, Some(now));
        check(codes(now, now + 1), false, Some(now + 1));
        check(codes(now, now), false, None);
        check(codes(now, now - 1), false, None);
        check(codes(now - 2, now), false, None);
        check(codes(now - 4, now - 3), false, None);
        check(codes(now - 40, now - 39), true, Some(now - 39));
        check(codes(now + 40, now + 41), true, Some(now + 41));
    }

    #[test]
    fn a_seed_that_was_typed_is_the_one_that_was_shown() {
        let seed = Seed::fresh().unwrap();
        let typed = Seed::from_text(&seed.text().to_lowercase(), Algorithm::Sha1, 6).unwrap();
        assert_eq!(typed.code(1), seed.code(1));
        for wrong in ["", "MZXW6", "1111 1111 1111 1111 1111 1111 1111 1111", &"A".repeat(5000)] {
            assert!(Seed::from_text(wrong, Algorithm::Sha1, 6).is_none(), "{wrong}");
        }
    }

    #[test]
    fn g05_seeds_are_long_random_and_read_by_apps() {
        let seeds: HashSet<_> = (0..1000)
            .map(|_| Seed::fresh().unwrap().address("Example: Ä", "alice/bob").to_string())
            .collect();
        assert_eq!(seeds.len(), 1000);
        for address in seeds {
            let rest =
                address.strip_prefix("otpauth://totp/Example%3A%20%C3%84:alice%2Fbob?secret=");
            let (secret, rest) = rest.unwrap().split_once('&').unwrap();
            assert_eq!(secret.len(), 32, "160 bits");
            assert!(secret.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')));
            assert_eq!(rest, "issuer=Example%3A%20%C3%84&algorithm=SHA1&digits=6&period=30");
        }
    }
}
