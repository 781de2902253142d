//! A record of the log: an event with its place in the chain.
//!
//! The hash of a record is SHA-256 over the text `doorward-audit-1`, then each of these as its length
//! in octets (8 octets, big-endian) and its octets: sequence and time in milliseconds (8 octets
//! each, big-endian), event, severity, outcome, principal, account, session, address, request id,
//! details as compact JSON with sorted names, and the hash of the record before (32 octets; zeros for
//! the first). A text that is missing has the length 2^64 - 1 and no octets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::event::{Event, tame};
use crate::clock::Timestamp;

/// The longest text of a record, in characters; the rest is cut off.
const TEXT_CHARS_MAX: usize = 512;

/// The hash of a record.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

/// One thing that happened, and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Counts from one, without holes.
    pub sequence: u64,
    /// When it happened, by the wall clock.
    #[serde(with = "written_time")]
    pub time: Timestamp,
    /// The name of the event.
    pub event: String,
    /// `info` or `warning`.
    pub severity: String,
    /// `success` or `failure`, where it is either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Id of the principal that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Name of that principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Public id of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Names the request in the access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What else there is to say.
    pub details: BTreeMap<String, String>,
    /// Hash of the record before.
    pub prev: Hash,
    /// Hash of this record.
    pub hash: Hash,
}

impl Record {
    /// The record of an event that happened at `time`, behind the record `after`.
    pub(crate) fn chain(event: &Event, time: Timestamp, after: Head) -> Self {
        let bounded = |text: &String| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
        let optional = |text: &Option<String>| text.as_ref().map(bounded);
        let details = event.details.iter();
        let mut record = Self {
            sequence: after.sequence.saturating_add(1),
            time,
            event: event.kind.name().into(),
            severity: event.kind.severity().name().into(),
            outcome: event.kind.outcome().map(Into::into),
            principal: optional(&event.principal),
            account: optional(&event.account),
            session: optional(&event.session),
            address: optional(&event.address),
            request_id: optional(&event.request_id),
            details: details.map(|(name, value)| ((*name).to_owned(), bounded(value))).collect(),
            prev: after.hash,
            hash: Hash::default(),
        };
        record.hash = record.computed_hash();
        record
    }

    /// The same, behind another record.
    pub(super) fn rechained(mut self, after: Head) -> Self {
        (self.sequence, self.prev) = (after.sequence.saturating_add(1), after.hash);
        self.hash = self.computed_hash();
        self
    }

    /// The hash that this content has.
    pub(crate) fn computed_hash(&self) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(b"doorward-audit-1");
        let mut put = |octets: Option<&[u8]>| {
            let length = octets.map_or(u64::MAX, |octets| octets.len() as u64);
            context.update(&length.to_be_bytes());
            context.update(octets.unwrap_or_default());
        };
        put(Some(&self.sequence.to_be_bytes()));
        put(Some(&self.time.0.to_be_bytes()));
        for text in [&self.event, &self.severity] {
            put(Some(text.as_bytes()));
        }
        for text in [
            &self.outcome,
            &self.principal,
            &self.account,
            &self.session,
            &self.address,
            &self.request_id,
        ] {
            put(text.as_ref().map(String::as_bytes));
        }
        put(Some(self.details_text().as_bytes()));
        put(Some(&self.prev.0));
        let digest = context.finish();
        Hash(digest.as_ref().try_into().unwrap_or_default())
    }

    /// Details as compact JSON with sorted names.
    pub(crate) fn details_text(&self) -> String {
        // Texts by texts are JSON whatever they are.
        serde_json::to_string(&self.details).unwrap_or_default()
    }

    /// Its one line in a file: JSON, without the end of the line. What turns writing round on a
    /// screen has been taken out of the texts when they were recorded.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where it stands.
    pub(crate) fn head(&self) -> Head {
        Head { sequence: self.sequence, hash: self.hash }
    }

    /// A line for people, which cannot steer a terminal whoever wrote the record.
    pub fn for_people(&self) -> String {
        let mut line = format!("{:>8}  {}  {:28}", self.sequence, self.time.rfc3339(), self.event);
        for (name, value) in [
            ("account", &self.account),
            ("principal", &self.principal),
            ("session", &self.session),
            ("address", &self.address),
            ("request", &self.request_id),
        ] {
            if let Some(value) = value {
                let _ = write!(line, " {name}={value}");
            }
        }
        for (name, value) in &self.details {
            // A signature is no reading for people.
            if name != "seal" {
                let _ = write!(line, " {name}={value}");
            }
        }
        tame(&line)
    }
}

/// The end of a chain, or any place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Of the record there; zero before the first.
    pub sequence: u64,
    /// Of the record there; zeros before the first.
    pub hash: Hash,
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octets = text.as_bytes().chunks(2).map(|pair| {
            let digits = std::str::from_utf8(pair).ok()?;
            // `from_str_radix` takes a sign.
            pair.iter().all(u8::is_ascii_hexdigit).then_some(())?;
            u8::from_str_radix(digits, 16).ok()
        });
        let octets: Option<Vec<u8>> = octets.collect();
        let hash = octets.and_then(|octets| octets.try_into().ok()).map(Self);
        hash.ok_or_else(|| serde::de::Error::custom("a hash has 64 hexadecimal digits"))
    }
}

/// Times as RFC 3339 in UTC, with milliseconds.
mod written_time {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.rfc3339())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = Timestamp::parse_rfc3339(&text);
        time.ok_or_else(|| serde::de::Error::custom("a time is written 2026-11-22T07:13:33.000Z"))
    }
}

/// The JSON Schema of a record, as it is exported.
pub fn schema() -> serde_json::Value {
    let events: Vec<_> = super::EventKind::ALL.iter().map(|kind| kind.name()).collect();
    let text = |description: &str| {
        // JSON Schema counts characters as we do.
        serde_json::json!({"type": "string", "maxLength": TEXT_CHARS_MAX, "description": description})
    };
    let hash = |description: &str| serde_json::json!({"type": "string", "pattern": "^[0-9a-f]{64}$", "description": description});
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A record of Doorward's audit log",
        "type": "object",
        "additionalProperties": false,
        "required": ["sequence", "time", "event", "severity", "details", "prev", "hash"],
        "properties": {
            "sequence": {"type": "integer", "minimum": 1, "description": "Counts from one, without holes."},
            "time": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$", "description": "When it happened, RFC 3339 in UTC."},
            "event": {"enum": events, "description": "What happened."},
            "severity": {"enum": ["info", "warning"], "description": "Whether somebody may want to look at it."},
            "outcome": {"enum": ["success", "failure"], "description": "What came of it, where something was tried."},
            "principal": text("Id of the principal that it is about."),
            "account": text("Name of that principal; never as somebody typed it."),
            "session": text("Public id of the session."),
            "address": text("Where it came from."),
            "request_id": text("Names the request in the access log."),
            "details": {"type": "object", "additionalProperties": {"type": "string", "maxLength": TEXT_CHARS_MAX}, "description": "What else there is to say."},
            "prev": hash("Hash of the record before; zeros for the first."),
            "hash": hash("Hash of this record."),
        },
    })
}
