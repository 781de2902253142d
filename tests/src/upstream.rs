//! A console that records what it gets, octet by octet, and answers as told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

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
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let (recorded, reply): (_, Arc<Reply>) = (Arc::clone(&requests), Arc::new(reply));
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(
                    stream,
                    connection,
                    Arc::clone(&recorded),
                    Arc::clone(&reply),
                ));
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

async fn converse(
    mut stream: TcpStream,
    connection: usize,
    requests: Arc<Mutex<Vec<Recorded>>>,
    reply: Arc<Reply>,
) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
        let recorded = Recorded { head, body, connection };
        requests.lock().unwrap().push(recorded.clone());
        let Some(octets) = reply(&recorded) else { return };
        if stream.write_all(&octets).await.is_err() {
            return;
        }
        if recorded.field("x-test-close").is_some() {
            return;
        }
    }
}

/// Reads one message, leaving what follows it in `buffer`. `None` when the connection ends.
pub(crate) async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
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
    let body = if value("transfer-encoding").is_some() {
        read_chunks(stream, buffer).await?
    } else {
        let length = value("content-length").map_or(0, |length| length.parse().unwrap());
        read_exactly(stream, buffer, length).await?
    };
    Some((head, body))
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size =
            usize::from_str_radix(&read_line(stream, buffer).await?, 16).expect("a chunk size");
        if size == 0 {
            while !read_line(stream, buffer).await?.is_empty() {}
            return Some(body);
        }
        body.extend(read_exactly(stream, buffer, size).await?);
        read_line(stream, buffer).await?;
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..at + 2).collect();
            return Some(String::from_utf8(line[..at].to_vec()).unwrap());
        }
        more(stream, buffer).await?;
    }
}

async fn read_exactly(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> Option<Vec<u8>> {
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 16 * 1024];
    let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&chunk[..read]);
    Some(())
}
