//! A Unix-domain socket that only this user can open, and that takes nobody else's place.

use std::fs::Metadata;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The place of a bound socket, so that it can be given up without touching a successor's.
#[derive(Debug)]
pub(crate) struct PrivateSocket {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl PrivateSocket {
    /// Binds one of mode 0600. It takes the place of a socket that nobody answers at, as a killed
    /// process leaves it, and of nothing else.
    pub(crate) async fn bind(path: &Path) -> Result<(Self, UnixListener)> {
        let fresh = path.with_extension("sock-new");
        for place in [&fresh, path] {
            vacate(place).await?;
        }
        let listener = UnixListener::bind(&fresh)?;
        // It gets its name when it has its mode.
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        let identity = identity(&std::fs::symlink_metadata(&fresh)?);
        std::fs::rename(&fresh, path)?;
        Ok((Self { path: path.to_owned(), identity }, listener))
    }

    /// Removes the socket, unless something else stands in its place by now.
    pub(crate) fn remove(&self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| identity(&found) == self.identity) {
            // If somebody else removed it, it is gone all the same.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Removes a socket that was left behind. Whatever else stands there is somebody's data.
async fn vacate(path: &Path) -> Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let reason = "is not a socket; move it away or name another place";
        return Err(Error::new(ErrorKind::AlreadyExists, reason));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // WouldBlock: its queue is full, so somebody owns it.
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(Error::new(ErrorKind::AddrInUse, "is in use by another gate")),
    }
}
