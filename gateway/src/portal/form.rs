//! Codes that bind a form to the browser, and the session, that it was given to.
//!
//! A browser gets a random cookie with its first form; the code in the form is the time and an HMAC
//! of it, of that cookie, the form's purpose and the session. Another site can make a browser send the cookie,
//! but can neither read it nor set it (`__Host-`), so it cannot know the code; and a form from
//! before a sign-in is worthless after it.
//!
//! Source: the signed double-submit pattern of OWASP's CSRF cheat sheet; ASVS 5.0, 3.5.1.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_plugins::Timestamp;
use doorward_plugins::account::fresh_id;

use super::Visit;

/// Makes and verifies codes.
pub(super) struct FormGuard {
    key: hmac::Key,
}

/// Codes for the forms of a page, and the cookie that goes with them.
pub(super) struct FormCodes<const N: usize> {
    /// Values of the hidden fields.
    pub(super) codes: [String; N],
    /// The value of a cookie to set, if the browser has none.
    pub(super) fresh_cookie: Option<String>,
}

impl FormGuard {
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A code for a form of each purpose. Without randomness they are empty, and never right.
    pub(super) fn issue<const N: usize>(&self, visit: &Visit, purposes: [&str; N]) -> FormCodes<N> {
        let (cookie, fresh) = match &visit.cookies.form {
            Some(cookie) => (cookie.clone(), false),
            None => (fresh_id().unwrap_or_default(), true),
        };
        let codes = purposes.map(|purpose| match cookie.as_str() {
            "" => String::new(),
            cookie => {
                let shown = visit.now.0.to_string();
                let tag = hmac::sign(&self.key, &message(cookie, visit, purpose, &shown));
                format!("{shown}.{}", URL_SAFE_NO_PAD.encode(tag))
            }
        });
        FormCodes { codes, fresh_cookie: fresh.then_some(cookie) }
    }

    /// When the form of this code was shown; `None` if it is not one for this purpose, in this
    /// browser and session. Compares in constant time.
    pub(super) fn verify(&self, visit: &Visit, purpose: &str, code: &str) -> Option<Timestamp> {
        let cookie = visit.cookies.form.as_deref().filter(|cookie| !cookie.is_empty())?;
        let (shown, tag) = code.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, &message(cookie, visit, purpose, shown), &tag).ok()?;
        shown.parse().ok().map(Timestamp)
    }
}

fn message(cookie: &str, visit: &Visit, purpose: &str, shown: &str) -> Vec<u8> {
    let session = visit.session.as_ref().map_or("", |session| &session.id);
    // Each part ends with its length, so that no two lists of them give the same octets.
    let mut message = Vec::new();
    for part in [cookie, purpose, session, shown] {
        message.extend_from_slice(part.as_bytes());
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
    }
    message
}
