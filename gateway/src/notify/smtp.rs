//! Mail by SMTP (RFC 5321), by `lettre`, over TLS that is ours.
//!
//! Nothing but a greeting, `EHLO` and `STARTTLS` is said in clear, and whatever the server says
//! together with its answer to `STARTTLS` ends the exchange: somebody between could have put it
//! there (RFC 3207 §4.2). The certificate is verified as all others are, by the system's
//! certificates or `ca_file`.
//!
//! Up to `DATA` a message is definitely not accepted; afterwards only the server's answer says.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use doorward_certs::tls;
use doorward_config::{Secret, Smtp, SmtpTls};
use doorward_plugins::notify::{Handover, Parcel, SendError, Sender};
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest answer that is read in clear.
const CLEAR_BYTES_MAX: usize = 8 * 1024;

/// How long a goodbye may take; nobody depends on it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Sends mail.
pub(super) struct SmtpSender {
    host: String,
    port: u16,
    tls: SmtpTls,
    credentials: Option<(String, Secret)>,
    from: Mailbox,
    /// What it calls itself.
    name: ClientId,
    /// What follows the `@` of message ids.
    domain: String,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    /// Read at the first mail.
    config: OnceCell<Arc<ClientConfig>>,
}

impl SmtpSender {
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn new(rules: &Smtp, public_host: &str) -> Result<Self, String> {
        let address = rules.from.parse().map_err(|error| format!("notify.smtp.from: {error}"))?;
        Ok(Self {
            host: rules.host.clone(),
            port: rules.port,
            tls: rules.tls,
            credentials: rules.credentials.clone(),
            from: Mailbox::new(rules.from_name.clone(), address),
            name: ClientId::Domain(public_host.to_owned()),
            domain: public_host.to_owned(),
            ca_file: rules.ca_file.clone(),
            timeout: rules.timeout,
            config: OnceCell::new(),
        })
    }

    /// The mail, with nothing of anybody's in its head but the address.
    fn mail(&self, parcel: &Parcel<'_>) -> Result<(Message, Mailbox), SendError> {
        let refused = |what: &str| SendError::Refused(format!("the {what} cannot be written"));
        let to = parcel.body.to.parse().map_err(|_| refused("address"))?;
        let to = Mailbox::new(None, to);
        // A subject of ours has no control characters; should one ever, lettre encodes it.
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.clone())
            .subject(&*parcel.body.subject)
            .date(UNIX_EPOCH + Duration::from_millis(parcel.at.0))
            .message_id(Some(format!("<{}@{}>", parcel.id, self.domain)))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(parcel.body.text.clone())
            .map_err(|_| refused("mail"))?;
        Ok((message, to))
    }

    /// A connection that is encrypted, to a server whose certificate was verified, and signed in.
    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let read = async || -> Result<_, SendError> {
            let config = tls::client_config(self.ca_file.as_ref(), None, false).map_err(later)?;
            let mut config = ClientConfig::clone(&config);
            // SMTP has no name there (RFC 7301), and a server may insist on knowing all.
            config.alpn_protocols.clear();
            Ok(Arc::new(config))
        };
        let config = self.config.get_or_try_init(read).await?;
        let name = ServerName::try_from(self.host.clone()).map_err(later)?;
        let mut tcp = TcpStream::connect((&*self.host, self.port)).await.map_err(later)?;
        let greeting = match self.tls {
            SmtpTls::Implicit => &b""[..],
            SmtpTls::StartTls => {
                start_tls(&mut tcp, &self.name).await?;
                // Said in clear, and here once more for lettre, which waits for it.
                b"220 ready\r\n"
            }
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, tcp).await.map_err(later)?;
        let stream = Box::new(Encrypted { greeting, stream });
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &self.name).await;
        let mut connection = connected.map_err(|error| not_accepted(&error))?;
        if let Some((user, password)) = &self.credentials {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let known = [Mechanism::Plain, Mechanism::Login];
            // A wrong password may be put right, and the mail then goes.
            connection.auth(&known, &credentials).await.map_err(|error| later(Coded(&error)))?;
        }
        Ok(connection)
    }

    /// Everything before the message itself.
    async fn prepare(&self, to: &Mailbox) -> Result<AsyncSmtpConnection, SendError> {
        let mut connection = self.connect().await?;
        let mut options = Vec::new();
        if !to.email.to_string().is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::Refused("the server takes no such address".into()));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        let from = Mail::new(Some(self.from.email.clone()), options);
        connection.command(from).await.map_err(|error| not_accepted(&error))?;
        connection
            .command(Rcpt::new(to.email.clone(), Vec::new()))
            .await
            .map_err(|error| not_accepted(&error))?;
        connection.command(Data).await.map_err(|error| not_accepted(&error))?;
        Ok(connection)
    }
}

#[async_trait]
impl Sender for SmtpSender {
    async fn send(&self, parcel: &Parcel<'_>, handover: &Handover<'_>) -> Result<(), SendError> {
        let (message, to) = self.mail(parcel)?;
        let prepared = timeout(self.timeout, self.prepare(&to)).await;
        let mut connection = prepared.map_err(|_| later("no answer in time"))??;
        handover.pass().await?;
        let answered = timeout(self.timeout, connection.message(&message.formatted())).await;
        let sent = match answered {
            Err(_) => Err(SendError::Unclear("no answer in time".into())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_transient() || error.is_permanent() => {
                Err(not_accepted(&error))
            }
            Ok(Err(error)) => Err(SendError::Unclear(Coded(&error).to_string())),
        };
        // The server has said what there was to say.
        let _ = timeout(GOODBYE, connection.quit()).await;
        sent
    }

    fn longest(&self) -> Duration {
        // Before and after the handover; the store is asked in between.
        self.timeout * 2 + GOODBYE
    }
}

/// Greeting, `EHLO`, `STARTTLS`, and not an octet more.
async fn start_tls(tcp: &mut TcpStream, name: &ClientId) -> Result<(), SendError> {
    answer(tcp, "220").await?;
    tcp.write_all(format!("EHLO {name}\r\n").as_bytes()).await.map_err(later)?;
    let offered = answer(tcp, "250").await?;
    let mut words = offered.lines().filter_map(|line| line.get(4..));
    if !words.any(|word| word.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(later("the server does not offer STARTTLS"));
    }
    tcp.write_all(b"STARTTLS\r\n").await.map_err(later)?;
    answer(tcp, "220").await.map(drop)
}

/// An answer in clear: its lines, the last of which has a space behind the code. Whatever follows it
/// was not asked for.
async fn answer(tcp: &mut TcpStream, code: &str) -> Result<String, SendError> {
    let mut octets = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&octets);
        let mut lines = text.split_inclusive('\n');
        let is_last = |line: &str| line.ends_with('\n') && line.as_bytes().get(3) != Some(&b'-');
        if lines.by_ref().any(is_last) {
            if lines.next().is_some() {
                return Err(later("the server says more than it was asked"));
            }
            let good = text.lines().all(|line| line.get(..3) == Some(code));
            return if good {
                Ok(text.into_owned())
            } else {
                Err(later("not this answer in clear"))
            };
        }
        if octets.len() > CLEAR_BYTES_MAX {
            return Err(later("the server says too much"));
        }
        if tcp.read_buf(&mut octets).await.map_err(later)? == 0 {
            return Err(later("the server hangs up"));
        }
    }
}

/// What happened before the message was given away.
fn later(error: impl Display) -> SendError {
    SendError::Later(error.to_string())
}

/// The server said no, or nothing, when it could not have accepted the message.
fn not_accepted(error: &SmtpError) -> SendError {
    let told = Coded(error).to_string();
    if error.is_permanent() { SendError::Refused(told) } else { SendError::Later(told) }
}

/// An error without the server's own words, which may repeat the message.
struct Coded<'a>(&'a SmtpError);

impl Display for Coded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.status() {
            Some(code) => write!(f, "the server answered {code}"),
            None if self.0.is_response() => f.write_str("the server's answer cannot be read"),
            None if self.0.is_client() => f.write_str("the server does not speak our language"),
            None => f.write_str("the connection failed"),
        }
    }
}

/// Says that no person wrote this, so that nobody's absence answers it (RFC 3834 §5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

/// A TLS stream, before which something may have to be read first.
#[derive(Debug)]
struct Encrypted {
    greeting: &'static [u8],
    stream: TlsStream<TcpStream>,
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let (now, rest) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.greeting = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.stream.get_ref().0.peer_addr()
    }
}
