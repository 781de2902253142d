//! `[store]`: where accounts and sessions are kept.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::postgres::{Postgres, read_postgres};
use crate::problem::Fault;
use crate::reader::Reader;
use crate::redis::{Redis, verify_prefix, verify_redis_url};
use crate::spec::{Kind, TableSpec, default, optional, required};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Where accounts and sessions are kept.",
    keys: &[
        required(
            "path",
            Kind::Text(verify_store),
            "The SQLite file, made when missing with mode 0600; signing keys and the administration socket stand beside it. Its folder must be this user's own.",
        ),
        optional(
            "redis",
            Kind::List(&Kind::Text(verify_redis_url)),
            "The Redis or Valkey server where several gates keep what is live: sessions, guesses, challenges, codes, kept requests. Some Sentinels, or some nodes of a Cluster, where the keys below say so. Left out: this gate is alone and keeps it in its file.",
        ),
        optional(
            "redis_sentinel",
            Kind::Text(some_text),
            "The name by which Sentinels know the primary; the URLs are theirs.",
        ),
        default("redis_cluster", Kind::Flag, "false", "The URLs are nodes of a Cluster."),
        optional(
            "redis_password_file",
            Kind::Text(some_text),
            "File with the password, in place of one in the URLs.",
        ),
        optional(
            "redis_password_env",
            Kind::Text(some_text),
            "Environment variable with the password, instead of a file.",
        ),
        optional(
            "redis_ca_file",
            Kind::Text(some_text),
            "PEM file of the authorities that the servers' certificates come from; those of the system when left out.",
        ),
        default(
            "redis_prefix",
            Kind::Text(verify_prefix),
            "\"doorward\"",
            "The first part of every key. It is a hash tag: in a Cluster all keys stand at one node, so that every step is atomic.",
        ),
        default(
            "redis_timeout",
            Kind::Duration { least: Duration::from_millis(50), most: Duration::from_secs(10) },
            "\"1s\"",
            "How long one call may take. What could not be asked is answered 503.",
        ),
        default(
            "redis_replicas_acknowledge",
            Kind::Integer { least: 0, most: 10 },
            "0",
            "So many replicas have to have what must not be lost (a session that begins or ends, a guess, a used code) before it is answered; with fewer it is 503. 0: the primary alone, and a failover may lose the last moment. Not for a Cluster.",
        ),
        default(
            "redis_plaintext",
            Kind::Flag,
            "false",
            "Takes redis:// URLs of other machines, where the network is encrypted by other means.",
        ),
        optional(
            "postgres",
            Kind::Text(some_text),
            "URL of a PostgreSQL server that keeps accounts, authenticators, appeals, messages and sign-ins for all gates that name it, for example \"postgres://gate:PASSWORD@db.example/doorward?sslmode=verify-full\". The file keeps the rest.",
        ),
        optional("postgres_file", Kind::Text(some_text), "File with that URL."),
        optional("postgres_env", Kind::Text(some_text), "Environment variable with that URL."),
        default(
            "postgres_connections",
            Kind::Integer { least: 1, most: 1000 },
            "10",
            "So many connections to PostgreSQL at once.",
        ),
    ],
};

/// Endings of the files beside the store: signing keys, the lock, the keys and the head of the audit
/// log, the keys of encrypted secrets, and those of them that are being written.
const COMPANIONS: [&str; 9] = [
    "keys",
    "keys.new",
    "lock",
    "audit-keys",
    "audit-keys.new",
    "audit-head",
    "audit-head.new",
    "vault",
    "vault.new",
];

/// Where accounts and sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
    /// Where several gates keep what is live; `None`: in the file.
    pub redis: Option<Redis>,
    /// The server that keeps records; `None`: the file does.
    pub postgres: Option<Postgres>,
}

impl Store {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            path: reader.optional_file("path").unwrap_or_default(),
            postgres: read_postgres(reader),
            redis: Redis::read(reader),
        }
    }

    /// Is `path` the store, or a file that it needs beside it?
    pub(crate) fn owns(&self, path: &Path) -> bool {
        let mut own = vec![self.path.clone()];
        own.extend(COMPANIONS.map(|extension| self.beside(extension)));
        own.extend(["-wal", "-shm", "-journal"].map(|suffix| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        }));
        own.iter().any(|own| canonical(own) == canonical(path))
    }

    /// The same for every way in which the path can be written, whether the file is there or not.
    pub fn canonical(&self) -> PathBuf {
        canonical(&self.path)
    }

    /// The file beside the store with this ending instead of the store's own.
    pub fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }
}

/// The path without links and dots, as far as its folder is there.
pub(crate) fn canonical(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, whole.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => without_dots(&whole),
    }
}

/// For a folder that is not there yet, and so has no links.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

fn verify_store(text: &str) -> Result<(), Fault> {
    some_text(text)?;
    let taken = |extension: &std::ffi::OsStr| {
        let own = ["sock", "sock-new"];
        COMPANIONS.iter().chain(&own).any(|taken| extension.eq_ignore_ascii_case(taken))
    };
    if Path::new(text).extension().is_some_and(taken) {
        let reason = format!("{text:?} is the name of a file that stands beside the store.");
        return Err(Fault::new(reason, "Write another ending, for example \"doorward.db\"."));
    }
    Ok(())
}
