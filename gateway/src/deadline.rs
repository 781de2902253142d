//! Deadlines that cost almost nothing when they are kept.
//!
//! A timer of the runtime is entered into a wheel and taken out again for every request. Nearly
//! all deadlines are kept, so here one is a row in a list of the worker's own, looked at once a
//! [`TICK`]; whoever waits is woken when its tick has come. Deadlines are kept to within a tick.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use doorward_plugins::session::LiveSession;

/// How often a worker looks at its deadlines and connections.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// How many ticks a time lasts; at least one.
pub(crate) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// A worker's deadlines.
#[derive(Debug)]
pub(crate) struct Deadlines {
    now: Rc<Cell<u32>>,
    rows: RefCell<Vec<Option<Row>>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Debug)]
struct Row {
    due: u32,
    waker: Waker,
    /// Whoever waits does so for this session.
    session: Option<Arc<LiveSession>>,
}

impl Deadlines {
    /// Deadlines by a worker's tick, which somebody else counts up.
    pub(crate) fn new(now: Rc<Cell<u32>>) -> Self {
        Self { now, rows: RefCell::default(), free: RefCell::default() }
    }

    /// The present tick.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// How long it is until this tick.
    pub(crate) fn left(&self, due: u32) -> Duration {
        if is_due(due, self.now()) { Duration::ZERO } else { TICK * due.wrapping_sub(self.now()) }
    }

    /// Wakes those whose tick has come, and those whose session `is_over`.
    pub(crate) fn sweep(&self, is_over: impl Fn(&Arc<LiveSession>) -> bool) {
        for row in self.rows.borrow_mut().iter_mut().flatten() {
            if is_due(row.due, self.now.get()) || row.session.as_ref().is_some_and(&is_over) {
                row.waker.wake_by_ref();
            }
        }
    }

    fn enter(&self, row: Row) -> usize {
        let mut rows = self.rows.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(place) => {
                if let Some(slot) = rows.get_mut(place) {
                    *slot = Some(row);
                }
                place
            }
            None => {
                rows.push(Some(row));
                rows.len() - 1
            }
        }
    }

    fn leave(&self, place: usize) {
        if let Some(slot) = self.rows.borrow_mut().get_mut(place) {
            *slot = None;
        }
        self.free.borrow_mut().push(place);
    }
}

/// Has the tick come? Ticks may wrap around.
pub(crate) fn is_due(due: u32, now: u32) -> bool {
    now.wrapping_sub(due) < u32::MAX / 2
}

/// One deadline. It is entered into the list when somebody first waits for it.
#[derive(Debug)]
pub(crate) struct Deadline {
    list: Rc<Deadlines>,
    due: u32,
    place: Option<usize>,
    session: Option<Arc<LiveSession>>,
}

impl Deadline {
    /// A deadline in this time from now.
    pub(crate) fn after(list: &Rc<Deadlines>, time: Duration) -> Self {
        let due = list.now().wrapping_add(ticks(time).saturating_add(1).min(u32::MAX / 4));
        Self { list: Rc::clone(list), due, place: None, session: None }
    }

    /// The same, and the task is woken when this session ends as well.
    pub(crate) fn of_session(mut self, session: Option<&Arc<LiveSession>>) -> Self {
        self.session = session.cloned();
        self
    }

    /// Ready when it has passed; otherwise the task is woken then. The task must not change
    /// between calls.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if is_due(self.due, self.list.now()) {
            return Poll::Ready(());
        }
        if self.place.is_none() {
            let row =
                Row { due: self.due, waker: cx.waker().clone(), session: self.session.take() };
            self.place = Some(self.list.enter(row));
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.list.leave(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_deadline_wakes_when_its_tick_has_come_and_leaves_no_row() {
        let now = Rc::new(Cell::new(u32::MAX - 1));
        let list = Rc::new(Deadlines::new(Rc::clone(&now)));
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let mut first = Deadline::after(&list, TICK * 2);
        let mut second = Deadline::after(&list, Duration::from_secs(3600));
        assert!(first.poll(&cx).is_pending() && second.poll(&cx).is_pending());
        for _ in 0..2 {
            now.set(now.get().wrapping_add(1));
            list.sweep(|_| false);
            assert!(first.poll(&cx).is_pending());
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        now.set(now.get().wrapping_add(1));
        list.sweep(|_| false);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(first.poll(&cx).is_ready() && second.poll(&cx).is_pending());
        drop((first, second));
        assert!(list.rows.borrow().iter().all(Option::is_none));
        let mut third = Deadline::after(&list, TICK);
        assert!(third.poll(&cx).is_pending());
        assert_eq!(list.rows.borrow().len(), 2, "rows are used again");
    }
}
