//! Addresses as a stranger may see them; and those of names that nobody has.
//!
//! Little of an address is shown, and nothing that many accounts of one gate have in common (a
//! domain, a country's prefix): the masks of names that nobody has could not be like that.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use crate::account::PrincipalRecord;
use crate::account::address::AddressKind;
use crate::account::name::NameKey;

/// A way to a person, as a stranger may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which address.
    pub channel: AddressKind,
    /// What is shown of it.
    pub address: String,
}

/// Makes masks.
pub struct Masks(hmac::Key);

impl Masks {
    /// With a key that is the same after a restart.
    pub(crate) fn new(key: &[u8]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"recovery masks");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// What is shown for a name: the addresses of `found` that can be reached; where there are none,
    /// others that look like it, always the same for this name.
    pub(crate) fn shown(
        &self,
        name: &NameKey,
        found: Option<&PrincipalRecord>,
        can: impl Fn(AddressKind) -> bool,
    ) -> Vec<Shown> {
        // Made in any case, so that both take the same time.
        let made_up = self.made_up(name, &can);
        let shown = AddressKind::ALL.into_iter().filter(|kind| can(*kind)).filter_map(|channel| {
            let address = found.and_then(|record| channel.of(record))?;
            Some(Shown { channel, address: mask(channel, address) })
        });
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() { made_up } else { shown }
    }

    fn made_up(&self, name: &NameKey, can: impl Fn(AddressKind) -> bool) -> Vec<Shown> {
        let text = format!("{}\0{}", name.account, name.sub_user);
        let tag = hmac::sign(&self.0, text.as_bytes());
        let octet = |at: usize| tag.as_ref().get(at).copied().unwrap_or_default();
        let kinds: &[AddressKind] = match octet(0) % 8 {
            0..=3 => &[AddressKind::Phone, AddressKind::Email],
            4..=5 => &[AddressKind::Email],
            6 => &[AddressKind::Phone],
            _ => &AddressKind::ALL,
        };
        let mut kinds: Vec<_> = kinds.iter().copied().filter(|kind| can(*kind)).collect();
        if kinds.is_empty() {
            kinds.extend(AddressKind::ALL.into_iter().find(|kind| can(*kind)));
        }
        // Many people's addresses begin like their names.
        let own = name.account.chars().next().filter(|_| octet(1) < 192);
        let letter = own.unwrap_or_else(|| char::from(b'a' + octet(2) % 26));
        let shown = kinds.into_iter().enumerate().map(|(at, channel)| {
            let address = match channel {
                AddressKind::Phone => phone(&format!("{:02}", octet(3 + at) % 100)),
                AddressKind::Email | AddressKind::SecurityEmail => email(letter),
            };
            Shown { channel, address }
        });
        shown.collect()
    }
}

fn mask(kind: AddressKind, address: &str) -> String {
    match kind {
        AddressKind::Phone => {
            let digits: Vec<_> = address.chars().rev().take(2).collect();
            phone(&digits.into_iter().rev().collect::<String>())
        }
        AddressKind::Email | AddressKind::SecurityEmail => {
            email(address.chars().next().unwrap_or('*').to_ascii_lowercase())
        }
    }
}

fn phone(last: &str) -> String {
    format!("*********{last}")
}

fn email(first: char) -> String {
    format!("{first}***@***")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::tests::record;

    #[test]
    fn j01_masks_say_little_and_names_that_nobody_has_have_them_too() {
        let masks = Masks::new(b"key");
        let mut alice = record("alice");
        alice.phone = Some("+8613800000042".into());
        let shown = masks.shown(&alice.name.key(), Some(&alice), |_| true);
        let shown: Vec<_> = shown.iter().map(|one| one.address.as_str()).collect();
        assert_eq!(shown, ["*********42", "a***@***"]);
        let nobody = |name: &str| masks.shown(&NameKey::of(name, ""), None, |_| true);
        assert_eq!(nobody("mallory"), nobody("Mallory"), "the same however it is spelled");
        let shapes: std::collections::BTreeSet<_> =
            (0..64).map(|number| format!("{:?}", nobody(&format!("name{number}")))).collect();
        assert!(shapes.len() > 16, "names that nobody has are not all alike: {shapes:?}");
        for number in 0..64 {
            let name = NameKey::of(&format!("name{number}"), "");
            let only = masks.shown(&name, None, |kind| kind == AddressKind::Email);
            assert_eq!(only.len(), 1 - usize::from(only.is_empty()), "{only:?}");
            assert!(!only.is_empty() && only[0].channel == AddressKind::Email);
        }
        // Somebody without any address looks like nobody.
        (alice.phone, alice.email) = (None, None);
        let key = alice.name.key();
        assert_eq!(masks.shown(&key, Some(&alice), |_| true), masks.shown(&key, None, |_| true));
    }
}
