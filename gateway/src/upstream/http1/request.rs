//! Writing of requests: head, body, trailers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use doorward_plugins::RequestContext;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts as RequestHead;
use http::{HeaderMap, Method};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::Cause;
use crate::body::RequestBody;
use crate::http1::{Coding, Wire, write_line};
use crate::upstream::outgoing::{Outgoing, REQUEST_ID};

/// A request on its way out.
#[derive(Default)]
pub(super) struct Sending {
    body: RequestBody,
    coding: Coding,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    Body,
    Flush,
    /// As is a request that there is not.
    #[default]
    Done,
    /// The upstream does not take the rest.
    GivenUp,
}

impl Sending {
    /// Begins a request on a wire on which nothing waits.
    pub(super) fn new<S>(head: &Outgoing<'_>, body: RequestBody, wire: &mut Wire<S>) -> Self {
        let coding = coding(head.head, &body);
        wire.begin();
        write_head(head, coding, &mut wire.write);
        let state = if coding == Coding::None { State::Flush } else { State::Body };
        Self { body, coding, state }
    }

    /// Nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::GivenUp)
    }

    /// All of it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Done
    }

    pub(super) fn give_up(&mut self) {
        self.state = State::GivenUp;
    }

    /// The body. Nothing was taken of it unless the head has been written.
    pub(super) fn into_body(self) -> RequestBody {
        self.body
    }

    /// Writes what can be written.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cause>> {
        loop {
            ready!(wire.poll_write(cx))?;
            match self.state {
                State::Body => ready!(self.poll_body(wire, cx))?,
                State::Flush => {
                    ready!(Pin::new(&mut wire.stream).poll_flush(cx))?;
                    self.state = State::Done;
                }
                State::Done | State::GivenUp => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Takes the next piece of the body, or finds that there is none.
    fn poll_body<S>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cause>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(data)) => return Poll::Ready(Ok(wire.put(data, &mut self.coding)?)),
            Some(Err(frame)) => frame.into_trailers().unwrap_or_default(),
            None => HeaderMap::new(),
        };
        wire.finish(&trailers, self.coding)?;
        self.state = State::Flush;
        Poll::Ready(Ok(()))
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

/// Writes what the gate tells of a request.
fn write_context(cx: &RequestContext, write: &mut BytesMut) {
    if let Some(block) = &cx.forwarded {
        write.put_slice(block.lines());
    }
    write_line(write, REQUEST_ID.as_str(), cx.request_id.as_str().as_bytes());
    for (name, value) in cx.identity_fields() {
        write_line(write, name.as_str(), value.as_bytes());
    }
    if cx.takes_trailers {
        write_line(write, TE.as_str(), b"trailers");
        // It is for the next hop only (RFC 9110 §10.1.4).
        write_line(write, CONNECTION.as_str(), b"te");
    }
    if let Some(protocol) = &cx.upgrade {
        write_line(write, CONNECTION.as_str(), b"upgrade");
        write_line(write, UPGRADE.as_str(), protocol.as_bytes());
    }
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
    if let Some(cx) = outgoing.context {
        write_context(cx, write);
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
        Coding::None | Coding::Length(_) | Coding::Close => {}
    }
    write.put_slice(b"\r\n");
}
