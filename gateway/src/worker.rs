//! A worker: one thread that carries requests, and shares nothing on their way.
//!
//! It has a runtime, upstream connections, counters and a log batch of its own. The acceptor hands
//! it connections; everything that may block runs on the office.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::access_log::Batch;
use crate::connection::{Order, Peer, Watched};
use crate::deadline::{Deadlines, TICK};
use crate::gate::Shared;
use crate::metrics::WorkerMetrics;
use crate::serve::serve;
use crate::upstream::Pool;

/// What the acceptor and the gate tell a worker.
pub(crate) enum Message {
    /// A connection that the listener of this index accepted.
    Connection(std::net::TcpStream, SocketAddr, usize, Place),
    /// Finish what is under way, take nothing new; the worker ends when it has no connection.
    Drain,
    /// End now.
    Stop,
}

/// A place among the connections that there may be; it is free again when this is dropped.
pub(crate) type Place = tokio::sync::OwnedSemaphorePermit;

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
}

impl Worker {
    /// Runs on this thread until it is told to end. `id` tells it from every other worker, of
    /// this process and of others. If it `asks`, it looks after the health of the upstreams.
    pub(crate) fn run(
        gate: Arc<Shared>,
        metrics: Arc<WorkerMetrics>,
        id: u64,
        asks: bool,
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
                Pool::new(Arc::clone(upstream), Rc::clone(&deadlines), clock)
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
        self.deadlines.sweep();
        self.gate.log.send(std::mem::take(&mut self.log_batch.borrow_mut().lines));
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
        let Some(tls) = self.gate.tls.get(listener) else { return };
        let tls = tls.clone();
        let peer = Rc::new(Peer::new(address, tls.is_some(), listener, Rc::clone(&self.ticks)));
        let number = self.accepted.replace(self.accepted.get().wrapping_add(1));
        self.connections.borrow_mut().insert(number, Rc::clone(&peer));
        self.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _registered = Registered { worker: Rc::clone(&worker), number, _place: place };
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // Small answers must not wait for an acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            match tls {
                None => worker.carry_http1(stream, peer).await,
                Some(acceptor) => {
                    let limit = worker.gate.services.config.limits.header_time;
                    let handshake = tokio::time::timeout(limit, acceptor.accept(stream));
                    let Some(Ok(Ok(stream))) = unless_ending(handshake, &peer).await else {
                        return;
                    };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        worker.carry_http2(stream, peer).await;
                    } else {
                        worker.carry_http1(stream, peer).await;
                    }
                }
            }
        });
    }

    async fn carry_http1(
        self: Rc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: Rc<Peer>,
    ) {
        let limits = &self.gate.services.config.limits;
        let (worker, owner) = (Rc::clone(&self), Rc::clone(&peer));
        let service = service_fn(move |request: Request<Incoming>| {
            serve(Rc::clone(&worker), Rc::clone(&owner), request)
        });
        let connection = http1::Builder::new()
            // The sweep keeps the time.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes.max(8192))
            .max_headers(limits.header_count)
            .serve_connection(TokioIo::new(Watched::new(stream, Rc::clone(&peer))), service);
        drive(connection, &peer, http1::Connection::graceful_shutdown).await;
    }

    async fn carry_http2(
        self: Rc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: Rc<Peer>,
    ) {
        peer.set_multiplexed();
        let limits = &self.gate.services.config.limits;
        let (worker, owner) = (Rc::clone(&self), Rc::clone(&peer));
        let service = service_fn(move |request: Request<Incoming>| {
            serve(Rc::clone(&worker), Rc::clone(&owner), request)
        });
        let connection = http2::Builder::new(LocalTasks)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .serve_connection(TokioIo::new(Watched::new(stream, Rc::clone(&peer))), service);
        drive(connection, &peer, http2::Connection::graceful_shutdown).await;
    }
}

/// Drives a connection to its end, or to the end that its watch orders.
async fn drive<C: Future>(connection: C, peer: &Peer, graceful_shutdown: fn(Pin<&mut C>)) {
    let mut connection = pin!(connection);
    let mut draining = false;
    poll_fn(|cx| {
        match peer.watch.order(cx) {
            Order::Close => return Poll::Ready(()),
            Order::Drain if !draining => {
                draining = true;
                graceful_shutdown(connection.as_mut());
            }
            Order::Carry | Order::Drain => {}
        }
        // How a client ends its connection is its own affair.
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// The result of `work`, unless the connection is to end before it.
async fn unless_ending<F: Future>(work: F, peer: &Peer) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| match peer.watch.order(cx) {
        Order::Carry => work.as_mut().poll(cx).map(Some),
        Order::Close | Order::Drain => Poll::Ready(None),
    })
    .await
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
