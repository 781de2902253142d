//! The device cookie: this browser has signed in here before.
//!
//! Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies". Unlike there the cookie
//! holds no name: a browser that several people use has one cookie, and the store knows for whom it
//! signed in. So it can be taken back, and a stolen one tells nothing.

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;

const NONCE: usize = 16;
const EXPIRY: usize = 8;
const TAG: usize = 16;

/// Makes device cookies, and reads those that it made.
#[derive(Clone)]
pub(super) struct DeviceCookies {
    key: hmac::Key,
}

/// One browser, by the nonce of its cookie: 22 characters of base64url. A new one with every
/// sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceId(String);

impl DeviceId {
    /// What [`Self::as_str`] gave; `None` for the empty text, which stands for no device.
    pub(crate) fn stored(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DeviceCookies {
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A new device, and the value of its cookie: nonce, end of life in seconds, and half of an
    /// HMAC-SHA-256 of both.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub(super) fn issue(
        &self,
        expires: Timestamp,
    ) -> Result<(DeviceId, String), aws_lc_rs::error::Unspecified> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce)?;
        let mut value = [nonce.as_slice(), &expires.secs().to_be_bytes()].concat();
        let tag = hmac::sign(&self.key, &value);
        value.extend_from_slice(tag.as_ref().get(..TAG).unwrap_or_default());
        Ok((DeviceId(URL_SAFE_NO_PAD.encode(nonce)), URL_SAFE_NO_PAD.encode(value)))
    }

    /// The device of a cookie that was made here and is not over.
    pub(super) fn read(&self, cookie: &str, now: Timestamp) -> Option<DeviceId> {
        let value = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (signed, tag) = value.split_at_checked(NONCE + EXPIRY)?;
        let expected = hmac::sign(&self.key, signed);
        constant_time::verify_slices_are_equal(tag, expected.as_ref().get(..TAG)?).ok()?;
        let (nonce, expiry) = signed.split_at_checked(NONCE)?;
        let expires = u64::from_be_bytes(expiry.try_into().ok()?);
        (now.secs() < expires).then(|| DeviceId(URL_SAFE_NO_PAD.encode(nonce)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f05_a_cookie_is_read_until_it_is_over_and_only_where_it_was_made() {
        let cookies = DeviceCookies::new(b"key");
        let (id, cookie) = cookies.issue(Timestamp(5_000)).unwrap();
        assert_eq!(cookies.read(&cookie, Timestamp(4_999)), Some(id));
        assert_eq!(cookies.read(&cookie, Timestamp(5_000)), None);
        assert_eq!(DeviceCookies::new(b"other").read(&cookie, Timestamp(0)), None);
    }

    proptest! {
        #[test]
        fn f05_no_other_octets_are_a_cookie(at in 0usize..40, bit in 0u8..8, text in "\\PC{0,80}") {
            let cookies = DeviceCookies::new(b"key");
            let (_, cookie) = cookies.issue(Timestamp(5_000)).unwrap();
            let mut octets = URL_SAFE_NO_PAD.decode(cookie).unwrap();
            octets[at] ^= 1 << bit;
            prop_assert_eq!(cookies.read(&URL_SAFE_NO_PAD.encode(&octets), Timestamp(0)), None);
            prop_assert_eq!(cookies.read(&URL_SAFE_NO_PAD.encode(&octets[..at]), Timestamp(0)), None);
            prop_assert_eq!(cookies.read(&text, Timestamp(0)), None);
        }
    }
}
