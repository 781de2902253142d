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

/// The wanted fields with what the body says of them, a form's or members of a JSON object; empty
/// where it says nothing. `None`: it cannot be read in one way only, so that somebody could be shown
/// something else than what the console takes.
pub fn shown_fields(
    wanted: &[String],
    content_type: &str,
    body: &[u8],
) -> Option<Vec<(String, String)>> {
    if wanted.is_empty() {
        return Some(Vec::new());
    }
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let kind = parts.next().unwrap_or_default();
    let utf8 =
        parts.all(|part| matches!(part.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\""));
    let members = match kind.as_str() {
        _ if body.is_empty() => Vec::new(),
        "application/x-www-form-urlencoded" if utf8 => form(body)?,
        "application/json" if utf8 => json(body)?,
        kind if utf8 && kind.starts_with("application/") && kind.ends_with("+json") => json(body)?,
        _ => return None,
    };
    let mut found = Vec::new();
    for name in wanted {
        // Some consoles do not tell upper from lower case, and read `to[]` as `to`.
        let like = |other: &String| {
            let plain = other.split('[').next().unwrap_or_default();
            plain.trim().eq_ignore_ascii_case(name)
        };
        let mut same = members.iter().filter(|(other, _)| like(other));
        let first = same.next();
        if same.next().is_some() || first.is_some_and(|(other, _)| other != name) {
            return None;
        }
        found.push((name.clone(), first.map_or_else(String::new, |(_, value)| shorten(value))));
    }
    Some(found)
}

fn form(body: &[u8]) -> Option<Vec<(String, String)>> {
    // Some consoles part a form by semicolons too.
    if body.contains(&b';') {
        return None;
    }
    let pairs = body.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let place = piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len());
        let (name, value) = piece.split_at_checked(place)?;
        Some((decode(name)?, decode(value.get(1..).unwrap_or_default())?))
    });
    pairs.collect()
}

/// The members of an object, each as it is written: `None` if it is none.
fn json(body: &[u8]) -> Option<Vec<(String, String)>> {
    let Members(members) = serde_json::from_slice(body).ok()?;
    Some(members)
}

/// Members of a JSON object in their order, those of the same name too.
struct Members(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let raw = map.next_value::<Box<serde_json::value::RawValue>>()?;
                    // A text is shown as it reads, anything else as it is written.
                    let text = serde_json::from_str::<String>(raw.get());
                    members.push((name, text.unwrap_or_else(|_| raw.get().to_owned())));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

fn shorten(value: &str) -> String {
    let tamed = crate::audit::tame(value);
    let mut short: String = tamed.chars().take(VALUE_CHARS_MAX).collect();
    if short.len() < tamed.len() {
        short.push('…');
    }
    short
}

/// Undoes the encoding of forms (WHATWG URL §5.1); `None`: it is no UTF-8.
fn decode(text: &[u8]) -> Option<String> {
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
    String::from_utf8(bytes).ok()
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
    fn i09_wanted_fields_are_shown_as_the_console_reads_them_or_nothing_is() {
        let wanted = ["to".to_owned(), "amount".to_owned()];
        let shown = |kind: &str, body: &str| {
            let shown = shown_fields(&wanted, kind, body.as_bytes());
            shown.map(|shown| shown.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
        };
        let form = "application/x-www-form-urlencoded; charset=UTF-8";
        assert_eq!(shown(form, "to=Bob+%C3%84&x=1&amount=5").unwrap(), ["Bob Ä", "5"]);
        assert_eq!(shown(form, "amount=%0a5").unwrap(), ["", "\u{fffd}5"]);
        assert_eq!(shown("", "").unwrap(), ["", ""]);
        let json = "application/json";
        let nested = r#"{"amount": 5, "to": {"name": "Bob"}, "secret": "x"}"#;
        assert_eq!(shown(json, nested).unwrap(), [r#"{"name": "Bob"}"#, "5"]);
        assert_eq!(shown("application/problem+json", r#"{"to":"\u0042ob"}"#).unwrap(), ["Bob", ""]);
        for (kind, body) in [
            (form, "to=Bob&to=Eve"),
            (form, "to=Bob&TO=Eve"),
            (form, "to[]=Eve"),
            (form, "to=Bob;amount=5"),
            (form, "to=%ff"),
            (json, r#"{"to":"Eve","amount":1000000,"to":"Bob"}"#),
            (json, "[1]"),
            (json, "\u{feff}{}"),
            ("application/json; charset=utf-16", "{}"),
            ("text/json", "{}"),
            ("multipart/form-data; boundary=b", "--b--"),
            ("", "to=Bob"),
        ] {
            assert_eq!(shown(kind, body), None, "{kind} {body}");
        }
        assert!(shown_fields(&[], "text/plain", b"anything").unwrap().is_empty());
    }
}
