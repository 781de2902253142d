//! Bodies on their way: the client's to the upstream, and an answer's to the client.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use doorward_plugins::Problem;
use http_body::{Body, Frame, SizeHint};

use crate::access_log::Entry;
use crate::connection::{Inbound, Offer};
use crate::deadline::{Deadline, TICK};
use crate::held::GoesOn;
use crate::router::is_field;
use crate::trailers;
use crate::upstream::UpstreamBody;
use crate::worker::Worker;

/// An answer may be as long as this and go on, once it is there, although its session has ended.
const SHORT_BYTES_MAX: u64 = 64 * 1024;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The sender's side failed.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The client's connection ended, or what came on it is no body.
    #[error("the request body broke off")]
    BrokenOff,
    /// The upstream failed.
    #[error("{0}")]
    Upstream(String),
    /// The portal failed.
    #[error(transparent)]
    Portal(#[from] axum::Error),
    /// The sender paused for too long.
    #[error("the sender paused for too long")]
    Timeout,
    /// The session that the answer was for has ended.
    #[error("the session has ended")]
    SessionOver,
    /// A field after the body is none.
    #[error("what follows the body is no field")]
    Malformed,
    /// The client sent more than it may.
    #[error("the request body is too large")]
    TooLarge,
}

/// A request's body on its way to the upstream: no larger and no slower than allowed, and without
/// trailers that say what its head may not.
#[derive(Default)]
pub(crate) enum RequestBody {
    #[default]
    Empty,
    /// All of it is here; `None`: it was sent.
    Whole(Option<Box<Bytes>>),
    Stream(Box<StreamBody>),
}

/// A request's body that is still coming in.
pub(crate) enum Incoming {
    Http1(Rc<Inbound>),
    Http2(hyper::body::Incoming),
}

impl Incoming {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(inbound) => inbound.poll_frame(cx),
            Self::Http2(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
        }
    }

    /// Has all of it been taken?
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(inbound) => inbound.is_end_stream(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(inbound) => inbound.size_hint(),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// What a client sent behind a head.
pub(crate) enum Sent {
    /// It is still coming in.
    Incoming(Incoming),
    /// All of it is here.
    Whole(Bytes),
}

impl Sent {
    /// What a client sent, or what was kept of what it sent earlier.
    pub(crate) fn of(incoming: Option<Incoming>, kept: Option<&GoesOn>) -> Self {
        match (kept, incoming) {
            (Some(kept), _) => Self::Whole(kept.body.clone()),
            (None, Some(incoming)) => Self::Incoming(incoming),
            (None, None) => Self::Whole(Bytes::new()),
        }
    }

    /// As a body on its way; see [`RequestBody::new`].
    pub(crate) fn on_its_way(
        self,
        bytes_max: u64,
        worker: &Rc<Worker>,
        streaming: bool,
    ) -> (RequestBody, Option<Rc<Progress>>) {
        match self {
            Self::Incoming(incoming) => RequestBody::new(incoming, bytes_max, worker, streaming),
            Self::Whole(bytes) => RequestBody::whole(bytes),
        }
    }

    /// How long it is at least.
    pub(crate) fn least(&self) -> u64 {
        match self {
            Self::Incoming(incoming) => incoming.size_hint().lower(),
            Self::Whole(bytes) => bytes.len() as u64,
        }
    }

    /// All of it, of at most `bytes_max`.
    ///
    /// # Errors
    /// What the client is to blame for: [`Problem::TooLarge`] if it is more.
    pub(crate) async fn read(self, bytes_max: u64, worker: &Rc<Worker>) -> Result<Bytes, Problem> {
        if self.least() > bytes_max {
            return Err(Problem::TooLarge);
        }
        let (body, progress) = self.on_its_way(bytes_max, worker, false);
        match http_body_util::BodyExt::collect(body).await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(_) => {
                let problem = progress.and_then(|progress| progress.problem.get());
                Err(problem.unwrap_or(Problem::BadRequest))
            }
        }
    }
}

/// A body that is still coming in.
pub(crate) struct StreamBody {
    incoming: Incoming,
    bytes_left: u64,
    worker: Rc<Worker>,
    /// Since which tick, and how many octets since then; `None`: it may take any time.
    pace: Option<(u32, u64)>,
    /// The client's present pause.
    pause: Option<Deadline>,
    progress: Rc<Progress>,
}

/// How far a request's body has come, for whoever waits for the response.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// All of it was read.
    pub(crate) complete: Cell<bool>,
    /// Why it broke off, if the client is to blame.
    pub(crate) problem: Cell<Option<Problem>>,
}

impl RequestBody {
    /// The body of a request to this worker, of at most `bytes_max`, and how it fares. Unless it
    /// is `streaming` the client has to keep up a pace.
    pub(crate) fn new(
        incoming: Incoming,
        bytes_max: u64,
        worker: &Rc<Worker>,
        streaming: bool,
    ) -> (Self, Option<Rc<Progress>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let progress = Rc::<Progress>::default();
        let body = Self::Stream(Box::new(StreamBody {
            incoming,
            bytes_left: bytes_max,
            pace: (!streaming).then(|| (worker.thread.deadlines.now(), 0)),
            worker: Rc::clone(worker),
            pause: None,
            progress: Rc::clone(&progress),
        }));
        (body, Some(progress))
    }

    /// A body of which all is here, and how it fares.
    pub(crate) fn whole(bytes: Bytes) -> (Self, Option<Rc<Progress>>) {
        if bytes.is_empty() {
            return (Self::Empty, None);
        }
        let progress = Rc::<Progress>::default();
        progress.complete.set(true);
        (Self::Whole(Some(Box::new(bytes))), Some(progress))
    }

    /// There is no body, not even an empty one that was told piece by piece.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl StreamBody {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self.incoming.poll_frame(cx) {
            Poll::Pending => return self.poll_pause(cx),
            Poll::Ready(None) => {
                self.progress.complete.set(true);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                return self.refuse(Problem::BadRequest, error);
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.pause = None;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                if !trailers.iter().all(is_field) {
                    return self.refuse(Problem::BadRequest, BodyError::Malformed);
                }
                self.progress.complete.set(true);
                self.worker.gate.pipeline.on_trailers(&mut trailers);
                trailers::filter(&mut trailers);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        };
        let Some(left) = self.bytes_left.checked_sub(data.len() as u64) else {
            return self.refuse(Problem::TooLarge, BodyError::TooLarge);
        };
        self.bytes_left = left;
        if let Some((_, bytes)) = &mut self.pace {
            *bytes += data.len() as u64;
        }
        self.progress.complete.set(self.incoming.is_end_stream());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn poll_pause(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((since, bytes)) = self.pace else { return Poll::Pending };
        let limits = &self.worker.gate.services.config.limits;
        let lasted = TICK.saturating_mul(self.worker.thread.deadlines.now().wrapping_sub(since));
        let due =
            lasted.saturating_sub(limits.body_idle).as_secs().saturating_mul(limits.body_rate);
        let begin = || Deadline::after(&self.worker.thread.deadlines, limits.body_idle);
        let paused = self.pause.get_or_insert_with(begin).poll(cx).is_ready();
        if paused || bytes < due {
            return self.refuse(Problem::Timeout, BodyError::Timeout);
        }
        Poll::Pending
    }

    fn refuse(
        &self,
        problem: Problem,
        error: BodyError,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.progress.problem.set(Some(problem));
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(*bytes)))),
            Self::Stream(stream) => stream.poll_data(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

/// An answer's body. When it is over, however it ends, the access log hears of it.
pub(crate) struct AnswerBody {
    source: Source,
    entry: Entry,
    /// It broke off, on whichever side.
    failed: bool,
    /// Since which tick a piece lies ready that the client does not take. Only where one
    /// connection has several answers: there the socket does not show it.
    offered: Option<Rc<Offer>>,
}

/// Where an answer's body comes from.
pub(crate) enum Source {
    Full(Option<Bytes>),
    Portal(axum::body::Body),
    Upstream(UpstreamBody),
}

impl AnswerBody {
    pub(crate) fn new(source: Source, entry: Entry) -> Self {
        let offered = entry.peer.watch.offer();
        Self { source, entry, failed: false, offered }
    }

    /// The client does not take the rest.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Portal(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Source::Upstream(body) => {
                let frame = Pin::new(body).poll_frame(cx).map_ok(allowed);
                // An answer that is there, and short, is as good as given: cut off, it would leave
                // whoever asked to guess what was done.
                let goes_on = frame.is_pending() || this.entry.bytes >= SHORT_BYTES_MAX;
                if goes_on && this.entry.is_session_over() {
                    Poll::Ready(Some(Err(BodyError::SessionOver)))
                } else {
                    frame
                }
            }
        };
        if let Some(offered) = &this.offered {
            offered.note(!frame.is_pending());
        }
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Poll::Ready(None) => this.entry.complete = true,
            Poll::Ready(Some(Err(_))) => this.failed = true,
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Portal(body) => body.is_end_stream(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Portal(body) => body.size_hint(),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

/// The same frame, without what must not come after a body.
fn allowed(frame: Frame<Bytes>) -> Frame<Bytes> {
    if frame.is_data() {
        return frame;
    }
    let mut trailers = frame.into_trailers().unwrap_or_default();
    trailers::filter(&mut trailers);
    Frame::trailers(trailers)
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.entry.complete = !self.failed && (self.entry.complete || self.is_end_stream());
    }
}
