//! What people change about the addresses that reach them: phone, e-mail, and e-mail for safety.
//!
//! All of it needs a session that proved lately who it is. A new address is theirs when a code that
//! was sent there comes back; another phone in place of one needs a code of the old one first. What
//! is under way is a challenge of the session: no step of it can be left out, or be done elsewhere.
//! The owner is told, at the old address as well.
//!
//! Not here: a phone that is lost. That is for an administrator.

use std::sync::Arc;
use std::time::Duration;

use doorward_config::Secret;
use serde::{Deserialize, Serialize};

use crate::account::PrincipalRecord;
use crate::account::address::AddressKind;
use crate::audit::{Audit, Event, EventKind};
use crate::challenge::{Challenge, Purpose};
use crate::code::{self, Codes, Destination, IssueError, Request};
use crate::language::Language;
use crate::lockout::Guess;
use crate::notify::alerts::{Alert, Alerts};
use crate::password_check::Guesser;
use crate::second_factor::SecondFactors;
use crate::session::{LiveSession, Sessions};
use crate::step_up::Approvals;
use crate::store::{AccountStore, StoreError};

/// Why an address stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// So many accounts have this phone already.
    #[error("too many accounts have this phone")]
    Held,
    /// It is the last factor of somebody who needs one at every sign-in.
    #[error("this is the last factor, and one is required")]
    Last,
    /// This is no such address.
    #[error("this is no such address")]
    Malformed,
    /// It is as it should be.
    #[error("nothing would change")]
    Same,
    /// The session has to prove once more who it is.
    #[error("not fresh enough")]
    Stale,
    /// It has to be begun anew.
    #[error("the change is over")]
    Over,
    /// The code is wrong.
    #[error("wrong")]
    Wrong,
    /// Nothing is known about it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A change that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changing {
    kind: AddressKind,
    old: Option<String>,
    /// `None`: it is removed.
    wanted: Option<String>,
    old_proved: bool,
}

impl Purpose for Changing {
    const NAME: &'static str = "address";
}

/// Which code a change waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Which address is changed.
    pub kind: AddressKind,
    /// Where the code goes.
    pub to: Destination,
    /// It is the phone that the person has so far.
    pub is_old: bool,
}

impl Changing {
    /// Which code comes next; `None`: nothing is left to prove.
    fn awaited(&self) -> Option<Awaited> {
        let kind = self.kind;
        let old = self.old.as_deref().filter(|_| kind == AddressKind::Phone && !self.old_proved);
        let to = match (old, &self.wanted) {
            (Some(old), _) => Destination::phone(old),
            (None, Some(wanted)) => kind.read(wanted),
            (None, None) => None,
        };
        to.map(|to| Awaited { kind, to, is_old: old.is_some() })
    }
}

/// How far a change has come.
#[derive(Debug)]
pub enum Progress {
    /// It is made.
    Done,
    /// It waits for a code.
    Waits {
        /// Names the change.
        id: String,
        /// Which code.
        awaited: Awaited,
        /// How long that is good, if it could be sent.
        sent: Result<Duration, IssueError>,
    },
}

/// Changes addresses.
pub struct AddressChange {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) second: Arc<SecondFactors>,
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) codes: Arc<Codes>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) alerts: Arc<Alerts>,
    /// How many accounts one phone may have.
    pub(crate) per_phone: usize,
    /// See `SignIn`.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl AddressChange {
    /// The person of this session, if it has proven lately enough who it is.
    ///
    /// # Errors
    /// [`AddressError::Stale`] when it has not.
    pub async fn fresh(&self, session: &LiveSession) -> Result<PrincipalRecord, AddressError> {
        self.approvals.fresh(session).await?.ok_or(AddressError::Stale)
    }

    /// Begins to change an address; `None` removes it.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn begin(
        &self,
        session: &LiveSession,
        (kind, typed): (AddressKind, Option<&str>),
        asking: (Language, Guesser<'_>),
    ) -> Result<Progress, AddressError> {
        let record = self.fresh(session).await?;
        let wanted = typed.map(|typed| kind.read(typed).ok_or(AddressError::Malformed));
        let wanted = wanted.transpose()?.map(|to| to.as_str().to_owned());
        let old = kind.of(&record).map(str::to_owned);
        if wanted == old {
            return Err(AddressError::Same);
        }
        let changing = Changing { kind, old, wanted, old_proved: false };
        self.verify_factors(&record, &changing).await?;
        if changing.awaited().is_none() {
            return self.make(session, &changing, asking.1).await;
        }
        let life = self.second.rules().lifetime;
        let begun = self.second.challenges.begin(&record.id, &session.id, changing, life).await?;
        self.send_code(begun, asking).await
    }

    /// What a change of this session waits for.
    ///
    /// # Errors
    /// [`AddressError::Over`] when there is none.
    pub async fn awaited(&self, session: &LiveSession, id: &str) -> Result<Awaited, AddressError> {
        self.find(session, id).await?.state.awaited().ok_or(AddressError::Over)
    }

    /// Sends the code that is waited for once more.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn send(
        &self,
        session: &LiveSession,
        id: &str,
        asking: (Language, Guesser<'_>),
    ) -> Result<Progress, AddressError> {
        self.fresh(session).await?;
        self.send_code(self.find(session, id).await?, asking).await
    }

    /// Takes a code, and goes on.
    ///
    /// # Errors
    /// [`AddressError`]; the address is as it was then.
    pub async fn confirm(
        &self,
        session: &LiveSession,
        (id, code): (&str, &Secret),
        asking: (Language, Guesser<'_>),
    ) -> Result<Progress, AddressError> {
        self.fresh(session).await?;
        let mut challenge = self.find(session, id).await?;
        let Awaited { kind, to, is_old } = challenge.state.awaited().ok_or(AddressError::Over)?;
        let proved = self.codes.verify(purpose(kind, is_old), &challenge.id, code).await?;
        if proved.as_ref() != Some(&to) {
            return Err(AddressError::Wrong);
        }
        if is_old && challenge.state.wanted.is_some() {
            challenge.state.old_proved = true;
            if !self.second.challenges.replace(&mut challenge).await? {
                return Err(AddressError::Over);
            }
            return self.send_code(challenge, asking).await;
        }
        if !self.second.challenges.take(&challenge).await? {
            return Err(AddressError::Over);
        }
        self.make(session, &challenge.state, asking.1).await
    }

    async fn find(
        &self,
        session: &LiveSession,
        id: &str,
    ) -> Result<Challenge<Changing>, AddressError> {
        let found = self.second.challenges.find(id, &session.id).await?;
        found.ok_or(AddressError::Over)
    }

    async fn send_code(
        &self,
        challenge: Challenge<Changing>,
        (language, guesser): (Language, Guesser<'_>),
    ) -> Result<Progress, AddressError> {
        let awaited = challenge.state.awaited().ok_or(AddressError::Over)?;
        let request = Request {
            purpose: purpose(awaited.kind, awaited.is_old),
            bound_to: &challenge.id,
            language,
            address: guesser.address,
            request_id: guesser.request_id,
        };
        let sent = self.codes.issue(&awaited.to, request).await;
        Ok(Progress::Waits { id: challenge.id, awaited, sent })
    }

    /// Nobody takes away the last factor of somebody who needs one.
    async fn verify_factors(
        &self,
        record: &PrincipalRecord,
        changing: &Changing,
    ) -> Result<(), AddressError> {
        if changing.wanted.is_some() || !self.second.is_required(record) {
            return Ok(());
        }
        let mut without = record.clone();
        changing.kind.set(&mut without, None);
        let had = !self.second.ways(record).await?.is_empty();
        match had && self.second.ways(&without).await?.is_empty() {
            true => Err(AddressError::Last),
            false => Ok(()),
        }
    }

    /// Makes a change of which everything is proven, unless the address was changed meanwhile.
    async fn make(
        &self,
        session: &LiveSession,
        changing: &Changing,
        guesser: Guesser<'_>,
    ) -> Result<Progress, AddressError> {
        let Changing { kind, old, wanted, .. } = changing;
        let record = {
            let _turn = self.turn.lock().await;
            let found = self.accounts.find_id(&session.principal().id).await?;
            let as_it_was =
                |record: &PrincipalRecord| record.is_active() && kind.of(record) == old.as_deref();
            let mut record = found.filter(as_it_was).ok_or(AddressError::Over)?;
            self.verify_factors(&record, changing).await?;
            if let (AddressKind::Phone, Some(phone)) = (kind, wanted) {
                self.verify_count(&record, phone).await?;
            }
            let was = record.clone();
            kind.set(&mut record, wanted.clone());
            self.accounts.update(&was, &record).await?;
            self.sessions.refresh(&record).await?;
            record
        };
        if *kind == AddressKind::Phone {
            self.second.forgive_all(&record.id, Guess::TextMessage).await;
        }
        let event = Event::new(EventKind::AddressChanged).with("address", kind.as_str());
        let event = event.with("did", if wanted.is_some() { "set" } else { "removed" });
        let event = event.principal(&record.id).account(&record.name).session(session.id);
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        let old = old.as_deref();
        let alert = match kind {
            AddressKind::Phone => Alert::PhoneChanged { old },
            AddressKind::Email | AddressKind::SecurityEmail => Alert::EmailChanged { old },
        };
        self.alerts.tell(&record, alert, guesser.into()).await;
        Ok(Progress::Done)
    }

    /// One phone has so many accounts at most. Whoever is told so has proven that it is theirs.
    async fn verify_count(
        &self,
        record: &PrincipalRecord,
        phone: &str,
    ) -> Result<(), AddressError> {
        let mut holders = self.accounts.find_address(phone).await?;
        holders.retain(|holder| holder.account_id != record.account_id);
        let mut accounts: Vec<_> = holders.iter().map(|holder| &holder.account_id).collect();
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.len() >= self.per_phone { Err(AddressError::Held) } else { Ok(()) }
    }
}

fn purpose(kind: AddressKind, is_old: bool) -> code::Purpose {
    if is_old { code::Purpose::ChangePhone } else { kind.purpose() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_phone_waits_for_the_old_one_first_and_an_e_mail_address_does_not() {
        let mut changing = Changing {
            kind: AddressKind::Phone,
            old: Some("+8613800000001".into()),
            wanted: Some("+8613800000002".into()),
            old_proved: false,
        };
        let first = changing.awaited().unwrap();
        assert_eq!((first.to.as_str(), first.is_old), ("+8613800000001", true));
        changing.old_proved = true;
        let second = changing.awaited().unwrap();
        assert_eq!((second.to.as_str(), second.is_old), ("+8613800000002", false));
        changing.wanted = None;
        assert_eq!(changing.awaited(), None);
        let email = Changing {
            kind: AddressKind::Email,
            old: Some("a@example.com".into()),
            wanted: Some("b@example.com".into()),
            old_proved: false,
        };
        assert_eq!(email.awaited().unwrap().to.as_str(), "b@example.com");
    }
}
