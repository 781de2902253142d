//! `[notify.smtp]`: the server that takes e-mail.

use std::path::PathBuf;
use std::time::Duration;

use super::TIMEOUT;
use crate::problem::Fault;
use crate::reader::Reader;
use crate::secret::{Secret, read_secret};
use crate::spec::{Kind, TableSpec, default, optional, required};
use crate::text::some_text;

pub(super) static SPEC: TableSpec = TableSpec {
    doc: "The server that takes e-mail.",
    keys: &[
        required("host", Kind::Text(verify_host), "Its name, which its certificate has to show."),
        optional(
            "port",
            Kind::Integer { least: 1, most: 65_535 },
            "587 for starttls and 465 for implicit when left out.",
        ),
        default(
            "tls",
            Kind::Choice(&["starttls", "implicit"]),
            "\"starttls\"",
            "\"starttls\": TLS begins after a few words in clear, and nothing is sent to a server that does not offer it; \"implicit\": TLS from the first octet.",
        ),
        optional(
            "user",
            Kind::Text(verify_line),
            "Whom the gate signs in as; nobody when left out.",
        ),
        optional("password_file", Kind::Text(some_text), "File with the password."),
        optional(
            "password_env",
            Kind::Text(some_text),
            "The same from an environment variable of this name.",
        ),
        required(
            "from",
            Kind::Text(verify_mailbox),
            "Whom messages come from, for example \"gate@example.com\".",
        ),
        optional("from_name", Kind::Text(verify_line), "The name beside that address."),
        optional(
            "ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that the server is verified with, instead of the system's.",
        ),
        default(
            "timeout",
            TIMEOUT,
            "\"30s\"",
            "How long the way to the message may take, and then how long the message itself.",
        ),
    ],
};

/// The server that takes e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When TLS begins.
    pub tls: SmtpTls,
    /// Name and password to sign in with.
    pub credentials: Option<(String, Secret)>,
    /// Whom messages come from: a plain address.
    pub from: String,
    /// The name beside it.
    pub from_name: Option<String>,
    /// Whom the server is verified with, if not with the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// How long each half of the exchange may take.
    pub timeout: Duration,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// After STARTTLS (RFC 3207), which is enforced.
    StartTls,
    /// With the first octet (RFC 8314 §3.3).
    Implicit,
}

impl Smtp {
    /// `None`: it has a problem, which is noted.
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let tls = match reader.text("tls").as_str() {
            "implicit" => SmtpTls::Implicit,
            _ => SmtpTls::StartTls,
        };
        let password = read_secret(reader, "password_file", "password_env", 1);
        let has_password = reader.has("password_file") || reader.has("password_env");
        match (reader.has("user"), has_password) {
            (true, false) => {
                let advice = "A user needs a password.";
                reader.problem("password_file", Fault::new("is missing.", advice));
            }
            (false, true) => {
                reader.problem("user", Fault::new("is missing.", "A password needs a user."));
            }
            _ => {}
        }
        let port = reader.optional_integer("port").and_then(|port| u16::try_from(port).ok());
        let ca_file = reader.readable_file("ca_file");
        Some(Self {
            host: reader.optional_text("host")?,
            port: port.unwrap_or(match tls {
                SmtpTls::StartTls => 587,
                SmtpTls::Implicit => 465,
            }),
            tls,
            credentials: reader.optional_text("user").zip(password),
            from: reader.optional_text("from")?,
            from_name: reader.optional_text("from_name"),
            ca_file,
            timeout: reader.duration("timeout"),
        })
    }
}

/// The name of a host, or its IP address.
fn verify_host(text: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    if !text.is_empty() && text.bytes().all(plain) {
        return Ok(());
    }
    let reason = format!("{text:?} is not the name of a host.");
    Err(Fault::new(reason, "Write it alone, for example \"mail.example.com\"."))
}

/// One line, with nothing that could end it.
fn verify_line(text: &str) -> Result<(), Fault> {
    some_text(text)?;
    match text.chars().any(char::is_control) {
        true => Err(Fault::new("has control characters.", "Write one plain line.")),
        false => Ok(()),
    }
}

/// A plain address (RFC 5321 §4.1.2), in ASCII, without quoted parts.
fn verify_mailbox(text: &str) -> Result<(), Fault> {
    let words = |text: &str, more: &[u8]| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        text.split('.').all(|word| !word.is_empty() && word.bytes().all(plain))
    };
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        words(local, b"!#$%&'*+-/=?^_`{|}~") && words(domain, b"-") && domain.contains('.')
    });
    if good && text.len() <= 254 {
        return Ok(());
    }
    let reason = format!("{text:?} is not an address.");
    Err(Fault::new(reason, "Write it alone, for example \"gate@example.com\"."))
}
