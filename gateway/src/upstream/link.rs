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

/// A response body that drives its connection and gives it back when it is over.
pub(crate) struct LinkBody {
    body: Incoming,
    link: Option<Link>,
    pool: Rc<Pool>,
    /// Runs while the upstream pauses.
    pause: Option<Deadline>,
}

impl LinkBody {
    pub(super) fn new(body: Incoming, link: Link, pool: Rc<Pool>) -> Self {
        let mut made = Self { body, link: Some(link), pool, pause: None };
        made.settle();
        made
    }

    /// Gives the connection back if the body is over.
    fn settle(&mut self) {
        if self.body.is_end_stream()
            && let Some(link) = self.link.take()
        {
            self.pool.give_back(link);
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
        let closed =
            this.link.as_mut().is_some_and(|link| link.connection.as_mut().poll(cx).is_ready());
        if closed {
            this.link = None;
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Pending => {
                let pause = this.pause.get_or_insert_with(|| this.pool.pause());
                if pause.poll(cx).is_ready() {
                    this.link = None;
                    return Poll::Ready(Some(Err(BodyError::Timeout)));
                }
            }
            Poll::Ready(Some(Err(_))) => this.link = None,
            Poll::Ready(Some(Ok(_)) | None) => {
                this.pause = None;
                this.settle();
            }
        }
        frame.map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
