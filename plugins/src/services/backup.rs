//! A copy of a gate's file and of the keys beside it, made while the gate runs; and a gate from it.
//!
//! A gate that is restored is as it was then, but for whatever was live: sessions, challenges, codes
//! and kept requests are forgotten, so that nothing that was ended since comes back. Wrong guesses stay
//! counted as they were. What else was done since (a password, a factor, a recovery code that was
//! used, the log of it) is undone: that is what a backup is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use doorward_config::GatewayConfig;

use super::OpenError;
use super::lock::lock_store;
use crate::store::{Backend, SqliteStore};

/// The file in a backup.
const FILE: &str = "doorward.db";

/// What stands beside the file and is older than it in a copy: a head of the log that is ahead of the
/// log would say that the log was cut.
const BEFORE: [&str; 1] = ["audit-head"];

/// The same that is newer: keys are added, so that later ones open what earlier ones have sealed.
const AFTER: [&str; 3] = ["keys", "audit-keys", "vault"];

/// Copies the file of a configuration, which a gate may be using, and the keys beside it into a fresh
/// folder that only this user can read. Gives the names of what was copied.
///
/// # Errors
/// [`OpenError`]; what was copied so far stays there.
pub async fn back_up(config: &GatewayConfig, to: &Path) -> Result<Vec<String>, OpenError> {
    let at = |path: &Path| {
        let place = path.display().to_string();
        move |error| OpenError::Io(place, error)
    };
    let file = &config.store.path;
    std::fs::metadata(file).map_err(at(file))?;
    std::fs::DirBuilder::new().mode(0o700).create(to).map_err(at(to))?;
    let mut copied = Vec::new();
    let mut copy = |ending: &str| -> Result<(), OpenError> {
        let from = config.store.beside(ending);
        let target = Path::new(FILE).with_extension(ending);
        if copy_private(&from, &to.join(&target)).map_err(at(&from))? {
            copied.push(target.display().to_string());
        }
        Ok(())
    };
    BEFORE.iter().try_for_each(|ending| copy(ending))?;
    let target = to.join(FILE);
    let failed = |error| OpenError::Store(target.display().to_string(), error);
    SqliteStore::copy(file, &target).await.map_err(failed)?;
    AFTER.iter().try_for_each(|ending| copy(ending))?;
    copied.push(FILE.to_owned());
    File::open(to).and_then(|folder| folder.sync_all()).map_err(at(to))?;
    Ok(copied)
}

/// Puts a backup where a configuration has its file, which must not be there yet, and forgets what was
/// live. No gate may be using it.
///
/// # Errors
/// [`OpenError`]; nothing of a gate was overwritten then.
pub async fn restore(config: &GatewayConfig, from: &Path) -> Result<Vec<String>, OpenError> {
    let at = |path: &Path| {
        let place = path.display().to_string();
        move |error| OpenError::Io(place, error)
    };
    let source = from.join(FILE);
    std::fs::metadata(&source).map_err(at(&source))?;
    let _lock = lock_store(&config.store)?;
    let file = &config.store.path;
    let places: Vec<(PathBuf, PathBuf)> = BEFORE
        .iter()
        .chain(&AFTER)
        .map(|ending| (from.join(FILE).with_extension(ending), config.store.beside(ending)))
        .chain([(source, file.clone())])
        .collect();
    // All of them before the first is written.
    if let Some((_, taken)) = places.iter().find(|(_, target)| target.exists()) {
        return Err(at(taken)(io::ErrorKind::AlreadyExists.into()));
    }
    let mut restored = Vec::new();
    for (source, target) in &places {
        if copy_private(source, target).map_err(at(target))? {
            restored.push(target.display().to_string());
        }
    }
    let failed = |error| OpenError::Store(file.display().to_string(), error);
    let store = SqliteStore::open(file).await.map_err(failed)?;
    let forgotten = store.forget_live().await;
    store.close().await;
    forgotten.map_err(failed)?;
    Ok(restored)
}

/// Copies a file, if it is there, to one that is not, for this user alone; durable afterwards.
fn copy_private(from: &Path, to: &Path) -> io::Result<bool> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    target.sync_all()?;
    Ok(true)
}
