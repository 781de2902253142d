//! What administrators are told about guesses.

use serde::{Deserialize, Serialize};

use super::{Guess, Lockout, Tally, TallyKey};
use crate::account::PrincipalRecord;
use crate::clock::Timestamp;
use crate::store::StoreError;

/// A tally as it is told to administrators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallySummary {
    /// Whose.
    pub account: String,
    /// At what.
    pub kind: Guess,
    /// Did one known browser make these guesses? If not all others did, together.
    pub known_device: bool,
    /// Guesses counted in the window; zero if it is over.
    pub in_window: u32,
    /// Guesses in a row.
    pub in_row: u32,
    /// When the window ends, and the lock with it.
    pub until: Timestamp,
    /// What follows for the next guess.
    pub state: LockState,
}

/// What follows for the next guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockState {
    /// It is checked if a captcha was solved.
    Captcha,
    /// It is wrong until the lock is lifted or the password set.
    Disabled,
    /// It is wrong until the window ends.
    Locked,
    /// It is checked.
    Open,
}

impl LockState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captcha => "captcha",
            Self::Disabled => "disabled",
            Self::Locked => "locked",
            Self::Open => "open",
        }
    }
}

impl Lockout {
    /// What is counted for a principal, by everybody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn show(&self, record: &PrincipalRecord) -> Result<Vec<TallySummary>, StoreError> {
        let tallies = self.store.tallies(&record.id).await?;
        let account = record.name.to_string();
        Ok(tallies.iter().map(|(key, tally)| self.summary(&account, key, tally)).collect())
    }

    /// Ids of principals for whom something is counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subjects(&self) -> Result<Vec<String>, StoreError> {
        self.store.guessed_at().await
    }

    fn summary(&self, account: &str, key: &TallyKey, tally: &Tally) -> TallySummary {
        let now = self.clock.now();
        let until = tally.until(&self.rules);
        let in_window = if now < until { tally.in_window } else { 0 };
        let state = if tally.is_disabled(&self.rules) {
            LockState::Disabled
        } else if tally.is_locked(&self.rules, now) {
            LockState::Locked
        } else if in_window >= self.rules.captcha_after {
            LockState::Captcha
        } else {
            LockState::Open
        };
        TallySummary {
            account: account.to_owned(),
            kind: key.kind,
            known_device: key.device.is_some(),
            in_window,
            in_row: tally.in_row,
            until,
            state,
        }
    }
}
