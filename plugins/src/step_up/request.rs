//! Which request exactly: its digest, and what of it a person is shown.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The most characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 200;

/// Stands for exactly one request: method, host, path and query, type and octets of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestDigest(String);

impl RequestDigest {
    /// The digest of a request. Each part stands behind its length, so that no two requests give the
    /// same octets.
    pub fn of(method: &str, host: &str, target: &str, content_type: &[u8], body: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [method.as_bytes(), host.as_bytes(), target.as_bytes(), content_type, body] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(URL_SAFE_NO_PAD.encode(context.finish()))
    }

    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Those of the wanted fields that the body has, a form's or members of a JSON object, with their
/// values. What a value does not show of itself (how long it is, control characters) is shown.
pub fn shown_fields(wanted: &[String], content_type: &str, body: &[u8]) -> Vec<(String, String)> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut found = Vec::new();
    if kind == "application/x-www-form-urlencoded" {
        for piece in body.split(|byte| *byte == b'&') {
            let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
                Some(place) => (
                    piece.get(..place).unwrap_or_default(),
                    piece.get(place + 1..).unwrap_or_default(),
                ),
                None => (piece, &b""[..]),
            };
            let name = decode(name);
            // One that is there twice is shown twice: who knows which of them the console takes.
            if wanted.contains(&name) {
                found.push((name, shorten(&decode(value))));
            }
        }
    } else if kind == "application/json" || kind.ends_with("+json") {
        let object: Option<serde_json::Map<_, _>> = serde_json::from_slice(body).ok();
        for name in wanted {
            if let Some(value) = object.as_ref().and_then(|object| object.get(name)) {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                found.push((name.clone(), shorten(&text)));
            }
        }
    }
    found
}

fn shorten(value: &str) -> String {
    let tamed = crate::audit::tame(value);
    let mut short: String = tamed.chars().take(VALUE_CHARS_MAX).collect();
    if short.len() < tamed.len() {
        short.push('…');
    }
    short
}

/// Undoes the encoding of forms (WHATWG URL §5.1).
fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(tail.first()), hex(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', ..) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, ..) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i05_every_part_of_a_request_is_in_its_digest() {
        let of = |method, host, target, kind: &str, body: &str| {
            RequestDigest::of(method, host, target, kind.as_bytes(), body.as_bytes())
        };
        let one = of("POST", "h", "/pay?to=a", "text/plain", "100");
        assert_eq!(one, of("POST", "h", "/pay?to=a", "text/plain", "100"));
        for other in [
            of("PUT", "h", "/pay?to=a", "text/plain", "100"),
            of("POST", "g", "/pay?to=a", "text/plain", "100"),
            of("POST", "h", "/pay?to=b", "text/plain", "100"),
            of("POST", "h", "/pay?to=a", "text/plai", "n100"),
            of("POST", "h", "/pay?to=a", "text/plain", "1000"),
            of("POST", "h", "/pay", "?to=atext/plain", "100"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn i09_wanted_fields_are_shown_and_no_others() {
        let wanted = ["to".to_owned(), "amount".to_owned()];
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let shown = shown_fields(&wanted, form, b"to=Bob+%C3%84&x=1&amount=5&to=%0aEve&%zz=%");
        let pairs: Vec<_> = shown.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(pairs, [("to", "Bob Ä"), ("amount", "5"), ("to", "\u{fffd}Eve")]);
        let json = br#"{"amount": 5, "to": {"name": "Bob"}, "secret": "x"}"#;
        let shown = shown_fields(&wanted, "application/json", json);
        assert_eq!(
            shown,
            [
                ("to".to_owned(), "{\"name\":\"Bob\"}".to_owned()),
                ("amount".to_owned(), "5".to_owned())
            ]
        );
        assert!(shown_fields(&wanted, "application/json", b"[1]").is_empty());
        assert!(shown_fields(&wanted, "text/plain", b"to=x").is_empty());
    }
}
