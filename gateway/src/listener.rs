//! Room 1, the accepting half: connections come in and are handed to workers.
//!
//! The acceptor runs on the office. It gives each connection to the worker that has fewest, and
//! closes those beyond the limit at once. A shortage of file descriptors is waited out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

use crate::metrics::WorkerMetrics;
use crate::worker::Message;

/// Connections that the kernel keeps while nobody accepts.
const BACKLOG: i32 = 4096;

/// How long to wait when accepting fails for want of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Opens a listening socket.
///
/// # Errors
/// When the address is taken, or not this machine's.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Hands connections to workers.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) workers: Vec<(UnboundedSender<Message>, Arc<WorkerMetrics>)>,
    pub(crate) places: Arc<Semaphore>,
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
        // Beyond the limit: dropping the stream closes it.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
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

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
