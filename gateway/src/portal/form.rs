//! Codes that bind a form to the browser, and the session, that it was given to.
//!
//! A browser gets a random cookie with its first form; the code in the form is the time and an HMAC
//! of it, of that cookie, the form's purpose and the session. Another site can make a browser send the cookie,
//! but can neither read it nor set it (`__Host-`), so it cannot know the code; and a form from
//! before a sign-in is worthless after it.
//!
//! Source: the signed double-submit pattern of OWASP's CSRF cheat sheet; ASVS 5.0, 3.5.1.

use std::sync::Arc;

use askama::Template;
use aws_lc_rs::hmac;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_plugins::account::fresh_id;
use doorward_plugins::audit::EventKind;
use doorward_plugins::session::LiveSession;
use doorward_plugins::{Problem, Refusal, Timestamp};
use http::StatusCode;

use super::account::to_sign_in;
use super::pages::render;
use super::{Desk, Visit, add_cookie};

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

/// What the form of a person's own page sends, by whom; or the answer to one that is not to be done.
/// `code` finds the form's code among its fields, and `place` is the page, encoded.
pub(super) fn own_form<'v, T>(
    (desk, visit): (&Desk, &'v Visit),
    (purpose, place): (&str, &str),
    fields: Result<Form<T>, FormRejection>,
    code: impl FnOnce(&T) -> &str,
) -> Result<(&'v Arc<LiveSession>, T), Box<Response>> {
    let Ok(Form(fields)) = fields else {
        return Err(Box::new(visit.refuse(&Refusal::new(Problem::BadRequest))));
    };
    let Some(session) = &visit.session else { return Err(Box::new(to_sign_in(visit, place))) };
    if desk.guard.verify(visit, purpose, code(&fields)).is_none() {
        desk.note(visit, EventKind::CsrfRefused);
        return Err(Box::new(visit.refuse(&Refusal::new(Problem::CrossSite))));
    }
    Ok((session, fields))
}

/// A page with the cookie that its forms need.
pub(super) fn show<const N: usize>(
    desk: &Desk,
    (status, page): (StatusCode, &impl Template),
    form: &FormCodes<N>,
) -> Response {
    let mut response = render(status, page);
    if let Some(cookie) = &form.fresh_cookie {
        add_cookie(response.headers_mut(), &desk.cookies.set_form(cookie));
    }
    response
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
