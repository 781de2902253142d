//! How long things take, counted: one histogram with the same bounds everywhere.
//!
//! Counting is two uncontended additions where each thread has a histogram of its own. Nothing in it
//! is by name: which histograms there are, and what they are about, is for their owners to say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; what took longer is in a last one.
pub const BOUNDS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    total_us: AtomicU64,
}

impl Histogram {
    /// Counts one that took this long.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// What several histograms hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    buckets: [u64; BOUNDS_US.len() + 1],
    total_us: u64,
}

impl Durations {
    /// Adds them up.
    pub fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut sum = Self::default();
        for histogram in histograms {
            for (bucket, counted) in sum.buckets.iter_mut().zip(&histogram.buckets) {
                *bucket += counted.load(Ordering::Relaxed);
            }
            sum.total_us += histogram.total_us.load(Ordering::Relaxed);
        }
        sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long all of them took.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }

    /// How many took at most so long, for each bound.
    pub fn up_to(&self) -> impl Iterator<Item = (Duration, u64)> {
        BOUNDS_US.iter().zip(&self.buckets).scan(0, |below, (bound, count)| {
            *below += count;
            Some((Duration::from_micros(*bound), *below))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once_and_at_its_bound() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for us in [0, 50, 51, 10_000_000] {
            one.record(Duration::from_micros(us));
        }
        other.record(Duration::from_secs(60));
        let sum = Durations::of([&one, &other]);
        let up_to: Vec<_> = sum.up_to().map(|(_, count)| count).collect();
        assert_eq!(up_to, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!((sum.count(), sum.total()), (5, Duration::from_micros(70_000_101)));
    }
}
