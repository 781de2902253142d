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
//!
//! Not here: what a route demands (`access`), and how a session begins (`sign_in`, `certificate`).

pub mod cookie;
pub mod live;
mod one;
mod plugin;
mod table;
mod texts;
pub mod token;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use token::TokenHash;

pub use live::{BeginError, Sessions};
pub use one::{LiveSession, NewSession};
pub use plugin::FindSession;
pub(crate) use plugin::Usage;

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// SHA-256 of its token.
    pub token_hash: TokenHash,
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

/// One thing that was proven. How strong a session is follows from these, and is stored nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How.
    pub method: Method,
    /// When.
    pub at: Timestamp,
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The key of a client certificate, used in a TLS handshake.
    Certificate,
    /// Something that one knows.
    Password,
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
        }
    }
}

/// How strongly the evidence proves who somebody is: the `acr` claim. A password alone is NIST's
/// first authenticator assurance level (SP 800-63B-4 §2.1), and so is a key of which nothing more
/// is known.
pub fn assurance(evidence: &[Evidence]) -> &'static str {
    if evidence.is_empty() { "aal0" } else { "aal1" }
}
