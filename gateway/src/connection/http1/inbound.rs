//! A request's body while it comes in, between the connection that reads it and whoever takes it.
//!
//! Nothing is read before it is asked for, and at most one piece lies ready: a console that is slow
//! slows its client down.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::BodyError;
use crate::connection::Peer;
use crate::http1::{Broken, Piece, Reader};

/// Both ends' common place.
pub(crate) struct Inbound {
    peer: Rc<Peer>,
    state: RefCell<State>,
}

struct State {
    ready: Option<Result<Frame<Bytes>, BodyError>>,
    /// Who waits for a piece.
    waiter: Option<Waker>,
    /// Nothing comes after what is ready.
    over: bool,
    /// What is still to be read, if that is known.
    left: Option<u64>,
}

impl Inbound {
    /// The body that this reader comes to next.
    pub(super) fn new(peer: &Rc<Peer>, reader: &Reader) -> Rc<Self> {
        let state = State { ready: None, waiter: None, over: false, left: reader.length() };
        Rc::new(Self { peer: Rc::clone(peer), state: RefCell::new(state) })
    }

    /// The next piece.
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state.borrow_mut();
        match state.ready.take() {
            None if state.over => Poll::Ready(None),
            None => {
                state.waiter = Some(cx.waker().clone());
                drop(state);
                self.peer.watch.ask(cx);
                Poll::Pending
            }
            ready => Poll::Ready(ready),
        }
    }

    /// Has all of it been taken?
    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.state.borrow();
        state.over && state.ready.is_none()
    }

    /// How much of it is still to be taken.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let state = self.state.borrow();
        let ready = state.ready.as_ref().and_then(|ready| ready.as_ref().ok()?.data_ref());
        let ready = ready.map_or(0, |data| data.len() as u64);
        state.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + ready))
    }

    /// Does somebody wait for a piece?
    pub(super) fn is_wanted(&self) -> bool {
        self.state.borrow().waiter.is_some()
    }

    /// Hands over what was read.
    pub(super) fn put(&self, read: Result<Piece, Broken>, reader: &Reader, cx: &Context<'_>) {
        let mut state = self.state.borrow_mut();
        state.left = reader.length();
        state.ready = match read {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::End(trailers)) if trailers.is_empty() => None,
            Ok(Piece::End(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Err(Broken) => Some(Err(BodyError::BrokenOff)),
        };
        state.over = reader.is_between_messages() || matches!(state.ready, Some(Err(_)));
        let waiter = state.waiter.take();
        drop(state);
        // The connection's own task looks at once.
        if let Some(waiter) = waiter.filter(|waiter| !waiter.will_wake(cx.waker())) {
            waiter.wake();
        }
    }

    /// Nothing more is read for whoever still waits.
    pub(super) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        if !state.over {
            state.over = true;
            state.ready = Some(Err(BodyError::BrokenOff));
            if let Some(waiter) = state.waiter.take() {
                waiter.wake();
            }
        }
    }
}
