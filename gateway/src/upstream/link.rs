//! One connection to an upstream, and the response body that drives it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::Pool;
use super::connect::UpstreamStream;
use crate::body::{BodyError, RequestBody};
use crate::deadline::Deadline;

/// A connection with its sending end. Nothing moves unless somebody polls `connection`.
pub(crate) struct Link {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) connection: Pin<Box<Connection<TokioIo<UpstreamStream>, RequestBody>>>,
    pub(super) idle_since: u32,
}

impl Link {
    pub(super) async fn new(stream: UpstreamStream) -> hyper::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut link = Self { sender, connection: Box::pin(connection), idle_since: 0 };
        // The sender is ready once the connection has been looked at for the first time.
        poll_fn(|cx| {
            let _ = link.connection.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        Ok(link)
    }

    /// Is the connection, which nobody has looked at since its last response, still good? Not if
    /// the upstream has closed it, or has sent anything that nobody asked for.
    pub(super) fn is_good(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.as_mut().poll(&mut cx).is_pending() && self.sender.is_ready()
    }
}

/// A response body that drives its connection and gives it back when it is over. Trailers are
/// dropped: nobody has judged them, and they could set the gate's own cookies.
pub(crate) struct LinkBody {
    body: Incoming,
    link: Option<Link>,
    pool: Rc<Pool>,
    /// Runs while the upstream pauses.
    pause: Option<Deadline>,
    /// The end was reached. A chunked body does not know that it is over until it is asked again.
    ended: bool,
}

impl LinkBody {
    pub(super) fn new(body: Incoming, link: Link, pool: Rc<Pool>) -> Self {
        let ended = body.is_end_stream();
        let mut made = Self { body, link: Some(link), pool, pause: None, ended };
        made.settle();
        made
    }

    /// Gives the connection back if the body is over.
    fn settle(&mut self) {
        self.ended |= self.body.is_end_stream();
        if self.ended
            && let Some(link) = self.link.take()
        {
            self.pool.give_back(link);
        }
    }

    fn poll_pause(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let pause = self.pause.get_or_insert_with(|| self.pool.pause());
        match pause.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.link = None;
                Poll::Ready(Some(Err(BodyError::Timeout)))
            }
        }
    }
}

impl Body for LinkBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let link = this.link.as_mut();
            if link.is_some_and(|link| link.connection.as_mut().poll(cx).is_ready()) {
                this.link = None;
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Pending => return this.poll_pause(cx),
                Poll::Ready(Some(Err(error))) => {
                    this.link = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {}
                Poll::Ready(Some(Ok(frame))) => {
                    this.pause = None;
                    this.settle();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    this.settle();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
