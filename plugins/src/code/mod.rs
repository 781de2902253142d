//! Codes of six digits that prove a phone or an address: made, sent, and taken once.
//!
//! A code is good for one purpose and one binding: the challenge or session that asked for it. Of
//! each binding only the newest is good, for a bounded time and number of tries, and once. Tries are
//! counted before the code is looked at, and asking for another code gives none back (OWASP ASVS 5.0
//! §6.5, §6.6; NIST SP 800-63B-4 §3.1.3.2). The store has keyed hashes only.
//!
//! How often a destination gets one is counted durably, before anything is sent, whoever asks; an
//! address from where codes are asked for has an allowance of its own, in memory.
//!
//! Not here: who may ask, and what a code proves. Whether somebody exists must not show in whether a
//! code is sent; that is for who calls.

#[cfg(test)]
mod model;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_config::{Codes as Rules, GatewayConfig, Secret};

use crate::account::is_email;
use crate::clock::{Clock, Timestamp};
use crate::language::Language;
use crate::notify::{Body, Channel, EnqueueError, Message, Notify, texts};
use crate::rate_limit::RateLimits;
use crate::store::{CodeStore, StoreError};

/// How many codes there are.
const CODES: u32 = 1_000_000;

/// No code that signs somebody in, or approves something, lives longer (NIST SP 800-63B-4 §3.1.3.2).
const FACTOR_LIFE_MAX: Duration = Duration::from_secs(600);

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sign-in, as second factor or by phone.
    SignIn,
    /// A sensitive operation.
    Approve,
    /// A phone becomes that of an account.
    BindPhone,
    /// Another phone takes the place of this one.
    ChangePhone,
    /// An e-mail address becomes that of an account.
    ConfirmEmail,
    /// A new password for one that was forgotten.
    ResetPassword,
    /// The names of accounts that were forgotten.
    FindAccount,
}

impl Purpose {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::SignIn,
        Self::Approve,
        Self::BindPhone,
        Self::ChangePhone,
        Self::ConfirmEmail,
        Self::ResetPassword,
        Self::FindAccount,
    ];

    /// Its name in messages and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Approve => "approve",
            Self::BindPhone => "bind_phone",
            Self::ChangePhone => "change_phone",
            Self::ConfirmEmail => "confirm_email",
            Self::ResetPassword => "reset_password",
            Self::FindAccount => "find_account",
        }
    }

    /// Is the code a factor of authentication? E-mail then proves nothing (NIST SP 800-63B-4
    /// §3.1.3.1).
    pub fn is_factor(self) -> bool {
        matches!(self, Self::SignIn | Self::Approve)
    }
}

/// Where a code goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To an e-mail address.
    Email(String),
    /// To a phone.
    Phone(String),
}

impl Destination {
    /// An e-mail address; `None` if it is none.
    pub fn email(text: &str) -> Option<Self> {
        is_email(text).then(|| Self::Email(text.to_owned()))
    }

    /// A phone number as E.164 writes it: `+`, and 7 to 15 digits of which the first is not 0.
    /// `None` if it is none.
    pub fn phone(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+')?;
        let good = (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| Self::Phone(text.to_owned()))
    }

    /// The address or number.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(text) | Self::Phone(text) => text,
        }
    }

    /// By which way it is reached.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Email(_) => Channel::Email,
            Self::Phone(_) => Channel::TextMessage,
        }
    }

    /// What one place is called however it is written: domains have no case, and no provider gives
    /// addresses that differ by case to different people.
    fn key(&self) -> String {
        self.as_str().to_lowercase()
    }
}

/// A code as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCode {
    /// Keyed hash of purpose and binding.
    pub binding: String,
    /// Keyed hash of binding and code.
    pub hash: [u8; 32],
    /// Where it went.
    pub destination: String,
    /// From then on it is good for nothing.
    pub expires: Timestamp,
}

/// May another code be sent to a destination?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Yes, and it is counted.
    Fits,
    /// Not before this time has passed.
    TooOften(Duration),
    /// So many codes were sent, to whomever, that no other can be counted.
    Full,
}

impl Sending {
    /// Decides by when codes were sent, latest first, as many as a day may have.
    pub(crate) fn decide(sent: &[Timestamp], now: Timestamp, rules: &Rules) -> Self {
        // The code that has to be out of each stretch of time before there is room in it.
        let nth = |count: u32| {
            usize::try_from(count).ok().and_then(|count| sent.get(count.checked_sub(1)?))
        };
        let bounds = [(1, rules.interval), (rules.per_hour, HOUR), (rules.per_day, DAY)];
        let waits = bounds.iter().filter_map(|(count, time)| {
            let since = now.since(*nth(*count)?);
            time.checked_sub(since).filter(|wait| !wait.is_zero())
        });
        waits.max().map_or(Self::Fits, Self::TooOften)
    }
}

/// Why no code was sent.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// This place, or this client, had too many codes; there may be another one after this time.
    #[error("too many codes; another one in {} s", .0.as_secs())]
    TooOften(Duration),
    /// So many wrong codes were tried for this binding that another one would be good for nothing.
    #[error("too many wrong codes")]
    Spent,
    /// A code by e-mail is no factor.
    #[error("no code for this purpose goes there")]
    Unfit,
    /// Nothing can be sent there now.
    #[error("no code can be sent: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<EnqueueError> for IssueError {
    fn from(error: EnqueueError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// Who asks for a code, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The id of the challenge or session for which alone it is good.
    pub bound_to: &'a str,
    /// In which language the message is.
    pub language: Language,
    /// From where it is asked for.
    pub address: IpAddr,
    /// Names the request in the log.
    pub request_id: &'a str,
}

/// Issues codes and takes them.
pub struct Codes {
    rules: Rules,
    host: String,
    store: Arc<dyn CodeStore>,
    notify: Arc<Notify>,
    clock: Clock,
    key: hmac::Key,
    limits: Arc<RateLimits>,
}

impl Codes {
    /// Codes by the rules of this configuration; `key` is the store's.
    pub fn new(
        config: &GatewayConfig,
        store: Arc<dyn CodeStore>,
        notify: Arc<Notify>,
        clock: Clock,
        (limits, key): (Arc<RateLimits>, &[u8]),
    ) -> Self {
        Self {
            rules: config.codes.clone(),
            host: config.public_url.host.clone(),
            store,
            notify,
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            limits,
        }
    }

    /// Can a code be sent this way at all?
    pub fn can(&self, channel: Channel) -> bool {
        self.notify.can(channel)
    }

    /// Makes a code and puts it into the outbox. The code of this binding before it is worth
    /// nothing from then on. Gives how long the new one is good.
    ///
    /// # Errors
    /// [`IssueError`]; nothing is sent then, and it may have been counted.
    pub async fn issue(
        &self,
        destination: &Destination,
        request: Request<'_>,
    ) -> Result<Duration, IssueError> {
        self.admit(request.address, request.request_id).await?;
        self.send(destination, request).await
    }

    /// Counts a request for a code by this client. Whoever must not show whether a code is sent
    /// counts first, and sends behind the answer.
    ///
    /// # Errors
    /// [`IssueError::TooOften`].
    pub async fn admit(&self, address: IpAddr, request_id: &str) -> Result<(), IssueError> {
        self.limits.code(address, request_id).await.map_err(|refusal| {
            IssueError::TooOften(refusal.retry_after.unwrap_or(self.rules.interval))
        })
    }

    /// The same as [`Self::issue`] for a client that was counted.
    ///
    /// # Errors
    /// [`IssueError`].
    pub async fn send(
        &self,
        destination: &Destination,
        request: Request<'_>,
    ) -> Result<Duration, IssueError> {
        let Request { purpose, bound_to, language, .. } = request;
        let channel = destination.channel();
        if purpose.is_factor() && channel == Channel::Email {
            return Err(IssueError::Unfit);
        }
        if !self.notify.can(channel) {
            return Err(EnqueueError::NoWay.into());
        }
        let (binding, now) = (self.binding(purpose, bound_to), self.clock.now());
        if self.store.code_tries(&binding, now).await? >= self.rules.tries {
            return Err(IssueError::Spent);
        }
        let place = self.hash(&["destination", &destination.key()]);
        let place = URL_SAFE_NO_PAD.encode(place);
        match self.store.count_sending(&place, now, &self.rules).await? {
            Sending::Fits => {}
            Sending::TooOften(wait) => return Err(IssueError::TooOften(wait)),
            Sending::Full => return Err(IssueError::Unavailable("too many codes".into())),
        }
        let code = fresh().map_err(|error| IssueError::Unavailable(Box::new(error)))?;
        let life = self.life(purpose, channel);
        let stored = StoredCode {
            hash: self.hash(&["code", &binding, code.expose()]),
            binding,
            destination: destination.as_str().to_owned(),
            expires: now + life,
        };
        // First it is good, and then it is sent: a message that fails costs a code, no more.
        self.store.put_code(&stored, now).await?;
        let minutes = life.as_secs().div_ceil(60);
        let (subject, text) = texts::code(purpose, code.expose(), minutes, &self.host, language);
        let body = Body {
            code: Some(code.expose().to_owned()),
            ..Body::new(destination.as_str(), language, subject, text)
        };
        let kind = format!("code_{}", purpose.as_str());
        let message = Message { channel, kind, body, expires: Some(now + life), once: None };
        self.notify.enqueue(&message).await?;
        Ok(life)
    }

    /// Takes a code, once. Gives where it was sent to, which it proves; `None` if it is not the
    /// newest of this purpose and binding, or came too late, or after too many tries.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is proved then.
    pub async fn verify(
        &self,
        purpose: Purpose,
        bound_to: &str,
        code: &Secret,
    ) -> Result<Option<Destination>, StoreError> {
        let (binding, now) = (self.binding(purpose, bound_to), self.clock.now());
        // What cannot be a code is none, and costs no try: the field was empty, or had a password.
        let Some(typed) = normal(code) else { return Ok(None) };
        let found = self.store.try_code(&binding, now, self.rules.tries).await?;
        let Some(stored) = found else { return Ok(None) };
        let hash = self.hash(&["code", &binding, typed.expose()]);
        if constant_time::verify_slices_are_equal(&hash, &stored.hash).is_err() {
            return Ok(None);
        }
        if !self.store.use_code(&stored).await? {
            return Ok(None);
        }
        let place = &stored.destination;
        Ok(Destination::phone(place).or_else(|| Destination::email(place)))
    }

    /// Forgets what is worth nothing any more.
    ///
    /// # Errors
    /// [`StoreError`] when it is still there.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let day = u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX);
        self.store.prune_codes(now, Timestamp(now.0.saturating_sub(day))).await
    }

    /// How long a code for this purpose is good.
    pub fn life(&self, purpose: Purpose, channel: Channel) -> Duration {
        let life = match channel {
            Channel::Email => self.rules.email_life,
            Channel::TextMessage | Channel::Webhook => self.rules.life,
        };
        if purpose.is_factor() { life.min(FACTOR_LIFE_MAX) } else { life }
    }

    fn binding(&self, purpose: Purpose, bound_to: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.hash(&["binding", purpose.as_str(), bound_to]))
    }

    /// A keyed hash of these parts, each with its length, so that no two lists are one.
    fn hash(&self, parts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }
}

/// A code: six random digits, each code as likely as any other.
fn fresh() -> Result<Secret, aws_lc_rs::error::Unspecified> {
    // The largest multiple of the number of codes: what lies above would make some likelier.
    const FAIR: u32 = u32::MAX - u32::MAX % CODES;
    loop {
        let mut bytes = [0; 4];
        rand::fill(&mut bytes)?;
        let number = u32::from_be_bytes(bytes);
        if number < FAIR {
            return Ok(Secret::new(format!("{:06}", number % CODES)));
        }
    }
}

/// The six digits that somebody typed, with spaces or in full width perhaps.
fn normal(typed: &Secret) -> Option<Secret> {
    let mut digits = String::with_capacity(6);
    for c in typed.expose().chars().filter(|c| !c.is_whitespace()).take(7) {
        let plain = match c {
            '\u{ff10}'..='\u{ff19}' => u32::from(c) - 0xff10,
            c => c.to_digit(10)?,
        };
        digits.push(char::from_digit(plain, 10)?);
    }
    let digits = Secret::new(digits);
    (digits.expose().len() == 6).then_some(digits)
}

#[cfg(test)]
mod tests;
