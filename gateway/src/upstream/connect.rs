//! Connecting to an upstream: TCP, TLS with verification, or a Unix-domain socket.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use doorward_certs::{KeyFileError, tls};
use doorward_config::{Upstream as Rules, UpstreamAddress};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::Link;

/// Makes connections to one upstream.
pub(super) enum Connector {
    Http(String, u16),
    Https(String, u16, Box<(TlsConnector, ServerName<'static>)>),
    Unix(PathBuf),
}

impl Connector {
    pub(super) fn new(rules: &Rules) -> Result<Self, KeyFileError> {
        Ok(match &rules.address {
            UpstreamAddress::Http { host, port } => Self::Http(host.clone(), *port),
            UpstreamAddress::Unix(path) => Self::Unix(path.clone()),
            UpstreamAddress::Https { host, port, server_name } => {
                let name = ServerName::try_from(server_name.clone()).map_err(|_| {
                    KeyFileError::Content {
                        file: server_name.into(),
                        reason: "no certificate can have this name".into(),
                    }
                })?;
                let connector = TlsConnector::from(tls::client_config(rules.ca_file.as_ref())?);
                Self::Https(host.clone(), *port, Box::new((connector, name)))
            }
        })
    }

    /// A new connection. The caller bounds the time.
    pub(super) async fn connect(&self) -> io::Result<Link> {
        let stream = match self {
            Self::Http(host, port) => UpstreamStream::Tcp(connect_tcp(host, *port).await?),
            Self::Https(host, port, tls) => {
                let (connector, name) = &**tls;
                let stream =
                    connector.connect(name.clone(), connect_tcp(host, *port).await?).await?;
                UpstreamStream::Tls(Box::new(stream))
            }
            Self::Unix(path) => UpstreamStream::Unix(UnixStream::connect(path).await?),
        };
        Link::new(stream).await.map_err(io::Error::other)
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The stream below a connection.
pub(super) enum UpstreamStream {
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
