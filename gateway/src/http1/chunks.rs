//! Reads a chunked body by the letter of RFC 9112 §7.1.

use bytes::{Buf, Bytes, BytesMut};
use doorward_config::Limits;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{is_token, read_field};
use super::reader::{Broken, Piece};

/// Octets of extensions and trailers of one body.
pub(super) const OVERHEAD_MAX: usize = 8 * 1024;

/// How far a chunked body has come.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Octets of extensions and trailers so far.
    overhead: usize,
    trailers: HeaderMap,
}

#[derive(Debug)]
enum State {
    /// So many digits of a size were read, which is so far.
    Size(u32, u64),
    Extension(u64),
    /// The line feed after a size, or after the last one.
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataFeed,
    /// A line of trailers as far as it has come.
    Trailer(Vec<u8>),
    Over,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::Size(0, 0), overhead: 0, trailers: HeaderMap::new() }
    }
}

impl Chunks {
    /// Takes the next piece of the body off `read`; `None`: too little has come.
    pub(super) fn read(
        &mut self,
        read: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Piece>, Broken> {
        while let Some(octet) = read.first() {
            if let State::Data(left) = &mut self.state {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                let data = read.split_to(count).freeze();
                *left -= data.len() as u64;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                return Ok(Some(Piece::Data(data)));
            }
            self.step(*octet, limits)?;
            read.advance(1);
            if matches!(self.state, State::Over) {
                return Ok(Some(Piece::End(std::mem::take(&mut self.trailers))));
            }
        }
        Ok(None)
    }

    fn step(&mut self, octet: u8, limits: &Limits) -> Result<(), Broken> {
        let next = match (&mut self.state, octet) {
            (State::Size(digits, size), _) if octet.is_ascii_hexdigit() && *digits < 15 => {
                let digit = char::from(octet).to_digit(16).unwrap_or_default();
                State::Size(*digits + 1, *size << 4 | u64::from(digit))
            }
            (State::Size(1.., size), b'\r') | (State::Extension(size), b'\r') => {
                State::SizeEnd(*size)
            }
            (State::Size(1.., size), b';') => State::Extension(*size),
            (State::Extension(_), b'\t' | b' '..=b'~' | 0x80..) => return self.spend(),
            (State::SizeEnd(0), b'\n') => State::Trailer(Vec::new()),
            (State::SizeEnd(size), b'\n') => State::Data(*size),
            (State::DataEnd, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::Size(0, 0),
            (State::Trailer(line), b'\n') => {
                let Some((b'\r', field)) = line.split_last() else { return Err(Broken) };
                if field.is_empty() {
                    State::Over
                } else {
                    let (name, value) = read_trailer(field).ok_or(Broken)?;
                    if self.trailers.len() >= limits.header_count {
                        return Err(Broken);
                    }
                    self.trailers.try_append(name, value).map_err(|_| Broken)?;
                    State::Trailer(Vec::new())
                }
            }
            // A line may not begin with white space: it would belong to the one before.
            (State::Trailer(line), _) if !line.is_empty() || is_token(octet) || octet == b'\r' => {
                line.push(octet);
                return self.spend();
            }
            _ => return Err(Broken),
        };
        self.state = next;
        Ok(())
    }

    fn spend(&mut self) -> Result<(), Broken> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_MAX { Err(Broken) } else { Ok(()) }
    }
}

fn read_trailer(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = read_field(line)?;
    let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value)).ok()?;
    Some((HeaderName::from_bytes(name).ok()?, value))
}
