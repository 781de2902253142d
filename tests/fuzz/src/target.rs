//! Paths: whatever is accepted has one reading, and it is the one that a naive reader comes to.

use doorward::Target;

/// Takes the octets for the path of a request.
pub fn check(octets: &[u8]) {
    let Ok(raw) = std::str::from_utf8(octets) else { return };
    let found = Target::parse(raw).ok().map(|target| target.path.into_owned());
    assert_eq!(found, model(raw), "{raw:?}");
    let Some(path) = found else { return };

    assert!(path.starts_with('/') && !path.contains("//"), "{raw:?}: {path:?}");
    assert!(!path.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{raw:?}: {path:?}");
    assert!(!path.contains(['\\', '%']), "{raw:?}: {path:?}");
    for segment in path.split('/') {
        let name = segment.split(';').next().unwrap();
        assert!(!matches!(name, "." | ".."), "{raw:?}: {path:?}");
    }
    // Written again, sparingly or as a whole, it is the same path; so is what a second decoding
    // of it comes to, because there is nothing left to decode.
    let sparing = encode(&path, |byte| matches!(byte, b' ' | b'#' | b'?'));
    let whole = encode(&path, |byte| !matches!(byte, b'/' | b'.' | b';'));
    for again in [&sparing, &whole] {
        let found = Target::parse(again).map(|target| target.path.into_owned());
        assert_eq!(found.as_ref(), Ok(&path), "{raw:?} written as {again:?}");
    }
}

/// What a naive reader comes to: decodes octet by octet, then looks at the segments.
pub fn model(raw: &str) -> Option<String> {
    let first = raw.bytes().next()?;
    if first != b'/' || raw.bytes().any(|byte| byte < 0x21 || b"\x7f\\#?".contains(&byte)) {
        return None;
    }
    let mut pieces = raw.split('%');
    let mut decoded = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let piece = piece.as_bytes();
        let digits = piece.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        let octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if octet < b' ' || b"\x7f/\\.;%".contains(&octet) {
            return None;
        }
        decoded.push(octet);
        decoded.extend(&piece[2..]);
    }
    let path = String::from_utf8(decoded).ok()?;
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (place, segment) in segments.iter().enumerate() {
        let is_end = place + 1 == segments.len();
        let name = segment.split(';').next()?;
        let fits = match name {
            "" => is_end && segment.is_empty(),
            "." | ".." => false,
            _ => true,
        };
        if !fits {
            return None;
        }
    }
    Some(path)
}

fn encode(path: &str, needs: impl Fn(u8) -> bool) -> String {
    let mut written = Vec::new();
    for byte in path.bytes() {
        match needs(byte) {
            true => written.extend(format!("%{byte:02x}").bytes()),
            false => written.push(byte),
        }
    }
    String::from_utf8(written).unwrap()
}
