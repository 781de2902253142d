//! One gate takes the place of another under load, and nobody notices.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use doorward_tests::process::{self, Served};
use doorward_tests::{Browser, DEADLINE, PUBLIC_HOST, Scratch, Upstream, eventually, raw};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How many clients ask again and again.
const CLIENTS: usize = 8;

/// How often one gate follows another: as many as fit into a test. A hundred are run by hand with
/// `wrk`; see ARCHITECTURE.md.
const RESTARTS: usize = 20;

/// Clients that ask with a session, over connections that stay as long as the gate lets them.
struct Crowd {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(address: SocketAddr, token: &str) -> Self {
        let (over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let request = format!(
            "GET /a HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\ncookie: __Host-doorward={token}\r\n\r\n"
        );
        let client = |_| {
            let (over, answers, request) =
                (Arc::clone(&over), Arc::clone(&answers), request.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    let mut goes_on = true;
                    while goes_on && !over.load(Ordering::Relaxed) {
                        stream.write_all(request.as_bytes()).await.unwrap();
                        let (head, body) = raw::message(&mut stream).await;
                        assert_eq!(
                            (raw::statuses(&head)[0], &*body),
                            (200, &b"hello"[..]),
                            "{head}"
                        );
                        goes_on = !head.contains("connection: close\r\n");
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let mut clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.push(tokio::spawn(ask_over_http2(address, token.to_owned(), Arc::clone(&over))));
        Self { over, answers, clients }
    }

    /// Waits until each of them has probably been answered again.
    async fn is_served(&self) {
        let enough = self.answers.load(Ordering::Relaxed) + 2 * CLIENTS;
        eventually("answers", async || self.answers.load(Ordering::Relaxed) > enough).await;
    }

    /// Lets them stop. Each that was not answered is a panic.
    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// The same over HTTP/2: a connection that is told to end takes no further request, and every one
/// that it took is answered.
async fn ask_over_http2(address: SocketAddr, token: String, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = shaken.unwrap();
        let connection = tokio::spawn(connection);
        while !over.load(Ordering::Relaxed) && sender.ready().await.is_ok() {
            let request = http::Request::get(format!("http://{PUBLIC_HOST}/a"))
                .header("cookie", format!("__Host-doorward={token}"))
                .body(String::new());
            match sender.send_request(request.unwrap()).await {
                Ok(answer) => assert_eq!(answer.status(), http::StatusCode::OK),
                // It never left, or crossed the word that it would not be taken (RFC 9113 section 6.8).
                Err(error) => {
                    let untaken = format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)");
                    assert!(error.is_canceled() || untaken, "{error:?}");
                }
            }
        }
        connection.abort();
    }
}

/// Starts a gate without holding up the others of this test.
async fn start(how: impl FnOnce() -> Served + Send + 'static) -> Served {
    tokio::task::spawn_blocking(how).await.unwrap()
}

async fn ends_with_0(mut served: Served) {
    let waiting = tokio::task::spawn_blocking(move || served.child.wait().unwrap());
    let status = tokio::time::timeout(DEADLINE, waiting).await.expect("the end of the old gate");
    assert_eq!(status.unwrap().code(), Some(0));
}

/// A configuration whose listener takes HTTP/2 as well.
fn configure(scratch: &Scratch, upstream: &Upstream, listener: &str) -> PathBuf {
    let config = process::configure(scratch.path(), &upstream.address, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let listener = format!("\"{listener}\"\nh2c = true\n");
    std::fs::write(&config, text.replacen("\"127.0.0.1:0\"\n", &listener, 1)).unwrap();
    config
}

async fn token_of_alice(config: &Path, address: SocketAddr) -> String {
    process::add_account(config, "alice");
    let mut browser = Browser::new(address, PUBLIC_HOST, None);
    browser.sign_in("alice").await;
    browser.token().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o08_rolling_take_overs_under_load_lose_no_request_and_no_session() {
    let (scratch, upstream) = (Scratch::new(), Upstream::start().await);
    let config = configure(&scratch, &upstream, "127.0.0.1:0");
    let mut served = Served::start(&config);
    let address = served.address;
    let crowd = Crowd::start(address, &token_of_alice(&config, address).await);
    for _ in 0..RESTARTS {
        crowd.is_served().await;
        let config = config.clone();
        let next = start(move || Served::start_with(&config, &["--take-over"])).await;
        assert_eq!((next.address, next.operations), (address, served.operations));
        ends_with_0(std::mem::replace(&mut served, next)).await;
    }
    crowd.is_served().await;
    crowd.end().await;
    assert!(!scratch.path().join("doorward.take-over").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o08_restarts_behind_a_service_managers_socket_lose_no_request() {
    let (scratch, upstream) = (Scratch::new(), Upstream::start().await);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config = configure(&scratch, &upstream, &address.to_string());
    let place = scratch.path().join("notify");
    let manager = UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut octets = [0; 256];
        let length = manager.recv(&mut octets).unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    };
    let run = |socket: TcpListener| {
        let (config, place) = (config.clone(), place.clone());
        move || Served::activated(&config, &socket, &place)
    };
    let mut served = start(run(socket.try_clone().unwrap())).await;
    assert_eq!(served.address, address);
    assert_eq!(told(), "READY=1\n");
    let crowd = Crowd::start(address, &token_of_alice(&config, address).await);
    served.signal("HUP");
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1\n");
    for _ in 0..RESTARTS / 4 {
        crowd.is_served().await;
        served.signal("TERM");
        ends_with_0(served).await;
        assert_eq!(told(), "STOPPING=1\n");
        served = start(run(socket.try_clone().unwrap())).await;
        assert_eq!(told(), "READY=1\n");
    }
    crowd.is_served().await;
    crowd.end().await;
}

#[tokio::test]
async fn a_socket_that_no_listener_names_is_refused() {
    let scratch = Scratch::new();
    let config = process::configure(scratch.path(), &"127.0.0.1:9".parse().unwrap(), "");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let script =
        "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --config \"$1\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).arg(process::binary()).arg(&config);
    command.stdin(std::os::fd::OwnedFd::from(socket));
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(stderr.contains("and no listener has that address"), "{stderr}");
}

#[tokio::test]
async fn o08_nobody_is_asked_to_end_for_a_configuration_that_cannot_be_served() {
    let (scratch, upstream) = (Scratch::new(), Upstream::start().await);
    let config = process::configure(scratch.path(), &upstream.address, "");
    let served = Served::start(&config);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(scratch.path().join("broken.pem"), "no certificate").unwrap();
    let tls = "127.0.0.1:0\"\ntls = { chain_file = \"broken.pem\", key_file = \"broken.pem\" }";
    std::fs::write(&config, text.replacen("127.0.0.1:0\"", tls, 1)).unwrap();
    let words = ["serve", "--take-over", "--config", config.to_str().unwrap()].map(str::to_owned);
    let command = move || process::run(&words.each_ref().map(String::as_str), "");
    let output = tokio::task::spawn_blocking(command).await.unwrap();
    assert_eq!(output.status.code(), Some(64));
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    assert_eq!(browser.get("/").await.status, http::StatusCode::UNAUTHORIZED, "it goes on");
    std::fs::write(&config, text).unwrap();
    // Where nobody is to be relieved it is an ordinary start.
    drop(served);
    let words = ["--take-over"];
    let served = start(move || Served::start_with(&config, &words)).await;
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    assert_eq!(browser.get("/").await.status, http::StatusCode::UNAUTHORIZED);
}
