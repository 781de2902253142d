//! One HTTP/1.1 connection to an upstream, and one exchange on it.
//!
//! Ours, and not hyper's: the task of the request writes, reads and decides here, without the
//! channels and the second task that a general client needs. They took over a third of a request's
//! instructions (benches/README.md has what was saved); and only here does it show what has left and
//! what has come, which [`Failure`] tells the pool: may the request be tried elsewhere?
//!
//! Reading of responses is strict: a length that is none or that there are two of, a coding beside
//! a length, a line that is folded or that has control octets are failures, and the connection is
//! not used again (RFC 9112 §6.3). Nor is one with octets beyond its response.
//!
//! Bounds: [`HEAD_BYTES_MAX`], [`FIELDS_MAX`], [`INTERIM_MAX`].

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod request;
mod response;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::Outgoing;
use super::connect::UpstreamStream;
use crate::body::{BodyError, RequestBody};
use request::Sending;
use response::{Framing, Head};

/// Size of a response's head, and of its trailers.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of a response's head, and of its trailers.
const FIELDS_MAX: usize = 128;

/// Interim responses (1xx) before a response.
const INTERIM_MAX: usize = 16;

/// A read is offered this much room at least, and this much at most when much is coming.
const READ_BYTES: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 128 * 1024;

/// A connection. Nothing moves unless somebody polls.
pub(super) struct Link {
    stream: UpstreamStream,
    /// Octets that were read and not yet used.
    read: BytesMut,
    /// Octets that have to be written.
    write: BytesMut,
    /// How much room the next read is offered.
    read_bytes: usize,
    pub(super) idle_since: u32,
    /// For whom it was announced to the upstream, if it was (PROXY protocol).
    pub(super) announced: Option<super::Announced>,
}

impl Link {
    pub(super) fn new(stream: UpstreamStream, announced: Option<super::Announced>) -> Box<Self> {
        Box::new(Self {
            stream,
            read: BytesMut::new(),
            write: BytesMut::new(),
            read_bytes: READ_BYTES,
            idle_since: 0,
            announced,
        })
    }

    /// Is the connection, which nobody has looked at since its last response, still good? Not if
    /// the upstream has closed it, or has sent anything that nobody asked for.
    pub(super) fn is_good(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut octet = [0];
        Pin::new(&mut self.stream).poll_read(&mut cx, &mut ReadBuf::new(&mut octet)).is_pending()
    }

    /// Reads more; `Ready(0)` at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.read_bytes);
        let count = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?;
        // Much is coming: fewer and larger reads.
        if count >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// The stream with what was read beyond the response, for another protocol.
    pub(super) fn into_parts(self) -> (UpstreamStream, Bytes) {
        (self.stream, self.read.freeze())
    }
}

/// Why an exchange gave no response.
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// Something of the request has left.
    pub(super) sent: bool,
    /// Something of a response has come.
    pub(super) answered: bool,
    /// What was not sent of the request's body.
    pub(super) body: RequestBody,
}

/// What went wrong in an exchange.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// The connection failed, or was closed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no response.
    #[error("its answer is malformed: {0}")]
    Malformed(&'static str),
    /// The client's body broke off or was refused.
    #[error("{0}")]
    Body(#[from] BodyError),
}

fn closed() -> Cause {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection").into()
}

/// One request and its response on a [`Link`].
pub(super) struct Exchange {
    link: Box<Link>,
    sending: Sending,
    framing: Framing,
    interim: usize,
    answered: bool,
    is_head: bool,
    /// May the connection be used again?
    reusable: bool,
}

impl Exchange {
    /// Begins to send a request.
    pub(super) fn new(mut link: Box<Link>, head: &Outgoing<'_>, body: RequestBody) -> Self {
        let sending = Sending::new(head, body, &mut link.write);
        Self {
            link,
            sending,
            framing: Framing::Empty,
            interim: 0,
            answered: false,
            is_head: head.head.method == Method::HEAD,
            reusable: false,
        }
    }

    /// Was the whole request sent?
    pub(super) fn is_sent(&self) -> bool {
        self.sending.is_done()
    }

    /// Sends what can be sent and reads until the head of a response, interim ones included, is
    /// there.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Cause>> {
        let unsent = match self.sending.poll(&mut self.link, cx) {
            Poll::Ready(Err(cause)) => Some(cause),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        match (self.poll_read_head(cx), unsent) {
            // An upstream that does not want to read the rest may have said why.
            (Poll::Pending | Poll::Ready(Err(_)), Some(cause)) => Poll::Ready(Err(cause)),
            (read, _) => read,
        }
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Cause>> {
        loop {
            if let Some(head) = response::take_head(&mut self.link.read)? {
                return Poll::Ready(self.accept(&head));
            }
            if ready!(self.link.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(closed()));
            }
            self.answered = true;
        }
    }

    fn accept(&mut self, head: &Bytes) -> Result<Response<()>, Cause> {
        let Head { response, framing, keep_alive } = response::parse(head, self.is_head)?;
        if response.status().is_informational() {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(Cause::Malformed("it begins too often"));
            }
            return Ok(response);
        }
        self.framing = framing;
        self.reusable = keep_alive;
        Ok(response)
    }

    /// Is the response's body over?
    pub(super) fn is_over(&self) -> bool {
        self.framing.is_over()
    }

    /// The next piece of the response's body. Goes on sending the request's.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        if !self.sending.is_done() {
            match self.sending.poll(&mut self.link, cx) {
                // The client's fault ends the exchange; an upstream that does not read the rest
                // may go on answering.
                Poll::Ready(Err(cause @ Cause::Body(_))) => return Poll::Ready(Some(Err(cause))),
                Poll::Ready(Err(_)) => self.sending.give_up(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            match self.framing.take(&mut self.link.read) {
                Err(cause) => return Poll::Ready(Some(Err(cause))),
                Ok(response::Taken::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(response::Taken::Over) => return Poll::Ready(None),
                Ok(response::Taken::More) => {}
            }
            match ready!(self.link.poll_fill(cx)) {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok(0) => {
                    return Poll::Ready(match self.framing.end() {
                        true => None,
                        false => Some(Err(closed())),
                    });
                }
                Ok(_) => {}
            }
        }
    }

    /// How much of the body is still to come, if that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.framing.length()
    }

    /// The connection, if it can be used again: both messages are over, and nothing came after.
    pub(super) fn into_reusable(self) -> Option<Box<Link>> {
        let clean = self.reusable
            && self.framing.is_over()
            && self.sending.is_whole()
            && self.link.read.is_empty();
        clean.then_some(self.link)
    }

    /// The connection as it is, for another protocol.
    pub(super) fn into_link(self) -> Link {
        *self.link
    }

    /// Ends the exchange as failed.
    pub(super) fn fail(self, cause: Cause) -> Failure {
        let sent = self.sending.has_begun();
        Failure { cause, sent, answered: self.answered, body: self.sending.into_body() }
    }
}

/// Is this an interim response, after which another one follows on the same connection?
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Fields of a head or of trailers, from lines without their ends.
fn append(fields: &mut HeaderMap, name: &[u8], value: Bytes) -> Result<(), Cause> {
    let name =
        http::HeaderName::from_bytes(name).map_err(|_| Cause::Malformed("a field's name"))?;
    let value = http::HeaderValue::from_maybe_shared(value)
        .map_err(|_| Cause::Malformed("a field's value"))?;
    fields.append(name, value);
    Ok(())
}
