//! `[upstream.NAME]`: a console behind the gate.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::pattern::HostPattern;
use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, required, seconds};
use crate::text::{some_text, verify_host};
use crate::upstream_address::{UpstreamAddress, parse_upstream_address, verify_upstream_address};
use crate::{TlsFiles, listener};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "A console behind the gate.",
    keys: &[
        required(
            "address",
            Kind::List(&Kind::Text(verify_upstream_address)),
            "\"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:/path/to.sock\"; or several, of which each request takes the one with the fewest under way.",
        ),
        default(
            "protocol",
            Kind::Choice(&["http1", "http2"]),
            "\"http1\"",
            "\"http1\", or \"http2\": many requests on one connection, over TLS or without (gRPC needs it).",
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
        optional(
            "client_certificate",
            Kind::Table(&listener::TLS),
            "Certificate with which the gate shows an https upstream who it is (mutual TLS).",
        ),
        default(
            "proxy_protocol",
            Kind::Choice(&["off", "v1", "v2"]),
            "\"off\"",
            "Begin each connection with the client's address (PROXY protocol). Connections are then shared by the requests of one client connection only.",
        ),
        default(
            "eject_after",
            Kind::Integer { least: 0, most: 1_000_000 },
            "5",
            "After so many failures in a row to connect or to answer at all, an address is left alone for eject_for; 0: never.",
        ),
        default(
            "eject_for",
            seconds(1, 3600),
            "\"10s\"",
            "How long an address that failed is left alone. If all are, one request a second tries.",
        ),
        optional(
            "health",
            Kind::Table(&HEALTH),
            "Ask each address regularly whether it is well; never when left out.",
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

static HEALTH: TableSpec = TableSpec {
    doc: "How an address is asked whether it is well: GET, answered by 2xx.",
    keys: &[
        required("path", Kind::Text(verify_health_path), "Path and query to ask for."),
        default("interval", seconds(1, 3600), "\"5s\"", "How often each address is asked."),
        default("timeout", seconds(1, 600), "\"2s\"", "How long the answer may take."),
        default(
            "unhealthy_after",
            Kind::Integer { least: 1, most: 100 },
            "2",
            "So many bad answers in a row take an address out.",
        ),
        default(
            "healthy_after",
            Kind::Integer { least: 1, most: 100 },
            "2",
            "So many good answers in a row take it in again.",
        ),
    ],
};

/// A console behind the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name in this file.
    pub name: String,
    /// Where it is; at least one.
    pub addresses: Vec<UpstreamAddress>,
    /// What is spoken with it.
    pub protocol: Protocol,
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
    /// Certificate with which the gate shows who it is.
    pub client_certificate: Option<TlsFiles>,
    /// How the client's address is announced on each connection.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Failures in a row after which an address is left alone; 0: never.
    pub eject_after: u32,
    /// How long an address that failed is left alone.
    pub eject_for: Duration,
    /// How each address is asked whether it is well.
    pub health: Option<Health>,
}

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN over TLS, or at once without.
    Http2,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// How an address is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Path and query.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Bad answers in a row that take an address out.
    pub unhealthy_after: u32,
    /// Good answers in a row that take it in again.
    pub healthy_after: u32,
}

/// Which Host field an upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's.
    Keep,
    /// That of the address.
    Upstream,
    /// This one.
    Literal(String),
}

impl Upstream {
    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let addresses = read_addresses(reader);
        let tls = addresses.iter().any(UpstreamAddress::is_tls);
        for key in ["server_name", "ca_file", "client_certificate"] {
            if reader.has(key) && !tls {
                let advice = "Remove it, or write an https address.";
                reader.problem(key, Fault::new("has no effect without TLS.", advice));
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
            "upstream" => HostHeader::Upstream,
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
            protocol: if reader.text("protocol") == "http2" {
                Protocol::Http2
            } else {
                Protocol::Http1
            },
            client_certificate: reader
                .has("client_certificate")
                .then(|| TlsFiles::read(&reader.table("client_certificate"))),
            proxy_protocol: read_proxy_protocol(reader),
            eject_after: u32::try_from(reader.integer("eject_after")).unwrap_or(u32::MAX),
            eject_for: reader.duration("eject_for"),
            health: reader.has("health").then(|| Health::read(&reader.table("health"))),
            addresses,
        }
    }
}

impl Health {
    fn read(reader: &Reader<'_>) -> Self {
        let count = |key| u32::try_from(reader.integer(key)).unwrap_or(u32::MAX);
        Self {
            path: reader.text("path"),
            interval: reader.duration("interval"),
            timeout: reader.duration("timeout"),
            unhealthy_after: count("unhealthy_after"),
            healthy_after: count("healthy_after"),
        }
    }
}

fn read_addresses(reader: &Reader<'_>) -> Vec<UpstreamAddress> {
    let server_name = reader.optional_text("server_name");
    let texts = reader.texts("address");
    let mut seen = HashSet::new();
    for text in &texts {
        if !seen.insert(text.as_str()) {
            let reason = format!("{text:?} stands there twice.");
            reader.problem("address", Fault::new(reason, "Name each address once."));
        }
    }
    if reader.has("address") && texts.is_empty() {
        reader.problem("address", Fault::new("is empty.", "Name at least one address."));
    }
    let named = |address| match (address, &server_name) {
        (UpstreamAddress::Https { host, port, .. }, Some(name)) => {
            UpstreamAddress::Https { host, port, server_name: name.clone() }
        }
        (address, _) => address,
    };
    texts.iter().filter_map(|text| parse_upstream_address(text).ok()).map(named).collect()
}

fn read_proxy_protocol(reader: &Reader<'_>) -> Option<ProxyProtocol> {
    let version = match reader.text("proxy_protocol").as_str() {
        "v1" => ProxyProtocol::V1,
        "v2" => ProxyProtocol::V2,
        _ => return None,
    };
    if reader.text("protocol") == "http2" {
        let reason = "names one client for a connection that many share.";
        reader.problem("proxy_protocol", Fault::new(reason, "Remove it, or protocol = \"http2\"."));
    }
    Some(version)
}

fn verify_health_path(text: &str) -> Result<(), Fault> {
    let fits = text.starts_with('/')
        && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'#');
    if fits {
        Ok(())
    } else {
        Err(Fault::new(format!("{text:?} is not a path."), "Write it as \"/healthz\"."))
    }
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
