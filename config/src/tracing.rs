//! `[tracing]`: of which requests a collector of traces is told.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::service_url::{ServiceUrl, verify_service_url};
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Of which requests a collector of traces (OpenTelemetry) is told; of none without endpoint.",
    keys: &[
        optional(
            "endpoint",
            Kind::Text(verify_service_url),
            "Where the collector takes traces (OTLP over HTTP), for example \"https://collector.example.com:4318/v1/traces\". Without it the gate leaves traceparent and tracestate as they are.",
        ),
        optional(
            "ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that the collector is verified with, instead of the system's.",
        ),
        default(
            "one_in",
            Kind::Integer { least: 1, most: 1_000_000 },
            "100",
            "One request in so many is told of, where nobody who is believed has decided that already.",
        ),
        default(
            "accept",
            Kind::Choice(&["trusted-proxies", "everybody"]),
            "\"trusted-proxies\"",
            "Whose traces go on here, and who decides whether a request is told of. The others' requests begin a trace of their own, and their tracestate is removed.",
        ),
        default(
            "service",
            Kind::Text(some_text),
            "\"doorward\"",
            "What the gate is called in traces (service.name).",
        ),
        default(
            "timeout",
            seconds(1, 60),
            "\"5s\"",
            "How long the collector may take. What it does not take is dropped.",
        ),
    ],
};

/// Of which requests a collector is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Where it takes traces.
    pub endpoint: ServiceUrl,
    /// Whom it is verified with, if not with the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// One request in so many.
    pub one_in: u64,
    /// Do traces of those go on who are no trusted proxies?
    pub accept_everybody: bool,
    /// What the gate is called.
    pub service: String,
    /// How long the collector may take.
    pub timeout: Duration,
}

impl Tracing {
    /// `None`: nobody is told.
    pub(crate) fn read(reader: &Reader<'_>) -> Option<Self> {
        let ca_file = reader.readable_file("ca_file");
        let Some(endpoint) = reader.optional_text("endpoint") else {
            if ca_file.is_some() {
                let advice = "Name the collector, or leave this out.";
                reader.problem("ca_file", Fault::new("is for endpoint.", advice));
            }
            return None;
        };
        Some(Self {
            // What cannot be parsed was noted.
            endpoint: ServiceUrl::parse(&endpoint).ok()?,
            ca_file,
            one_in: reader.integer("one_in"),
            accept_everybody: reader.text("accept") == "everybody",
            service: reader.text("service"),
            timeout: reader.duration("timeout"),
        })
    }
}
