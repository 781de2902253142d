//! Rules for new passwords (NIST SP 800-63B-4 §3.1.1.2): how long, and none that attackers try first.
//!
//! Nothing is said about which characters to use, and nobody has to change a password because time
//! has passed. What is refused is refused with its reason:
//!
//! - `common`: frequent passwords, and repetition.
//! - `context`: the words of the service and of the account.
//! - [`breach_list`]: passwords that were found in breaches, if the operator has a list of them.
//! - `breach_api`: the same, asked of a service that does not learn the password.
//!
//! Not here: passwords that exist. They are verified as they are, whatever the rules say now.

mod breach_api;
pub mod breach_list;
mod common;
mod context;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};

use doorward_config::{BreachApi, GatewayConfig, Secret};
use unicode_normalization::UnicodeNormalization;

use super::PrincipalRecord;
use super::password::BYTES_MAX;
use crate::outgoing::Outgoing;
use breach_list::{BreachList, BreachListError};

/// What is wrong with a new password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// It was found in a breach.
    #[error(
        "the password was found in a breach of another service: attackers try it; choose another one"
    )]
    Breached,
    /// It is a frequent password.
    #[error(
        "the password is one of those that attackers try first: choose one that nobody else has"
    )]
    Common,
    /// It is little more than this word.
    #[error(
        "the password is little more than {0:?}, which attackers try first: add words that have nothing to do with the account or the service"
    )]
    Context(String),
    /// It is a piece that is said again and again.
    #[error("the password repeats itself: choose one that does not")]
    Repeated,
    /// It has more than so many bytes.
    #[error("the password is too long: use at most {most} bytes")]
    TooLong {
        /// The most that are allowed.
        most: usize,
    },
    /// It has fewer than so many characters.
    #[error("the password is too short: use at least {least} characters")]
    TooShort {
        /// The fewest that are allowed.
        least: usize,
    },
}

/// Why a new password was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The person should choose another one.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// Nothing is known about the password, because a list or a service cannot be asked.
    #[error("cannot tell whether the password was found in a breach: {0}; try again later")]
    Unavailable(String),
}

/// Decides about new passwords.
pub struct PasswordRules {
    length_min: usize,
    service_words: BTreeSet<String>,
    breach_list: Option<Arc<BreachList>>,
    breach_api: Option<BreachApi>,
    /// Asks the service. Until there is one, no password is good.
    outgoing: OnceLock<Arc<dyn Outgoing>>,
}

impl PasswordRules {
    /// Prepares the rules of a gate, and opens its breach list.
    ///
    /// # Errors
    /// [`BreachListError`] when the list cannot be used.
    pub fn open(config: &GatewayConfig) -> Result<Self, BreachListError> {
        let file = config.accounts.breach_list.as_deref();
        Ok(Self {
            length_min: config.accounts.password_length_min,
            service_words: context::service_words(&config.public_url.host),
            breach_list: file.map(BreachList::open).transpose()?.map(Arc::new),
            breach_api: config.accounts.breach_api.clone(),
            outgoing: OnceLock::new(),
        })
    }

    /// Says how services are asked; the first one counts.
    pub fn connect(&self, outgoing: Arc<dyn Outgoing>) {
        let _ = self.outgoing.set(outgoing);
    }

    /// May this be the new password of that account? Length is counted in characters, in the form in
    /// which the password is hashed.
    ///
    /// # Errors
    /// [`RuleError`]; the password must not be set then.
    pub async fn verify_new(
        &self,
        password: &Secret,
        about: &PrincipalRecord,
    ) -> Result<(), RuleError> {
        let normal = Secret::new(password.expose().nfc().collect());
        self.verify_form(normal.expose(), about)?;
        let found = self.is_listed(&normal).await.map_err(|error| {
            RuleError::Unavailable(format!("the breach list cannot be read: {error}"))
        })?;
        if found || self.is_known_to_service(&normal).await? {
            return Err(Weakness::Breached.into());
        }
        Ok(())
    }

    async fn is_listed(&self, normal: &Secret) -> io::Result<bool> {
        let Some(list) = self.breach_list.clone() else { return Ok(false) };
        let normal = normal.clone();
        let found = tokio::task::spawn_blocking(move || list.contains(normal.expose()));
        found.await.map_err(io::Error::other)?
    }

    async fn is_known_to_service(&self, normal: &Secret) -> Result<bool, RuleError> {
        let Some(api) = &self.breach_api else { return Ok(false) };
        let Some(outgoing) = self.outgoing.get() else {
            return Err(RuleError::Unavailable("there is nobody to ask the service".into()));
        };
        match breach_api::contains(api, normal.expose(), &**outgoing).await {
            Ok(found) => Ok(found),
            Err(error) => {
                tracing::error!(event = "breach_api_failed", service = %api.url, %error, accepted = api.accept_when_down);
                if api.accept_when_down {
                    Ok(false)
                } else {
                    Err(RuleError::Unavailable(error.to_string()))
                }
            }
        }
    }

    fn verify_form(&self, normal: &str, about: &PrincipalRecord) -> Result<(), Weakness> {
        if normal.chars().count() < self.length_min {
            return Err(Weakness::TooShort { least: self.length_min });
        }
        if normal.len() > BYTES_MAX {
            return Err(Weakness::TooLong { most: BYTES_MAX });
        }
        let folded = Secret::new(fold(normal));
        if common::is_common(folded.expose()) {
            return Err(Weakness::Common);
        }
        if common::is_repeated(folded.expose()) {
            return Err(Weakness::Repeated);
        }
        match context::find_word(folded.expose(), &self.service_words, about) {
            Some(word) => Err(Weakness::Context(word)),
            None => Ok(()),
        }
    }
}

/// The form in which passwords and words are compared: lower case, NFC.
fn fold(text: &str) -> String {
    text.to_lowercase().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::tests::record;
    use crate::context::tests::config;

    fn judged(length_min: usize, password: &str) -> Result<(), Weakness> {
        let config = config(&format!("[accounts]\npassword_length_min = {length_min}"));
        let rules = PasswordRules::open(&config).unwrap();
        rules.verify_form(&password.nfc().collect::<String>(), &record("alice"))
    }

    #[test]
    fn f13_characters_are_counted_after_composition_and_bytes_have_a_limit() {
        let short = |least| Err(Weakness::TooShort { least });
        assert_eq!(judged(8, "😀🙈🎈🐧🍕🚲🌍🔑"), Ok(()));
        assert_eq!(judged(8, "😀🙈🎈🐧🍕🚲🌍"), short(8));
        assert_eq!(judged(15, "fourteen lette"), short(15));
        assert_eq!(judged(15, "fifteen letters"), Ok(()));
        assert_eq!(judged(15, "fiftee\u{308}n letter"), short(15), "e and its dots are one");
        assert_eq!(judged(15, "   tea for two "), Ok(()), "spaces count as they stand");
        let long: String = (0..4096).map(|at| char::from(b'a' + (at * at % 23) as u8)).collect();
        assert_eq!(judged(15, &long), Ok(()));
        assert_eq!(judged(15, &format!("{long}x")), Err(Weakness::TooLong { most: 4096 }));
    }

    #[test]
    fn f14_nothing_is_said_about_which_characters() {
        for password in ["just lower case letters", "ONLY CAPITALS HERE", "7302 9914 5582 0461"] {
            assert_eq!(judged(15, password), Ok(()), "{password}");
        }
    }

    #[test]
    fn f15_each_reason_is_told() {
        for (password, weakness) in [
            ("1Q2W3E4R5T6Y7U8I9O0P", Weakness::Common),
            ("PasswordPassword", Weakness::Repeated),
            ("Alice 2026 2026 2026", Weakness::Context("alice".into())),
            ("Console-12345678", Weakness::Context("console".into())),
        ] {
            assert_eq!(judged(15, password), Err(weakness), "{password}");
        }
        assert_eq!(judged(8, "trustno1trustno2"), Ok(()));
        assert_eq!(judged(8, "Sunshine"), Err(Weakness::Common));
    }
}
