//! Connecting to an upstream: TCP, TLS with verification, or a Unix-domain socket; and telling it
//! for whom (PROXY protocol).

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use doorward_certs::KeyFileError;
use doorward_certs::tls::{self, TlsIdentities};
use doorward_config::{Protocol, ProxyProtocol, Upstream as Rules, UpstreamAddress};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Announced;
use crate::proxy_protocol;

/// Makes connections to one address.
pub(super) struct Connector {
    place: Place,
    proxy_protocol: Option<ProxyProtocol>,
}

enum Place {
    Http(String, u16),
    Https(String, u16, Box<(TlsConnector, ServerName<'static>)>),
    Unix(PathBuf),
}

impl Connector {
    pub(super) fn new(
        address: &UpstreamAddress,
        rules: &Rules,
        own: Option<&Arc<TlsIdentities>>,
    ) -> Result<Self, KeyFileError> {
        let place = match address {
            UpstreamAddress::Http { host, port } => Place::Http(host.clone(), *port),
            UpstreamAddress::Unix(path) => Place::Unix(path.clone()),
            UpstreamAddress::Https { host, port, server_name } => {
                let name = ServerName::try_from(server_name.clone()).map_err(|_| {
                    KeyFileError::Content {
                        file: server_name.into(),
                        reason: "no certificate can have this name".into(),
                    }
                })?;
                let config = tls::client_config(
                    rules.ca_file.as_ref(),
                    own.cloned(),
                    rules.protocol == Protocol::Http2,
                )?;
                Place::Https(host.clone(), *port, Box::new((TlsConnector::from(config), name)))
            }
        };
        Ok(Self { place, proxy_protocol: rules.proxy_protocol })
    }

    /// The scheme of what is asked of it.
    pub(super) fn scheme(&self) -> &'static str {
        if matches!(self.place, Place::Https(..)) { "https" } else { "http" }
    }

    /// A new connection; the upstream is told for whom, or that it is for the gate itself. The
    /// caller bounds the time.
    pub(super) async fn connect(&self, announced: Option<Announced>) -> io::Result<UpstreamStream> {
        Ok(match &self.place {
            Place::Http(host, port) => {
                let mut stream = connect_tcp(host, *port).await?;
                self.announce(&mut stream, announced).await?;
                UpstreamStream::Tcp(stream)
            }
            Place::Https(host, port, tls) => {
                let (connector, name) = &**tls;
                let mut stream = connect_tcp(host, *port).await?;
                self.announce(&mut stream, announced).await?;
                let stream = connector.connect(name.clone(), stream).await?;
                UpstreamStream::Tls(Box::new(stream))
            }
            Place::Unix(path) => {
                let mut stream = UnixStream::connect(path).await?;
                self.announce(&mut stream, announced).await?;
                UpstreamStream::Unix(stream)
            }
        })
    }

    async fn announce(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        announced: Option<Announced>,
    ) -> io::Result<()> {
        match self.proxy_protocol {
            None => Ok(()),
            Some(version) => {
                stream.write_all(&proxy_protocol::announcement(version, announced)).await
            }
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The stream below a connection.
pub(crate) enum UpstreamStream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Hands a call to whichever stream there is.
macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            UpstreamStream::Tcp($stream) => $call,
            UpstreamStream::Tls($stream) => $call,
            UpstreamStream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
