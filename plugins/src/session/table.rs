//! The sessions by token hash: found without waiting for anybody who looks too.
//!
//! A shard is a set of sessions, each found by its own hash, so that no hash is held twice. Not
//! here: who owns a session, and whether it lives.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use super::LiveSession;
use super::token::TokenHash;

const SHARDS: usize = 64;

/// A session in the place of its hash.
struct ByHash(Arc<LiveSession>);

impl Borrow<TokenHash> for ByHash {
    fn borrow(&self) -> &TokenHash {
        &self.0.token_hash
    }
}

impl Hash for ByHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As the hash by itself does: `Borrow` promises it.
        self.0.token_hash.hash(state);
    }
}

impl PartialEq for ByHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.token_hash == other.0.token_hash
    }
}

impl Eq for ByHash {}

/// Eight octets of a token's hash are as good as any hash of it: only tokens that the gate itself has
/// drawn are in the table, so that nobody can choose what falls together there.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, octets: &[u8]) {
        // The last ones: by the first the shard is chosen.
        self.0 = octets.last_chunk().map_or(0, |last| u64::from_ne_bytes(*last));
    }

    fn write_usize(&mut self, _length: usize) {
        // It is always the same.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = HashSet<ByHash, BuildHasherDefault<AsItIs>>;

/// All sessions in memory, by hash.
pub(super) struct Table(Vec<RwLock<Shard>>);

impl Table {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| RwLock::default()).collect())
    }

    /// The session of this hash, live or not.
    pub(super) fn get(&self, hash: &TokenHash) -> Option<Arc<LiveSession>> {
        let shard = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(hash).map(|found| Arc::clone(&found.0))
    }

    pub(super) fn insert(&self, session: Arc<LiveSession>) {
        let shard = self.shard(&session.token_hash);
        shard.write().unwrap_or_else(PoisonError::into_inner).replace(ByHash(session));
    }

    /// Says whether it was there.
    pub(super) fn remove(&self, hash: &TokenHash) -> bool {
        self.shard(hash).write().unwrap_or_else(PoisonError::into_inner).remove(hash)
    }

    /// Shows every session, one shard after the other: who looks for a session does not wait, who
    /// begins or ends one waits for one shard at most.
    pub(super) fn each(&self, mut visit: impl FnMut(&Arc<LiveSession>)) {
        for shard in &self.0 {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.iter().for_each(|found| visit(&found.0));
        }
    }

    fn shard(&self, hash: &TokenHash) -> &RwLock<Shard> {
        let [first, ..] = hash;
        #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
        &self.0[usize::from(*first) % SHARDS]
    }
}
