//! HTTP/2 connections to an upstream, each shared by many requests.
//!
//! A connection has a task of its own on the worker, because its streams depend on each other. At
//! most [`STREAMS_MAX`] requests share one; further ones open another.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use doorward_plugins::RequestContext;
use http::header::{HOST, TE};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::connect::UpstreamStream;
use super::outgoing::{Outgoing, REQUEST_ID};
use crate::body::{BodyError, RequestBody};
use crate::worker::LocalTasks;

/// Requests at once on one connection: what most servers allow.
const STREAMS_MAX: usize = 100;

/// A worker's HTTP/2 connections to one address.
#[derive(Default)]
pub(super) struct Shared {
    connections: RefCell<Vec<Connection>>,
    /// Held while connecting, so that requests that come together wait for one connection.
    pub(super) connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<RequestBody>,
    streams: Rc<Cell<usize>>,
}

/// A place on a connection; it is free again when this is dropped.
pub(super) struct Stream {
    sender: SendRequest<RequestBody>,
    place: Place,
}

struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Why there was no response.
pub(super) struct Failure {
    pub(super) error: hyper::Error,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Request<RequestBody>>,
}

impl Shared {
    /// A place on a connection that is open.
    pub(super) fn place(&self) -> Option<Stream> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed());
        let fewest = connections.iter().min_by_key(|connection| connection.streams.get())?;
        (fewest.streams.get() < STREAMS_MAX).then(|| fewest.place())
    }

    /// Begins to speak on a new connection.
    pub(super) async fn open(&self, stream: UpstreamStream) -> hyper::Result<()> {
        let (sender, connection) = Builder::new(LocalTasks)
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            // What went wrong shows in the streams.
            let _ = connection.await;
        });
        self.connections.borrow_mut().push(Connection { sender, streams: Rc::default() });
        Ok(())
    }
}

impl Connection {
    fn place(&self) -> Stream {
        self.streams.set(self.streams.get() + 1);
        Stream { sender: self.sender.clone(), place: Place(Rc::clone(&self.streams)) }
    }
}

impl Stream {
    /// Sends a request and gives the response as soon as its head is there.
    pub(super) async fn exchange(
        mut self,
        head: &Outgoing<'_>,
        body: RequestBody,
        scheme: &str,
    ) -> Result<Response<StreamBody>, Failure> {
        let request = prepare(head, body, scheme);
        let sent = self.sender.try_send_request(request).await;
        match sent {
            Ok(response) => {
                Ok(response.map(|incoming| StreamBody { incoming, _place: self.place }))
            }
            Err(mut error) => {
                let unsent = error.take_message();
                Err(Failure { error: error.into_error(), unsent })
            }
        }
    }
}

/// The same request as HTTP/2 has it: what was in `Host` is in the target (RFC 9113 §8.3.1).
fn prepare(outgoing: &Outgoing<'_>, body: RequestBody, scheme: &str) -> Request<RequestBody> {
    let head = outgoing.head;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    let mut headers = head.headers.clone();
    if let Some(cx) = outgoing.context {
        add_context(cx, &mut headers);
    }
    let host = headers.remove(HOST);
    let host = outgoing.host.or(host.as_ref()).and_then(|host| host.to_str().ok());
    let mut uri = Uri::builder().scheme(scheme).authority(host.unwrap_or_default());
    if let Some(target) = head.uri.path_and_query() {
        uri = uri.path_and_query(target.clone());
    }
    // The router has read the host; what cannot stand in a target is refused by the upstream.
    *request.uri_mut() = uri.build().unwrap_or_else(|_| head.uri.clone());
    *request.headers_mut() = headers;
    request
}

/// Adds what the gate tells of a request.
fn add_context(cx: &RequestContext, headers: &mut HeaderMap) {
    for (name, value) in cx.forwarded.iter().flat_map(|block| block.iter()) {
        headers.append(name, value.clone());
    }
    if let Ok(id) = HeaderValue::from_str(cx.request_id.as_str()) {
        headers.append(REQUEST_ID, id);
    }
    for (name, value) in cx.identity_fields() {
        headers.append(name, value.clone());
    }
    if cx.takes_trailers {
        headers.append(TE, HeaderValue::from_static("trailers"));
    }
}

/// The body of one stream.
pub(super) struct StreamBody {
    incoming: Incoming,
    _place: Place,
}

impl StreamBody {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.incoming).poll_frame(cx).map_err(BodyError::from)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
