//! HTTP/2 by the letter and against it: malformed messages never arrive, floods end, and nobody
//! else is made to wait.

mod floods;
mod messages;
mod streams;

use doorward_tests::frames::{self, Told};
use doorward_tests::{PUBLIC_HOST, Setup, TestGate, Upstream};
use http::StatusCode;
use tokio::net::{TcpListener, TcpStream};

const PUBLIC: &str = "[[route]]\naccess = \"public\"\n";
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", PUBLIC_HOST)];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", PUBLIC_HOST)];

/// How many streams a client may have at once in these stories.
const STREAMS: u32 = 20;

async fn gate(upstream: &Upstream) -> TestGate {
    let tables = format!("{PUBLIC}[limits]\nhttp2_streams = {STREAMS}\nkeep_alive = \"2s\"\n");
    let setup = Setup { listener: "h2c = true", tables: &tables, ..Setup::default() };
    TestGate::start(upstream, setup).await
}

/// A gate whose console takes requests and never answers.
async fn silent() -> (TestGate, TcpListener) {
    let console = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         h2c = true\n[upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[limits]\nhttp2_streams = {STREAMS}\n{PUBLIC}",
        console.local_addr().unwrap()
    ))
    .await;
    (gate, console)
}

async fn connect(gate: &TestGate) -> TcpStream {
    TcpStream::connect(gate.address()).await.unwrap()
}

/// Sends these frames while another client asks again and again, and expects that it is served.
async fn attack(gate: &TestGate, octets: &[u8]) -> Told {
    let (told, ()) = tokio::join!(frames::exchange(connect(gate).await, octets), serves(gate));
    serves(gate).await;
    told
}

async fn serves(gate: &TestGate) {
    for _ in 0..5 {
        // From the gate itself, so that it does not matter whether the console answers.
        let answer = gate.browser().over_http2().get("/.doorward/jwks.json").await;
        assert_eq!(answer.status, StatusCode::OK, "another client");
    }
}
