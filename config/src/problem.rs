//! Mistakes in a configuration: each with its place, the reason, and what to write instead.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key in dotted form, for example `session.idle`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.reason)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, " {}", self.advice) }
    }
}

/// Why a configuration could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file itself could not be read.
    Unreadable {
        /// The file asked for.
        file: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The file was read and has mistakes, in the order of their places.
    Invalid {
        /// The file that has them.
        file: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Invalid { file, problems } => {
                for problem in problems {
                    writeln!(f, "{}:{problem}", file.display())?;
                }
                let count = problems.len();
                write!(f, "{count} problem{} found", if count == 1 { "" } else { "s" })
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// What is wrong with one value, before its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) advice: String,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { reason: reason.into(), advice: advice.into() }
    }
}

/// Collects mistakes while a file is read. Shared by all readers of that file.
pub(crate) struct Problems<'a> {
    source: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        Self { source, found: RefCell::new(Vec::new()) }
    }

    /// Notes a mistake at the byte range `span` of the source.
    pub(crate) fn add(&self, span: &Range<usize>, key: impl Into<String>, fault: Fault) {
        let before = self.source.get(..span.start).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let line = before.matches('\n').count() + 1;
        let Fault { reason, advice } = fault;
        self.found.borrow_mut().push(Problem { line, column, key: key.into(), reason, advice });
    }

    /// All mistakes, first place first.
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|problem| (problem.line, problem.column));
        // The first problem of a place often causes the others.
        found.dedup_by(|later, first| {
            let same_key = first.key.is_empty() || later.key == first.key;
            same_key && (later.line, later.column) == (first.line, first.column)
        });
        found
    }
}
