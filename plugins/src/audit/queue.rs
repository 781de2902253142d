//! Events that wait to be written: at most so many, and of each kind at most so many a minute.
//!
//! Who adds one never waits. What does not fit is counted, and the count takes the place in the log
//! that the events would have had. Kinds that come too often are counted too: see
//! [`EventKind::per_minute`] and [`Event::refused_early`].

use std::collections::{HashMap, VecDeque};

use super::event::CHEAP_PER_MINUTE;
use super::{Event, EventKind};
use crate::clock::Timestamp;

/// An event, and when it happened by the wall clock.
pub(super) type Waiting = (Event, Timestamp);

/// What is counted together: a kind, and why it was refused early if it was.
type Sort = (EventKind, Option<&'static str>);

/// How many of a sort become records of their own within a minute.
fn per_minute((kind, refused_early): Sort) -> u64 {
    if refused_early.is_some() { CHEAP_PER_MINUTE } else { kind.per_minute() }
}

pub(super) struct Queue {
    events: VecDeque<Waiting>,
    events_max: usize,
    /// How many did not fit since the last one that did.
    gap: u64,
    /// The minute in which is counted, since the Unix epoch.
    minute: u64,
    /// How many of each sort there were in it.
    counts: HashMap<Sort, u64>,
}

impl Queue {
    pub(super) fn new(events_max: usize) -> Self {
        let (events, counts) = (VecDeque::new(), HashMap::new());
        Self { events, events_max, gap: 0, minute: 0, counts }
    }

    /// Adds an event that happened at `wall`. Says whether it, or its count, will be written.
    pub(super) fn push(&mut self, event: Event, now: Timestamp, wall: Timestamp) -> bool {
        self.summarise(now, wall);
        let sort = (event.kind, event.refused_early());
        let count = self.counts.entry(sort).or_default();
        *count += 1;
        if *count > per_minute(sort) {
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
        let counts = std::mem::take(&mut self.counts).into_iter();
        let beyond = |(sort, count): (Sort, u64)| (sort, count.saturating_sub(per_minute(sort)));
        let mut beyond: Vec<_> = counts.map(beyond).filter(|(_, count)| *count > 0).collect();
        beyond.sort_by_key(|((kind, early), _)| (kind.name(), *early));
        for ((kind, early), count) in beyond {
            let event = Event::new(EventKind::AuditSummary).with("event", kind.name());
            let event = event.with("count", count);
            self.add(early.map_or(event.clone(), |why| event.with("reason", why)), wall);
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

    #[test]
    fn n09_attempts_that_cost_no_hash_become_counts_and_push_no_guess_out() {
        let mut queue = Queue::new(10_000);
        let push = |queue: &mut Queue, event| queue.push(event, Timestamp(0), Timestamp(0));
        let fail = || event(EventKind::LoginFail).with("factor", "password");
        for _ in 0..1000 {
            push(&mut queue, fail().with("reason", "captcha"));
            push(&mut queue, fail().with("reason", "guessing"));
            push(&mut queue, event(EventKind::LoginUnavailable).with("error", "no place"));
        }
        assert_eq!(queue.len(), 180, "60 of each");
        for _ in 0..1000 {
            push(&mut queue, fail());
        }
        assert_eq!(queue.len(), 1180, "every guess that was compared");
        queue.take(2000, Timestamp(0));
        queue.summarise_at_once(Timestamp(0));
        let told = queue.take(10, Timestamp(0)).into_iter().map(|(event, _)| event.details);
        let told: Vec<_> = told.map(|details| format!("{details:?}")).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for reason in ["captcha", "guessing", "unavailable"] {
            let is_it = |text: &&String| text.contains(reason) && text.contains("940");
            assert_eq!(told.iter().filter(is_it).count(), 1, "{told:?}");
        }
    }
}
