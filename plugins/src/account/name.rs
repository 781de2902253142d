//! Names: `account`, or `account/sub-user`.
//!
//! What a person types is compared in one form only, so that no spelling of a name (case, Unicode
//! form, spaces around it) is another account, or another counter of wrong passwords.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;

/// The most characters that a name may have.
const CHARS_MAX: usize = 64;

/// A name as it was chosen, with the form in which it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    account: String,
    sub_user: Option<String>,
}

/// The form of a name in which it is compared and looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameKey {
    /// Of the account.
    pub account: String,
    /// Of the sub-user; empty for the account itself.
    pub sub_user: String,
}

impl Name {
    /// Reads `account` or `account/sub-user`.
    ///
    /// # Errors
    /// What to tell the person who chose it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            None => Self::new(text, None),
            Some((account, sub_user)) => Self::new(account, Some(sub_user)),
        }
    }

    /// A name of these parts.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn new(account: &str, sub_user: Option<&str>) -> Result<Self, String> {
        let part = |text: &str| -> Result<String, String> {
            let text: String = text.trim().nfc().collect();
            let fits = (1..=CHARS_MAX).contains(&text.chars().count());
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
            if fits && text.chars().all(plain) {
                Ok(text)
            } else {
                Err(format!(
                    "{text:?} is not a name: use 1 to {CHARS_MAX} letters, digits and . _ - @ +"
                ))
            }
        };
        Ok(Self { account: part(account)?, sub_user: sub_user.map(part).transpose()? })
    }

    /// Of the account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Of the sub-user; `None` for the account itself.
    pub fn sub_user(&self) -> Option<&str> {
        self.sub_user.as_deref()
    }

    /// The form in which it is compared.
    pub fn key(&self) -> NameKey {
        NameKey::of(&self.account, self.sub_user.as_deref().unwrap_or_default())
    }
}

impl NameKey {
    /// The key of what somebody typed, which need not be a name that can exist. A sub-user may be
    /// typed into the account's field: `account/sub-user`.
    pub fn of(account: &str, sub_user: &str) -> Self {
        let (account, sub_user) = match account.split_once('/') {
            Some(parts) if sub_user.trim().is_empty() => parts,
            _ => (account, sub_user),
        };
        Self { account: fold(account), sub_user: fold(sub_user) }
    }
}

/// NFKC, lower case, no space around it. Folding twice settles letters whose lower case has
/// another compatibility form.
fn fold(text: &str) -> String {
    let once = |text: &str| text.nfkc().flat_map(char::to_lowercase).collect::<String>();
    once(&once(text.trim())).trim().to_owned()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.account)?;
        match &self.sub_user {
            Some(sub_user) => write!(f, "/{sub_user}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_key() {
        let key = Name::parse("Bob").unwrap().key();
        for spelling in ["bob", "BOB", " bob ", "\u{ff42}ob", "\tBoB\n"] {
            assert_eq!(NameKey::of(spelling, ""), key, "{spelling:?}");
        }
        assert_eq!(NameKey::of("Zoe\u{308}", ""), NameKey::of("zo\u{eb}", ""));
        assert_ne!(NameKey::of("bob", "x"), key);
    }

    #[test]
    fn a13_names_have_no_separators_or_controls() {
        assert_eq!(Name::parse("acme/dev-1").unwrap().to_string(), "acme/dev-1");
        for wrong in [
            "",
            "a b",
            "a/",
            "/b",
            "a/b/c",
            "a\r\nb",
            "a,b",
            "a;b",
            "a\"b",
            "😀",
            "a\u{202e}b",
            "a\0",
        ] {
            assert!(Name::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Name::parse(&"x".repeat(64)).is_ok() && Name::parse(&"x".repeat(65)).is_err());
    }
}
