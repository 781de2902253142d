//! Asks a range service whether a password was found in breaches.
//!
//! The service is told the first five hexadecimal digits of the SHA-1, and answers with the rest of
//! every hash that it knows to begin so: it learns 20 bits, which many thousand passwords share. It
//! is asked to pad its answer, so that its length tells an eavesdropper nothing either; what is
//! there for padding has a count of zero.
//!
//! Source: <https://haveibeenpwned.com/API/v3#PwnedPasswords>.

use aws_lc_rs::digest;
use doorward_config::{BreachApi, ServiceUrl};
use unicode_normalization::UnicodeNormalization;

use crate::outgoing::{Call, Method, Outgoing, OutgoingError};

/// The longest answer that is read; real ones have some 40 KiB.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Why the service told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the service of breached passwords {0}")]
    Call(#[from] OutgoingError),
    #[error("the service of breached passwords answered with something else than hashes")]
    Answer,
}

/// Does the service know the password?
pub(super) async fn contains(
    api: &BreachApi,
    password: &str,
    outgoing: &dyn Outgoing,
) -> Result<bool, ApiError> {
    let hash = hash(password);
    let (told, kept) = hash.split_at(5);
    let url =
        ServiceUrl { address: api.url.address.clone(), path: format!("{}{told}", api.url.path) };
    let call = Call {
        url: &url,
        method: Method::Get { field: ("add-padding", "true") },
        timeout: api.timeout,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = outgoing.ask(call).await?;
    find(std::str::from_utf8(&answer).map_err(|_| ApiError::Answer)?, kept)
}

/// The SHA-1 of a password in NFC, as 40 hexadecimal digits.
fn hash(password: &str) -> String {
    let normal: String = password.nfc().collect();
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, normal.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Is the rest of a hash in the answer? Every line has to be one, or the answer is none: half of it
/// would be a "no" that nobody said.
fn find(answer: &str, kept: &str) -> Result<bool, ApiError> {
    let mut found = None;
    for line in answer.lines() {
        let (rest, count) = line.split_once(':').ok_or(ApiError::Answer)?;
        let count: u64 = count.trim_end().parse().map_err(|_| ApiError::Answer)?;
        if rest.len() != kept.len() || !rest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ApiError::Answer);
        }
        let this = count > 0 && rest.eq_ignore_ascii_case(kept);
        found = Some(found.unwrap_or(false) || this);
    }
    // Every beginning has some hashes.
    found.ok_or(ApiError::Answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f15_the_service_learns_five_digits() {
        assert_eq!(hash("password"), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
        assert_eq!(hash("zoe\u{308}"), hash("zo\u{eb}"));
    }

    #[test]
    fn f15_an_answer_is_hashes_with_counts() {
        let (kept, other) = ("1E4C9B93F3F0682250B6CF8331B7EE68FD8", "0".repeat(35));
        let has = |answer: &str| find(answer, kept).ok();
        assert_eq!(has(&format!("{other}:1\r\n{}:10434004", kept.to_lowercase())), Some(true));
        assert_eq!(has(&format!("{other}:1\n")), Some(false));
        assert_eq!(has(&format!("{kept}:0\r\n{other}:3")), Some(false), "padding");
        for garbage in
            ["", "<html>", "\n", kept, &format!("{kept}:"), &format!("{kept}:-1"), "5BAA6:1"]
        {
            assert_eq!(has(garbage), None, "{garbage:?}");
            assert_eq!(has(&format!("{other}:1\r\n{garbage}\r\n{other}:1\r\n{garbage}x")), None);
        }
    }

    proptest! {
        #[test]
        fn f16_no_answer_is_too_strange(answer in "(([0-9a-fA-F]{30,36})?:?[0-9]{0,22}\r?\n?){0,5}|\\PC*") {
            let _ = find(&answer, "1E4C9B93F3F0682250B6CF8331B7EE68FD8");
        }
    }
}
