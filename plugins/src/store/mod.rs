//! Where records and live state are kept: narrow traits, and a backend a file.
//!
//! Records (accounts), live state (sessions) and the audit log are separate traits, because a shared deployment
//! keeps them in different servers. Whatever a method that changes something returns `Ok` for is
//! durable: it survives `kill -9` and a power cut.
//!
//! Every backend passes conformance tests: `conformance.rs`, and for records `tests/it/records/`.

mod call;
#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod message_tests;
mod messages;
mod migration;
mod postgres;
mod records;
pub(crate) mod redis;
mod shared;
mod sqlite;
mod stores;
mod timings;

use async_trait::async_trait;
use doorward_config::Lockout as Rules;

use crate::account::name::NameKey;
use crate::account::{PrincipalRecord, State};
use crate::appeal::{AppealRecord, AppealState};
use crate::audit::Record;
use crate::authenticator::{AuthenticatorRecord, Kind};
use crate::challenge::ChallengeRecord;
use crate::clock::Timestamp;
use crate::hold::{HoldLimits, HoldRecord};
use crate::lockout::{Admission, DeviceId, Guess, SignedInDevice, Tally, TallyKey, TrustedDevice};
use crate::session::token::TokenHash;
use crate::session::{SessionKey, SessionRecord};

use call::{DEADLINE, failed, failed_sql, in_time, is_about_the_way, signed};
pub use messages::{CodeStore, HistoryStore, MessageStore};
pub use postgres::PostgresStore;
pub(crate) use records::copy_records;
pub use redis::RedisStore;
pub use shared::{Change, Changes, Position, SharedSessionStore, SharedState};
pub use sqlite::SqliteStore;
pub use stores::{Backend, Stores};
pub use timings::{Counted, FAILURES, Operation, Timings};

/// Why the store gave no answer. Nothing is then known: never taken for "there is none".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name was given out before, to a deleted account perhaps.
    #[error("this name is taken")]
    Taken,
    /// Somebody else, at another gate perhaps, has changed it since it was read.
    #[error("somebody else has changed it meanwhile: try again")]
    Changed,
    /// Its server cannot be reached, or is not ready for what a gate asks: it starts, ends, fails
    /// over, or only reads. That passes by itself.
    #[error("the store cannot be reached: {0}")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is there and failed.
    #[error("the store failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored cannot be read; nothing was changed.
    #[error("the store holds something that cannot be read: {0}")]
    Corrupt(&'static str),
    /// The store did not answer in time.
    #[error("the store did not answer in time")]
    Timeout,
}

impl StoreError {
    /// Is it worth waiting for the server? Whatever else is wrong, somebody has to see to it.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout)
    }
}

/// Records: who there is.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Adds a principal; without a sub-user's name, its account as well.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the name was ever used.
    async fn add(&self, record: &PrincipalRecord) -> Result<(), StoreError>;

    /// Finds by name, deleted ones included.
    async fn find(&self, name: &NameKey) -> Result<Option<PrincipalRecord>, StoreError>;

    /// Finds by principal id, deleted ones included.
    async fn find_id(&self, id: &str) -> Result<Option<PrincipalRecord>, StoreError>;

    /// All that are not deleted, by name.
    async fn list(&self) -> Result<Vec<PrincipalRecord>, StoreError>;

    /// Shows all that are not deleted, in no order, without holding many at once.
    async fn each(&self, visit: &mut (dyn FnMut(PrincipalRecord) + Send))
    -> Result<(), StoreError>;

    /// All principals of an account that are not deleted.
    async fn list_account(&self, account_id: &str) -> Result<Vec<PrincipalRecord>, StoreError>;

    /// All that are not deleted and have this phone or e-mail address, however it is capitalised;
    /// main accounts first, and no more than a few hundred.
    async fn find_address(&self, address: &str) -> Result<Vec<PrincipalRecord>, StoreError>;

    /// Writes everything of the principal but its id, names, switches and password; and the
    /// account's idle time, verification and protection.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when that is not as it `was` any more.
    async fn update(
        &self,
        was: &PrincipalRecord,
        record: &PrincipalRecord,
    ) -> Result<(), StoreError>;

    /// Sets the switch of a principal; that of a main account's own principal is the account's.
    async fn set_state(&self, record: &PrincipalRecord, state: State) -> Result<(), StoreError>;

    /// Replaces a password hash.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it is not as it `was` any more; `None`: whatever it was.
    async fn set_password(&self, id: &str, was: Option<&str>, hash: &str)
    -> Result<(), StoreError>;

    /// The secret of this name, made of `fresh` if there is none yet.
    async fn secret(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, StoreError>;
}

/// Live state: who is signed in.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Shows all sessions, live or not, in no order, without holding many at once: there may be a
    /// million. Those that begin or end meanwhile may be among them, or not.
    async fn each(&self, visit: &mut (dyn FnMut(SessionRecord) + Send)) -> Result<(), StoreError>;

    /// Forgets sessions that were begun, or last active, before these times.
    async fn prune(&self, created: Timestamp, active: Timestamp) -> Result<(), StoreError>;

    /// Adds `session` and forgets `ended`, both or neither.
    async fn begin(&self, session: &SessionRecord, ended: &[SessionKey]) -> Result<(), StoreError>;

    /// Gives a session another token than `old`, and more evidence. `false`, and nothing has
    /// changed: it is over, or has another token by now.
    async fn step_up(&self, session: &SessionRecord, old: &TokenHash) -> Result<bool, StoreError>;

    /// Forgets sessions; those that are not there are no error.
    async fn end(&self, ended: &[SessionKey]) -> Result<(), StoreError>;

    /// Notes when sessions were last active; those that are not there stay away.
    async fn touch(&self, active: &[(SessionKey, Timestamp)]) -> Result<(), StoreError>;

    /// Notes whose sessions have ended by themselves, and forgets those noted before `forget`.
    async fn note_expired(
        &self,
        expired: &[(TokenHash, String)],
        now: Timestamp,
        forget: Timestamp,
    ) -> Result<(), StoreError>;

    /// Whose session of this token has ended by itself.
    async fn expired(&self, hash: &TokenHash) -> Result<Option<String>, StoreError>;
}

/// Which records of the audit log are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those from then on.
    pub since: Timestamp,
    /// Those of this event; `None`: of any.
    pub event: Option<String>,
    /// Those about the account of this name, or about [`Self::principal`]; `None`: about anybody.
    pub account: Option<String>,
    /// The id of that account's principal, for records that have only that.
    pub principal: Option<String>,
}

/// The audit log: records are added at the end and removed at the front.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds records, all or none.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when a record of such a number is there.
    async fn append(&self, records: &[Record]) -> Result<(), StoreError>;

    /// The last record whose number is at most `up_to`.
    async fn last(&self, up_to: u64) -> Result<Option<Record>, StoreError>;

    /// How many rows have numbers before one, which no gate gives. Nothing else here shows them.
    async fn unnumbered(&self) -> Result<u64, StoreError>;

    /// The first `limit` records behind the number `after`, as they are, whoever wrote them.
    async fn page(&self, after: u64, limit: u32) -> Result<Vec<Record>, StoreError>;

    /// The latest `limit` records that are asked for, oldest first, of those up to a number.
    async fn latest(
        &self,
        filter: &AuditFilter,
        up_to: u64,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError>;

    /// The last record of this event that, like all records before it, is older than a time: clocks
    /// are set, so that a record may be older than the one before it.
    async fn last_older(&self, event: &str, than: Timestamp) -> Result<Option<Record>, StoreError>;

    /// Removes the first `limit` records before this number; says how many there were.
    async fn forget_before(&self, sequence: u64, limit: u32) -> Result<u64, StoreError>;
}

/// What is counted of principals, and which browsers are known for them, to be moved.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Wrong guesses.
    pub(crate) guesses: Vec<(TallyKey, Tally)>,
    /// Browsers.
    pub(crate) devices: Vec<KnownDevice>,
}

/// A browser that has signed in as somebody.
#[derive(Debug)]
pub(crate) struct KnownDevice {
    pub(crate) id: String,
    pub(crate) principal_id: String,
    pub(crate) name: String,
    pub(crate) active: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) trusted: Timestamp,
}

/// Live state: wrong guesses, and browsers that have signed in.
#[async_trait]
pub trait GuessStore: Send + Sync {
    /// What is counted; an empty tally if nothing is.
    async fn tally(&self, key: &TallyKey) -> Result<Tally, StoreError>;

    /// Decides by [`Tally::admit`], atomically, and gives the tally as it is then. What was counted
    /// is durable. `None`, and nothing is counted, when the key is of a browser that is not known
    /// any more.
    async fn admit(
        &self,
        key: &TallyKey,
        rules: &Rules,
        now: Timestamp,
        captcha_solved: bool,
    ) -> Result<Option<(Admission, Tally)>, StoreError>;

    /// Forgets a tally and knows a browser, both or neither.
    async fn succeed(
        &self,
        key: &TallyKey,
        signed_in: Option<&SignedInDevice<'_>>,
    ) -> Result<(), StoreError>;

    /// All tallies of a principal, strangers' first.
    async fn tallies(&self, principal_id: &str) -> Result<Vec<(TallyKey, Tally)>, StoreError>;

    /// Ids of principals that have a tally.
    async fn guessed_at(&self) -> Result<Vec<String>, StoreError>;

    /// Forgets all tallies of a principal at one thing, of all browsers.
    async fn lift_kind(&self, principal_id: &str, kind: Guess) -> Result<(), StoreError>;

    /// Forgets all tallies of a principal; gives how many there were.
    async fn lift(&self, principal_id: &str) -> Result<usize, StoreError>;

    /// Has this browser signed in as this principal?
    async fn knows_device(&self, id: &DeviceId, principal_id: &str) -> Result<bool, StoreError>;

    /// This browser, if it is known for this principal, is not asked for a second factor at sign-in
    /// until then. Its name is what the client says it is.
    async fn trust_device(
        &self,
        id: &DeviceId,
        principal_id: &str,
        named: (&str, Timestamp),
    ) -> Result<(), StoreError>;

    /// The browsers that are trusted at `now`, last used first.
    async fn trusted_devices(
        &self,
        principal_id: &str,
        now: Timestamp,
    ) -> Result<Vec<TrustedDevice>, StoreError>;

    /// From now on no browser is trusted for this principal.
    async fn distrust_devices(&self, principal_id: &str) -> Result<(), StoreError>;

    /// Forgets all browsers of a principal.
    async fn forget_devices(&self, principal_id: &str) -> Result<(), StoreError>;

    /// Forgets browsers whose time has come by `now`, and what was counted for browsers that are not
    /// known any more; of the names that nobody has, those whose
    /// window began at `over` or before, and then those with the fewest guesses, oldest first, until
    /// there are `unknown_max`. Gives how many there are then.
    async fn prune_guesses(
        &self,
        now: Timestamp,
        over: Timestamp,
        unknown_max: u64,
    ) -> Result<u64, StoreError>;
}

/// Records: what people can prove themselves with besides a password.
#[async_trait]
pub trait AuthenticatorStore: Send + Sync {
    /// Adds an authenticator, unless its principal has `most` of its kind: `false`.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when somebody's has the same `lookup`.
    async fn bind(&self, record: &AuthenticatorRecord, most: usize) -> Result<bool, StoreError>;

    /// All of a principal, oldest first.
    async fn authenticators(
        &self,
        principal_id: &str,
    ) -> Result<Vec<AuthenticatorRecord>, StoreError>;

    /// The one with this `lookup`, whosever it is.
    async fn authenticator_by(
        &self,
        lookup: &str,
    ) -> Result<Option<AuthenticatorRecord>, StoreError>;

    /// Moves its counter forward to this. `false`: it is there or beyond already, or the
    /// authenticator is gone. Of several that move it to the same number one gets `true`.
    async fn advance(&self, id: &str, counter: u64, now: Timestamp) -> Result<bool, StoreError>;

    /// Replaces its secret, unless that is not `old` any more: `false`. The counter never goes back.
    async fn replace_secret(
        &self,
        id: &str,
        old: &[u8],
        new: &[u8],
        counter: u64,
        used: Option<Timestamp>,
    ) -> Result<bool, StoreError>;

    /// Adds tokens that are nobody's yet, all or none: each is a serial number and its secret.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when one of them is there already.
    async fn add_tokens(
        &self,
        tokens: &[(String, Vec<u8>)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The secret of a token that is nobody's yet.
    async fn token(&self, serial: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows the serial number and the secret of all tokens that are nobody's yet, in no order.
    async fn each_token(
        &self,
        visit: &mut (dyn FnMut(String, Vec<u8>) + Send),
    ) -> Result<(), StoreError>;

    /// Replaces the secret of a token that is nobody's yet, unless that is not `old` any more.
    async fn replace_token(&self, serial: &str, old: &[u8], new: &[u8]) -> Result<(), StoreError>;

    /// Makes a token somebody's, unless it is already, or they have `most` of its kind: `false`.
    async fn bind_token(
        &self,
        serial: &str,
        record: &AuthenticatorRecord,
        most: usize,
    ) -> Result<bool, StoreError>;

    /// Gives it another name; `false`: this principal has no such.
    async fn rename(&self, id: &str, principal_id: &str, name: &str) -> Result<bool, StoreError>;

    /// Removes it; `false`: this principal has no such.
    async fn unbind(&self, id: &str, principal_id: &str) -> Result<bool, StoreError>;

    /// Removes all of a kind; says how many there were.
    async fn unbind_kind(&self, principal_id: &str, kind: Kind) -> Result<usize, StoreError>;

    /// Shows all of everybody, in no order, without holding many at once.
    async fn each_authenticator(
        &self,
        visit: &mut (dyn FnMut(AuthenticatorRecord) + Send),
    ) -> Result<(), StoreError>;
}

/// Live state: what people were asked for and have not given yet.
#[async_trait]
pub trait ChallengeStore: Send + Sync {
    /// Adds a challenge. The oldest of the same purpose and binding make room, so that there are
    /// never more than `per_binding_max`.
    async fn begin_challenge(
        &self,
        record: &ChallengeRecord,
        per_binding_max: u32,
    ) -> Result<(), StoreError>;

    /// The challenge of this id, live or not.
    async fn challenge(&self, id: &str) -> Result<Option<ChallengeRecord>, StoreError>;

    /// The latest of this purpose and binding, live or not.
    async fn latest_challenge(
        &self,
        purpose: &str,
        bound_to: &str,
    ) -> Result<Option<ChallengeRecord>, StoreError>;

    /// Counts a try at a live challenge. `false`: there were `most` already, or it is not live.
    async fn count_try(&self, id: &str, most: u32, now: Timestamp) -> Result<bool, StoreError>;

    /// Replaces the state of this version; `false`: it has another, or is gone.
    async fn replace_state(&self, id: &str, version: u32, state: &[u8])
    -> Result<bool, StoreError>;

    /// Removes a live challenge of this version. Exactly one caller gets `true`.
    async fn take_challenge(
        &self,
        id: &str,
        version: u32,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Forgets those whose time is over.
    async fn prune_challenges(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// Live state: requests that are kept.
#[async_trait]
pub trait HoldStore: Send + Sync {
    /// Keeps a request. The person's oldest make room; `false`: there is too much in all.
    async fn keep(
        &self,
        record: &HoldRecord,
        limits: HoldLimits,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The request of this id, expired or not.
    async fn held(&self, id: &str) -> Result<Option<HoldRecord>, StoreError>;

    /// Forgets it. Exactly one caller gets `true`.
    async fn take_held(&self, id: &str) -> Result<bool, StoreError>;

    /// Forgets those whose time is over.
    async fn prune_held(&self, now: Timestamp) -> Result<(), StoreError>;
}

/// Records: appeals of people who have lost every second factor.
#[async_trait]
pub trait AppealStore: Send + Sync {
    /// Adds an appeal, unless `open_max` wait for a decision: `false`.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the principal has one that is not over.
    async fn lodge(&self, record: &AppealRecord, open_max: u32) -> Result<bool, StoreError>;

    /// The appeal of this id.
    async fn appeal(&self, id: &str) -> Result<Option<AppealRecord>, StoreError>;

    /// The first thousand, oldest first, without what they say: all, or those that are not over.
    async fn appeals(&self, open_only: bool) -> Result<Vec<AppealRecord>, StoreError>;

    /// The one of a principal that is not over.
    async fn open_appeal(&self, principal_id: &str) -> Result<Option<AppealRecord>, StoreError>;

    /// Moves an appeal from one state to another; `false`: it is in another. Exactly one caller
    /// gets `true`.
    async fn decide(
        &self,
        id: &str,
        step: (AppealState, AppealState),
        at: (Timestamp, Option<Timestamp>),
    ) -> Result<bool, StoreError>;

    /// Some of those that were granted and take effect by `now`.
    async fn due_appeals(&self, now: Timestamp) -> Result<Vec<AppealRecord>, StoreError>;

    /// Forgets those that were decided before this time and are over.
    async fn prune_appeals(&self, decided_before: Timestamp) -> Result<(), StoreError>;
}
