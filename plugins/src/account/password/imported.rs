//! Password hashes that another system made, until their owners sign in.
//!
//! bcrypt in its own form; scrypt, PBKDF2 and Argon2id in the PHC string form. They are kept with a
//! prefix, so that one is never taken for a hash of ours: it has no pepper in it.
//!
//! A hash whose verification costs more than a bound is refused when it is imported, so that no
//! sign-in takes seconds, or memory that others need. One that costs less than ours is made as
//! expensive (see `spend_the_rest`); one that costs more answers later until its owner has signed
//! in, which tells who has not.
//!
//! bcrypt looks at 72 bytes and stops at a zero byte. So a password of 72 bytes or more, or with a
//! zero byte, never matches a bcrypt hash, whatever the other system did with it: whoever has one
//! needs a new password.

use std::num::NonZeroU32;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::pbkdf2;
use bcrypt::HashParts;

/// Before an imported hash in the store.
const PREFIX: &str = "imported:";

/// The most KiB that verifying may take.
const MEMORY_KIB_MAX: u64 = 128 << 10;

/// The most that verifying may cost, in KiB of Argon2 memory times passes: about a second.
const COST_MAX: u64 = 1 << 20;

/// What a round of bcrypt costs in the same measure; how many blocks of scrypt, and rounds of PBKDF2
/// with SHA-256, cost as much as one KiB. Measured, and rounded down; a round of PBKDF2 with SHA-512
/// costs as much as a KiB.
const BCRYPT_ROUND_COST: u64 = 64;
const SCRYPT_BLOCKS_A_KIB: u64 = 2;
const PBKDF2_SHA256_ROUNDS_A_KIB: u64 = 2;

/// A hash that another system made.
pub struct ImportedHash {
    text: String,
    kind: Kind,
}

enum Kind {
    Argon2id { params: Params, salt: Salt, hash: Output },
    Bcrypt { cost: u32 },
    Pbkdf2 { algorithm: pbkdf2::Algorithm, rounds: NonZeroU32, salt: Salt, hash: Output },
    Scrypt { params: scrypt::Params, blocks: u64, salt: Salt, hash: Output },
}

impl ImportedHash {
    /// Reads a hash as the other system wrote it.
    ///
    /// # Errors
    /// What to tell the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = match text.get(..4) {
            Some("$2a$" | "$2b$" | "$2y$") => parse_bcrypt(text)?,
            _ => parse_phc(text)?,
        };
        let hash = Self { text: text.to_owned(), kind };
        if hash.cost() > COST_MAX || hash.memory_kib() > MEMORY_KIB_MAX {
            return Err("the password hash costs too much: verifying it could take seconds, or more than 128 MiB".into());
        }
        Ok(hash)
    }

    /// Reads what [`Self::to_stored`] wrote; `None` for any other hash.
    pub(super) fn stored(text: &str) -> Option<Self> {
        Self::parse(text.strip_prefix(PREFIX)?).ok()
    }

    /// How it is kept.
    pub fn to_stored(&self) -> String {
        format!("{PREFIX}{}", self.text)
    }

    /// What verifying costs, in KiB of Argon2 memory times passes.
    pub(super) fn cost(&self) -> u64 {
        match &self.kind {
            Kind::Argon2id { params, .. } => super::cost(params),
            Kind::Bcrypt { cost } => BCRYPT_ROUND_COST.saturating_mul(1 << (*cost).min(31)),
            Kind::Pbkdf2 { algorithm, rounds, .. } => {
                let short = *algorithm == pbkdf2::PBKDF2_HMAC_SHA256;
                u64::from(rounds.get()) / if short { PBKDF2_SHA256_ROUNDS_A_KIB } else { 1 }
            }
            Kind::Scrypt { blocks, .. } => blocks / SCRYPT_BLOCKS_A_KIB,
        }
    }

    fn memory_kib(&self) -> u64 {
        match &self.kind {
            Kind::Argon2id { params, .. } => u64::from(params.m_cost()),
            // A block has 128 bytes; with several lanes this is more than what is needed.
            Kind::Scrypt { blocks, .. } => blocks / 8,
            Kind::Bcrypt { .. } | Kind::Pbkdf2 { .. } => 0,
        }
    }

    /// Is it of this password? The comparison takes constant time.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match &self.kind {
            Kind::Argon2id { params, salt, hash } => {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                equals(hash, |out| argon2.hash_password_into(password, salt, out).is_ok())
            }
            Kind::Bcrypt { .. } => {
                let right = bcrypt::non_truncating_verify(password, &self.text);
                !password.contains(&0) && right.unwrap_or(false)
            }
            Kind::Pbkdf2 { algorithm, rounds, salt, hash } => {
                pbkdf2::verify(*algorithm, *rounds, salt, password, hash.as_bytes()).is_ok()
            }
            Kind::Scrypt { params, salt, hash, .. } => {
                equals(hash, |out| scrypt::scrypt(password, salt, params, out).is_ok())
            }
        }
    }
}

fn equals(hash: &Output, derive: impl FnOnce(&mut [u8]) -> bool) -> bool {
    let mut derived = vec![0; hash.len()];
    derive(&mut derived) && verify_slices_are_equal(&derived, hash.as_bytes()).is_ok()
}

fn parse_bcrypt(text: &str) -> Result<Kind, String> {
    match text.parse::<HashParts>() {
        Ok(parts) if (4..=31).contains(&parts.get_cost()) => {
            Ok(Kind::Bcrypt { cost: parts.get_cost() })
        }
        _ => Err("the password hash begins like one of bcrypt, and is none".into()),
    }
}

fn parse_phc(text: &str) -> Result<Kind, String> {
    let unusable = || {
        "the password hash is none of bcrypt ($2a$, $2b$, $2y$), Argon2id, scrypt, PBKDF2-SHA256 or PBKDF2-SHA512 in the PHC string form".to_owned()
    };
    let phc = PasswordHash::new(text).map_err(|_| unusable())?;
    let (Some(salt), Some(hash)) = (phc.salt, phc.hash) else { return Err(unusable()) };
    if hash.len() < 16 {
        return Err("the password hash is cut short: it has fewer than 16 bytes".into());
    }
    let names: Vec<_> = phc.params.iter().map(|(name, _)| name.to_string()).collect();
    let number = |name: &str| phc.params.get_decimal(name).ok_or_else(unusable);
    match (phc.algorithm.as_str(), &names.iter().map(String::as_str).collect::<Vec<_>>()[..]) {
        ("argon2id", ["m", "t", "p"]) if phc.version == Some(0x13) => {
            let params = Params::try_from(&phc).map_err(|_| unusable())?;
            Ok(Kind::Argon2id { params, salt, hash })
        }
        ("scrypt", ["ln", "r", "p"]) if phc.version.is_none() => {
            let (log_n, r, p) = (number("ln")?, number("r")?, number("p")?);
            let log_n = u8::try_from(log_n).ok().filter(|log_n| (1..=31).contains(log_n));
            let log_n = log_n.ok_or_else(unusable)?;
            // Multiplied in a type that they cannot overflow; the library multiplies r by p.
            let blocks = (u128::from(r) * u128::from(p)) << log_n;
            let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
            let too_much = "the password hash costs too much: its scrypt parameters are too large";
            if r >= 1 << 15 || p >= 1 << 15 {
                return Err(too_much.into());
            }
            let params = scrypt::Params::new(log_n, r, p).map_err(|_| too_much)?;
            Ok(Kind::Scrypt { params, blocks, salt, hash })
        }
        ("pbkdf2-sha256" | "pbkdf2-sha512", ["i"] | ["i", "l"]) if phc.version.is_none() => {
            let (algorithm, longest) = match phc.algorithm.as_str() {
                "pbkdf2-sha256" => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
                _ => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
            };
            let written = phc.params.get_decimal("l").map_or(Ok(hash.len()), usize::try_from);
            // Each further block of output would cost all rounds again, and protect nothing.
            if hash.len() > longest || written != Ok(hash.len()) {
                return Err(unusable());
            }
            let rounds = NonZeroU32::new(number("i")?).ok_or_else(unusable)?;
            Ok(Kind::Pbkdf2 { algorithm, rounds, salt, hash })
        }
        _ => Err(unusable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "another long password";

    // Made by other implementations: libxcrypt, and OpenSSL by way of Python's hashlib.
    const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuH6/zIUWbFEy/xe9yziNIWiAihv8O2m6";
    const SCRYPT: &str =
        "$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$Ga2D7MJ1i2vlPlA6Tu1UhihNz7uTIbu21sHJE0ByQeE";
    const PBKDF2_SHA256: &str =
        "$pbkdf2-sha256$i=1000$MDEyMzQ1Njc4OWFiY2RlZg$hVIjttf9obiHsVdDorRd6FVVRALUuDAa7tcrlI+ym+4";
    const PBKDF2_SHA512: &str = "$pbkdf2-sha512$i=1000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$PtFaTAo64FrVRGOR3fpIP4d8CcBwh+ZJfTxde46lDCk0gJeHHD2qki5FqFxGGrnDTfSrFeoK2JA/YO/I3jzDOA";

    fn refusal(text: &str) -> String {
        match ImportedHash::parse(text) {
            Ok(_) => panic!("{text} was accepted"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn f18_hashes_of_other_systems_are_verified_as_they_are() {
        for text in [
            BCRYPT.into(),
            BCRYPT.replace("2b", "2a"),
            BCRYPT.replace("2b", "2y"),
            SCRYPT.into(),
            PBKDF2_SHA256.into(),
            PBKDF2_SHA512.into(),
        ] {
            let hash = ImportedHash::parse(&text).unwrap();
            let stored = ImportedHash::stored(&hash.to_stored()).unwrap();
            assert!(stored.verify(PASSWORD.as_bytes()), "{text}");
            for wrong in ["", "another long passworc", "another long password "] {
                assert!(!stored.verify(wrong.as_bytes()), "{text}: {wrong}");
            }
            assert!(ImportedHash::stored(&text).is_none(), "one of ours is not taken for imported");
        }
    }

    #[test]
    fn f13_bcrypt_matches_no_password_of_which_it_saw_a_part() {
        let (salt, long) = ([7; 16], "x".repeat(80));
        for (password, matches) in [(&long[..71], true), (&long[..72], false), (&long, false)] {
            let hash = bcrypt::hash_with_salt(password, 4, salt).unwrap().to_string();
            let hash = ImportedHash::parse(&hash).unwrap();
            assert_eq!(hash.verify(password.as_bytes()), matches, "{}", password.len());
            assert!(!hash.verify(format!("{long}y").as_bytes()));
        }
        let hash = bcrypt::hash_with_salt("again", 4, salt).unwrap().to_string();
        let hash = ImportedHash::parse(&hash).unwrap();
        assert!(hash.verify(b"again") && !hash.verify(b"again\0again"));
    }

    #[test]
    fn f20_a_hash_that_would_take_seconds_is_not_imported() {
        let salt_and_hash = SCRYPT.split_once("p=1").unwrap().1;
        for text in [
            BCRYPT.replace("$04$", "$15$"),
            BCRYPT.replace("$04$", "$31$"),
            format!("$scrypt$ln=18,r=8,p=1{salt_and_hash}"),
            format!("$scrypt$ln=17,r=8,p=3{salt_and_hash}"),
            format!("$scrypt$ln=31,r=4294967295,p=4294967295{salt_and_hash}"),
            PBKDF2_SHA256.replace("1000", "2200000"),
            PBKDF2_SHA512.replace("1000", "4294967295"),
            format!("$argon2id$v=19$m=262144,t=1,p=1{salt_and_hash}"),
            format!("$argon2id$v=19$m=65536,t=17,p=1{salt_and_hash}"),
        ] {
            assert!(refusal(&text).contains("costs too much"), "{text}");
        }
        // What is recommended today is below the bound.
        for text in [
            BCRYPT.replace("$04$", "$14$"),
            format!("$scrypt$ln=17,r=8,p=1{salt_and_hash}"),
            PBKDF2_SHA256.replace("1000", "1000000"),
            PBKDF2_SHA512.replace("1000", "600000"),
            format!("$argon2id$v=19$m=65536,t=3,p=4{salt_and_hash}"),
        ] {
            assert!(ImportedHash::parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn f18_what_is_not_understood_is_not_imported() {
        let salt_and_hash = SCRYPT.split_once("p=1").unwrap().1;
        for text in [
            "".into(),
            "correct horse battery staple".into(),
            "5f4dcc3b5aa765d61d8327deb882cf99".into(),
            BCRYPT.replace("2b", "2x"),
            BCRYPT.replace("$04$", "$03$"),
            BCRYPT[..59].into(),
            format!("$argon2i$v=19$m=65536,t=3,p=4{salt_and_hash}"),
            format!("$argon2id$v=16$m=65536,t=3,p=4{salt_and_hash}"),
            format!("$scrypt$ln=0,r=8,p=1{salt_and_hash}"),
            format!("$scrypt$ln=4,r=0,p=1{salt_and_hash}"),
            format!("$scrypt$ln=260,r=8,p=1{salt_and_hash}"),
            format!("$scrypt$ln=4,r=8{salt_and_hash}"),
            SCRYPT.rsplit_once('$').unwrap().0.into(),
            PBKDF2_SHA256.replace("1000", "0"),
            PBKDF2_SHA256.replace("i=1000", "i=1000,l=16"),
            PBKDF2_SHA256.replace("sha256", "sha1"),
            PBKDF2_SHA512.replace("sha512", "sha256"),
            PBKDF2_SHA256[..70].into(),
        ] {
            assert!(!refusal(&text).is_empty(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn f18_no_text_is_too_strange(text in "(\\$[0-9a-z=,./+A-Z]{0,30}){0,6}|\\PC{0,80}") {
            if let Ok(hash) = ImportedHash::parse(&text) {
                assert!(hash.cost() <= COST_MAX);
            }
        }
    }
}
