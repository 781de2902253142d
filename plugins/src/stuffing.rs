//! Guessing over many names: each with few tries, so that no name's own count notices.
//!
//! Three patterns, each a set of what was tried together: many names from one client, one password
//! at many names, many clients at one name. A try is noted before it is checked, and taken back when
//! it was right; one that is not looked at is not noted, or a few requests that cost nothing could
//! shut others out. For the same reason only the client itself is ever refused: whoever shares a
//! password or a name with a guesser meets a captcha. In memory and bounded; forgotten at a restart,
//! unlike the counts of `lockout`.
//!
//! Not here: how fast one client may try (`rate_limit`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_config::{Secret, Stuffing as Rules};
use unicode_normalization::UnicodeNormalization;

use crate::account::name::NameKey;
use crate::clock::Timestamp;
use crate::network;

/// How many sets there are of each pattern. When there are more, the one with the fewest members is
/// forgotten, the oldest of them first.
const SETS_MAX: usize = 10_000;

/// What tries have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Many names from one client.
    ManyNames,
    /// One password at many names.
    OnePassword,
    /// Many clients at one name.
    ManyClients,
}

impl Pattern {
    const ALL: [Self; 3] = [Self::ManyNames, Self::OnePassword, Self::ManyClients];

    /// As it is logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManyNames => "many_names",
            Self::OnePassword => "one_password",
            Self::ManyClients => "many_clients",
        }
    }
}

/// Why a try is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// It looks like guessing: a captcha is needed.
    Captcha,
    /// It is: it may be tried again after this time.
    Refuse(Duration),
}

/// One try, in hashes by a key of the process: neither name nor password is kept.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    name: u64,
    password: u64,
    client: u64,
}

/// Remembers tries.
pub struct Stuffing {
    rules: Rules,
    hash: RandomState,
    sets: Arc<Mutex<[HashMap<u64, Set>; 3]>>,
}

/// What was tried together.
#[derive(Debug, Default)]
struct Set {
    since: Timestamp,
    members: Vec<u64>,
}

impl Try {
    /// What is common to the tries of a pattern, and what differs.
    fn of(self, pattern: Pattern) -> (u64, u64) {
        match pattern {
            Pattern::ManyNames => (self.client, self.name),
            Pattern::OnePassword => (self.password, self.name),
            Pattern::ManyClients => (self.name, self.client),
        }
    }
}

impl Stuffing {
    /// With nothing remembered.
    pub fn new(rules: &Rules) -> Self {
        Self { rules: rules.clone(), hash: RandomState::new(), sets: Arc::default() }
    }

    /// By other rules, with all that is remembered.
    pub fn again(&self, rules: &Rules) -> Self {
        Self { rules: rules.clone(), hash: self.hash.clone(), sets: Arc::clone(&self.sets) }
    }

    /// Notes a try that is about to be looked at. With it goes the
    /// pattern that now has enough members for a captcha, or for a refusal, and had not before.
    ///
    /// # Errors
    /// [`Suspicion`]: why it must not be looked at.
    pub fn note(
        &self,
        name: &NameKey,
        password: &Secret,
        client: IpAddr,
        captcha_solved: bool,
        now: Timestamp,
    ) -> Result<(Try, Option<Pattern>), Suspicion> {
        // In the form in which it is hashed.
        let password = Secret::new(password.expose().nfc().collect());
        let tried = Try {
            name: self.hash.hash_one(name),
            password: self.hash.hash_one(password.expose()),
            client: self.hash.hash_one(network::client(client)),
        };
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if self.rules.enforce {
            self.judge(&mut sets, tried, captcha_solved, now)?;
        }
        let mut noticed = None;
        for (pattern, sets) in Pattern::ALL.into_iter().zip(sets.iter_mut()) {
            let (common, differing) = tried.of(pattern);
            let set = find(sets, common, now, self.rules.window);
            // Beyond the last threshold nothing is learned from more of them.
            if !set.members.contains(&differing) && set.members.len() < self.rules.refuse_after {
                set.members.push(differing);
                let count = set.members.len();
                if count == self.rules.captcha_after || count == self.rules.refuse_after {
                    noticed = Some(pattern);
                }
            }
        }
        Ok((tried, noticed))
    }

    fn judge(
        &self,
        sets: &mut [HashMap<u64, Set>; 3],
        tried: Try,
        captcha_solved: bool,
        now: Timestamp,
    ) -> Result<(), Suspicion> {
        let mut captcha = false;
        for (pattern, sets) in Pattern::ALL.into_iter().zip(sets) {
            let (common, differing) = tried.of(pattern);
            let set = find(sets, common, now, self.rules.window);
            let others = set.members.len() - usize::from(set.members.contains(&differing));
            if others >= self.rules.refuse_after && pattern == Pattern::ManyNames {
                let over = set.since + self.rules.window;
                return Err(Suspicion::Refuse(over.since(now)));
            }
            captcha |= others >= self.rules.captcha_after;
        }
        if captcha && !captcha_solved { Err(Suspicion::Captcha) } else { Ok(()) }
    }

    /// Takes back a try that was right.
    pub fn forgive(&self, tried: Try) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        for (pattern, sets) in Pattern::ALL.into_iter().zip(sets.iter_mut()) {
            let (common, differing) = tried.of(pattern);
            if let Some(set) = sets.get_mut(&common) {
                set.members.retain(|member| *member != differing);
            }
        }
    }
}

/// The set of this key, empty if it is new or its window is over.
fn find(sets: &mut HashMap<u64, Set>, key: u64, now: Timestamp, window: Duration) -> &mut Set {
    if !sets.contains_key(&key) && sets.len() >= SETS_MAX {
        sets.retain(|_, set| now < set.since + window);
        let least = sets.iter().min_by_key(|(_, set)| (set.members.len(), set.since));
        if let Some(key) = least.map(|(key, _)| *key).filter(|_| sets.len() >= SETS_MAX) {
            sets.remove(&key);
        }
    }
    let set = sets.entry(key).or_insert_with(|| Set { since: now, members: Vec::new() });
    if now >= set.since + window {
        *set = Set { since: now, members: Vec::new() };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            enforce: true,
            captcha_after: 3,
            refuse_after: 5,
            window: Duration::from_secs(3600),
        }
    }

    struct Watch(Stuffing, Timestamp);

    impl Watch {
        /// Tries with a solved captcha or without one.
        fn try_at(
            &self,
            name: &str,
            password: &str,
            client: u32,
            solved: bool,
        ) -> Result<(), Suspicion> {
            let client = IpAddr::V4(client.into());
            let password = Secret::new(password.into());
            self.0.note(&NameKey::of(name, ""), &password, client, solved, self.1).map(drop)
        }
    }

    fn watch() -> Watch {
        Watch(Stuffing::new(&rules()), Timestamp(1_000))
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn f09_many_names_from_one_client_first_meet_a_captcha_and_then_nothing() {
        let mut watch = watch();
        let at = |watch: &Watch, number: u32, solved| {
            watch.try_at(&format!("n{number}"), &format!("p{number}"), 1, solved)
        };
        for number in 0..3 {
            assert_eq!(at(&watch, number, false), Ok(()));
        }
        assert_eq!(at(&watch, 3, false), Err(Suspicion::Captcha));
        assert_eq!(at(&watch, 2, false), Ok(()), "one of those that it tried before");
        for number in 3..5 {
            assert_eq!(at(&watch, number, true), Ok(()));
        }
        assert_eq!(at(&watch, 5, true), Err(Suspicion::Refuse(HOUR)));
        assert_eq!(watch.try_at("n9", "p9", 2, false), Ok(()), "another client");
        watch.1 = watch.1 + HOUR;
        assert_eq!(at(&watch, 6, false), Ok(()));
    }

    #[test]
    fn f09_one_password_at_many_names_needs_a_captcha_and_never_shuts_its_owner_out() {
        let watch = watch();
        for number in 0..20 {
            let solved = number >= 3;
            assert_eq!(watch.try_at(&format!("n{number}"), "123456", number, solved), Ok(()));
        }
        assert_eq!(watch.try_at("owner", "123456", 99, false), Err(Suspicion::Captcha));
        assert_eq!(watch.try_at("owner", "123456", 99, true), Ok(()));
    }

    #[test]
    fn what_is_not_looked_at_counts_for_nothing() {
        let watch = watch();
        for number in 0..50 {
            let _ = watch.try_at(&format!("n{number}"), "123456", 1, false);
        }
        let sets = watch.0.sets.lock().unwrap();
        assert!(sets.iter().flat_map(HashMap::values).all(|set| set.members.len() <= 3));
    }

    #[test]
    fn many_clients_at_one_name_are_noticed() {
        let watch = watch();
        for number in 0..3 {
            assert_eq!(watch.try_at("alice", &format!("p{number}"), number, false), Ok(()));
        }
        assert_eq!(watch.try_at("alice", "p4", 4, false), Err(Suspicion::Captcha));
    }

    #[test]
    fn the_same_mistake_again_and_again_is_one_in_whatever_unicode_form() {
        let watch = watch();
        for password in ["Zo\u{eb}", "Zoe\u{308}"].repeat(10) {
            assert_eq!(watch.try_at("alice", password, 1, false), Ok(()));
        }
        assert_eq!(watch.0.sets.lock().unwrap()[1].len(), 1);
    }

    #[test]
    fn who_was_right_is_not_counted() {
        let watch = watch();
        for number in 0..20 {
            let (name, password) = (format!("n{number}"), Secret::new(format!("p{number}")));
            let (client, name) = (IpAddr::V4(1.into()), NameKey::of(&name, ""));
            let (tried, _) = watch.0.note(&name, &password, client, false, watch.1).unwrap();
            watch.0.forgive(tried);
        }
    }

    #[test]
    fn a_crowd_of_clients_takes_no_more_memory_and_does_not_hide_the_worst() {
        let watch = watch();
        for number in 0..3 {
            watch.try_at(&format!("n{number}"), &format!("p{number}"), u32::MAX, false).unwrap();
        }
        for number in 0..12_000 {
            watch.try_at(&format!("x{number}"), &format!("y{number}"), number, false).unwrap();
        }
        assert_eq!(watch.try_at("n4", "p4", u32::MAX, false), Err(Suspicion::Captcha));
        for sets in watch.0.sets.lock().unwrap().iter() {
            assert!(sets.len() <= SETS_MAX);
        }
    }
}
