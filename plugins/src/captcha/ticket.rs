//! Waiting instead of computing: a signed ticket that is good for something later only.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;

use super::CaptchaError;
use super::challenge::{hex, same};
use crate::Timestamp;
use crate::account::fresh_id;

/// How every ticket begins.
const BEGINNING: &str = "wait.";

/// A ticket of ours.
pub(super) struct Ticket {
    pub(super) id: String,
    /// When it becomes good.
    pub(super) from: Timestamp,
    /// When it is good for nothing any more.
    pub(super) expires: Timestamp,
}

/// Is this text meant to be a ticket?
pub(super) fn is_ticket(text: &str) -> bool {
    text.starts_with(BEGINNING)
}

/// A new ticket, and its text.
pub(super) fn issue(
    key: &hmac::Key,
    purpose: &str,
    bound: &str,
    from: Timestamp,
    lifetime: Duration,
) -> Result<(String, Ticket), Unspecified> {
    let ticket = Ticket { id: fresh_id()?, from, expires: from + lifetime };
    let Ticket { id, from, expires } = &ticket;
    let text =
        format!("{BEGINNING}{}.{}.{id}.{}", from.0, expires.0, ticket.sign(key, purpose, bound));
    Ok((text, ticket))
}

impl Ticket {
    /// Reads a ticket; it is one of ours, and given out for this purpose and client.
    pub(super) fn read(
        key: &hmac::Key,
        purpose: &str,
        bound: &str,
        text: &str,
    ) -> Result<Self, CaptchaError> {
        let rest = text.strip_prefix(BEGINNING).ok_or(CaptchaError::Malformed)?;
        let mut parts = rest.split('.');
        let mut next = || parts.next().ok_or(CaptchaError::Malformed);
        let time = |text: &str| text.parse().map(Timestamp).map_err(|_| CaptchaError::Malformed);
        let (from, expires) = (time(next()?)?, time(next()?)?);
        let (id, tag) = (next()?.to_owned(), next()?);
        let ticket = Self { id, from, expires };
        // Numbers can be written in several ways; the text has to be the one that was given out.
        let whole = format!("{BEGINNING}{}.{}.{}.{tag}", from.0, expires.0, ticket.id) == text;
        if !whole || !same(&ticket.sign(key, purpose, bound), tag) {
            return Err(CaptchaError::Foreign);
        }
        Ok(ticket)
    }

    fn sign(&self, key: &hmac::Key, purpose: &str, bound: &str) -> String {
        // No part but the last can have a dot in it.
        let Self { id, from, expires } = self;
        let message = format!("{BEGINNING}{}.{}.{id}.{bound}.{purpose}", from.0, expires.0);
        hex(hmac::sign(key, message.as_bytes()).as_ref())
    }
}
