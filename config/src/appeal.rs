//! `[appeal]`: what somebody can do who has lost every second factor.

use std::time::Duration;

use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, seconds};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What somebody can do who knows their password and has lost every second factor.",
    keys: &[
        default(
            "enabled",
            Kind::Flag,
            "true",
            "May they ask an administrator to remove what they have lost? If not only `doorward factor reset` helps.",
        ),
        default(
            "wait",
            seconds(0, 30 * 86_400),
            "\"24h\"",
            "How long after it was granted an appeal takes effect. The owner is told at once, on every channel, and can stop it until then.",
        ),
        default(
            "document_bytes",
            Kind::Size { least: 0, most: 16 * 1024 * 1024 },
            "\"2MiB\"",
            "The largest document (PNG, JPEG or PDF) that may come with an appeal. 0: none may.",
        ),
        default(
            "documents_max",
            Kind::Integer { least: 0, most: 10 },
            "3",
            "How many documents may come with an appeal.",
        ),
        default(
            "open_max",
            Kind::Integer { least: 1, most: 100_000 },
            "1000",
            "How many appeals may wait for a decision; further ones are refused.",
        ),
        default(
            "keep",
            seconds(86_400, 400 * 86_400),
            "\"30d\"",
            "How long a decided appeal and its documents are kept.",
        ),
    ],
};

/// What somebody can do who has lost every second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appeal {
    /// May they appeal at all?
    pub enabled: bool,
    /// How long a granted appeal waits.
    pub wait: Duration,
    /// The largest document, in bytes.
    pub document_bytes: usize,
    /// How many documents an appeal may have.
    pub documents_max: usize,
    /// How many appeals may be open.
    pub open_max: u32,
    /// How long a decided one is kept.
    pub keep: Duration,
}

impl Appeal {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let bytes = usize::try_from(reader.size("document_bytes")).unwrap_or_default();
        let most = usize::try_from(reader.integer("documents_max")).unwrap_or_default();
        Self {
            enabled: reader.flag("enabled"),
            wait: reader.duration("wait"),
            document_bytes: bytes,
            documents_max: if bytes == 0 { 0 } else { most },
            open_max: u32::try_from(reader.integer("open_max")).unwrap_or(u32::MAX),
            keep: reader.duration("keep"),
        }
    }
}
