//! A console that records what it gets, octet by octet, and answers as told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use doorward_certs::tls::TlsIdentities;
use doorward_config::TlsFiles;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The plain answer: it closes nothing and says little.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The head as it was sent, up to and with the empty line.
    pub head: String,
    /// The body, with chunk framing undone.
    pub body: Vec<u8>,
    /// The lines that followed the last chunk.
    pub trailers: Vec<String>,
    /// Which of the upstream's connections it came on, from 0.
    pub connection: usize,
}

impl Recorded {
    /// Method and target: `GET /a?b`.
    #[must_use]
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap()
    }

    /// All values of a field, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The only value of a field; `None` if there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands {} times in\n{}", all.len(), self.head);
        all.first().copied()
    }
}

/// What the upstream does with a request: gives the octets to send, `None` to close at once.
type Reply = dyn Fn(&Recorded) -> Option<Vec<u8>> + Send + Sync;

/// A recording console on loopback.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// One that answers everything with a plain 200.
    pub async fn start() -> Self {
        Self::replying(|_| Some(ANSWER.to_vec())).await
    }

    /// One that answers with these octets, whatever is asked.
    pub async fn answering(octets: &'static [u8]) -> Self {
        Self::replying(move |_| Some(octets.to_vec())).await
    }

    /// One that answers as `reply` says.
    pub async fn replying(
        reply: impl Fn(&Recorded) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (talk, address) = (Talk::new(reply), listener.local_addr().unwrap());
        let requests = Arc::clone(&talk.requests);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, connection, talk.clone()));
            }
        });
        Self { address, requests, task }
    }

    /// One that listens at a Unix-domain socket, which has no address, with a plain 200.
    pub async fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let talk = Talk::new(|_| Some(ANSWER.to_vec()));
        let requests = Arc::clone(&talk.requests);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, connection, talk.clone()));
            }
        });
        Self { address: SocketAddr::from(([0, 0, 0, 0], 0)), requests, task }
    }

    /// One that shows the certificate in these files, with a plain 200.
    pub async fn tls(files: TlsFiles) -> Self {
        let identities = TlsIdentities::load(&[files]).unwrap();
        let acceptor = TlsAcceptor::from(
            identities
                .server_config(false, None, Arc::new(rustls::time_provider::DefaultTimeProvider))
                .unwrap(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let talk = Talk::new(|_| Some(ANSWER.to_vec()));
        let (requests, address) = (Arc::clone(&talk.requests), listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, talk) = (acceptor.clone(), talk.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate goes away.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    converse(stream, connection, talk).await;
                });
            }
        });
        Self { address, requests, task }
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests there were so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The latest request.
    #[must_use]
    pub fn last(&self) -> Recorded {
        self.requests().pop().expect("the upstream got no request")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all connections of an upstream share.
#[derive(Clone)]
struct Talk {
    requests: Arc<Mutex<Vec<Recorded>>>,
    reply: Arc<Reply>,
}

impl Talk {
    fn new(reply: impl Fn(&Recorded) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { requests: Arc::default(), reply: Arc::new(reply) }
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, talk: Talk) {
    let mut buffer = Vec::new();
    while let Some((head, body, trailers)) = read_request(&mut stream, &mut buffer).await {
        let recorded = Recorded { head, body, trailers, connection };
        talk.requests.lock().unwrap().push(recorded.clone());
        let Some(octets) = (talk.reply)(&recorded) else { return };
        if stream.write_all(&octets).await.is_err() {
            return;
        }
        if recorded.field("x-test-close").is_some() {
            return;
        }
    }
}

/// Reads one message, leaving what follows it in `buffer`: head, body, trailers. `None` when the
/// connection ends.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<(String, Vec<u8>, Vec<String>)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let head = head.iter().map(|byte| char::from(*byte)).collect::<String>();
    let value = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    if value("transfer-encoding").is_some() {
        let (body, trailers) = read_chunks(stream, buffer).await?;
        return Some((head, body, trailers));
    }
    let length = value("content-length").map_or(0, |length| length.parse().unwrap());
    let body = read_exactly(stream, buffer, length).await?;
    Some((head, body, Vec::new()))
}

async fn read_chunks(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<(Vec<u8>, Vec<String>)> {
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    loop {
        let size =
            usize::from_str_radix(&read_line(stream, buffer).await?, 16).expect("a chunk size");
        if size == 0 {
            loop {
                match read_line(stream, buffer).await? {
                    line if line.is_empty() => return Some((body, trailers)),
                    line => trailers.push(line),
                }
            }
        }
        body.extend(read_exactly(stream, buffer, size).await?);
        read_line(stream, buffer).await?;
    }
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..at + 2).collect();
            return Some(String::from_utf8(line[..at].to_vec()).unwrap());
        }
        more(stream, buffer).await?;
    }
}

async fn read_exactly(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    length: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

async fn more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    buffer.reserve(16 * 1024);
    stream.read_buf(buffer).await.ok().filter(|read| *read > 0)?;
    Some(())
}
