//! Keeps other processes away from the store.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use doorward_config::Store;

use super::OpenError;
use crate::private_place;

/// Takes the lock file beside the store; the system frees it when this process ends, however.
pub(super) fn lock_store(store: &Store) -> Result<File, OpenError> {
    let file = store.beside("lock");
    let place = file.display().to_string();
    let refused = |place: &Path, error| OpenError::Io(place.display().to_string(), error);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        let made = std::os::unix::fs::DirBuilderExt::mode(
            std::fs::DirBuilder::new().recursive(true),
            0o700,
        )
        .create(folder);
        made.map_err(|error| refused(folder, error))?;
    }
    let folder = folder.unwrap_or(Path::new("."));
    private_place::verify_folder(folder).map_err(|error| refused(folder, error))?;
    private_place::verify_store(&store.path).map_err(|error| refused(&store.path, error))?;
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&file);
    let lock = opened.map_err(|error| OpenError::Io(place.clone(), error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(store.path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(place, error)),
    }
}
