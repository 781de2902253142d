//! Events that wait to be written: at most so many, and of each kind at most so many a minute.
//!
//! Who adds one never waits. What does not fit is counted, and the count takes the place in the log
//! that the events would have had. Kinds that come too often are counted too: see
//! [`EventKind::per_minute`].

use std::collections::{HashMap, VecDeque};

use super::{Event, EventKind};
use crate::clock::Timestamp;

/// An event, and when it happened by the wall clock.
pub(super) type Waiting = (Event, Timestamp);

pub(super) struct Queue {
    events: VecDeque<Waiting>,
    events_max: usize,
    /// How many did not fit since the last one that did.
    gap: u64,
    /// The minute in which is counted, since the Unix epoch.
    minute: u64,
    /// How many of each kind there were in it.
    counts: HashMap<EventKind, u64>,
}

impl Queue {
    pub(super) fn new(events_max: usize) -> Self {
        let (events, counts) = (VecDeque::new(), HashMap::new());
        Self { events, events_max, gap: 0, minute: 0, counts }
    }

    /// Adds an event that happened at `wall`. Says whether it, or its count, will be written.
    pub(super) fn push(&mut self, event: Event, now: Timestamp, wall: Timestamp) -> bool {
        self.summarise(now, wall);
        let count = self.counts.entry(event.kind).or_default();
        *count += 1;
        if *count > event.kind.per_minute() {
            return true;
        }
        self.add(event, wall)
    }

    fn add(&mut self, event: Event, wall: Timestamp) -> bool {
        if self.events.len() >= self.events_max {
            self.gap += 1;
            return false;
        }
        self.close_gap(wall);
        self.events.push_back((event, wall));
        true
    }

    fn close_gap(&mut self, wall: Timestamp) {
        if self.gap > 0 {
            let gap = std::mem::take(&mut self.gap);
            self.events.push_back((Event::new(EventKind::AuditGap).with("count", gap), wall));
        }
    }

    /// Adds what is to be said about kinds of which there were too many, when their minute is over.
    pub(super) fn summarise(&mut self, now: Timestamp, wall: Timestamp) {
        let minute = now.secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.summarise_at_once(wall);
        }
    }

    /// The same before the minute is over.
    pub(super) fn summarise_at_once(&mut self, wall: Timestamp) {
        let counts = std::mem::take(&mut self.counts);
        for kind in EventKind::ALL {
            let count = counts.get(kind).copied().unwrap_or_default();
            let beyond = count.saturating_sub(kind.per_minute());
            if beyond > 0 {
                let event = Event::new(EventKind::AuditSummary).with("event", kind.name());
                self.add(event.with("count", beyond), wall);
            }
        }
    }

    /// Takes at most `count` events out.
    pub(super) fn take(&mut self, count: usize, wall: Timestamp) -> Vec<Waiting> {
        if self.events.len() < count {
            self.close_gap(wall);
        }
        self.events.drain(..count.min(self.events.len())).collect()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind) -> Event {
        Event::new(kind)
    }

    fn names(queue: &mut Queue) -> Vec<(String, String)> {
        let taken = queue.take(1000, Timestamp(0)).into_iter();
        let count = |event: &Event| {
            event.details.iter().find(|(name, _)| *name == "count").map(|(_, count)| count.clone())
        };
        taken
            .map(|(event, _)| (event.kind.name().to_owned(), count(&event).unwrap_or_default()))
            .collect()
    }

    #[test]
    fn n09_what_does_not_fit_is_counted_where_it_would_have_stood() {
        let mut queue = Queue::new(2);
        let push = |queue: &mut Queue, kind| queue.push(event(kind), Timestamp(0), Timestamp(0));
        assert!(push(&mut queue, EventKind::LoginFail));
        assert!(push(&mut queue, EventKind::LoginFail));
        assert!(!push(&mut queue, EventKind::LoginSuccess));
        assert!(!push(&mut queue, EventKind::LoginSuccess));
        assert_eq!(queue.take(1, Timestamp(0)).len(), 1);
        assert!(push(&mut queue, EventKind::UserCreated));
        let one = |name: &str| (name.to_owned(), String::new());
        let gap = ("audit_gap".to_owned(), "2".to_owned());
        assert_eq!(names(&mut queue), [one("authn_login_fail"), gap, one("user_created")]);
        for _ in 0..4 {
            push(&mut queue, EventKind::LoginFail);
        }
        let fail = || one("authn_login_fail");
        let gap = ("audit_gap".to_owned(), "2".to_owned());
        assert_eq!(names(&mut queue), [fail(), fail(), gap], "also when nothing follows");
    }

    #[test]
    fn n09_a_flood_becomes_a_count_and_leaves_other_kinds_alone() {
        let mut queue = Queue::new(1000);
        for _ in 0..500 {
            queue.push(event(EventKind::CsrfRefused), Timestamp(60_000), Timestamp(0));
        }
        queue.push(event(EventKind::LoginFail), Timestamp(60_000), Timestamp(0));
        assert_eq!(queue.len(), 61);
        queue.take(100, Timestamp(0));
        queue.summarise(Timestamp(119_999), Timestamp(0));
        assert_eq!(queue.len(), 0, "the minute is not over");
        queue.summarise(Timestamp(120_000), Timestamp(0));
        assert_eq!(names(&mut queue), [("audit_summary".to_owned(), "440".to_owned())]);
        queue.push(event(EventKind::CsrfRefused), Timestamp(120_000), Timestamp(0));
        assert_eq!(queue.len(), 1);
    }
}
