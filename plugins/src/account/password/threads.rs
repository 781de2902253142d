//! The threads that hash: most of them when nothing else is to do, one in need.
//!
//! Hashing may not make anybody wait who is signed in, and a thread with a low priority does: a
//! core that it has is its own for a millisecond or more. So it is done by threads that run only
//! where nothing else does ([`priority::stand_back`]). Where something else always does, they would
//! never be done; then one more thread, which has its share of the core, does their work over again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::priority;

/// One password to hash or to verify. It may be called twice, at the same time too.
pub(super) type Job = Arc<dyn Fn() + Send + Sync>;

/// When no thread gets done with anything for so long, the one in need helps: many times what a hash
/// takes on a core that is free now and then.
const PATIENCE: Duration = Duration::from_millis(500);

/// The threads. They end when this is dropped and everything is done.
pub(super) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    /// For threads that stand back: there is more to do, or it is over.
    more: Condvar,
    /// For the one in need: the same, or another got done with something.
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Job>,
    /// What threads that stand back are at, the oldest first.
    begun: Vec<(u64, Job)>,
    /// That of the latest.
    number: u64,
    /// How much they got done.
    done: u64,
    over: bool,
}

impl Threads {
    /// Starts so many threads, and the one in need.
    pub(super) fn start(count: usize) -> std::io::Result<Self> {
        let threads = Self(Arc::default());
        let spawn = |name: String, run: fn(&Shared)| {
            let shared = Arc::clone(&threads.0);
            std::thread::Builder::new().name(name).spawn(move || run(&shared)).map(drop)
        };
        for number in 0..count {
            spawn(format!("hashing-{number}"), Shared::hash)?;
        }
        spawn("hashing-in-need".into(), Shared::help)?;
        Ok(threads)
    }

    /// Has a thread do it, after what was pushed before.
    pub(super) fn push(&self, job: Job) {
        self.0.lock().waiting.push_back(job);
        self.0.more.notify_one();
        self.0.changed.notify_one();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.more.notify_all();
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what waits where nothing else is to do.
    fn hash(&self) {
        priority::stand_back();
        while let Some((number, job)) = self.begin() {
            call(&job);
            let mut work = self.lock();
            work.begun.retain(|(other, _)| *other != number);
            work.done += 1;
            drop(work);
            self.changed.notify_one();
        }
    }

    /// Waits for the next job; `None`: it is over.
    fn begin(&self) -> Option<(u64, Job)> {
        let idle = |work: &mut Work| work.waiting.is_empty() && !work.over;
        let waited = self.more.wait_while(self.lock(), idle);
        let mut work = waited.unwrap_or_else(PoisonError::into_inner);
        let job = work.waiting.pop_front()?;
        work.number += 1;
        let begun = (work.number, job);
        work.begun.push(begun.clone());
        Some(begun)
    }

    /// Does what the others do not get done.
    fn help(&self) {
        priority::give_way(priority::HASHING);
        loop {
            let idle = |work: &mut Work| work.is_empty() && !work.over;
            let waited = self.changed.wait_while(self.lock(), idle);
            let work = waited.unwrap_or_else(PoisonError::into_inner);
            if work.is_empty() {
                return;
            }
            let done = work.done;
            let stuck = |work: &mut Work| work.done == done;
            let waited = self.changed.wait_timeout_while(work, PATIENCE, stuck);
            let (work, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            drop(work);
            if waited.timed_out() {
                self.help_while(done);
            }
        }
    }

    /// As long as the others have `done` no more than that: what they are at, and what waits.
    fn help_while(&self, done: u64) {
        let mut helped = 0;
        loop {
            let mut work = self.lock();
            let job = loop {
                if work.done != done || work.is_empty() {
                    return;
                }
                if let Some(job) = work.next(&mut helped) {
                    break job;
                }
                // There have to be more jobs, or fewer.
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            };
            drop(work);
            call(&job);
        }
    }
}

impl Work {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.begun.is_empty()
    }

    /// What was begun after that of this number, or else what waits.
    fn next(&mut self, helped: &mut u64) -> Option<Job> {
        match self.begun.iter().find(|(number, _)| number > helped) {
            Some((number, job)) => {
                *helped = *number;
                Some(Arc::clone(job))
            }
            None => self.waiting.pop_front(),
        }
    }
}

/// Whoever asked learns of a panic; the thread is for the others too.
fn call(job: &Job) {
    let _ = catch_unwind(AssertUnwindSafe(|| job()));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// A job that says its name when it is done. Whoever calls it first waits until it may go on.
    fn starving(name: &'static str, may: Receiver<()>, say: Sender<&'static str>) -> Job {
        let may = Mutex::new(Some(may));
        Arc::new(move || {
            let first = may.lock().unwrap().take();
            if let Some(may) = first {
                let _ = may.recv();
            }
            let _ = say.send(name);
        })
    }

    #[test]
    fn f20_what_others_do_not_get_done_is_done_by_the_thread_in_need() {
        let threads = Threads::start(1).unwrap();
        let (say, said) = channel();
        let (go_on, may) = channel();
        threads.push(starving("begun", may, say.clone()));
        // Nobody holds these up but the one before.
        for name in ["waiting", "behind it"] {
            threads.push(starving(name, channel().1, say.clone()));
        }
        let mut done: Vec<_> = (0..3).map(|_| said.recv_timeout(DEADLINE).unwrap()).collect();
        done.sort_unstable();
        assert_eq!(done, ["begun", "behind it", "waiting"]);
        // The thread that was held up is well again, and nothing is done a third time.
        go_on.send(()).unwrap();
        assert_eq!(said.recv_timeout(DEADLINE), Ok("begun"));
        threads.push(starving("after", channel().1, say));
        assert_eq!(said.recv_timeout(DEADLINE), Ok("after"));
        drop(threads);
        assert!(said.recv_timeout(DEADLINE).is_err(), "they have ended");
    }

    #[test]
    fn what_was_pushed_is_done_before_the_threads_end() {
        let (say, said) = channel();
        let threads = Threads::start(2).unwrap();
        for _ in 0..50 {
            threads.push(starving("done", channel().1, say.clone()));
        }
        drop((threads, say));
        assert!(said.iter().count() >= 50);
    }

    #[test]
    fn a_panic_ends_no_thread() {
        let threads = Threads::start(1).unwrap();
        threads.push(Arc::new(|| panic!("no memory")));
        let (say, said) = channel();
        threads.push(starving("after", channel().1, say));
        assert_eq!(said.recv_timeout(DEADLINE), Ok("after"));
    }
}
