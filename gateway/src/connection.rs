//! One downstream connection: who it is from, what it is doing, and what ends it.
//!
//! Time limits cost a request nothing but a few stores: a connection notes in [`Watch`] since
//! which tick of its worker it has been doing what, and the worker looks at all its connections
//! once a tick. Limits are kept to within a tick, [`TICK`].

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use doorward_config::{GatewayConfig, Limits, Listener};
use doorward_plugins::RequestContext;
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::TICK;
use crate::forwarded::{Authority, ForwardedFields};

/// How long a connection without requests may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pieces of an answer that are no longer than this together are sent as one.
const JOINED_BYTES_MAX: usize = 2048;

/// The other end of a connection, and what is worth remembering between its requests.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
    listener: usize,
    pub(crate) watch: Watch,
    authority: RefCell<Option<Authority>>,
    fields: RefCell<Option<(HeaderValue, Option<ForwardedFields>)>>,
    /// A client address as the log writes it.
    written: RefCell<Option<(IpAddr, String)>>,
}

impl Peer {
    pub(crate) fn new(
        address: SocketAddr,
        tls: bool,
        listener: usize,
        ticks: Rc<Cell<u32>>,
    ) -> Self {
        Self {
            address,
            tls,
            listener,
            watch: Watch::new(ticks),
            authority: RefCell::default(),
            fields: RefCell::default(),
            written: RefCell::default(),
        }
    }

    /// The listener that accepted it.
    pub(crate) fn listener<'c>(&self, config: &'c GatewayConfig) -> &'c Listener {
        #[expect(
            clippy::indexing_slicing,
            reason = "the acceptor counts the listeners of this configuration"
        )]
        &config.listeners[self.listener]
    }

    pub(crate) fn set_multiplexed(&self) {
        self.watch.multiplexed.set(true);
    }

    /// Did the request that comes now have a `#` in its target? The HTTP library drops it.
    pub(crate) fn take_ambiguous_target(&self) -> bool {
        self.watch.fragment.replace(false)
    }

    /// What an earlier request found out about this authority.
    pub(crate) fn known_authority(&self, raw: &HeaderValue) -> Option<Authority> {
        self.authority.borrow().as_ref().filter(|known| known.raw == raw).cloned()
    }

    pub(crate) fn remember_authority(&self, authority: &Authority) {
        self.authority.replace(Some(authority.clone()));
    }

    /// Writes a client address. Most connections have one client only.
    pub(crate) fn write_address(&self, address: IpAddr, line: &mut String) {
        let mut written = self.written.borrow_mut();
        match written.as_ref() {
            Some((known, text)) if *known == address => line.push_str(text),
            _ => {
                let text = address.to_string();
                line.push_str(&text);
                written.replace((address, text));
            }
        }
    }

    /// The forwarded fields of a request. A client's own connection always has the same; those
    /// of a trusted proxy depend on what it says.
    pub(crate) fn forwarded_fields(
        &self,
        cx: &RequestContext,
        authority: &Authority,
    ) -> Option<ForwardedFields> {
        if cx.client.trusted_peer {
            return ForwardedFields::new(&cx.client, &authority.raw, &cx.head.headers);
        }
        let mut known = self.fields.borrow_mut();
        if let Some((_, fields)) = known.as_ref().filter(|(raw, _)| *raw == authority.raw) {
            return fields.clone();
        }
        let fields = ForwardedFields::new(&cx.client, &authority.raw, &cx.head.headers);
        known.replace((authority.raw.clone(), fields.clone()));
        fields
    }
}

/// What a connection is doing, since which tick.
pub(crate) struct Watch {
    ticks: Rc<Cell<u32>>,
    /// Requests and responses of HTTP/1 follow one another; those of HTTP/2 do not.
    multiplexed: Cell<bool>,
    in_flight: Cell<u32>,
    /// Since when it has no request, or since when its head is coming in.
    since: Cell<u32>,
    head_begun: Cell<bool>,
    line_read: Cell<bool>,
    /// No request of this connection has had a body yet.
    heads_only: Cell<bool>,
    fragment: Cell<bool>,
    write_stalled: Cell<Option<u32>>,
    /// Answers of a connection that has several at once.
    offers: RefCell<Vec<Weak<Offer>>>,
    /// Since when it is to take nothing new.
    draining: Cell<Option<u32>>,
    doomed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One answer of several on a connection: is a piece of it ready that the client does not take?
pub(crate) struct Offer {
    ticks: Rc<Cell<u32>>,
    since: Cell<Option<u32>>,
}

impl Offer {
    fn new(ticks: &Rc<Cell<u32>>) -> Self {
        Self { since: Cell::new(Some(ticks.get())), ticks: Rc::clone(ticks) }
    }

    /// The body was asked for: it gave something, which now has to be taken, or has nothing yet.
    pub(crate) fn note(&self, gave: bool) {
        self.since.set(gave.then(|| self.ticks.get()));
    }
}

/// What the driver of a connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Carry,
    /// Close now.
    Close,
    /// Finish what is under way, and take nothing new.
    Drain,
}

impl Watch {
    fn new(ticks: Rc<Cell<u32>>) -> Self {
        Self {
            since: Cell::new(ticks.get()),
            ticks,
            multiplexed: Cell::new(false),
            in_flight: Cell::new(0),
            head_begun: Cell::new(false),
            line_read: Cell::new(false),
            heads_only: Cell::new(true),
            fragment: Cell::new(false),
            write_stalled: Cell::new(None),
            offers: RefCell::default(),
            draining: Cell::new(None),
            doomed: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// A request's head is complete, and a body follows it or not.
    pub(crate) fn begin(&self, has_body: bool) {
        self.in_flight.set(self.in_flight.get() + 1);
        // What comes in later may be the rest of a body that nobody wanted, and not a head.
        self.heads_only.set(self.heads_only.get() && !has_body);
        self.head_begun.set(false);
        self.line_read.set(false);
    }

    /// A request's response is over.
    pub(crate) fn end(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.since.set(self.ticks.get());
    }

    /// The order that holds; the driver's task is woken when another one comes.
    pub(crate) fn order(&self, cx: &Context<'_>) -> Order {
        if self.doomed.get() {
            return Order::Close;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            waker.replace(cx.waker().clone());
        }
        if self.draining.get().is_some() { Order::Drain } else { Order::Carry }
    }

    /// Watches over a further answer, if the connection has several at once.
    pub(crate) fn offer(&self) -> Option<Rc<Offer>> {
        let offer = self.multiplexed.get().then(|| Rc::new(Offer::new(&self.ticks)))?;
        let mut offers = self.offers.borrow_mut();
        offers.retain(|offer| offer.strong_count() > 0);
        offers.push(Rc::downgrade(&offer));
        Some(offer)
    }

    /// Since when the client has left an answer lying that was longest ready.
    fn untaken(&self) -> Option<u32> {
        let offers = self.offers.borrow();
        let since = offers.iter().filter_map(|offer| offer.upgrade()?.since.get());
        since.max_by_key(|since| self.ticks.get().wrapping_sub(*since))
    }

    /// Closes the connection if it has used up a limit.
    pub(crate) fn sweep(&self, limits: &Limits) {
        let overdue = |since: Option<u32>, limit: Duration| {
            since.is_some_and(|since| {
                TICK.saturating_mul(self.ticks.get().wrapping_sub(since)) > limit
            })
        };
        let idle = (self.in_flight.get() == 0).then(|| self.since.get());
        let idle_limit = if self.head_begun.get() { limits.header_time } else { limits.keep_alive };
        // One that has nothing to finish, and was told so, has no claim to the whole grace.
        let drained = self.draining.get().filter(|_| self.in_flight.get() == 0);
        if overdue(idle, idle_limit)
            || overdue(self.write_stalled.get(), limits.write_idle)
            || overdue(self.untaken(), limits.write_idle)
            || overdue(drained, FAREWELL)
        {
            self.doomed.set(true);
            self.wake();
        }
    }

    /// Lets the connection finish what is under way.
    pub(crate) fn drain(&self) {
        self.draining.set(Some(self.ticks.get()));
        self.wake();
    }

    /// Closes the connection now.
    pub(crate) fn doom(&self) {
        self.doomed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Looks at octets that came in: when a head begins, and whether its first line has a `#`.
    fn note_read(&self, bytes: &[u8]) {
        if self.in_flight.get() > 0 || bytes.is_empty() {
            return;
        }
        if !self.head_begun.replace(true) {
            self.since.set(self.ticks.get());
        }
        if self.heads_only.get() && !self.line_read.get() {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.line_read.set(line.len() < bytes.len());
            self.fragment.set(self.fragment.get() || line.contains(&b'#'));
        }
    }
}

fn note(slot: &Cell<Option<u32>>, stalled: bool, tick: u32) {
    slot.set(if stalled { slot.get().or(Some(tick)) } else { None });
}

/// A downstream stream that tells its [`Watch`] what happens.
pub(crate) struct Watched<S> {
    inner: S,
    peer: Rc<Peer>,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, peer: Rc<Peer>) -> Self {
        Self { inner, peer }
    }

    fn noting<T>(&self, result: Poll<T>) -> Poll<T> {
        let watch = &self.peer.watch;
        note(&watch.write_stalled, result.is_pending(), watch.ticks.get());
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if !self.peer.watch.multiplexed.get() {
            self.peer.watch.note_read(buf.filled().get(before..).unwrap_or_default());
        }
        result
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
        Pin::new(&mut self.inner).poll_flush(cx)
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
