//! The path that is judged: decoded once, or refused.
//!
//! The upstream gets the octets that the client sent; the routes are compared with the decoded
//! path. Both see the same path only if nothing in it can be read in two ways, so what can be is
//! refused: encoded slashes, backslashes and dots, empty and dot segments, control octets,
//! overlong or broken UTF-8. Path parameters (`/a;x`) and letter case are judged by the router,
//! because only the routes tell whether the two readings differ.
//!
//! Source: RFC 3986 §3.3, §6.2.2; CVE-2021-29492, CVE-2026-42274 and their kin.

use std::borrow::Cow;

/// A path that can be read in one way only.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'t> {
    /// Decoded; begins with a slash.
    pub path: Cow<'t, str>,
}

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path can be read in two ways")]
pub struct TargetError;

impl<'t> Target<'t> {
    /// Reads the path of a request, without its query.
    ///
    /// # Errors
    /// [`TargetError`] when it can be read in two ways, or not at all.
    pub fn parse(raw: &'t str) -> Result<Self, TargetError> {
        if !raw.starts_with('/')
            || raw
                .bytes()
                .any(|byte| byte <= 0x20 || byte == 0x7f || matches!(byte, b'\\' | b'#' | b'?'))
        {
            return Err(TargetError);
        }
        let path = if raw.contains('%') { Cow::Owned(decode(raw)?) } else { Cow::Borrowed(raw) };
        if has_one_reading(&path) { Ok(Self { path }) } else { Err(TargetError) }
    }
}

/// Does every segment say the same to everybody? Not an empty one, except the last, which a slash
/// at the end leaves; and not one whose name, before path parameters, is a dot or two, or empty.
fn has_one_reading(path: &str) -> bool {
    let mut segments = path.bytes().skip(1);
    loop {
        let (mut name, mut dots, mut parameters) = (0, 0, false);
        let end = segments.find(|byte| {
            parameters |= *byte == b';';
            if !parameters && *byte != b'/' {
                name += 1;
                dots += usize::from(*byte == b'.');
            }
            *byte == b'/'
        });
        let is_last = end.is_none();
        let empty = name == 0 && (parameters || !is_last);
        if empty || (name == dots && matches!(name, 1 | 2)) {
            return false;
        }
        if is_last {
            return true;
        }
    }
}

/// Undoes percent-encoding once, and refuses what would be another character of syntax after it.
fn decode(raw: &str) -> Result<String, TargetError> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|byte| char::from(byte).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(TargetError) };
        let octet = high << 4 | low;
        // `%25` would let `%252f` hide a slash from whoever decodes once.
        if octet < 0x20 || octet == 0x7f || matches!(octet, b'/' | b'\\' | b'.' | b';' | b'%') {
            return Err(TargetError);
        }
        decoded.push(octet);
    }
    String::from_utf8(decoded).map_err(|_| TargetError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: Option<&str>) {
        assert_eq!(
            Target::parse(raw).ok().as_ref().map(|target| &*target.path),
            expected,
            "{raw:?}"
        );
    }

    #[test]
    fn a04_what_can_be_read_in_two_ways_is_refused() {
        for raw in [
            "",
            "admin",
            "*",
            "//admin",
            "/a//b",
            "/a//",
            "/./admin",
            "/a/./b",
            "/../admin",
            "/a/..",
            "/a/.",
            "/..;/admin",
            "/.;x/admin",
            "/;x/admin",
            "/a/;",
            "/%2e%2e/admin",
            "/%2E/admin",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a%7f",
            "/a%252fb",
            "/a%25",
            "/a%3bx",
            "/a#b",
            "/a?b",
            "/a b",
            "/a\tb",
            "/%c0%af",
            "/%c0%ae",
            "/%e0%80%af",
            "/%ff",
            "/%",
            "/%2",
            "/%zz",
            "/%u002f",
            "/a%2",
        ] {
            check(raw, None);
        }
    }

    #[test]
    fn d04_plain_and_encoded_paths_are_decoded_once() {
        check("/", Some("/"));
        check("/a/b/", Some("/a/b/"));
        check("/a;x=1/b", Some("/a;x=1/b"));
        check("/%61dmin", Some("/admin"));
        check("/%E4%BD%A0%e5%a5%bd", Some("/你好"));
        check("/a+b%20c%40d", Some("/a+b c@d"));
        check("/.well-known/x", Some("/.well-known/x"));
        check("/a..b/...", Some("/a..b/..."));
        check("/%23%3f", Some("/#?"));
    }
}
