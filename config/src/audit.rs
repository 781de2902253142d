//! `[audit]`: the log of what happened, for how long it is kept, and where else it is written.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::store::Store;
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What happened, in a log that shows what was done to it.",
    keys: &[
        optional(
            "file",
            Kind::Text(some_text),
            "Also write the log here, as JSON lines, mode 0600; opened again when it was rotated away. It begins with what happens next when it is new.",
        ),
        default(
            "keep",
            seconds(86_400, 36_500 * 86_400),
            "\"400d\"",
            "Records that are older are removed from the store, up to a checkpoint; the rest can still be verified.",
        ),
        default(
            "checkpoint_records",
            Kind::Integer { least: 1, most: 1_000_000 },
            "1000",
            "After this many records a checkpoint is signed.",
        ),
        default(
            "checkpoint_interval",
            seconds(1, 86_400),
            "\"15m\"",
            "A checkpoint is signed when this time has passed since the latest and something happened.",
        ),
        optional(
            "key_file",
            Kind::Text(some_text),
            "The key that seals the log, made when missing with mode 0600; beside the store when left out. Whoever can change the store and read this key can forge the log.",
        ),
        default(
            "queue",
            Kind::Integer { least: 1, most: 1_000_000 },
            "10000",
            "How many events wait while the store cannot be written to; further ones are counted, and the count is written when it can.",
        ),
    ],
};

/// The log of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Where it is written to as well, as JSON lines.
    pub file: Option<PathBuf>,
    /// Older records are removed.
    pub keep: Duration,
    /// After this many records a checkpoint is signed.
    pub checkpoint_records: u64,
    /// A checkpoint is signed when this has passed since the latest, and something happened.
    pub checkpoint_interval: Duration,
    /// The key that seals it.
    pub key_file: PathBuf,
    /// How many events wait.
    pub queue: usize,
}

impl Audit {
    pub(crate) fn read(reader: &Reader<'_>, store: &Store) -> Self {
        let file = reader.optional_file("file");
        let key_file = reader.optional_file("key_file");
        for (key, path) in [("file", &file), ("key_file", &key_file)] {
            if path.as_ref().is_some_and(|path| store.owns(path)) {
                let reason = "is the store or a file that it needs.";
                let advice = "Name another, or leave the key out.";
                reader.problem(key, Fault::new(reason, advice));
            }
        }
        if file.is_some() && file == key_file {
            let advice = "Give each a file of its own.";
            reader.problem("key_file", Fault::new("is also the log's file.", advice));
        }
        Self {
            file,
            keep: reader.duration("keep"),
            checkpoint_records: reader.integer("checkpoint_records"),
            checkpoint_interval: reader.duration("checkpoint_interval"),
            key_file: key_file.unwrap_or_else(|| store.beside("audit-keys")),
            queue: usize::try_from(reader.integer("queue")).unwrap_or(usize::MAX),
        }
    }
}
