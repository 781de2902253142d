//! The addresses that reach a person, and are a part of who they are.

use serde::{Deserialize, Serialize};

use super::{PrincipalRecord, is_phone};
use crate::code::{Destination, Purpose};

/// One of a person's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// The telephone, by text messages.
    Phone,
    /// The e-mail address.
    Email,
    /// The e-mail address for what concerns the account's safety.
    SecurityEmail,
}

impl AddressKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Phone, Self::Email, Self::SecurityEmail];

    /// The word for it in forms, documents and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
            Self::SecurityEmail => "security-email",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The one that somebody has.
    pub fn of(self, record: &PrincipalRecord) -> Option<&str> {
        match self {
            Self::Phone => record.phone.as_deref(),
            Self::Email => record.email.as_deref(),
            Self::SecurityEmail => record.security_email.as_deref(),
        }
    }

    /// Writes another one into `record`.
    pub(crate) fn set(self, record: &mut PrincipalRecord, address: Option<String>) {
        match self {
            Self::Phone => record.phone = address,
            Self::Email => record.email = address,
            Self::SecurityEmail => record.security_email = address,
        }
    }

    /// What somebody typed, if it is an address of this kind. Numbers may be in groups.
    pub fn read(self, typed: &str) -> Option<Destination> {
        let typed = typed.trim();
        match self {
            Self::Email | Self::SecurityEmail => Destination::email(typed),
            Self::Phone => {
                let grouping = |c: char| c.is_whitespace() || matches!(c, '-' | '(' | ')');
                let number = typed.replace(grouping, "");
                is_phone(&number).then(|| Destination::phone(&number)).flatten()
            }
        }
    }

    /// What a code is for that proves a new one.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Phone => Purpose::BindPhone,
            Self::Email | Self::SecurityEmail => Purpose::ConfirmEmail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read_and_what_is_no_address_is_not() {
        let read = |kind: AddressKind, text| kind.read(text).map(|to| to.as_str().to_owned());
        let phone = "+8613800000001";
        assert_eq!(read(AddressKind::Phone, " +86 138-0000 0001").as_deref(), Some(phone));
        for wrong in ["13800000001", "+86", "+0861380000000", "a@example.com", ""] {
            assert_eq!(read(AddressKind::Phone, wrong), None, "{wrong}");
        }
        assert_eq!(read(AddressKind::Email, " a@b.example ").as_deref(), Some("a@b.example"));
        assert_eq!(read(AddressKind::SecurityEmail, phone), None);
        for kind in AddressKind::ALL {
            assert_eq!(AddressKind::parse(kind.as_str()), Some(kind));
        }
    }
}
