//! Sessions: who is signed in, since when, proven how.
//!
//! Room 3 of the request path. [`FindSession`] finds the session that a request's cookie names,
//! notes activity and takes the cookie out; it never refuses.
//!
//! - [`token`]: what the cookie carries, and the form in which it is kept.
//! - [`cookie`]: reading and writing the `Cookie` field.
//! - `one`: a session, and the state machine of its life.
//! - `table`, `texts`: sessions by their hash, and what many of them say.
//! - [`live`]: the sessions in memory, found and written behind to the store.
//! - `expiry`: how sessions end by themselves.
//! - `shared`: the same as a copy of what several gates share.
//! - `unread`: what it has heard, and cannot believe before it has read more.
//!
//! Not here: what a route demands (`access`), and how a session begins (`sign_in`, `certificate`).

pub mod cookie;
mod expiry;
pub mod live;
mod one;
mod plugin;
pub(crate) mod shared;
mod table;
mod texts;
pub mod token;
mod unread;

use doorward_config::Factor;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::Timestamp;
use token::{SessionId, TokenHash};

pub use live::{BeginError, Sessions};
pub use one::{LiveSession, NewSession};
pub use plugin::FindSession;
pub(crate) use plugin::Usage;

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// SHA-256 of its token.
    pub token_hash: TokenHash,
    /// Its public id, made of its first token.
    pub id: SessionId,
    /// Whom it is for.
    pub principal_id: String,
    /// The host, or the cookie domain, at which it is worth something.
    pub scope: String,
    /// What was proven, oldest first; never empty.
    pub evidence: Vec<Evidence>,
    /// What the client said it is, shortened.
    pub device: String,
    /// Where the client signed in from.
    pub address: String,
    /// When it began.
    pub created: Timestamp,
    /// When it was last active, as far as it was written.
    pub active: Timestamp,
}

/// Names a session in a store, by the token that it had when somebody looked, and by the id that it
/// keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionKey {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// Its public id.
    pub id: SessionId,
}

/// One thing that was proven. How strong a session is follows from these, and is stored nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How.
    pub method: Method,
    /// When.
    pub at: Timestamp,
}

/// Reads evidence as it is stored. What only a newer version knows proves nothing here.
pub(crate) fn known_evidence<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: From<Vec<Evidence>>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Known(Evidence),
        Newer(IgnoredAny),
    }
    let stored = Vec::deserialize(from)?;
    let known = stored.into_iter().filter_map(|one| match one {
        Stored::Known(evidence) => Some(evidence),
        Stored::Newer(_) => None,
    });
    Ok(known.collect::<Vec<_>>().into())
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The key of a client certificate, used in a TLS handshake.
    Certificate,
    /// A security key or passkey, used by whoever had it.
    Key,
    /// Something that one knows.
    Password,
    /// One of the codes that are kept for the day when everything else is lost.
    RecoveryCode,
    /// A code that was sent by text message.
    TextMessage,
    /// A code of an authenticator app or token (RFC 6238).
    Totp,
    /// A security key or passkey that itself made sure of whose hand it was in.
    VerifiedKey,
}

impl SessionRecord {
    /// Was it begun by a certificate? Its token then went to nobody, and the next process begins
    /// another one.
    pub(crate) fn is_by_certificate(&self) -> bool {
        self.evidence.first().is_some_and(|evidence| evidence.method == Method::Certificate)
    }
}

impl Method {
    /// Its name in the `amr` claim, from the registry that RFC 8176 §2 began.
    pub fn amr(self) -> &'static str {
        match self {
            // A key was used, and the gate cannot know whether hardware keeps it ("hwk") or not
            // ("swk"): "pop" leaves that open (OpenID EAP ACR Values 1.0 §3).
            Self::Certificate => "pop",
            Self::Password => "pwd",
            // What keeps the key of a passkey is not attested either.
            Self::Key | Self::VerifiedKey => "pop",
            Self::RecoveryCode | Self::Totp => "otp",
            Self::TextMessage => "sms",
        }
    }

    /// As it is logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Password => "password",
            Self::RecoveryCode => "recovery-code",
            Self::TextMessage => "text-message",
            Self::Totp => "totp",
            Self::VerifiedKey => "verified-key",
        }
    }

    /// Is it something that one has, and so a second factor beside a password?
    pub fn is_second(self) -> bool {
        match self {
            Self::Certificate | Self::Password => false,
            Self::Key | Self::RecoveryCode | Self::TextMessage | Self::Totp | Self::VerifiedKey => {
                true
            }
        }
    }

    /// The kind of factor that a route names; `None`: it can name no such.
    pub fn factor(self) -> Option<Factor> {
        match self {
            Self::Key | Self::VerifiedKey => Some(Factor::Webauthn),
            Self::TextMessage => Some(Factor::TextMessage),
            Self::Totp => Some(Factor::Totp),
            Self::Certificate | Self::Password | Self::RecoveryCode => None,
        }
    }
}

/// How strongly the evidence proves who somebody is: the `acr` claim, by NIST's authenticator
/// assurance levels (SP 800-63B-4 §2). One factor, or a key of which nothing more is known, is the
/// first; two of different kinds are the second: a password and something that one has, or a key
/// that made sure of whose hand it was in.
pub fn assurance(evidence: &[Evidence]) -> &'static str {
    let proved = |wanted: fn(Method) -> bool| evidence.iter().any(|one| wanted(one.method));
    let by_password = proved(|method| method == Method::Password);
    match evidence {
        [] => "aal0",
        _ if proved(|method| method == Method::VerifiedKey) => AAL2,
        _ if by_password && proved(Method::is_second) => AAL2,
        _ => "aal1",
    }
}

/// The second level.
pub const AAL2: &str = "aal2";

/// What was used, for the `amr` claim: each once, and "mfa" where it was more than one factor
/// (RFC 8176 §2).
pub fn methods(evidence: &[Evidence]) -> Vec<&'static str> {
    let mut names = Vec::with_capacity(3);
    for one in evidence {
        if !names.contains(&one.method.amr()) {
            names.push(one.method.amr());
        }
    }
    if assurance(evidence) == AAL2 {
        names.push("mfa");
    }
    names
}

/// When somebody last proved that they have something: the `step_up_time` claim.
pub fn stepped_up(evidence: &[Evidence]) -> Option<Timestamp> {
    let second = evidence.iter().filter(|one| one.method.is_second());
    second.map(|one| one.at).max()
}
