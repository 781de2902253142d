//! Wrong guesses, counted: a state machine without clock, store or account.

use doorward_config::Lockout as Rules;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The wrong guesses at one authenticator of one principal, made by one circle of clients.
///
/// A guess is counted before it is checked, and taken back by [`Tally::default`] when it was right:
/// whoever guesses many times at once gains nothing by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// When the first of those in the window was made.
    pub first: Timestamp,
    /// Guesses in the window; none if it is over.
    pub in_window: u32,
    /// Guesses in a row, in whatever time.
    pub in_row: u32,
}

/// What is to be done with a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was counted: check it.
    Check,
    /// It was not counted, and is not to be checked: a captcha has to be solved first.
    Captcha,
    /// It was not counted. It is wrong, whatever it says.
    Lock,
    /// It was counted. It is wrong, whatever it says: there were too many in a row.
    Disable,
}

impl Tally {
    /// Decides about one more guess, and counts it if it is to be counted.
    ///
    /// The window begins with the first guess and does not slide: a guess while it is locked
    /// changes nothing. A clock that went backwards does not end it.
    pub fn admit(&mut self, rules: &Rules, now: Timestamp, captcha_solved: bool) -> Admission {
        if self.in_window > 0 && now >= self.until(rules) {
            self.in_window = 0;
        }
        if self.in_window >= rules.captcha_after && !captcha_solved {
            return Admission::Captcha;
        }
        if self.in_window >= rules.lock_after {
            return Admission::Lock;
        }
        let disabled = self.is_disabled(rules);
        if self.in_window == 0 {
            self.first = now;
        }
        self.in_window += 1;
        self.in_row = self.in_row.saturating_add(1);
        if disabled { Admission::Disable } else { Admission::Check }
    }

    /// When the window ends.
    pub fn until(&self, rules: &Rules) -> Timestamp {
        self.first + rules.lock_for
    }

    /// Is every guess wrong now?
    pub fn is_locked(&self, rules: &Rules, now: Timestamp) -> bool {
        self.in_window >= rules.lock_after && now < self.until(rules)
    }

    /// Is every guess wrong until the authenticator is set anew?
    pub fn is_disabled(&self, rules: &Rules) -> bool {
        self.in_row >= rules.disable_after
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn rules() -> Rules {
        crate::context::tests::config("").lockout.clone()
    }

    const DAY_MS: u64 = 86_400_000;

    /// A wrong guess with a solved captcha at `hour` hours.
    fn wrong(tally: &mut Tally, hour: u64) -> Admission {
        tally.admit(&rules(), Timestamp(hour * 3_600_000), true)
    }

    #[test]
    fn three_wrong_ones_demand_a_captcha_and_ten_lock() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            assert_eq!(tally.admit(&rules(), Timestamp(5), false), Admission::Check);
        }
        assert_eq!(tally.admit(&rules(), Timestamp(5), false), Admission::Captcha);
        for _ in 3..10 {
            assert_eq!(wrong(&mut tally, 1), Admission::Check);
        }
        let locked = tally;
        assert_eq!(wrong(&mut tally, 2), Admission::Lock);
        assert_eq!(tally, locked, "a guess during the lock changes nothing");
    }

    #[test]
    fn the_window_does_not_slide() {
        let mut tally = Tally::default();
        assert_eq!(wrong(&mut tally, 0), Admission::Check);
        for _ in 1..10 {
            assert_eq!(wrong(&mut tally, 23), Admission::Check);
        }
        let just_before = Timestamp(DAY_MS - 1);
        assert_eq!(tally.admit(&rules(), just_before, true), Admission::Lock);
        assert_eq!(wrong(&mut tally, 24), Admission::Check);
        assert_eq!((tally.in_window, tally.in_row), (1, 11));
    }

    #[test]
    fn f01_a_hundred_in_a_row_are_the_end_in_whatever_time() {
        let mut tally = Tally::default();
        for day in 0..100 {
            assert_eq!(wrong(&mut tally, day * 24), Admission::Check);
        }
        assert_eq!(wrong(&mut tally, 100_000), Admission::Disable);
    }

    #[test]
    fn a_clock_that_goes_backwards_ends_no_lock() {
        let mut tally = Tally::default();
        for _ in 0..10 {
            wrong(&mut tally, 1000);
        }
        assert_eq!(wrong(&mut tally, 3), Admission::Lock);
    }

    /// The plainest way to say the same: a list of when guesses were counted.
    #[derive(Default)]
    struct Model {
        counted: Vec<u64>,
        in_row: usize,
    }

    impl Model {
        fn in_window(&self, now: u64, window: u64) -> usize {
            // Windows follow each other; each begins with the first guess after the one before.
            let mut start = None;
            let mut count = 0;
            for at in &self.counted {
                if start.is_none_or(|start| *at >= start + window) {
                    (start, count) = (Some(*at), 0);
                }
                count += 1;
            }
            if start.is_some_and(|start| now < start + window) { count } else { 0 }
        }

        fn admit(&mut self, rules: &Rules, now: u64, solved: bool) -> Admission {
            let count = self.in_window(now, DAY_MS);
            if count >= rules.captcha_after as usize && !solved {
                return Admission::Captcha;
            }
            if count >= rules.lock_after as usize {
                return Admission::Lock;
            }
            self.counted.push(now);
            self.in_row += 1;
            if self.in_row > rules.disable_after as usize {
                Admission::Disable
            } else {
                Admission::Check
            }
        }
    }

    proptest! {
        #[test]
        fn a_tally_does_what_the_model_does(
            steps in prop::collection::vec((0u64..9_000_000, any::<bool>(), 0u8..40), 0..400),
            captcha_after in 0u32..5,
            lock_after in 5u32..12,
            disable_after in 12u32..40,
        ) {
            let rules = Rules { captcha_after, lock_after, disable_after, ..rules() };
            let (mut tally, mut model, mut now) = (Tally::default(), Model::default(), 0);
            for (later, solved, right) in steps {
                now += later;
                let admission = tally.admit(&rules, Timestamp(now), solved);
                prop_assert_eq!(admission, model.admit(&rules, now, solved));
                if admission == Admission::Check && right == 0 {
                    (tally, model) = (Tally::default(), Model::default());
                }
                let locked = model.in_window(now, DAY_MS)
                    >= rules.lock_after as usize;
                prop_assert_eq!(tally.is_locked(&rules, Timestamp(now)), locked);
            }
        }
    }
}
