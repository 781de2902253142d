//! A way in for the fuzz target `response`: reads a response as an exchange does, from pieces
//! instead of a socket.

use bytes::BytesMut;

use super::response::{self, Framing, Taken};
use super::{Cause, INTERIM_MAX, is_interim};

/// What was read of a response.
#[derive(Debug)]
pub struct ReadResponse {
    /// The heads, interim ones included, octet by octet, with their statuses.
    pub heads: Vec<(Vec<u8>, u16)>,
    /// The body, its framing undone.
    pub body: Vec<u8>,
    /// Fields after the body.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// How it ended.
    pub end: ResponseEnd,
    /// The upstream may be asked again on the same connection, if nothing is left over.
    pub keep_alive: bool,
    /// Octets that nobody took.
    pub left: usize,
    /// How often something was taken.
    pub steps: usize,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseEnd {
    /// By its framing, or where that says so, with the connection.
    Whole,
    /// The connection ended before.
    CutOff,
    /// It is none.
    Malformed,
}

/// Reads the response that comes in these pieces, after which the connection ends.
pub fn read_response(pieces: &[&[u8]], is_head: bool) -> ReadResponse {
    let mut found = ReadResponse {
        heads: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
        end: ResponseEnd::CutOff,
        keep_alive: false,
        left: 0,
        steps: 0,
    };
    let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let mut read = BytesMut::new();
    let mut more = |read: &mut BytesMut| {
        let piece = pieces.next();
        piece.inspect(|piece| read.extend_from_slice(piece)).is_some()
    };
    found.end = match found.read(&mut read, &mut more, is_head) {
        Ok(true) => ResponseEnd::Whole,
        Ok(false) => ResponseEnd::CutOff,
        Err(_) => ResponseEnd::Malformed,
    };
    while more(&mut read) {}
    found.left = read.len();
    found
}

impl ReadResponse {
    fn read(
        &mut self,
        read: &mut BytesMut,
        more: &mut impl FnMut(&mut BytesMut) -> bool,
        is_head: bool,
    ) -> Result<bool, Cause> {
        let mut heads = response::Heads::default();
        let mut framing = loop {
            self.steps += 1;
            let Some(octets) = heads.take(read)? else {
                if !more(read) {
                    return Ok(false);
                }
                continue;
            };
            let head = heads.parse(&octets, is_head)?;
            let status = head.response.status();
            self.heads.push((octets.to_vec(), status.as_u16()));
            if !is_interim(status) {
                self.keep_alive = head.keep_alive;
                break head.framing;
            }
            if self.heads.len() > INTERIM_MAX {
                return Err(Cause::Malformed("it begins too often"));
            }
        };
        self.read_body(read, more, &mut framing)
    }

    fn read_body(
        &mut self,
        read: &mut BytesMut,
        more: &mut impl FnMut(&mut BytesMut) -> bool,
        framing: &mut Framing,
    ) -> Result<bool, Cause> {
        loop {
            self.steps += 1;
            let frame = match framing.take(read)? {
                Taken::Over => return Ok(true),
                Taken::More if more(read) => continue,
                Taken::More => return Ok(framing.end()),
                Taken::Frame(frame) => frame,
            };
            match frame.into_data() {
                Ok(data) => self.body.extend_from_slice(&data),
                Err(frame) => {
                    for (name, value) in &frame.into_trailers().unwrap_or_default() {
                        self.trailers.push((name.as_str().into(), value.as_bytes().into()));
                    }
                }
            }
        }
    }
}
