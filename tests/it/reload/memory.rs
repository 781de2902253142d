//! What belongs to no configuration, and stays: sessions, counters, keys, what is under way.

use std::time::Duration;

use doorward_config::TlsFiles;
use doorward_tests::{
    DEADLINE, MANY_SIGN_INS, PUBLIC_HOST, Setup, TestGate, Upstream, eventually, raw,
};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Kept;

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// With another idle time.
fn idle(text: &str) -> impl FnOnce(String) -> String {
    move |before: String| {
        let rest = before.split("[session]").next().unwrap().to_owned();
        format!("{rest}[session]\nidle = \"{text}\"\n")
    }
}

#[tokio::test]
async fn o09_sessions_go_on_by_the_rules_that_hold_now() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    let (mut alice, mut late) = (gate.signed_in().await, gate.signed_in().await);
    gate.clock.advance(minutes(16));
    assert_eq!(alice.get("/").await.status, StatusCode::OK);
    gate.clock.advance(minutes(10));
    gate.reload(idle("15m")).await.unwrap();
    assert_eq!(late.get("/").await.status, StatusCode::UNAUTHORIZED, "26 minutes");
    assert_eq!(alice.get("/").await.status, StatusCode::OK, "10 minutes");
    gate.clock.advance(minutes(15));
    // By the time that held until now it is over, whether somebody has looked or not.
    gate.reload(idle("1h")).await.unwrap();
    assert_eq!(alice.get("/").await.status, StatusCode::UNAUTHORIZED);
    let mut alice = gate.signed_in().await;
    gate.clock.advance(minutes(59));
    assert_eq!(alice.get("/").await.status, StatusCode::OK);
    let restarted = gate.restart().await;
    let mut again = restarted.browser();
    again.jar.clone_from(&alice.jar);
    assert_eq!(again.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn o09_an_allowance_that_is_used_up_stays_used_up_under_another_rate() {
    let upstream = Upstream::start().await;
    let limited = "[[route]]\npath = \"/a\"\naccess = \"public\"\nrate_limit = { rate = \"2/1h\", by = \"address\" }\n";
    let gate = TestGate::start(&upstream, Setup { tables: limited, ..Setup::default() }).await;
    let mut kept = Kept::open(gate.address()).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(kept.get("/a").await.0);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let front = "[[route]]\npath = \"/b\"\naccess = \"public\"\nrate_limit = { rate = \"2/1h\", by = \"address\" }\n[[route]]\npath = \"/a\"";
    gate.reload(|text| text.replace("[[route]]\npath = \"/a\"", front)).await.unwrap();
    assert_eq!(kept.get("/a").await.0, 429, "behind another route");
    assert_eq!(kept.get("/b").await.0, 200, "which has an allowance of its own");
    gate.reload(|text| text.replace("\"2/1h\"", "\"1/1h\"")).await.unwrap();
    assert_eq!(kept.get("/a").await.0, 429);
}

#[tokio::test]
async fn o09_guesses_stay_counted_and_the_keys_stay_the_same() {
    let upstream = Upstream::start().await;
    let setup = Setup { tables: "[lockout]\ncaptcha_after = 3\n", ..Setup::default() };
    let gate = TestGate::start(&upstream, setup).await;
    let mut alice = gate.signed_in().await;
    alice.get("/").await;
    let assertion = upstream.last().field("x-doorward-assertion").unwrap().to_owned();
    let mut guesser = gate.browser();
    for guess in 0..3 {
        guesser.try_sign_in("alice", &format!("wrong {guess}")).await;
    }
    let stuck = guesser.try_sign_in("alice", "wrong").await;
    assert_eq!(stuck.status, StatusCode::FORBIDDEN, "{}", stuck.text());
    gate.reload(|text| text.replace("captcha_after = 3", "captcha_after = 4")).await.unwrap();
    let stuck = guesser.try_sign_in("alice", "wrong").await;
    assert_eq!(stuck.status, StatusCode::FORBIDDEN, "{}", stuck.text());

    // What was signed for a former upstream of this place is not shown to the present one.
    gate.reload(|text| text.replace("[upstream.console]", "[upstream.other]")).await.unwrap();
    alice.get("/").await;
    let other = upstream.last().field("x-doorward-assertion").unwrap().to_owned();
    let part = |token: &str, index: usize| token.split('.').nth(index).unwrap().to_owned();
    assert_eq!(part(&other, 0), part(&assertion, 0), "the key");
    assert_ne!(part(&other, 1), part(&assertion, 1), "the audience");
}

#[tokio::test]
async fn o09_what_is_under_way_ends_by_the_configuration_that_it_began_with() {
    let console = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Upstream::start().await;
    let text = format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{MANY_SIGN_INS}\
         [[route]]\naccess = \"public\"\nupgrade = [\"websocket\"]\n\
         [route.response_headers]\nset = {{ X-Variant = \"one\" }}\n",
        console.local_addr().unwrap()
    );
    let gate = TestGate::with_config(&text).await;
    let request = format!("GET /slow HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\n\r\n");
    let mut slow = TcpStream::connect(gate.address()).await.unwrap();
    slow.write_all(request.as_bytes()).await.unwrap();
    let (mut served, _) = console.accept().await.unwrap();
    raw::message(&mut served).await;
    let upgrade = format!(
        "GET /socket HTTP/1.1\r\nhost: {PUBLIC_HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         origin: https://{PUBLIC_HOST}\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut tunnel = TcpStream::connect(gate.address()).await.unwrap();
    tunnel.write_all(upgrade.as_bytes()).await.unwrap();
    let (mut end, _) = console.accept().await.unwrap();
    raw::message(&mut end).await;
    let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    end.write_all(switched.as_bytes()).await.unwrap();
    let (head, _) = raw::message(&mut tunnel).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");

    let (from, to) = (console.local_addr().unwrap().to_string(), other.address.to_string());
    gate.reload(|text| text.replace(&from, &to).replace("\"one\"", "\"two\"")).await.unwrap();
    let mut fresh = Kept::open(gate.address()).await;
    let (status, head, body) = fresh.get("/").await;
    assert!(status == 200 && head.contains("x-variant: two\r\n") && body == "hello", "{head}");
    served.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow").await.unwrap();
    let (head, body) = raw::message(&mut slow).await;
    assert!(head.contains("x-variant: one\r\n") && body == b"slow", "{head}");
    let mut slow = Kept(slow);
    assert!(slow.get("/").await.1.contains("x-variant: two\r\n"), "the next one");
    end.write_all(b"\x81\x02hi").await.unwrap();
    let mut found = [0; 4];
    tokio::time::timeout(DEADLINE, tunnel.read_exact(&mut found)).await.unwrap().unwrap();
    assert_eq!(&found, b"\x81\x02hi");
    // Connections that nobody can use any more are closed.
    assert_eq!(raw::rest(&mut served).await, "");
}

#[tokio::test]
async fn o09_a_certificate_that_others_took_the_place_of_is_shown_no_more() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
    let folder = gate.scratch.path().join("other");
    std::fs::create_dir_all(&folder).unwrap();
    let names = [PUBLIC_HOST, "localhost", "127.0.0.1"];
    let other = doorward_certs::development::DevelopmentCertificate::ensure(&folder, &names);
    let other = other.unwrap();
    let TlsFiles { chain_file, key_file } = &other.tls;
    let hello = async |ca_file: &std::path::Path| {
        let config = raw::tls_config(ca_file, &[]);
        raw::tls(gate.address(), PUBLIC_HOST, config).await.is_ok()
    };
    let first = gate.scratch.path().join("ca.pem");
    assert!(hello(&first).await && !hello(&other.ca_file).await);
    gate.reload(|text| {
        text.replace("\"chain.pem\"", &format!("{chain_file:?}"))
            .replace("\"key.pem\"", &format!("{key_file:?}"))
    })
    .await
    .unwrap();
    assert!(!hello(&first).await && hello(&other.ca_file).await);
}

#[tokio::test]
async fn o09_connections_that_began_by_other_rules_of_their_listener_end() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\naccess = \"public\"\n";
    let gate = TestGate::start(&upstream, Setup { tables, ..Setup::default() }).await;
    let mut kept = Kept::open(gate.address()).await;
    assert_eq!(kept.get("/").await.0, 200);
    gate.reload(|text| {
        text.replace("[upstream.console]", "trusted_proxies = [\"127.0.0.1\"]\n[upstream.console]")
    })
    .await
    .unwrap();
    eventually("the end of the connection", async || {
        tokio::time::timeout(Duration::from_millis(100), raw::rest(&mut kept.0)).await.is_ok()
    })
    .await;
}
