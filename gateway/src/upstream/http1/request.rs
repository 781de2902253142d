//! Writing of requests: head, body, trailers.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts as RequestHead;
use http::{HeaderMap, Method};
use http_body::Body;
use tokio::io::AsyncWrite;

use super::{Cause, Link};
use crate::body::RequestBody;
use crate::upstream::Outgoing;

/// A piece of a body that is no longer than this is copied behind what is to be written anyway.
const COPIED_BYTES_MAX: usize = 4096;

/// How a request's body is told from what follows it (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// There is none.
    None,
    /// So many octets are left of what was announced.
    Length(u64),
    Chunked,
}

/// A request on its way out.
pub(super) struct Sending {
    body: RequestBody,
    coding: Coding,
    /// A piece of the body that is written after what is in [`Link::write`].
    piece: Bytes,
    /// What ends that piece.
    end: &'static [u8],
    state: State,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Body,
    Flush,
    Done,
    /// The upstream does not take the rest.
    GivenUp,
}

impl Sending {
    /// Writes the head into `write`, which is empty.
    pub(super) fn new(head: &Outgoing<'_>, body: RequestBody, write: &mut BytesMut) -> Self {
        let coding = coding(head.head, &body);
        write_head(head, coding, write);
        let state = if coding == Coding::None { State::Flush } else { State::Body };
        Self { body, coding, piece: Bytes::new(), end: b"", state, begun: false }
    }

    /// Nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::GivenUp)
    }

    /// All of it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Done
    }

    /// Something of it was written.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn give_up(&mut self) {
        self.state = State::GivenUp;
    }

    /// The body. Nothing was taken of it unless the head has been written.
    pub(super) fn into_body(self) -> RequestBody {
        self.body
    }

    /// Writes what can be written.
    pub(super) fn poll(
        &mut self,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cause>> {
        loop {
            while link.write.has_remaining() || self.piece.has_remaining() || !self.end.is_empty() {
                ready!(self.poll_write(link, cx))?;
            }
            match self.state {
                State::Body => ready!(self.poll_body(link, cx))?,
                State::Flush => {
                    ready!(Pin::new(&mut link.stream).poll_flush(cx))?;
                    self.state = State::Done;
                }
                State::Done | State::GivenUp => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut link.stream);
        let only = self.piece.is_empty() && self.end.is_empty();
        let count = if only {
            ready!(stream.poll_write(cx, &link.write))?
        } else {
            let pieces = [&link.write, &*self.piece, self.end].map(IoSlice::new);
            ready!(stream.poll_write_vectored(cx, &pieces))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.begun = true;
        let of_head = count.min(link.write.len());
        link.write.advance(of_head);
        let of_piece = (count - of_head).min(self.piece.len());
        self.piece.advance(of_piece);
        self.end = self.end.get(count - of_head - of_piece..).unwrap_or_default();
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body, or finds that there is none.
    fn poll_body(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(self.finish(&HeaderMap::new(), &mut link.write)),
            Some(frame) => frame?,
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => self.put(data, &mut link.write)?,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return Poll::Ready(self.finish(&trailers, &mut link.write));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, data: Bytes, write: &mut BytesMut) -> Result<(), Cause> {
        let size = data.len() as u64;
        match &mut self.coding {
            Coding::None => return Err(Cause::Malformed("a body that was not announced")),
            Coding::Length(left) => {
                *left = left.checked_sub(size).ok_or(Cause::Malformed("more than its length"))?;
            }
            Coding::Chunked => {
                // Writing into memory does not fail.
                let _ = write!(write, "{size:x}\r\n");
                self.end = b"\r\n";
            }
        }
        if data.len() <= COPIED_BYTES_MAX {
            write.put_slice(&data);
            write.put_slice(std::mem::take(&mut self.end));
        } else {
            self.piece = data;
        }
        Ok(())
    }

    fn finish(&mut self, trailers: &HeaderMap, write: &mut BytesMut) -> Result<(), Cause> {
        match self.coding {
            Coding::None | Coding::Length(0) => {}
            Coding::Length(_) => return Err(Cause::Malformed("less than its length")),
            Coding::Chunked => {
                write.put_slice(b"0\r\n");
                for (name, value) in trailers {
                    write_line(write, name.as_str(), value.as_bytes());
                }
                write.put_slice(b"\r\n");
            }
        }
        self.state = State::Flush;
        Ok(())
    }
}

/// What the head announces, or what it would have to.
fn coding(head: &RequestHead, body: &RequestBody) -> Coding {
    if body.is_end_stream() {
        return Coding::None;
    }
    let length =
        head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.map_or(Coding::Chunked, Coding::Length)
}

fn write_head(outgoing: &Outgoing<'_>, coding: Coding, write: &mut BytesMut) {
    let head = outgoing.head;
    // A large head costs one more allocation at most.
    write.reserve(2048);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    for piece in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        write.put_slice(piece.as_bytes());
    }
    for (name, value) in &head.headers {
        // An upstream may have a name of its own.
        let value = outgoing.host.filter(|_| *name == HOST).unwrap_or(value);
        write_line(write, name.as_str(), value.as_bytes());
    }
    for (name, value) in outgoing.added() {
        write_line(write, name.as_str(), value.as_bytes());
        if *name == TE {
            // It is for the next hop only (RFC 9110 §10.1.4).
            write_line(write, CONNECTION.as_str(), b"te");
        }
    }
    if let Some(protocol) = outgoing.upgrade {
        write_line(write, CONNECTION.as_str(), b"upgrade");
        write_line(write, UPGRADE.as_str(), protocol.as_bytes());
    }
    match coding {
        Coding::Chunked => write_line(write, TRANSFER_ENCODING.as_str(), b"chunked"),
        // Who may have a body and has none says so (RFC 9110 §8.6).
        Coding::None
            if matches!(head.method, Method::POST | Method::PUT | Method::PATCH)
                && !head.headers.contains_key(CONTENT_LENGTH) =>
        {
            write_line(write, CONTENT_LENGTH.as_str(), b"0");
        }
        Coding::None | Coding::Length(_) => {}
    }
    write.put_slice(b"\r\n");
}

fn write_line(write: &mut BytesMut, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        write.put_slice(piece);
    }
}
