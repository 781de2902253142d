//! Passwords: Argon2id (RFC 9106) on few threads, behind a bounded queue.
//!
//! Hashing is expensive on purpose. So it runs on threads of its own, which give way to all others,
//! and on half of the cores at most; so many at once, so many waiting, and the next one is told to
//! come back. A name that does not exist costs the same hash as one that does.
//!
//! - `queue`: who may wait for a hash.
//! - `threads`: which thread makes it, and when.
//! - `imported`: hashes that other systems made. One is verified as it is, and made anew with
//!   Argon2id when its owner signs in.
//!
//! Not here: who may guess how often (`lockout`), and what may be a new password (`rules`).

mod imported;
mod queue;
mod threads;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use doorward_config::{PasswordHashing, Secret};
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;

pub use imported::ImportedHash;
pub use queue::Place;
use queue::Queue;

/// The longest password that is hashed, in bytes; a longer one is wrong.
pub(crate) const BYTES_MAX: usize = 4096;

/// Hashes and verifies passwords.
pub struct PasswordHasher {
    rules: PasswordHashing,
    params: Params,
    queue: Queue,
    /// Hash of a password that nobody knows, verified for names that do not exist.
    decoy: String,
    /// How many passwords were compared with a principal's hash.
    checked: AtomicU64,
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right, and hashed with the present parameters.
    Right,
    /// Right, and to be hashed anew with the present parameters.
    RightButOld,
    /// Wrong.
    Wrong,
}

/// Why a password was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The queue is full.
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    /// The work could not be done: no memory, or no randomness.
    #[error("the password could not be hashed")]
    Failed,
}

impl PasswordHasher {
    /// Prepares hashing by these rules.
    ///
    /// # Errors
    /// [`HashError::Failed`] when the parameters cannot be used together.
    pub fn new(rules: &PasswordHashing) -> Result<Arc<Self>, HashError> {
        let params = Params::new(rules.memory_kib, rules.iterations, rules.parallelism, None);
        let mut hasher = Self {
            rules: rules.clone(),
            params: params.map_err(|_| HashError::Failed)?,
            queue: Queue::start(rules.threads, rules.queue).map_err(|_| HashError::Failed)?,
            decoy: String::new(),
            checked: AtomicU64::new(0),
        };
        let mut nobody_knows = [0; 32];
        aws_lc_rs::rand::fill(&mut nobody_knows).map_err(|_| HashError::Failed)?;
        hasher.decoy = hasher.hash_now(&nobody_knows)?;
        Ok(Arc::new(hasher))
    }

    /// Does it hash by these rules?
    pub(crate) fn is_by(&self, rules: &PasswordHashing) -> bool {
        self.rules == *rules
    }

    /// A place in the queue for one password, which this client wants to be looked at. One client
    /// has a quarter of the places at most: it cannot keep all others out.
    ///
    /// # Errors
    /// [`HashError::Busy`] when there is none.
    pub fn place(&self, client: Option<IpAddr>) -> Result<Place, HashError> {
        self.queue.place(client)
    }

    /// Compares `password` with the hash of a principal, or with nobody's.
    ///
    /// # Errors
    /// [`HashError`]; nothing is then known about the password.
    pub async fn verify(
        self: &Arc<Self>,
        place: Place,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<Verdict, HashError> {
        self.checked.fetch_add(u64::from(hash.is_some()), Ordering::Relaxed);
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        self.run(place, password, move |hasher, password| Ok(hasher.verify_now(password, &hash)))
            .await
    }

    /// Hashes a new password, with a salt of its own.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(self: &Arc<Self>, password: &Secret) -> Result<String, HashError> {
        self.run(self.place(None)?, password, Self::hash_now).await
    }

    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        place: Place,
        password: &Secret,
        work: impl Fn(&Self, &[u8]) -> Result<T, HashError> + Send + Sync + 'static,
    ) -> Result<T, HashError> {
        let hasher = Arc::clone(self);
        // Composed and decomposed letters look alike to the person who types them.
        let password = Secret::new(password.expose().nfc().collect());
        let (answer, answered) = oneshot::channel();
        let asked = Mutex::new(Some((answer, place)));
        let job = move || {
            let asked = || asked.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever asked may have gone meanwhile, or have an answer.
            let waits = asked().as_ref().is_some_and(|(answer, _)| !answer.is_closed());
            let done = waits.then(|| work(&hasher, password.expose().as_bytes()));
            let asked = asked().take();
            if let (Some((answer, _place)), Some(done)) = (asked, done) {
                let _ = answer.send(done);
            }
        };
        self.queue.push(Arc::new(job));
        // It panicked if there is no answer.
        answered.await.map_err(|_| HashError::Failed)?
    }

    /// How many passwords were compared with a principal's hash, right or wrong.
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Would the next password be refused as [`HashError::Busy`]? Costs nothing.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// How many passwords wait or are being hashed.
    pub fn waiting(&self) -> usize {
        self.queue.taken()
    }

    fn hash_now(&self, password: &[u8]) -> Result<String, HashError> {
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| HashError::Failed)?;
        let argon2 = self.argon2(self.params.clone())?;
        let hash: PasswordHash =
            argon2.hash_password_with_salt(password, &salt).map_err(|_| HashError::Failed)?;
        Ok(hash.to_string())
    }

    fn verify_now(&self, password: &[u8], hash: &str) -> Verdict {
        // A password that is too long costs one hash like any other, and is wrong.
        let (password, too_long) =
            if password.len() > BYTES_MAX { (&[][..], true) } else { (password, false) };
        if let Some(hash) = ImportedHash::stored(hash) {
            return self.verify_imported(password, &hash, too_long);
        }
        let Ok(hash) = PasswordHash::new(hash) else { return Verdict::Wrong };
        let Ok(argon2) = self.argon2(self.params.clone()) else { return Verdict::Wrong };
        let stored = Params::try_from(&hash).ok();
        // The parameters of the stored hash are used; the comparison takes constant time.
        if argon2.verify_password(password, &hash).is_err() || too_long {
            self.spend_the_rest(stored.as_ref().map_or(0, cost), password);
            return Verdict::Wrong;
        }
        let old = stored.is_none_or(|params| work(&params) != work(&self.params));
        if old { Verdict::RightButOld } else { Verdict::Right }
    }

    fn verify_imported(&self, password: &[u8], hash: &ImportedHash, too_long: bool) -> Verdict {
        if hash.verify(password) && !too_long {
            return Verdict::RightButOld;
        }
        self.spend_the_rest(hash.cost(), password);
        Verdict::Wrong
    }

    /// Spends what a hash with the present parameters costs beyond what was `spent`: otherwise an
    /// account whose hash is from before a change would answer faster than a name that does not
    /// exist.
    fn spend_the_rest(&self, spent: u64, password: &[u8]) {
        let rest = cost(&self.params).saturating_sub(spent);
        let memory =
            u32::try_from(rest / u64::from(self.params.t_cost().max(1))).unwrap_or(u32::MAX);
        let params = Params::new(memory, self.params.t_cost(), self.params.p_cost(), None);
        // Too little to be a hash is too little to be measured.
        if let Some(argon2) = params.ok().and_then(|params| self.argon2(params).ok()) {
            let _ = argon2.hash_password_into(password, &[0; 16], &mut [0; 32]);
        }
    }

    fn argon2(&self, params: Params) -> Result<Argon2<'_>, HashError> {
        match &self.rules.pepper {
            None => Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params)),
            Some(pepper) => Argon2::new_with_secret(
                pepper.expose().as_bytes(),
                Algorithm::Argon2id,
                Version::V0x13,
                params,
            )
            .map_err(|_| HashError::Failed),
        }
    }
}

/// Memory, passes and lanes of a hash.
fn work(params: &Params) -> (u32, u32, u32) {
    (params.m_cost(), params.t_cost(), params.p_cost())
}

/// What a hash costs: KiB of memory times passes.
fn cost(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn rules(memory_kib: u32, pepper: Option<&str>) -> PasswordHashing {
        let pepper = pepper.map(|pepper| Secret::new(pepper.into()));
        PasswordHashing { memory_kib, iterations: 1, parallelism: 1, threads: 1, queue: 2, pepper }
    }

    async fn verify(
        hasher: &Arc<PasswordHasher>,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<Verdict, HashError> {
        hasher.verify(hasher.place(None)?, password, hash).await
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[tokio::test]
    async fn f18_a_hash_is_argon2id_salted_and_remade_when_parameters_change() {
        let hasher = PasswordHasher::new(&rules(64, None)).unwrap();
        let hash = hasher.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert_ne!(
            hash,
            hasher.hash(&secret("correct horse")).await.unwrap(),
            "each has its own salt"
        );
        assert_eq!(
            verify(&hasher, &secret("correct horse"), Some(hash.clone())).await,
            Ok(Verdict::Right)
        );
        assert_eq!(
            verify(&hasher, &secret("correct hors"), Some(hash.clone())).await,
            Ok(Verdict::Wrong)
        );
        let stricter = PasswordHasher::new(&rules(128, None)).unwrap();
        assert_eq!(
            verify(&stricter, &secret("correct horse"), Some(hash)).await,
            Ok(Verdict::RightButOld)
        );
        assert_eq!(
            verify(&hasher, &secret("correct horse"), None).await,
            Ok(Verdict::Wrong),
            "nobody's"
        );
        assert_eq!(verify(&hasher, &secret("x"), Some("garbage".into())).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn f13_the_whole_password_counts_in_one_unicode_form() {
        let hasher = PasswordHasher::new(&rules(64, None)).unwrap();
        let long = "x".repeat(199);
        let hash = hasher.hash(&secret(&format!("{long}a"))).await.unwrap();
        assert_eq!(
            verify(&hasher, &secret(&format!("{long}b")), Some(hash.clone())).await,
            Ok(Verdict::Wrong)
        );
        assert_eq!(
            verify(&hasher, &secret(&format!("{long}a ")), Some(hash)).await,
            Ok(Verdict::Wrong)
        );
        let composed = hasher.hash(&secret("Zo\u{eb} 😀")).await.unwrap();
        assert_eq!(
            verify(&hasher, &secret("Zoe\u{308} 😀"), Some(composed)).await,
            Ok(Verdict::Right)
        );
    }

    #[tokio::test]
    async fn f19_without_the_pepper_a_hash_is_worthless() {
        let peppered = PasswordHasher::new(&rules(64, Some("0123456789abcdef"))).unwrap();
        let hash = peppered.hash(&secret("correct horse")).await.unwrap();
        assert_eq!(
            verify(&peppered, &secret("correct horse"), Some(hash.clone())).await,
            Ok(Verdict::Right)
        );
        let bare = PasswordHasher::new(&rules(64, None)).unwrap();
        assert_eq!(verify(&bare, &secret("correct horse"), Some(hash)).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn f20_a_full_queue_refuses_at_once() {
        let hasher = PasswordHasher::new(&rules(64, None)).unwrap();
        let all = hasher.queue.places.acquire_many(3).await.unwrap();
        assert!(hasher.is_full());
        assert_eq!(verify(&hasher, &secret("x"), None).await, Err(HashError::Busy));
        drop(all);
        assert!(!hasher.is_full());
        assert_eq!(verify(&hasher, &secret("x"), None).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn f20_whoever_gives_up_waiting_frees_the_place_and_no_panic_ends_the_hashing() {
        let hasher = PasswordHasher::new(&rules(64, None)).unwrap();
        let password = secret("x");
        let broken = hasher.run(hasher.place(None).unwrap(), &password, |_, _| -> Result<(), _> {
            panic!("no memory")
        });
        assert_eq!(broken.await, Err(HashError::Failed));
        let (hold, held) = channel::<()>();
        let held = Mutex::new(held);
        let other = Arc::clone(&hasher);
        let first = tokio::spawn(async move {
            other
                .run(other.place(None).unwrap(), &secret("x"), move |_, _| {
                    Ok(held.lock().unwrap().recv().is_err())
                })
                .await
        });
        tokio::task::yield_now().await;
        let second = verify(&hasher, &password, None);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, second).await.is_err());
        drop(hold);
        assert_eq!(first.await.unwrap(), Ok(true));
        let _all = hasher.queue.places.acquire_many(3).await.unwrap();
    }

    #[tokio::test]
    async fn f18_an_imported_hash_is_right_but_old_whatever_the_pepper() {
        let elsewhere = PasswordHasher::new(&rules(128, None)).unwrap();
        let hash = elsewhere.hash(&secret("correct horse")).await.unwrap();
        let stored = ImportedHash::parse(&hash).unwrap().to_stored();
        for pepper in [None, Some("0123456789abcdef")] {
            let hasher = PasswordHasher::new(&rules(128, pepper)).unwrap();
            for (password, verdict) in
                [("correct horse", Verdict::RightButOld), ("correct hors", Verdict::Wrong)]
            {
                let found = verify(&hasher, &secret(password), Some(stored.clone())).await;
                assert_eq!(found, Ok(verdict));
            }
            let garbage = Some("imported:garbage".into());
            assert_eq!(verify(&hasher, &secret("x"), garbage).await, Ok(Verdict::Wrong));
        }
    }
}
