//! The stream of a client that speaks HTTP/2, between the socket and the HTTP library: the watch is
//! told what happens.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Peer;

/// Pieces of an answer that are no longer than this together are sent as one.
const JOINED_BYTES_MAX: usize = 2048;

/// A downstream stream.
pub(crate) struct Watched<S> {
    inner: S,
    peer: Rc<Peer>,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, peer: Rc<Peer>) -> Self {
        Self { inner, peer }
    }

    fn noting<T>(&mut self, result: Poll<T>) -> Poll<T> {
        self.peer.watch.note_write(result.is_pending());
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
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
