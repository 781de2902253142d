//! `[store]`: where accounts and sessions are kept.

use std::path::PathBuf;

use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, required};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Where accounts and sessions are kept.",
    keys: &[required(
        "path",
        Kind::Text(some_text),
        "The SQLite file, made when missing with mode 0600; signing keys and the administration socket stand beside it. Its folder must be this user's own.",
    )],
};

/// Where accounts and sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
}

impl Store {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self { path: reader.optional_file("path").unwrap_or_default() }
    }

    /// The file beside the store with this ending instead of the store's own.
    pub fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }
}
