//! Lockout: guessing gets nowhere, and cannot be used against the owner.
//!
//! Every guess is counted, durably, before it is checked ([`Tally`] says what follows). Guesses at
//! one principal share one tally however its name is spelled; names that nobody has are counted in
//! the same way, so that counting tells nobody who exists. A browser that has signed in before has
//! a tally of its own ([`DeviceId`]): what strangers do does not lock its owner out.
//!
//! Guesses at one principal are checked one after the other. So a crowd that guesses at once meets
//! the captcha like one that takes its time, and a program that signs in several times at once with
//! the right password does not.
//!
//! Not here: what a captcha is (`captcha`), how fast one client may ask (`rate_limit`).

mod device;
mod devices;
mod summary;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_config::Lockout as Rules;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::account::PrincipalRecord;
use crate::account::name::NameKey;
use crate::audit::Event;
use crate::clock::{Clock, Timestamp};
use crate::store::{GuessStore, StoreError};

pub use device::DeviceId;
pub use devices::TrustedDevice;
pub use summary::{LockState, TallySummary};
pub use tally::{Admission, Tally};

use device::DeviceCookies;

/// How many queues there are for guesses at different principals. Two may share one.
const TURNS: usize = 1024;

/// How many guesses may wait in one queue.
const WAITING_MAX: usize = 8;

/// What was guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guess {
    /// A password.
    Password,
    /// A recovery code.
    RecoveryCode,
    /// A code by text message.
    TextMessage,
    /// A code of an app or token.
    Totp,
}

impl Guess {
    /// As it is stored and logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::RecoveryCode => "recovery-code",
            Self::TextMessage => "text-message",
            Self::Totp => "totp",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Password, Self::RecoveryCode, Self::TextMessage, Self::Totp];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Which guesses a tally counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TallyKey {
    /// A principal's id, or a keyed hash of a name that nobody has.
    pub subject: String,
    /// Is it a principal's?
    pub known: bool,
    /// At what.
    pub kind: Guess,
    /// From this browser; `None`: from all that are not known.
    pub device: Option<DeviceId>,
}

/// A browser that has just signed in.
#[derive(Debug)]
pub struct SignedInDevice<'a> {
    /// What it was known as, for other principals perhaps.
    pub before: Option<&'a DeviceId>,
    /// What it is from now on.
    pub now: &'a DeviceId,
    /// Who signed in.
    pub principal_id: &'a str,
    /// When.
    pub active: Timestamp,
    /// When it is forgotten.
    pub expires: Timestamp,
}

/// Why a guess is not looked at.
#[derive(Debug, thiserror::Error)]
pub enum GuessError {
    /// Too many guesses at the same principal wait already.
    #[error("too many guesses at one principal")]
    Busy,
    /// A captcha has to be solved first.
    #[error("a captcha is needed")]
    Captcha,
    /// It could not be counted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A guess whose turn it is, not counted yet.
pub struct Turn {
    key: TallyKey,
    /// `None`: it need not wait, as it is wrong already.
    _permit: Option<OwnedSemaphorePermit>,
}

/// A guess that was counted, or that is wrong already.
pub struct Attempt {
    key: TallyKey,
    /// What is to be done with it.
    pub admission: Admission,
    /// With this guess in it, if it was counted.
    pub tally: Tally,
    counted: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Has the browser signed in as this principal before, and not guessed too much since?
    pub fn is_of_known_browser(&self) -> bool {
        self.key.device.is_some()
    }
}

impl Attempt {
    /// Says in `event` whom the guess was at and who is locked out by it.
    pub fn describe(&self, event: Event) -> Event {
        let event =
            event.with("circle", if self.key.device.is_some() { "device" } else { "strangers" });
        let event = event.with("guesses", self.tally.in_window);
        if self.key.known { event.principal(&self.key.subject) } else { event.with("known", false) }
    }
}

/// Counts guesses.
pub struct Lockout {
    rules: Rules,
    store: Arc<dyn GuessStore>,
    clock: Clock,
    cookies: DeviceCookies,
    names: hmac::Key,
    /// One permit each: whose guess is being checked. The second is for those that wait.
    turns: Arc<[(Arc<Semaphore>, Arc<Semaphore>)]>,
    /// The names that nobody has and that were guessed at do not fit any more.
    flooded: Arc<AtomicBool>,
}

impl Lockout {
    /// Counts in `store`; `key` stays the same over restarts and replicas.
    pub fn new(rules: &Rules, store: Arc<dyn GuessStore>, clock: Clock, key: &[u8]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"names");
        Self {
            rules: rules.clone(),
            store,
            clock,
            cookies: DeviceCookies::new(key),
            names: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            turns: (0..TURNS)
                .map(|_| (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(WAITING_MAX))))
                .collect(),
            flooded: Arc::default(),
        }
    }

    /// Counts by other rules, what was counted and whose turn it is included.
    pub fn again(&self, rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            cookies: self.cookies.clone(),
            names: self.names.clone(),
            turns: Arc::clone(&self.turns),
            flooded: Arc::clone(&self.flooded),
        }
    }

    /// Waits for the turn of a guess by the browser with this device cookie at `found`, or at the
    /// name that nobody has. A guess that needs a captcha and has none does not wait.
    ///
    /// # Errors
    /// [`GuessError`]; the guess was not counted then.
    pub async fn turn(
        &self,
        kind: Guess,
        name: &NameKey,
        found: Option<&PrincipalRecord>,
        cookie: Option<&str>,
        captcha_solved: bool,
    ) -> Result<Turn, GuessError> {
        let mut key = TallyKey {
            subject: found.map_or_else(|| self.nobody(name), |record| record.id.clone()),
            known: found.is_some(),
            kind,
            device: None,
        };
        let now = self.clock.now();
        // Asked for names that nobody has as well: both are to take the same time. Guesses at codes
        // have one count for all: a right password alone makes a browser known, and whoever has it
        // could make browsers without end.
        if kind == Guess::Password
            && let Some(device) = self.device(cookie)
            && self.store.knows_device(&device, &key.subject).await?
        {
            let of_device = TallyKey { device: Some(device), ..key.clone() };
            let tally = self.store.tally(&of_device).await?;
            // A browser that guessed too much is a stranger (OWASP).
            if !tally.is_locked(&self.rules, now) && !tally.is_disabled(&self.rules) {
                key = of_device;
            }
        }
        if key.device.is_none() && self.is_flooded() && !captcha_solved {
            self.refuse_without_captcha()?;
        }
        let mut tally = self.store.tally(&key).await?;
        match tally.admit(&self.rules, now, captcha_solved) {
            Admission::Captcha => self.refuse_without_captcha()?,
            Admission::Lock if self.rules.enforce => return Ok(Turn { key, _permit: None }),
            Admission::Check | Admission::Disable | Admission::Lock => {}
        }
        // A browser that is known does not stand in the strangers' queue.
        let device = key.device.as_ref().map_or("", DeviceId::as_str);
        let octets = key.subject.bytes().chain(device.bytes());
        let index = octets
            .fold(5381_usize, |hash, byte| hash.wrapping_mul(33).wrapping_add(usize::from(byte)));
        let Some((turn, waiting)) = self.turns.get(index % TURNS) else {
            return Err(GuessError::Busy);
        };
        let _waiting = waiting.try_acquire().map_err(|_| GuessError::Busy)?;
        let permit = Arc::clone(turn).acquire_owned().await.map_err(|_| GuessError::Busy)?;
        Ok(Turn { key, _permit: Some(permit) })
    }

    /// Counts a guess whose turn it is, durably.
    ///
    /// # Errors
    /// [`GuessError`]; it must not be checked then.
    pub async fn count(&self, turn: Turn, captcha_solved: bool) -> Result<Attempt, GuessError> {
        let Turn { key, _permit } = turn;
        let now = self.clock.now();
        let admitted = self.store.admit(&key, &self.rules, now, captcha_solved).await?;
        // The browser was given another id meanwhile, by a sign-in as somebody else.
        let (mut admission, tally) = admitted.ok_or(GuessError::Busy)?;
        if admission == Admission::Captcha {
            self.refuse_without_captcha()?;
        }
        let counted = matches!(admission, Admission::Check | Admission::Disable);
        if admission != Admission::Check && !self.rules.enforce {
            tracing::warn!(would = ?admission, subject = key.subject, "lockout only observes");
            admission = Admission::Check;
        }
        Ok(Attempt { key, admission, tally, counted, _permit })
    }

    /// Did this guess, a wrong one, lock everybody out who shares its tally?
    pub fn locks(&self, attempt: &Attempt) -> bool {
        attempt.counted && attempt.tally.in_window == self.rules.lock_after
    }

    /// Did it make the password worthless?
    pub fn disables(&self, attempt: &Attempt) -> bool {
        attempt.counted && attempt.tally.in_row == self.rules.disable_after
    }

    /// Were there enough wrong guesses before this one, a right one, that the owner should know?
    pub fn is_remarkable(&self, attempt: &Attempt) -> bool {
        attempt.tally.in_window > self.rules.captcha_after.max(1)
    }

    /// The guess was right: forgets what was counted, and knows the browser from now on. Gives the
    /// value of its new cookie and how long that holds, if browsers are to be known.
    ///
    /// # Errors
    /// [`StoreError`]; the tally stays as it was.
    pub async fn succeed(
        &self,
        attempt: Attempt,
        cookie: Option<&str>,
    ) -> Result<Option<(String, Duration)>, StoreError> {
        self.remember(&attempt.key, &attempt.key.subject, cookie).await
    }

    /// Forgets what is counted under `key`, and knows the browser from now on.
    async fn remember(
        &self,
        key: &TallyKey,
        principal_id: &str,
        cookie: Option<&str>,
    ) -> Result<Option<(String, Duration)>, StoreError> {
        let life = self.rules.device_for;
        if life.is_zero() {
            self.store.succeed(key, None).await?;
            return Ok(None);
        }
        let (before, active) = (self.device(cookie), self.clock.now());
        let issued = self.cookies.issue(active + life);
        let (now, value) = issued.map_err(|error| StoreError::Failed(Box::new(error)))?;
        let expires = active + life;
        let device =
            SignedInDevice { before: before.as_ref(), now: &now, principal_id, active, expires };
        self.store.succeed(key, Some(&device)).await?;
        Ok(Some((value, life)))
    }

    /// The guess was right, but that alone signs nobody in: forgets what was counted, and knows no
    /// browser for it.
    ///
    /// # Errors
    /// [`StoreError`]; the tally stays as it was.
    pub async fn forgive(&self, attempt: Attempt) -> Result<(), StoreError> {
        self.store.succeed(&attempt.key, None).await
    }

    /// Forgets what everybody guessed at one thing of a principal's, because it is another one now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lift_kind(&self, principal_id: &str, kind: Guess) -> Result<(), StoreError> {
        self.store.lift_kind(principal_id, kind).await
    }

    /// Forgets all that is counted for a principal, by everybody. Gives how many tallies it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lift(&self, principal_id: &str) -> Result<usize, StoreError> {
        self.store.lift(principal_id).await
    }

    /// Has the browser with this device cookie signed in as this principal? `None`: browsers are not
    /// known here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn knows(
        &self,
        cookie: Option<&str>,
        principal_id: &str,
    ) -> Result<Option<bool>, StoreError> {
        if self.rules.device_for.is_zero() {
            return Ok(None);
        }
        match self.device(cookie) {
            Some(device) => self.store.knows_device(&device, principal_id).await.map(Some),
            None => Ok(Some(false)),
        }
    }

    /// Forgets what has no consequence any more, and what does not fit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let window = u64::try_from(self.rules.lock_for.as_millis()).unwrap_or(u64::MAX);
        let over = Timestamp(now.0.saturating_sub(window));
        let max = self.rules.unknown_names_max;
        let left = self.store.prune_guesses(now, over, max).await?;
        let flooded = left >= max;
        if flooded && !self.flooded.swap(flooded, Ordering::Relaxed) {
            tracing::warn!(
                names = left,
                "too many names that nobody has: every stranger needs a captcha"
            );
        }
        self.flooded.store(flooded, Ordering::Relaxed);
        Ok(())
    }

    /// Were names forgotten that nobody has? Then they could be told from those that somebody has,
    /// by how many guesses they are good for until a captcha is needed. So everybody needs one.
    fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    fn refuse_without_captcha(&self) -> Result<(), GuessError> {
        if self.rules.enforce { Err(GuessError::Captcha) } else { Ok(()) }
    }

    fn device(&self, cookie: Option<&str>) -> Option<DeviceId> {
        self.cookies.read(cookie?, self.clock.now()).filter(|_| !self.rules.device_for.is_zero())
    }

    /// The subject of a name that nobody has. Keyed, so that the store does not tell what was typed.
    fn nobody(&self, name: &NameKey) -> String {
        let typed = format!("{}\0{}", name.account, name.sub_user);
        let tag = hmac::sign(&self.names, typed.as_bytes());
        // No id of a principal has this form.
        format!("?{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }
}

#[cfg(test)]
pub(crate) use tally::tests;
