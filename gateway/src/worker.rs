//! A worker: one thread that carries requests, and shares nothing on their way.
//!
//! It has a runtime, upstream connections, counters and a log batch of its own. The acceptor hands
//! it connections; everything that may block runs on the office.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::access_log::Batch;
use crate::connection::Peer;
use crate::deadline::{Deadlines, TICK};
use crate::entrance::enter;
use crate::gate::Shared;
use crate::listener::{Place, Places};
use crate::metrics::WorkerMetrics;
use crate::upstream::Pool;

/// So many client certificates are verified again in one tick of a worker, at most: when revocation
/// lists have changed, carrying must not wait for thousands.
const RECHECKS_MAX: usize = 16;

/// What the acceptor and the gate tell a worker.
pub(crate) enum Message {
    /// A connection that the listener of this index accepted.
    Connection(std::net::TcpStream, SocketAddr, usize, Place),
    /// Finish what is under way, take nothing new; the worker ends when it has no connection.
    Drain,
    /// End now.
    Stop,
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) gate: Arc<Shared>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) log_batch: RefCell<Batch>,
    pub(crate) pools: Vec<Rc<Pool>>,
    connections: RefCell<HashMap<u64, Rc<Peer>>>,
    ticks: Rc<Cell<u32>>,
    pub(crate) deadlines: Rc<Deadlines>,
    /// First half of request ids.
    id: u64,
    requests: Cell<u64>,
    accepted: Cell<u64>,
    pub(crate) places: Arc<Places>,
}

impl Worker {
    /// Runs on this thread until it is told to end. `id` tells it from every other worker, of
    /// this process and of others. If it `asks`, it looks after the health of the upstreams.
    pub(crate) fn run(
        gate: Arc<Shared>,
        metrics: Arc<WorkerMetrics>,
        id: u64,
        asks: bool,
        places: Arc<Places>,
        messages: UnboundedReceiver<Message>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())?;
        let ticks = Rc::new(Cell::new(0));
        let deadlines = Rc::new(Deadlines::new(Rc::clone(&ticks)));
        let pools = gate
            .upstreams
            .iter()
            .map(|upstream| {
                let clock = gate.services.clock.clone();
                let audit = Arc::clone(&gate.services.audit);
                Pool::new(Arc::clone(upstream), Rc::clone(&deadlines), clock, audit)
            })
            .collect();
        let worker = Rc::new(Self {
            gate,
            metrics,
            log_batch: RefCell::default(),
            pools,
            connections: RefCell::default(),
            ticks,
            deadlines,
            id,
            requests: Cell::new(0),
            accepted: Cell::new(0),
            places,
        });
        runtime.block_on(async move {
            if asks {
                worker.pools.iter().for_each(Pool::watch_health);
            }
            worker.work(messages).await;
        });
        Ok(())
    }

    async fn work(self: Rc<Self>, mut messages: UnboundedReceiver<Message>) {
        let mut tick = tokio::time::interval(TICK);
        let mut draining = false;
        while !(draining && self.connections.borrow().is_empty()) {
            tokio::select! {
                _ = tick.tick() => self.sweep(),
                message = messages.recv() => match message {
                    Some(Message::Connection(stream, address, listener, place)) => self.accept(stream, address, listener, place),
                    Some(Message::Drain) => {
                        draining = true;
                        self.connections.borrow().values().for_each(|peer| peer.watch.drain());
                    }
                    Some(Message::Stop) | None => break,
                },
            }
        }
        self.connections.borrow().values().for_each(|peer| peer.watch.doom());
        self.gate.log.send(std::mem::take(&mut self.log_batch.borrow_mut().lines));
    }

    fn sweep(&self) {
        self.ticks.set(self.ticks.get().wrapping_add(1));
        let limits = &self.gate.services.config.limits;
        self.connections.borrow().values().for_each(|peer| peer.watch.sweep(limits));
        self.pools.iter().for_each(|pool| pool.sweep());
        self.close_unproven();
        let services = &self.gate.services;
        let now = services.clock.now();
        self.deadlines.sweep(|session| !services.sessions.is_live(session, now, false));
        self.gate.log.send(std::mem::take(&mut self.log_batch.borrow_mut().lines));
    }

    /// Closes connections whose client certificate has expired or was revoked since the handshake.
    fn close_unproven(&self) {
        let now = self.gate.services.clock.wall().secs();
        let mut rechecks = RECHECKS_MAX;
        for peer in self.connections.borrow().values() {
            let Some(certificate) = peer.certificate.get() else { continue };
            let good = certificate.is_known_good(now).or_else(|| {
                rechecks = rechecks.checked_sub(1)?;
                Some(certificate.is_good(now))
            });
            // What is not known yet is looked at in the next tick.
            if good == Some(false) {
                peer.watch.doom();
            }
        }
    }

    /// A name for the next request.
    pub(crate) fn next_request(&self) -> (u64, u64) {
        self.requests.set(self.requests.get().wrapping_add(1));
        (self.id, self.requests.get())
    }

    fn accept(
        self: &Rc<Self>,
        stream: std::net::TcpStream,
        address: SocketAddr,
        listener: usize,
        place: Place,
    ) {
        let Ok(local) = stream.local_addr() else { return };
        let ticks = Rc::clone(&self.ticks);
        let tls = self.gate.tls.get(listener).is_some_and(Option::is_some);
        let peer = Rc::new(Peer::new(address, local, tls, listener, ticks));
        let number = self.accepted.replace(self.accepted.get().wrapping_add(1));
        self.connections.borrow_mut().insert(number, Rc::clone(&peer));
        self.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _registered = Registered { worker: Rc::clone(&worker), number, _place: place };
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // Small answers must not wait for an acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            enter(worker, stream, peer).await;
        });
    }
}

/// A connection is on the worker's list as long as this lives.
struct Registered {
    worker: Rc<Worker>,
    number: u64,
    _place: Place,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.number);
        self.worker.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the tasks of an HTTP/2 connection on the worker's own thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
