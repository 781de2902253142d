//! Reads one head by the letter of RFC 9112 §3 and §5, line by line as it comes in.

use doorward_config::Limits;
use doorward_plugins::Problem;

/// The longest method that is read as one.
const METHOD_BYTES_MAX: usize = 32;

/// Empty lines in front of a request that are passed over (RFC 9112 §2.2).
const EMPTY_LINES_MAX: usize = 4;

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

/// How far a head was read.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is read next.
    from: usize,
    /// Up to here that line has no end.
    searched: usize,
    /// The request line, where one was read.
    line: Option<std::ops::Range<usize>>,
    is_http10: bool,
    empty_lines: usize,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    pub(super) fn has_begun(&self) -> bool {
        self.searched > 0 || self.from > 0
    }

    /// The request line with its end, if it is one that anybody can read.
    pub(super) fn line(&self, octets: &[u8]) -> Option<String> {
        let line = octets.get(self.line.clone()?)?;
        let plain = line.iter().all(|byte| (0x20..=0x7e).contains(byte));
        let text = std::str::from_utf8(line).ok().filter(|_| plain && !line.contains(&b'#'))?;
        text.contains(" /").then(|| format!("{text}\r\n"))
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
            // A bare line feed would be the end of a line for some, and not for others.
            let Some((b'\r', line)) = line.split_last() else {
                return Read::Refused(Problem::BadRequest);
            };
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

    fn verify_size(&self, read: usize, limits: &Limits) -> Option<Problem> {
        // The longest request line, with a method and a version beside the target.
        let line_max = limits.target_bytes + METHOD_BYTES_MAX + 16;
        if self.line.is_none() && read > line_max {
            return Some(Problem::TargetTooLong);
        }
        (read > limits.header_bytes).then_some(Problem::HeadersTooLarge)
    }

    /// Reads a line without its end. True: it ends the head.
    fn read_line(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<bool, Problem> {
        if self.line.is_none() {
            if line.is_empty() && self.empty_lines < EMPTY_LINES_MAX {
                self.empty_lines += 1;
                return Ok(false);
            }
            self.read_request_line(line, limits)?;
            self.line = Some(start..start + line.len());
            return Ok(false);
        }
        if line.is_empty() {
            return Ok(true);
        }
        self.fields += 1;
        if self.fields > limits.header_count {
            return Err(Problem::HeadersTooLarge);
        }
        let (name, value) = read_field(line).ok_or(Problem::BadRequest)?;
        self.note(name, value).ok_or(Problem::BadRequest)?;
        Ok(false)
    }

    fn read_request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Problem> {
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
        match version {
            b"HTTP/1.1" => Ok(()),
            b"HTTP/1.0" => {
                self.is_http10 = true;
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

    /// Notes what says where the message ends and for whom it is.
    fn note(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name.len() {
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
        if self.hosts == 0 && !self.is_http10 {
            return None;
        }
        match (self.length, self.chunked) {
            (length, false) => Some(Framing::Length(length.unwrap_or_default())),
            (None, true) if !self.is_http10 => Some(Framing::Chunked),
            (_, true) => None,
        }
    }
}

/// Name and value, without the white space around the value.
pub(super) fn read_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| !is_token(*byte)).filter(|colon| *colon > 0)?;
    let (name, rest) = line.split_at_checked(colon)?;
    let value = rest.strip_prefix(b":")?;
    // Without an early end, so that it is done for many octets at once.
    let plain = value
        .iter()
        .fold(true, |plain, byte| plain & (((*byte >= b' ') & (*byte != 0x7f)) | (*byte == b'\t')));
    plain.then(|| (name, value.trim_ascii()))
}

/// May the octet stand in a token (RFC 9110 §5.6.2)?
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
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
        )
}
