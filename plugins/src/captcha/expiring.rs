//! A bounded table of things that hold until a time.
//!
//! What has run out makes room for others; what has not is never forgotten, and a full table takes
//! nothing more.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::Timestamp;

/// How often a full table is looked through for what has run out.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Keys, each until a time.
pub(super) struct Expiring<K> {
    entries: HashMap<K, Timestamp>,
    room: usize,
    swept: Timestamp,
}

impl<K: Eq + Hash> Expiring<K> {
    pub(super) fn new(room: usize) -> Self {
        Self { entries: HashMap::new(), room, swept: Timestamp(0) }
    }

    /// Until when it holds, if it does now.
    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<Timestamp> {
        self.entries.get(key).copied().filter(|until| *until > now)
    }

    /// Notes it, or moves its time; `false` if there is no room for another one.
    pub(super) fn put(&mut self, key: K, until: Timestamp, now: Timestamp) -> bool {
        let known = self.entries.contains_key(&key);
        if !known && self.entries.len() >= self.room {
            if now.since(self.swept) >= SWEEP_EVERY {
                self.swept = now;
                self.entries.retain(|_, until| *until > now);
            }
            if self.entries.len() >= self.room {
                return false;
            }
        }
        self.entries.insert(key, until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_never_forgotten_and_what_has_run_out_makes_room() {
        let at = |secs: u64| Timestamp(secs * 1000);
        let mut table = Expiring::new(2);
        assert!(table.put("a", at(10), at(1)) && table.put("b", at(20), at(1)));
        assert!(!table.put("c", at(30), at(2)), "there was no room");
        assert_eq!(table.get(&"a", at(9)), Some(at(10)));
        assert!(table.put("a", at(11), at(2)), "its own place is there");
        assert_eq!(table.get(&"a", at(11)), None);
        assert!(table.put("c", at(30), at(11)), "a has run out");
        assert_eq!(table.get(&"b", at(11)), Some(at(20)));
        assert!(!table.put("d", at(30), at(12)));
    }
}
