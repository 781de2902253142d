//! Reads one head by the letter of RFC 9112 §3 and §5, line by line as it comes in.

use bytes::Bytes;
use doorward_config::Limits;
use doorward_plugins::Problem;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::request::Parts as RequestHead;
use http::{Method, Request, Uri, Version};

use super::Names;

/// The longest method that is read as one.
const METHOD_BYTES_MAX: usize = 32;

/// Empty lines in front of a request that are passed over (RFC 9112 §2.2).
const EMPTY_LINES_MAX: usize = 4;

/// What a refused head is replaced by, if nothing of it can be told.
const PLACEHOLDER: &str = "GET / HTTP/1.1";

/// How a request's body is told from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// What was found in a head.
pub(super) enum Read {
    Incomplete,
    /// It is this long.
    Complete(usize, Framing),
    Refused(Problem),
}

/// A request's head.
#[derive(Debug)]
pub struct Message {
    /// Request line and fields.
    pub head: RequestHead,
    /// What the connection has to know of it.
    pub facts: Facts,
    /// Why it is refused; `head` is what could be told of it then.
    pub refused: Option<Problem>,
}

/// What a head says about the connection and not about the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It is of HTTP/1.0.
    pub is_http10: bool,
    /// The connection is to end after it.
    pub closes: bool,
    /// The connection is to go on after it, which HTTP/1.0 does not by itself.
    pub keeps_alive: bool,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The client takes fields after a body (RFC 9110 §10.1.4).
    pub takes_trailers: bool,
}

/// Where a field stands in the head: its name, and its value without the white space around it.
#[derive(Clone, Debug)]
struct Place {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// How far a head was read.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the head begins, behind empty lines.
    begin: usize,
    /// Where the line begins that is read next.
    from: usize,
    /// Up to here that line has no end.
    searched: usize,
    /// Where the first line stands, once it is whole; it may be no request line.
    line: Option<std::ops::Range<usize>>,
    /// It is one.
    line_read: bool,
    /// The words of the request line: method and target.
    words: (std::ops::Range<usize>, std::ops::Range<usize>),
    facts: Facts,
    empty_lines: usize,
    fields: Vec<Place>,
    names: Names,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    /// Begins anew; the room for fields stays, and what they were called.
    pub(super) fn reset(&mut self) {
        let (mut fields, names) =
            (std::mem::take(&mut self.fields), std::mem::take(&mut self.names));
        fields.clear();
        *self = Self { fields, names, ..Self::default() };
    }

    /// How many octets of empty lines stand in front of what has come of a head. They are forgotten.
    pub(super) fn skip_empty(&mut self) -> usize {
        let skipped = std::mem::take(&mut self.begin);
        if self.line.is_some() {
            self.begin = skipped;
            return 0;
        }
        self.from -= skipped;
        self.searched -= skipped;
        skipped
    }

    /// The message with this whole head, whose fields go into `map`, which is empty.
    pub(super) fn message(&mut self, octets: &Bytes, map: HeaderMap) -> Message {
        match self.parse(octets, map) {
            Some(head) => Message { head, facts: self.facts, refused: None },
            None => self.refused(octets, Problem::BadRequest),
        }
    }

    /// What can be told of a head that is refused.
    pub(super) fn refused(&self, octets: &[u8], problem: Problem) -> Message {
        let line = self.line(octets).unwrap_or(PLACEHOLDER);
        let mut words = line.split(' ');
        let (mut head, ()) = Request::new(()).into_parts();
        if let (Some(method), Some(target)) = (words.next(), words.next())
            && let (Ok(method), Ok(target)) = (method.parse(), target.parse())
        {
            (head.method, head.uri) = (method, target);
        }
        head.headers.insert(HOST, HeaderValue::from_static("refused"));
        let facts = Facts { closes: true, ..self.facts };
        Message { head, facts, refused: Some(problem) }
    }

    /// The request line, if it is one that anybody can read.
    fn line<'o>(&self, octets: &'o [u8]) -> Option<&'o str> {
        let line = octets.get(self.line.clone()?)?;
        let plain = line.iter().all(|byte| (0x20..=0x7e).contains(byte));
        let text = std::str::from_utf8(line).ok().filter(|_| plain && !line.contains(&b'#'))?;
        text.contains(" /").then_some(text)
    }

    /// `None`: the types of `http` take less than the letter allows.
    fn parse(&mut self, octets: &Bytes, mut map: HeaderMap) -> Option<RequestHead> {
        let slice = |place: &std::ops::Range<usize>| octets.slice(place.clone());
        map.reserve(self.fields.len());
        for (place, Place { name, value }) in self.fields.iter().enumerate() {
            let name = self.names.find(place, octets.get(name.clone())?)?;
            let value = HeaderValue::from_maybe_shared(slice(value)).ok()?;
            map.try_append(name, value).ok()?;
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::from_bytes(octets.get(self.words.0.clone())?).ok()?;
        head.uri = Uri::from_maybe_shared(slice(&self.words.1)).ok()?;
        if self.facts.is_http10 {
            head.version = Version::HTTP_10;
        }
        head.headers = map;
        Some(head)
    }

    /// Goes on reading `octets`, which begin where the head begins.
    pub(super) fn read(&mut self, octets: &[u8], limits: &Limits) -> Read {
        loop {
            let rest = octets.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', rest) else {
                self.searched = octets.len();
                return match self.verify_size(octets.len(), limits) {
                    Some(problem) => Read::Refused(problem),
                    None => Read::Incomplete,
                };
            };
            let end = self.searched + found;
            let line = octets.get(self.from..end).unwrap_or_default();
            let start = std::mem::replace(&mut self.from, end + 1);
            self.searched = end + 1;
            if let Some(problem) = self.verify_size(end + 1, limits) {
                return Read::Refused(problem);
            }
            let whole = line.strip_suffix(b"\r");
            let bare = whole.unwrap_or(line);
            if self.line.is_none() && !bare.is_empty() {
                // Whatever is wrong with it, it may be what the log is told.
                self.line = Some(start..start + bare.len());
            }
            // A bare line feed would be the end of a line for some, and not for others.
            let Some(line) = whole else { return Read::Refused(Problem::BadRequest) };
            match self.read_line(line, start, limits) {
                Err(problem) => return Read::Refused(problem),
                Ok(false) => {}
                Ok(true) => {
                    return match self.framing() {
                        Some(framing) => Read::Complete(end + 1, framing),
                        None => Read::Refused(Problem::BadRequest),
                    };
                }
            }
        }
    }

    fn verify_size(&self, end: usize, limits: &Limits) -> Option<Problem> {
        let read = end - self.begin;
        // The longest request line, with a method and a version beside the target.
        let line_max = limits.target_bytes + METHOD_BYTES_MAX + 16;
        if !self.line_read && read > line_max {
            return Some(Problem::TargetTooLong);
        }
        (read > limits.header_bytes).then_some(Problem::HeadersTooLarge)
    }

    /// Reads a line without its end. True: it ends the head.
    fn read_line(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<bool, Problem> {
        if !self.line_read {
            if line.is_empty() && self.empty_lines < EMPTY_LINES_MAX {
                self.empty_lines += 1;
                self.begin = self.from;
                return Ok(false);
            }
            self.read_request_line(line, start, limits)?;
            self.line_read = true;
            return Ok(false);
        }
        if line.is_empty() {
            return Ok(true);
        }
        if self.fields.len() >= limits.header_count {
            return Err(Problem::HeadersTooLarge);
        }
        let (name, value) = read_field(line).ok_or(Problem::BadRequest)?;
        self.note(name, value).ok_or(Problem::BadRequest)?;
        let value_start = start + (value.as_ptr().addr() - line.as_ptr().addr());
        self.fields.push(Place {
            name: start..start + name.len(),
            value: value_start..value_start + value.len(),
        });
        Ok(false)
    }

    fn read_request_line(
        &mut self,
        line: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<(), Problem> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Problem::BadRequest);
        };
        let is_token = !method.is_empty() && method.iter().all(|byte| is_token(*byte));
        let is_target = !target.is_empty()
            && target.iter().all(|byte| *byte > b' ' && !matches!(byte, b'#' | 0x7f));
        if !is_token || !is_target {
            return Err(Problem::BadRequest);
        }
        if method.len() > METHOD_BYTES_MAX {
            return Err(Problem::MethodUnknown);
        }
        if target.len() > limits.target_bytes {
            return Err(Problem::TargetTooLong);
        }
        let target_start = start + method.len() + 1;
        self.words = (start..start + method.len(), target_start..target_start + target.len());
        match version {
            b"HTTP/1.1" => Ok(()),
            b"HTTP/1.0" => {
                self.facts.is_http10 = true;
                Ok(())
            }
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                Err(Problem::VersionUnknown)
            }
            _ => Err(Problem::BadRequest),
        }
    }

    /// Notes what says where the message ends, for whom it is, and what becomes of the connection.
    fn note(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => {
                self.facts.takes_trailers |= lists(value, b"trailers");
                Some(())
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.facts.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
                Some(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.facts.closes |= lists(value, b"close");
                self.facts.keeps_alive |= lists(value, b"keep-alive");
                Some(())
            }
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                (self.hosts == 1).then_some(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let digits =
                    (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
                self.length.replace(length).is_none().then_some(())
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let only = !std::mem::replace(&mut self.chunked, true);
                (only && value.eq_ignore_ascii_case(b"chunked")).then_some(())
            }
            _ => Some(()),
        }
    }

    /// How the body is told, if all of the head agrees on it (RFC 9112 §6.1, §6.3).
    fn framing(&self) -> Option<Framing> {
        if self.hosts == 0 && !self.facts.is_http10 {
            return None;
        }
        match (self.length, self.chunked) {
            (length, false) => Some(Framing::Length(length.unwrap_or_default())),
            (None, true) if !self.facts.is_http10 => Some(Framing::Chunked),
            (_, true) => None,
        }
    }
}

/// Is this one of the words of a list (RFC 9110 §5.6.1)?
pub(crate) fn lists(value: &[u8], word: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}

/// Name and value, without the white space around the value.
pub(super) fn read_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = split_field(line)?;
    // Both without an early end, so that it is done for many octets at once.
    let is_name = name.iter().fold(true, |token, byte| token & is_token(*byte));
    let is_value = value
        .iter()
        .fold(true, |plain, byte| plain & (((*byte >= b' ') & (*byte != 0x7f)) | (*byte == b'\t')));
    (is_name & is_value).then_some((name, value))
}

/// The same, unread: the name is not empty, and either may have octets that it must not have.
pub(crate) fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line).filter(|colon| *colon > 0)?;
    let (name, value) = line.split_at_checked(colon)?;
    // No other white space, which is refused where it is read.
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = value.get(1..)?;
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    Some((name, value.get(start..end)?))
}

/// May the octet stand in a token (RFC 9110 §5.6.2)?
pub(crate) fn is_token(byte: u8) -> bool {
    TOKENS.get(usize::from(byte)).copied().unwrap_or_default()
}

const TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        #[expect(clippy::indexing_slicing, reason = "as many as there are octets")]
        {
            tokens[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
        }
        byte += 1;
    }
    tokens
};
