//! What each listener shows of itself, and asks of its clients, before HTTP begins.
//!
//! Not here: how files are read and certificates verified (`certs`), and what a client's
//! certificate is worth (`plugins`).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use doorward_certs::clients::{ClientAuthorities, ClientCertificate};
use doorward_certs::tls::TlsIdentities;
use doorward_config::{GatewayConfig, Listener};
use doorward_plugins::Clock;
use doorward_plugins::audit::{Audit, Event, EventKind};
use rustls::ServerConnection;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio_rustls::TlsAcceptor;

use crate::gate::StartError;

/// How one listener takes connections.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// What it shows of itself.
    pub(crate) identities: Arc<TlsIdentities>,
    /// `None`: clients are not asked for a certificate.
    pub(crate) clients: Option<Arc<ClientAuthorities>>,
    listener: Listener,
    clock: Clock,
}

/// A handshake went through with a certificate that is not good (any more), or without one that is
/// demanded.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not good any more")]
pub(crate) struct Unproven;

impl From<Unproven> for io::Error {
    fn from(unproven: Unproven) -> Self {
        Self::other(unproven)
    }
}

/// Writes down that a client was sent away for its certificate, and why: its operator sees an alert
/// at most. Other ways in which handshakes fail are the affair of who made them.
pub(crate) fn note_refusal(audit: &Audit, error: &io::Error, address: IpAddr) {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    let cause = error.get_ref();
    let by_tls = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let is_about_certificate = cause.is_some_and(|cause| cause.is::<Unproven>())
        || matches!(by_tls, Some(InvalidCertificate(_) | NoCertificatesPresented));
    if is_about_certificate {
        let event = Event::new(EventKind::CertificateRefused).with("error", error);
        audit.record(&Event { address: Some(address.to_canonical().to_string()), ..event });
    }
}

/// How each listener takes connections, by its index; `None`: plain HTTP. One that is as it was
/// `before` goes on with what it has, so that sessions can be resumed. All files are read.
///
/// # Errors
/// [`StartError`] when something cannot be used.
pub(crate) fn open(
    config: &GatewayConfig,
    clock: &Clock,
    before: &[Option<Arc<Tls>>],
) -> Result<Vec<Option<Arc<Tls>>>, StartError> {
    let open = |listener: &Listener| {
        if listener.tls.is_empty() {
            return Ok(None);
        }
        let fresh = Arc::new(Tls::new(listener, clock)?);
        let known = before.iter().flatten().find(|known| known.listener == *listener);
        Ok(Some(known.map_or(fresh, Arc::clone)))
    };
    config.listeners.iter().map(open).collect()
}

impl Tls {
    /// Takes the connections of `listener` with its key material.
    ///
    /// # Errors
    /// [`StartError`] when a file cannot be used, or the cryptographic library has none of the
    /// protocol versions.
    fn new(listener: &Listener, clock: &Clock) -> Result<Self, StartError> {
        let time = Arc::new(WallTime(clock.clone()));
        let clients = listener.client_certificates.as_ref().map(ClientAuthorities::load);
        let (identities, clients) = (TlsIdentities::load(&listener.tls)?, clients.transpose()?);
        let config = identities
            .server_config(listener.http2, clients.as_ref(), time)
            .map_err(|error| StartError::Config(error.to_string()))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(config),
            identities,
            clients,
            listener: listener.clone(),
            clock: clock.clone(),
        })
    }

    /// The certificate that the client showed in this handshake, or in the one that it resumes.
    ///
    /// # Errors
    /// [`Unproven`]; the connection must not go on.
    pub(crate) fn client(
        &self,
        session: &ServerConnection,
    ) -> Result<Option<Arc<ClientCertificate>>, Unproven> {
        let Some(clients) = &self.clients else { return Ok(None) };
        match session.peer_certificates() {
            None | Some([]) if clients.is_required() => Err(Unproven),
            None | Some([]) => Ok(None),
            Some(chain) => {
                let now = self.clock.wall().secs();
                clients.identify(chain, now).map(Some).ok_or(Unproven)
            }
        }
    }
}

/// The gate's wall time, as the TLS library asks for it.
#[derive(Debug)]
struct WallTime(Clock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = std::time::Duration::from_millis(self.0.wall().0);
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}
