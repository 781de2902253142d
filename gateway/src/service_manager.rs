//! What a service manager (systemd) passes to the gate and is told by it: listening sockets
//! (sd_listen_fds(3)), and how far the gate is (sd_notify(3)). Without one, nothing of it happens.

use std::net::TcpListener;
use std::time::Duration;

use doorward_config::GatewayConfig;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::gate::StartError;
use crate::hand_over::{Listening, Role, Sockets};

/// How long a start may take once its servers are there, or a try to reach them.
const START_WITHIN: Duration = Duration::from_secs(90);

/// The sockets that the service manager listens at for this process. Changes the environment, so
/// it is called before anything else runs.
///
/// # Errors
/// [`StartError`] when one of them is of no use: its clients would wait for ever.
pub(crate) fn sockets(config: &GatewayConfig) -> Result<Sockets, StartError> {
    let failed = |error| StartError::Io("a socket of the service manager".into(), error);
    let mut passed = ListenFd::from_env();
    let mut all = Vec::new();
    for index in 0..passed.len() {
        let Some(socket) = passed.take_tcp_listener(index).map_err(failed)? else { continue };
        let address = TcpListener::local_addr(&socket).map_err(failed)?;
        let mut wanted = config.listeners.iter().map(|listener| listener.address);
        if !wanted.any(|wanted| wanted == address) && config.operations.address != address {
            return Err(StartError::Config(format!(
                "the service manager listens at {address}, and no listener has that address; \
                 write the same in both places"
            )));
        }
        socket.set_nonblocking(true).map_err(failed)?;
        all.push(Listening { role: Role::Any, address, socket });
    }
    Ok(Sockets { all, ..Sockets::default() })
}

/// The gate serves, by whatever configuration it was last given.
pub(crate) fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// The gate waits for this before it serves, and is given [`START_WITHIN`] from now on.
pub(crate) fn tell_awaited(what: &str) {
    let within = u32::try_from(START_WITHIN.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Status(what), NotifyState::ExtendTimeoutUsec(within)]);
}

/// The gate waits for nothing any more.
pub(crate) fn tell_begun() {
    tell(&[NotifyState::Status("")]);
}

/// The gate reads its configuration again.
pub(crate) fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The gate ends.
pub(crate) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(event = "service_manager_unreachable", %error);
    }
}
