//! A password that somebody typed: counted as a guess, and then compared.
//!
//! Every way in which a password can be tried leads through [`PasswordCheck::check`], so that none is
//! a way around the counts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use doorward_config::Secret;

use crate::account::PrincipalRecord;
use crate::account::name::NameKey;
use crate::account::password::{PasswordHasher, Verdict};
use crate::audit::{Audit, Event, EventKind};
use crate::clock::Clock;
use crate::lockout::{Admission, Attempt, Guess, Lockout};
use crate::notify::alerts::{Alert, Alerts};
use crate::sign_in::SignInError;
use crate::store::AccountStore;
use crate::stuffing::{Stuffing, Suspicion, Try};

/// Who types a password.
#[derive(Clone, Copy, Debug)]
pub struct Guesser<'a> {
    /// Where they are.
    pub address: IpAddr,
    /// Their browser's device cookie.
    pub device_cookie: Option<&'a str>,
    /// Did they solve a captcha for this?
    pub captcha_solved: bool,
    /// Names the request in the log.
    pub request_id: &'a str,
}

/// Compares passwords.
pub struct PasswordCheck {
    pub(crate) accounts: Arc<dyn AccountStore>,
    pub(crate) hasher: Arc<PasswordHasher>,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) stuffing: Arc<Stuffing>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) clock: Clock,
}

/// A password was right.
pub struct Right {
    /// Whose.
    pub record: PrincipalRecord,
    /// Is its hash as it should be?
    pub verdict: Verdict,
    attempt: Attempt,
}

impl PasswordCheck {
    /// Counts the guess, and then looks at it. `found` is who has this name now.
    ///
    /// # Errors
    /// [`SignInError::Reject`] when it is wrong or came too late; the others when it was not looked
    /// at.
    pub async fn check(
        &self,
        key: &NameKey,
        found: Option<&PrincipalRecord>,
        password: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<Right, SignInError> {
        let (cookie, solved) = (guesser.device_cookie, guesser.captcha_solved);
        let turn = self.lockout.turn(Guess::Password, key, found, cookie, solved).await?;
        // Waiting took its time: somebody's hash may have been made anew meanwhile.
        let found = self.accounts.find(key).await?;
        // A guess that nobody has time for is not counted.
        let place = self.hasher.place(Some(guesser.address))?;
        // What strangers guess is no matter of a browser that has signed in.
        let tried = match turn.is_of_known_browser() {
            true => None,
            false => Some(self.suspect(key, password, guesser)?),
        };
        let attempt = self.lockout.count(turn, solved).await?;
        let owner = self.lockout.locks(&attempt).then(|| found.clone()).flatten();
        // A guess that is wrong already costs a hash like any other.
        let candidate = found.filter(|_| attempt.admission == Admission::Check);
        let hash = candidate.as_ref().map(|record| record.password_hash.clone());
        let verdict = self.hasher.verify(place, password, hash).await?;
        let right = candidate.filter(|record| record.is_active() && verdict != Verdict::Wrong);
        let Some(record) = right else {
            self.note_wrong(&attempt, guesser);
            if let Some(owner) = owner {
                self.alerts.tell_soon(&owner, Alert::Locked, guesser.into());
            }
            return Err(SignInError::Reject);
        };
        if let Some(tried) = tried {
            self.stuffing.forgive(tried);
        }
        Ok(Right { record, verdict, attempt })
    }

    /// What the right password was for is done. Gives the value of the browser's new device cookie
    /// and how long that holds, if browsers are to be known.
    pub async fn settle(&self, right: Right, guesser: Guesser<'_>) -> Option<(String, Duration)> {
        self.note_remarkable(&right, guesser);
        let Right { attempt, .. } = right;
        // It is done already: what was counted stays until the next time, if need be.
        match self.lockout.succeed(attempt, guesser.device_cookie).await {
            Ok(cookie) => cookie,
            Err(error) => {
                tracing::error!(event = "store_write_failed", %error, "wrong passwords stay counted");
                None
            }
        }
    }

    /// The password was right, and more is asked for: its guesses are forgotten, and the browser is
    /// known only when the rest is given.
    pub(crate) async fn settle_half(&self, right: Right, guesser: Guesser<'_>) {
        self.note_remarkable(&right, guesser);
        if let Err(error) = self.lockout.forgive(right.attempt).await {
            tracing::error!(event = "store_write_failed", %error, "wrong passwords stay counted");
        }
    }

    /// Notes a right password after many wrong ones.
    fn note_remarkable(&self, Right { record, attempt, .. }: &Right, guesser: Guesser<'_>) {
        if self.lockout.is_remarkable(attempt) {
            let event = Event::new(EventKind::LoginSuccessAfterFail).account(&record.name);
            let event = event.principal(&record.id).with("guesses", attempt.tally.in_window);
            self.audit.record(&event.from_request(guesser.address, guesser.request_id));
            self.alerts.tell_soon(record, Alert::SuccessAfterFailures, guesser.into());
        }
    }

    /// Notes a stranger's try, and refuses it if it is one of too many.
    fn suspect(
        &self,
        key: &NameKey,
        password: &Secret,
        guesser: Guesser<'_>,
    ) -> Result<Try, SignInError> {
        let (address, solved) = (guesser.address, guesser.captcha_solved);
        let noted = self.stuffing.note(key, password, address, solved, self.clock.now());
        let (tried, noticed) = noted.map_err(|suspicion| match suspicion {
            Suspicion::Captcha => SignInError::Captcha,
            Suspicion::Refuse(after) => SignInError::Suspect(after),
        })?;
        if let Some(pattern) = noticed {
            let event = Event::new(EventKind::CredentialStuffing);
            let event = event.with("pattern", pattern.as_str());
            self.audit.record(&event.from_request(guesser.address, guesser.request_id));
        }
        Ok(tried)
    }

    /// Notes that a password was not accepted, and why. Whom it was tried for is noted if there is
    /// such a principal; never the name as typed: people type passwords into name fields.
    pub(crate) fn note_refused(
        &self,
        error: &SignInError,
        known: Option<&PrincipalRecord>,
        guesser: Guesser<'_>,
    ) {
        let event = match error {
            SignInError::Reject => Event::new(EventKind::LoginFail),
            SignInError::Captcha => Event::new(EventKind::LoginFail).with("reason", "captcha"),
            SignInError::Suspect(_) => Event::new(EventKind::LoginFail).with("reason", "guessing"),
            error => Event::new(EventKind::LoginUnavailable).with("error", error),
        };
        let event = match known {
            Some(record) => event.principal(&record.id).account(&record.name),
            None => event,
        };
        let event = event.with("factor", Guess::Password.as_str());
        self.audit.record(&event.from_request(guesser.address, guesser.request_id));
    }

    /// Notes what a wrong guess led to.
    fn note_wrong(&self, attempt: &Attempt, guesser: Guesser<'_>) {
        for (kind, so) in [
            (EventKind::LoginLock, self.lockout.locks(attempt)),
            (EventKind::AuthenticatorDisabled, self.lockout.disables(attempt)),
        ] {
            if so {
                let event = Event::new(kind).with("factor", Guess::Password.as_str());
                let event = attempt.describe(event);
                self.audit.record(&event.from_request(guesser.address, guesser.request_id));
            }
        }
    }
}
