//! `[operations]`: health, metrics, administration and logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional};
use crate::store::Store;
use crate::text::some_text;
use crate::text::verify_address;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Health, metrics, administration and logs.",
    keys: &[
        default(
            "address",
            Kind::Text(verify_address),
            "\"127.0.0.1:9464\"",
            "Where /livez, /readyz, /startupz and /metrics are answered. Keep it away from the public.",
        ),
        optional(
            "socket",
            Kind::Text(some_text),
            "Unix-domain socket of the command line, made with mode 0600; beside the store when left out.",
        ),
        default(
            "access_log",
            Kind::Flag,
            "true",
            "Write one JSON line a request to standard output.",
        ),
        default(
            "log_level",
            Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            "\"info\"",
            "Least severe events to write.",
        ),
    ],
};

/// Health, metrics, administration and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    /// Where health and metrics are answered.
    pub address: SocketAddr,
    /// Unix-domain socket of the command line.
    pub socket: PathBuf,
    /// Write one line a request?
    pub access_log: bool,
    /// Least severe events to write.
    pub log_level: String,
}

impl Operations {
    pub(crate) fn read(reader: &Reader<'_>, store: &Store) -> Self {
        let socket = reader.optional_file("socket").unwrap_or_else(|| store.beside("sock"));
        if reader.has("socket") && store.owns(&socket) {
            let reason = "is the store or a file that it needs.";
            let advice = "Name another, or leave the key out.";
            reader.problem("socket", Fault::new(reason, advice));
        }
        Self {
            address: reader
                .text("address")
                .parse()
                .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0))),
            socket,
            access_log: reader.flag("access_log"),
            log_level: reader.text("log_level"),
        }
    }
}
