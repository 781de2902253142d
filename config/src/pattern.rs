//! Patterns for hosts and paths, as written in a route.

use std::collections::HashSet;

use crate::problem::Fault;

/// Which hosts: one name, or every name directly or deeper below a domain (`*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Exactly this name, in lower case.
    Exact(String),
    /// Any name that ends in this suffix, which begins with a dot: `*.example.com` is
    /// `.example.com`, so that `evil-example.com` cannot match.
    Below(String),
}

impl HostPattern {
    /// Does `host` (lower case, without port) match?
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    /// The suffixes that a [`Self::Below`] which matches `host` can have, longest first.
    pub fn suffixes(host: &str) -> impl Iterator<Item = &str> {
        // Not the host as a whole: nothing would stand before the suffix.
        host.match_indices('.')
            .filter_map(|(at, _)| host.get(at..))
            .filter(move |suffix| *suffix != host)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if name.len() > 253 || !(name.split('.').all(label) || is_ip_literal(name)) {
            return Err(Fault::new(
                format!("{text:?} is not a host name."),
                "Write it in lower case without port or scheme, for example \"console.example.com\" or \"*.example.com\".",
            ));
        }
        Ok(if name.len() < text.len() {
            Self::Below(format!(".{name}"))
        } else {
            Self::Exact(name.into())
        })
    }
}

fn is_ip_literal(name: &str) -> bool {
    name.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Many patterns for hosts, asked at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostSet {
    exact: HashSet<String>,
    below: HashSet<String>,
}

impl HostSet {
    /// Does one of the patterns match `host` (lower case, without port)?
    pub(crate) fn contains(&self, host: &str) -> bool {
        self.exact.contains(host)
            || (!self.below.is_empty()
                && HostPattern::suffixes(host).any(|suffix| self.below.contains(suffix)))
    }
}

impl<'p> FromIterator<&'p HostPattern> for HostSet {
    fn from_iter<I: IntoIterator<Item = &'p HostPattern>>(patterns: I) -> Self {
        let mut set = Self::default();
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(name) => set.exact.insert(name.clone()),
                HostPattern::Below(suffix) => set.below.insert(suffix.clone()),
            };
        }
        set
    }
}

/// Which paths. Matched against the decoded path, segment by segment; a slash at the end makes no
/// difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// Ends in `**`: any number of further segments, none included.
    deep: bool,
}

/// What one segment of a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text.
    Exact(String),
    /// One `*`: this beginning and this end, anything between.
    Wild(String, String),
}

impl Segment {
    fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Exact(text) => text == segment,
            Self::Wild(start, end) => {
                segment.len() >= start.len() + end.len()
                    && segment.starts_with(start.as_str())
                    && segment.ends_with(end.as_str())
            }
        }
    }
}

impl PathPattern {
    /// Does `path`, decoded and beginning with a slash, match?
    pub fn matches(&self, path: &str) -> bool {
        let mut given = Self::split(path);
        for wanted in &self.segments {
            match given.next() {
                Some(segment) if wanted.matches(segment) => {}
                _ => return false,
            }
        }
        self.deep || given.next().is_none()
    }

    /// The segments of a path, as they are matched: the empty one that a slash at the end leaves is
    /// dropped.
    pub fn split(path: &str) -> impl Iterator<Item = &str> + Clone {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        (!inner.is_empty()).then(|| inner.split('/')).into_iter().flatten()
    }

    /// What the first segments of a path must be.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// May further segments follow?
    pub fn is_deep(&self) -> bool {
        self.deep
    }

    /// The same pattern in lower case: it matches the lower-case form of what this one matches.
    #[must_use]
    pub fn to_lower_case(&self) -> Self {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Exact(text) => Segment::Exact(text.to_ascii_lowercase()),
            Segment::Wild(start, end) => {
                Segment::Wild(start.to_ascii_lowercase(), end.to_ascii_lowercase())
            }
        });
        Self { text: self.text.to_ascii_lowercase(), segments: segments.collect(), deep: self.deep }
    }

    /// Does every path match?
    pub(crate) fn is_everything(&self) -> bool {
        self.deep && self.segments.is_empty()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |reason: &str| {
            Err(Fault::new(
                format!("{text:?} {reason}"),
                "Write a decoded path such as \"/static/**\", \"/api/*/keys\" or \"/files/*.css\"; ** only as the last segment.",
            ))
        };
        if !text.starts_with('/') {
            return fault("does not begin with a slash.");
        }
        if text.contains(['%', '\\', '#', '?', ';']) || text.contains(char::is_control) {
            return fault("has a character that a path pattern cannot have.");
        }
        let deep = text.ends_with("/**");
        let body = text.strip_suffix("/**").unwrap_or(text);
        let mut parsed = Vec::new();
        for segment in Self::split(body) {
            parsed.push(match segment.split_once('*') {
                _ if segment.is_empty() => return fault("has two slashes in a row."),
                _ if segment == "." || segment == ".." => return fault("has a dot segment."),
                Some((_, end)) if end.contains('*') => {
                    return fault("has two stars in one segment.");
                }
                Some((start, end)) => Segment::Wild(start.into(), end.into()),
                None => Segment::Exact(segment.into()),
            });
        }
        Ok(Self { text: text.into(), segments: parsed, deep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let parsed = PathPattern::parse(pattern).unwrap();
        for path in matching {
            assert!(parsed.matches(path), "{pattern} should match {path}");
        }
        for path in other {
            assert!(!parsed.matches(path), "{pattern} should not match {path}");
        }
    }

    #[test]
    fn paths_match_by_segment() {
        check("/", &["/"], &["/a"]);
        check("/**", &["/", "/a", "/a/b/"], &[]);
        check(
            "/static/**",
            &["/static", "/static/", "/static/a/b"],
            &["/statics", "/a/static", "/"],
        );
        check("/api/*/keys", &["/api/v1/keys", "/api/v1/keys/"], &["/api/keys", "/api/v1/x/keys"]);
        check("/files/*.css", &["/files/a.css", "/files/.css"], &["/files/a.js", "/files/a.css/b"]);
    }

    #[test]
    fn wrong_paths_are_refused() {
        for text in ["static", "", "/a//b", "/a/../b", "/a/**/b", "/a/*x*", "/%61", "/a;b", "/a?b"]
        {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_match_at_a_label() {
        let below = HostPattern::parse("*.example.com").unwrap();
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        assert!(!below.matches("example.com") && !below.matches("evil-example.com"));
        assert!(!below.matches(".example.com"));
        let set: HostSet = [&below, &HostPattern::parse("a.test").unwrap()].into_iter().collect();
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("evil-example.com", false),
            ("a.test", true),
            ("b.a.test", false),
        ] {
            assert_eq!(set.contains(host), expected, "{host}");
        }
        for text in ["Example.com", "a b", "http://a", "a:80", "", "*", "a..b"] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
