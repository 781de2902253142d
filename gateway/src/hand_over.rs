//! Listening sockets that outlive a process: from the one before to the one behind it, so that no
//! client meets a closed door.
//!
//! The new process asks the running one over its administration socket, and names a private socket
//! of its own, where the listening sockets are then passed (`SCM_RIGHTS`, unix(7)). From then on the
//! old one accepts nothing, finishes what it has, lets go of the store and ends; only then the new
//! one opens the store and accepts. Who comes meanwhile waits in the sockets' backlog.
//!
//! Bounds: [`SOCKETS_MAX`] sockets; the new process waits as long as the old one may take.

use std::fmt::Display;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::listener::bind;
use crate::private_socket::PrivateSocket;

/// The kernel passes no more than 253 at once (SCM_MAX_FD).
const SOCKETS_MAX: usize = 128;

/// How long the sockets may take once they were promised.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is told of the sockets fits into this.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Clients.
    Listener,
    /// Operators: health and metrics.
    Operations,
    /// Whoever the configuration lets listen at its address.
    Any,
}

impl Role {
    const ALL: [Self; 3] = [Self::Listener, Self::Operations, Self::Any];

    fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Operations => "operations",
            Self::Any => "any",
        }
    }
}

/// A listening socket, and where the configuration says that it listens.
pub(crate) struct Listening {
    pub(crate) role: Role,
    pub(crate) address: SocketAddr,
    pub(crate) socket: TcpListener,
}

/// Listening sockets that were there before this process.
#[derive(Default)]
pub struct Sockets {
    pub(crate) all: Vec<Listening>,
    /// How long the store may still be another process's.
    pub(crate) wait_for_store: Duration,
}

impl Sockets {
    /// The same ones, for another try.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let again = |one: &Listening| {
            Ok(Listening { role: one.role, address: one.address, socket: one.socket.try_clone()? })
        };
        let all = self.all.iter().map(again).collect::<io::Result<_>>()?;
        Ok(Self { all, wait_for_store: self.wait_for_store })
    }

    /// The one for this address, or else a new one.
    pub(crate) fn listen(&mut self, role: Role, address: SocketAddr) -> io::Result<TcpListener> {
        let fits =
            |one: &Listening| (one.role == role || one.role == Role::Any) && one.address == address;
        match self.all.iter().position(fits) {
            Some(index) => Ok(self.all.remove(index).socket),
            None => bind(address),
        }
    }
}

/// The sockets of a gate, for the gate behind it.
#[derive(Default)]
pub(crate) struct HandOver {
    sockets: Mutex<Vec<Listening>>,
    relieved: Notify,
}

impl HandOver {
    /// Keeps another one ready.
    pub(crate) fn keep(&self, role: Role, address: SocketAddr, of: &TcpListener) -> io::Result<()> {
        let socket = of.try_clone()?;
        self.lock().push(Listening { role, address, socket });
        Ok(())
    }

    /// Lets go of them: who comes from now on is not to wait for somebody who goes.
    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    /// Passes all of them to whoever listens at this Unix-domain socket, and asks this process to
    /// end. Blocks.
    ///
    /// # Errors
    /// When they could not be passed; this process goes on then.
    pub(crate) fn pass(&self, path: &Path) -> io::Result<()> {
        let sockets = self.lock();
        if sockets.is_empty() {
            return Err(io::Error::other("this gate ends already"));
        }
        let told: Vec<_> =
            sockets.iter().map(|one| (one.role.as_str(), one.address.to_string())).collect();
        let text = serde_json::to_vec(&told)?;
        if sockets.len() > SOCKETS_MAX || text.len() > TEXT_BYTES_MAX {
            return Err(io::Error::other("there are too many listeners to be passed at once"));
        }
        let descriptors: Vec<_> = sockets.iter().map(|one| one.socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let mut stream = UnixStream::connect(path)?;
        let sent = sendmsg(&stream, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        if sent != text.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        stream.shutdown(Shutdown::Write)?;
        // Only who says that it has them is there to take over.
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.read_exact(&mut [0])?;
        self.relieved.notify_one();
        Ok(())
    }

    /// Waits until another process has the sockets.
    pub(crate) async fn relieved(&self) {
        self.relieved.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listening>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a new process takes sockets.
pub(crate) struct Receiver {
    place: PrivateSocket,
    listener: UnixListener,
}

impl Receiver {
    /// Listens at this path, for this user only.
    pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
        let (place, listener) = PrivateSocket::bind(path).await?;
        Ok(Self { place, listener })
    }

    /// Takes what the old process passes, and tells it so.
    pub(crate) async fn take(&self) -> io::Result<Vec<Listening>> {
        let (stream, _) = tokio::time::timeout(DEADLINE, self.listener.accept()).await??;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let sockets = receive(&stream)?;
        (&stream).write_all(b"!")?;
        Ok(sockets)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.place.remove();
    }
}

fn receive(stream: &UnixStream) -> io::Result<Vec<Listening>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; TEXT_BYTES_MAX];
    let pieces = &mut [IoSliceMut::new(&mut text)];
    let received = recvmsg(stream, pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    text.truncate(received.bytes);
    stream.take(TEXT_BYTES_MAX as u64).read_to_end(&mut text)?;
    let told: Vec<(String, SocketAddr)> = serde_json::from_slice(&text)?;
    let broken = |what: &dyn Display| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
    if told.len() != descriptors.len() {
        return Err(broken(&format!("{} of {} sockets came", descriptors.len(), told.len())));
    }
    let listening = told.into_iter().zip(descriptors).map(|((name, address), descriptor)| {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == name);
        let role = role.ok_or_else(|| broken(&format!("a socket for {name:?}")))?;
        Ok(Listening { role, address, socket: TcpListener::from(descriptor) })
    });
    listening.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn o08_a_passed_socket_is_the_same_and_goes_on_accepting() {
        let folder =
            std::env::temp_dir().join(format!("doorward-hand-over-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("take-over");
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let hand_over = Arc::new(HandOver::default());
        let mut before = Sockets::default();
        let mut addresses = Vec::new();
        for role in [Role::Listener, Role::Operations] {
            let socket = before.listen(role, local).unwrap();
            addresses.push(socket.local_addr().unwrap());
            hand_over.keep(role, local, &socket).unwrap();
        }
        let receiver = Receiver::bind(&path).await.unwrap();
        let client = std::net::TcpStream::connect(addresses[0]).unwrap();
        let passing = Arc::clone(&hand_over);
        let to = path.clone();
        let passing = tokio::task::spawn_blocking(move || passing.pass(&to));
        let all = receiver.take().await.unwrap();
        passing.await.unwrap().unwrap();
        hand_over.relieved().await;
        hand_over.close();
        assert!(hand_over.pass(&path).is_err(), "there is nothing left to pass");
        let mut after = Sockets { all, ..Sockets::default() };
        // The same configured address: what it is for tells them apart.
        let operations = after.listen(Role::Operations, local).unwrap();
        let listener = after.listen(Role::Listener, local).unwrap();
        assert_eq!(
            [listener.local_addr().unwrap(), operations.local_addr().unwrap()],
            addresses[..]
        );
        listener.set_nonblocking(false).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap(), "who had come before");
        drop(receiver);
        assert!(!path.exists());
    }
}
