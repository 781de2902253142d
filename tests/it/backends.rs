//! The sample backends, one a language, behind the real gate: they believe its assertion and
//! nothing else.
//!
//! A gate has to know its backend, and a backend the gate's keys, before either runs. So the gate
//! is given a forwarder, which learns where the backend is when it has started.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use doorward_certs::signing::{ASSERTION_TYPE, SigningKeys};
use doorward_config::SigningAlgorithm;
use doorward_tests::process::{self, Served, prepared};
use doorward_tests::{Answer, Browser, DEADLINE, PUBLIC_HOST, Scratch, eventually};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

const AUDIENCE: &str = "console";

/// A running backend; killed when dropped.
struct Backend {
    child: Child,
    address: SocketAddr,
}

impl Backend {
    fn start(mut command: Command, gate: SocketAddr) -> Self {
        let keys = format!("http://{gate}/.doorward/jwks.json");
        command.env("JWKS_URL", keys).env("AUDIENCE", AUDIENCE).env("LISTEN", "127.0.0.1:0");
        command.env("ISSUER", format!("https://{PUBLIC_HOST}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let line = lines.recv_timeout(DEADLINE).expect("the backend says where it listens");
        let address =
            line.strip_prefix("listening on ").unwrap_or_else(|| panic!("it said {line}"));
        Self { child, address: address.parse().unwrap() }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Carries connections to an address that is told later.
async fn forwarder() -> (SocketAddr, Arc<OnceLock<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Arc::<OnceLock<SocketAddr>>::default();
    let known = Arc::clone(&target);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let target = *known.get().expect("nobody asks before the backend runs");
            tokio::spawn(async move {
                let mut backend = TcpStream::connect(target).await.unwrap();
                // Either end may go at any time; the other then sees it.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
            });
        }
    });
    (address, target)
}

/// Asks the backend itself, past the gate.
async fn ask_directly(backend: &Backend, assertions: &[&str]) -> Answer {
    let fields: Vec<_> =
        assertions.iter().map(|assertion| ("x-doorward-assertion", *assertion)).collect();
    Browser::new(backend.address, "backend", None).get_with("/", &fields).await
}

/// Signs what the gate would not: with its own key, but other claims.
fn sign(folder: &Path, change: &Value) -> String {
    let keys = SigningKeys::open(
        &folder.join("doorward.keys"),
        ASSERTION_TYPE,
        SigningAlgorithm::Es256,
        0,
    )
    .unwrap();
    #[expect(clippy::disallowed_methods, reason = "the backend goes by the machine's time")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": format!("https://{PUBLIC_HOST}"), "aud": AUDIENCE, "sub": "somebody",
        "iat": now, "exp": now + 120, "account": "mallory",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = match value.as_i64() {
            Some(offset) => (now.cast_signed() + offset).into(),
            None => value.clone(),
        };
    }
    keys.sign(&claims).unwrap()
}

async fn a_backend_believes_the_gate_and_nothing_else(command: Command) {
    let (address, target) = forwarder().await;
    let scratch = Scratch::new();
    let public = "[[route]]\npath = \"/public\"\naccess = \"public\"";
    let config = process::configure(scratch.path(), &address, public);
    process::add_account(&config, "alice");
    let served = Served::start(&config);
    let backend = Backend::start(command, served.address);
    target.set(backend.address).unwrap();
    let mut person = Browser::new(served.address, PUBLIC_HOST, None);

    let stranger = person.get("/public").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "no assertion, no answer");
    assert_eq!(stranger.json()["error"], "no valid assertion", "the backend itself refused");
    let claimed = [("x-doorward-assertion", "eyJhbGciOiJub25lIn0.e30.")];
    assert_eq!(person.get_with("/public", &claimed).await.status, StatusCode::UNAUTHORIZED);

    person.sign_in("alice").await;
    let seen = person.get("/orders").await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text());
    assert_eq!((&seen.json()["account"], &seen.json()["aud"]), (&"alice".into(), &AUDIENCE.into()));

    let good = sign(scratch.path(), &json!({}));
    assert_eq!(
        ask_directly(&backend, &[&good]).await.status,
        StatusCode::OK,
        "the test's own way of signing"
    );
    let other = Scratch::new();
    let foreign = sign(other.path(), &json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped =
        format!("{head}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    for (what, assertions) in [
        ("none", vec![]),
        ("two", vec![&*good, &*good]),
        ("another key's", vec![&*foreign]),
        ("a flipped bit", vec![&*flipped]),
        ("no signature", vec![head]),
        ("expired", vec![&*sign(scratch.path(), &json!({"iat": -300, "exp": -180}))]),
        ("for another backend", vec![&*sign(scratch.path(), &json!({"aud": "billing"}))]),
        ("another gate's", vec![&*sign(scratch.path(), &json!({"iss": "https://evil.example"}))]),
    ] {
        let refused = ask_directly(&backend, &assertions).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{what}: {}", refused.text());
    }

    let file = config.to_str().unwrap().to_owned();
    let rotated = process::run(&["key", "rotate", "--config", &file], "");
    assert!(rotated.status.success());
    // A new session has a new assertion, by the new key, which the backend has yet to fetch.
    person.sign_in("alice").await;
    let shared = tokio::sync::Mutex::new(person);
    eventually("belief in the new key", || async {
        shared.lock().await.get("/orders").await.status == StatusCode::OK
    })
    .await;
}

fn folder(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("backends").join(language)
}

#[tokio::test]
async fn a12_the_rust_backend() {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/backend_rust");
    let built = program.exists();
    assert!(built, "{}: run the tests by tests/run, which builds it", program.display());
    a_backend_believes_the_gate_and_nothing_else(Command::new(program)).await;
}

#[tokio::test]
async fn a12_the_go_backend() {
    let program = prepared("DOORWARD_TEST_GO_BACKEND");
    a_backend_believes_the_gate_and_nothing_else(Command::new(program)).await;
}

#[tokio::test]
async fn a12_the_python_backend() {
    let mut command = Command::new(prepared("DOORWARD_TEST_PYTHON"));
    command.arg(folder("python").join("main.py"));
    a_backend_believes_the_gate_and_nothing_else(command).await;
}

#[tokio::test]
async fn a12_the_node_backend() {
    let installed = folder("node").join("node_modules").exists();
    assert!(installed, "tests/backends/node has no modules: run the tests by tests/run");
    let mut command = Command::new("node");
    command.arg(folder("node").join("main.mjs"));
    a_backend_believes_the_gate_and_nothing_else(command).await;
}
