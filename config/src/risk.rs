//! `[risk]`: what looks unusual about a sign-in, and what follows.

use std::path::PathBuf;

use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What looks unusual about a sign-in, compared with the account's earlier ones, and what follows besides alerts.",
    keys: &[
        default(
            "second_factor",
            Kind::Flag,
            "false",
            "Whoever has a second factor is asked for it at an unusual sign-in, even where login protection is off.",
        ),
        optional(
            "regions_file",
            Kind::Text(some_text),
            "A MaxMind DB file of countries or cities, read at the start; without one no region is known.",
        ),
        default(
            "history",
            Kind::Integer { least: 10, most: 1000 },
            "100",
            "How many recent sign-ins of each person are kept, to compare with and to be looked at.",
        ),
    ],
};

/// What looks unusual about a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// Is a second factor asked for then?
    pub second_factor: bool,
    /// Where the regions of addresses are.
    pub regions_file: Option<PathBuf>,
    /// How many sign-ins of each person are kept.
    pub history: u32,
}

impl Risk {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            second_factor: reader.flag("second_factor"),
            regions_file: reader.readable_file("regions_file"),
            history: u32::try_from(reader.integer("history")).unwrap_or(u32::MAX),
        }
    }
}
