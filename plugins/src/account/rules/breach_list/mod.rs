//! An offline list of passwords that were found in breaches.
//!
//! A file of our own: a header, then the first eight bytes of the SHA-1 of each password, sorted.
//! SHA-1 because published lists have it; it protects nothing here. Eight bytes of it are enough: of
//! 10^10 passwords that are not in a list of 10^9, fewer than one is taken for one that is.
//!
//! | bytes | are |
//! |---|---|
//! | 8 | `DWBREACH` |
//! | 4 | version of the form: 1 |
//! | 4 | bytes of each hash: 8 |
//! | 8 | how many there are |
//! | 32 | SHA-256 of all of them |
//!
//! Numbers are big-endian. A look-up reads a few pages of the file where the hash should be, as
//! hashes are spread evenly; nothing is held in memory.

mod make;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use aws_lc_rs::digest;
use doorward_config::Secret;
use unicode_normalization::UnicodeNormalization;

pub use make::{Lines, Made, MakeError, make};

const MAGIC: &[u8; 8] = b"DWBREACH";
/// Bytes of a hash.
const WIDTH: u64 = 8;
/// Version and width.
const FORM: u64 = (1 << 32) | WIDTH;
const HEADER: u64 = 56;
/// So many hashes are looked at when the file is opened.
const SAMPLES: u64 = 1024;
/// What is read at once when the place is nearly known, in hashes.
const WINDOW: u64 = 512;
const WINDOW_BYTES: usize = 4096;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BreachListError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// It is not a list, or a damaged one.
    #[error(
        "{0} is no breach list that can be used: {1}; make one with `doorward breach-list make`"
    )]
    Damaged(String, &'static str),
}

/// An open list.
#[derive(Debug)]
pub struct BreachList {
    file: File,
    count: u64,
    digest: [u8; 32],
}

impl BreachList {
    /// Opens a list, and looks whether its size is right and some of its hashes are in order.
    ///
    /// # Errors
    /// [`BreachListError`].
    pub fn open(path: &Path) -> Result<Self, BreachListError> {
        let failed = |error| BreachListError::Io(path.display().to_string(), error);
        let damaged = |why| BreachListError::Damaged(path.display().to_string(), why);
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes < HEADER {
            return Err(damaged("it is too short"));
        }
        let (mut magic, mut form, mut digest) = ([0; 8], [0; 8], [0; 32]);
        file.read_exact_at(&mut magic, 0).map_err(failed)?;
        file.read_exact_at(&mut form, 8).map_err(failed)?;
        file.read_exact_at(&mut digest, 24).map_err(failed)?;
        if magic != *MAGIC {
            return Err(damaged("it does not begin like one"));
        }
        if u64::from_be_bytes(form) != FORM {
            return Err(damaged("its version is not known here"));
        }
        let count = hash_at(&file, 16).map_err(failed)?;
        if count.checked_mul(WIDTH).and_then(|bytes| bytes.checked_add(HEADER)) != Some(bytes) {
            return Err(damaged("its size is not what it should be"));
        }
        let list = Self { file, count, digest };
        match list.is_sorted_in(&mut list.samples()).map_err(failed)? {
            true => Ok(list),
            false => Err(damaged("it is not sorted")),
        }
    }

    /// How many passwords it has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Is all of it as it was made? Reads the whole file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_whole(&self) -> io::Result<bool> {
        let mut context = digest::Context::new(&digest::SHA256);
        let (mut buffer, mut last) = (vec![0; WINDOW_BYTES], None);
        let mut at = 0;
        while at < self.count {
            let take = WINDOW.min(self.count - at);
            let hashes = self.read(at, take, &mut buffer)?;
            context.update(hashes);
            for hash in numbers(hashes) {
                if last.replace(hash).is_some_and(|last| last >= hash) {
                    return Ok(false);
                }
            }
            at += take;
        }
        Ok(context.finish().as_ref() == self.digest)
    }

    /// Is it in the list?
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contains(&self, password: &str) -> io::Result<bool> {
        self.has(short_hash(password))
    }

    fn has(&self, wanted: u64) -> io::Result<bool> {
        let mut buffer = vec![0; WINDOW_BYTES];
        // What is wanted is among the hashes from `low` up to `high`, whose values are from `least`
        // to `most`: it is looked for where it should be, and half way in every other turn, so that
        // no list, however uneven, takes long.
        let (mut low, mut high) = (0, self.count);
        let (mut least, mut most) = (0, u64::MAX);
        let mut guess = true;
        while high - low > WINDOW {
            let part = u128::from(wanted - least) * u128::from(high - low - 1);
            let guessed = low + u64::try_from(part / u128::from(most - least).max(1)).unwrap_or(0);
            let middle = if guess { guessed } else { low + (high - low) / 2 };
            guess = !guess;
            // A window around the place, inside of what is left.
            let from = middle.saturating_sub(WINDOW / 2).clamp(low, high - WINDOW);
            let hashes = self.read(from, WINDOW, &mut buffer)?;
            let (first, last) = ends(hashes);
            match (wanted < first, wanted > last) {
                (true, _) => (high, most) = (from, first),
                (_, true) => (low, least) = (from + WINDOW, last),
                (false, false) => return Ok(numbers(hashes).any(|hash| hash == wanted)),
            }
        }
        let hashes = self.read(low, high - low, &mut buffer)?;
        Ok(numbers(hashes).any(|hash| hash == wanted))
    }

    fn read<'b>(&self, from: u64, count: u64, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let bytes = usize::try_from(count * WIDTH).map_err(io::Error::other)?;
        let part = buffer.get_mut(..bytes).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(part, HEADER + from * WIDTH)?;
        Ok(part)
    }

    /// Places all over the list, the first and the last among them.
    fn samples(&self) -> impl Iterator<Item = u64> + use<> {
        let (count, samples) = (self.count, self.count.min(SAMPLES));
        (0..samples).map(move |at| {
            let place = u128::from(at) * u128::from(count - 1) / u128::from(samples.max(2) - 1);
            u64::try_from(place).unwrap_or(count - 1)
        })
    }

    fn is_sorted_in(&self, places: &mut dyn Iterator<Item = u64>) -> io::Result<bool> {
        let mut last = None;
        for place in places {
            let hash = hash_at(&self.file, HEADER + place * WIDTH)?;
            if last.replace(hash).is_some_and(|last| last >= hash) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn hash_at(file: &File, place: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, place)?;
    Ok(u64::from_be_bytes(bytes))
}

fn numbers(hashes: &[u8]) -> impl Iterator<Item = u64> {
    hashes.as_chunks().0.iter().map(|bytes| u64::from_be_bytes(*bytes))
}

fn ends(hashes: &[u8]) -> (u64, u64) {
    let first = numbers(hashes).next().unwrap_or(0);
    (first, hashes.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

/// The first eight bytes of the SHA-1 of a password in NFC.
fn short_hash(password: &str) -> u64 {
    let normal = Secret::new(password.nfc().collect());
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, normal.expose().as_bytes());
    hash.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
