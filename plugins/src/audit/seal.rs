//! What is signed about the log, so that who can change the store but has not the key cannot make
//! another log that verifies.
//!
//! - A checkpoint is a record of the log that holds a signed statement about the record before it.
//! - The head is a small file beside the store with a signed statement about the end of the log. It
//!   is written before records are added (where the log ends, and where it will end) and after (where
//!   it ends), so that after a crash the log ends at one of the two places and nowhere else.
//!
//! The statements are JWS in compact form (RFC 7515), signed with ES256 by a key of their own.

use std::path::{Path, PathBuf};

use doorward_certs::signing::{AUDIT_TYPE, SignError, SigningKeys, verify_signature};
use doorward_certs::{KeyFileError, read_private, replace_private};
use doorward_config::SigningAlgorithm;
use serde::{Deserialize, Serialize};

use super::record::{Hash, Head};
use super::{Event, EventKind};
use crate::clock::Timestamp;

/// The detail of a checkpoint that holds its statement.
pub(super) const SEAL: &str = "seal";

const CHECKPOINT: &str = "checkpoint";
const END: &str = "end";

/// Signs statements about the log.
pub(crate) struct Seals {
    keys: SigningKeys,
    head_file: PathBuf,
}

/// Verifies statements about the log.
#[derive(Clone, Debug)]
pub(crate) struct SealReader {
    jwks: serde_json::Value,
}

/// What is signed.
#[derive(Debug, Serialize, Deserialize)]
struct Statement {
    /// `checkpoint` or `end`.
    about: String,
    sequence: u64,
    hash: Hash,
    /// Where the log ends if the write that was under way went through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<(u64, Hash)>,
    /// When it was signed, in milliseconds since the Unix epoch.
    time: Timestamp,
}

/// Where the log ends: at one of these places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) now: Head,
    /// If the write that was under way went through.
    pub(crate) next: Head,
}

impl End {
    /// The number behind which there is nothing.
    pub(super) fn furthest(self) -> u64 {
        self.now.sequence.max(self.next.sequence)
    }
}

impl Seals {
    /// Opens the key, making it when it is missing; says whether it was.
    pub(crate) fn open(
        key_file: &Path,
        head_file: PathBuf,
        now: Timestamp,
    ) -> Result<(Self, bool), KeyFileError> {
        let fresh = read_private(key_file)?.is_none();
        let algorithm = SigningAlgorithm::Es256;
        let keys = SigningKeys::open(key_file, AUDIT_TYPE, algorithm, now.secs())?;
        Ok((Self { keys, head_file }, fresh))
    }

    pub(crate) fn reader(&self) -> SealReader {
        SealReader { jwks: self.keys.jwks() }
    }

    /// The event of a checkpoint behind `head`.
    pub(crate) fn checkpoint(&self, head: Head, time: Timestamp) -> Option<Event> {
        let about = CHECKPOINT.to_owned();
        let Head { sequence, hash } = head;
        let statement = Statement { about, sequence, hash, next: None, time };
        match self.keys.sign(&statement) {
            Ok(token) => Some(Event::new(EventKind::AuditCheckpoint).with(SEAL, token)),
            Err(error) => {
                tracing::error!(event = "audit_checkpoint_failed", %error);
                None
            }
        }
    }

    /// A signed statement of where the log ends.
    pub(super) fn end_statement(&self, end: End, time: Timestamp) -> Result<String, SignError> {
        let next = (end.next != end.now).then_some((end.next.sequence, end.next.hash));
        let Head { sequence, hash } = end.now;
        let statement = Statement { about: END.into(), sequence, hash, next, time };
        self.keys.sign(&statement)
    }

    /// States where the log ends, in the file.
    pub(super) fn write_end(&self, end: End, time: Timestamp) -> Result<(), KeyFileError> {
        let refused = |error: SignError| KeyFileError::Content {
            file: self.head_file.clone(),
            reason: error.to_string(),
        };
        let token = self.end_statement(end, time).map_err(refused)?;
        replace_private(&self.head_file, token.as_bytes())
    }

    /// What was stated last, as it stands in the file.
    pub(crate) fn end_token(&self) -> Option<String> {
        // A file that cannot be read states nothing.
        String::from_utf8(read_private(&self.head_file).ok()??).ok()
    }
}

impl SealReader {
    /// Reads the public half of a key that exists.
    pub(crate) fn open(key_file: &Path) -> Result<Self, KeyFileError> {
        if read_private(key_file)?.is_none() {
            let reason =
                "there is no such key; name the configuration of the gate that wrote the log";
            return Err(KeyFileError::Content { file: key_file.into(), reason: reason.into() });
        }
        let keys = SigningKeys::open(key_file, AUDIT_TYPE, SigningAlgorithm::Es256, 0)?;
        Ok(Self { jwks: keys.jwks() })
    }

    fn statement(&self, token: &str, about: &str) -> Option<Statement> {
        let found = verify_signature::<Statement>(&self.jwks, token, AUDIT_TYPE).ok()?;
        (found.about == about).then_some(found)
    }

    /// The record that a checkpoint speaks of. `None`: it was not signed with this key.
    pub(crate) fn checkpoint(&self, token: &str) -> Option<Head> {
        self.sealed(token).map(|(head, _)| head)
    }

    /// The same, with when it was signed.
    pub(crate) fn sealed(&self, token: &str) -> Option<(Head, Timestamp)> {
        let Statement { sequence, hash, time, .. } = self.statement(token, CHECKPOINT)?;
        Some((Head { sequence, hash }, time))
    }

    /// Where the log ends. `None`: it was not signed with this key.
    pub(crate) fn end(&self, token: &str) -> Option<End> {
        let Statement { sequence, hash, next, .. } = self.statement(token, END)?;
        let now = Head { sequence, hash };
        let next = next.map_or(now, |(sequence, hash)| Head { sequence, hash });
        Some(End { now, next })
    }
}
