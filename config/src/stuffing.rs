//! `[stuffing]`: what guessing over many names leads to.

use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, seconds};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What guessing over many names leads to: many names from one client, one password at many names, many clients at one name. A browser that has signed in before is not affected.",
    keys: &[
        default(
            "mode",
            Kind::Choice(&["enforce", "observe"]),
            "\"enforce\"",
            "\"observe\" logs what would be refused, and refuses nothing.",
        ),
        default(
            "captcha_after",
            Kind::Integer { least: 2, most: 10_000 },
            "10",
            "After wrong tries at so many names within the window a captcha is needed as well.",
        ),
        default(
            "refuse_after",
            Kind::Integer { least: 2, most: 10_000 },
            "50",
            "After wrong tries at so many names further ones of this client get 429 until the window is over.",
        ),
        default(
            "window",
            seconds(60, 7 * 86_400),
            "\"1h\"",
            "For how long tries are remembered, from the first of them.",
        ),
    ],
};

/// What guessing over many names leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuffing {
    /// Is anything refused? If not it is only logged.
    pub enforce: bool,
    /// Names after which a captcha is demanded.
    pub captcha_after: usize,
    /// Names after which tries are refused.
    pub refuse_after: usize,
    /// How long tries are remembered, from the first.
    pub window: Duration,
}

impl Stuffing {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let number = |key| usize::try_from(reader.integer(key)).unwrap_or(usize::MAX);
        let stuffing = Self {
            enforce: reader.text("mode") != "observe",
            captcha_after: number("captcha_after"),
            refuse_after: number("refuse_after"),
            window: reader.duration("window"),
        };
        if stuffing.captcha_after > stuffing.refuse_after {
            let reason = format!("is more than refuse_after, {}.", stuffing.refuse_after);
            reader.problem("captcha_after", Fault::new(reason, "Lower it."));
        }
        stuffing
    }
}
