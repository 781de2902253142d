//! Connections that switch to another protocol: who may, from where, and what ends them.

use std::time::Duration;

use doorward_plugins::administration::Request;
use doorward_tests::{DEADLINE, PUBLIC_HOST, Setup, TestGate, Upstream, eventually, raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUTES: &str = "[[route]]\npath = \"/socket\"\nupgrade = [\"websocket\"]\n\
    [[route]]\npath = \"/open/socket\"\naccess = \"public\"\nupgrade = [\"websocket\"]\n\
    [[route]]\npath = \"/lively\"\nupgrade = [\"websocket\"]\nupgrade_activity = true\n\
    [[route]]\npath = \"/plain\"\naccess = \"public\"\n";

const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: x\r\nset-cookie: __Host-doorward=evil\r\n\r\n";

/// A gate in front of a console that this test plays itself.
async fn gate() -> (TestGate, TcpListener) {
    gate_with("").await
}

async fn gate_with(tables: &str) -> (TestGate, TcpListener) {
    let console = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\nshutdown_grace = \"5s\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{ROUTES}{tables}",
        console.local_addr().unwrap()
    ))
    .await;
    (gate, console)
}

fn handshake(path: &str, token: &str, fields: &str) -> String {
    let cookie = if token.is_empty() {
        String::new()
    } else {
        format!("cookie: __Host-doorward={token}\r\n")
    };
    format!(
        "GET {path} HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: WebSocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-version: 13\r\n{cookie}{fields}\r\n"
    )
}

/// Origin of the gate's own pages, which a client of these tests reaches without TLS.
const OWN: &str = "origin: https://console.example.com\r\n";

/// A tunnel through the gate, both ends of it, and the head that the console got.
async fn tunnel(
    gate: &TestGate,
    console: &TcpListener,
    path: &str,
    token: &str,
) -> (TcpStream, TcpStream, String) {
    let mut client = TcpStream::connect(gate.address()).await.unwrap();
    client.write_all(handshake(path, token, OWN).as_bytes()).await.unwrap();
    let (mut server, _) = console.accept().await.unwrap();
    let (asked, _) = raw::message(&mut server).await;
    server.write_all(SWITCHED).await.unwrap();
    let (answer, _) = raw::message(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.contains("evil"), "{answer}");
    (client, server, asked)
}

async fn expect(stream: &mut TcpStream, octets: &[u8]) {
    let mut found = vec![0; octets.len()];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut found)).await.expect("in time").unwrap();
    assert_eq!(found, octets);
}

#[tokio::test]
async fn d09_a_websocket_passes_with_a_session_and_octets_pass_both_ways() {
    let (gate, console) = gate().await;
    let alice = gate.signed_in().await;
    let (mut client, mut server, asked) = tunnel(&gate, &console, "/socket", alice.token()).await;
    let lower = asked.to_ascii_lowercase();
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "remote-user: alice\r\n",
        "sec-websocket-version: 13\r\n",
    ] {
        assert!(lower.contains(line), "{line} is not in {asked}");
    }
    assert!(!lower.contains("cookie:") && lower.contains("x-doorward-assertion: "), "{asked}");
    // A close frame's octets and much else are the console's affair.
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let (sent, found) = tokio::join!(client.write_all(&all), async {
        let mut found = vec![0; all.len()];
        server.read_exact(&mut found).await.unwrap();
        found
    });
    sent.unwrap();
    assert!(found == all);
    server.write_all(b"\x81\x05hello").await.unwrap();
    expect(&mut client, b"\x81\x05hello").await;
    // An end passes too, and the other direction goes on.
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    server.write_all(b"\x81\x03bye").await.unwrap();
    expect(&mut client, b"\x81\x03bye").await;
    drop(server);
    assert_eq!(raw::rest(&mut client).await, "");
    eventually("the log", async || {
        gate.access_log()
            .await
            .iter()
            .any(|line| line["status"] == 101 && line["account"] == "alice")
    })
    .await;
}

#[tokio::test]
async fn a07_a09_d09_nobody_switches_without_a_session() {
    let upstream = Upstream::answering(SWITCHED).await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    for token in ["", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let request = handshake("/socket", token, &format!("{OWN}connection: close\r\n"));
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [401]);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn d10_a_page_of_another_origin_opens_nothing() {
    let upstream = Upstream::answering(SWITCHED).await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    let token = gate.signed_in().await.token().to_owned();
    for origin in ["", "origin: null\r\n", "origin: https://evil.example\r\n"] {
        let request = handshake("/socket", &token, &format!("{origin}connection: close\r\n"));
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [403], "{origin}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn d09_c15_what_the_route_does_not_name_goes_on_as_an_ordinary_request() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    let with_body = "content-length: 5\r\nconnection: close\r\n\r\nhello";
    for request in [
        handshake("/plain", "", "connection: close\r\n"),
        handshake("/open/socket", "", "connection: close\r\n").replace("WebSocket", "h2c"),
        handshake("/open/socket", "", "connection: close\r\n")
            .replace("WebSocket", "websocket, foo"),
        handshake("/open/socket", "", "connection: close\r\n").replace("GET", "POST"),
        handshake("/open/socket", "", "").trim_end().to_owned() + "\r\n" + with_body,
    ] {
        let answer = raw::send(gate.address(), &request).await;
        assert_eq!(raw::statuses(&answer), [200], "{request}");
        let last = upstream.last();
        assert_eq!((last.field("upgrade"), last.field("connection")), (None, None), "{request}");
    }
}

#[tokio::test]
async fn d09_what_is_sent_before_the_switch_is_a_request_or_nothing() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
    // The console does not switch: what follows is read as requests, each judged.
    let smuggled =
        format!("GET /secret HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: close\r\n\r\n");
    let request = handshake("/open/socket", "", "") + &smuggled;
    assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [200, 401]);
    let request = handshake("/open/socket", "", "") + "\u{1}\u{2} no request";
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(raw::message(&mut stream).await.0.starts_with("HTTP/1.1 200"));
    let lines: Vec<_> =
        upstream.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["GET /open/socket"; 2]);
}

#[tokio::test]
async fn d09_what_is_sent_before_the_switch_never_enters_the_tunnel() {
    let (gate, console) = gate().await;
    let more = format!("GET /plain HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    for early in ["\u{1}\u{2}\0\0", "GET /plain", &more] {
        let mut client = TcpStream::connect(gate.address()).await.unwrap();
        client.write_all((handshake("/open/socket", "", "") + early).as_bytes()).await.unwrap();
        let (mut server, _) = console.accept().await.unwrap();
        raw::message(&mut server).await;
        server.write_all(SWITCHED).await.unwrap();
        let (answer, _) = raw::message(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{early:?}: {answer}");
        assert_eq!(raw::rest(&mut server).await, "", "{early:?}");
    }
}

#[tokio::test]
async fn d09_a_console_that_switches_to_something_else_is_502() {
    let other = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    for octets in [&other[..], b"HTTP/1.1 101 Switching Protocols\r\n\r\n"] {
        let octets = octets.to_vec();
        let upstream = Upstream::replying(move |_| Some(octets.clone())).await;
        let gate = TestGate::start(&upstream, Setup { tables: ROUTES, ..Setup::default() }).await;
        let request = handshake("/open/socket", "", "connection: close\r\n");
        assert_eq!(raw::statuses(&raw::send(gate.address(), request).await), [502]);
    }
}

/// The close frame that the client of a WebSocket gets: its code.
async fn close_code(client: &mut TcpStream) -> u16 {
    let mut head = [0; 4];
    let reading = tokio::time::timeout(Duration::from_secs(2), client.read_exact(&mut head));
    reading.await.expect("a close frame within 1 s or so").unwrap();
    assert_eq!(head[0], 0x88, "{head:?}");
    raw::rest(client).await;
    u16::from_be_bytes([head[2], head[3]])
}

#[tokio::test]
async fn d12_signing_out_closes_the_websocket_with_1008() {
    let (gate, console) = gate().await;
    let mut alice = gate.signed_in().await;
    let (mut client, mut server, _) = tunnel(&gate, &console, "/socket", alice.token()).await;
    let (mut bobs, mut bobs_server, _) = {
        gate.add("bob", Default::default()).await;
        let mut bob = gate.browser();
        bob.sign_in("bob").await;
        tunnel(&gate, &console, "/socket", bob.token()).await
    };
    // In the middle of a frame: the rest of it comes first.
    server.write_all(b"\x81\x05he").await.unwrap();
    expect(&mut client, b"\x81\x05he").await;
    assert!(
        alice
            .post_json("/.doorward/api/v1/sign-out", &serde_json::json!({}))
            .await
            .status
            .is_success()
    );
    server.write_all(b"llo").await.unwrap();
    expect(&mut client, b"llo").await;
    assert_eq!(close_code(&mut client).await, 1008);
    // The console is told as well, as a client would tell it.
    let mut told = [0; 8];
    server.read_exact(&mut told).await.unwrap();
    assert_eq!((told[0], told[1] & 0x80, &told[6..]), (0x88, 0x80, &[0x03, 0xf0][..]));
    // Nobody else's.
    bobs_server.write_all(b"\x81\x02ok").await.unwrap();
    expect(&mut bobs, b"\x81\x02ok").await;
}

#[tokio::test]
async fn d12_expiry_disabling_and_revocation_close_it_too() {
    let (gate, console) = gate().await;
    let alice = gate.signed_in().await;
    let (mut client, _server, _) = tunnel(&gate, &console, "/socket", alice.token()).await;
    gate.clock.advance(Duration::from_secs(3601));
    assert_eq!(close_code(&mut client).await, 1008, "expiry");
    let mut again = gate.browser();
    again.sign_in("alice").await;
    let (mut client, _server, _) = tunnel(&gate, &console, "/socket", again.token()).await;
    gate.ask(Request::AccountDisable { name: "alice".into() }).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1008, "disabling");
}

#[tokio::test]
async fn e04_traffic_inside_is_activity_only_where_the_route_says_so() {
    let (gate, console) = gate().await;
    for (path, lives) in [("/socket", false), ("/lively", true)] {
        let alice = gate.signed_in().await;
        let (mut client, mut server, _) = tunnel(&gate, &console, path, alice.token()).await;
        for _ in 0..3 {
            gate.clock.advance(Duration::from_secs(1500));
            client.write_all(b"\x81\x80\0\0\0\0").await.unwrap();
            if server.read_exact(&mut [0; 6]).await.is_err() {
                break;
            }
            // The worker looks at what passed once in a while.
            let session = || {
                let service = gate.services();
                service
                    .sessions
                    .list(&service.sessions.principal_ids().pop()?, gate.clock.now())
                    .pop()
            };
            let now = gate.clock.now();
            if lives {
                eventually("activity", async || {
                    session().and_then(|session| session.active()) == Some(now)
                })
                .await;
            }
        }
        let mut browser = gate.browser();
        browser.jar = alice.jar.clone();
        let status = browser.get("/.doorward/api/v1/session").await.status;
        assert_eq!(status == 200, lives, "{path}: {status}");
        drop((client, server));
    }
}

#[tokio::test]
async fn o08_a_gate_that_goes_down_says_1001_and_a_silent_tunnel_ends() {
    let (mut gate, console) = gate_with("[limits]\ntunnel_idle = \"10m\"\n").await;
    let alice = gate.signed_in().await;
    let (mut silent, _silent_server, _) = tunnel(&gate, &console, "/socket", alice.token()).await;
    gate.clock.advance(Duration::from_secs(601));
    assert_eq!(close_code(&mut silent).await, 1001, "idle");
    let (mut client, _server, _) = tunnel(&gate, &console, "/socket", alice.token()).await;
    let stopping = tokio::task::spawn_blocking(move || gate.stop());
    assert_eq!(close_code(&mut client).await, 1001, "shutdown");
    assert!(stopping.await.unwrap(), "the shutdown waited for the tunnel in vain");
}
