//! CBOR as authenticators have to write it (CTAP2 §8, canonical form), and the two structures that
//! are built of it.
//!
//! Looked through before the library reads it, because that one takes what has several readings:
//! keys that stand twice, octets behind the end. Nothing here allocates by what a length claims.

use super::WebauthnError;

/// How deep items may be nested. CTAP2 allows 4; extensions may need a little more.
const DEPTH_MAX: usize = 8;
/// How many pairs a map may have.
const PAIRS_MAX: usize = 64;
/// Longest credential id (WebAuthn §7.1, step 25).
const ID_MAX: usize = 1023;

/// Octets of authenticator data before anything optional: hash, flags, counter.
const FIXED: usize = 37;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

/// The parts of an attestation object that are judged here.
#[derive(Debug)]
pub(super) struct Attestation<'a> {
    pub(super) format: &'a str,
    /// The statement as it is encoded.
    pub(super) statement: &'a [u8],
    pub(super) data: &'a [u8],
}

/// Takes an attestation object apart. It has one reading and nothing behind it.
pub(super) fn attestation(octets: &[u8]) -> Result<Attestation<'_>, WebauthnError> {
    let mut rest = Input(octets);
    let pairs = rest.map(0)?;
    rest.verify_empty()?;
    let part = |name: &str| {
        let found = pairs.iter().find(|pair| as_string(pair.key, TEXT) == Some(name.as_bytes()));
        found.map(|pair| pair.value).ok_or(WebauthnError::Malformed)
    };
    let format = as_string(part("fmt")?, TEXT).ok_or(WebauthnError::Malformed)?;
    Ok(Attestation {
        format: std::str::from_utf8(format).map_err(|_| WebauthnError::Malformed)?,
        statement: part("attStmt")?,
        data: as_string(part("authData")?, BYTES).ok_or(WebauthnError::Malformed)?,
    })
}

/// Authenticator data of a registration (WebAuthn §6.1): the id of the credential in it.
pub(super) fn attested_id(data: &[u8]) -> Result<&[u8], WebauthnError> {
    let (flags, mut rest) = fixed(data)?;
    if flags & ATTESTED == 0 {
        return Err(WebauthnError::Malformed);
    }
    let _model = rest.take(16)?;
    let length = usize::try_from(rest.number(2)?).map_err(|_| WebauthnError::Malformed)?;
    if length == 0 || length > ID_MAX {
        return Err(WebauthnError::Malformed);
    }
    let id = rest.take(length)?;
    rest.map(0)?;
    verify_extensions(flags, rest)?;
    Ok(id)
}

/// Authenticator data of an authentication: without a credential in it.
pub(super) fn verify_assertion_data(data: &[u8]) -> Result<(), WebauthnError> {
    let (flags, rest) = fixed(data)?;
    if flags & ATTESTED != 0 {
        return Err(WebauthnError::Malformed);
    }
    verify_extensions(flags, rest)
}

fn fixed(data: &[u8]) -> Result<(u8, Input<'_>), WebauthnError> {
    let mut rest = Input(data);
    let fixed = rest.take(FIXED)?;
    let flags = fixed.get(32).copied().ok_or(WebauthnError::Malformed)?;
    Ok((flags, rest))
}

fn verify_extensions(flags: u8, mut rest: Input<'_>) -> Result<(), WebauthnError> {
    if flags & EXTENSIONS != 0 {
        rest.map(0)?;
    }
    rest.verify_empty()
}

/// The content of one encoded string of this kind.
fn as_string(item: &[u8], kind: u8) -> Option<&[u8]> {
    let mut rest = Input(item);
    let (found, length) = rest.head().ok()?;
    let content = rest.take(usize::try_from(length).ok()?).ok()?;
    (found == kind).then_some(content)
}

/// A pair of a map, as it is encoded.
struct Pair<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

/// What has not been looked at yet.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WebauthnError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WebauthnError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many octets, the highest first.
    fn number(&mut self, octets: usize) -> Result<u64, WebauthnError> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    fn verify_empty(&self) -> Result<(), WebauthnError> {
        if self.0.is_empty() { Ok(()) } else { Err(WebauthnError::Malformed) }
    }

    /// Kind and argument of the next item. Lengths are definite and in their shortest form, so that
    /// what is equal is encoded alike.
    fn head(&mut self) -> Result<(u8, u64), WebauthnError> {
        let first = self.number(1)?;
        let kind = u8::try_from(first >> 5).map_err(|_| WebauthnError::Malformed)?;
        let (argument, least) = match first & 0x1f {
            small @ 0..=23 => (small, 0),
            24 => (self.number(1)?, 24),
            25 => (self.number(2)?, 1 << 8),
            26 => (self.number(4)?, 1 << 16),
            27 => (self.number(8)?, 1 << 32),
            _ => return Err(WebauthnError::Malformed),
        };
        // The octets of a floating-point number are no length.
        let shortest = argument >= least || (kind == SIMPLE && first & 0x1f > 24);
        if shortest { Ok((kind, argument)) } else { Err(WebauthnError::Malformed) }
    }

    /// Goes past one item, and gives it.
    fn item(&mut self, depth: usize) -> Result<&'a [u8], WebauthnError> {
        let before = self.0;
        let (kind, argument) = self.head()?;
        let count = usize::try_from(argument).map_err(|_| WebauthnError::Malformed)?;
        match kind {
            0 | 1 | SIMPLE => {}
            BYTES => drop(self.take(count)?),
            TEXT => {
                let text = self.take(count)?;
                std::str::from_utf8(text).map_err(|_| WebauthnError::Malformed)?;
            }
            ARRAY if depth < DEPTH_MAX => {
                // Each turn takes an octet at least, or fails: a count that lies costs nothing.
                for _ in 0..count {
                    self.item(depth + 1)?;
                }
            }
            MAP => {
                self.0 = before;
                self.map(depth)?;
            }
            _ => return Err(WebauthnError::Malformed),
        }
        let length = before.len() - self.0.len();
        before.get(..length).ok_or(WebauthnError::Malformed)
    }

    /// Goes past a map, and gives its pairs as they are encoded. No key stands twice.
    fn map(&mut self, depth: usize) -> Result<Vec<Pair<'a>>, WebauthnError> {
        let (kind, count) = self.head()?;
        if kind != MAP || depth >= DEPTH_MAX || count > PAIRS_MAX as u64 {
            return Err(WebauthnError::Malformed);
        }
        let mut pairs = Vec::new();
        for _ in 0..count {
            let key = self.item(depth + 1)?;
            if pairs.iter().any(|known: &Pair<'_>| known.key == key) {
                return Err(WebauthnError::Malformed);
            }
            pairs.push(Pair { key, value: self.item(depth + 1)? });
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(octets: &[u8]) -> bool {
        let mut rest = Input(octets);
        rest.item(0).is_ok() && rest.verify_empty().is_ok()
    }

    #[test]
    fn h19_only_what_has_one_reading_is_read() {
        for good in [&[0x00][..], &[0xa0], &[0xa1, 0x01, 0x02], &[0x62, b'o', b'k'], &[0xf5]] {
            assert!(is_read(good), "{good:x?}");
        }
        for (bad, why) in [
            (&[][..], "nothing"),
            (&[0x00, 0x00], "something behind it"),
            (&[0xa2, 0x01, 0x02, 0x01, 0x03], "a key twice"),
            (&[0xa2, 0x01, 0x02, 0x18, 0x01, 0x03], "the same key, written at length"),
            (&[0x18, 0x17], "not the shortest form"),
            (&[0x5f, 0x41, 0x00, 0xff], "no definite length"),
            (&[0xbf, 0xff], "no definite length"),
            (&[0xc0, 0x00], "a tag"),
            (&[0x61, 0xff], "no UTF-8"),
            (&[0x42, 0x00], "cut off"),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a length that lies"),
            (&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a length that lies"),
        ] {
            assert!(!is_read(bad), "{why}: {bad:x?}");
        }
        let deep = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert!(is_read(&deep(DEPTH_MAX)) && !is_read(&deep(DEPTH_MAX + 1)));
        assert!(!is_read(&deep(100_000)), "nesting ends before the stack does");
    }
}
