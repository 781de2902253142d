//! `[lockout]`: what wrong guesses lead to.

use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, seconds};

const DAY: u64 = 86_400;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What wrong passwords lead to. Known and unknown names are treated alike.",
    keys: &[
        default(
            "mode",
            Kind::Choice(&["enforce", "observe"]),
            "\"enforce\"",
            "\"observe\" counts and logs what would be refused, and refuses nothing.",
        ),
        default(
            "captcha_after",
            Kind::Integer { least: 0, most: 1000 },
            "3",
            "After so many wrong passwords every further try needs a captcha as well.",
        ),
        default(
            "lock_after",
            Kind::Integer { least: 1, most: 1000 },
            "10",
            "After so many wrong passwords nobody gets in until lock_for is over.",
        ),
        default(
            "lock_for",
            seconds(60, 30 * DAY),
            "\"24h\"",
            "Wrong passwords are counted, and the lock lasts, for this time from the first of them. It does not slide.",
        ),
        default(
            "disable_after",
            Kind::Integer { least: 1, most: 100 },
            "100",
            "After so many wrong passwords in a row, in whatever time, the password is good for nothing until it is set anew or the lock is lifted (NIST SP 800-63B-4 §3.2.2: 100 at most).",
        ),
        default(
            "device_for",
            seconds(0, 400 * DAY),
            "\"90d\"",
            "A browser that has signed in has a count of its own for this time, so that strangers cannot lock its owner out. 0s: no browser has.",
        ),
        default(
            "unknown_names_max",
            Kind::Integer { least: 1000, most: 10_000_000 },
            "100000",
            "For how many names that nobody has guesses are counted. Then those with the fewest are forgotten first, and every browser that is not known needs a captcha.",
        ),
    ],
};

/// What wrong guesses lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Is anything refused? If not it is only counted and logged.
    pub enforce: bool,
    /// Wrong passwords after which a captcha is demanded.
    pub captcha_after: u32,
    /// Wrong passwords after which nobody gets in.
    pub lock_after: u32,
    /// How long guesses are counted, and how long the lock lasts, from the first.
    pub lock_for: Duration,
    /// Wrong passwords in a row after which the password is dead.
    pub disable_after: u32,
    /// For how long a browser that has signed in is known; zero: never.
    pub device_for: Duration,
    /// How many unknown names are counted.
    pub unknown_names_max: u64,
}

impl Lockout {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let number = |key| u32::try_from(reader.integer(key)).unwrap_or(u32::MAX);
        let lockout = Self {
            enforce: reader.text("mode") != "observe",
            captcha_after: number("captcha_after"),
            lock_after: number("lock_after"),
            lock_for: reader.duration("lock_for"),
            disable_after: number("disable_after"),
            device_for: reader.duration("device_for"),
            unknown_names_max: reader.integer("unknown_names_max"),
        };
        if lockout.captcha_after > lockout.lock_after {
            let reason = format!("is more than lock_after, {}.", lockout.lock_after);
            reader.problem("captcha_after", Fault::new(reason, "Lower it."));
        }
        if lockout.lock_after > lockout.disable_after {
            let reason = format!("is more than disable_after, {}.", lockout.disable_after);
            reader.problem("lock_after", Fault::new(reason, "Lower it."));
        }
        lockout
    }
}
