//! The operators' side: health, metrics, the administration socket; none of it for the public.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use doorward_tests::{Answer, Browser, Setup, TestGate, Upstream, eventually, series};
use http::{Method, StatusCode};

async fn plain_gate() -> (Upstream, TestGate) {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup::default()).await;
    (upstream, gate)
}

async fn ask(address: SocketAddr, path: &str) -> Answer {
    Browser::new(address, "localhost", None).get(path).await
}

#[tokio::test]
async fn a_running_gate_is_alive_started_and_ready() {
    let (_upstream, gate) = plain_gate().await;
    for path in ["/livez", "/startupz", "/readyz"] {
        let answer = ask(gate.operations(), path).await;
        assert_eq!((answer.status, &*answer.text()), (StatusCode::OK, "ok\n"), "{path}");
    }
    assert_eq!(ask(gate.operations(), "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn n11_metrics_move_and_their_number_does_not() {
    let (_upstream, gate) = plain_gate().await;
    let answer = ask(gate.operations(), "/metrics").await;
    assert!(answer.field("content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(series(&answer.text(), "doorward_sessions"), 0);
    let mut inside = gate.signed_in().await;
    let mut scrapes = Vec::new();
    // What was never decided has no series: one of each kind first.
    for rounds in [0..1, 1..40] {
        let refused = 2 * rounds.end;
        for index in rounds {
            inside.get(&format!("/page-{index}?user={index}")).await;
            gate.browser().get(&format!("/stranger-{index}")).await;
            gate.browser().try_sign_in(&format!("user{index}\u{1f600}"), "x").await;
        }
        let mut scrape = String::new();
        eventually("the count of every answer", async || {
            scrape = ask(gate.operations(), "/metrics").await.text();
            series(&scrape, "doorward_requests_total{status=\"4xx\"}") == refused
        })
        .await;
        scrapes.push(scrape);
    }
    let [before, after] = &scrapes[..] else { panic!("two scrapes") };
    assert_eq!(series(after, "doorward_requests_total{status=\"2xx\"}"), 41);
    assert_eq!(series(after, "doorward_request_duration_seconds_count"), 121);
    assert_eq!(series(after, "doorward_request_duration_seconds_bucket{le=\"+Inf\"}"), 121);
    assert_eq!(series(after, "doorward_sessions"), 1);
    assert_eq!(series(after, "doorward_log_lines_dropped_total"), 0);
    assert!(after.contains("doorward_connections "));
    let decided = [
        ("upstream\",reason=\"forwarded", 40),
        ("access\",reason=\"session-required", 40),
        ("portal\",reason=\"sign-in-failed", 40),
    ];
    for (what, count) in decided {
        assert_eq!(series(after, &format!("doorward_decisions_total{{by=\"{what}\"}}")), count);
    }
    assert_eq!(series(after, "doorward_gate_duration_seconds_count{answer=\"console\"}"), 40);
    assert_eq!(series(after, "doorward_upstream_duration_seconds_count"), 40);
    assert_eq!(series(after, "doorward_events_total{event=\"authn_login_fail\"}"), 40);
    assert_eq!(series(after, "doorward_assertions_signed_total"), 1);
    let series = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    // Values that a client chose are in no label: the series are the same as before.
    assert_eq!(series(after).len(), series(before).len());
    for series in series(after) {
        assert!(!series.contains("user") && !series.contains("page"), "{series}");
    }
}

#[tokio::test]
async fn a16_the_public_listener_knows_nothing_of_it() {
    let (upstream, gate) = plain_gate().await;
    let own = gate.operations().to_string();
    let paths = ["/livez", "/readyz", "/startupz", "/metrics", "/administration"];
    for prefix in ["", "/.doorward", "/.doorward/api", "/.doorward/api/v1"] {
        for path in paths {
            for host in ["console.example.com", "localhost", &own] {
                for method in [Method::GET, Method::POST] {
                    let mut browser = gate.browser();
                    browser.host = host.into();
                    let answer =
                        browser.send(method, &format!("{prefix}{path}"), &[], "".into()).await;
                    let expected = match (host, prefix) {
                        ("console.example.com", "") => StatusCode::UNAUTHORIZED,
                        ("console.example.com", _) => StatusCode::NOT_FOUND,
                        _ => StatusCode::MISDIRECTED_REQUEST,
                    };
                    assert_eq!(answer.status, expected, "{host} {prefix}{path}");
                    assert!(!answer.text().contains("doorward_"), "{host} {prefix}{path}");
                }
            }
        }
    }
    assert_eq!(upstream.count(), 0);
    let administration = ask(gate.operations(), "/administration").await;
    assert_eq!(administration.status, StatusCode::NOT_FOUND, "administration has its own socket");
}

#[tokio::test]
async fn p05_what_the_gate_writes_is_for_its_own_user() {
    let (_upstream, mut gate) = plain_gate().await;
    gate.signed_in().await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(gate.scratch.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "doorward.toml" {
            continue; // The test's.
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} is {mode:o}");
        names.push(name);
    }
    for needed in ["doorward.db", "doorward.keys", "doorward.lock", "doorward.sock"] {
        assert!(names.iter().any(|name| name == needed), "{needed} is not among {names:?}");
    }
    gate.stop();
    assert!(!gate.scratch.path().join("doorward.sock").exists(), "the socket outlives the gate");
}

#[tokio::test]
async fn p05_a_folder_that_the_gate_makes_is_its_own_users() {
    let upstream = Upstream::start().await;
    let text = format!(
        "public_url = \"https://console.example.com\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"DIR/new/doorward.db\"\n[operations]\naddress = \"127.0.0.1:0\"\n",
        upstream.address
    );
    let gate = TestGate::with_config(&text).await;
    let folder = gate.scratch.path().join("new");
    let mode = std::fs::metadata(folder).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[tokio::test]
async fn the_socket_takes_the_place_of_one_that_was_left_behind() {
    let (_upstream, gate) = plain_gate().await;
    let socket = gate.scratch.path().join("doorward.sock");
    let gate = gate.restart().await;
    drop(std::os::unix::net::UnixStream::connect(&socket).unwrap());
    let scratch = std::sync::Arc::clone(&gate.scratch);
    let text = std::fs::read_to_string(scratch.path().join("doorward.toml")).unwrap();
    drop(gate);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "as `kill -9` leaves it");
    let again = TestGate::with_config(
        &text.replace("doorward.db", &format!("{}/doorward.db", scratch.path().display())),
    )
    .await;
    drop(std::os::unix::net::UnixStream::connect(&socket).unwrap());
    drop(again);
}

#[tokio::test]
async fn o08_a_client_that_says_nothing_does_not_hold_up_the_end() {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    for (alpn, preface) in [
        ("http/1.1", ""),
        ("h2", ""),
        ("h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ] {
        let upstream = Upstream::start().await;
        let mut gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
        let mut roots = rustls::RootCertStore::empty();
        let ca = gate.scratch.path().join("ca.pem");
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        let stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("console.example.com").unwrap();
        let mut stream =
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, preface.as_bytes()).await.unwrap();
        // Both workers have it in hand when a later request has been answered.
        for _ in 0..4 {
            gate.browser().get("/.doorward/sign-in").await;
        }
        let finished = tokio::task::spawn_blocking(move || gate.stop()).await.unwrap();
        assert!(finished, "{alpn} after {preface:?}: nothing was under way, and the grace ran out");
    }
}
