//! Guessing over many names: each with few tries, so that no name's own count notices.
//!
//! Three patterns, each a set of what was tried together: many names from one client, one password
//! at many names, many clients at one name. A try is noted before it is checked, and taken back when
//! it was right. In memory and bounded; forgotten at a restart, unlike the counts of `lockout`.
//!
//! Not here: how fast one client may try (`rate_limit`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorward_config::{Secret, Stuffing as Rules};

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

/// What is to be done with a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Nothing is suspicious.
    None,
    /// It looks like guessing: a captcha is needed.
    Captcha,
    /// It is: it is not looked at. May be tried again after this time.
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
    sets: [Mutex<HashMap<u64, Set>>; 3],
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
        Self { rules: rules.clone(), hash: RandomState::new(), sets: Default::default() }
    }

    /// Is anything refused, or only logged?
    pub fn enforces(&self) -> bool {
        self.rules.enforce
    }

    /// Notes a try. Gives what is to be done with it, and the pattern that now has enough members
    /// for a captcha, or for a refusal, and had not before.
    pub fn note(
        &self,
        name: &NameKey,
        password: &Secret,
        client: IpAddr,
        now: Timestamp,
    ) -> (Try, Suspicion, Option<Pattern>) {
        let tried = Try {
            name: self.hash.hash_one(name),
            password: self.hash.hash_one(password.expose()),
            client: self.hash.hash_one(network::client(client)),
        };
        let (mut worst, mut noticed) = (Suspicion::None, None);
        for (pattern, sets) in Pattern::ALL.into_iter().zip(&self.sets) {
            let (common, differing) = tried.of(pattern);
            let mut sets = sets.lock().unwrap_or_else(PoisonError::into_inner);
            let set = find(&mut sets, common, now, self.rules.window);
            let known = set.members.contains(&differing);
            let others = set.members.len() - usize::from(known);
            if others >= self.rules.refuse_after {
                let over = set.since + self.rules.window;
                worst = Suspicion::Refuse(over.since(now));
                continue;
            }
            if others >= self.rules.captcha_after && worst == Suspicion::None {
                worst = Suspicion::Captcha;
            }
            if !known {
                set.members.push(differing);
                let count = set.members.len();
                if count == self.rules.captcha_after || count == self.rules.refuse_after {
                    noticed = Some(pattern);
                }
            }
        }
        (tried, worst, noticed)
    }

    /// Takes back a try that was right.
    pub fn forgive(&self, tried: Try) {
        for (pattern, sets) in Pattern::ALL.into_iter().zip(&self.sets) {
            let (common, differing) = tried.of(pattern);
            let mut sets = sets.lock().unwrap_or_else(PoisonError::into_inner);
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
        fn try_at(&self, name: &str, password: &str, client: u32) -> Suspicion {
            let client = IpAddr::V4(client.into());
            let password = Secret::new(password.into());
            self.0.note(&NameKey::of(name, ""), &password, client, self.1).1
        }
    }

    fn watch() -> Watch {
        Watch(Stuffing::new(&rules()), Timestamp(1_000))
    }

    #[test]
    fn f09_many_names_from_one_client_first_meet_a_captcha_and_then_nothing() {
        let mut watch = watch();
        let said: Vec<_> =
            (0..7).map(|n| watch.try_at(&format!("n{n}"), &format!("p{n}"), 1)).collect();
        let hour = Suspicion::Refuse(Duration::from_secs(3600));
        let (none, captcha) = (Suspicion::None, Suspicion::Captcha);
        assert_eq!(said, [none, none, none, captcha, captcha, hour, hour]);
        assert_eq!(watch.try_at("n9", "p9", 2), Suspicion::None, "another client");
        watch.1 = watch.1 + Duration::from_secs(3600);
        assert_eq!(watch.try_at("n8", "p8", 1), Suspicion::None);
    }

    #[test]
    fn f09_one_password_at_many_names_is_noticed_from_wherever_it_is_tried() {
        let watch = watch();
        let said: Vec<_> = (0..6).map(|n| watch.try_at(&format!("n{n}"), "123456", n)).collect();
        assert_eq!(said[3], Suspicion::Captcha);
        assert!(matches!(said[5], Suspicion::Refuse(_)));
    }

    #[test]
    fn many_clients_at_one_name_are_noticed() {
        let watch = watch();
        let said: Vec<_> = (0..4).map(|n| watch.try_at("alice", &format!("p{n}"), n)).collect();
        assert_eq!(said[3], Suspicion::Captcha);
    }

    #[test]
    fn the_same_mistake_again_and_again_is_one() {
        let watch = watch();
        for _ in 0..20 {
            assert_eq!(watch.try_at("alice", "old password", 1), Suspicion::None);
        }
    }

    #[test]
    fn who_was_right_is_not_counted() {
        let watch = watch();
        for number in 0..20 {
            let (name, password) = (format!("n{number}"), Secret::new(format!("p{number}")));
            let client = IpAddr::V4(1.into());
            let (tried, suspicion, _) =
                watch.0.note(&NameKey::of(&name, ""), &password, client, watch.1);
            assert_eq!(suspicion, Suspicion::None);
            watch.0.forgive(tried);
        }
    }

    #[test]
    fn a_crowd_of_clients_takes_no_more_memory_and_does_not_hide_the_worst() {
        let watch = watch();
        for number in 0..4 {
            watch.try_at(&format!("n{number}"), &format!("p{number}"), u32::MAX);
        }
        for number in 0..12_000 {
            watch.try_at(&format!("x{number}"), &format!("y{number}"), number);
        }
        assert_eq!(watch.try_at("n4", "p4", u32::MAX), Suspicion::Captcha);
        for sets in &watch.0.sets {
            assert!(sets.lock().unwrap().len() <= SETS_MAX);
        }
    }
}
