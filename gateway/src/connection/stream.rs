//! The stream of a client, between the socket and the HTTP library.
//!
//! What comes in passes the guard; what goes out may have an interim response in front; and the
//! watch is told what happens. Over HTTP/2 only the last of these.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use doorward_config::GatewayConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Peer;
use crate::guard::{Rest, Scan};

/// How much is read at once of what wakes a resting connection.
const WAKE_BYTES: usize = 4096;

/// Pieces of an answer that are no longer than this together are sent as one.
const JOINED_BYTES_MAX: usize = 2048;

/// A downstream stream.
pub(crate) struct Watched<S> {
    inner: S,
    peer: Rc<Peer>,
    config: Arc<GatewayConfig>,
    /// What came in of a head that is not whole.
    held: Vec<u8>,
    /// What was let through and not yet taken.
    passed: Bytes,
    /// The client has sent its end.
    ended: bool,
    /// What came after what was let through cannot be read.
    broken: bool,
    /// All that the library has written has left it.
    between_answers: bool,
    /// A part of an interim response has been written.
    interim_begun: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, peer: Rc<Peer>, config: Arc<GatewayConfig>) -> Self {
        Self {
            inner,
            peer,
            config,
            held: Vec::new(),
            passed: Bytes::new(),
            ended: false,
            broken: false,
            between_answers: true,
            interim_begun: false,
        }
    }

    /// From the next head on it is read within the limits of this configuration.
    pub(crate) fn follow(&mut self, config: &Arc<GatewayConfig>) {
        self.config = Arc::clone(config);
    }

    /// The stream below.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    /// What was let through and not used after all stands in front again.
    pub(crate) fn put_back(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.passed = [octets, &self.passed].concat().into();
        }
    }

    fn noting<T>(&mut self, result: Poll<T>) -> Poll<T> {
        self.between_answers = false;
        self.peer.watch.note_write(result.is_pending());
        result
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.passed.len().min(buf.remaining());
        buf.put_slice(&self.passed.split_to(count));
    }

    /// Lets of what `buf` has beyond `before` through what the guard lets through.
    fn guard(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let peer = Rc::clone(&self.peer);
        let mut guard = peer.guard.borrow_mut();
        let limits = &self.config.limits;
        let rest = if self.held.is_empty() {
            let Scan { pass, rest } = guard.scan(fresh, limits);
            if rest == Rest::Hold {
                self.held.extend_from_slice(fresh.get(pass..).unwrap_or_default());
            }
            buf.set_filled(before + pass);
            rest
        } else {
            self.held.extend_from_slice(fresh);
            buf.set_filled(before);
            let Scan { pass, rest } = guard.scan(&self.held, limits);
            let held = self.held.split_off(pass);
            self.passed = std::mem::replace(&mut self.held, held).into();
            rest
        };
        match rest {
            Rest::None | Rest::Hold => {}
            Rest::Broken => self.broken = true,
            Rest::Replace(text) => {
                self.held = Vec::new();
                self.passed = [&self.passed, text.as_bytes()].concat().into();
            }
        }
        self.peer.watch.note_head(!self.held.is_empty());
        self.deliver(buf);
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Waits for octets without keeping any room for them. False: there will be none.
    pub(crate) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.passed.is_empty() {
            return Poll::Ready(true);
        }
        let mut room = [MaybeUninit::uninit(); WAKE_BYTES];
        let mut buf = ReadBuf::uninit(&mut room);
        let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut buf));
        // Whatever was let through before stands in front.
        let octets = [buf.filled(), &self.passed].concat();
        self.passed = octets.into();
        Poll::Ready(read.is_ok() && (self.broken || !self.passed.is_empty()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.peer.watch.is_multiplexed() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        loop {
            if !this.passed.is_empty() {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            if this.broken {
                let error = "the body's framing is broken";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            if this.peer.guard.borrow().is_closed() {
                return Poll::Pending;
            }
            if !this.ended {
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                this.ended = buf.filled().len() == before;
            }
            if this.ended {
                let guard = this.peer.guard.borrow();
                let waits = guard.heads() > this.peer.watch.finished()
                    && this.held.is_empty()
                    && guard.is_between_messages();
                if !waits {
                    return Poll::Ready(Ok(()));
                }
                // Its answer is still to come; the library would give up.
                this.peer.watch.note_half_closed();
                return Poll::Pending;
            }
            this.guard(buf, before);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes what goes in front of the answer. Only when all that was written before has left is
    /// this the place for it: else it would land within another answer, and is left out.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.peer.interim.borrow_mut();
        if !self.interim_begun && !self.between_answers {
            interim.clear();
        }
        while !interim.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &interim))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            interim.drain(..count);
            self.interim_begun = !interim.is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.noting(result)
    }

    /// Head and body of a small answer are copied together: one `send` of one piece costs the
    /// kernel less than one `writev` of two.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [single] = bufs {
            return self.poll_write(cx, single);
        }
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let mut joined = [0; JOINED_BYTES_MAX];
        let result = match join(bufs, &mut joined) {
            Some(joined) => Pin::new(&mut this.inner).poll_write(cx, joined),
            None => Pin::new(&mut this.inner).poll_write_vectored(cx, bufs),
        };
        this.noting(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library has nothing left to write.
        self.between_answers = true;
        ready!(self.poll_interim(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.peer.watch.note_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The pieces one after another in `space`; `None` if they do not fit.
fn join<'s>(pieces: &[io::IoSlice<'_>], space: &'s mut [u8]) -> Option<&'s [u8]> {
    let mut end = 0;
    for piece in pieces {
        space.get_mut(end..end + piece.len())?.copy_from_slice(piece);
        end += piece.len();
    }
    space.get(..end)
}
