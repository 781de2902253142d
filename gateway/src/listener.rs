//! Room 1, the accepting half: connections come in and are handed to workers.
//!
//! The acceptor runs on the office. It gives each connection to the worker that has fewest. Those
//! beyond a limit are closed at once, and told why where no TLS is in the way. A shortage of file
//! descriptors is waited out.
//!
//! Bounds: as many connections in all, and of one address, as the configuration says.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_config::{Limits, Listener};
use doorward_plugins::network;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;

use crate::forwarded::is_trusted;
use crate::metrics::WorkerMetrics;
use crate::shared::Shared;
use crate::worker::Message;

/// Connections that the kernel keeps while nobody accepts.
const BACKLOG: i32 = 4096;

/// How long to wait when accepting fails for want of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Opens a listening socket.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The connections that there may be.
pub(crate) struct Places {
    taken: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    max: AtomicUsize,
    of_address_max: AtomicUsize,
}

/// A place among the connections that there may be; it is free again when this is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    _of_address: Option<AddressPlace>,
}

/// A place among the connections of one address.
pub(crate) struct AddressPlace(Arc<Places>, IpAddr);

impl Places {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            by_address: Mutex::default(),
            max: AtomicUsize::new(limits.connections),
            of_address_max: AtomicUsize::new(limits.connections_per_address),
        })
    }

    /// There may be so many from now on. Those that there are stay.
    pub(crate) fn follow(&self, limits: &Limits) {
        self.max.store(limits.connections, Ordering::Relaxed);
        self.of_address_max.store(limits.connections_per_address, Ordering::Relaxed);
    }

    /// A place for a connection, of whatever address.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let max = self.max.load(Ordering::Relaxed);
        let more = |taken| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { places: Arc::clone(self), _of_address: None })
    }

    /// A place for a connection of this address. A trusted proxy's are those of many.
    pub(crate) fn of_address(
        self: &Arc<Self>,
        address: IpAddr,
        trusted: &[IpNet],
    ) -> Option<AddressPlace> {
        let key = if is_trusted(address, trusted) {
            IpAddr::V4(PROXIES)
        } else {
            network::client(address)
        };
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        if *count >= self.of_address_max.load(Ordering::Relaxed) && key != IpAddr::V4(PROXIES) {
            return None;
        }
        *count += 1;
        Some(AddressPlace(Arc::clone(self), key))
    }
}

/// Stands for all trusted proxies, which have no limit of their own.
const PROXIES: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.1) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Hands connections to workers.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) workers: Vec<(UnboundedSender<Message>, Arc<WorkerMetrics>)>,
    pub(crate) places: Arc<Places>,
    pub(crate) current: Arc<ArcSwap<Shared>>,
}

impl Acceptor {
    /// Accepts at the listener of this index until the task is dropped.
    pub(crate) async fn run(self, listener: TcpListener, index: usize) {
        let mut is_short = false;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    is_short = false;
                    self.hand_over(stream, address, index);
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    // Once a spell: a log that grows by itself is the next shortage.
                    if !std::mem::replace(&mut is_short, true) {
                        tracing::warn!(event = "accept_failed", %error);
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    fn hand_over(&self, stream: tokio::net::TcpStream, address: SocketAddr, index: usize) {
        let gate = self.current.load();
        let Some(listener) = gate.services.config.listeners.get(index) else { return };
        let Some(mut place) = self.places.take() else {
            return turn_away(&stream, listener, "503 Service Unavailable", "busy");
        };
        // Behind the PROXY protocol the client is not known yet.
        place._of_address = match listener.proxy_protocol {
            true => None,
            false => match self.places.of_address(address.ip(), &listener.trusted_proxies) {
                Some(place) => Some(place),
                None => {
                    let status = "429 Too Many Requests";
                    return turn_away(&stream, listener, status, "too-many-connections");
                }
            },
        };
        let fewest = self
            .workers
            .iter()
            .min_by_key(|(_, metrics)| metrics.connections.load(Ordering::Relaxed));
        if let (Some((worker, _)), Ok(stream)) = (fewest, stream.into_std()) {
            // A worker that is gone takes its connections with it.
            let _ = worker.send(Message::Connection(stream, address, index, place));
        }
    }
}

/// Tells a client that it is one too many, as far as that costs nothing, and closes.
fn turn_away(stream: &tokio::net::TcpStream, listener: &Listener, status: &str, slug: &str) {
    if !listener.tls.is_empty() || listener.proxy_protocol {
        return;
    }
    let (code, title) = status.split_once(' ').unwrap_or_default();
    let body = format!(
        "{{\"type\":\"urn:doorward:problem:{slug}\",\"title\":\"{title}\",\"status\":{code}}}"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         cache-control: no-store\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // It fits into the empty buffer of a fresh socket, or the client hears nothing.
    let _ = stream.try_write(answer.as_bytes());
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
