//! A key that is bound, as it is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use webauthn_rs_core::proto::Credential as CoreCredential;

/// A key that is bound: its public half and what it said about itself. As JSON it is some 600
/// octets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credential(CoreCredential);

impl Credential {
    /// Its id in base64url: nobody else may have the same.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0.cred_id)
    }

    /// May there be copies of it, as passkeys have that a service keeps in step?
    pub fn backup_eligible(&self) -> bool {
        self.0.backup_eligible
    }

    /// Did it say that there are copies, the last time it was used?
    pub fn backed_up(&self) -> bool {
        self.0.backup_state
    }

    /// How often it said that it had been used, the last time it was; zero if it does not count.
    pub fn counter(&self) -> u32 {
        self.0.counter
    }

    pub(super) fn raw_id(&self) -> Vec<u8> {
        self.0.cred_id.clone()
    }

    pub(super) fn core(&self) -> &CoreCredential {
        &self.0
    }

    /// The same after a use.
    pub(super) fn used(&self, counter: u32, backed_up: bool) -> Self {
        let mut used = self.0.clone();
        used.counter = counter;
        used.backup_state = backed_up;
        Self(used)
    }
}

impl From<CoreCredential> for Credential {
    fn from(bound: CoreCredential) -> Self {
        Self(bound)
    }
}
