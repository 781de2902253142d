//! Reads what a client sends over HTTP/1, by the letter: what every parser of HTTP/1.1 reads alike,
//! and nothing else.
//!
//! RFC 9112 allows a recipient to be lenient about some things: bare line feeds, a length beside a
//! coding, lengths that repeat. A console behind the gate may read these differently. So a head is
//! taken when it is whole and read by the letter, and what follows is told from it by its framing.
//!
//! A head that is refused still becomes a message, of what can be told of it, so that the answer,
//! the access log and the metrics are those of every other refusal. Nothing is read after it, nor
//! after a body whose framing is broken.
//!
//! Not here: what a target means (`target`), which host (`router`). HTTP/2 has frames instead.
//!
//! Bounds: a head of `header_bytes`, `header_count` and `target_bytes`; of a chunked body's
//! extensions and trailers [`super::chunks::OVERHEAD_MAX`] octets.

use bytes::{Buf, Bytes, BytesMut};
use doorward_config::Limits;
use http::HeaderMap;

use super::chunks::Chunks;
use super::head::{Framing, Head, Message, Read};

/// Reads one connection's requests from a buffer of what has come and was not read yet.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    head: Head,
    /// Room for fields that another message no longer needs.
    spare: HeaderMap,
}

#[derive(Debug, Default)]
enum State {
    /// A head comes next, or the rest of one.
    #[default]
    Head,
    /// So many octets of a body.
    Length(u64),
    Chunked(Box<Chunks>),
    /// Nothing more is read.
    Closed,
}

/// What was found where a head may begin.
#[expect(clippy::large_enum_variant, reason = "a message is taken out of it at once")]
#[derive(Debug)]
pub enum Found {
    /// Too little.
    Nothing,
    /// A part of a head.
    Part,
    /// A whole one, or one that is refused.
    Message(Message),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Some octets, at least one.
    Data(Bytes),
    /// The body is over; these fields came after it.
    End(HeaderMap),
}

/// The body is not what its coding says.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

impl Reader {
    /// Takes a head off `read`. The body before it has to be over.
    pub fn head(&mut self, read: &mut BytesMut, limits: &Limits) -> Found {
        if self.is_closed() || read.is_empty() {
            return Found::Nothing;
        }
        let message = match self.head.read(read, limits) {
            Read::Incomplete => {
                // Empty lines in front of a request say nothing (RFC 9112 §2.2), nor that one comes.
                read.advance(self.head.skip_empty());
                return if read.is_empty() { Found::Nothing } else { Found::Part };
            }
            Read::Complete(length, framing) => {
                let octets = read.split_to(length).freeze();
                let message = self.head.message(&octets, std::mem::take(&mut self.spare));
                self.state = if message.refused.is_some() { State::Closed } else { framing.into() };
                message
            }
            Read::Refused(problem) => {
                self.state = State::Closed;
                self.head.refused(read, problem)
            }
        };
        self.head.reset();
        Found::Message(message)
    }

    /// Takes the next piece of the body off `read`; `None`: too little has come.
    ///
    /// # Errors
    /// The body is none; nothing more is read.
    pub fn body(&mut self, read: &mut BytesMut, limits: &Limits) -> Result<Option<Piece>, Broken> {
        let piece = match &mut self.state {
            State::Head | State::Closed => return Ok(Some(Piece::End(HeaderMap::new()))),
            State::Length(_) if read.is_empty() => return Ok(None),
            State::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                let data = read.split_to(count).freeze();
                *left -= data.len() as u64;
                if *left == 0 {
                    self.state = State::Head;
                }
                return Ok(Some(Piece::Data(data)));
            }
            State::Chunked(chunks) => chunks.read(read, limits),
        };
        match &piece {
            Ok(Some(Piece::End(_))) => self.state = State::Head,
            Err(Broken) => self.state = State::Closed,
            Ok(_) => {}
        }
        piece
    }

    /// Is there no body, or is it over?
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Is nothing more read?
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How much of the body is still to be taken, if that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.state {
            State::Head | State::Closed => Some(0),
            State::Length(left) => Some(*left),
            State::Chunked(_) => None,
        }
    }

    /// The next message may have the room of this map.
    pub(crate) fn give_back(&mut self, mut map: HeaderMap) {
        map.clear();
        self.spare = map;
    }
}

impl From<Framing> for State {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Head,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use doorward_config::GatewayConfig;
    use doorward_plugins::Problem;
    use proptest::prelude::*;

    use super::*;
    use crate::http1::Facts;

    fn limits() -> Limits {
        let text = "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
            [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n\
            [limits]\nheader_bytes = \"8KiB\"\nheader_count = 10\ntarget_bytes = \"256B\"\n";
        GatewayConfig::parse(text, std::path::Path::new("/")).unwrap().limits
    }

    /// What was read, and why a head was refused or whether a body was none.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Outcome {
        /// Request lines, fields, bodies and trailers, one message after another.
        text: String,
        refused: Option<Problem>,
        broken: bool,
        left: usize,
    }

    fn through(pieces: &[&[u8]]) -> Outcome {
        let (mut reader, limits) = (Reader::default(), limits());
        let (mut read, mut found) = (BytesMut::new(), Outcome::default());
        for piece in pieces {
            read.extend_from_slice(piece);
            while step(&mut reader, &mut read, &limits, &mut found) {}
        }
        found.left = read.len();
        found
    }

    /// Takes what can be taken next.
    fn step(reader: &mut Reader, read: &mut BytesMut, limits: &Limits, to: &mut Outcome) -> bool {
        if reader.is_closed() {
            read.clear();
            return false;
        }
        if reader.is_between_messages() {
            let Found::Message(Message { head, refused, .. }) = reader.head(read, limits) else {
                return false;
            };
            to.refused = refused;
            to.text += &format!("{} {} {:?}\n", head.method, head.uri, head.version);
            write_fields(&head.headers, &mut to.text);
            return true;
        }
        match reader.body(read, limits) {
            Ok(None) => return false,
            Ok(Some(Piece::Data(data))) => to.text += std::str::from_utf8(&data).unwrap(),
            Ok(Some(Piece::End(trailers))) => write_fields(&trailers, &mut to.text),
            Err(Broken) => to.broken = true,
        }
        true
    }

    fn write_fields(fields: &HeaderMap, text: &mut String) {
        for (name, value) in fields {
            *text += &format!("{name}: {}\n", value.as_bytes().escape_ascii());
        }
    }

    #[track_caller]
    fn passes(text: &str, expected: &str) {
        let expected = Outcome { text: expected.into(), ..Outcome::default() };
        assert_eq!(through(&[text.as_bytes()]), expected, "{text:?}");
        let octets: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(through(&octets), expected, "octet by octet: {text:?}");
    }

    #[track_caller]
    fn refused(text: &str, expected: Problem) {
        let whole = through(&[text.as_bytes()]);
        assert_eq!(whole.refused, Some(expected), "{text:?}");
        assert!(whole.text.ends_with("\nhost: refused\n"), "{text:?}: {whole:?}");
        let octets: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(through(&octets), whole, "octet by octet: {text:?}");
    }

    #[test]
    fn plain_messages_are_read_as_they_are() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n"),
            ("\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n"),
            ("GET /?a=|{}^ HTTP/1.0\r\n\r\n", "GET /?a=|{}^ HTTP/1.0\n"),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: a\r\n\r\n",
                "POST / HTTP/1.1\nhost: a\ncontent-length: 5\nhelloGET / HTTP/1.1\nhost: a\n",
            ),
            (
                "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
                 5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
                "POST / HTTP/1.1\nhost: a\ntransfer-encoding: Chunked\n\
                 hello0123456789x-t: 1\nGET / HTTP/1.1\nhost: a\n",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\nx: \t\u{fc} b\t\r\nempty:\r\nblank: \t \r\n\r\n",
                "GET / HTTP/1.1\nhost: a\nx: \\xc3\\xbc b\nempty: \nblank: \n",
            ),
        ] {
            passes(text, expected);
        }
    }

    #[test]
    fn what_the_connection_has_to_know_is_read_with_the_head() {
        for (fields, expected) in [
            ("", Facts::default()),
            ("connection: x, Close\r\n", Facts { closes: true, ..Facts::default() }),
            (
                "Connection: keep-alive\r\nconnection: close\r\n",
                Facts { closes: true, keeps_alive: true, ..Facts::default() },
            ),
            ("Expect: 100-Continue\r\n", Facts { expects_continue: true, ..Facts::default() }),
            ("TE: gzip, trailers\r\n", Facts { takes_trailers: true, ..Facts::default() }),
            ("te: x-trailers\r\nexpect: no\r\nconnection: closed\r\n", Facts::default()),
        ] {
            let text = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            let found = Reader::default().head(&mut text.as_bytes().into(), &limits());
            let Found::Message(message) = found else { panic!("{found:?}") };
            assert_eq!(message.facts, expected, "{fields:?}");
        }
    }

    #[test]
    fn b01_to_b08_what_two_parsers_could_read_differently_is_refused() {
        for fields in [
            "host: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n",
            "host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
            "host: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n",
            "host: a\r\ncontent-length: 5, 5\r\n",
            "host: a\r\ncontent-length: +5\r\n",
            "host: a\r\ncontent-length: 0x5\r\n",
            "host: a\r\ncontent-length:\r\n",
            "host: a\r\ncontent-length: 99999999999999999999\r\n",
            "host: a\r\ntransfer-encoding: gzip, chunked\r\n",
            "host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "host: a\r\ntransfer-encoding: xchunked\r\n",
            "host: a\r\ntransfer-encoding:\u{b}chunked\r\n",
            "host : a\r\n",
            "host: a\r\n folded: b\r\n",
            "host: a\r\n\tb\r\n",
            "host: a\nx: b\r\n",
            "host: a\r\nx: b\rc\r\n",
            "host: a\r\nx: \0\r\n",
            "host: a\r\nx: \u{7f}\r\n",
            "host: a\r\nx\r\n",
            "host: a\r\n: x\r\n",
            "host: a\r\nx@y: b\r\n",
            "host: a\r\nhost: a\r\n",
            "",
        ] {
            refused(&format!("GET /a HTTP/1.1\r\n{fields}\r\n"), Problem::BadRequest);
        }
        refused("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Problem::BadRequest);
        refused("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", Problem::BadRequest);
        refused("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", Problem::BadRequest);
        refused("GET /\r\nhost: a\r\n\r\n", Problem::BadRequest);
        refused("GET / HTTP/2.0\r\nhost: a\r\n\r\n", Problem::VersionUnknown);
        refused("GET / HTTP/1.2\r\nhost: a\r\n\r\n", Problem::VersionUnknown);
        refused("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Problem::BadRequest);
        refused(
            &format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(400)),
            Problem::TargetTooLong,
        );
        refused(
            &format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(9000)),
            Problem::HeadersTooLarge,
        );
        refused(
            &format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(10)),
            Problem::HeadersTooLarge,
        );
        refused(
            &format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "A".repeat(100)),
            Problem::MethodUnknown,
        );
    }

    #[test]
    fn what_could_be_told_of_a_refused_head_is_kept_for_the_log() {
        let found = through(&[b"PUT /a?b HTTP/1.1\r\nhost : a\r\n\r\n"]);
        assert_eq!(found.text, "PUT /a?b HTTP/1.1\nhost: refused\n");
        let found = through(&[b"PUT /\x01 HTTP/1.1\r\nhost: a\r\n\r\n"]);
        assert_eq!(found.text, "GET / HTTP/1.1\nhost: refused\n");
    }

    #[test]
    fn b10_chunks_that_are_none_end_the_connection() {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        for body in [
            "5 ;x\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            "FFFFFFFFFFFFFFFF1\r\n",
            "5\nhello\r\n",
            "5\r\nhello0\r\n",
            "5\r\nhelloX\r\n",
            "\r\n",
            ";\r\n",
            "5;\0\r\nhello\r\n",
            "0\r\nx : y\r\n\r\n",
            "0\r\n x: y\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\nhello\r\n\r\n",
            "0\r\n\n",
        ] {
            let found = through(&[head.as_bytes(), body.as_bytes()]);
            assert!(found.broken && found.refused.is_none(), "{body:?}");
        }
        let extensions = format!("5;{}\r\n", "a".repeat(10_000));
        assert!(through(&[head.as_bytes(), extensions.as_bytes()]).broken);
        let trailers = format!("0\r\n{}", "x: y\r\n".repeat(50));
        assert!(through(&[head.as_bytes(), trailers.as_bytes()]).broken);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in "(GET /[a-z#]{0,3} HTTP/1.[01]\r?\n(host: a\r\n)?((content-length|transfer-encoding|x)(:| :) ?([0-9]|chunked|[a-z\r\n])?\r\n)?\r\n[0-9a-f]{0,3}){1,3}",
            cuts in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(through(&pieces), through(&[text.as_bytes()]));
        }
    }
}
