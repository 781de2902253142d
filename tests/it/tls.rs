//! TLS: the right certificate for each name, swapped without a break; no older protocol; and
//! consoles that are verified before they hear anything.

use std::path::Path;
use std::sync::Arc;

use doorward_certs::development::DevelopmentCertificate;
use doorward_tests::{Answer, PUBLIC_HOST, Scratch, Setup, TestGate, Upstream, raw};
use http::{Method, StatusCode};
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BILLING: &str = "billing.example.com";

const ASK: &str = "GET /public HTTP/1.1\r\nhost: console.example.com\r\n\r\n";

fn certificate(folder: &Path, names: &[&str]) -> DevelopmentCertificate {
    std::fs::create_dir_all(folder).unwrap();
    DevelopmentCertificate::ensure(folder, names).unwrap()
}

fn inline(certificate: &DevelopmentCertificate) -> String {
    format!(
        "{{ chain_file = \"{}\", key_file = \"{}\" }}",
        certificate.tls.chain_file.display(),
        certificate.tls.key_file.display()
    )
}

/// A gate with these certificates and listener keys.
async fn gate(
    upstream: &Upstream,
    certificates: &[&DevelopmentCertificate],
    keys: &str,
) -> TestGate {
    let listed: Vec<_> = certificates.iter().map(|certificate| inline(certificate)).collect();
    TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{}]\n{keys}\n\
         [upstream.console]\naddress = \"http://{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\naccess = \"public\"\n",
        listed.join(", "),
        upstream.address
    ))
    .await
}

/// Connects for `host` with the authority in `ca_file` and says why not.
async fn connect(gate: &TestGate, ca_file: &Path, host: &str) -> Result<(), String> {
    let config = raw::tls_config(ca_file, &[]);
    raw::tls(gate.address(), host, config).await.map(drop).map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn the_name_that_is_asked_for_picks_the_certificate_and_the_first_serves_the_rest() {
    let (upstream, folder) = (Upstream::start().await, Scratch::new());
    let console =
        certificate(&folder.path().join("a"), &[PUBLIC_HOST, "127.0.0.1", "*.wild.example"]);
    let billing = certificate(&folder.path().join("b"), &[BILLING]);
    let gate = gate(&upstream, &[&console, &billing], "").await;
    for (host, right, wrong) in [
        (PUBLIC_HOST, &console, &billing),
        (BILLING, &billing, &console),
        ("Billing.Example.COM", &billing, &console),
        ("x.wild.example", &console, &billing),
        // An address is no name, so that none is asked for.
        ("127.0.0.1", &console, &billing),
    ] {
        connect(&gate, &right.ca_file, host)
            .await
            .unwrap_or_else(|error| panic!("{host}: {error}"));
        let error = connect(&gate, &wrong.ca_file, host).await.unwrap_err();
        // Both authorities have one name, so that it is the signature which does not fit.
        assert!(error.contains("BadSignature"), "{host}: {error}");
    }
    let error = connect(&gate, &console.ca_file, "unknown.example.com").await.unwrap_err();
    assert!(error.contains("NotValidForName"), "the first certificate was shown: {error}");
}

/// The protocol that the gate picks among those offered.
async fn picked(
    gate: &TestGate,
    ca_file: &Path,
    offered: &[&[u8]],
) -> Result<Option<Vec<u8>>, String> {
    let config = raw::tls_config(ca_file, offered);
    let stream =
        raw::tls(gate.address(), PUBLIC_HOST, config).await.map_err(|error| error.to_string())?;
    Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn http2_is_offered_unless_the_configuration_says_no() {
    let (upstream, folder) = (Upstream::start().await, Scratch::new());
    let console = certificate(folder.path(), &[PUBLIC_HOST]);
    let (h2, h1) = (&b"h2"[..], &b"http/1.1"[..]);
    for (keys, both) in [("", h2), ("http2 = true", h2), ("http2 = false", h1)] {
        let gate = gate(&upstream, &[&console], keys).await;
        let ask = async |offered: &[&[u8]]| picked(&gate, &console.ca_file, offered).await;
        assert_eq!(ask(&[h2, h1]).await.unwrap().as_deref(), Some(both), "{keys}");
        assert_eq!(ask(&[h1, h2]).await.unwrap().as_deref(), Some(both), "{keys}");
        assert_eq!(ask(&[h1]).await.unwrap().as_deref(), Some(h1), "{keys}");
        assert_eq!(ask(&[]).await.unwrap(), None, "{keys}");
        assert_eq!(ask(&[h2]).await.is_ok(), both == h2, "{keys}");
        assert!(ask(&[b"spdy/3"]).await.is_err(), "{keys}");
        // Who agrees on nothing speaks HTTP/1.1; prior knowledge of HTTP/2 is not asked for.
        let config = raw::tls_config(&console.ca_file, &[]);
        let mut stream = raw::tls(gate.address(), PUBLIC_HOST, config).await.unwrap();
        stream.write_all(ASK.as_bytes()).await.unwrap();
        assert!(raw::message(&mut stream).await.0.starts_with("HTTP/1.1 200"), "{keys}");
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let trusting = raw::tls_config(&gate.scratch.path().join("ca.pem"), &[]);
        let provider = Arc::clone(trusting.crypto_provider());
        let mut roots = rustls::RootCertStore::empty();
        let ca_file = gate.scratch.path().join("ca.pem");
        roots.add(rustls::pki_types::pem::PemObject::from_pem_file(ca_file).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = raw::tls(gate.address(), PUBLIC_HOST, config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
    }
    for minor in [0, 1, 2] {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        stream.write_all(&old_hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // How the connection ends is not the point; that it does, with an alert, is.
        let _ = tokio::time::timeout(doorward_tests::DEADLINE, reading)
            .await
            .expect("the gate hangs up");
        assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, _]), "3.{minor}: {answer:?}");
    }
}

/// A ClientHello of SSL 3.0, TLS 1.0 or TLS 1.1 (RFC 4346 §7.4.1.2), with suites of that time.
fn old_hello(minor: u8) -> Vec<u8> {
    let suites = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0, u8::try_from(suites.len()).unwrap()]);
    hello.extend(suites);
    hello.extend([1, 0]);
    let size = u8::try_from(hello.len()).unwrap();
    [&[22, 3, minor, 0, size + 4, 1, 0, 0, size], &hello[..]].concat()
}

#[tokio::test]
async fn l06_certificates_are_swapped_under_connections_that_go_on() {
    let (upstream, folder) = (Upstream::start().await, Scratch::new());
    let old = certificate(&folder.path().join("old"), &[PUBLIC_HOST]);
    let new = certificate(&folder.path().join("new"), &[PUBLIC_HOST]);
    let shown = certificate(&folder.path().join("shown"), &[PUBLIC_HOST]);
    let show = |chain: &Path, key: &Path| {
        std::fs::copy(chain, &shown.tls.chain_file).unwrap();
        std::fs::copy(key, &shown.tls.key_file).unwrap();
    };
    show(&old.tls.chain_file, &old.tls.key_file);
    let gate = gate(&upstream, &[&shown], "").await;
    let config = raw::tls_config(&old.ca_file, &[]);
    let mut kept = raw::tls(gate.address(), PUBLIC_HOST, config).await.unwrap();

    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    for (chain, key) in [
        (&garbage, &new.tls.key_file),
        (&new.tls.chain_file, &garbage),
        // A certificate with another one's key, as when only half was written yet.
        (&new.tls.chain_file, &old.tls.key_file),
    ] {
        show(chain, key);
        gate.reload_certificates();
        connect(&gate, &old.ca_file, PUBLIC_HOST).await.expect("a broken file changes nothing");
    }
    std::fs::remove_file(&shown.tls.chain_file).unwrap();
    gate.reload_certificates();
    connect(&gate, &old.ca_file, PUBLIC_HOST).await.expect("a missing file changes nothing");

    show(&new.tls.chain_file, &new.tls.key_file);
    gate.reload_certificates();
    connect(&gate, &new.ca_file, PUBLIC_HOST).await.expect("the new certificate is shown");
    assert!(connect(&gate, &old.ca_file, PUBLIC_HOST).await.is_err(), "the old one still is");
    kept.write_all(ASK.as_bytes()).await.unwrap();
    let (head, _) = raw::message(&mut kept).await;
    assert!(head.starts_with("HTTP/1.1 200"), "a connection that was there goes on: {head}");
}

#[tokio::test]
async fn a_tls_listener_says_https_to_the_console() {
    let upstream = Upstream::start().await;
    let gate = TestGate::start(&upstream, Setup { tls: true, ..Setup::default() }).await;
    let mut alice = gate.signed_in().await;
    for mut browser in [alice.clone(), alice.clone().over_http2()] {
        assert_eq!(browser.get("/").await.status, StatusCode::OK);
        let last = upstream.last();
        assert_eq!(last.field("x-forwarded-proto"), Some("https"));
        assert!(last.field("forwarded").unwrap().ends_with(";proto=https"));
    }
    assert_eq!(alice.get("/").await.status, StatusCode::OK);
}

/// What alice gets of a console that shows the certificate in `files`, under these keys.
async fn ask_console(upstream: &Upstream, keys: &str) -> Answer {
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.console]\naddress = \"https://{}\"\n{keys}\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n",
        upstream.address
    ))
    .await;
    gate.signed_in().await.send(Method::POST, "/", &[], "body".into()).await
}

#[tokio::test]
async fn l04_a_console_that_cannot_prove_its_name_hears_nothing() {
    let folder = Scratch::new();
    let inside = certificate(&folder.path().join("inside"), &["inside.example"]);
    let other = certificate(&folder.path().join("other"), &["inside.example"]);
    let upstream = Upstream::tls(inside.tls.clone()).await;
    let (ca, other_ca) = (inside.ca_file.display(), other.ca_file.display());
    for keys in [
        format!("ca_file = \"{ca}\"\nserver_name = \"other.example\""),
        format!("ca_file = \"{ca}\"\nserver_name = \"sub.inside.example\""),
        // The host of the address is not in the certificate.
        format!("ca_file = \"{ca}\""),
        format!("ca_file = \"{other_ca}\"\nserver_name = \"inside.example\""),
        // The system's authorities do not know it.
        "server_name = \"inside.example\"".to_owned(),
    ] {
        let answer = ask_console(&upstream, &keys).await;
        assert_eq!((answer.status, upstream.count()), (StatusCode::BAD_GATEWAY, 0), "{keys}");
    }
    let answer =
        ask_console(&upstream, &format!("ca_file = \"{ca}\"\nserver_name = \"inside.example\""))
            .await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "hello"));
    assert_eq!(upstream.last().field("remote-user"), Some("alice"));

    // Plain HTTP where TLS is expected is not fallen back to.
    let plain = Upstream::start().await;
    let keys = format!("ca_file = \"{ca}\"\nconnect_timeout = \"1s\"");
    let answer = ask_console(&plain, &keys).await;
    assert_eq!((answer.status, plain.count()), (StatusCode::GATEWAY_TIMEOUT, 0));
}
