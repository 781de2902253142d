//! Where limits keep what they know of each key: a table that never grows.
//!
//! A key has eight places where it may stand. When they are taken it takes the place of the key that
//! asked least of late, which by then has most of its allowance back. So memory is bounded, nothing
//! is ever swept, and who has more addresses than there is room for gains what each of them may do,
//! which they would have had anyway.

use std::sync::{Arc, Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Locks that different keys take.
const SHARDS: usize = 64;

/// Places of one key.
const WAYS: usize = 8;

/// What all limits know of all keys. A key is a keyed hash, so that nobody chooses its places.
#[derive(Clone, Debug)]
pub(super) struct Table(Arc<[Shard]>);

/// Pairs of a key, zero where there is none, and its theoretical arrival time in nanoseconds.
/// Memory that was never written to is not taken from the system.
type Shard = Mutex<Vec<[u64; 2]>>;

impl Table {
    /// Room for this many keys, or a few more.
    pub(super) fn new(keys_max: usize) -> Self {
        let places = keys_max.div_ceil(SHARDS * WAYS).max(1) * WAYS;
        Self((0..SHARDS).map(|_| Mutex::new(vec![[0; 2]; places])).collect())
    }

    /// The state of a key.
    pub(super) fn get(&self, key: u64) -> Option<u64> {
        let looked = self.replace(key, Err::<((), u64), _>);
        looked.err().flatten()
    }

    /// Sets the state of a key.
    pub(super) fn set(&self, key: u64, state: u64) {
        let _ = self.replace(key, |_| Ok::<_, ()>(((), state)));
    }

    /// Changes the state of a key.
    fn replace<T, E>(
        &self,
        key: u64,
        change: impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let key = key.max(1);
        let (shard, place) = (key % SHARDS as u64, key / SHARDS as u64);
        let Some(shard) = self.0.get(usize::try_from(shard).unwrap_or_default()) else {
            return change(None).map(|(done, _)| done);
        };
        let mut places = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let sets = (places.len() / WAYS) as u64;
        let first = usize::try_from(place % sets.max(1)).unwrap_or_default() * WAYS;
        let set = places.get_mut(first..first + WAYS).unwrap_or_default();
        let found = set.iter().position(|[of, _]| *of == key);
        let known = found.and_then(|index| set.get(index)).map(|[_, state]| *state);
        let (done, state) = change(known)?;
        let least = || set.iter().enumerate().min_by_key(|(_, [_, state])| *state);
        let index = found.or_else(|| least().map(|(index, _)| index)).unwrap_or_default();
        if let Some(place) = set.get_mut(index) {
            *place = [key, state];
        }
        Ok(done)
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, change: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.replace(*key, |known| {
            let (done, state) = change(known.map(Nanos::from))?;
            Ok((done, state.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets the state of a key, and gives what it was.
    fn set(table: &Table, key: u64, state: u64) -> Option<u64> {
        table.replace(key, |known| Ok::<_, ()>((known, state))).unwrap()
    }

    #[test]
    fn a_key_keeps_its_state_until_its_places_are_needed() {
        let table = Table::new(1);
        let stride = SHARDS as u64;
        for number in 1..=8 {
            assert_eq!(set(&table, number * stride, 100 - number), None);
        }
        assert_eq!(set(&table, stride, 200), Some(99));
        assert_eq!(set(&table, 9 * stride, 50), None);
        assert_eq!(set(&table, 8 * stride, 300), None, "it had asked least of late");
        assert_eq!(set(&table, stride, 1), Some(200));
    }

    #[test]
    fn what_is_refused_leaves_no_trace() {
        let table = Table::new(1000);
        set(&table, 5, 7);
        assert_eq!(table.replace(5, |_| Err::<((), u64), _>("no")), Err("no"));
        assert_eq!(set(&table, 5, 7), Some(7));
    }

    /// A million addresses in room for a thousand: no more memory, and the one that goes on
    /// asking is remembered.
    #[test]
    fn memory_does_not_grow_with_the_number_of_keys() {
        let table = Table::new(1000);
        let hash = std::hash::RandomState::new();
        let places = || table.0.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        let before = places();
        set(&table, 77, u64::MAX);
        for number in 0..1_000_000_u64 {
            set(&table, std::hash::BuildHasher::hash_one(&hash, number), number);
        }
        assert_eq!(set(&table, 77, u64::MAX), Some(u64::MAX));
        assert_eq!((before, places()), (1024, 1024));
    }
}
