//! Binding an app: a seed is shown, and two codes in a row prove that the app has it.
//!
//! Until then the seed is in a challenge and good for nothing (a binding that is given up leaves
//! nothing behind).

use serde::{Deserialize, Serialize};

use super::totp::Seed;
use super::{AuthenticatorRecord, Authenticators, BindError, Kind};
use crate::account::PrincipalRecord;
use crate::challenge::{Challenge, Challenges, Purpose};
use crate::store::StoreError;

/// The seed that an app is to be bound with.
#[derive(Clone, Serialize, Deserialize)]
pub struct BindTotp {
    /// Shown to its owner until the app is bound, and never again.
    pub seed: Seed,
}

impl Purpose for BindTotp {
    const NAME: &'static str = "bind-totp";
}

/// Why an app was not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindTotpError {
    /// There are as many as one person may have.
    #[error("there are too many authenticators")]
    Full,
    /// Too many wrong codes, too late, or bound already: it has to be begun anew.
    #[error("the binding is over")]
    Over,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// These are not two codes of this seed that follow each other.
    #[error("wrong codes")]
    Wrong,
}

/// What shows somebody a seed: the one that they were shown before, if that is still to be bound.
///
/// # Errors
/// [`StoreError`].
pub async fn begin(
    challenges: &Challenges,
    principal_id: &str,
    bound_to: &str,
    (life, tries_max): (std::time::Duration, u32),
) -> Result<Challenge<BindTotp>, StoreError> {
    // Whoever loads the page again, or typed a wrong code, has scanned the code already.
    let found = challenges.latest::<BindTotp>(bound_to).await?;
    if let Some(found) = found.filter(|found| found.tries < tries_max) {
        return Ok(found);
    }
    let seed = Seed::fresh().map_err(|error| StoreError::Failed(Box::new(error)))?;
    challenges.begin(principal_id, bound_to, BindTotp { seed }, life).await
}

/// Binds the app that made these two codes in a row.
///
/// # Errors
/// [`BindTotpError`]; nothing is bound then.
pub async fn finish(
    (challenges, authenticators): (&Challenges, &Authenticators),
    challenge: &Challenge<BindTotp>,
    record: &PrincipalRecord,
    (name, codes): (&str, [&str; 2]),
    tries: u32,
) -> Result<AuthenticatorRecord, BindTotpError> {
    if challenge.principal_id != record.id || !challenges.count(challenge, tries).await? {
        return Err(BindTotpError::Over);
    }
    let seed = &challenge.state.seed;
    let step = authenticators.verify_two(seed, codes, false).ok_or(BindTotpError::Wrong)?;
    if !challenges.take(challenge).await? {
        return Err(BindTotpError::Over);
    }
    // The codes that bound it are used up.
    let bound = authenticators.bind(&record.id, Kind::Totp, name, seed, None, step).await;
    bound.map_err(|error| match error {
        BindError::Full => BindTotpError::Full,
        BindError::Store(error) => BindTotpError::Store(error),
    })
}
