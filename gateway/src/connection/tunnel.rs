//! A connection that has switched to another protocol: octets pass in both directions until one
//! side ends, nothing is said for too long, the gate goes down, or the session ends.
//!
//! Of a WebSocket the gate follows where the console's frames begin, so that it can say goodbye
//! between two of them: 1008 when the session is over, 1001 when the gate goes down (RFC 6455
//! §7.4.1). Nothing in it is read otherwise, and nothing is changed.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use doorward_plugins::session::{LiveSession, Sessions};
use doorward_plugins::{Clock, RequestId, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Order, Peer};
use crate::upstream::UpstreamStream;

/// How often it is looked whether the session goes on.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a frame under way may take to end before the goodbye is said.
const FAREWELL: Duration = Duration::from_millis(500);

/// Octets under way in each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// What a connection turns into.
pub(crate) struct Tunnel {
    pub(crate) upstream: UpstreamStream,
    /// What the upstream has said already.
    pub(crate) first: Bytes,
    pub(crate) is_websocket: bool,
    /// The session that it stands and falls with.
    pub(crate) session: Option<Arc<LiveSession>>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) clock: Clock,
    /// Traffic keeps the session from going idle.
    pub(crate) is_activity: bool,
    pub(crate) idle: Duration,
    /// When it was agreed on, which is before the client knows of it.
    pub(crate) began: Timestamp,
    pub(crate) request_id: RequestId,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides have said all.
    Done,
    Idle,
    ShuttingDown,
    SessionOver,
}

/// One direction.
struct Half {
    buffer: BytesMut,
    total: u64,
    state: HalfState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfState {
    Open,
    /// The end was read; what is left has to be written.
    Ending,
    Closed,
}

impl Half {
    fn new(first: &[u8]) -> Self {
        Self { buffer: first.into(), total: 0, state: HalfState::Open }
    }

    /// Carries what can be carried. Says whether anything was.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        frames: Option<&mut Frames>,
    ) -> Poll<io::Result<()>> {
        let mut frames = frames;
        loop {
            while self.buffer.has_remaining() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                if let Some(frames) = &mut frames {
                    frames.follow(self.buffer.get(..count).unwrap_or_default());
                }
                self.buffer.advance(count);
                self.total += count as u64;
            }
            match self.state {
                HalfState::Open => {
                    self.buffer.reserve(BUFFER_BYTES);
                    let read = std::pin::pin!(from.read_buf(&mut self.buffer)).poll(cx)?;
                    match read {
                        Poll::Pending => {
                            // Nothing waits: an idle tunnel keeps no room.
                            self.buffer = BytesMut::new();
                            ready!(Pin::new(&mut *to).poll_flush(cx))?;
                            return Poll::Pending;
                        }
                        Poll::Ready(0) => self.state = HalfState::Ending,
                        Poll::Ready(_) => {}
                    }
                }
                HalfState::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = HalfState::Closed;
                }
                HalfState::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Carries a switched connection to its end. `first` is what the client has said already.
pub(crate) async fn carry(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    first: &[u8],
    mut tunnel: Tunnel,
    peer: &Peer,
) {
    let mut up = Half::new(first);
    let mut down = Half::new(&tunnel.first);
    let mut frames = tunnel.is_websocket.then(Frames::default);
    let end = run(client, &mut tunnel, (&mut up, &mut down), &mut frames, peer).await;
    if let (Ok(end @ (End::SessionOver | End::ShuttingDown | End::Idle)), Some(frames)) =
        (&end, &mut frames)
    {
        let goodbye = say_goodbye(client, &mut tunnel.upstream, &mut down, frames, *end);
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
    }
    tracing::info!(
        event = "tunnel_closed",
        request_id = tunnel.request_id.as_str(),
        reason = match end {
            Ok(End::Done) => "ended",
            Ok(End::Idle) => "idle",
            Ok(End::ShuttingDown) => "shutting_down",
            Ok(End::SessionOver) => "session_over",
            Err(_) => "broken_off",
        },
        bytes_up = up.total,
        bytes_down = down.total,
        seconds = tunnel.clock.now().since(tunnel.began).as_secs(),
    );
}

async fn run(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    tunnel: &mut Tunnel,
    (up, down): (&mut Half, &mut Half),
    frames: &mut Option<Frames>,
    peer: &Peer,
) -> io::Result<End> {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let (mut carried, mut quiet_since) = (0, tunnel.began);
    poll_fn(|cx| {
        match peer.watch.order(cx) {
            Order::Carry | Order::Rest => {}
            Order::Close => return Poll::Ready(Ok(End::Done)),
            Order::Drain => return Poll::Ready(Ok(End::ShuttingDown)),
        }
        let upward = up.poll(cx, client, &mut tunnel.upstream, None)?;
        let downward = down.poll(cx, &mut tunnel.upstream, client, frames.as_mut())?;
        if upward.is_ready() && downward.is_ready() {
            return Poll::Ready(Ok(End::Done));
        }
        while look.poll_tick(cx).is_ready() {
            let now = tunnel.clock.now();
            let moved =
                std::mem::replace(&mut carried, up.total + down.total) != up.total + down.total;
            if moved {
                quiet_since = now;
            }
            if let Some(session) = &tunnel.session
                && !tunnel.sessions.is_live(session, now, moved && tunnel.is_activity)
            {
                return Poll::Ready(Ok(End::SessionOver));
            }
            if now.since(quiet_since) > tunnel.idle {
                return Poll::Ready(Ok(End::Idle));
            }
        }
        Poll::Pending
    })
    .await
}

/// Ends a WebSocket properly: the frame under way to the client is finished, then both sides are
/// told why.
async fn say_goodbye(
    client: &mut (impl AsyncWrite + Unpin),
    upstream: &mut UpstreamStream,
    down: &mut Half,
    frames: &mut Frames,
    end: End,
) -> io::Result<()> {
    while !frames.is_between() {
        if down.buffer.is_empty() && upstream.read_buf(&mut down.buffer).await? == 0 {
            return Ok(());
        }
        // No octet of the frame after this one.
        let count = frames.remaining().min(down.buffer.len()).max(1);
        client.write_all(down.buffer.get(..count).unwrap_or_default()).await?;
        frames.follow(down.buffer.get(..count).unwrap_or_default());
        down.buffer.advance(count);
        down.total += count as u64;
    }
    let (code, reason): (u16, &str) = match end {
        End::SessionOver => (1008, "the session has ended"),
        _ => (1001, "the gate closes the connection"),
    };
    client.write_all(&close_frame(code, reason, false)).await?;
    client.flush().await?;
    client.shutdown().await?;
    upstream.write_all(&close_frame(code, reason, true)).await?;
    upstream.shutdown().await
}

/// A close frame (RFC 6455 §5.5.1). A client's is masked; a key of zeros leaves it as it is.
fn close_frame(code: u16, reason: &str, masked: bool) -> Vec<u8> {
    let length = u8::try_from(reason.len() + 2).unwrap_or(u8::MAX);
    let mut frame = vec![0x88, length];
    if masked {
        frame = vec![0x88, length | 0x80, 0, 0, 0, 0];
    }
    frame.extend(code.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

/// Follows frames, to know where one ends (RFC 6455 §5.2).
#[derive(Debug, Default)]
struct Frames {
    /// The head of a frame as far as it has come.
    head: Vec<u8>,
    /// Octets of the payload still to come.
    payload: u64,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.payload == 0
    }

    /// How many octets certainly belong to the frame under way.
    fn remaining(&self) -> usize {
        usize::try_from(self.payload).unwrap_or(usize::MAX)
    }

    fn follow(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.payload > 0 {
                let count = self.remaining().min(octets.len());
                self.payload -= count as u64;
                octets = octets.get(count..).unwrap_or_default();
                continue;
            }
            let Some((octet, rest)) = octets.split_first() else { return };
            self.head.push(*octet);
            octets = rest;
            if let Some(payload) = payload_of(&self.head) {
                self.payload = payload;
                self.head.clear();
            }
        }
    }
}

/// The length of the payload, once the head of a frame is whole.
fn payload_of(head: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = head else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (size, length) = match second & 0x7f {
        126 => (
            2,
            rest.get(..2)
                .map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
        ),
        127 => (
            8,
            rest.get(..8)
                .map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
        ),
        length => (0, Some(u64::from(length))),
    };
    (rest.len() >= size + mask).then_some(length).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_frames_are_followed_however_they_are_cut() {
        let mut octets = Vec::new();
        for (length, masked) in
            [(0_usize, false), (5, true), (125, false), (126, false), (70_000, true)]
        {
            let mask = if masked { 0x80 } else { 0 };
            octets.push(0x82);
            match length {
                0..126 => octets.push(mask | u8::try_from(length).unwrap()),
                126..65_536 => {
                    octets.push(mask | 126);
                    octets.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    octets.push(mask | 127);
                    octets.extend((length as u64).to_be_bytes());
                }
            }
            octets.extend(std::iter::repeat_n(0x88, length + if masked { 4 } else { 0 }));
            for cut in [1, 3, 7, 1000] {
                let mut frames = Frames::default();
                octets.chunks(cut).for_each(|piece| frames.follow(piece));
                assert!(frames.is_between(), "{length} in pieces of {cut}");
                frames.follow(&[0x81]);
                assert!(!frames.is_between());
            }
        }
    }

    #[test]
    fn d12_the_goodbye_is_a_close_frame() {
        assert_eq!(close_frame(1008, "x", false), [0x88, 3, 0x03, 0xf0, b'x']);
        assert_eq!(close_frame(1001, "", true), [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
    }
}
