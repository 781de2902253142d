//! Where a person goes back to: a path of this host, never another place.
//!
//! What is accepted is what the router would let through, and nothing that a browser reads as
//! another host: no `//`, no backslash, no control octet, no scheme (CVE class of open redirects).

use crate::portal::PREFIX;
use crate::target::Target;

/// Pages of the gate to which people go back.
const OWN_PAGES: &[&str] = &[
    "/.doorward/account",
    "/.doorward/account/authenticators",
    "/.doorward/account/authenticators/bind",
    "/.doorward/account/keys/bind",
    "/.doorward/account/password",
    "/.doorward/continue",
];

/// The longest path and query that is kept.
const CHARS_MAX: usize = 4096;

/// `wanted` if it is a path of this host, or else the host's first page.
pub fn verify(wanted: &str) -> &str {
    let (path, query) = wanted.split_once('?').unwrap_or((wanted, ""));
    let plain = |text: &str| {
        text.bytes().all(|byte| {
            matches!(byte, 0x21..=0x7e) && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>')
        })
    };
    let ours = path.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        && !OWN_PAGES.contains(&path);
    let good = wanted.len() <= CHARS_MAX
        && plain(path)
        && plain(query)
        && Target::parse(path).is_ok()
        && !ours;
    if good { wanted } else { "/" }
}

/// A query string that carries `place` to the sign-in page; empty if there is nothing to carry.
pub fn as_query(place: &str) -> String {
    match verify(place) {
        "/" => String::new(),
        place => format!("?return_to={}", encode(place)),
    }
}

/// Percent-encodes everything that has a meaning in a query (RFC 3986 §3.4).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
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

    /// `H` stands for another host.
    const SHAPES: &[&str] = &[
        "//H",
        "///H",
        "////H",
        "/\\H",
        "\\/H",
        "\\\\H",
        "/\\/H",
        "http://H",
        "https://H",
        "HTTPS://H",
        "https:H",
        "https:/H",
        "https:///H",
        "ftp://H",
        "javascript:alert(1)//H",
        "data:text/html,H",
        "vbscript:H",
        " //H",
        "\t//H",
        "/\t/H",
        "/\n/H",
        "/\r/H",
        "/%09/H",
        "/%5cH",
        "/%2fH",
        "/%2f%2fH",
        "/..//H",
        "/.//H",
        "/a/..//H",
        "./H",
        "../H",
        "H",
        "@H",
        ":H",
        "?//H",
        "#//H",
        "/#//H",
        "/a#//H",
        "\u{2028}//H",
        "/\u{ff0f}H",
        "\u{3002}H",
        "%2f%2fH",
        "%68ttps://H",
        "/a//H",
        "/a\\H",
        "/;@H//",
        "//;@H",
        "/%00//H",
        "\0//H",
        "/ /H",
        "/a b",
        "<script>",
        "/\"onload=",
        "/%0d%0aLocation:%20H",
    ];

    const HOSTS: &[&str] = &[
        "evil.example",
        "evil.example/",
        "console.example.com.evil.example",
        "console.example.com@evil.example",
        "127.0.0.1:1",
        "[::1]",
    ];

    #[test]
    fn k03_no_shape_of_another_place_is_accepted() {
        for shape in SHAPES {
            for host in HOSTS {
                let wanted = shape.replace('H', host);
                assert_eq!(verify(&wanted), "/", "{wanted:?} was accepted");
            }
        }
    }

    #[test]
    fn paths_of_this_host_are_kept() {
        for place in [
            "/",
            "/a/b?c=d&e=%2F..%2f",
            "/a?u=https://other.example/",
            "/.doorward/account",
            "/.doorward/account/password",
            "/%E4%BD%A0",
        ] {
            assert_eq!(verify(place), place);
        }
        for place in [
            "/.doorward/sign-out",
            "/.doorward/",
            "/.DOORWARD/x",
            "",
            &format!("/{}", "a".repeat(5000)),
        ] {
            assert_eq!(verify(place), "/", "{place}");
        }
        assert_eq!(as_query("/a?b=c&d"), "?return_to=%2Fa%3Fb%3Dc%26d");
        assert_eq!(as_query("//evil"), "");
    }
}
