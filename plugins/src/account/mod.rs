//! Accounts: who there is.
//!
//! An *account* owns everything; *sub-users* sign in below it on their own form. Whoever can sign
//! in, account or sub-user, is a *principal* with an id, a password, roles and groups. Names are
//! never handed out again: a deleted account keeps its row and its name.
//!
//! - [`address`]: what reaches a person.
//! - [`name`]: how a name is written, and when two names are one.
//! - [`password`]: Argon2id, with a bounded queue.
//! - [`rules`]: what may be a new password.
//!
//! Not here: sessions, and the rows themselves (`store`).

pub mod address;
pub mod name;
pub mod password;
pub mod rules;

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use name::Name;

/// A principal as it is stored, with what it takes from its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalRecord {
    /// Identifies the principal for life: 22 characters of base64url.
    pub id: String,
    /// Identifies its account for life; a main account's own principal has the same id.
    pub account_id: String,
    /// Account name and, for a sub-user, its own.
    pub name: Name,
    /// The name to show.
    pub display_name: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// A telephone number for text messages, in the form of E.164.
    #[serde(default)]
    pub phone: Option<String>,
    /// An e-mail address for what concerns the account's safety, if not the other.
    #[serde(default)]
    pub security_email: Option<String>,
    /// Tag of the language in which it wants to be written to; `None`: it has not said.
    #[serde(default)]
    pub language: Option<String>,
    /// What it may do, in the console's words.
    pub roles: Vec<String>,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// May it sign in? Its own switch; the account's is [`Self::account_state`].
    pub state: State,
    /// The switch of the account, which holds for all its sub-users.
    pub account_state: State,
    /// Idle time of the account's sessions in seconds; `None`: the configuration's.
    pub idle_secs: Option<u64>,
    /// What the account asks of its sign-ins and operations.
    #[serde(default)]
    pub protection: Protection,
    /// Real-name status of the account.
    pub verification: Verification,
    /// When it was made.
    pub created: Timestamp,
    /// Password hash in PHC form. Never leaves the process.
    #[serde(skip)]
    pub password_hash: String,
}

impl PrincipalRecord {
    /// May this principal sign in, as far as its switches say?
    pub fn is_active(&self) -> bool {
        self.state == State::Active && self.account_state == State::Active
    }
}

/// What an account asks of its principals beside their passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// A second factor at every sign-in.
    pub login: bool,
    /// A second factor before operations that a route calls sensitive.
    pub operations: bool,
}

impl Default for Protection {
    fn default() -> Self {
        Self { login: false, operations: true }
    }
}

/// May somebody sign in?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Yes.
    Active,
    /// No, and never again; the name stays taken.
    Deleted,
    /// Not now.
    Disabled,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
            Self::Disabled => "disabled",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Deleted, Self::Disabled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// Real-name status of an account. Another system verifies; this one carries the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// An enterprise was verified.
    Enterprise,
    /// A person was verified.
    Personal,
    /// Nobody was.
    #[default]
    Unverified,
}

impl Verification {
    /// The word for it in claims and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Personal => "personal",
            Self::Unverified => "unverified",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enterprise, Self::Personal, Self::Unverified]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// Whom a request is for: the part of a record that requests need, with the values of the plain
/// identity fields ready made. It does not change; a change of the record makes another one.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    /// Identifies it for life.
    pub id: String,
    /// Account name and, for a sub-user, its own.
    pub name: Name,
    /// The name to show.
    pub display_name: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// What it may do.
    pub roles: Vec<String>,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// Real-name status.
    pub verification: Verification,
    /// Does its account ask for a second factor before sensitive operations?
    pub protects_operations: bool,
    /// Idle time of its account; `None`: the configuration's.
    pub idle: Option<Duration>,
    /// What the console reads in plain fields.
    pub fields: PlainFields,
}

/// Values of the plain identity fields; `None`: there is nothing to say.
#[derive(Debug, PartialEq, Eq)]
pub struct PlainFields {
    pub(crate) user: Option<HeaderValue>,
    pub(crate) name: Option<HeaderValue>,
    pub(crate) email: Option<HeaderValue>,
    pub(crate) groups: Option<HeaderValue>,
    pub(crate) roles: Option<HeaderValue>,
}

impl From<&PrincipalRecord> for Principal {
    fn from(record: &PrincipalRecord) -> Self {
        let text = |text: &Option<String>| text.as_deref().and_then(|text| field_value([text]));
        let list = |names: &[String]| field_value(names.iter().map(String::as_str));
        Self {
            id: record.id.clone(),
            name: record.name.clone(),
            display_name: record.display_name.clone(),
            email: record.email.clone(),
            roles: record.roles.clone(),
            groups: record.groups.clone(),
            verification: record.verification,
            protects_operations: record.protection.operations,
            idle: record.idle_secs.map(Duration::from_secs),
            fields: PlainFields {
                user: field_value([record.name.to_string().as_str()]),
                name: text(&record.display_name),
                email: text(&record.email),
                groups: list(&record.groups),
                roles: list(&record.roles),
            },
        }
    }
}

/// Writes `items` as one field value with commas between them.
///
/// Printable ASCII stays as it is, but for `%` and `,`; everything else is percent-encoded UTF-8
/// (RFC 3986 §2.1). So no name can end the field, or be taken for two names, and every backend can
/// undo it with the function it has for URLs. `None` for no items.
fn field_value<'t>(items: impl IntoIterator<Item = &'t str>) -> Option<HeaderValue> {
    let mut value = String::new();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            value.push(',');
        }
        for byte in item.bytes() {
            match byte {
                b'%' | b',' | ..=0x1f | 0x7f.. => {
                    // Writing to a String cannot fail.
                    let _ = write!(value, "%{byte:02X}");
                }
                plain => value.push(char::from(plain)),
            }
        }
    }
    if value.is_empty() { None } else { HeaderValue::try_from(value).ok() }
}

/// A fresh id: 128 random bits as 22 characters of base64url.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn fresh_id() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Is this an e-mail address that could exist? One `@`, a local part, and a domain; no display
/// name, no comments (RFC 5321 §4.1.2, without quoted local parts).
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |c: char| {
        !c.is_control() && !c.is_whitespace() && !matches!(c, '@' | '<' | '>' | ',' | ';' | '"')
    };
    text.len() <= 254
        && !local.is_empty()
        && domain.contains('.')
        && text.replacen('@', "", 1).chars().all(plain)
}

/// Is this a telephone number in the form of ITU-T E.164: a plus, and at most 15 digits?
pub fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (8..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of the main account `name`: in the group "staff", with the role "owner".
    pub(crate) fn record(name: &str) -> PrincipalRecord {
        PrincipalRecord {
            id: format!("id-of-{name}"),
            account_id: format!("id-of-{name}"),
            name: Name::parse(name).unwrap(),
            display_name: Some("Alice Ä.".into()),
            email: Some("alice@example.com".into()),
            phone: None,
            security_email: None,
            language: None,
            protection: Protection::default(),
            roles: vec!["owner".into()],
            groups: vec!["staff".into(), "a,b".into()],
            state: State::Active,
            account_state: State::Active,
            idle_secs: None,
            verification: Verification::Unverified,
            created: Timestamp(1_700_000_000_000),
            password_hash: "never".into(),
        }
    }

    pub(crate) fn principal(name: &str) -> Principal {
        Principal::from(&record(name))
    }

    #[test]
    fn a13_no_name_can_bend_a_field() {
        let fields = principal("alice").fields;
        assert_eq!(fields.user.unwrap(), "alice");
        assert_eq!(fields.name.unwrap(), "Alice %C3%84.");
        assert_eq!(fields.groups.unwrap(), "staff,a%2Cb");
        assert_eq!(
            field_value(["a\r\nSet-Cookie: x\0", "😀\u{202e}"]).unwrap(),
            "a%0D%0ASet-Cookie: x%00,%F0%9F%98%80%E2%80%AE"
        );
        assert_eq!(field_value([]), None);
    }

    #[test]
    fn password_hashes_are_never_serialised() {
        assert!(!serde_json::to_string(&record("alice")).unwrap().contains("never"));
    }

    #[test]
    fn addresses_have_one_at_sign() {
        assert!(is_email("a.b+c@example.com"));
        for wrong in ["a@evil@corp.com", "a", "@b.c", "a@b", "A <a@b.c>", "a@b.c\r\nBcc: d@e.f", ""]
        {
            assert!(!is_email(wrong), "{wrong}");
        }
    }
}
