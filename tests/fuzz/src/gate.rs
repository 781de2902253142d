//! The whole chain: of any octets that a stranger sends on one connection, the console gets at most
//! the requests that were judged.
//!
//! A real gate in this process, with one public route and nobody signed in, in front of a console
//! that reads strictly. Each input comes from a loopback address of its own, by which the console
//! knows what it may get, however late it comes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward::Gate;
use doorward::log::LogSink;
use doorward_config::GatewayConfig;
use doorward_plugins::Clock;
use doorward_tests::{PUBLIC_HOST, START, Scratch};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};

use super::cookie;
use super::strict::{self, End, Message, Stream};

/// What the gate lets in by default, and more than it sends on.
const LIMITS: strict::Limits = strict::Limits { head: 64 << 10, fields: 200, target: 8 << 10 };

/// What was answered after this time will not be answered.
const PATIENCE: Duration = Duration::from_secs(15);

/// Inputs whose requests may still come.
const REMEMBERED: u32 = 256;

/// The gate and its console.
pub struct Rig {
    client: Runtime,
    console: Runtime,
    record: Arc<Mutex<Record>>,
    address: SocketAddr,
    gate: Option<Gate>,
    inputs: u32,
    _scratch: Scratch,
}

/// Method, target and body of a request.
type Sent = (String, Vec<u8>, Vec<u8>);

/// What the console may get, and what was wrong with what it got.
#[derive(Default)]
struct Record {
    /// By address of the client: the requests that were not seen yet.
    expected: HashMap<IpAddr, Vec<Sent>>,
    wrong: Vec<String>,
}

impl Rig {
    /// Starts both.
    pub fn start() -> Self {
        let console = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let record = Arc::<Mutex<Record>>::default();
        let listener = console.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let upstream = listener.local_addr().unwrap();
        let its_record = Arc::clone(&record);
        console.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(stream, Arc::clone(&its_record)));
            }
        });
        let scratch = Scratch::new();
        let text = format!(
            "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.console]\naddress = \"http://{upstream}\"\n[store]\npath = \"doorward.db\"\n\
             [operations]\naddress = \"127.0.0.1:0\"\n\
             [[route]]\npath = \"/public/**\"\naccess = \"public\"\nupgrade = [\"websocket\"]\n"
        );
        let config = GatewayConfig::parse(&text, scratch.path()).unwrap();
        let log = LogSink::new(io::sink()).unwrap();
        let gate = Gate::start(config, Clock::manual(START), log).unwrap();
        let client = Builder::new_current_thread().enable_all().build().unwrap();
        let address = gate.addresses()[0];
        Self { client, console, record, address, gate: Some(gate), inputs: 0, _scratch: scratch }
    }

    /// Sends the octets, and holds what the console got and the client got against what a strict
    /// reader makes of them.
    pub fn check(&mut self, octets: &[u8]) {
        let sent = strict::read(octets, LIMITS);
        let own = self.next_address();
        self.record.lock().unwrap().expected.insert(own, expected(&sent));
        let answer = self.client.block_on(exchange(own, self.address, octets));
        let answer = answer.unwrap_or_else(|| panic!("no end of {}", octets.escape_ascii()));
        let record = self.record.lock().unwrap();
        assert_eq!(record.wrong, Vec::<String>::new(), "after {}", octets.escape_ascii());
        drop(record);
        let answers = count_answers(&answer);
        // A head that is none, or breaks off, may be answered too.
        let broken = matches!(sent.end, End::Refused | End::InHead);
        let heads = sent.messages.len() + usize::from(broken);
        assert!(answers <= heads, "{answers} answers to {heads}: {}", answer.escape_ascii());
        // Who sends what everybody can read is answered.
        let silent = sent.end == End::Clean && heads > 0 && answers == 0;
        assert!(!silent, "no answer to {}", octets.escape_ascii());
    }

    fn next_address(&mut self) -> IpAddr {
        let address = |number: u32| {
            let [_, b, c, d] = number.to_be_bytes();
            IpAddr::from(Ipv4Addr::new(127, 1 + b % 250, c, d))
        };
        self.inputs += 1;
        let mut record = self.record.lock().unwrap();
        record.expected.remove(&address(self.inputs.wrapping_sub(REMEMBERED)));
        address(self.inputs)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.shut_down();
        }
        // What it has recorded is known; its tasks go with it.
        let idle = Builder::new_current_thread().build().unwrap();
        std::mem::replace(&mut self.console, idle).shutdown_background();
    }
}

/// What may arrive of what was sent: whole requests, by path and query.
fn expected(sent: &Stream<'_>) -> Vec<Sent> {
    let whole = sent.messages.iter().filter(|message| message.whole);
    whole.map(|one| (one.method.into(), origin_form(one.target), one.body.clone())).collect()
}

/// Path and query of a target (RFC 9112 §3.2), whatever its scheme: the gate serves the host, and
/// nothing that it judges depends on the scheme.
fn origin_form(target: &[u8]) -> Vec<u8> {
    let colon = target.windows(3).position(|three| three == b"://");
    let scheme = |colon: &usize| !target[..*colon].contains(&b'/');
    let Some(colon) = colon.filter(scheme) else { return target.to_vec() };
    let rest = &target[colon + 3..];
    match rest.iter().position(|octet| matches!(octet, b'/' | b'?')) {
        None => b"/".to_vec(),
        Some(at) if rest[at] == b'?' => [b"/", &rest[at..]].concat(),
        Some(at) => rest[at..].to_vec(),
    }
}

/// All that comes back; `None` if it does not end.
async fn exchange(own: IpAddr, gate: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    let talk = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(own, 0)).unwrap();
        let mut stream = socket.connect(gate).await.unwrap();
        // The gate may have refused, and closed, before everything is sent.
        let _ = stream.write_all(octets).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    tokio::time::timeout(PATIENCE, talk).await.ok()
}

/// Status lines of final answers. No body of the gate or the console has one.
fn count_answers(answer: &[u8]) -> usize {
    let is_final = |ten: &&[u8]| ten.starts_with(b"HTTP/1.") && ten[8] == b' ' && ten[9] != b'1';
    let starts = answer.windows(10).filter(is_final);
    starts.count()
}

/// One connection of the gate to the console.
async fn converse(mut stream: TcpStream, record: Arc<Mutex<Record>>) {
    let mut buffer = Vec::new();
    while let Ok(count) = stream.read_buf(&mut buffer).await {
        if count == 0 {
            return;
        }
        let mut answers = Vec::new();
        let read = strict::read(&buffer, LIMITS);
        let mut taken = 0;
        {
            let mut record = record.lock().unwrap();
            for message in read.messages.iter().filter(|message| message.whole) {
                record.note(message);
                let body = if message.method == "HEAD" { "" } else { "hello" };
                answers
                    .extend(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}").bytes());
            }
            if matches!(read.end, End::Refused | End::Broken) {
                record.wrong.push(format!("not strict: {}", buffer.escape_ascii()));
            }
        }
        let unfinished = read.messages.last().filter(|message| !message.whole);
        taken += unfinished.map_or(read.at, |message| message.head.start);
        buffer.drain(..taken);
        if stream.write_all(&answers).await.is_err() {
            return;
        }
    }
}

impl Record {
    /// Holds a request against what may come from its client.
    fn note(&mut self, message: &Message<'_>) {
        if let Err(fault) = self.judge(message) {
            let target = message.target.escape_ascii();
            self.wrong.push(format!("{fault}: {} {target} {:?}", message.method, message.fields));
        }
    }

    fn judge(&mut self, message: &Message<'_>) -> Result<(), String> {
        if !message.target.starts_with(b"/public/") && message.target != b"/public" {
            // Written otherwise, it is the same path to the gate.
            let path = message.target.split(|octet| *octet == b'?').next().unwrap_or_default();
            let path = std::str::from_utf8(path).ok().and_then(super::target::model);
            let path = path.ok_or("a path with two readings")?;
            if !path.starts_with("/public/") && path != "/public" {
                return Err("not public".into());
            }
        }
        let host = String::from_utf8_lossy(message.all("host")[0]).to_lowercase();
        let bare = host.rsplit_once(':').map_or(&*host, |(host, _)| host);
        if bare.trim_end_matches('.') != PUBLIC_HOST {
            return Err("another host".into());
        }
        for (name, _) in &message.fields {
            if is_identity(&name.to_ascii_lowercase()) {
                return Err(format!("says who is asking: {name}"));
            }
        }
        let mut cookies = HeaderMap::new();
        for value in message.all("cookie") {
            cookies.append(COOKIE, HeaderValue::from_bytes(value).map_err(|e| e.to_string())?);
        }
        if cookie::pairs(&cookies).iter().any(|pair| cookie::is_ours(pair)) {
            return Err("a cookie of the gate".into());
        }
        let [client] = message.all("x-forwarded-for")[..] else { return Err("no client".into()) };
        let client = std::str::from_utf8(client).ok().and_then(|client| client.parse().ok());
        let client: IpAddr = client.ok_or("more than the client")?;
        let left = self.expected.get_mut(&client).ok_or("nobody who asks")?;
        let same = |sent: &Sent| {
            (&*sent.0, &*sent.1, &*sent.2) == (message.method, message.target, &*message.body)
        };
        // In order: what was passed over was refused, and cannot come any more.
        let place = left.iter().position(same).ok_or("nobody sent it")?;
        left.drain(..=place);
        Ok(())
    }
}

fn is_identity(name: &str) -> bool {
    let families = ["x-doorward-", "remote-", "x-auth-request-", "x-authentik-"];
    // The client's own to say: that nobody sits in front of it.
    let own = name == "x-doorward-background";
    let forwarded = ["for", "proto", "host"].map(|name| format!("x-forwarded-{name}"));
    name.contains('_')
        || (!own && families.iter().any(|family| name.starts_with(family)))
        || (name.starts_with("x-forwarded-") && !forwarded.contains(&name.to_owned()))
}
