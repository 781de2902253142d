//! What a connection is doing, since when, and when that has lasted too long.
//!
//! Time limits cost a request nothing but a few stores: a connection notes since which tick of its
//! worker it has been doing what, and the worker looks at all its connections once a tick. Limits
//! are kept to within a tick, [`TICK`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use doorward_config::Limits;

use crate::deadline::TICK;

/// A connection without a request for so many ticks gives back what it needs for one.
const RESTLESS_TICKS: u32 = 4;

/// So many requests may be reset on one HTTP/2 connection before it matters what share they are; a
/// browser that leaves a page resets what it still waits for.
const GIVEN_UP_MAX: u64 = 200;

/// A connection of HTTP/1 without a request that is to end is kept for so many ticks: its client may
/// just have sent one, and would not know whether it was taken (RFC 9112 §9.5).
const LAST_CALL_TICKS: u32 = 2;

/// How long a connection without requests may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection is doing, since which tick.
pub(crate) struct Watch {
    ticks: Rc<Cell<u32>>,
    /// Requests and responses of HTTP/1 follow one another; those of HTTP/2 do not.
    multiplexed: Cell<bool>,
    in_flight: Cell<u32>,
    /// Requests whose answers are over.
    finished: Cell<u64>,
    /// Those of them that the client did not wait for.
    given_up: Cell<u64>,
    /// Since when it has no request, or since when its head is coming in.
    since: Cell<u32>,
    /// While it has a request it reads on, by which it shows that the client has gone.
    looks_ahead: Cell<bool>,
    /// A part of a head has come in.
    head_begun: Cell<bool>,
    /// Since when the client has sent its end while an answer was under way, and taken nothing.
    half_closed: Cell<Option<u32>>,
    /// Nothing that was written waits to leave.
    flushed: Cell<bool>,
    /// It is to give back what it needs for a request, or has done so.
    resting: Cell<bool>,
    /// Another protocol is spoken; whoever carries it keeps the time.
    switched: Cell<bool>,
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
    /// Give back what a request needs: there is none.
    Rest,
}

impl Watch {
    pub(super) fn new(ticks: Rc<Cell<u32>>) -> Self {
        Self {
            since: Cell::new(ticks.get()),
            ticks,
            multiplexed: Cell::new(false),
            in_flight: Cell::new(0),
            finished: Cell::new(0),
            given_up: Cell::new(0),
            looks_ahead: Cell::new(false),
            head_begun: Cell::new(false),
            half_closed: Cell::new(None),
            flushed: Cell::new(true),
            resting: Cell::new(false),
            switched: Cell::new(false),
            write_stalled: Cell::new(None),
            offers: RefCell::default(),
            draining: Cell::new(None),
            doomed: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// It has several requests at once from here on.
    pub(crate) fn set_multiplexed(&self) {
        self.multiplexed.set(true);
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.resting.set(false);
        self.looks_ahead.set(false);
    }

    /// Is it to read on while it has a request? Most are over before that is worth it.
    pub(super) fn looks_ahead(&self) -> bool {
        self.looks_ahead.get()
    }

    /// From here on it is.
    pub(crate) fn look_ahead(&self) {
        self.looks_ahead.set(true);
    }

    /// Is there a request whose answer is not over?
    fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// Another protocol is spoken from here on.
    pub(super) fn switch(&self) {
        self.switched.set(true);
    }

    /// A request's response is over, or nobody waits for it any more. A client that opens requests
    /// only to reset them makes work for nothing (CVE-2023-44487), and is told to go.
    pub(crate) fn end(&self, complete: bool) {
        if !complete && self.multiplexed.get() {
            let given_up = self.given_up.get() + 1;
            self.given_up.set(given_up);
            if given_up >= GIVEN_UP_MAX && given_up.saturating_mul(2) > self.finished.get() {
                self.drain();
            }
        }
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.finished.set(self.finished.get() + 1);
        self.since.set(self.ticks.get());
        if self.half_closed.get().is_some() {
            // Now the library may hear of the client's end.
            self.wake();
        }
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
        match () {
            () if self.draining.get().is_some() && !self.waits_for_last() => Order::Drain,
            () if self.resting.get() && self.may_rest() => Order::Rest,
            () => Order::Carry,
        }
    }

    /// Is it to take nothing new behind the request under way?
    pub(crate) fn is_last(&self) -> bool {
        self.draining.get().is_some() && !self.multiplexed.get()
    }

    /// It is to end, has no request, and one may be on its way.
    fn waits_for_last(&self) -> bool {
        let early = |since| self.ticks.get().wrapping_sub(since) <= LAST_CALL_TICKS;
        let waits = |since| self.head_begun.get() || early(since);
        !self.is_busy()
            && !self.multiplexed.get()
            && !self.switched.get()
            && self.draining.get().is_some_and(waits)
    }

    /// It gives back what it needs for a request, or has got it again.
    pub(crate) fn set_resting(&self, resting: bool) {
        self.resting.set(resting);
    }

    /// Has it nothing to do, in either direction?
    fn may_rest(&self) -> bool {
        !self.is_busy()
            && !self.multiplexed.get()
            && !self.switched.get()
            && !self.head_begun.get()
            && self.flushed.get()
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
        let idle = (!self.is_busy() && !self.switched.get()).then(|| self.since.get());
        let idle_limit = if self.head_begun.get() { limits.header_time } else { limits.keep_alive };
        // One that has nothing to finish, and was told so, has no claim to the whole grace.
        let drained = self.draining.get().filter(|_| !self.is_busy() && !self.switched.get());
        if overdue(idle, idle_limit)
            || overdue(self.write_stalled.get(), limits.write_idle)
            || overdue(self.half_closed.get(), limits.half_closed)
            || overdue(self.untaken(), limits.write_idle)
            || overdue(drained, FAREWELL)
        {
            self.doomed.set(true);
            self.wake();
        } else if self.draining.get().is_some()
            || (self.is_busy() && !self.looks_ahead.replace(true))
        {
            // The last call may be over; or the request takes long enough to look ahead.
            self.wake();
        }
        self.sweep_rest();
    }

    /// Lets a connection that has nothing to do give back what it needs for a request.
    fn sweep_rest(&self) {
        let quiet = self.ticks.get().wrapping_sub(self.since.get()) >= RESTLESS_TICKS;
        if quiet && self.may_rest() && !self.resting.replace(true) {
            self.wake();
        }
    }

    /// Lets the connection finish what is under way.
    pub(crate) fn drain(&self) {
        self.draining.set(self.draining.get().or(Some(self.ticks.get())));
        self.wake();
    }

    /// Closes the connection now.
    pub(crate) fn doom(&self) {
        self.doomed.set(true);
        self.wake();
    }

    /// Somebody waits for what the connection's task has to bring: it is woken, unless it is who
    /// asks.
    pub(super) fn ask(&self, cx: &Context<'_>) {
        let is_itself =
            self.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_itself {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Octets of a head have come in that is not whole, or it is whole now.
    pub(super) fn note_head(&self, is_partial: bool) {
        let was_partial = self.head_begun.replace(is_partial);
        if is_partial && !was_partial && !self.is_busy() {
            self.since.set(self.ticks.get());
        }
    }

    /// The client has sent its end, though it waits for an answer, or has gone away.
    pub(super) fn note_half_closed(&self) {
        self.half_closed.set(self.half_closed.get().or(Some(self.ticks.get())));
    }

    /// All that was written has left.
    pub(super) fn note_flush(&self) {
        self.flushed.set(true);
        self.write_stalled.set(None);
    }

    /// A write was tried.
    pub(super) fn note_write(&self, stalled: bool) {
        self.flushed.set(false);
        let tick = self.ticks.get();
        self.write_stalled.set(if stalled {
            self.write_stalled.get().or(Some(tick))
        } else {
            None
        });
        // Whoever takes something is there.
        if !stalled && self.half_closed.get().is_some() {
            self.half_closed.set(Some(tick));
        }
    }
}
