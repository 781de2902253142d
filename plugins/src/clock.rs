//! The one place that reads time.
//!
//! There are two readings, because they answer different questions. [`Clock::now`] is steady: it
//! starts as the wall clock and then counts elapsed time, suspended time included, so that setting
//! the machine's clock neither ends sessions nor prolongs them. [`Clock::wall`] is what other
//! machines would say, for times that others compare, such as the `exp` of an assertion.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch.
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the time. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// The machine's: wall time at start, and what `CLOCK_BOOTTIME` said then.
    Machine { start: Timestamp, boot: Duration },
    /// One that only moves when told to.
    Manual(AtomicU64),
}

impl Clock {
    /// The machine's clock.
    pub fn machine() -> Self {
        Self(Arc::new(Source::Machine { start: machine_wall(), boot: since_boot() }))
    }

    /// A clock that stands at `at` until [`Self::advance`] moves it. For tests, which get it by
    /// calling this; no setting of the binary leads here.
    pub fn manual(at: Timestamp) -> Self {
        Self(Arc::new(Source::Manual(AtomicU64::new(at.0))))
    }

    /// Moves a manual clock; the machine's does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &*self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Steady time: for how long something has lasted.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Machine { start, boot } => *start + since_boot().saturating_sub(*boot),
            Source::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Wall time: what others would say.
    pub fn wall(&self) -> Timestamp {
        match &*self.0 {
            Source::Machine { .. } => machine_wall(),
            Source::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }
}

fn machine_wall() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
    let now = SystemTime::now();
    Timestamp(now.duration_since(UNIX_EPOCH).map_or(0, millis))
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o07_the_machine_clock_is_steady_and_agrees_with_the_wall() {
        let clock = Clock::machine();
        let (first, wall, second) = (clock.now(), clock.wall(), clock.now());
        assert!(first <= second);
        assert!(
            wall.since(first) < Duration::from_secs(5)
                && first.since(wall) < Duration::from_secs(5)
        );
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = Clock::manual(Timestamp(1_000));
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Timestamp(3_000));
        assert_eq!(Timestamp(1).since(Timestamp(2)), Duration::ZERO);
    }
}
