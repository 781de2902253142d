//! Calls to services of somebody else's: one connection each, verified, bounded in time and size.
//!
//! Redirects are not followed and no proxy is used, so what is sent goes where the configuration
//! says and nowhere else. For seldom calls of the office; workers have `upstream`.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use doorward_certs::tls;
use doorward_config::{ServiceUrl, UpstreamAddress};
use doorward_plugins::Services;
use doorward_plugins::outgoing::{Call, Method, Outgoing, OutgoingError};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Calls that may be under way at once; a service that hangs holds no more.
const CALLS_MAX: usize = 64;

/// Calls services.
pub(crate) struct HttpsClient {
    /// Whom they are verified with, if not with the system's certificates.
    ca_file: Option<PathBuf>,
    /// Read at the first call: the system has many certificates, and most gates call nobody.
    tls: OnceCell<Arc<ClientConfig>>,
    places: Semaphore,
}

impl HttpsClient {
    pub(crate) fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, tls: OnceCell::new(), places: Semaphore::new(CALLS_MAX) }
    }

    /// Lets the rules for new passwords ask the service that the configuration names.
    pub(crate) fn serve(services: &Services) {
        if let Some(api) = &services.config.accounts.breach_api {
            services.password_rules.connect(Arc::new(Self::new(api.ca_file.clone())));
        }
    }

    async fn connect(&self, url: &ServiceUrl) -> Result<Box<dyn Stream>, OutgoingError> {
        let tcp = |host: &str, port| {
            let place = (host.to_owned(), port);
            async move { TcpStream::connect(place).await.map_err(unreachable) }
        };
        match &url.address {
            UpstreamAddress::Http { host, port } => Ok(Box::new(tcp(host, *port).await?)),
            UpstreamAddress::Https { host, port, server_name } => {
                let read = async || tls::client_config(self.ca_file.as_ref(), None, false);
                let config = self.tls.get_or_try_init(read).await.map_err(unreachable)?;
                let name = ServerName::try_from(server_name.clone()).map_err(unreachable)?;
                let stream = tcp(host, *port).await?;
                let connector = TlsConnector::from(Arc::clone(config));
                Ok(Box::new(connector.connect(name, stream).await.map_err(unreachable)?))
            }
            UpstreamAddress::Unix(_) => Err(unreachable("not a service")),
        }
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Bytes, OutgoingError> {
        let (request, body) = match &call.method {
            Method::Get { field: (name, value) } => {
                (Request::get(&call.url.path).header(*name, *value), Bytes::new())
            }
            Method::Post { content_type, fields, body } => {
                let request = Request::post(&call.url.path)
                    .header(CONTENT_TYPE, *content_type)
                    .header(ACCEPT, "application/json");
                let request = fields
                    .iter()
                    .fold(request, |request, (name, value)| request.header(*name, value));
                (request, Bytes::from(body.expose().to_owned()))
            }
        };
        let answer = self.send(call.url, request, body, call.answer_bytes_max).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(OutgoingError::Status(status.as_u16())),
        }
    }

    /// Sends a request to a service and gives its answer, whatever that is. As long as it takes.
    pub(crate) async fn send(
        &self,
        url: &ServiceUrl,
        request: http::request::Builder,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<Response<Bytes>, OutgoingError> {
        let stream = self.connect(url).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // Ends with this call, however it ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = request
            .header(HOST, url.address.authority())
            .header(USER_AGENT, concat!("doorward/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(unreachable)?;
        let unreadable = |error: Box<dyn Error + Send + Sync>| OutgoingError::Answer(error);
        let answer =
            sender.send_request(request).await.map_err(|error| unreadable(error.into()))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await.map_err(unreadable)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

#[async_trait]
impl Outgoing for HttpsClient {
    async fn ask(&self, call: Call<'_>) -> Result<Bytes, OutgoingError> {
        let _place = self.places.try_acquire().map_err(|_| OutgoingError::Busy)?;
        let exchange = self.exchange(&call);
        tokio::time::timeout(call.timeout, exchange).await.unwrap_or(Err(OutgoingError::Timeout))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn unreachable(error: impl Into<Box<dyn Error + Send + Sync>>) -> OutgoingError {
    OutgoingError::Connect(error.into())
}
