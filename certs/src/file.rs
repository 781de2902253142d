//! Files with secrets in them: mode 0600 from their first byte, replaced as a whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why key material could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file could not be read or written.
    #[error("{}: {error}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file was read and does not hold what it should.
    #[error("{}: {reason}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it; never its content.
        reason: String,
    },
}

impl KeyFileError {
    pub(crate) fn io(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |error| Self::Io { file, error }
    }

    pub(crate) fn content(file: &Path, reason: impl Into<String>) -> Self {
        Self::Content { file: file.to_owned(), reason: reason.into() }
    }
}

/// Writes `bytes` to `file` so that after a crash either the old or the new content is there.
///
/// # Errors
/// [`KeyFileError::Io`]; the old content is then still there.
pub fn replace_private(file: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    // A name of its own for each file, or two that are written at once would meet in it.
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let write = || {
        // A left-over of an interrupted write may have any mode; never write a secret into it.
        match std::fs::remove_file(fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
        handle.write_all(bytes)?;
        handle.sync_all()?;
        std::fs::rename(fresh, file)?;
        // The rename itself is durable once its folder is.
        File::open(
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?
        .sync_all()
    };
    write().map_err(KeyFileError::io(file))
}

/// Reads `file` if it exists, and refuses it if others than its owner may read it. What root has
/// put there for a group is not refused: that is how Kubernetes mounts secrets for a process that is
/// not root, which can then read them and not change them.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_private(file: &Path) -> Result<Option<Vec<u8>>, KeyFileError> {
    let metadata = match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(KeyFileError::io(file))?,
    };
    if !is_private(metadata.permissions().mode(), metadata.uid()) {
        return Err(KeyFileError::content(
            file,
            "others may read this key file; run: chmod 600 on it",
        ));
    }
    std::fs::read(file).map(Some).map_err(KeyFileError::io(file))
}

fn is_private(mode: u32, owner: u32) -> bool {
    let forbidden = if owner == ROOT { 0o037 } else { 0o077 };
    mode & forbidden == 0
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_a_key_is_its_owners_or_one_that_root_has_put_there_for_a_group() {
        for mode in [0o100_600, 0o100_400] {
            assert!(is_private(mode, 65_532) && is_private(mode, ROOT), "{mode:o}");
        }
        for mode in [0o100_640, 0o100_440] {
            assert!(is_private(mode, ROOT), "{mode:o}");
            assert!(!is_private(mode, 65_532), "{mode:o}");
        }
        for mode in [0o100_660, 0o100_604, 0o100_644, 0o100_601, 0o100_610] {
            assert!(!is_private(mode, ROOT) && !is_private(mode, 65_532), "{mode:o}");
        }
    }
}
