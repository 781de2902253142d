//! Browsers that have signed in: known, and perhaps trusted.

use std::time::Duration;

use super::{Admission, Attempt, DeviceId, Guess, Lockout, Tally, TallyKey};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// A browser that is not asked for a second factor at sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedDevice {
    /// Which.
    pub id: DeviceId,
    /// What the client said it is.
    pub name: String,
    /// Until when.
    pub until: Timestamp,
}

impl Lockout {
    /// Knows a browser from now on that has signed in without a guess, by a key. Gives the value of
    /// its new cookie and how long that holds, if browsers are to be known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn know(
        &self,
        principal_id: &str,
        cookie: Option<&str>,
    ) -> Result<Option<(String, Duration)>, StoreError> {
        let subject = principal_id.to_owned();
        let key = TallyKey { subject, known: true, kind: Guess::Password, device: None };
        let attempt = Attempt {
            key,
            admission: Admission::Check,
            tally: Tally::default(),
            counted: false,
            _permit: None,
        };
        self.succeed(attempt, cookie).await
    }

    /// Trusts the browser with this cookie, which it has just got, not to be asked for a second
    /// factor at sign-in for this time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trust(
        &self,
        principal_id: &str,
        cookie: &str,
        (name, life): (&str, Duration),
    ) -> Result<(), StoreError> {
        let Some(device) = self.device(Some(cookie)) else { return Ok(()) };
        let named = (name, self.clock.now() + life);
        self.store.trust_device(&device, principal_id, named).await
    }

    /// Is the browser with this cookie trusted for this principal?
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trusts(
        &self,
        principal_id: &str,
        cookie: Option<&str>,
    ) -> Result<bool, StoreError> {
        let Some(device) = self.device(cookie) else { return Ok(false) };
        Ok(self.trusted(principal_id).await?.iter().any(|trusted| trusted.id == device))
    }

    /// The browsers that are trusted for a principal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn trusted(&self, principal_id: &str) -> Result<Vec<TrustedDevice>, StoreError> {
        self.store.trusted_devices(principal_id, self.clock.now()).await
    }

    /// From now on no browser is trusted for this principal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn distrust(&self, principal_id: &str) -> Result<(), StoreError> {
        self.store.distrust_devices(principal_id).await
    }

    /// From now on no browser is known to have signed in as this principal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_devices(&self, principal_id: &str) -> Result<(), StoreError> {
        self.store.forget_devices(principal_id).await
    }
}
