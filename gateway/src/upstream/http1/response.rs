//! Reading of responses: heads, and bodies by their framing.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body::Frame;
use hyper::ext::ReasonPhrase;

use super::{Cause, FIELDS_MAX, HEAD_BYTES_MAX, append};

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
#[derive(Debug)]
pub(super) enum Framing {
    /// There is none, or it is over.
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

/// Takes a whole head, with the empty line that ends it, off `read`, if there is one.
pub(super) fn take_head(read: &mut BytesMut) -> Result<Option<Bytes>, Cause> {
    let mut from = 0;
    while let Some(rest) = read.get(from..)
        && let Some(found) = memchr::memchr(b'\n', rest)
    {
        let line_end = from + found + 1;
        from = line_end;
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

/// Reads a whole head. A response to HEAD has no body, whatever it says.
pub(super) fn parse(octets: &Bytes, is_head: bool) -> Result<Head, Cause> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        octets,
        &mut fields,
    );
    if !status.is_ok_and(|status| status.is_complete()) {
        return Err(Cause::Malformed("its head"));
    }
    let code = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = code.ok_or(Cause::Malformed("its status"))?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    if parsed.version == Some(0) {
        *response.version_mut() = Version::HTTP_10;
    }
    let reason = parsed.reason.unwrap_or_default();
    if !reason.is_empty()
        && Some(reason) != status.canonical_reason()
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    headers.reserve(parsed.headers.len() + ADDED_FIELDS);
    for field in parsed.headers.iter() {
        append(headers, field.name.as_bytes(), octets.slice_ref(field.value))?;
    }
    let framing = framing(&response, is_head)?;
    let keep_alive = keeps_alive(&response) && !matches!(framing, Framing::Close);
    Ok(Head { response, framing, keep_alive })
}

/// Fields that the gate adds to an answer, so that the map grows once.
const ADDED_FIELDS: usize = 3;

fn framing(response: &Response<()>, is_head: bool) -> Result<Framing, Cause> {
    let (status, headers) = (response.status(), response.headers());
    let coded = headers.contains_key(TRANSFER_ENCODING);
    let length = length(headers)?;
    if coded && length.is_some() {
        return Err(Cause::Malformed("both a length and a coding"));
    }
    if is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Framing::Empty);
    }
    if coded {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let only = codings.next().filter(|_| codings.next().is_none());
        return match only {
            Some(coding)
                if coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                    && response.version() == Version::HTTP_11 =>
            {
                Ok(Framing::Chunked(Chunk::Size))
            }
            _ => Err(Cause::Malformed("its coding")),
        };
    }
    Ok(match length {
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

/// The length that is announced, once, or more than once alike (RFC 9112 §6.3).
fn length(headers: &HeaderMap) -> Result<Option<u64>, Cause> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let length = parse_length(value).ok_or(Cause::Malformed("its length"))?;
        if found.replace(length).is_some_and(|before| before != length) {
            return Err(Cause::Malformed("two lengths"));
        }
    }
    Ok(found)
}

fn parse_length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    // `parse` would take a sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn keeps_alive(response: &Response<()>) -> bool {
    let says = |word: &str| {
        response.headers().get_all(CONNECTION).iter().any(|value| {
            value
                .to_str()
                .unwrap_or("close")
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(word))
        })
    };
    match response.version() {
        Version::HTTP_11 => !says("close"),
        _ => says("keep-alive") && !says("close"),
    }
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
            Self::Close => Ok(data(read.split())),
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
                append(fields, line.get(..colon).unwrap_or_default(), value.slice_ref(trimmed))?;
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
fn split(read: &mut BytesMut, left: &mut u64) -> BytesMut {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= count as u64;
    read.split_to(count)
}

fn data(piece: BytesMut) -> Taken {
    Taken::Frame(Frame::data(piece.freeze()))
}
