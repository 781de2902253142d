//! `[limits]`: bounds on what a client may send, and on how long it may take.

use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::verify_method;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Bounds on what a client may send, and on how long it may take.",
    keys: &[
        default(
            "connections",
            Kind::Integer { least: 1, most: 10_000_000 },
            "10000",
            "Connections at once, all listeners together; beyond it 503.",
        ),
        default(
            "connections_per_address",
            Kind::Integer { least: 1, most: 10_000_000 },
            "500",
            "Connections at once of one client address (IPv6: of one /64), trusted proxies excepted; beyond it 429.",
        ),
        default(
            "requests_per_connection",
            Kind::Integer { least: 1, most: 1 << 40 },
            "100000",
            "Requests that one connection may carry; it is closed after the last one.",
        ),
        default(
            "methods",
            Kind::List(&Kind::Text(verify_served_method)),
            r#"["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]"#,
            "Methods that are let in at all; others get 405 or 501.",
        ),
        default(
            "header_bytes",
            Kind::Size { least: 8 << 10, most: 1 << 20 },
            "\"64KiB\"",
            "Size of a request's head; beyond it 431.",
        ),
        default(
            "header_count",
            Kind::Integer { least: 10, most: 10_000 },
            "100",
            "Fields of a request's head; beyond it 431.",
        ),
        default(
            "target_bytes",
            Kind::Size { least: 256, most: 64 << 10 },
            "\"8KiB\"",
            "Length of path and query; beyond it 414.",
        ),
        default(
            "body_bytes",
            Kind::Size { least: 0, most: 1 << 50 },
            "\"1GiB\"",
            "Size of a request's body; beyond it 413.",
        ),
        default(
            "header_time",
            seconds(1, 600),
            "\"10s\"",
            "How long a request's head, or a TLS handshake, may take.",
        ),
        default(
            "body_idle",
            seconds(1, 3600),
            "\"30s\"",
            "How long a client may pause within a request's body.",
        ),
        default(
            "body_rate",
            Kind::Size { least: 0, most: 1 << 30 },
            "\"128B\"",
            "Octets a second that a client has to send on average, once body_idle has passed since its body began; below it 408.",
        ),
        optional(
            "exchange_time",
            seconds(1, 7 * 86_400),
            "How long a request may take from its head to the end of its answer, routes with streaming and upgraded connections excepted; without end when left out.",
        ),
        default(
            "half_closed",
            seconds(1, 3600),
            "\"10s\"",
            "How long a client that has closed its sending half is waited for: it may have gone away.",
        ),
        default(
            "tunnel_idle",
            seconds(1, 7 * 86_400),
            "\"1h\"",
            "How long an upgraded connection, such as a WebSocket, may stay silent in both directions.",
        ),
        default(
            "keep_alive",
            seconds(1, 3600),
            "\"75s\"",
            "How long a connection may stay without a request.",
        ),
        default(
            "write_idle",
            seconds(1, 3600),
            "\"60s\"",
            "How long a client may take no byte of a response that is ready.",
        ),
        default(
            "http2_streams",
            Kind::Integer { least: 1, most: 10_000 },
            "128",
            "Requests at once on one HTTP/2 connection.",
        ),
    ],
};

/// Bounds on what a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one client address.
    pub connections_per_address: usize,
    /// Requests that one connection may carry.
    pub requests_per_connection: u64,
    /// Methods that are let in at all.
    pub methods: Vec<String>,
    /// Size of a request's head.
    pub header_bytes: usize,
    /// Fields of a request's head.
    pub header_count: usize,
    /// Length of path and query.
    pub target_bytes: usize,
    /// Size of a request's body.
    pub body_bytes: u64,
    /// How long a request's head, or a TLS handshake, may take.
    pub header_time: Duration,
    /// How long a client may pause within a request's body.
    pub body_idle: Duration,
    /// Octets a second that a client has to send on average within a body.
    pub body_rate: u64,
    /// How long a request may take from its head to the end of its answer.
    pub exchange_time: Option<Duration>,
    /// How long a client that has closed its sending half is waited for.
    pub half_closed: Duration,
    /// How long an upgraded connection may stay silent.
    pub tunnel_idle: Duration,
    /// How long a connection may stay without a request.
    pub keep_alive: Duration,
    /// How long a client may take no byte of a response that is ready.
    pub write_idle: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
}

impl Limits {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            connections: count(reader.integer("connections")),
            connections_per_address: count(reader.integer("connections_per_address")),
            requests_per_connection: reader.integer("requests_per_connection"),
            methods: reader.texts("methods"),
            header_bytes: count(reader.size("header_bytes")),
            header_count: count(reader.integer("header_count")),
            target_bytes: count(reader.size("target_bytes")),
            body_bytes: reader.size("body_bytes"),
            header_time: reader.duration("header_time"),
            body_idle: reader.duration("body_idle"),
            body_rate: reader.size("body_rate"),
            exchange_time: reader.has("exchange_time").then(|| reader.duration("exchange_time")),
            half_closed: reader.duration("half_closed"),
            tunnel_idle: reader.duration("tunnel_idle"),
            keep_alive: reader.duration("keep_alive"),
            write_idle: reader.duration("write_idle"),
            http2_streams: u32::try_from(reader.integer("http2_streams")).unwrap_or(u32::MAX),
        }
    }
}

fn verify_served_method(text: &str) -> Result<(), Fault> {
    match text {
        // It would show a client its own cookies and the console's fields (RFC 9110 §9.3.8).
        "TRACE" => Err(Fault::new("TRACE tells what a request carried.", "Remove it.")),
        "CONNECT" => Err(Fault::new("CONNECT is for proxies of another kind.", "Remove it.")),
        text => verify_method(text),
    }
}
