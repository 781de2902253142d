//! One limit: a rate, whom it counts together, and what came of it so far.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward_config::Rate;
use governor::clock::Clock as _;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use super::table::Table;
use crate::clock::Clock;

/// A limit by the generic cell rate algorithm (ITU-T I.371): an allowance of `burst` that comes back
/// at an even pace.
#[derive(Debug)]
pub(super) struct Limit {
    /// Names it to clients, in metrics and in the log.
    pub(super) name: String,
    pub(super) rate: Rate,
    limiter: RateLimiter<u64, Table, LimiterClock, StateInformationMiddleware>,
    hash: RandomState,
    clock: Clock,
    counts: Arc<Counts>,
    /// When its latest refusal was told as an event, in seconds.
    told: Arc<AtomicU64>,
}

/// How often a limit was asked, and what it said.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// There was room.
    pub(super) allowed: AtomicU64,
    /// There was, and less than a fifth of it was left.
    pub(super) near: AtomicU64,
    /// There was none.
    pub(super) exceeded: AtomicU64,
}

/// What a limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Is there room for it?
    pub fits: bool,
    /// For how many more there is at once.
    pub remaining: u32,
    /// When there is room for one more, or if there is already, when the whole allowance is back.
    pub after: Duration,
}

/// The clock as governor reads it.
#[derive(Clone, Debug)]
struct LimiterClock(Clock);

impl governor::clock::Clock for LimiterClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Duration::from_millis(self.0.now().0).into()
    }
}

impl Limit {
    pub(super) fn new(name: String, rate: Rate, table: &Table, clock: &Clock) -> Self {
        // Rates are verified: there is a time between two requests.
        let quota = Quota::with_period(rate.every())
            .unwrap_or(Quota::per_second(rate.requests))
            .allow_burst(rate.burst);
        Self {
            name,
            rate,
            limiter: RateLimiter::new(quota, table.clone(), LimiterClock(clock.clone())),
            hash: RandomState::new(),
            clock: clock.clone(),
            counts: Arc::default(),
            told: Arc::default(),
        }
    }

    /// Goes on where the limit of the same name was: each key keeps what it has used, whatever the
    /// rate is now.
    pub(super) fn go_on(mut self, before: &Self) -> Self {
        self.hash = before.hash.clone();
        self.counts = Arc::clone(&before.counts);
        self.told = Arc::clone(&before.told);
        self
    }

    /// Measures one request of whoever `key` stands for, and takes it from their allowance.
    pub(super) fn measure(&self, key: impl Hash) -> Measure {
        // Each limit hashes in its own way, so limits share the table and no keys.
        let measure = self.check(self.hash.hash_one(key), NonZeroU32::MIN);
        self.count(&measure);
        measure
    }

    /// The same where so many gates give the allowance: each gives its share of it.
    pub(super) fn measure_share(&self, key: &str, gates: NonZeroU32) -> Measure {
        let measure = self.check(self.hash.hash_one(key), gates.min(self.rate.burst));
        self.count(&measure);
        measure
    }

    /// Takes a request from the allowance that others have counted.
    pub(super) fn follow(&self, key: &str) {
        let _ = self.check(self.hash.hash_one(key), NonZeroU32::MIN);
    }

    fn check(&self, key: u64, cells: NonZeroU32) -> Measure {
        match self.limiter.check_key_n(&key, cells) {
            Ok(Ok(state)) => {
                let remaining = state.remaining_burst_capacity();
                let used = self.rate.burst.get().saturating_sub(remaining);
                Measure { fits: true, remaining, after: self.rate.every() * used }
            }
            Ok(Err(until)) => {
                let now = self.limiter.clock().now();
                Measure { fits: false, remaining: 0, after: until.wait_time_from(now) }
            }
            // No more than the burst is ever asked for.
            Err(_) => Measure { fits: false, remaining: 0, after: self.rate.per },
        }
    }

    /// Counts what was said of a request.
    pub(super) fn count(&self, measure: &Measure) {
        let near = measure.fits && measure.remaining.saturating_mul(5) < self.rate.burst.get();
        for (counter, so) in [
            (&self.counts.allowed, measure.fits),
            (&self.counts.near, near),
            (&self.counts.exceeded, !measure.fits),
        ] {
            if so {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Is a refusal to be told as an event? Once in a second: who floods must not fill the log.
    pub(super) fn is_to_be_told(&self) -> bool {
        let now = self.clock.now().secs();
        self.told.swap(now, Ordering::Relaxed) != now
    }
}

/// Whole seconds, rounded up: who comes back after them is let in.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn limit(rate: &str, clock: &Clock) -> Limit {
        Limit::new("x".into(), Rate::parse(rate).unwrap(), &Table::new(1000), clock)
    }

    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let clock = Clock::manual(Timestamp(1_000));
        let limit = limit("60/1m burst 3", &clock);
        let said: Vec<_> = (0..4).map(|_| limit.measure("a")).collect();
        let room =
            |remaining, after| Measure { fits: true, remaining, after: Duration::from_secs(after) };
        assert_eq!(said[..3], [room(2, 1), room(1, 2), room(0, 3)]);
        assert_eq!(said[3], Measure { fits: false, ..room(0, 1) });
        assert!(limit.measure("b").fits, "another's");
        clock.advance(Duration::from_millis(999));
        assert!(!limit.measure("a").fits);
        clock.advance(Duration::from_millis(1));
        assert!(limit.measure("a").fits);
        assert!(!limit.measure("a").fits);
        let counts = [&limit.counts.allowed, &limit.counts.near, &limit.counts.exceeded];
        assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [5, 2, 3]);
    }

    proptest! {
        /// The promise in plain words: in any stretch of time no more than the burst and what
        /// comes back meanwhile; and who waits as long as they are told is let in.
        #[test]
        fn no_stretch_of_time_lets_in_more(
            waits in prop::collection::vec(0u64..400, 1..200),
            requests in 1u32..50,
            burst in 1u32..50,
        ) {
            let clock = Clock::manual(Timestamp(1_000));
            let burst = burst.min(requests);
            let limit = limit(&format!("{requests}/1s burst {burst}"), &clock);
            let mut let_in = Vec::new();
            for wait in waits {
                clock.advance(Duration::from_millis(wait));
                let measure = limit.measure(1);
                if !measure.fits {
                    clock.advance(measure.after + Duration::from_millis(1));
                    prop_assert!(limit.measure(1).fits, "told to come back after {:?}", measure.after);
                }
                let_in.push(clock.now().0);
            }
            for (from, begin) in let_in.iter().enumerate() {
                for (to, end) in let_in.iter().enumerate().skip(from) {
                    let back = (end - begin) * u64::from(requests) / 1000;
                    prop_assert!((to - from) as u64 <= back + u64::from(burst));
                }
            }
        }
    }
}
