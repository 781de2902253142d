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

/// This long, and up to half as much again by chance: gates that lost the same server do not all come
/// back at once.
pub fn jittered(pause: Duration) -> Duration {
    let mut chance = [0];
    // Without randomness all come back at once.
    let _ = aws_lc_rs::rand::fill(&mut chance);
    let [chance] = chance;
    pause + pause / 512 * u32::from(chance)
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch.
    pub fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// As RFC 3339 in UTC, with milliseconds.
    pub fn rfc3339(self) -> String {
        format!("{}{:03}Z", self.rfc3339_second(), self.0 % 1000)
    }

    /// The part of [`Self::rfc3339`] that a whole second has in common: `2026-11-22T07:13:33.`
    pub fn rfc3339_second(self) -> String {
        let (days, of_day) = (self.secs() / 86_400, self.secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.")
    }

    /// Reads what [`Self::rfc3339`] writes, and nothing else.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let of_day = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let days = days_of(year, month, day)?;
        let time = Self((days * 86_400 + of_day) * 1000 + number(20, 23)?);
        // Whatever could be read but is written otherwise is no time either.
        (time.rfc3339() == text).then_some(time)
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
/// Counts from 1 March of year 0, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0 = days + 719_468;
    let (era, of_era) = (since_march_0 / 146_097, since_march_0 % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The other way round. `None` before 1970; a day that its month does not have becomes another.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let from_march = (month + 9) % 12;
    let year = year.checked_sub(u64::from(month <= 2))?;
    let of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    days.checked_sub(719_468)
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
        self.timestamp(self.exact())
    }

    /// The same to the nanosecond, from no beginning that means anything: for measuring.
    pub fn exact(&self) -> Duration {
        match &*self.0 {
            Source::Machine { .. } => since_boot(),
            Source::Manual(now) => Duration::from_millis(now.load(Ordering::SeqCst)),
        }
    }

    /// What [`Self::now`] said when [`Self::exact`] said this.
    pub fn timestamp(&self, exact: Duration) -> Timestamp {
        match &*self.0 {
            Source::Machine { start, boot } => *start + exact.saturating_sub(*boot),
            Source::Manual(_) => Timestamp(millis(exact)),
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
    fn times_are_written_out_and_read_again() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_305_599_999, "2026-11-21T23:59:59.999Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(ms).rfc3339(), text);
            assert_eq!(Timestamp::parse_rfc3339(text), Some(Timestamp(ms)));
        }
        for text in
            ["", "2026-02-29T00:00:00.000Z", "1969-12-31T23:59:59.000Z", "2026-01-01T00:00:00Z"]
        {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = Clock::manual(Timestamp(1_000));
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Timestamp(3_000));
        assert_eq!(Timestamp(1).since(Timestamp(2)), Duration::ZERO);
    }
}
