//! Whether the store's place is its user's alone: who can write the folder can be any account, and
//! who can read the file has every password's hash.

use std::fs::Metadata;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a folder that everybody can write to.
pub(crate) fn verify_folder(folder: &Path) -> Result<()> {
    let found = std::fs::metadata(folder)?;
    // A group may write: volumes are handed to a group, whose members the operator chose.
    if found.mode() & 0o002 != 0 {
        return refuse(format!(
            "can be written to by everybody; run `chmod o-w {}`, or keep the store in a folder of its own",
            folder.display()
        ));
    }
    Ok(())
}

/// Refuses a store that others can use, or that is somewhere else. One that is missing is fine.
pub(crate) fn verify_store(file: &Path) -> Result<()> {
    let found: Metadata = match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_symlink() {
        // The lock and the keys would stand beside the link, and not beside the store.
        return refuse("is a symbolic link; name the file that it points to".into());
    }
    if found.mode() & 0o077 != 0 {
        let place = file.display();
        return refuse(format!("can be used by other users; run `chmod 600 {place}`"));
    }
    Ok(())
}

fn refuse(reason: String) -> Result<()> {
    Err(Error::new(ErrorKind::PermissionDenied, reason))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[track_caller]
    fn check(path: &Path, mode: u32, verify: fn(&Path) -> Result<()>, reason: Option<&str>) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = verify(path).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), reason.is_some(), "{mode:o}: {error:?}");
        assert!(error.unwrap_or_default().contains(reason.unwrap_or_default()), "{mode:o}");
    }

    #[test]
    fn p05_the_place_of_the_store_is_its_users_alone() {
        let name = crate::account::fresh_id().unwrap();
        let folder = std::env::temp_dir().join(format!("doorward-place-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("x.db");
        verify_store(&file).unwrap();
        std::fs::write(&file, "").unwrap();
        for mode in [0o644, 0o640, 0o602] {
            check(&file, mode, verify_store, Some("chmod 600"));
        }
        check(&file, 0o600, verify_store, None);
        for mode in [0o777, 0o1777] {
            check(&folder, mode, verify_folder, Some("chmod o-w"));
        }
        for mode in [0o755, 0o770, 0o700] {
            check(&folder, mode, verify_folder, None);
        }
        let link = folder.join("link.db");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(verify_store(&link).unwrap_err().to_string().contains("symbolic link"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
