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
use tokio::sync::{Notify, oneshot};

use crate::access_log::Batch;
use crate::connection::Peer;
use crate::deadline::{Deadlines, TICK};
use crate::entrance::enter;
use crate::listener::{Place, Places};
use crate::metrics::WorkerMetrics;
use crate::shared::Shared;
use crate::upstream::{Pool, Upstream};

/// So many client certificates are verified again in one tick of a worker, at most: when revocation
/// lists have changed, carrying must not wait for thousands.
const RECHECKS_MAX: usize = 16;

/// What the acceptor and the gate tell a worker.
pub(crate) enum Message {
    /// A connection that the listener of this index accepted.
    Connection(std::net::TcpStream, SocketAddr, usize, Place),
    /// Requests that begin from now on go by this; says so when it is so.
    Configuration(Arc<Shared>, oneshot::Sender<()>),
    /// Finish what is under way, take nothing new; the worker ends when it has no connection.
    Drain,
    /// End now.
    Stop,
}

/// One worker, by one configuration.
pub(crate) struct Worker {
    pub(crate) gate: Arc<Shared>,
    pub(crate) pools: Vec<Rc<Pool>>,
    pub(crate) thread: Rc<Thread>,
}

/// What a worker has under all configurations.
pub(crate) struct Thread {
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) log_batch: RefCell<Batch>,
    connections: RefCell<HashMap<u64, Rc<Peer>>>,
    ticks: Rc<Cell<u32>>,
    pub(crate) deadlines: Rc<Deadlines>,
    /// First half of request ids.
    id: u64,
    requests: Cell<u64>,
    accepted: Cell<u64>,
    pub(crate) places: Arc<Places>,
    /// It looks after the health of the upstreams, for all workers.
    asks: bool,
    /// A connection has ended.
    ended: Notify,
}

/// The worker by the configuration that holds now. A request asks once, when it begins.
#[derive(Clone)]
pub(crate) struct Current(Rc<RefCell<Rc<Worker>>>);

impl Current {
    pub(crate) fn worker(&self) -> Rc<Worker> {
        Rc::clone(&self.0.borrow())
    }
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
        let thread = Rc::new(Thread {
            metrics,
            log_batch: RefCell::default(),
            connections: RefCell::default(),
            ticks,
            deadlines,
            id,
            requests: Cell::new(0),
            accepted: Cell::new(0),
            places,
            asks,
            ended: Notify::new(),
        });
        runtime.block_on(async move {
            let worker = Self::by(gate, thread, &[]);
            Current(Rc::new(RefCell::new(worker))).work(messages).await;
        });
        Ok(())
    }

    /// The worker by this configuration. Connections to upstreams that are the same are those of
    /// `before`.
    fn by(gate: Arc<Shared>, thread: Rc<Thread>, before: &[Rc<Pool>]) -> Rc<Self> {
        let pool = |upstream: &Arc<Upstream>| {
            if let Some(known) = before.iter().find(|pool| pool.is_of(upstream)) {
                return Rc::clone(known);
            }
            let clock = gate.services.clock.clone();
            let audit = Arc::clone(&gate.services.audit);
            let pool = Pool::new(Arc::clone(upstream), Rc::clone(&thread.deadlines), clock, audit);
            if thread.asks {
                pool.watch_health();
            }
            pool
        };
        let pools = gate.upstreams.iter().map(pool).collect();
        Rc::new(Self { gate, pools, thread })
    }

    fn sweep(&self) {
        let thread = &self.thread;
        thread.ticks.set(thread.ticks.get().wrapping_add(1));
        let limits = &self.gate.services.config.limits;
        thread.connections.borrow().values().for_each(|peer| peer.watch.sweep(limits));
        self.pools.iter().for_each(|pool| pool.sweep());
        self.close_unproven();
        let services = &self.gate.services;
        let now = services.clock.now();
        thread.deadlines.sweep(|session| !services.sessions.is_live(session, now, false));
        self.write_log();
    }

    /// Closes connections whose client certificate has expired or was revoked since the handshake.
    fn close_unproven(&self) {
        let now = self.gate.services.clock.wall().secs();
        let mut rechecks = RECHECKS_MAX;
        for peer in self.thread.connections.borrow().values() {
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
        let thread = &self.thread;
        thread.requests.set(thread.requests.get().wrapping_add(1));
        (thread.id, thread.requests.get())
    }

    fn write_log(&self) {
        self.gate.log.send(std::mem::take(&mut self.thread.log_batch.borrow_mut().lines));
    }
}

impl Current {
    async fn work(self, mut messages: UnboundedReceiver<Message>) {
        let thread = Rc::clone(&self.worker().thread);
        let mut tick = tokio::time::interval(TICK);
        let mut draining = false;
        while !(draining && thread.connections.borrow().is_empty()) {
            tokio::select! {
                _ = tick.tick() => self.worker().sweep(),
                // Who takes the place of this gate waits for the last one.
                () = thread.ended.notified(), if draining => {}
                message = messages.recv() => match message {
                    Some(Message::Connection(stream, address, listener, place)) => self.accept(stream, address, listener, place),
                    Some(Message::Configuration(gate, done)) => {
                        self.follow(gate);
                        // Who does not wait any more need not know.
                        let _ = done.send(());
                    }
                    Some(Message::Drain) => {
                        draining = true;
                        thread.connections.borrow().values().for_each(|peer| peer.watch.drain());
                    }
                    Some(Message::Stop) | None => break,
                },
            }
        }
        thread.connections.borrow().values().for_each(|peer| peer.watch.doom());
        self.worker().write_log();
    }

    /// Goes by another configuration. What is under way ends by the one that it began with.
    /// Connections that began by other rules of their listener end after what they carry: they may
    /// have shown a certificate, or none, to rules that hold no more.
    fn follow(&self, gate: Arc<Shared>) {
        let before = self.worker();
        let worker = Worker::by(gate, Rc::clone(&before.thread), &before.pools);
        for peer in before.thread.connections.borrow().values() {
            if peer.listener(&before.gate.services.config)
                != peer.listener(&worker.gate.services.config)
            {
                peer.watch.drain();
            }
        }
        self.0.replace(worker);
    }

    fn accept(
        &self,
        stream: std::net::TcpStream,
        address: SocketAddr,
        listener: usize,
        place: Place,
    ) {
        let Ok(local) = stream.local_addr() else { return };
        let worker = self.worker();
        let thread = Rc::clone(&worker.thread);
        let tls = worker.gate.tls.get(listener).is_some_and(Option::is_some);
        let peer = Rc::new(Peer::new(address, local, tls, listener, Rc::clone(&thread.ticks)));
        let number = thread.accepted.replace(thread.accepted.get().wrapping_add(1));
        thread.connections.borrow_mut().insert(number, Rc::clone(&peer));
        thread.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let current = self.clone();
        tokio::task::spawn_local(async move {
            let _registered = Registered { thread, number, _place: place };
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // Small answers must not wait for an acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            enter(current, stream, peer).await;
        });
    }
}

/// A connection is on the worker's list as long as this lives.
struct Registered {
    thread: Rc<Thread>,
    number: u64,
    _place: Place,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.thread.connections.borrow_mut().remove(&self.number);
        self.thread.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        self.thread.ended.notify_one();
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
