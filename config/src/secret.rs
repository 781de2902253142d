//! Text that must not be printed.

use std::fmt;

use zeroize::Zeroizing;

use crate::problem::Fault;
use crate::reader::Reader;

/// A secret value. It has no `Display`, its `Debug` shows nothing, and its memory is overwritten
/// when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that the keys name a file or an environment variable for; `None` when neither is given,
/// or when it cannot be used, which is noted.
pub(crate) fn read_secret(
    reader: &Reader<'_>,
    file_key: &str,
    env_key: &str,
    bytes_min: usize,
) -> Option<Secret> {
    let file = reader.optional_file(file_key);
    let (key, text) = match (file, reader.optional_text(env_key)) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            let reason = format!("and {file_key} are both given.");
            reader.problem(env_key, Fault::new(reason, "Keep one of them."));
            return None;
        }
        (Some(path), None) => {
            (file_key, std::fs::read_to_string(path).map_err(|error| error.to_string()))
        }
        #[expect(clippy::disallowed_methods, reason = "this crate is where settings enter")]
        (None, Some(name)) => (env_key, std::env::var(name).map_err(|error| error.to_string())),
    };
    match text {
        Err(error) => reader
            .problem(key, Fault::new(format!("cannot be read: {error}."), "Name one that exists.")),
        Ok(text) if text.trim_end().len() < bytes_min => {
            let reason = format!("holds fewer than {bytes_min} bytes.");
            let advice = "A secret of one's own is made with: head -c 32 /dev/urandom | base64";
            reader.problem(key, Fault::new(reason, advice));
        }
        Ok(text) => return Some(Secret::new(text.trim_end().to_owned())),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }
}
