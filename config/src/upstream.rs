//! `[upstream.NAME]`: a console behind the gate.

use std::path::PathBuf;
use std::time::Duration;

use crate::pattern::HostPattern;
use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, required, seconds};
use crate::text::some_text;
use crate::text::verify_host;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "A console behind the gate.",
    keys: &[
        required(
            "address",
            Kind::Text(verify_upstream_address),
            "\"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:/path/to.sock\".",
        ),
        default(
            "hosts",
            Kind::List(&Kind::Text(verify_host)),
            "[]",
            "Hosts that this upstream serves. Empty: every host of public_url and of routes that no other upstream names; one upstream at most can be so.",
        ),
        optional(
            "audience",
            Kind::Text(some_text),
            "The `aud` of the assertions for this upstream; its name when left out.",
        ),
        default(
            "host_header",
            Kind::Text(verify_host_header),
            "\"keep\"",
            "The Host field that the upstream gets: \"keep\" the client's, \"upstream\" for the one of `address`, or a literal host.",
        ),
        optional(
            "ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that an https upstream is verified with, instead of the system's.",
        ),
        optional(
            "server_name",
            Kind::Text(some_text),
            "The name that an https upstream's certificate must have; the host of `address` when left out.",
        ),
        default(
            "connect_timeout",
            seconds(1, 600),
            "\"5s\"",
            "How long connecting may take, TLS included.",
        ),
        default(
            "response_timeout",
            seconds(1, 86_400),
            "\"60s\"",
            "How long the upstream may take to begin its response, counted from the end of the request.",
        ),
        default(
            "idle_timeout",
            seconds(1, 86_400),
            "\"60s\"",
            "How long the upstream may pause within a response body.",
        ),
        default(
            "keep_alive",
            seconds(0, 3600),
            "\"50s\"",
            "How long an unused connection is kept. Choose less than the upstream's own limit.",
        ),
        default(
            "connections_idle_max",
            Kind::Integer { least: 0, most: 100_000 },
            "256",
            "How many unused connections each worker keeps.",
        ),
    ],
};

/// A console behind the gate.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in this file.
    pub name: String,
    /// Where it is.
    pub address: UpstreamAddress,
    /// Hosts that it serves; empty: those that no other upstream names.
    pub hosts: Vec<HostPattern>,
    /// The `aud` of its assertions.
    pub audience: String,
    /// The Host field that it gets.
    pub host_header: HostHeader,
    /// What verifies its certificate, instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How long it may take to begin its response.
    pub response_timeout: Duration,
    /// How long it may pause within a response body.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
    /// How many unused connections each worker keeps.
    pub connections_idle_max: usize,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Plain HTTP over TCP.
    Http {
        /// Name or IP address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// HTTP over TLS.
    Https {
        /// Name or IP address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// The name that the certificate must have.
        server_name: String,
    },
    /// Plain HTTP over a Unix-domain socket.
    Unix(PathBuf),
}

/// Which Host field an upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's.
    Keep,
    /// This one.
    Literal(String),
}

impl Upstream {
    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let address = parse_upstream_address(&reader.text("address"))
            .unwrap_or_else(|_| UpstreamAddress::Unix(PathBuf::new()));
        let address = match (address, reader.optional_text("server_name")) {
            (UpstreamAddress::Https { host, port, .. }, Some(server_name)) => {
                UpstreamAddress::Https { host, port, server_name }
            }
            (address, _) => address,
        };
        for key in ["server_name", "ca_file"] {
            if reader.has(key) && !matches!(address, UpstreamAddress::Https { .. }) {
                reader.problem(
                    key,
                    Fault::new(
                        "has no effect without TLS.",
                        "Remove it, or write an https address.",
                    ),
                );
            }
        }
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            reader.problem(
                "",
                Fault::new(format!("{name:?} is not a name."), "Use letters, digits, - and _."),
            );
        }
        let host_header = match reader.text("host_header").as_str() {
            "keep" => HostHeader::Keep,
            "upstream" => HostHeader::Literal(address.authority()),
            literal => HostHeader::Literal(literal.to_owned()),
        };
        let hosts = reader.texts("hosts");
        Self {
            name: name.to_owned(),
            hosts: hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect(),
            audience: reader.optional_text("audience").unwrap_or_else(|| name.to_owned()),
            host_header,
            ca_file: reader.readable_file("ca_file"),
            connect_timeout: reader.duration("connect_timeout"),
            response_timeout: reader.duration("response_timeout"),
            idle_timeout: reader.duration("idle_timeout"),
            keep_alive: reader.duration("keep_alive"),
            connections_idle_max: usize::try_from(reader.integer("connections_idle_max"))
                .unwrap_or(usize::MAX),
            address,
        }
    }
}

impl UpstreamAddress {
    /// Host and, unless it is the scheme's own, port; `localhost` for a Unix-domain socket.
    pub fn authority(&self) -> String {
        let (host, port, own) = match self {
            Self::Unix(_) => return "localhost".into(),
            Self::Http { host, port } => (host, *port, 80),
            Self::Https { host, port, .. } => (host, *port, 443),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if port == own { host } else { format!("{host}:{port}") }
    }
}

fn verify_upstream_address(text: &str) -> Result<(), Fault> {
    parse_upstream_address(text).map(drop)
}

fn parse_upstream_address(text: &str) -> Result<UpstreamAddress, Fault> {
    let fault = || {
        Fault::new(
            format!("{text:?} is not an upstream address."),
            "Write \"http://127.0.0.1:9000\", \"https://host:443\" or \"unix:/run/console.sock\", without a path behind the port.",
        )
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() { Ok(UpstreamAddress::Unix(path)) } else { Err(fault()) };
    }
    let (tls, authority) = match text.split_once("://") {
        Some(("http", authority)) => (false, authority),
        Some(("https", authority)) => (true, authority),
        _ => return Err(fault()),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| fault())?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty()
        || port == 0
        || host.contains(['/', '?', '#', '@', ' '])
        || host.contains(char::is_control)
    {
        return Err(fault());
    }
    let host = host.to_owned();
    Ok(if tls {
        UpstreamAddress::Https { server_name: host.clone(), host, port }
    } else {
        UpstreamAddress::Http { host, port }
    })
}

fn verify_host_header(text: &str) -> Result<(), Fault> {
    let words = ["keep", "upstream"];
    if words.contains(&text) {
        return Ok(());
    }
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        let reason = format!("{text:?} is not a choice here.");
        return Err(Fault::new(reason, format!("Did you mean \"{word}\"?")));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, "443"),
    };
    // Names within a cluster may have an underscore, which public ones have not.
    let plain = host.to_ascii_lowercase().replace('_', "-");
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let usable = digits && port.parse::<u16>().is_ok_and(|port| port > 0);
    if !usable || !matches!(HostPattern::parse(&plain), Ok(HostPattern::Exact(_))) {
        return Err(Fault::new(
            format!("{text:?} is not a host."),
            "Write \"keep\", \"upstream\" or a host such as \"console.internal:9000\".",
        ));
    }
    Ok(())
}
