//! `[codes]`: codes that are sent to a phone or an address.

use std::time::Duration;

use crate::problem::Fault;
use crate::rate_limit::{Rate, verify_rate};
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, seconds};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Codes of six digits, sent by text message or e-mail.",
    keys: &[
        default(
            "life",
            seconds(30, 600),
            "\"5m\"",
            "How long a code by text message is good (NIST SP 800-63B-4 §3.1.3.2: 10 minutes at most).",
        ),
        default(
            "email_life",
            seconds(30, 1800),
            "\"10m\"",
            "How long a code by e-mail is good; 10 minutes at most where it signs somebody in or approves something.",
        ),
        default(
            "tries",
            Kind::Integer { least: 1, most: 10 },
            "5",
            "How many wrong codes end a code. Asking for another one gives no more tries.",
        ),
        default(
            "interval",
            seconds(1, 3600),
            "\"1m\"",
            "The least time between two codes to one phone or address, whoever asks.",
        ),
        default(
            "per_hour",
            Kind::Integer { least: 1, most: 100 },
            "5",
            "The most codes to one phone or address within an hour.",
        ),
        default(
            "per_day",
            Kind::Integer { least: 1, most: 1000 },
            "10",
            "The most codes to one phone or address within a day.",
        ),
        default(
            "address",
            Kind::Text(verify_rate),
            "\"60/1h burst 20\"",
            "Codes that are asked for from one client address (IPv6: from one /64).",
        ),
    ],
};

/// Rules for codes that are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// How long a code by text message is good.
    pub life: Duration,
    /// How long a code by e-mail is good.
    pub email_life: Duration,
    /// How many wrong codes end a code.
    pub tries: u32,
    /// The least time between two codes to one destination.
    pub interval: Duration,
    /// The most codes to one destination within an hour.
    pub per_hour: u32,
    /// The most codes to one destination within a day.
    pub per_day: u32,
    /// Codes that are asked for from one address.
    pub address: Rate,
}

impl Codes {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let number = |key| u32::try_from(reader.integer(key)).unwrap_or(u32::MAX);
        let codes = Self {
            life: reader.duration("life"),
            email_life: reader.duration("email_life"),
            tries: number("tries"),
            interval: reader.duration("interval"),
            per_hour: number("per_hour"),
            per_day: number("per_day"),
            // What cannot be read is noted, and the configuration never used.
            address: Rate::parse(&reader.text("address")).unwrap_or(Rate::ONE_A_SECOND),
        };
        if codes.per_hour > codes.per_day {
            reader.problem("per_hour", Fault::new("is more than per_day.", "Lower it."));
        }
        codes
    }
}
