//! Responses of upstreams: what is read does not depend on how it comes in, every octet is taken
//! once at most, and a body is what a naive reader undoes the framing of.

use doorward::fuzzing::{ReadResponse, ResponseEnd, read_response};

/// Takes the first octet for the size of pieces and the method, the others for what the upstream
/// sends until it closes.
pub fn check(octets: &[u8]) {
    let Some((first, stream)) = octets.split_first() else { return };
    if stream.len() > 4000 {
        // Beyond a line's bound, pieces may be refused earlier than the whole.
        return;
    }
    let is_head = first & 1 == 1;
    let whole = read_response(&[stream], is_head);
    for size in [1, usize::from(first >> 1) + 1] {
        let pieces: Vec<_> = stream.chunks(size).collect();
        let other = read_response(&pieces, is_head);
        let facts = |read: &ReadResponse| {
            let left = (read.end != ResponseEnd::Malformed).then_some(read.left);
            (read.end, read.keep_alive, left)
        };
        assert_eq!(facts(&other), facts(&whole), "in pieces of {size}: {other:?}\n{whole:?}");
        assert_eq!(other.heads, whole.heads, "in pieces of {size}");
        assert_eq!(other.body, whole.body, "in pieces of {size}");
        assert_eq!(other.trailers, whole.trailers, "in pieces of {size}");
        check_bounds(&other, stream);
    }
    check_bounds(&whole, stream);
    check_body(&whole, stream, is_head);
}

fn check_bounds(read: &ReadResponse, stream: &[u8]) {
    let heads: usize = read.heads.iter().map(|(head, _)| head.len()).sum();
    assert!(heads + read.body.len() + read.left <= stream.len(), "{read:?}");
    assert!(read.steps <= 2 * stream.len() + 8, "{} steps", read.steps);
    assert!(read.heads.len() <= 17);
    let together: Vec<_> = read.heads.iter().flat_map(|(head, _)| head.clone()).collect();
    assert!(stream.starts_with(&together), "heads are what came");
    for (place, (head, status)) in read.heads.iter().enumerate() {
        let interim = (100..200).contains(status) && *status != 101;
        assert!(interim || place + 1 == read.heads.len(), "nothing follows a final head");
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(head);
        assert_eq!(parsed, Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
    }
}

/// Undoes the framing by hand, where there is a response.
fn check_body(read: &ReadResponse, stream: &[u8], is_head: bool) {
    let Some((head, status)) = read.heads.last() else { return };
    if (100..200).contains(status) && *status != 101 {
        return;
    }
    let before: usize = read.heads.iter().map(|(head, _)| head.len()).sum();
    let rest = &stream[before..];
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(head).expect("it was parsed before");
    let of = |name: &str| -> Vec<&[u8]> {
        let same = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        same.map(|field| field.value).collect()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    assert!(lengths.is_empty() || codings.is_empty(), "both: {}", head.escape_ascii());
    let first = lengths.first().map(|length| std::str::from_utf8(length).unwrap().parse::<u64>());
    let first = first.transpose().expect("a length");
    let same = |length: &&[u8]| std::str::from_utf8(length).unwrap().parse() == Ok(first.unwrap());
    assert!(lengths.iter().all(same), "lengths differ: {}", head.escape_ascii());

    let (body, end) = if is_head || matches!(status, 101 | 204 | 304) {
        (Vec::new(), ResponseEnd::Whole)
    } else if let Some(coding) = codings.first() {
        assert!(codings.len() == 1 && coding.eq_ignore_ascii_case(b"chunked"));
        assert_eq!(response.version, Some(1));
        chunks(rest)
    } else if let Some(length) = first {
        let count = usize::try_from(length).unwrap().min(rest.len());
        let whole = count as u64 == length;
        let end = if whole { ResponseEnd::Whole } else { ResponseEnd::CutOff };
        (rest[..count].to_vec(), end)
    } else {
        assert!(!read.keep_alive, "it ends with the connection");
        (rest.to_vec(), ResponseEnd::Whole)
    };
    assert_eq!(read.body, body, "{}", stream.escape_ascii());
    if end == ResponseEnd::Malformed || read.end != ResponseEnd::Malformed {
        // Trailers are looked at more closely than here.
        assert_eq!(read.end, end, "{}", stream.escape_ascii());
    }
}

/// The body in these chunks as far as they are some, and how it ends.
fn chunks(mut rest: &[u8]) -> (Vec<u8>, ResponseEnd) {
    let mut body = Vec::new();
    loop {
        let Some(feed) = rest.iter().position(|octet| *octet == b'\n') else {
            return (body, ResponseEnd::CutOff);
        };
        let Some(line) = rest[..=feed].strip_suffix(b"\r\n") else {
            return (body, ResponseEnd::Malformed);
        };
        rest = &rest[feed + 1..];
        let digits = line.split(|octet| *octet == b';').next().unwrap().trim_ascii_end();
        let hex = (1..16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(digits).ok().filter(|_| hex);
        let Some(size) = size.map(|digits| usize::from_str_radix(digits, 16).unwrap()) else {
            return (body, ResponseEnd::Malformed);
        };
        if size == 0 {
            // Trailers: up to an empty line.
            let over = rest.starts_with(b"\r\n") || rest.windows(4).any(|four| four == b"\r\n\r\n");
            return (body, if over { ResponseEnd::Whole } else { ResponseEnd::CutOff });
        }
        let count = size.min(rest.len());
        body.extend_from_slice(&rest[..count]);
        rest = &rest[count..];
        match rest {
            [b'\r', b'\n', ..] => rest = &rest[2..],
            [] | [b'\r'] => return (body, ResponseEnd::CutOff),
            // One octet may still be the beginning of a line that never ends.
            [_] => return (body, ResponseEnd::CutOff),
            _ => return (body, ResponseEnd::Malformed),
        }
    }
}
