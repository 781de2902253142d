//! The captcha: what somebody has to do, besides knowing a password, once guessing is suspected.
//!
//! Built in is a proof of work ([`challenge`]): the client computes for a moment, longer the more
//! its address has failed before. Whoever runs no scripts waits instead ([`ticket`]). Or a provider
//! is asked ([`siteverify`]).
//!
//! Challenges and tickets are signed, bound to a purpose and to a browser (or, for a client without
//! cookies, to its network), and good for one time. The key is made at the start, so that none
//! outlives the memory of which were used; where several gates share a store, the key and what was
//! used are theirs together.
//!
//! Bounds: [`USED_MAX`] used challenges, [`ADDRESSES_MAX`] addresses; [`VERIFYING_MAX`] at once.
//! Not here: when it is demanded (`lockout`), and the page.

mod challenge;
mod expiring;
mod siteverify;
#[cfg(test)]
mod tests;
mod ticket;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use doorward_config::{Captcha as Rules, CaptchaMode, CaptchaProvider, WhenDown};
use tokio::sync::Semaphore;

use crate::clock::{Clock, Timestamp};
use crate::network::client as client_of;
use crate::outgoing::Outgoing;
use crate::store::SharedState;
use challenge::Attempt;
pub use challenge::Challenge;
use expiring::Expiring;
use ticket::Ticket;

/// Challenges and tickets that are remembered as used. Each has cost work or waiting; when there is
/// no room for another one, it is refused.
const USED_MAX: usize = 200_000;

/// Addresses of which failures, or waiting, is remembered.
const ADDRESSES_MAX: usize = 100_000;

/// The longest solution that is read.
const SOLUTION_BYTES_MAX: usize = 8 * 1024;

/// Solutions that may be verified at once, or wait for it.
const VERIFYING_MAX: usize = 64;

/// Failures beyond these make nothing harder.
const FAILURES_MAX: u32 = 32;

/// A challenge has to be this close to what the client would be asked now: two failures may have
/// come in between, but nobody gets it cheaper by asking from another address.
const SLACK: u32 = 4;

/// How long a provider that did not answer counts as down.
const DOWN_FOR: Duration = Duration::from_secs(30);

/// The form that a captcha belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// What it is for, such as `sign-in`.
    pub purpose: &'a str,
    /// What the browser is known by: the value of its form cookie. `None`: it has none, and is
    /// known by its network.
    pub browser: Option<&'a str>,
    /// Where the client is.
    pub client: IpAddr,
    /// The host that it asked.
    pub host: &'a str,
}

/// What is asked now.
#[derive(Clone, Copy, Debug)]
pub enum Asks<'a> {
    /// Nothing.
    Nothing,
    /// To solve a [`Challenge`].
    ProofOfWork,
    /// To satisfy a provider.
    Provider(&'a CaptchaProvider),
}

/// A ticket for the form, and how long it takes until it is good.
#[derive(Clone, Debug)]
pub struct Wait {
    /// What the form sends.
    pub ticket: String,
    /// What is left of the time.
    pub left: Duration,
}

/// Why a captcha does not count as solved. Strangers are not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptchaError {
    /// There is none.
    #[error("missing")]
    Missing,
    /// It cannot be read.
    #[error("malformed")]
    Malformed,
    /// It is not ours, or it was given out for something or somebody else.
    #[error("foreign")]
    Foreign,
    /// It came too late.
    #[error("expired")]
    Expired,
    /// It has been used before.
    #[error("used")]
    Used,
    /// It does not solve the challenge.
    #[error("wrong")]
    Wrong,
    /// The challenge is much easier than what the client would be asked now.
    #[error("too_easy")]
    TooEasy,
    /// The wait is not over; this is left of it.
    #[error("too_soon")]
    TooSoon(Duration),
    /// The provider says no.
    #[error("rejected")]
    Rejected,
    /// The provider does not answer.
    #[error("provider_down")]
    ProviderDown,
    /// The provider does not answer, and the built-in captcha is asked instead.
    #[error("instead")]
    Instead,
    /// Too many are being verified, or remembered.
    #[error("busy")]
    Busy,
}

impl CaptchaError {
    /// Does it speak against the client?
    pub fn is_suspicious(self) -> bool {
        matches!(self, Self::Malformed | Self::Foreign | Self::Used | Self::Wrong | Self::Rejected)
    }
}

/// What can come of a captcha, as counted.
const RESULTS: [&str; 13] = [
    "solved",
    "allowed",
    "malformed",
    "foreign",
    "expired",
    "used",
    "wrong",
    "too_easy",
    "too_soon",
    "rejected",
    "provider_down",
    "instead",
    "busy",
];

/// Asks and verifies.
pub struct Captcha {
    rules: Rules,
    clock: Clock,
    memory: Arc<Memory>,
}

/// What is known of challenges and clients, by whatever rules.
struct Memory {
    key: hmac::Key,
    shared: Option<Arc<dyn SharedState>>,
    used: Mutex<Expiring<String>>,
    waited: Mutex<Expiring<IpAddr>>,
    failures: Mutex<Failures>,
    /// One solution is verified at a time; so many may wait.
    queue: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    down_until: AtomicU64,
    counts: [AtomicU64; RESULTS.len()],
    hasty: AtomicU64,
}

/// Failures of addresses. An address is told by when all of its failures are forgotten.
struct Failures {
    known: Expiring<IpAddr>,
    /// The same, of all addresses for which there is no room, together.
    others: Timestamp,
}

impl Captcha {
    /// Asks and verifies by these rules.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(rules: &Rules, clock: Clock) -> Result<Self, Unspecified> {
        let mut key = [0; 32];
        rand::fill(&mut key)?;
        let memory = Memory {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            shared: None,
            used: Mutex::new(Expiring::new(USED_MAX)),
            waited: Mutex::new(Expiring::new(ADDRESSES_MAX)),
            failures: Mutex::new(Failures {
                known: Expiring::new(ADDRESSES_MAX),
                others: Timestamp(0),
            }),
            queue: Arc::new(Semaphore::new(VERIFYING_MAX)),
            turn: Arc::new(Semaphore::new(1)),
            down_until: AtomicU64::new(0),
            counts: Default::default(),
            hasty: AtomicU64::new(0),
        };
        Ok(Self { rules: rules.clone(), clock, memory: Arc::new(memory) })
    }

    /// Asks and verifies by other rules, and knows what was known: what was used stays used.
    pub fn again(&self, rules: &Rules) -> Self {
        Self { rules: rules.clone(), clock: self.clock.clone(), memory: Arc::clone(&self.memory) }
    }

    /// The same at several gates, which have this key.
    #[must_use]
    pub fn shared_by(mut self, key: &[u8], store: Arc<dyn SharedState>) -> Self {
        if let Some(memory) = Arc::get_mut(&mut self.memory) {
            memory.key = hmac::Key::new(hmac::HMAC_SHA256, key);
            memory.shared = Some(store);
        }
        self
    }

    /// What is asked now. A provider that is down may have a stand-in.
    pub fn asks(&self) -> Asks<'_> {
        match &self.rules.mode {
            CaptchaMode::Off => Asks::Nothing,
            CaptchaMode::ProofOfWork => Asks::ProofOfWork,
            CaptchaMode::Provider(provider)
                if provider.when_down == WhenDown::ProofOfWork
                    && self.clock.now().0 < self.memory.down_until.load(Ordering::Relaxed) =>
            {
                Asks::ProofOfWork
            }
            CaptchaMode::Provider(provider) => Asks::Provider(provider),
        }
    }

    /// Is it demanded for this purpose, whatever happened before?
    pub fn is_always_asked(&self, purpose: &str) -> bool {
        self.rules.mode != CaptchaMode::Off
            && self.rules.always.iter().any(|always| always == purpose)
    }

    /// A challenge for this form, as hard as the client's failures make it.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn challenge(&self, form: &Form<'_>) -> Result<Challenge, Unspecified> {
        let expires = self.clock.now() + self.rules.lifetime;
        let cost = self.difficulty(form.client);
        challenge::issue(&self.memory.key, form.purpose, &self.bound(form), cost, expires)
    }

    /// A ticket for those who cannot solve a challenge; the one that they hold, if it still is, so
    /// that nobody has to begin anew. `None`: they cannot wait either.
    pub fn wait(&self, form: &Form<'_>, held: &str) -> Option<Wait> {
        let (wait, now) = (self.rules.wait?, self.clock.now());
        if matches!(self.asks(), Asks::Nothing) {
            return None;
        }
        let bound = self.bound(form);
        let held_one =
            Ticket::read(&self.memory.key, form.purpose, &bound, held).ok().filter(|ticket| {
                ticket.expires > now && lock(&self.memory.used).get(&ticket.id, now).is_none()
            });
        let (text, ticket) = match held_one {
            Some(ticket) => (held.to_owned(), ticket),
            None => {
                let from = now + wait;
                ticket::issue(&self.memory.key, form.purpose, &bound, from, self.rules.lifetime)
                    .ok()?
            }
        };
        let free = lock(&self.memory.waited).get(&client_of(form.client), now);
        let from = free.map_or(ticket.from, |free| free.max(ticket.from));
        Some(Wait { ticket: text, left: from.since(now) })
    }

    /// Is this a solution for the form? It is one for this one time only.
    ///
    /// # Errors
    /// [`CaptchaError`].
    pub async fn verify(
        &self,
        form: &Form<'_>,
        solution: &str,
        outgoing: &dyn Outgoing,
    ) -> Result<(), CaptchaError> {
        let result = self.judge(form, solution, outgoing).await;
        match result {
            Ok(()) => self.count("solved"),
            Err(error) => self.count(&error.to_string()),
        }
        result
    }

    async fn judge(
        &self,
        form: &Form<'_>,
        solution: &str,
        outgoing: &dyn Outgoing,
    ) -> Result<(), CaptchaError> {
        if solution.is_empty() {
            return Err(CaptchaError::Missing);
        }
        if solution.len() > SOLUTION_BYTES_MAX {
            return Err(CaptchaError::Malformed);
        }
        let provider = match &self.rules.mode {
            CaptchaMode::Off => return Ok(()),
            _ if ticket::is_ticket(solution) => {
                let (id, expires) = self.verify_ticket(form, solution)?;
                return self.spend_everywhere(&id, expires).await;
            }
            CaptchaMode::ProofOfWork => return self.verify_work(form, solution).await,
            CaptchaMode::Provider(provider) => provider,
        };
        // Such a challenge was given out while the provider was down.
        if provider.when_down == WhenDown::ProofOfWork && challenge::is_ours(solution) {
            return self.verify_work(form, solution).await;
        }
        let answer = siteverify::ask(provider, form, solution, outgoing).await;
        if answer != Err(CaptchaError::ProviderDown) {
            self.memory.down_until.store(0, Ordering::Relaxed);
            return answer;
        }
        self.memory.down_until.store((self.clock.now() + DOWN_FOR).0, Ordering::Relaxed);
        match provider.when_down {
            WhenDown::Refuse => answer,
            WhenDown::ProofOfWork => Err(CaptchaError::Instead),
            WhenDown::Allow => {
                self.count("allowed");
                Ok(())
            }
        }
    }

    async fn verify_work(&self, form: &Form<'_>, solution: &str) -> Result<(), CaptchaError> {
        let attempt = Attempt::read(&self.memory.key, form.purpose, &self.bound(form), solution)?;
        let now = self.clock.now();
        if attempt.expires <= now {
            return Err(CaptchaError::Expired);
        }
        if lock(&self.memory.used).get(&attempt.id, now).is_some() {
            return Err(CaptchaError::Used);
        }
        if attempt.cost.saturating_mul(SLACK) < self.difficulty(form.client) {
            return Err(CaptchaError::TooEasy);
        }
        // Verifying takes a try's time, so it must not hold up the office, nor take more than one
        // core.
        let _place =
            Arc::clone(&self.memory.queue).try_acquire_owned().map_err(|_| CaptchaError::Busy)?;
        let turn =
            Arc::clone(&self.memory.turn).acquire_owned().await.map_err(|_| CaptchaError::Busy)?;
        let (id, expires) = (attempt.id.clone(), attempt.expires);
        let solved = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            attempt.is_solved()
        });
        if !solved.await.map_err(|_| CaptchaError::Busy)? {
            return Err(CaptchaError::Wrong);
        }
        self.spend(&mut lock(&self.memory.used), id.clone(), expires)?;
        self.spend_everywhere(&id, expires).await
    }

    fn verify_ticket(
        &self,
        form: &Form<'_>,
        text: &str,
    ) -> Result<(String, Timestamp), CaptchaError> {
        let wait = self.rules.wait.ok_or(CaptchaError::Foreign)?;
        let ticket = Ticket::read(&self.memory.key, form.purpose, &self.bound(form), text)?;
        let (now, address) = (self.clock.now(), client_of(form.client));
        if ticket.expires <= now {
            return Err(CaptchaError::Expired);
        }
        if ticket.from > now {
            return Err(CaptchaError::TooSoon(ticket.from.since(now)));
        }
        let (mut used, mut waited) = (lock(&self.memory.used), lock(&self.memory.waited));
        if used.get(&ticket.id, now).is_some() {
            return Err(CaptchaError::Used);
        }
        if let Some(free) = waited.get(&address, now) {
            return Err(CaptchaError::TooSoon(free.since(now)));
        }
        if !waited.put(address, now + wait, now) {
            return Err(CaptchaError::Busy);
        }
        self.spend(&mut used, ticket.id.clone(), ticket.expires)?;
        Ok((ticket.id, ticket.expires))
    }

    /// Notes that it was used, once.
    fn spend(
        &self,
        used: &mut Expiring<String>,
        id: String,
        expires: Timestamp,
    ) -> Result<(), CaptchaError> {
        let now = self.clock.now();
        if used.get(&id, now).is_some() {
            return Err(CaptchaError::Used);
        }
        if used.put(id, expires, now) { Ok(()) } else { Err(CaptchaError::Busy) }
    }

    /// Notes at all gates that it was used, once. What cannot be noted is not taken.
    async fn spend_everywhere(&self, id: &str, expires: Timestamp) -> Result<(), CaptchaError> {
        let Some(shared) = &self.memory.shared else { return Ok(()) };
        match shared.use_once(&format!("captcha:{id}"), self.clock.now(), expires).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CaptchaError::Used),
            Err(_) => Err(CaptchaError::Busy),
        }
    }

    /// A client failed: what its network is asked next is harder.
    pub fn note_failure(&self, client: IpAddr) {
        let (now, span) = (self.clock.now(), self.rules.forget_after);
        let most = now + span * FAILURES_MAX;
        let later = |until: Timestamp| (until.max(now) + span).min(most);
        let address = client_of(client);
        let mut failures = lock(&self.memory.failures);
        let until = failures.known.get(&address, now).unwrap_or(now);
        if !failures.known.put(address, later(until), now) {
            failures.others = later(failures.others);
        }
    }

    /// A client failed with a form that it had before it for so long. Programs are quicker than
    /// people, and fail twice at once.
    pub fn note_haste(&self, client: IpAddr, taken: Duration) {
        if taken < self.rules.haste {
            self.memory.hasty.fetch_add(1, Ordering::Relaxed);
            self.note_failure(client);
        }
    }

    /// How many forms were filled in faster than a person would, and wrongly.
    pub fn hasty(&self) -> u64 {
        self.memory.hasty.load(Ordering::Relaxed)
    }

    /// Iterations of each try that this client is asked now.
    pub fn difficulty(&self, client: IpAddr) -> u32 {
        let now = self.clock.now();
        let failures = lock(&self.memory.failures);
        let until = failures.known.get(&client_of(client), now).unwrap_or(failures.others);
        let span = self.rules.forget_after.as_millis().max(1);
        let count = until.since(now).as_millis().div_ceil(span);
        let count = u32::try_from(count).unwrap_or(FAILURES_MAX);
        let factor = 1_u32.checked_shl(count).unwrap_or(u32::MAX).max(1);
        self.rules.difficulty.saturating_mul(factor).min(self.rules.difficulty_max)
    }

    /// How often there was each result since the start.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RESULTS
            .into_iter()
            .zip(self.memory.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    fn count(&self, result: &str) {
        let counters = RESULTS.iter().zip(&self.memory.counts);
        if let Some((_, counter)) = counters.into_iter().find(|(name, _)| **name == result) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whom something is bound to. It is hashed, as the cookie is nobody's business.
    fn bound(&self, form: &Form<'_>) -> String {
        let whom = match form.browser.filter(|browser| !browser.is_empty()) {
            Some(browser) => format!("browser {browser}"),
            None => format!("network {}", client_of(form.client)),
        };
        challenge::hex(hmac::sign(&self.memory.key, whom.as_bytes()).as_ref())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
