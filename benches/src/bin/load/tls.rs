//! TLS as the load talks it: version 1.3, X25519, AES-128, and every handshake a full one.
//!
//! One offer of each kind, so that every peer does the same work. The certificate is not verified
//! and neither is its signature: what a handshake costs the client is of no interest here, and a
//! cheaper client keeps the server busier.

use std::{
    fs::{self, Permissions},
    io,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    StreamOwned,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{configs::HOST, http::Stream};

/// The one cipher suite that is offered, as OpenSSL calls it.
pub(crate) const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// An ECDSA P-256 certificate for the host, which every peer presents.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes a self-signed one in this directory.
    pub(crate) fn make(directory: &Path) -> Self {
        let made = Self { chain: directory.join("chain.pem"), key: directory.join("key.pem") };
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "7", "-subj", &format!("/CN={HOST}")])
            .args(["-addext", &format!("subjectAltName=DNS:{HOST}")])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.chain)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("openssl runs");
        assert!(status.success(), "openssl req: {status}");
        fs::set_permissions(&made.key, Permissions::from_mode(0o600)).expect("a private key");
        made
    }
}

/// Opens TLS connections, never resuming an earlier one.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// A connector for all connections of a run.
    pub(crate) fn new() -> Self {
        let all = aws_lc_rs::default_provider();
        let suites = aws_lc_rs::ALL_CIPHER_SUITES.iter().copied();
        let provider = CryptoProvider {
            cipher_suites: suites
                .filter(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256)
                .collect(),
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..all
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// Wraps a connection; the handshake happens with the first octets.
    pub(crate) fn connect(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let name = ServerName::try_from(HOST).expect("a host name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name);
        let connection = connection.map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn end(&mut self) {
        self.conn.send_close_notify();
        drop(self.conn.write_tls(&mut self.sock));
    }
}

/// Believes every certificate.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
