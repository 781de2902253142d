//! Room 1, the other half: how a connection that was handed to a worker begins, and how it ends.
//!
//! First who the client is (PROXY protocol), then TLS, with the client's certificate where the
//! listener asks for one, then which version of HTTP it speaks.
//!
//! Bounds: `header_time` for each of the first two; a farewell of [`LINGER`].

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::body;
use crate::connection::http1::{self, End};
use crate::connection::{Order, Peer, Watched, carry};
use crate::forwarded::is_trusted;
use crate::proxy_protocol::{self, Preamble};
use crate::serve::serve;
use crate::tls;
use crate::worker::{Current, LocalTasks};

/// How long what a client still sends is read and dropped, so that it sees our last answer: a
/// socket closed with octets unread takes back what was sent (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How much of it.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How much is read at once of what wakes a resting connection.
const WAKE_BYTES: usize = 4096;

/// With this a client begins that speaks HTTP/2 at once (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Carries a client's connection from its first octet to its last.
pub(crate) async fn enter(current: Current, stream: TcpStream, peer: Rc<Peer>) {
    // Let go of before requests are carried: each goes by the configuration that holds by then.
    let gate = Arc::clone(&current.worker().gate);
    let listener = peer.listener(&gate.services.config);
    let mut stream = Prefixed { first: Bytes::new(), inner: stream };
    let limit = gate.services.config.limits.header_time;
    let mut _place = None;
    if listener.proxy_protocol {
        if !is_trusted(peer.address().ip(), &listener.trusted_proxies) {
            return;
        }
        let reading = Box::pin(tokio::time::timeout(limit, read_preamble(&mut stream, &peer)));
        let Some(Ok(Some(client))) = unless_ending(reading, &peer).await else { return };
        if let Some(client) = client {
            peer.set_address(client);
        }
        let places = Arc::clone(&current.worker().thread.places);
        match places.of_address(peer.address().ip(), &listener.trusted_proxies) {
            Some(place) => _place = Some(place),
            None => return,
        }
    }
    let Some(its_tls) = peer.listener_tls(&gate) else {
        let is_http2 = listener.h2c && {
            let Some(spoken) = unless_ending(speaks_http2(&mut stream), &peer).await else {
                return;
            };
            spoken
        };
        drop(gate);
        // Each way is boxed by itself: a resting connection is not as large as the largest.
        return match is_http2 {
            true => Box::pin(carry_http2(current, stream, peer)).await,
            false => Box::pin(carry_http1(current, stream, peer, reset)).await,
        };
    };
    let handshake = tokio::time::timeout(limit, its_tls.acceptor.accept(stream));
    let stream = match Box::pin(unless_ending(handshake, &peer)).await {
        Some(Ok(Ok(stream))) => Box::new(stream),
        Some(Ok(Err(error))) => {
            return tls::note_refusal(&gate.services.audit, &error, peer.address().ip());
        }
        Some(Err(_)) | None => return,
    };
    let session = stream.get_ref().1;
    match its_tls.client(session) {
        Ok(None) => {}
        // The cell is empty: a connection has one handshake.
        Ok(Some(certificate)) => drop(peer.certificate.set(certificate)),
        Err(unproven) => {
            return tls::note_refusal(&gate.services.audit, &unproven.into(), peer.address().ip());
        }
    }
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    drop(gate);
    if is_http2 {
        Box::pin(carry_http2(current, stream, peer)).await;
    } else {
        // TLS has a word for the end, which is not said here.
        Box::pin(carry_http1(current, stream, peer, |_| ())).await;
    }
}

/// Has the connection end by a reset, and not as if all had been said.
fn reset(stream: &mut Prefixed<TcpStream>) {
    let _ = stream.inner.set_zero_linger();
}

/// Reads who the client is, and whether it came to the proxy by TLS. `None`: what came is no such
/// header.
async fn read_preamble(
    stream: &mut Prefixed<TcpStream>,
    peer: &Peer,
) -> Option<Option<std::net::SocketAddr>> {
    let mut octets = BytesMut::new();
    loop {
        match proxy_protocol::read(&octets) {
            Preamble::Malformed => return None,
            Preamble::Header(length, client) => {
                if proxy_protocol::says_tls(&octets.split_to(length)) {
                    peer.set_tls();
                }
                stream.first = octets.freeze();
                return Some(client);
            }
            Preamble::Incomplete => {
                if stream.inner.read_buf(&mut octets).await.ok()? == 0 {
                    return None;
                }
            }
        }
    }
}

/// Does the client begin as HTTP/2 does? Reads no more than is needed to know.
async fn speaks_http2(stream: &mut Prefixed<TcpStream>) -> bool {
    let mut octets = BytesMut::from(&*std::mem::take(&mut stream.first));
    let speaks = loop {
        if octets.len() >= PREFACE.len() || !PREFACE.starts_with(&octets) {
            break octets.starts_with(PREFACE);
        }
        if !matches!(stream.inner.read_buf(&mut octets).await, Ok(1..)) {
            break false;
        }
    };
    stream.first = octets.freeze();
    speaks
}

/// Speaks HTTP/1. A connection that rests keeps neither buffers nor the room for a request: they
/// come back with its next request, so that ten thousand that rest cost little. To `cut` it short
/// shows a client that its answer is not whole.
async fn carry_http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    current: Current,
    mut stream: S,
    peer: Rc<Peer>,
    cut: impl Fn(&mut S),
) {
    let mut first = BytesMut::new();
    loop {
        let speaking = http1::speak(&mut stream, std::mem::take(&mut first), &current, &peer);
        let (end, unread) = Box::pin(speaking).await;
        match end {
            End::Broken => return,
            End::Cut => return cut(&mut stream),
            End::Rest => {
                let woken = unless_ending(wake(&mut stream), &peer).await;
                peer.watch.set_resting(false);
                match woken {
                    Some(Some(octets)) => first = octets,
                    Some(None) | None => return,
                }
            }
            End::Switched => {
                let Some(tunnel) = peer.take_tunnel() else { return };
                return Box::pin(carry(&mut stream, &unread, tunnel, &peer)).await;
            }
            End::Unread => {
                // Its own bound is short enough for a gate that goes down.
                let _ = Box::pin(tokio::time::timeout(LINGER, linger(stream))).await;
                return;
            }
            End::Over => {
                // Who does not take the farewell does without.
                let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
                return;
            }
        }
    }
}

/// Waits for octets without keeping any room for them; `None`: there will be none.
async fn wake(stream: &mut (impl AsyncRead + Unpin)) -> Option<BytesMut> {
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); WAKE_BYTES];
        let mut buf = ReadBuf::uninit(&mut room);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
        let octets = buf.filled();
        Poll::Ready(read.ok().filter(|()| !octets.is_empty()).map(|()| octets.into()))
    })
    .await
}

async fn carry_http2(
    current: Current,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: Rc<Peer>,
) {
    peer.watch.set_multiplexed();
    let config = Arc::clone(&current.worker().gate.services.config);
    let limits = &config.limits;
    let owner = Rc::clone(&peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = Some(body).filter(|body| !body.is_end_stream()).map(body::Incoming::Http2);
        let serving = serve(current.worker(), Rc::clone(&owner), head, body, None);
        async { Ok::<_, Infallible>(serving.await) }
    });
    let stream = Watched::new(stream, Rc::clone(&peer));
    let mut connection = http2::Builder::new(LocalTasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = false;
    poll_fn(|cx| {
        match peer.watch.order(cx) {
            Order::Close => return Poll::Ready(()),
            Order::Drain if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            Order::Carry | Order::Drain | Order::Rest => {}
        }
        // How a client ends its connection is its own affair.
        Pin::new(&mut connection).poll(cx).map(|_| ())
    })
    .await;
}

/// The result of `work`, unless the connection is to end before it.
async fn unless_ending<F: Future>(work: F, peer: &Peer) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| match peer.watch.order(cx) {
        Order::Carry | Order::Rest => work.as_mut().poll(cx).map(Some),
        Order::Close | Order::Drain => Poll::Ready(None),
    })
    .await
}

/// Reads and drops what the client still sends, so that it can read what it was told.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut left = LINGER_BYTES_MAX;
    let mut dropped = [0; 4096];
    while let Some(next) = left.checked_sub(stream.read(&mut dropped).await?) {
        if next == left {
            break;
        }
        left = next;
    }
    Ok(())
}

/// A stream of which something was read already.
struct Prefixed<S> {
    first: Bytes,
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
