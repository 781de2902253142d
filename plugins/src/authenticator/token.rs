//! Hardware tokens: imported by an administrator, and bound by whoever holds one.
//!
//! A token's clock runs as it likes. Two codes in a row show how far it is off, when it is bound and
//! whenever it has gone astray since.

use super::token_file::ImportedToken;
use super::totp::Seed;
use super::{AuthenticatorRecord, Authenticators, BindError, Kind, label};
use crate::account::fresh_id;
use crate::store::StoreError;

impl Authenticators {
    /// Takes tokens in that are nobody's yet, all or none.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when one of them is there already.
    pub async fn import(&self, tokens: &[ImportedToken]) -> Result<(), StoreError> {
        let mut sealed = Vec::with_capacity(tokens.len());
        for token in tokens {
            let secret = self.seal_at(&place(&token.serial), &token.seed)?;
            sealed.push((token.serial.clone(), secret));
        }
        self.store.add_tokens(&sealed, self.clock.now()).await
    }

    /// The seed of a token that is nobody's yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn free_token(&self, serial: &str) -> Result<Option<Seed>, StoreError> {
        let Some(sealed) = self.store.token(serial).await? else { return Ok(None) };
        self.unseal_at(&place(serial), &sealed).map(Some)
    }

    /// Encrypts tokens that are nobody's yet with the newest key; says how many there were.
    pub(super) async fn seal_tokens_anew(&self) -> Result<usize, StoreError> {
        let mut old = Vec::new();
        self.store
            .each_token(&mut |serial, secret| {
                if !self.vault.is_current(&secret) {
                    old.push((serial, secret));
                }
            })
            .await?;
        let mut done = 0;
        for (serial, secret) in old {
            let sealed = self.reseal(&place(&serial), &secret)?;
            // One that is somebody's meanwhile was sealed with the newest key then.
            self.store.replace_token(&serial, &secret, &sealed).await?;
            done += 1;
        }
        Ok(done)
    }

    /// Binds a token, whose second of two codes was that of `step`.
    ///
    /// # Errors
    /// [`BindError::Full`] when it is somebody's by now, or there are too many.
    pub async fn bind_token(
        &self,
        principal_id: &str,
        (serial, name): (&str, &str),
        seed: &Seed,
        step: u64,
    ) -> Result<AuthenticatorRecord, BindError> {
        let id = fresh_id().map_err(|error| StoreError::Failed(Box::new(error)))?;
        let seed = self.adjusted(seed, step);
        let name = if name.trim().is_empty() { serial } else { name };
        let record = AuthenticatorRecord {
            secret: self.seal(&id, &seed)?,
            id,
            principal_id: principal_id.to_owned(),
            kind: Kind::Totp,
            name: label(name, Kind::Totp),
            lookup: None,
            counter: step,
            created: self.clock.now(),
            used: None,
        };
        match self.store.bind_token(serial, &record, self.most).await? {
            true => Ok(record),
            false => Err(BindError::Full),
        }
    }

    /// Follows the clock of an app or token that has gone astray, by two codes in a row; `false`:
    /// they are none, or were used before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resynchronise(
        &self,
        record: &AuthenticatorRecord,
        codes: [&str; 2],
    ) -> Result<bool, StoreError> {
        let seed: Seed = self.open(record)?;
        let Some(step) = self.verify_two(&seed, codes, true) else { return Ok(false) };
        // Forward only: the first of the two must not have been used either.
        if step <= record.counter.saturating_add(1) {
            return Ok(false);
        }
        self.replace(record, &self.adjusted(&seed, step), step, true).await
    }

    /// The seed with the clock by which the present step is this one.
    fn adjusted(&self, seed: &Seed, step: u64) -> Seed {
        let mut adjusted = seed.clone();
        adjusted.drift = 0;
        let now = adjusted.step_at(self.clock.wall().secs());
        adjusted.drift = i64::try_from(step).unwrap_or(0) - i64::try_from(now).unwrap_or(0);
        adjusted
    }
}

fn place(serial: &str) -> String {
    format!("token {serial}")
}
