//! How long a backend takes, and how often it fails, by kind of operation: never by what was asked.
//!
//! A backend has one [`Timings`], gives it as `Backend::timings`, and has every call to its server or
//! file go through [`Timings::of`].

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreError;
use crate::clock::Clock;
use crate::histogram::Histogram;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It looks something up.
    Read,
    /// It changes something, durably.
    Write,
}

impl Operation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Why calls fail, as metrics name it; in the order in which failures are counted.
pub const FAILURES: [&str; 4] = ["failed", "corrupt", "timeout", "unreachable"];

/// What is known of the calls to one backend.
#[derive(Debug)]
pub struct Timings {
    clock: Clock,
    reads: Counted,
    writes: Counted,
}

/// What is known of calls of one kind.
#[derive(Debug, Default)]
pub struct Counted {
    /// How long they took, those that failed included.
    pub took: Histogram,
    failures: [AtomicU64; FAILURES.len()],
}

impl Counted {
    /// How many failed, by each of [`FAILURES`].
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAILURES.into_iter().zip(self.failures.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

impl Default for Timings {
    fn default() -> Self {
        // What a server takes is so much of the machine's time, also where a test's clock stands.
        Self { clock: Clock::machine(), reads: Counted::default(), writes: Counted::default() }
    }
}

impl Timings {
    /// Does `work` and notes how long it took and what came of it. What nobody waited for to the end
    /// is not noted.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn of<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = self.clock.exact();
        let result = work.await;
        let counted = self.counted(operation);
        counted.took.record(self.clock.exact().saturating_sub(began));
        let failure = match &result {
            // These are answers.
            Ok(_) | Err(StoreError::Taken | StoreError::Changed) => return result,
            Err(StoreError::Failed(_)) => 0,
            Err(StoreError::Corrupt(_)) => 1,
            Err(StoreError::Timeout) => 2,
            Err(StoreError::Unreachable(_)) => 3,
        };
        if let Some(count) = counted.failures.get(failure) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// What is known of calls of this kind.
    pub fn counted(&self, operation: Operation) -> &Counted {
        match operation {
            Operation::Read => &self.reads,
            Operation::Write => &self.writes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Durations;

    #[tokio::test]
    async fn every_call_is_counted_and_failures_by_their_cause() {
        let timings = Timings::default();
        timings.of(Operation::Read, async { Ok(()) }).await.unwrap();
        let taken = timings.of(Operation::Write, async { Err::<(), _>(StoreError::Taken) }).await;
        assert!(matches!(taken, Err(StoreError::Taken)));
        let late = timings.of(Operation::Write, async { Err::<(), _>(StoreError::Timeout) }).await;
        assert!(matches!(late, Err(StoreError::Timeout)));
        let count = |operation| Durations::of([&timings.counted(operation).took]).count();
        assert_eq!((count(Operation::Read), count(Operation::Write)), (1, 2));
        let failures: Vec<_> = timings.counted(Operation::Write).failures().collect();
        assert_eq!(failures, [("failed", 0), ("corrupt", 0), ("timeout", 1), ("unreachable", 0)]);
        assert_eq!(timings.counted(Operation::Read).failures().map(|(_, n)| n).sum::<u64>(), 0);
    }
}
