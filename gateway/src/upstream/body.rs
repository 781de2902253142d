//! The body of an upstream's answer, whichever protocol it comes by.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use doorward_plugins::session::LiveSession;
use http_body::{Body, Frame, SizeHint};

use super::wait::FOR_EVER;
use super::{Call, Lease, Pool, http1, http2};
use crate::body::BodyError;
use crate::deadline::{Deadline, is_due, ticks};

/// A response body that drives its connection, and gives it back when it is over.
pub(crate) struct UpstreamBody {
    source: Source,
    pool: Rc<Pool>,
    lease: Lease,
    /// For which session it is.
    session: Option<Arc<LiveSession>>,
    /// The upstream may pause as long as it likes.
    streaming: bool,
    /// Runs while it pauses.
    pause: Option<Deadline>,
    /// When the whole has lasted too long.
    end: Option<u32>,
}

pub(super) enum Source {
    Http1(http1::Exchange),
    Http2(Box<http2::StreamBody>),
    Over,
}

impl UpstreamBody {
    pub(super) fn new(source: Source, pool: &Rc<Pool>, lease: Lease, call: &Call<'_>) -> Self {
        let mut made = Self {
            source,
            pool: Rc::clone(pool),
            lease,
            session: None,
            streaming: call.streaming,
            pause: None,
            end: call.time.map(|time| pool.deadlines.now().wrapping_add(ticks(time))),
        };
        made.settle();
        if !matches!(made.source, Source::Over) {
            made.session = call.session.cloned();
        }
        made
    }

    /// Gives the connection back if the body is over.
    fn settle(&mut self) {
        if matches!(&self.source, Source::Http1(exchange) if exchange.is_over())
            && let Source::Http1(exchange) = std::mem::replace(&mut self.source, Source::Over)
            && let Some(link) = exchange.into_reusable()
        {
            self.pool.give_back(link, self.lease.address());
        }
    }

    fn poll_pause(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let begin = || {
            let idle = self.pool.upstream.rules.idle_timeout;
            let most = if self.streaming { FOR_EVER } else { idle };
            let left = self.end.map(|end| self.pool.deadlines.left(end));
            let time = left.map_or(most, |left| left.min(most));
            self.pool.deadline(time).of_session(self.session.as_ref())
        };
        let pause = self.pause.get_or_insert_with(begin);
        match pause.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.source = Source::Over;
                Poll::Ready(Some(Err(BodyError::Timeout)))
            }
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.end.is_some_and(|end| is_due(end, this.pool.deadlines.now())) {
            this.source = Source::Over;
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        let frame = match &mut this.source {
            Source::Http1(exchange) => {
                exchange.poll_frame(cx).map_err(|cause| BodyError::Upstream(cause.to_string()))
            }
            Source::Http2(body) => body.poll_frame(cx),
            Source::Over => return Poll::Ready(None),
        };
        match &frame {
            Poll::Pending => return this.poll_pause(cx),
            Poll::Ready(Some(Err(_))) => this.source = Source::Over,
            Poll::Ready(Some(Ok(_)) | None) => {
                this.pause = None;
                this.settle();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(exchange) => exchange.is_over(),
            Source::Http2(body) => body.is_end_stream(),
            Source::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(exchange) => {
                exchange.length().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Source::Http2(body) => body.size_hint(),
            Source::Over => SizeHint::with_exact(0),
        }
    }
}
