//! Challenges for people who have not said who they are.
//!
//! Anybody may ask for one, so nothing of it is kept: its state goes to the browser, encrypted for
//! this gate, this purpose and that browser, and comes back with the answer. Only an answer that
//! is right in all else is noted, durably and until the ticket's time is over: so each is good
//! once, and a crowd that asks costs no room.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{ChallengeRecord, Challenges, PER_BINDING_MAX, Purpose};
use crate::account::fresh_id;
use crate::clock::Timestamp;
use crate::store::StoreError;

/// The longest ticket that is looked at, in characters.
const TICKET_MAX: usize = 4096;

/// A ticket that was read, and whose time is not over. It may have been used.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ticket<P> {
    id: String,
    bound_to: String,
    expires: Timestamp,
    /// What it is about.
    pub state: P,
}

impl Challenges {
    /// Writes a ticket for whoever is bound so.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when there is no randomness.
    pub fn write_ticket<P: Purpose>(
        &self,
        bound_to: &str,
        state: P,
        life: Duration,
    ) -> Result<String, StoreError> {
        let id = fresh_id().map_err(|error| StoreError::Failed(Box::new(error)))?;
        let expires = self.clock.now() + life;
        let ticket = Ticket { id, bound_to: bound_to.to_owned(), expires, state };
        let text =
            serde_json::to_vec(&ticket).map_err(|error| StoreError::Failed(Box::new(error)))?;
        let sealed = self.vault.seal(&place::<P>(), &text);
        let sealed = sealed.map_err(|error| StoreError::Failed(Box::new(error)))?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Reads a ticket; `None` if it is not one of ours, for another, or too old.
    pub fn read_ticket<P: Purpose>(&self, text: &str, bound_to: &str) -> Option<Ticket<P>> {
        if text.len() > TICKET_MAX {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = self.vault.unseal(&place::<P>(), &sealed).ok()?;
        let ticket: Ticket<P> = serde_json::from_slice(&text).ok()?;
        (ticket.bound_to == bound_to && self.clock.now() < ticket.expires).then_some(ticket)
    }

    /// Uses a ticket, because its answer is right. Exactly one of all that try gets `true`.
    ///
    /// # Errors
    /// [`StoreError`]; it must count as used then.
    pub async fn use_ticket<P: Purpose>(&self, ticket: &Ticket<P>) -> Result<bool, StoreError> {
        let record = ChallengeRecord {
            id: ticket.id.clone(),
            purpose: P::NAME.to_owned(),
            bound_to: ticket.id.clone(),
            principal_id: String::new(),
            state: Vec::new(),
            version: 0,
            tries: 0,
            created: self.clock.now(),
            // A moment longer than it is read, so that it is never forgotten before.
            expires: ticket.expires + Duration::from_secs(60),
        };
        // None makes room: the one that is there already is what refuses a second use.
        match self.store.begin_challenge(&record, PER_BINDING_MAX).await {
            Ok(()) => Ok(true),
            Err(StoreError::Taken) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn place<P: Purpose>() -> String {
    format!("ticket {}", P::NAME)
}
