//! Replaces the beginning of a path in what the upstream gets.
//!
//! What is replaced is the literal path of the route, which the judged path begins with; what
//! follows stays octet by octet, and so does the query. A client may have written the beginning
//! with `%`; it is compared decoded, as it was judged. The result is held to the same rules as a
//! path of a client, and the gate's own prefix stays the gate's.
//!
//! Not here: `Location` and the paths of cookies in answers, which stay as the console wrote them;
//! it is told of what was replaced in `X-Forwarded-Prefix`.

use doorward_config::ReplacePrefix;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::router::is_reserved;
use crate::target::Target;

const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A replacement, ready to be made.
pub(crate) struct Rewrite {
    rule: ReplacePrefix,
    /// What the upstream is told; `None`: nothing was taken off.
    told: Option<HeaderValue>,
}

impl Rewrite {
    /// Replaces by this rule.
    pub(crate) fn new(rule: &ReplacePrefix) -> Self {
        let told = Some(encode(&rule.from)).filter(|told| !told.is_empty());
        let told = told.and_then(|told| HeaderValue::try_from(told).ok());
        Self { rule: rule.clone(), told }
    }

    /// The target that the upstream gets; `None`: there is none that can be read in one way only.
    pub(crate) fn apply(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        let (path, query) = target.as_str().split_at_checked(target.path().len())?;
        let rest = after(path, self.rule.from.as_bytes())?;
        let mut rewritten = format!("{}{rest}", self.rule.to);
        if rewritten.is_empty() {
            rewritten.push('/');
        }
        if is_reserved(&Target::parse(&rewritten).ok()?.path) {
            return None;
        }
        rewritten.push_str(query);
        PathAndQuery::try_from(rewritten).ok()
    }

    /// Tells the upstream what it does not see of the path.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(told) = &self.told {
            headers.insert(PREFIX, told.clone());
        }
    }

    /// What the upstream is told.
    pub(crate) fn told(&self) -> Option<&HeaderValue> {
        self.told.as_ref()
    }
}

/// What follows `prefix`, which is decoded, in a path that is not. `None`: the path begins
/// otherwise, or goes on within the segment.
fn after<'p>(path: &'p str, prefix: &[u8]) -> Option<&'p str> {
    let mut rest = path.as_bytes();
    for wanted in prefix {
        let octet;
        (octet, rest) = match rest {
            [b'%', high, low, rest @ ..] => (digit(*high)? << 4 | digit(*low)?, rest),
            [octet, rest @ ..] => (*octet, rest),
            [] => return None,
        };
        if octet != *wanted {
            return None;
        }
    }
    let rest = path.get(path.len() - rest.len()..)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn digit(byte: u8) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}

/// A decoded path as it is written in a URL.
fn encode(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, target: &str, expected: Option<&str>) {
        let rule = ReplacePrefix { from: from.into(), to: to.into() };
        let rewritten = Rewrite::new(&rule).apply(&target.parse().unwrap());
        let rewritten = rewritten.as_ref().map(PathAndQuery::as_str);
        assert_eq!(rewritten, expected, "{from:?} to {to:?} in {target}");
    }

    #[test]
    fn only_the_beginning_is_replaced_and_the_rest_stays_octet_by_octet() {
        for (target, expected) in [
            ("/app", "/"),
            ("/app/", "/"),
            ("/app?", "/?"),
            ("/app?a=/app/b", "/?a=/app/b"),
            ("/app/x/y/", "/x/y/"),
            ("/app/app/x", "/app/x"),
            ("/%61pp/%78;v=1/%E4%BD%A0?%41", "/%78;v=1/%E4%BD%A0?%41"),
            ("/a%70%70/x", "/x"),
        ] {
            check("/app", "", target, Some(expected));
        }
        check("/app", "/v2", "/app", Some("/v2"));
        check("/app", "/v2", "/app/?q", Some("/v2/?q"));
        check("/app", "/v2/api", "/app/x", Some("/v2/api/x"));
        check("", "/v2", "/", Some("/v2/"));
        check("", "/v2", "/x?y", Some("/v2/x?y"));
        check("/你/a b", "", "/%e4%bd%a0/a%20b/c", Some("/c"));
    }

    #[test]
    fn what_begins_otherwise_or_would_be_read_otherwise_is_not_rewritten() {
        for target in ["/", "/ap", "/apps", "/app;x/y", "/App/x", "/ap%", "/ap%zz", "/%2561pp"] {
            check("/app", "", target, None);
        }
        for target in ["/app//x", "/app/../x", "/app/.doorward/session", "/app/.Doorward;x"] {
            check("/app", "", target, None);
        }
        check("/app", "/v2", "/app/.doorward/x", Some("/v2/.doorward/x"));
    }

    #[test]
    fn the_upstream_is_told_the_prefix_as_it_is_written_in_a_url() {
        for (from, told) in
            [("/app", Some("/app")), ("/你/a b", Some("/%E4%BD%A0/a%20b")), ("", None)]
        {
            let rewrite = Rewrite::new(&ReplacePrefix { from: from.into(), to: "/x".into() });
            assert_eq!(rewrite.told().map(|told| told.to_str().unwrap()), told);
        }
    }
}
