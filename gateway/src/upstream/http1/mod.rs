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
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, ReadBuf};

use super::Outgoing;
use super::connect::UpstreamStream;
use crate::body::{BodyError, RequestBody};
use crate::http1::{Misfit, Wire};
use request::Sending;
use response::{Framing, Head, Heads};

/// Size of a response's head, and of its trailers.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Fields of a response's head, and of its trailers.
const FIELDS_MAX: usize = 128;

/// Interim responses (1xx) before a response.
const INTERIM_MAX: usize = 16;

/// A connection. Nothing moves unless somebody polls.
pub(super) struct Link {
    wire: Wire<UpstreamStream>,
    /// What is under way on it.
    progress: Progress,
    heads: Heads,
    pub(super) idle_since: u32,
    /// For whom it was announced to the upstream, if it was (PROXY protocol).
    pub(super) announced: Option<super::Announced>,
}

/// How far a request and its response have come.
#[derive(Default)]
struct Progress {
    sending: Sending,
    framing: Framing,
    interim: usize,
    answered: bool,
    is_head: bool,
    /// May the connection be used again?
    reusable: bool,
}

impl Link {
    pub(super) fn new(stream: UpstreamStream, announced: Option<super::Announced>) -> Box<Self> {
        let wire = Wire::new(stream, BytesMut::new());
        let (progress, heads) = (Progress::default(), Heads::default());
        Box::new(Self { wire, progress, heads, idle_since: 0, announced })
    }

    /// Is the connection, which nobody has looked at since its last response, still good? Not if
    /// the upstream has closed it, or has sent anything that nobody asked for.
    pub(super) fn is_good(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut octet = [0];
        let mut octets = ReadBuf::new(&mut octet);
        Pin::new(&mut self.wire.stream).poll_read(&mut cx, &mut octets).is_pending()
    }

    /// The stream with what was read beyond the response, for another protocol.
    pub(super) fn into_parts(self) -> (UpstreamStream, Bytes) {
        (self.wire.stream, self.wire.read.freeze())
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

impl From<Misfit> for Cause {
    fn from(Misfit(what): Misfit) -> Self {
        Self::Malformed(what)
    }
}

fn closed() -> Cause {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection").into()
}

impl Progress {
    fn accept(&mut self, head: &Bytes, heads: &mut Heads) -> Result<Response<()>, Cause> {
        let Head { response, framing, keep_alive } = heads.parse(head, self.is_head)?;
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
}

/// One request and its response on a [`Link`], which keeps all of it: what goes from hand to hand
/// with every request is a pointer.
pub(super) struct Exchange(Box<Link>);

impl Exchange {
    /// Begins to send a request.
    pub(super) fn new(mut link: Box<Link>, head: &Outgoing<'_>, body: RequestBody) -> Self {
        let sending = Sending::new(head, body, &mut link.wire);
        let is_head = head.head.method == Method::HEAD;
        link.progress = Progress { sending, is_head, ..Progress::default() };
        Self(link)
    }

    /// Was the whole request sent?
    pub(super) fn is_sent(&self) -> bool {
        self.0.progress.sending.is_done()
    }

    /// Sends what can be sent and reads until the head of a response, interim ones included, is
    /// there.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Cause>> {
        let Link { wire, progress, .. } = &mut *self.0;
        let unsent = match progress.sending.poll(wire, cx) {
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
            let Link { wire, progress, heads, .. } = &mut *self.0;
            if let Some(head) = heads.take(&mut wire.read)? {
                return Poll::Ready(progress.accept(&head, heads));
            }
            if ready!(wire.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(closed()));
            }
            progress.answered = true;
        }
    }

    /// Is the response's body over?
    pub(super) fn is_over(&self) -> bool {
        self.0.progress.framing.is_over()
    }

    /// The next piece of the response's body. Goes on sending the request's.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let Link { wire, progress: Progress { sending, framing, .. }, .. } = &mut *self.0;
        if !sending.is_done() {
            match sending.poll(wire, cx) {
                // The client's fault ends the exchange; an upstream that does not read the rest
                // may go on answering.
                Poll::Ready(Err(cause @ Cause::Body(_))) => return Poll::Ready(Some(Err(cause))),
                Poll::Ready(Err(_)) => sending.give_up(),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            match framing.take(&mut wire.read) {
                Err(cause) => return Poll::Ready(Some(Err(cause))),
                Ok(response::Taken::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(response::Taken::Over) => return Poll::Ready(None),
                Ok(response::Taken::More) => {}
            }
            match ready!(wire.poll_fill(cx)) {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok(0) => {
                    return Poll::Ready(match framing.end() {
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
        self.0.progress.framing.length()
    }

    /// The connection, if it can be used again: both messages are over, and nothing came after.
    pub(super) fn into_reusable(self) -> Option<Box<Link>> {
        let Self(mut link) = self;
        let Progress { sending, framing, reusable, .. } = std::mem::take(&mut link.progress);
        let clean =
            reusable && framing.is_over() && sending.is_whole() && link.wire.read.is_empty();
        clean.then_some(link)
    }

    /// The connection as it is, for another protocol.
    pub(super) fn into_link(self) -> Link {
        *self.0
    }

    /// Ends the exchange as failed.
    pub(super) fn fail(self, cause: Cause) -> Failure {
        let Link { wire, progress: Progress { sending, answered, .. }, .. } = *self.0;
        Failure { cause, sent: wire.has_begun(), answered, body: sending.into_body() }
    }
}

/// Is this an interim response, after which another one follows on the same connection?
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Adds a field of a head or of trailers.
fn append(fields: &mut HeaderMap, name: HeaderName, value: Bytes) -> Result<(), Cause> {
    let value = http::HeaderValue::from_maybe_shared(value)
        .map_err(|_| Cause::Malformed("a field's value"))?;
    fields.append(name, value);
    Ok(())
}
