//! A naive and strict reader of what a client sends over HTTP/1.1, beside the product's own: it has
//! everything before it at once, and takes nothing that RFC 9112 lets a recipient be lenient about.
//!
//! Bounds: the limits are those of [`Limits`]; the product's bound on extensions and trailers
//! (8 KiB) is not, so streams have to be shorter than that.

use std::ops::Range;

/// What a head may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a head.
    pub head: usize,
    /// Fields of a head.
    pub fields: usize,
    /// Octets of a target.
    pub target: usize,
}

/// One request.
#[derive(Debug)]
pub struct Message<'o> {
    /// Where its head stands, empty lines before it included.
    pub head: Range<usize>,
    pub method: &'o str,
    pub target: &'o [u8],
    /// It is of HTTP/1.0.
    pub old: bool,
    /// Names as they were sent, and values without the white space around them.
    pub fields: Vec<(&'o str, &'o [u8])>,
    /// Its body, framing undone, as far as it came.
    pub body: Vec<u8>,
    /// The body is all there.
    pub whole: bool,
}

/// How what was sent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Between messages.
    Clean,
    /// In a head.
    InHead,
    /// In a body.
    InBody,
    /// In a head that is none.
    Refused,
    /// In chunks that are none.
    Broken,
}

/// All of it.
#[derive(Debug)]
pub struct Stream<'o> {
    pub messages: Vec<Message<'o>>,
    pub end: End,
    /// Where the head begins that is not whole or none, or else the end of what was read.
    pub at: usize,
}

/// Reads all that a client sent.
pub fn read(octets: &[u8], limits: Limits) -> Stream<'_> {
    let (mut messages, mut at) = (Vec::new(), 0);
    let end = loop {
        if at == octets.len() {
            break End::Clean;
        }
        let mut cursor = Cursor { octets, at };
        let mut message = match head(&mut cursor, limits) {
            Ok(message) => message,
            Err(Stop::More) => break End::InHead,
            Err(Stop::Wrong) => break End::Refused,
        };
        at = cursor.at;
        let read = body(&mut message, &mut cursor, limits);
        message.whole = read.is_ok();
        messages.push(message);
        at = if read.is_ok() { cursor.at } else { at };
        match read {
            Ok(()) => {}
            Err(Stop::More) => break End::InBody,
            Err(Stop::Wrong) => break End::Broken,
        }
    };
    Stream { messages, end, at }
}

impl Message<'_> {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let same = self.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        same.map(|(_, value)| *value).collect()
    }
}

/// Why reading stopped.
enum Stop {
    /// Too little came.
    More,
    /// It is not what it should be.
    Wrong,
}

struct Cursor<'o> {
    octets: &'o [u8],
    at: usize,
}

impl<'o> Cursor<'o> {
    fn next(&mut self) -> Result<u8, Stop> {
        let octet = *self.octets.get(self.at).ok_or(Stop::More)?;
        self.at += 1;
        Ok(octet)
    }

    fn demand(&mut self, wanted: &[u8]) -> Result<(), Stop> {
        for octet in wanted {
            if self.next()? != *octet {
                return Err(Stop::Wrong);
            }
        }
        Ok(())
    }

    /// A line without its end, which ends `max` octets from here at most.
    fn line(&mut self, max: usize) -> Result<&'o [u8], Stop> {
        let rest = &self.octets[self.at..];
        let Some(feed) = rest.iter().position(|octet| *octet == b'\n') else {
            return Err(if rest.len() > max { Stop::Wrong } else { Stop::More });
        };
        if feed + 1 > max {
            return Err(Stop::Wrong);
        }
        self.at += feed + 1;
        rest[..=feed].strip_suffix(b"\r\n").ok_or(Stop::Wrong)
    }
}

fn head<'o>(cursor: &mut Cursor<'o>, limits: Limits) -> Result<Message<'o>, Stop> {
    let (first, mut start) = (cursor.at, cursor.at);
    // A method of 32 octets, a version and two spaces stand beside the target.
    let first_max = (limits.target + 48).min(limits.head);
    let mut empty = 0;
    let line = loop {
        match cursor.line(start + first_max - cursor.at)? {
            [] if empty < 4 => {
                empty += 1;
                // They do not count.
                start = cursor.at;
            }
            line => break line,
        }
    };
    let words: Vec<_> = line.split(|octet| *octet == b' ').collect();
    let [method, target, version] = words[..] else { return Err(Stop::Wrong) };
    let is_target = |octet: &u8| *octet > b' ' && *octet != b'#' && *octet != 0x7f;
    let fits = method.len() <= 32
        && !target.is_empty()
        && target.len() <= limits.target
        && target.iter().all(is_target)
        && matches!(version, b"HTTP/1.0" | b"HTTP/1.1");
    let method = token(method).filter(|_| fits).ok_or(Stop::Wrong)?;
    let old = version == b"HTTP/1.0";
    let mut fields = Vec::new();
    loop {
        let line = cursor.line((start + limits.head).saturating_sub(cursor.at))?;
        if line.is_empty() {
            break;
        }
        let (name, value) = field(line).ok_or(Stop::Wrong)?;
        let same = |(other, _): &(&str, _)| name.eq_ignore_ascii_case(other);
        let fits = match &*name.to_ascii_lowercase() {
            "host" => !fields.iter().any(same),
            "content-length" => !fields.iter().any(same) && length(value).is_some(),
            "transfer-encoding" => {
                !fields.iter().any(same) && value.eq_ignore_ascii_case(b"chunked")
            }
            _ => true,
        };
        // What is wrong in one line is wrong before the others come.
        if !fits || fields.len() >= limits.fields {
            return Err(Stop::Wrong);
        }
        fields.push((name, value));
    }
    let head = first..cursor.at;
    let message = Message { head, method, target, old, fields, body: Vec::new(), whole: false };
    framing(&message).map(|_| message).ok_or(Stop::Wrong)
}

fn token(octets: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(octets).ok().filter(|text| !text.is_empty())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.chars().all(plain).then_some(text)
}

fn field(line: &[u8]) -> Option<(&str, &[u8])> {
    let mut halves = line.splitn(2, |octet| *octet == b':');
    let (name, value) = (token(halves.next()?)?, halves.next()?);
    let plain = |octet: &u8| *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f);
    value.iter().all(plain).then(|| (name, value.trim_ascii()))
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = (1..20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// The length of the body; within it `None` for chunks. `None` if the head says none or two.
fn framing(message: &Message<'_>) -> Option<Option<u64>> {
    if message.all("host").is_empty() && !message.old {
        return None;
    }
    match (&message.all("content-length")[..], &message.all("transfer-encoding")[..]) {
        ([], []) => Some(Some(0)),
        ([value], []) => Some(Some(length(value)?)),
        ([], [_]) if !message.old => Some(None),
        _ => None,
    }
}

fn body(message: &mut Message<'_>, cursor: &mut Cursor<'_>, limits: Limits) -> Result<(), Stop> {
    match framing(message).ok_or(Stop::Wrong)? {
        Some(length) => data(cursor, length, &mut message.body),
        None => chunks(cursor, limits, &mut message.body),
    }
}

fn data(cursor: &mut Cursor<'_>, length: u64, body: &mut Vec<u8>) -> Result<(), Stop> {
    let rest = &cursor.octets[cursor.at..];
    let count = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
    body.extend_from_slice(&rest[..count]);
    cursor.at += count;
    if count as u64 == length { Ok(()) } else { Err(Stop::More) }
}

fn chunks(cursor: &mut Cursor<'_>, limits: Limits, body: &mut Vec<u8>) -> Result<(), Stop> {
    loop {
        let (mut size, mut digits) = (0, 0);
        let mut octet = cursor.next()?;
        while let Some(digit) = char::from(octet).to_digit(16).filter(|_| digits < 15) {
            (size, digits) = (size * 16 + u64::from(digit), digits + 1);
            octet = cursor.next()?;
        }
        if digits == 0 {
            return Err(Stop::Wrong);
        }
        if octet == b';' {
            octet = cursor.next()?;
            while octet == b'\t' || (octet >= b' ' && octet != 0x7f) {
                octet = cursor.next()?;
            }
        }
        if octet != b'\r' {
            return Err(Stop::Wrong);
        }
        cursor.demand(b"\n")?;
        if size == 0 {
            return trailers(cursor, limits);
        }
        data(cursor, size, body)?;
        cursor.demand(b"\r\n")?;
    }
}

fn trailers(cursor: &mut Cursor<'_>, limits: Limits) -> Result<(), Stop> {
    for count in 0.. {
        let first = *cursor.octets.get(cursor.at).ok_or(Stop::More)?;
        if first != b'\r' && token(&[first]).is_none() {
            return Err(Stop::Wrong);
        }
        match cursor.line(usize::MAX)? {
            [] => return Ok(()),
            line if count < limits.fields && field(line).is_some() => {}
            _ => return Err(Stop::Wrong),
        }
    }
    Ok(())
}
