//! `[notify]`: how messages leave the gate.
//!
//! Clear text is no option: mail goes by TLS, from the first octet or after STARTTLS, and services
//! are asked by HTTPS, or within this machine.

mod smtp;

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::secret::{Secret, read_secret};
use crate::service_url::{ServiceUrl, verify_service_url};
use crate::spec::{Kind, TableSpec, default, optional, required, seconds};
use crate::text::some_text;

pub use smtp::{Smtp, SmtpTls};

const DAY: u64 = 86_400;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "How messages leave the gate: codes, and what owners of accounts and operators are told. What no table below is for is not sent.",
    keys: &[
        optional(
            "outbox_dir",
            Kind::Text(some_text),
            "Every message is written into this folder as a file instead of being sent: for demonstrations and tests.",
        ),
        default(
            "keep",
            seconds(0, 400 * DAY),
            "\"7d\"",
            "How long the gate remembers what came of a message; its text is gone once that is known.",
        ),
        default(
            "queue_max",
            Kind::Integer { least: 10, most: 1_000_000 },
            "10000",
            "How many messages may wait for each way out. When there are more, codes are refused, and what else would be told is only logged.",
        ),
        default(
            "retry_first",
            seconds(1, 3600),
            "\"5s\"",
            "When a message that was not taken is tried again; each further wait is twice as long, a quarter more or less by chance.",
        ),
        default("retry_max", seconds(1, DAY), "\"15m\"", "The longest of these waits."),
        default(
            "tries_max",
            Kind::Integer { least: 1, most: 1000 },
            "20",
            "After so many tries a message is given up.",
        ),
        default(
            "age_max",
            seconds(60, 30 * DAY),
            "\"1d\"",
            "When it has waited for this long it is given up as well; a code when it is worth nothing any more.",
        ),
        optional("smtp", Kind::Table(&smtp::SPEC), "The server that takes e-mail."),
        optional(
            "text_message",
            Kind::Table(&SERVICE),
            "The service that sends text messages: a small adapter of yours, or of your provider's.",
        ),
        optional(
            "webhook",
            Kind::Table(&SERVICE),
            "The service that is told what concerns operators.",
        ),
    ],
};

static SERVICE: TableSpec = TableSpec {
    doc: "A service that gets messages by POST, as JSON, signed by the rules of Standard Webhooks. A message may come twice, with the same webhook-id.",
    keys: &[
        required(
            "url",
            Kind::Text(verify_service_url),
            "Where it takes them: https, or http within this machine.",
        ),
        optional(
            "secret_file",
            Kind::Text(some_text),
            "File with the key of the signature: 24 bytes at least; after \"whsec_\", in base64.",
        ),
        optional(
            "secret_env",
            Kind::Text(some_text),
            "The same from an environment variable of this name.",
        ),
        optional(
            "ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that it is verified with, instead of the system's.",
        ),
        default("timeout", TIMEOUT, "\"10s\"", "How long it may take."),
    ],
};

/// How long somebody else may take with a message.
const TIMEOUT: Kind =
    Kind::Duration { least: Duration::from_millis(100), most: Duration::from_secs(300) };

/// How messages leave the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Every message becomes a file here instead of being sent.
    pub outbox_dir: Option<PathBuf>,
    /// How long it is remembered what came of a message.
    pub keep: Duration,
    /// How many messages may wait for each way out.
    pub queue_max: u64,
    /// When a message is tried for the second time.
    pub retry_first: Duration,
    /// The longest wait before another try.
    pub retry_max: Duration,
    /// How often it is tried.
    pub tries_max: u32,
    /// For how long it is tried.
    pub age_max: Duration,
    /// Where e-mail goes.
    pub smtp: Option<Smtp>,
    /// Where text messages go.
    pub text_message: Option<MessageService>,
    /// Where operators are told.
    pub webhook: Option<MessageService>,
}

/// A service that takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageService {
    /// Where.
    pub url: ServiceUrl,
    /// Key of the signature.
    pub secret: Secret,
    /// Whom it is verified with, if not with the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Notify {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let table = |name| reader.has(name).then(|| reader.table(name));
        let notify = Self {
            outbox_dir: reader.optional_file("outbox_dir"),
            keep: reader.duration("keep"),
            queue_max: reader.integer("queue_max"),
            retry_first: reader.duration("retry_first"),
            retry_max: reader.duration("retry_max"),
            tries_max: u32::try_from(reader.integer("tries_max")).unwrap_or(u32::MAX),
            age_max: reader.duration("age_max"),
            smtp: table("smtp").and_then(|table| Smtp::read(&table)),
            text_message: table("text_message").and_then(|table| MessageService::read(&table)),
            webhook: table("webhook").and_then(|table| MessageService::read(&table)),
        };
        if notify.retry_first > notify.retry_max {
            reader.problem("retry_first", Fault::new("is more than retry_max.", "Lower it."));
        }
        for other in ["smtp", "text_message", "webhook"] {
            if notify.outbox_dir.is_some() && reader.has(other) {
                let reason = format!("is given, and {other} as well.");
                let advice = "Remove one: with an outbox nothing is sent.";
                reader.problem("outbox_dir", Fault::new(reason, advice));
            }
        }
        notify
    }
}

impl MessageService {
    /// `None`: it has a problem, which is noted.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let secret = read_secret(reader, "secret_file", "secret_env", 24);
        if !reader.has("secret_file") && !reader.has("secret_env") {
            let advice = "Name a file with a key: head -c 32 /dev/urandom | base64";
            reader.problem("secret_file", Fault::new("is missing.", advice));
        }
        let ca_file = reader.readable_file("ca_file");
        Some(Self {
            url: ServiceUrl::parse(&reader.optional_text("url")?).ok()?,
            secret: secret?,
            ca_file,
            timeout: reader.duration("timeout"),
        })
    }
}

#[cfg(test)]
mod tests;
