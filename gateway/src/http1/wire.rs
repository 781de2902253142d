//! The octets of a connection, before they are read and behind what was written.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A read is offered this much room at first, and this much at most when much is coming. Most heads
/// are small, and memory that many connections take turns with stays in the processor's cache.
const READ_BYTES: usize = 1024;
const READ_BYTES_MAX: usize = 128 * 1024;

/// A piece of a body that is no longer than this is copied behind what is to be written anyway.
const COPIED_BYTES_MAX: usize = 4096;

/// A stream, and what stands before and behind it.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    /// Octets that were read and not yet used.
    pub(crate) read: BytesMut,
    /// Octets that have to be written.
    pub(crate) write: BytesMut,
    /// A piece of a body that is written after them.
    piece: Bytes,
    /// What ends that piece.
    end: &'static [u8],
    /// How much room the next read is offered.
    read_bytes: usize,
    /// Something was written since [`Self::begin`].
    begun: bool,
}

/// How a body is told from what follows it (RFC 9112 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    /// There is none.
    #[default]
    None,
    /// So many octets are left of what was announced.
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// A body is not what was announced.
#[derive(Debug)]
pub(crate) struct Misfit(pub(crate) &'static str);

impl<S> Wire<S> {
    /// `read` came already.
    pub(crate) fn new(stream: S, read: BytesMut) -> Self {
        Self {
            stream,
            read,
            write: BytesMut::new(),
            piece: Bytes::new(),
            end: b"",
            read_bytes: READ_BYTES,
            begun: false,
        }
    }

    /// A message begins.
    pub(crate) fn begin(&mut self) {
        self.begun = false;
    }

    /// Was anything of the message written?
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Does a piece wait that no other can be put behind?
    pub(crate) fn is_full(&self) -> bool {
        !self.piece.is_empty() || !self.end.is_empty() || self.write.len() > COPIED_BYTES_MAX
    }

    /// Puts a piece of a body behind what waits to be written, of which none is a piece.
    pub(crate) fn put(&mut self, data: Bytes, coding: &mut Coding) -> Result<(), Misfit> {
        let size = data.len() as u64;
        if size == 0 {
            return Ok(());
        }
        match coding {
            Coding::None => return Err(Misfit("a body that was not announced")),
            Coding::Length(left) => {
                *left = left.checked_sub(size).ok_or(Misfit("more than its length"))?;
            }
            Coding::Chunked => {
                // Writing into memory does not fail.
                let _ = write!(self.write, "{size:x}\r\n");
                self.end = b"\r\n";
            }
            Coding::Close => {}
        }
        if data.len() <= COPIED_BYTES_MAX {
            self.write.put_slice(&data);
            self.write.put_slice(std::mem::take(&mut self.end));
        } else {
            self.piece = data;
        }
        Ok(())
    }

    /// Puts the end of a body behind what waits to be written.
    pub(crate) fn finish(&mut self, trailers: &HeaderMap, coding: Coding) -> Result<(), Misfit> {
        match coding {
            Coding::None | Coding::Length(0) | Coding::Close => {}
            Coding::Length(_) => return Err(Misfit("less than its length")),
            Coding::Chunked if !self.piece.is_empty() && trailers.is_empty() => {
                self.end = b"\r\n0\r\n\r\n";
            }
            Coding::Chunked => {
                // Trailers are rare: what waits before them is copied.
                self.write.put_slice(&std::mem::take(&mut self.piece));
                self.write.put_slice(std::mem::take(&mut self.end));
                self.write.put_slice(b"0\r\n");
                for (name, value) in trailers {
                    write_line(&mut self.write, name.as_str(), value.as_bytes());
                }
                self.write.put_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads more; `Ready(0)` at the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Most of the room is there since the last time.
        if self.read.capacity() - self.read.len() < self.read_bytes / 2 {
            self.read.reserve(self.read_bytes);
        }
        let room = self.read.capacity() - self.read.len();
        let count = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?;
        // Much is coming: fewer and larger reads.
        if count >= room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Does nothing wait to be written?
    pub(crate) fn is_written(&self) -> bool {
        self.write.is_empty() && self.piece.is_empty() && self.end.is_empty()
    }

    /// Writes all that waits.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let stream = Pin::new(&mut self.stream);
            let only = self.piece.is_empty() && self.end.is_empty();
            let count = if only {
                ready!(stream.poll_write(cx, &self.write))?
            } else {
                let pieces = [&self.write, &*self.piece, self.end].map(IoSlice::new);
                ready!(stream.poll_write_vectored(cx, &pieces))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            self.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        if count == self.write.len() {
            // The room is that of the next message.
            self.write.clear();
            return;
        }
        let of_head = count.min(self.write.len());
        self.write.advance(of_head);
        let of_piece = (count - of_head).min(self.piece.len());
        self.piece.advance(of_piece);
        self.end = self.end.get(count - of_head - of_piece..).unwrap_or_default();
    }
}

/// Writes a field.
pub(crate) fn write_line(write: &mut BytesMut, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        write.put_slice(piece);
    }
}
