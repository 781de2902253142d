//! A message: what is asked for, how it waits, and what may come of it.

use doorward_certs::vault::Vault;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::language::Language;

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// E-mail.
    Email,
    /// Text message to a phone.
    TextMessage,
    /// To the operators' service.
    Webhook,
}

impl Channel {
    /// Its name in the store and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::TextMessage => "text_message",
            Self::Webhook => "webhook",
        }
    }
}

/// A message that somebody wants to be sent.
pub struct Message {
    /// By which way.
    pub channel: Channel,
    /// What it is, such as `code_sign_in` or `alert_new_device`.
    pub kind: String,
    /// What it says.
    pub body: Body,
    /// Not sent from then on; `None`: as the configuration says.
    pub expires: Option<Timestamp>,
    /// Names what it is about: of one name, one message of a kind goes to each place. `None`: it is
    /// about nothing that could be told twice.
    pub once: Option<String>,
}

/// What a message says. It has no `Debug`, as it may hold a code.
#[derive(Serialize, Deserialize)]
pub struct Body {
    /// An address or a phone number; empty for operators.
    pub to: String,
    /// In which language it is: a tag (RFC 5646).
    pub language: String,
    /// In one line, what it is about.
    pub subject: String,
    /// The whole text.
    pub text: String,
    /// The code in it, for services that fill in templates of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What programs may want to know. Never a secret.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub facts: serde_json::Map<String, serde_json::Value>,
}

impl Body {
    /// A body with a text alone.
    pub fn new(to: &str, language: Language, subject: String, text: String) -> Self {
        let (to, language) = (to.to_owned(), language.code().to_owned());
        Self { to, language, subject, text, code: None, facts: serde_json::Map::new() }
    }

    /// As it waits in the store: encrypted, as it may hold a code, and bound to its message.
    pub(super) fn seal(&self, vault: &Vault, id: &str) -> Option<Vec<u8>> {
        let text = Zeroizing::new(serde_json::to_vec(self).ok()?);
        vault.seal(&place(id), &text).ok()
    }

    pub(super) fn unseal(vault: &Vault, id: &str, sealed: &[u8]) -> Option<Self> {
        serde_json::from_slice(&vault.unseal(&place(id), sealed).ok()?).ok()
    }
}

fn place(id: &str) -> String {
    format!("message/{id}")
}

/// A message as it enters the store.
#[derive(Debug)]
pub struct Waiting {
    /// Names it for ever, also to who receives it.
    pub id: String,
    /// By which way it goes.
    pub channel: Channel,
    /// What it is.
    pub kind: String,
    /// What it says, encrypted.
    pub body: Vec<u8>,
    /// When it may be tried.
    pub due: Timestamp,
    /// Not sent from then on.
    pub expires: Timestamp,
}

/// A message that somebody is about to try to send.
#[derive(Debug)]
pub struct Claimed {
    /// Names it.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// Which try this is, from 1.
    pub tries: u32,
    /// What it says, encrypted.
    pub body: Vec<u8>,
    /// Not sent from then on.
    pub expires: Timestamp,
}

/// A message that will not be sent any more.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Names it.
    pub id: String,
    /// What it was.
    pub kind: String,
    /// Was it handed over by a gate that then vanished?
    pub perhaps_sent: bool,
}

/// What a look at the store gives.
#[derive(Debug, Default)]
pub struct Due {
    /// Messages that it is too late for.
    pub given_up: Vec<GivenUp>,
    /// Messages to send now.
    pub claimed: Vec<Claimed>,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted.
    Sent,
    /// It was not accepted, and is not tried again.
    Failed,
    /// It may have been accepted, and is not tried again.
    Unclear,
    /// It was not accepted, and is tried again at this time.
    Retry(Timestamp),
}

impl Outcome {
    /// Its name in the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unclear => "unclear",
            Self::Retry(_) => "waiting",
        }
    }
}
