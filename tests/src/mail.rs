//! A mail server that records what it gets, and does as told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use doorward_certs::tls::TlsIdentities;
use doorward_config::TlsFiles;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the server does.
#[derive(Clone, Debug)]
pub struct Manners {
    /// TLS from the first octet.
    pub implicit: bool,
    /// Does it offer STARTTLS?
    pub starttls: bool,
    /// What it says in clear together with its answer to STARTTLS.
    pub injected: &'static str,
    /// Its answer to a recipient.
    pub recipient: &'static str,
    /// Its answer to a message; none: it hangs up.
    pub message: &'static str,
    /// Does it stay silent from the greeting on?
    pub silent: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            implicit: false,
            starttls: true,
            injected: "",
            recipient: "250 ok",
            message: "250 queued",
            silent: false,
        }
    }
}

/// A recording mail server on loopback.
pub struct MailServer {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    manners: Mutex<Manners>,
    mails: Mutex<Vec<String>>,
    clear: Mutex<Vec<String>>,
    encrypted: Mutex<Vec<String>>,
    connections: Mutex<usize>,
    acceptor: TlsAcceptor,
}

impl MailServer {
    /// One that shows the certificate in these files.
    pub async fn start(files: TlsFiles, manners: Manners) -> Self {
        let identities = TlsIdentities::load(&[files]).unwrap();
        let time = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let config = identities.server_config(false, None, time).unwrap();
        let mut config = rustls::ServerConfig::clone(&config);
        config.alpn_protocols.clear();
        let shared = Arc::new(Shared {
            manners: Mutex::new(manners),
            mails: Mutex::default(),
            clear: Mutex::default(),
            encrypted: Mutex::default(),
            connections: Mutex::default(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, all) = (listener.local_addr().unwrap(), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *all.connections.lock().unwrap() += 1;
                tokio::spawn(serve(stream, Arc::clone(&all)));
            }
        });
        Self { address, shared, task }
    }

    /// Changes what it does from the next connection on.
    pub fn behave(&self, manners: Manners) {
        *self.shared.manners.lock().unwrap() = manners;
    }

    /// Every message that it was given whole, whatever it answered.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        self.shared.mails.lock().unwrap().clone()
    }

    /// Every line that it was told in clear.
    #[must_use]
    pub fn clear(&self) -> Vec<String> {
        self.shared.clear.lock().unwrap().clone()
    }

    /// Every command that it was told under TLS.
    #[must_use]
    pub fn encrypted(&self) -> Vec<String> {
        self.shared.encrypted.lock().unwrap().clone()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let manners = shared.manners.lock().unwrap().clone();
    if manners.implicit {
        let mut stream = shared.acceptor.accept(stream).await.ok()?;
        stream.write_all(b"220 mail ready\r\n").await.ok()?;
        return converse(stream, &shared, &manners).await;
    }
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail ready\r\n").await.ok()?;
    loop {
        let line = read_line(&mut stream).await?;
        shared.clear.lock().unwrap().push(line.clone());
        let answer = match line.as_str() {
            _ if manners.silent => continue,
            "STARTTLS" => break,
            line if line.starts_with("EHLO") && manners.starttls => {
                "250-mail\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
            }
            line if line.starts_with("EHLO") => "250-mail\r\n250 AUTH PLAIN\r\n",
            // It would take anything in clear.
            _ => "250 ok\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
    let answer = format!("220 go ahead\r\n{}", manners.injected);
    stream.write_all(answer.as_bytes()).await.ok()?;
    let stream = shared.acceptor.accept(stream.into_inner()).await.ok()?;
    converse(stream, &shared, &manners).await
}

/// What is said under TLS.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
    manners: &Manners,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let line = read_line(&mut stream).await?;
        shared.encrypted.lock().unwrap().push(line.clone());
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-mail\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
            "AUTH" => "235 welcome",
            "RCPT" => manners.recipient,
            "QUIT" => "221 bye",
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                let mut mail = String::new();
                loop {
                    match read_line(&mut stream).await?.as_str() {
                        "." => break,
                        line => mail += &format!("{line}\r\n"),
                    }
                }
                shared.mails.lock().unwrap().push(mail);
                if manners.message.is_empty() {
                    return None;
                }
                manners.message
            }
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
