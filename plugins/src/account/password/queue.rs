//! The queue in front of the threads that hash: so many places, so many of them for one client.
//!
//! Not here: which thread does what when (`threads`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::HashError;
use super::threads::{Job, Threads};
use crate::network;

/// Threads that hash, and who waits for them.
pub(super) struct Queue {
    /// Places in the queue, those being hashed included.
    pub(super) places: Arc<Semaphore>,
    size: usize,
    shares: Arc<Shares>,
    /// Each job that waits here has a place.
    threads: Threads,
}

/// A place in the queue. It is free again when the work is done, even if nobody waits for it.
#[must_use]
pub struct Place {
    _share: Option<Share>,
    _permit: OwnedSemaphorePermit,
}

/// How many places each client has. No more clients than places.
#[derive(Debug)]
struct Shares {
    taken: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

/// One place of a client.
struct Share {
    shares: Arc<Shares>,
    client: IpAddr,
}

impl Shares {
    fn take(self: &Arc<Self>, client: IpAddr) -> Result<Share, HashError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_insert(0);
        if *count >= self.max {
            return Err(HashError::Busy);
        }
        *count += 1;
        Ok(Share { shares: Arc::clone(self), client })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

impl Queue {
    /// Starts the threads: as many as are wanted, but half of the cores are for others.
    pub(super) fn start(threads: usize, waiting: usize) -> std::io::Result<Self> {
        let threads = threads_of(threads);
        let places = waiting + threads;
        Ok(Self {
            places: Arc::new(Semaphore::new(places)),
            size: places,
            shares: Arc::new(Shares { taken: Mutex::default(), max: places.div_ceil(4).max(2) }),
            threads: Threads::start(threads)?,
        })
    }

    /// A place for one password of this client.
    pub(super) fn place(&self, client: Option<IpAddr>) -> Result<Place, HashError> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| HashError::Busy)?;
        let share = client.map(|client| self.shares.take(network::client(client))).transpose()?;
        Ok(Place { _share: share, _permit: permit })
    }

    /// Is there no place?
    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// How many places are taken, those being hashed included.
    pub(super) fn taken(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    /// Has a thread do it.
    pub(super) fn push(&self, job: Job) {
        self.threads.push(job);
    }
}

fn threads_of(wanted: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    wanted.min(cores / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cores_are_for_others() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!((threads_of(1), threads_of(usize::MAX)), (1, (cores / 2).max(1)));
    }

    #[test]
    fn f20_one_client_does_not_keep_all_others_out() {
        let queue = Queue::start(1, 7).unwrap();
        let address = |text: &str| Some(text.parse().unwrap());
        let held = ["2001:db8::1", "2001:db8::2"].map(|one| queue.place(address(one)).unwrap());
        assert_eq!(queue.place(address("2001:db8::3")).err(), Some(HashError::Busy));
        assert!(queue.place(address("192.0.2.1")).is_ok());
        drop(held);
        assert!(queue.place(address("2001:db8::3")).is_ok());
        assert!(queue.shares.taken.lock().unwrap().is_empty());
    }
}
