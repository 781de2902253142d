//! Another configuration for a gate that goes on: as a whole or not at all, and nothing is lost.
//!
//! - `memory`: what belongs to no configuration, and stays.
//! - `process`: SIGHUP and `doorward reload`.

mod memory;
mod process;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use doorward::ReloadError;
use doorward_config::{LoadError, Problem};
use doorward_tests::{PUBLIC_HOST, Scratch, Setup, TestGate, Upstream, metric, raw};
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const PUBLIC: &str = "[[route]]\npath = \"/open/**\"\naccess = \"public\"\n";

/// One connection that stays.
struct Kept(TcpStream);

impl Kept {
    async fn open(gate: SocketAddr) -> Self {
        Self(TcpStream::connect(gate).await.unwrap())
    }

    /// Status, head and body of an answer.
    async fn get(&mut self, target: &str) -> (u16, String, String) {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = raw::message(&mut self.0).await;
        (raw::statuses(&head)[0], head, String::from_utf8(body).unwrap())
    }
}

/// What is wrong with the configuration of a gate, which goes on.
async fn problems(gate: &TestGate, change: impl FnOnce(String) -> String) -> Vec<Problem> {
    let file = gate.scratch.path().join("doorward.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let refused = gate.reload(change).await;
    std::fs::write(&file, before).unwrap();
    match refused {
        Err(ReloadError::Load(LoadError::Invalid { problems, .. })) => problems,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn o09_a_route_that_becomes_protected_is_so_for_the_next_request_of_open_connections() {
    let upstream = Upstream::start().await;
    let setup = Setup { listener: "h2c = true", tables: PUBLIC, ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    // One connection on each worker, whichever these are.
    let mut kept = Vec::new();
    for _ in 0..4 {
        let mut one = Kept::open(gate.address()).await;
        assert_eq!(one.get("/open/a").await.0, 200);
        kept.push(one);
    }
    let stream = TokioIo::new(TcpStream::connect(gate.address()).await.unwrap());
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = async || {
        let request = http::Request::get(format!("http://{PUBLIC_HOST}/open/a"));
        let request = request.body(String::new()).unwrap();
        http2.send_request(request).await.unwrap().status()
    };
    assert_eq!(ask().await, StatusCode::OK);

    gate.reload(|text| text.replace("access = \"public\"", "")).await.unwrap();
    let seen = upstream.count();
    for one in &mut kept {
        assert_eq!(one.get("/open/a").await.0, 401);
    }
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), seen, "the console saw a refused request");

    gate.reload(|text| text.replace("\"/open/**\"", "\"/open/**\"\naccess = \"public\""))
        .await
        .unwrap();
    for one in &mut kept {
        assert_eq!(one.get("/open/a").await.0, 200);
    }
    assert_eq!(ask().await, StatusCode::OK);
    connection.abort();
    assert_eq!(
        metric(gate.operations(), "doorward_config_reloads_total{result=\"done\"}").await,
        2
    );
}

#[tokio::test]
async fn o09_an_invalid_file_changes_nothing_and_every_problem_has_its_place() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: PUBLIC, ..Setup::default() }).await;
    let mut kept = Kept::open(gate.address()).await;
    let found = problems(&gate, |text| {
        format!("bogus = 1\n{text}").replace("access = \"public\"", "access = \"everybody\"")
    });
    let found: Vec<_> = found.await.into_iter().map(|problem| problem.key).collect();
    assert_eq!(found, ["bogus", "route[1].access"]);
    assert_eq!(kept.get("/open/a").await.0, 200);
    let value = metric(gate.operations(), "doorward_config_last_reload_successful");
    assert_eq!(value.await, 0);

    std::fs::remove_file(gate.scratch.path().join("doorward.toml")).unwrap();
    let gone = gate.read_again().await;
    assert!(matches!(gone, Err(ReloadError::Load(LoadError::Unreadable { .. }))), "{gone:?}");
    assert_eq!(kept.get("/open/a").await.0, 200);
}

#[tokio::test]
async fn o09_what_only_a_restart_can_change_is_refused_with_place_and_remedy() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    for (from, to, key) in [
        ("workers = 2", "workers = 1", "workers"),
        ("\"doorward.db\"", "\"other.db\"", "store"),
        (listener, "[[listener]]\naddress = \"127.0.0.2:0\"\n", "listener[1].address"),
        (listener, &listener.repeat(2), "listener"),
        ("[operations]\n", "[operations]\nsocket = \"other.sock\"\n", "operations.socket"),
        ("[operations]\n", "[audit]\nqueue = 5\n[operations]\n", "audit.queue"),
        ("[rate_limit]\n", "[rate_limit]\nkeys_max = 5000\n", "rate_limit.keys_max"),
        (
            "[operations]\n",
            "[second_factor]\nkey_file = \"other\"\n[operations]\n",
            "second_factor.key_file",
        ),
    ] {
        let found = problems(&gate, |text| {
            assert!(text.contains(from), "{from} is not in {text}");
            text.replacen(from, to, 1)
        });
        let found = found.await;
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert_eq!(found[0].key, key);
        assert!(found[0].line > 0 && found[0].advice.contains("Restart"), "{found:?}");
    }
}

#[tokio::test]
async fn o09_what_cannot_be_used_changes_nothing() {
    let (upstream, other) = (Upstream::start().await, Scratch::new());
    let gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
    let refused = gate.reload(|text| {
        let nowhere = other.path().join("chain.pem");
        std::fs::write(&nowhere, "no certificate").unwrap();
        text.replace("\"chain.pem\"", &format!("{nowhere:?}"))
            .replace("[operations]", "[session]\nidle = \"20m\"\n[operations]")
    });
    let error = refused.await.unwrap_err();
    assert!(error.to_string().contains("no certificate in PEM"), "{error}");
    assert_eq!(gate.services().sessions.rules().idle.as_secs(), 60 * 60);
    let mut browser = gate.browser();
    assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED, "by the old certificate");
}

/// One of the two configurations between which a gate goes back and forth.
fn variant(name: &str, upstream: &Upstream) -> String {
    format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 2\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.{name}]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\naccess_log = false\n\
         [[route]]\naccess = \"public\"\n[route.response_headers]\nset = {{ X-Variant = \"{name}\" }}\n",
        upstream.address
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o09_a_thousand_reloads_under_load_lose_no_request_and_mix_no_two_configurations() {
    const CLIENTS: usize = 4;
    const ONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none";
    const TWO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo";
    let (one, two) = (Upstream::answering(ONE).await, Upstream::answering(TWO).await);
    let texts = [variant("one", &one), variant("two", &two)];
    let gate = TestGate::with_config(&texts[0]).await;
    let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let client = |_| {
        let (over, answers, address) = (Arc::clone(&over), Arc::clone(&answers), gate.address());
        tokio::spawn(async move {
            let mut kept = Kept::open(address).await;
            while !over.load(Ordering::Relaxed) {
                let (status, head, body) = kept.get("/a").await;
                assert_eq!(status, 200, "{head}");
                assert!(head.contains(&format!("x-variant: {body}\r\n")), "{head}{body}");
                answers.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    // Repeatable, and in no order that a reader would choose (Knuth's MMIX generator).
    let mut state = 9_u64;
    let mut chance = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 3
    };
    let (mut done, mut refused) = (0, 0);
    while done + refused < 1000 || answers.load(Ordering::Relaxed) < 1000 {
        let chosen = chance();
        let broken = || format!("{}[session]\nidle = \"never\"\n", texts[1]);
        let text = texts.get(usize::try_from(chosen).unwrap()).cloned().unwrap_or_else(broken);
        let result = gate.reload(|_| text).await;
        assert_eq!(result.is_ok(), chosen < 2, "{result:?}");
        if result.is_ok() { done += 1 } else { refused += 1 }
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let told = |result: &str| {
        let name = format!("doorward_config_reloads_total{{result=\"{result}\"}}");
        let operations = gate.operations();
        async move { metric(operations, &name).await }
    };
    assert_eq!((told("done").await, told("refused").await), (done, refused));
    assert!(one.count() > 0 && two.count() > 0);
}
