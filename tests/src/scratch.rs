//! Folders for tests, gone when they are.

use std::path::{Path, PathBuf};

use crate::watchdog::{self, Watched};

/// A fresh folder.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    _watched: Watched,
}

impl Scratch {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        let name = doorward_plugins::account::fresh_id().expect("randomness");
        let folder = std::env::temp_dir().join(format!("doorward-test-{name}"));
        std::fs::create_dir(&folder).expect("a folder for the test");
        Self { folder, _watched: watchdog::watch() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
