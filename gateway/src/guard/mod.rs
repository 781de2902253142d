//! Stands between the socket and the HTTP library, and lets through only what every parser of
//! HTTP/1.1 reads alike.
//!
//! The library takes some of what RFC 9112 allows a recipient to be lenient about: bare line
//! feeds, a length beside a coding, lengths that repeat. A console behind the gate may read these
//! differently. So each head is held until it is whole, read by the letter, and only then handed
//! on; bodies are followed by their framing, to know where the next head begins.
//!
//! A head that is refused is replaced by one that anybody can read, so that the answer, the access
//! log and the metrics are those of every other refusal; [`Guard::refusal`] says what was wrong.
//! Nothing is read after it. A body whose framing is broken ends the connection.
//!
//! Not here: what a target means (`target`), which host (`router`). HTTP/2 has frames instead.
//!
//! Bounds: a head of `header_bytes`, `header_count` and `target_bytes`; of a chunked body's
//! extensions and trailers [`chunks::OVERHEAD_MAX`] octets.

mod chunks;
mod head;

use doorward_config::Limits;
use doorward_plugins::Problem;

use chunks::Chunks;
pub(crate) use head::is_token;
use head::{Framing, Head, Read};

/// What a refused head is replaced by, if nothing of it can be told.
const PLACEHOLDER: &str = "GET / HTTP/1.1\r\n";

/// Follows one connection's octets from the client.
#[derive(Debug, Default)]
pub struct Guard {
    state: State,
    /// Heads that were let through, one that was refused included.
    heads: u64,
    refused: Option<Problem>,
}

#[derive(Debug)]
enum State {
    /// A head comes next, or the rest of one.
    Head(Head),
    /// So many octets of a body.
    Length(u64),
    Chunked(Chunks),
    /// Another protocol is spoken.
    Open,
    /// Nothing more is read.
    Closed,
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

/// What was found in some octets.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// So many of them may be handed on.
    pub pass: usize,
    /// What to do with the rest.
    pub rest: Rest,
}

/// What to do with octets that are not handed on.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// There are none.
    None,
    /// Scan them again when more have come, with these in front.
    Hold,
    /// Drop them and all that comes, and hand this on instead.
    Replace(String),
    /// The body's framing is broken: end the connection.
    Broken,
}

impl Guard {
    /// Looks at octets: those that were held, and then what has come since.
    pub fn scan(&mut self, octets: &[u8], limits: &Limits) -> Scan {
        let mut pass = 0;
        while let Some(rest) = octets.get(pass..)
            && !rest.is_empty()
        {
            let stop = |rest| Scan { pass, rest };
            match &mut self.state {
                State::Open => return Scan { pass: octets.len(), rest: Rest::None },
                State::Closed => return stop(Rest::Replace(String::new())),
                State::Head(head) => match head.read(rest, limits) {
                    Read::Incomplete => return stop(Rest::Hold),
                    Read::Complete(length, framing) => {
                        self.heads += 1;
                        self.state = framing.into();
                        pass += length;
                    }
                    Read::Refused(problem) => {
                        let line = head.line(rest).unwrap_or(PLACEHOLDER.into());
                        self.heads += 1;
                        self.refused = Some(problem);
                        self.state = State::Closed;
                        return stop(Rest::Replace(format!("{line}host: refused\r\n\r\n")));
                    }
                },
                State::Length(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= count as u64;
                    pass += count;
                    if *left == 0 {
                        self.state = State::default();
                    }
                }
                State::Chunked(chunks) => match chunks.read(rest, limits) {
                    Err(chunks::Broken) => {
                        self.state = State::Closed;
                        return stop(Rest::Broken);
                    }
                    Ok(count) => {
                        pass += count;
                        if chunks.is_over() {
                            self.state = State::default();
                        }
                    }
                },
            }
        }
        Scan { pass, rest: Rest::None }
    }

    /// How many heads were let through, one that was refused included.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Why the request of this number, counted from 1, is refused.
    pub fn refusal(&self, number: u64) -> Option<Problem> {
        self.refused.filter(|_| number == self.heads)
    }

    /// Is a message under way, or may the client end here?
    pub fn is_between_messages(&self) -> bool {
        matches!(&self.state, State::Head(head) if !head.has_begun())
    }

    /// Is nothing more read?
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Another protocol is spoken from here on.
    pub fn open(&mut self) {
        self.state = State::Open;
    }
}

impl From<Framing> for State {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::default(),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use doorward_config::GatewayConfig;
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        let text = "public_url = \"https://a.example\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
            [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n\
            [limits]\nheader_bytes = \"8KiB\"\nheader_count = 10\ntarget_bytes = \"256B\"\n";
        GatewayConfig::parse(text, std::path::Path::new("/")).unwrap().limits
    }

    /// What the library would get of these pieces, and why a head was refused, if one was.
    fn through(pieces: &[&[u8]]) -> (Vec<u8>, Option<Problem>, bool) {
        let (mut guard, limits) = (Guard::default(), limits());
        let (mut held, mut passed) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let Scan { pass, rest } = guard.scan(&held, &limits);
            passed.extend_from_slice(&held[..pass]);
            held.drain(..pass);
            match rest {
                Rest::None => assert!(held.is_empty()),
                Rest::Hold => {}
                Rest::Broken => return (passed, guard.refused, true),
                Rest::Replace(text) => {
                    passed.extend_from_slice(text.as_bytes());
                    held.clear();
                }
            }
        }
        (passed, guard.refused, false)
    }

    #[track_caller]
    fn passes(text: &str) {
        assert_eq!(through(&[text.as_bytes()]), (text.into(), None, false), "{text:?}");
        let octets: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(through(&octets), (text.into(), None, false), "octet by octet: {text:?}");
    }

    #[track_caller]
    fn refused(text: &str, expected: Problem) {
        let whole = through(&[text.as_bytes()]);
        assert_eq!(whole.1, Some(expected), "{text:?}");
        assert!(whole.0.ends_with(b"\r\nhost: refused\r\n\r\n"), "{text:?}: {whole:?}");
        let octets: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(through(&octets), whole, "octet by octet: {text:?}");
    }

    #[test]
    fn plain_messages_pass_as_they_are() {
        for text in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n",
            "GET /?a=|{}\"^ HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
             5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx: \t\u{fc} b\t\r\nempty:\r\n\r\n",
        ] {
            passes(text);
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
        let (passed, ..) = through(&[b"PUT /a?b HTTP/1.1\r\nhost : a\r\n\r\n"]);
        assert_eq!(passed, b"PUT /a?b HTTP/1.1\r\nhost: refused\r\n\r\n");
        let (passed, ..) = through(&[b"PUT /\x01 HTTP/1.1\r\nhost: a\r\n\r\n"]);
        assert_eq!(passed, b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n");
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
            let (_, refused, broken) = through(&[head.as_bytes(), body.as_bytes()]);
            assert!(broken && refused.is_none(), "{body:?}");
        }
        let extensions = format!("5;{}\r\n", "a".repeat(10_000));
        assert!(through(&[head.as_bytes(), extensions.as_bytes()]).2);
        let trailers = format!("0\r\n{}", "x: y\r\n".repeat(50));
        assert!(through(&[head.as_bytes(), trailers.as_bytes()]).2);
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
