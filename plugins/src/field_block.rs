//! Fields that the gate adds to many requests alike: made once, and once written out.
//!
//! The router makes them, whoever sends the request on writes them. HTTP/1 takes the lines as they are, HTTP/2 field by field.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

/// Fields, and the lines that they are in HTTP/1.
#[derive(Debug, Default)]
pub struct FieldBlock {
    fields: Box<[(HeaderName, HeaderValue)]>,
    lines: Bytes,
}

impl FieldBlock {
    /// These fields, in this order.
    pub fn new(mut fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut lines = BytesMut::new();
        let ends: Vec<_> = fields
            .iter()
            .map(|(name, value)| {
                for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    lines.extend_from_slice(piece);
                }
                lines.len() - 2
            })
            .collect();
        let lines = lines.freeze();
        // One memory for both: a connection that is in use has a block of its own.
        for ((_, value), end) in fields.iter_mut().zip(ends) {
            if let Ok(same) = HeaderValue::from_maybe_shared(lines.slice(end - value.len()..end)) {
                *value = same;
            }
        }
        Self { fields: fields.into(), lines }
    }

    /// One field after another.
    pub fn iter(&self) -> std::slice::Iter<'_, (HeaderName, HeaderValue)> {
        self.fields.iter()
    }

    /// The lines of HTTP/1, each with its end (RFC 9112 §5).
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_say_what_the_fields_say() {
        let fields = [("via", "1.1 a"), ("x-empty", ""), ("x-latin", "\u{e4}")];
        let fields = fields.map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        let block = FieldBlock::new(fields.to_vec());
        assert_eq!(block.iter().cloned().collect::<Vec<_>>(), fields);
        assert_eq!(block.lines(), "via: 1.1 a\r\nx-empty: \r\nx-latin: \u{e4}\r\n".as_bytes());
        assert!(FieldBlock::default().lines().is_empty());
    }
}
