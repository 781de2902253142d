//! Reading of responses: heads, and bodies by their framing.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Response, StatusCode, Version};
use http_body::Frame;
use hyper::ext::ReasonPhrase;

use super::{Cause, FIELDS_MAX, HEAD_BYTES_MAX, append};
use crate::http1::{Names, lists, split_field};

/// A line of chunk framing, extensions included.
const CHUNK_LINE_MAX: usize = 4096;

/// A response's head.
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The upstream keeps the connection open.
    pub(super) keep_alive: bool,
}

/// How a response's body is told from what follows it, and how far it has come (RFC 9112 §6.3).
#[derive(Debug, Default)]
pub(super) enum Framing {
    /// There is none, or it is over.
    #[default]
    Empty,
    /// So many octets are to come.
    Length(u64),
    Chunked(Chunk),
    /// It ends with the connection.
    Close,
}

#[derive(Debug)]
pub(super) enum Chunk {
    /// The line with the size of a chunk comes next.
    Size,
    /// So many octets of a chunk are to come.
    Data(u64),
    /// The empty line after a chunk's data comes next.
    DataEnd,
    /// Lines of trailers, and so many octets of them so far.
    Trailers(Box<HeaderMap>, usize),
}

/// What was found in the octets that have come.
pub(super) enum Taken {
    /// Too little.
    More,
    Frame(Frame<Bytes>),
    Over,
}

/// Reads the heads of one connection, one after another.
#[derive(Default)]
pub(super) struct Heads {
    /// Where the lines of the one that was taken last end, their feeds included, but for the empty one.
    ends: Vec<usize>,
    names: Names,
}

impl Heads {
    /// Takes a whole head, with the empty line that ends it, off `read`, if there is one.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Cause> {
        self.ends.clear();
        let mut from = 0;
        while let Some(rest) = read.get(from..)
            && let Some(found) = memchr::memchr(b'\n', rest)
        {
            let line_end = from + found + 1;
            from = line_end;
            self.ends.push(line_end);
            match read.get(line_end..) {
                Some([b'\r', b'\n', ..]) => return Ok(Some(read.split_to(line_end + 2).freeze())),
                Some([b'\n', ..]) => return Ok(Some(read.split_to(line_end + 1).freeze())),
                _ => {}
            }
        }
        if read.len() > HEAD_BYTES_MAX {
            Err(Cause::Malformed("its head is too large"))
        } else {
            Ok(None)
        }
    }

    /// Reads the head that was taken last. A response to HEAD has no body, whatever it says.
    pub(super) fn parse(&mut self, octets: &Bytes, is_head: bool) -> Result<Head, Cause> {
        let mut start = 0;
        let mut lines = self.ends.iter().map(|end| {
            let line =
                octets.get(std::mem::replace(&mut start, *end)..*end - 1).unwrap_or_default();
            // Most end with a CR too. Consoles that leave it out are understood.
            line.strip_suffix(b"\r").unwrap_or(line)
        });
        let status_line = lines.next().unwrap_or_default();
        let mut response = read_status_line(status_line).ok_or(Cause::Malformed("its head"))?;
        let (status, version) = (response.status(), response.version());
        let headers = response.headers_mut();
        headers.reserve(USUAL_FIELDS);
        let mut facts = Facts::default();
        for line in lines {
            if headers.len() >= FIELDS_MAX {
                return Err(Cause::Malformed("its head"));
            }
            // The types of `http` take no octets that neither may have.
            let (name, value) = split_field(line).ok_or(Cause::Malformed("its head"))?;
            if facts.note(name, value)? {
                let name = self.names.find(headers.len(), name).ok_or(NAME)?;
                append(headers, name, octets.slice_ref(value))?;
            }
        }
        let framing = facts.framing(status, version, is_head)?;
        let keeps_alive = !facts.closes && (version == Version::HTTP_11 || facts.keeps_alive);
        let keep_alive = keeps_alive && !matches!(framing, Framing::Close);
        Ok(Head { response, framing, keep_alive })
    }
}

/// What is not the name of a field.
const NAME: Cause = Cause::Malformed("a field's name");

/// Fields of an answer, with those that the gate adds, so that the map need not grow.
const USUAL_FIELDS: usize = 12;

/// Reads the line that a response begins with (RFC 9112 §4).
fn read_status_line(line: &[u8]) -> Option<Response<()>> {
    let (version, rest) = line.split_at_checked(9)?;
    let (code, rest) = rest.split_at_checked(3)?;
    let mut response = Response::new(());
    *response.version_mut() = match version {
        b"HTTP/1.1 " => Version::HTTP_11,
        b"HTTP/1.0 " => Version::HTTP_10,
        _ => return None,
    };
    *response.status_mut() = StatusCode::from_bytes(code).ok()?;
    let reason = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    let usual = response.status().canonical_reason().unwrap_or_default();
    if !reason.is_empty() && reason != usual.as_bytes() {
        response.extensions_mut().insert(ReasonPhrase::try_from(reason).ok()?);
    }
    Some(response)
}

/// What a head says about the end of its body and of the connection.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    /// There is a coding; is it the only one, and `chunked`?
    chunked: Option<bool>,
    closes: bool,
    keeps_alive: bool,
}

impl Facts {
    /// Notes what a field says. False: it says no more than that, and is for this connection only.
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Cause> {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                if value == b"keep-alive" {
                    self.keeps_alive = true;
                    return Ok(false);
                }
                let plain = [&b"keep-alive"[..], b"close"];
                // What cannot be read as a list is no reason to go on.
                self.closes |= lists(value, b"close") || !value.is_ascii();
                self.keeps_alive |= lists(value, b"keep-alive");
                return Ok(!plain.iter().any(|word| value.eq_ignore_ascii_case(word)));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // Once, or more than once alike (RFC 9112 §6.3).
                let length = parse_length(value).ok_or(Cause::Malformed("its length"))?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(Cause::Malformed("two lengths"));
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let only = self.chunked.is_none() && value.eq_ignore_ascii_case(b"chunked");
                self.chunked = Some(only);
                return Ok(!only);
            }
            _ => {}
        }
        Ok(true)
    }

    /// How the body is told (RFC 9112 §6.3).
    fn framing(
        &self,
        status: StatusCode,
        version: Version,
        is_head: bool,
    ) -> Result<Framing, Cause> {
        if self.chunked.is_some() && self.length.is_some() {
            return Err(Cause::Malformed("both a length and a coding"));
        }
        if is_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            return Ok(Framing::Empty);
        }
        match self.chunked {
            Some(true) if version == Version::HTTP_11 => Ok(Framing::Chunked(Chunk::Size)),
            Some(_) => Err(Cause::Malformed("its coding")),
            None => Ok(match self.length {
                Some(0) => Framing::Empty,
                Some(length) => Framing::Length(length),
                None => Framing::Close,
            }),
        }
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

impl Framing {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::Close => None,
        }
    }

    /// The connection has ended. Is the body whole?
    pub(super) fn end(&mut self) -> bool {
        let whole = matches!(self, Self::Close | Self::Empty);
        *self = Self::Empty;
        whole
    }

    /// Takes the next piece of the body off `read`.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Taken, Cause> {
        match self {
            Self::Empty => Ok(Taken::Over),
            Self::Close if read.is_empty() => Ok(Taken::More),
            Self::Close => Ok(data(read.split().freeze())),
            Self::Length(_) if read.is_empty() => Ok(Taken::More),
            Self::Length(left) => {
                let piece = split(read, left);
                if *left == 0 {
                    *self = Self::Empty;
                }
                Ok(data(piece))
            }
            Self::Chunked(chunk) => loop {
                match chunk.step(read)? {
                    Step::Again => {}
                    Step::Taken(taken) => return Ok(taken),
                    Step::Over(trailers) => {
                        *self = Self::Empty;
                        return Ok(match trailers.is_empty() {
                            true => Taken::Over,
                            false => Taken::Frame(Frame::trailers(trailers)),
                        });
                    }
                }
            },
        }
    }
}

enum Step {
    Again,
    Taken(Taken),
    Over(HeaderMap),
}

impl Chunk {
    fn step(&mut self, read: &mut BytesMut) -> Result<Step, Cause> {
        const MORE: Step = Step::Taken(Taken::More);
        match self {
            Self::Size => {
                let Some(line) = take_line(read, CHUNK_LINE_MAX)? else { return Ok(MORE) };
                *self = match parse_size(&line).ok_or(Cause::Malformed("the size of a chunk"))? {
                    0 => Self::Trailers(Box::default(), 0),
                    size => Self::Data(size),
                };
            }
            Self::Data(_) if read.is_empty() => return Ok(MORE),
            Self::Data(left) => {
                let piece = split(read, left);
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                return Ok(Step::Taken(data(piece)));
            }
            Self::DataEnd => {
                let Some(line) = take_line(read, 0)? else { return Ok(MORE) };
                if !line.is_empty() {
                    return Err(Cause::Malformed("the end of a chunk"));
                }
                *self = Self::Size;
            }
            Self::Trailers(fields, size) => {
                let Some(line) = take_line(read, HEAD_BYTES_MAX)? else { return Ok(MORE) };
                if line.is_empty() {
                    return Ok(Step::Over(std::mem::take(&mut **fields)));
                }
                *size += line.len();
                if *size > HEAD_BYTES_MAX || fields.len() >= FIELDS_MAX {
                    return Err(Cause::Malformed("its trailers are too large"));
                }
                let colon = memchr::memchr(b':', &line).ok_or(Cause::Malformed("a trailer"))?;
                let value = line.slice(colon + 1..);
                let trimmed = value.trim_ascii();
                let name = HeaderName::from_bytes(line.get(..colon).unwrap_or_default());
                append(fields, name.map_err(|_| NAME)?, value.slice_ref(trimmed))?;
            }
        }
        Ok(Step::Again)
    }
}

/// A line without the CR LF that ends it; `None` if it is not whole yet.
fn take_line(read: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Cause> {
    let Some(end) = memchr::memchr(b'\n', read) else {
        let too_long = read.len() > bytes_max + 1;
        return if too_long { Err(Cause::Malformed("a line is too long")) } else { Ok(None) };
    };
    if end.checked_sub(1).and_then(|before| read.get(before)) != Some(&b'\r') || end > bytes_max + 1
    {
        return Err(Cause::Malformed("the end of a line"));
    }
    let line = read.split_to(end - 1).freeze();
    read.advance(2);
    Ok(Some(line))
}

/// The size of a chunk; what follows a semicolon is nobody's (RFC 9112 §7.1.1).
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// As much as has come of what is `left`.
fn split(read: &mut BytesMut, left: &mut u64) -> Bytes {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= count as u64;
    read.split_to(count).freeze()
}

fn data(piece: Bytes) -> Taken {
    Taken::Frame(Frame::data(piece))
}
