//! The keys that secrets in the store are encrypted with, apart from the store: whoever has only a
//! copy of the store reads no seed of an authenticator, no appeal and no message.
//!
//! AES-256-GCM with a random nonce. What is sealed for one place cannot be opened as another's: the
//! place is authenticated with it. The newest key seals; older ones open until everything that they
//! sealed was sealed anew. A key is used for far fewer than the 2^32 messages that random nonces
//! allow (NIST SP 800-38D §8.3).

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::file::{KeyFileError, read_private, replace_private};

const KEY_LEN: usize = 32;

/// How many keys a vault may hold, the newest included.
const KEYS_MAX: usize = 250;

/// Encrypts what the store must not show.
pub struct Vault {
    file: PathBuf,
    /// By number, oldest first; never empty.
    keys: RwLock<Vec<VaultKey>>,
}

struct VaultKey {
    number: u8,
    bytes: Zeroizing<[u8; KEY_LEN]>,
}

/// Something could not be encrypted, or is not what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret cannot be opened with the keys that are here")]
pub struct VaultError;

impl Vault {
    /// Opens the key file, making it with a first key when missing. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(file: &Path) -> Result<Self, KeyFileError> {
        let keys = match read_private(file)? {
            Some(bytes) => read(file, &Zeroizing::new(bytes))?,
            None => {
                let keys = vec![fresh(file, 1)?];
                write(file, &keys)?;
                keys
            }
        };
        Ok(Self { file: file.to_owned(), keys: RwLock::new(keys) })
    }

    /// Encrypts `secret` for this place, such as a row of a table.
    ///
    /// # Errors
    /// [`VaultError`] when there is no randomness.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.last().ok_or(VaultError)?;
        let mut sealed = vec![key.number];
        seal_with(&key.bytes, place, secret, &mut sealed)?;
        Ok(sealed)
    }

    /// What was sealed for this place.
    ///
    /// # Errors
    /// [`VaultError`] when it was sealed for another, with another key, or was changed.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (number, rest) = sealed.split_first().ok_or(VaultError)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.number == *number).ok_or(VaultError)?;
        unseal_with(&key.bytes, place, rest)
    }

    /// Is this sealed with the newest key?
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.last().map(|key| key.number) == sealed.first().copied()
    }

    /// Makes a new key, which seals from now on. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`]; nothing has changed then.
    pub fn rotate(&self) -> Result<(), KeyFileError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let number = keys.last().map_or(0, |key| key.number).checked_add(1);
        let Some(number) = number.filter(|_| keys.len() < KEYS_MAX) else {
            return Err(KeyFileError::content(&self.file, "holds as many keys as there can be"));
        };
        keys.push(fresh(&self.file, number)?);
        write(&self.file, &keys).inspect_err(|_| drop(keys.pop()))
    }
}

/// Encrypts with a key of one's own, behind what `sealed` holds already.
///
/// # Errors
/// [`VaultError`] when there is no randomness.
pub fn seal_with(
    key: &[u8; KEY_LEN],
    place: &str,
    secret: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError)?;
    let mut text = Zeroizing::new(secret.to_vec());
    let nonce = key.seal_in_place_append_tag(Aad::from(place), &mut *text);
    sealed.extend_from_slice(nonce.map_err(|_| VaultError)?.as_ref());
    sealed.extend_from_slice(&text);
    Ok(())
}

/// Undoes [`seal_with`].
///
/// # Errors
/// [`VaultError`] when it was sealed for another place, with another key, or was changed.
pub fn unseal_with(
    key: &[u8; KEY_LEN],
    place: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(VaultError)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError)?;
    let mut text = Zeroizing::new(text.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(place), &mut text).map_err(|_| VaultError)?;
    Ok(Zeroizing::new(opened.to_vec()))
}

fn fresh(file: &Path, number: u8) -> Result<VaultKey, KeyFileError> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    rand::fill(bytes.as_mut_slice())
        .map_err(|_| KeyFileError::content(file, "no randomness for a key"))?;
    Ok(VaultKey { number, bytes })
}

/// One line a key: its number, a colon, and base64.
fn read(file: &Path, bytes: &[u8]) -> Result<Vec<VaultKey>, KeyFileError> {
    let wrong = || KeyFileError::content(file, "is not a file of vault keys");
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let mut keys: Vec<VaultKey> = Vec::new();
    for line in text.lines() {
        let (number, key) = line.split_once(':').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        let decoded = Zeroizing::new(STANDARD_NO_PAD.decode(key).map_err(|_| wrong())?);
        let bytes = <[u8; KEY_LEN]>::try_from(decoded.as_slice()).map_err(|_| wrong())?;
        if keys.last().is_some_and(|last| last.number >= number) {
            return Err(wrong());
        }
        keys.push(VaultKey { number, bytes: Zeroizing::new(bytes) });
    }
    if keys.is_empty() { Err(wrong()) } else { Ok(keys) }
}

fn write(file: &Path, keys: &[VaultKey]) -> Result<(), KeyFileError> {
    let mut text = Zeroizing::new(String::new());
    for key in keys {
        let line = Zeroizing::new(STANDARD_NO_PAD.encode(key.bytes.as_slice()));
        text.push_str(&format!("{}:", key.number));
        text.push_str(&line);
        text.push('\n');
    }
    replace_private(file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> PathBuf {
        let mut name = [0; 8];
        rand::fill(&mut name).unwrap();
        let folder =
            std::env::temp_dir().join(format!("doorward-vault-{:x}", u64::from_be_bytes(name)));
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("x.vault")
    }

    #[test]
    fn g08_a_secret_opens_at_its_place_only_and_after_a_restart_and_a_rotation() {
        let file = scratch();
        let vault = Vault::open(&file).unwrap();
        let sealed = vault.seal("authenticator a", b"seed").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"seed"));
        assert_ne!(sealed, vault.seal("authenticator a", b"seed").unwrap());
        assert_eq!(vault.unseal("authenticator b", &sealed).unwrap_err(), VaultError);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(vault.unseal("authenticator a", &changed).is_err(), "{place}");
        }
        assert!(vault.unseal("authenticator a", &[]).is_err());
        vault.rotate().unwrap();
        assert!(!vault.is_current(&sealed));
        let again = Vault::open(&file).unwrap();
        assert_eq!(**again.unseal("authenticator a", &sealed).unwrap(), *b"seed");
        let fresh = again.seal("authenticator a", b"seed").unwrap();
        assert!(again.is_current(&fresh));
        assert_eq!(**vault.unseal("authenticator a", &fresh).unwrap(), *b"seed");
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_not_replaced() {
        let file = scratch();
        for content in ["", "1:short\n", "x", "2:AA\n1:AA\n"] {
            replace_private(&file, content.as_bytes()).unwrap();
            assert!(Vault::open(&file).is_err(), "{content:?}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
    }
}
