//! TLS: the certificates that listeners show, and how upstreams are verified.
//!
//! Only TLS 1.2 and 1.3 with the forward-secret AEAD suites of rustls; session tickets are
//! rotated by rustls, and early data (RFC 8470) is off.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use doorward_config::TlsFiles;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::KeyFileError;
use crate::clients::ClientAuthorities;

/// The certificates of one listener. They are read again when their files change.
pub struct TlsIdentities {
    files: Vec<TlsFiles>,
    loaded: RwLock<Loaded>,
}

#[derive(Default)]
struct Loaded {
    identities: Vec<Identity>,
    changed: Vec<Option<SystemTime>>,
}

struct Identity {
    key: Arc<CertifiedKey>,
    /// For matching the name that a client asks for.
    leaf: CertificateDer<'static>,
    /// When that runs out; `None`: it cannot be read.
    expires: Option<u64>,
}

impl TlsIdentities {
    /// Reads all certificates and keys of a listener.
    ///
    /// # Errors
    /// [`KeyFileError`] when a file cannot be read, is not PEM, or key and certificate differ.
    pub fn load(files: &[TlsFiles]) -> Result<Arc<Self>, KeyFileError> {
        let identities = Self { files: files.to_vec(), loaded: RwLock::default() };
        identities.reload_if_changed()?;
        Ok(Arc::new(identities))
    }

    /// Reads the files again if one of them has changed; connections that exist go on. A broken
    /// file leaves the certificates as they were. Says whether they were swapped.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload_if_changed(&self) -> Result<bool, KeyFileError> {
        let changed: Vec<_> = self
            .files
            .iter()
            .flat_map(|files| [modified(&files.chain_file), modified(&files.key_file)])
            .collect();
        if self.read(|loaded| loaded.changed == changed && !loaded.identities.is_empty()) {
            return Ok(false);
        }
        let identities = self.files.iter().map(Identity::load).collect::<Result<Vec<_>, _>>()?;
        let mut loaded = self.loaded.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *loaded = Loaded { identities, changed };
        Ok(true)
    }

    /// When the first of these certificates runs out, in seconds since the Unix epoch.
    pub fn expires(&self) -> Option<u64> {
        self.read(|loaded| loaded.identities.iter().filter_map(|found| found.expires).min())
    }

    fn read<T>(&self, look: impl FnOnce(&Loaded) -> T) -> T {
        look(&self.loaded.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// How a listener with these certificates talks TLS, by this time. Clients are asked for a
    /// certificate if there are authorities to verify it with.
    ///
    /// # Errors
    /// When the cryptographic library has none of the protocol versions.
    pub fn server_config(
        self: &Arc<Self>,
        http2: bool,
        clients: Option<&Arc<ClientAuthorities>>,
        time: Arc<dyn TimeProvider>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_details(provider(), time)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::<_>::clone(clients) as Arc<_>),
        };
        let mut config = builder.with_cert_resolver(Arc::<Self>::clone(self));
        // Some clients of HTTP/1.0 say so; one that offers nothing known would be turned away.
        let protocols: &[&[u8]] = &[b"h2", b"http/1.1", b"http/1.0"];
        let offered = protocols.iter().skip(usize::from(!http2));
        config.alpn_protocols = offered.map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for TlsIdentities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentities").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for TlsIdentities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.read(|loaded| {
            let named = hello
                .server_name()
                .and_then(|name| loaded.identities.iter().find(|identity| identity.is_for(name)));
            named.or(loaded.identities.first()).map(|identity| Arc::clone(&identity.key))
        })
    }
}

/// The gate as a client shows its first certificate to whoever asks.
impl ResolvesClientCert for TlsIdentities {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.read(|loaded| loaded.identities.first().map(|identity| Arc::clone(&identity.key)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Identity {
    fn load(files: &TlsFiles) -> Result<Self, KeyFileError> {
        let chain = read_certificates(&files.chain_file)?;
        let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| {
            KeyFileError::content(&files.key_file, format!("no private key in PEM: {error}"))
        })?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(KeyFileError::content(&files.chain_file, "no certificate in PEM"));
        };
        let expires = expiry(&leaf);
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            KeyFileError::content(&files.key_file, format!("does not fit its certificate: {error}"))
        })?;
        Ok(Self { key: Arc::new(key), leaf, expires })
    }

    fn is_for(&self, name: &str) -> bool {
        use rustls::client::verify_server_name;
        use rustls::pki_types::ServerName;
        use rustls::server::ParsedCertificate;
        let (Ok(name), Ok(leaf)) =
            (ServerName::try_from(name), ParsedCertificate::try_from(&self.leaf))
        else {
            return false;
        };
        verify_server_name(&leaf, &name).is_ok()
    }
}

/// When a certificate runs out, in seconds since the Unix epoch.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

pub(crate) fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, KeyFileError> {
    let unreadable =
        |error| KeyFileError::content(file, format!("no certificates in PEM: {error}"));
    CertificateDer::pem_file_iter(file)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)
}

/// How an upstream is verified: against the certificates in `ca_file`, or else the system's. The
/// gate shows its `own` certificate if it is asked for one, and offers HTTP/2 or HTTP/1.1.
///
/// # Errors
/// [`KeyFileError`] when a file cannot be read or has nothing that can be used.
pub fn client_config(
    ca_file: Option<&PathBuf>,
    own: Option<Arc<TlsIdentities>>,
    http2: bool,
) -> Result<Arc<ClientConfig>, KeyFileError> {
    let system = Path::new("the system's certificates");
    let unusable = |error: rustls::Error| {
        KeyFileError::content(ca_file.map_or(system, PathBuf::as_path), error.to_string())
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match ca_file {
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider()).map_err(unusable)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Some(file) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(read_certificates(file)?);
            if added == 0 {
                return Err(KeyFileError::content(file, "has no certificate that can be used"));
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(identities) => builder.with_client_cert_resolver(identities),
    };
    let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
