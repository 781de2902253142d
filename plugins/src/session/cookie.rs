//! The `Cookie` field: the gate's own cookies are taken out, the others stay as they were.
//!
//! Reads octets, not text, and in one pass. A name that differs from ours in case only is taken
//! out too, but never believed: browsers compare the prefix without regard to case (RFC 6265bis
//! §4.1.3), so a sibling domain could have set it.

use std::time::Duration;

use doorward_config::{Session, is_gate_cookie};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::token::{self, TokenHash};

/// Names and scope of the gate's cookies.
#[derive(Clone, Debug)]
pub struct CookieNames {
    /// The session's.
    pub session: &'static str,
    /// The one that binds a form to a browser.
    pub form: &'static str,
    /// The one that keeps a chosen language.
    pub language: &'static str,
    /// The one by which a browser is known that has signed in.
    pub device: &'static str,
    /// The one that alone can go on with a sign-in that waits for its second factor.
    pub pending: &'static str,
    /// The one that gives the key of requests that are kept.
    pub hold: &'static str,
    domain: Option<String>,
}

/// What a client presented.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// Hash of the session token; `None` if there is none, or more than one.
    pub session: Option<TokenHash>,
    /// The others of the gate.
    pub others: GateCookies,
}

/// The gate's cookies besides the session's; `None` if there is none, or more than one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GateCookies {
    /// Binds forms to a browser.
    pub form: Option<String>,
    /// The language that was chosen.
    pub language: Option<String>,
    /// Says that this browser has signed in before.
    pub device: Option<String>,
    /// Goes on with a sign-in that waits.
    pub pending: Option<String>,
    /// Gives the key of kept requests.
    pub hold: Option<String>,
}

impl CookieNames {
    /// The names under this configuration.
    pub fn new(rules: &Session) -> Self {
        let domain = rules.cookie_domain.clone();
        // `__Host-` forbids Domain, which sharing between hosts needs.
        let session = if domain.is_some() { "__Secure-doorward" } else { "__Host-doorward" };
        Self {
            session,
            form: "__Host-doorward-form",
            language: "__Host-doorward-language",
            device: "__Host-doorward-device",
            pending: "__Host-doorward-pending",
            hold: "__Host-doorward-hold",
            domain,
        }
    }

    /// A `Set-Cookie` value for the session's token.
    pub fn set_session(&self, token: &str) -> String {
        self.set(self.session, token, "")
    }

    /// A `Set-Cookie` value that makes the browser forget the session's token.
    pub fn forget_session(&self) -> String {
        self.set(self.session, "", "; Max-Age=0")
    }

    /// A `Set-Cookie` value for the form cookie.
    pub fn set_form(&self, value: &str) -> String {
        format!("{}={value}; Path=/; Secure; HttpOnly; SameSite=Lax", self.form)
    }

    /// A `Set-Cookie` value by which the browser is known for this time. Sent to the gate's pages
    /// only by a browser that a person uses there: `Strict`.
    pub fn set_device(&self, value: &str, life: Duration) -> String {
        let (name, life) = (self.device, life.as_secs());
        format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={life}")
    }

    /// A `Set-Cookie` value for a sign-in that waits, for this time.
    pub fn set_pending(&self, token: &str, life: Duration) -> String {
        let (name, life) = (self.pending, life.as_secs());
        format!("{name}={token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={life}")
    }

    /// A `Set-Cookie` value that makes the browser forget a sign-in that waited.
    pub fn forget_pending(&self) -> String {
        self.set_pending("", Duration::ZERO)
    }

    /// A `Set-Cookie` value for the key of kept requests.
    pub fn set_hold(&self, value: &str) -> String {
        format!("{}={value}; Path=/; Secure; HttpOnly; SameSite=Lax", self.hold)
    }

    /// A `Set-Cookie` value that keeps a chosen language for a year.
    pub fn set_language(&self, code: &str) -> String {
        let name = self.language;
        format!("{name}={code}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=31536000")
    }

    fn set(&self, name: &str, value: &str, more: &str) -> String {
        let domain =
            self.domain.as_ref().map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{domain}{more}")
    }

    /// The session's value, if the field holds that cookie and nothing else.
    fn only_session<'h>(&self, field: &'h [u8]) -> Option<&'h [u8]> {
        let value = field.strip_prefix(self.session.as_bytes())?.strip_prefix(b"=")?;
        (!value.contains(&b';')).then_some(value)
    }

    /// Takes the gate's cookies out of `headers` and says what they were. Several `Cookie` fields
    /// are joined into one (RFC 9113 §8.2.3).
    pub fn take(&self, headers: &mut HeaderMap) -> Presented {
        let mut fields = headers.get_all(COOKIE).iter();
        let Some(first) = fields.next() else { return Presented::default() };
        let several = fields.next().is_some();
        if !several && let Some(value) = self.only_session(first.as_bytes()) {
            // A console without cookies of its own: nothing is left.
            let session = token::hash(value);
            headers.remove(COOKIE);
            return Presented { session, ..Presented::default() };
        }
        let mut found = Found::default();
        let mut kept = Vec::new();
        let mut all_kept = true;
        let pieces = headers
            .get_all(COOKIE)
            .iter()
            .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        for piece in pieces {
            let piece = piece.trim_ascii();
            let (name, value) = split_piece(piece);
            if is_gate_cookie(name) {
                // A nameless cookie that looks like ours was set by somebody else.
                if !piece.starts_with(b"=") {
                    found.note(self, name, value);
                }
                all_kept = false;
            } else if !piece.is_empty() {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(piece);
            }
        }
        let presented = found.presented();
        if kept.is_empty() {
            headers.remove(COOKIE);
        } else if several || !all_kept {
            match HeaderValue::from_maybe_shared(bytes::Bytes::from(kept)) {
                Ok(value) => drop(headers.insert(COOKIE, value)),
                // Pieces of valid values are valid; if not, nothing of them may go on.
                Err(_) => drop(headers.remove(COOKIE)),
            }
        }
        presented
    }
}

/// Is this `Set-Cookie` value one for a cookie of the gate?
pub fn sets_ours(set_cookie: &[u8]) -> bool {
    is_gate_cookie(split_piece(set_cookie).0.trim_ascii())
}

/// Name and value of one piece of a cookie field. A browser sends a nameless cookie without `=`,
/// which some servers read as a name, so both readings are covered; and `=name=value` is the
/// nameless cookie whose value looks like ours, however many equal signs stand in front.
fn split_piece(piece: &[u8]) -> (&[u8], &[u8]) {
    let start = piece.iter().position(|byte| !matches!(byte, b'=' | b' ' | b'\t'));
    let piece = piece.get(start.unwrap_or(piece.len())..).unwrap_or_default();
    match piece.iter().position(|byte| *byte == b'=') {
        Some(equals) => (
            piece.get(..equals).unwrap_or_default().trim_ascii(),
            piece.get(equals + 1..).unwrap_or_default(),
        ),
        None => (piece, b""),
    }
}

/// Values found so far.
#[derive(Default)]
struct Found<'h> {
    session: Once<'h>,
    form: Once<'h>,
    language: Once<'h>,
    device: Once<'h>,
    pending: Once<'h>,
    hold: Once<'h>,
}

/// The value of a cookie. A second one of its name makes the first doubtful: neither is believed.
#[derive(Default)]
struct Once<'h> {
    value: Option<&'h [u8]>,
    doubtful: bool,
}

impl<'h> Once<'h> {
    fn note(&mut self, value: &'h [u8]) {
        self.doubtful |= self.value.replace(value).is_some();
    }

    fn get(&self) -> Option<&'h [u8]> {
        self.value.filter(|_| !self.doubtful)
    }

    fn text(&self) -> Option<String> {
        self.get().and_then(|value| String::from_utf8(value.to_vec()).ok())
    }
}

impl<'h> Found<'h> {
    fn note(&mut self, names: &CookieNames, name: &[u8], value: &'h [u8]) {
        if name == names.session.as_bytes() {
            self.session.note(value);
        } else if name == names.form.as_bytes() {
            self.form.note(value);
        } else if name == names.language.as_bytes() {
            self.language.note(value);
        } else if name == names.device.as_bytes() {
            self.device.note(value);
        } else if name == names.pending.as_bytes() {
            self.pending.note(value);
        } else if name == names.hold.as_bytes() {
            self.hold.note(value);
        }
    }

    fn presented(&self) -> Presented {
        let others = GateCookies {
            form: self.form.text(),
            language: self.language.text(),
            device: self.device.text(),
            pending: self.pending.text(),
            hold: self.hold.text(),
        };
        Presented { session: self.session.get().and_then(token::hash), others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn names() -> CookieNames {
        CookieNames::new(&crate::context::tests::config("").session)
    }

    /// Presents these `Cookie` fields and compares whether a session was found, and what is left.
    #[track_caller]
    fn check(fields: &[&str], session: bool, left: Option<&str>) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, field.replace("TOKEN", TOKEN).parse().unwrap());
        }
        let presented = names().take(&mut headers);
        assert_eq!(presented.session.is_some(), session, "{fields:?}");
        let rest: Vec<_> =
            headers.get_all(COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(rest, Vec::from_iter(left), "{fields:?}");
    }

    #[test]
    fn e17_only_one_exact_cookie_is_believed_and_none_goes_on() {
        check(&["__Host-doorward=TOKEN"], true, None);
        check(&["a=1; __Host-doorward=TOKEN; b=2"], true, Some("a=1; b=2"));
        check(&["__Host-doorward=evil; __Host-doorward=TOKEN"], false, None);
        check(&["__Host-doorward=TOKEN; __Host-doorward=TOKEN"], false, None);
        check(&["__host-doorward=TOKEN; a=1"], false, Some("a=1"));
        check(&["=__Host-doorward=TOKEN; a=1"], false, Some("a=1"));
        check(&["= = __HOST-doorward=TOKEN; = __Host-doorward; a=1"], false, Some("a=1"));
        check(&["__Host-doorward-form=x; __Secure-doorward=y; a=1"], false, Some("a=1"));
        check(&["__Host-doorward"], false, None);
        check(&["__Host-doorward =TOKEN;c=d"], true, Some("c=d"));
    }

    #[test]
    fn c06_split_fields_are_joined() {
        check(&["a=1", "__Host-doorward=TOKEN", "b=2"], true, Some("a=1; b=2"));
        check(&["a=1", "b=2"], false, Some("a=1; b=2"));
        check(&["a=1;b=2"], false, Some("a=1;b=2"));
        check(&[], false, None);
    }

    #[test]
    fn as_many_equal_signs_as_fit_cost_no_stack() {
        let many = "=".repeat(1 << 20);
        check(&[&format!("{many}__Host-doorward=TOKEN; a=1")], false, Some("a=1"));
        check(&[&many], false, Some(&many));
    }

    #[test]
    fn octets_that_are_not_text_are_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_bytes(b"a=\xff; __Host-doorward=\xfe").unwrap());
        assert_eq!(names().take(&mut headers), Presented::default());
        assert_eq!(headers[COOKIE].as_bytes(), b"a=\xff");
    }

    #[test]
    fn e10_e12_cookies_are_secure_and_http_only() {
        let set = names().set_session(TOKEN);
        assert_eq!(set, format!("__Host-doorward={TOKEN}; Path=/; Secure; HttpOnly; SameSite=Lax"));
        assert!(names().forget_session().ends_with("; Max-Age=0"));
        assert!(format!("__Host-doorward={TOKEN}").len() <= 100);
        let shared = CookieNames::new(
            &crate::context::tests::config("[session]\ncookie_domain = \"example.com\"\n").session,
        );
        assert!(shared.set_session("x").starts_with(
            "__Secure-doorward=x; Path=/; Secure; HttpOnly; SameSite=Lax; Domain=example.com"
        ));
        assert!(sets_ours(b"__host-doorward=evil; Path=/") && !sets_ours(b"sid=1"));
    }
}
