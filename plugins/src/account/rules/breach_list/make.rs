//! Makes a breach list of lines, in bounded memory.
//!
//! Hashes are gathered until the memory for them is full, sorted, and written as a run beside the
//! list; a run that begins where the last one ended goes on with it, so that input which is sorted
//! already makes one run. At the end the runs are merged. They have no name: nothing of them stays
//! when the command ends, however it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::{FORM, HEADER, MAGIC, short_hash};
use crate::account::password::BYTES_MAX;

/// So many hashes are sorted at once: 32 MiB.
const RUN: usize = 1 << 22;

/// So many runs are merged at once; together with [`RUN`], more than a thousand million hashes in no
/// order at all.
const RUNS_MAX: usize = 500;

/// What stands in the lines of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// SHA-1 in hexadecimal digits, and perhaps a colon and how often it was found, as the Pwned
    /// Passwords download has it. Those that were found zero times are left out.
    Hashes,
    /// A password.
    Passwords,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// How many different hashes the list has.
    pub count: u64,
    /// How many lines there were.
    pub lines: u64,
}

/// Why no list was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Something could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error(
        "line {0} is not a SHA-1 in hexadecimal digits, with or without a count behind a colon"
    )]
    Line(u64),
    /// There is more than can be sorted.
    #[error("the input is too large to be sorted here: sort it first (LC_ALL=C sort)")]
    TooLarge,
}

/// Makes the list `output`; one that exists is replaced when the new one is whole.
///
/// # Errors
/// [`MakeError`]; nothing has changed then.
pub fn make(input: impl BufRead, lines: Lines, output: &Path) -> Result<Made, MakeError> {
    make_by(input, lines, output, RUN)
}

pub(super) fn make_by(
    mut input: impl BufRead,
    kind: Lines,
    output: &Path,
    run: usize,
) -> Result<Made, MakeError> {
    let mut runs = Runs { beside: output, files: Vec::new() };
    let (mut hashes, mut line, mut lines) = (Vec::new(), Vec::new(), 0);
    while read_line(&mut input, &mut line)? {
        lines += 1;
        let Some(hash) = hash_of(&line, kind).map_err(|()| MakeError::Line(lines))? else {
            continue;
        };
        hashes.push(hash);
        if hashes.len() >= run {
            runs.add(&mut hashes)?;
        }
    }
    runs.add(&mut hashes)?;
    drop(hashes);
    let part = with_ending(output, "part");
    let made = runs.merge(&part).and_then(|count| {
        std::fs::rename(&part, output)?;
        Ok(Made { count, lines })
    });
    if made.is_err() {
        // What is half made is nobody's list.
        let _ = std::fs::remove_file(&part);
    }
    Ok(made?)
}

/// Reads a line without its end. One that is too long for a password is nothing.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    // Two more for the end of a line.
    let mut first = input.by_ref().take(BYTES_MAX as u64 + 2);
    if first.read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        let _ = line.pop_if(|byte| *byte == b'\r');
    } else if line.len() > BYTES_MAX {
        input.skip_until(b'\n')?;
        line.clear();
    }
    Ok(true)
}

/// The hash that a line stands for; `None`: nothing.
fn hash_of(line: &[u8], kind: Lines) -> Result<Option<u64>, ()> {
    match (kind, std::str::from_utf8(line)) {
        (Lines::Passwords, Ok("") | Err(_)) => Ok(None),
        (Lines::Passwords, Ok(password)) => Ok(Some(short_hash(password))),
        (Lines::Hashes, Err(_)) => Err(()),
        (Lines::Hashes, Ok(text)) => {
            let (hash, count) = text.trim_end().split_once(':').unwrap_or((text.trim_end(), "1"));
            let digits = hash.len() == 40 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
            let start = hash.get(..16).filter(|_| digits).ok_or(())?;
            let count: u64 = count.parse().map_err(|_| ())?;
            let hash = u64::from_str_radix(start, 16).map_err(|_| ())?;
            Ok((count > 0).then_some(hash))
        }
    }
}

/// Sorted hashes on the disk.
struct Runs<'p> {
    beside: &'p Path,
    /// Each with its last hash.
    files: Vec<(BufWriter<File>, u64)>,
}

impl Runs<'_> {
    /// Sorts the hashes and writes them away.
    fn add(&mut self, hashes: &mut Vec<u64>) -> Result<(), MakeError> {
        hashes.sort_unstable();
        hashes.dedup();
        let (Some(first), Some(last)) = (hashes.first().copied(), hashes.last().copied()) else {
            return Ok(());
        };
        if self.files.last().is_none_or(|(_, before)| *before > first) {
            if self.files.len() >= RUNS_MAX {
                return Err(MakeError::TooLarge);
            }
            self.files.push((BufWriter::new(self.nameless()?), 0));
        }
        if let Some((file, end)) = self.files.last_mut() {
            for hash in hashes.drain(..) {
                file.write_all(&hash.to_be_bytes())?;
            }
            *end = last;
        }
        Ok(())
    }

    /// A new file beside the list that is gone when it is closed.
    fn nameless(&self) -> io::Result<File> {
        let path = with_ending(self.beside, "run");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    /// Merges all runs into `path`, and says how many hashes it has then.
    fn merge(self, path: &Path) -> io::Result<u64> {
        let mut output = BufWriter::new(File::create(path)?);
        io::copy(&mut io::repeat(0).take(HEADER), &mut output)?;
        let mut runs = Vec::new();
        let mut next = BinaryHeap::new();
        for (run, _) in self.files {
            let mut file = run.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            let mut run = BufReader::new(file);
            next.extend(read_hash(&mut run)?.map(|hash| Reverse((hash, runs.len()))));
            runs.push(run);
        }
        let mut digest = digest::Context::new(&digest::SHA256);
        let (mut count, mut last) = (0_u64, None);
        while let Some(Reverse((hash, index))) = next.pop() {
            if last.replace(hash) != Some(hash) {
                digest.update(&hash.to_be_bytes());
                output.write_all(&hash.to_be_bytes())?;
                count += 1;
            }
            if let Some(run) = runs.get_mut(index) {
                next.extend(read_hash(run)?.map(|hash| Reverse((hash, index))));
            }
        }
        let file = output.into_inner().map_err(io::IntoInnerError::into_error)?;
        let digest = digest.finish();
        let header = [MAGIC.as_slice(), &FORM.to_be_bytes(), &count.to_be_bytes(), digest.as_ref()];
        file.write_all_at(&header.concat(), 0)?;
        file.sync_all()?;
        Ok(count)
    }
}

fn read_hash(run: &mut impl Read) -> io::Result<Option<u64>> {
    let mut bytes = [0; 8];
    match run.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(u64::from_be_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path of a file beside this one.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{ending}", std::process::id()));
    name.into()
}
