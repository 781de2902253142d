//! A client that sends exactly the octets it is given.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::DEADLINE;

/// Sends `octets`, says that nothing more comes, and gives all that comes back.
///
/// # Panics
/// When the gate does not close the connection within [`DEADLINE`].
pub async fn exchange(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gate may have refused, and closed, before everything is sent.
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    rest(&mut stream).await
}

/// Sends `octets` and gives all that comes back until the gate closes; the client's end stays open,
/// so that only the gate can end the connection.
///
/// # Panics
/// As [`exchange`].
pub async fn send(address: SocketAddr, octets: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gate may have refused, and closed, before everything is sent.
    let _ = stream.write_all(octets.as_ref()).await;
    rest(&mut stream).await
}

/// Reads one message, whichever end sends it, whose length its head tells: head and body.
///
/// # Panics
/// When the connection ends or pauses before the message is over.
pub async fn message(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        stream.read_exact(&mut body).await.expect("a whole body");
        (head, body)
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("a message in time")
}

/// The authority in `ca_file`.
#[must_use]
pub fn roots(ca_file: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
    roots
}

/// A client's TLS with the authority in `ca_file`, offering these protocols.
#[must_use]
pub fn tls_config(ca_file: &Path, protocols: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(ca_file))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// A TLS connection that asks for `host`.
///
/// # Errors
/// Why the handshake failed.
pub async fn tls(
    address: SocketAddr,
    host: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Everything until the other end closes.
///
/// # Panics
/// When it does not within [`DEADLINE`].
pub async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A reset ends what there is to read as well as a close does.
    let reading = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(
        reading.is_ok(),
        "the connection stays open after {:?}",
        String::from_utf8_lossy(&answer)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the responses in `answer`, in order.
#[must_use]
pub fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}
