//! Client certificates: by which authorities they are verified, and whom they name.
//!
//! A handshake is refused when a certificate has expired, is not valid yet, is on a revocation
//! list, or comes from nobody whom the operator named. Revocation fails closed: with a list file,
//! each authority of a chain (but the trusted one's own certificate) needs a list that is not out
//! of date.
//!
//! A handshake is long past when a connection lives for days or is resumed, so a
//! [`ClientCertificate`] can be asked whether it is still good: the answer is looked for anew when
//! the files have changed, when a minute has passed, and when the certificate expires.
//!
//! Clients are not told which authorities are trusted: a stranger need not know, and the set can
//! change under a listener that goes on.
//!
//! Not here: accounts, and what a certificate is worth at which route (`plugins`).

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use doorward_config::{AccountPart, ClientCertificates as Rules};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::KeyFileError;
use crate::tls::{modified, provider, read_certificates};

/// For so long, in seconds, a certificate that was good is taken to be good: a revocation list
/// that runs out meanwhile is noticed then.
const RECHECK_SECS: u64 = 60;

/// Who vouches for the clients of one listener. Read again when its files change.
#[derive(Debug)]
pub struct ClientAuthorities {
    rules: Rules,
    loaded: RwLock<Loaded>,
    /// How often it was read; counted after the new rules hold.
    generation: AtomicU64,
}

#[derive(Debug)]
struct Loaded {
    verifier: Arc<dyn ClientCertVerifier>,
    changed: Vec<Option<SystemTime>>,
}

/// The verified certificate of a connection's client.
#[derive(Debug)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Whom it names, as it is written there; `None`: nobody, or several.
    pub account: Option<Arc<str>>,
    /// Leaf first.
    chain: Vec<CertificateDer<'static>>,
    /// Unix seconds from which on it is worth nothing.
    not_after: u64,
    authorities: Arc<ClientAuthorities>,
    latest: Mutex<Look>,
}

/// What was found when the certificate was last looked at.
#[derive(Clone, Copy, Debug)]
struct Look {
    generation: u64,
    /// In Unix seconds.
    at: u64,
    good: bool,
}

impl ClientAuthorities {
    /// Reads authorities and revocation lists.
    ///
    /// # Errors
    /// [`KeyFileError`] when a file cannot be read or has nothing that can be used.
    pub fn load(rules: &Rules) -> Result<Arc<Self>, KeyFileError> {
        let changed = changed(rules);
        let loaded = RwLock::new(Loaded { verifier: verifier(rules)?, changed });
        Ok(Arc::new(Self { rules: rules.clone(), loaded, generation: AtomicU64::new(0) }))
    }

    /// Is a client without a certificate sent away?
    pub fn is_required(&self) -> bool {
        self.rules.required
    }

    /// Reads the files again if one of them has changed. A broken file leaves everything as it was.
    /// Says whether anything was swapped.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload_if_changed(&self) -> Result<bool, KeyFileError> {
        let changed = changed(&self.rules);
        if self.read(|loaded| loaded.changed == changed) {
            return Ok(false);
        }
        let verifier = verifier(&self.rules)?;
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        *loaded = Loaded { verifier, changed };
        drop(loaded);
        // Release: who sees the new number finds the new rules.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    /// The certificate that a handshake ended with, leaf first. `now` is in Unix seconds. Nothing
    /// of an earlier handshake, which this one may have resumed, is believed. `None`: it is not
    /// good (any more), or cannot be read.
    pub fn identify(
        self: &Arc<Self>,
        chain: &[CertificateDer<'_>],
        now: u64,
    ) -> Option<Arc<ClientCertificate>> {
        let leaf = chain.first()?;
        let (rest, parsed) = X509Certificate::from_der(leaf).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, leaf).as_ref());
        // Valid through the second that it names (RFC 5280 §4.1.2.5).
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).ok()? + 1;
        let never = Look { generation: 0, at: 0, good: false };
        let certificate = ClientCertificate {
            fingerprint,
            account: named(&parsed, &self.rules.account).map(Arc::from),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            not_after,
            authorities: Arc::clone(self),
            latest: Mutex::new(never),
        };
        certificate.is_good(now).then(|| Arc::new(certificate))
    }

    fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let verifier = self.read(|loaded| Arc::clone(&loaded.verifier));
        let Some((leaf, others)) = chain.split_first() else { return false };
        verifier.verify_client_cert(leaf, others, now).is_ok()
    }

    fn read<T>(&self, look: impl FnOnce(&Loaded) -> T) -> T {
        look(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientCertificate {
    /// Is it still good at `now`, in Unix seconds? A few comparisons, unless it has to be looked at
    /// again: then two or three signatures are verified.
    pub fn is_good(&self, now: u64) -> bool {
        let generation = self.authorities.generation.load(Ordering::Acquire);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if now < self.not_after && !latest.holds(generation, now) {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
            *latest = Look { generation, at: now, good: self.authorities.verify(&self.chain, at) };
        }
        now < self.not_after && latest.good
    }

    /// The same as far as it is known without verifying anything.
    pub fn is_known_good(&self, now: u64) -> Option<bool> {
        if now >= self.not_after {
            return Some(false);
        }
        let generation = self.authorities.generation.load(Ordering::Acquire);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.holds(generation, now).then_some(latest.good)
    }
}

impl Look {
    fn holds(&self, generation: u64, now: u64) -> bool {
        // A clock that was set back proves nothing.
        let recent = self.at <= now && now - self.at < RECHECK_SECS;
        recent && self.generation == generation
    }
}

/// Rustls asks this one, and it asks the rules of the moment.
impl ClientCertVerifier for ClientAuthorities {
    fn client_auth_mandatory(&self) -> bool {
        self.rules.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verifier = self.read(|loaded| Arc::clone(&loaded.verifier));
        verifier.verify_client_cert(leaf, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn changed(rules: &Rules) -> Vec<Option<SystemTime>> {
    std::iter::once(&rules.ca_file).chain(&rules.crl_file).map(|file| modified(file)).collect()
}

fn verifier(rules: &Rules) -> Result<Arc<dyn ClientCertVerifier>, KeyFileError> {
    let unusable = |error: &dyn std::fmt::Display| {
        let file = rules.crl_file.as_ref().unwrap_or(&rules.ca_file);
        KeyFileError::content(file, error.to_string())
    };
    let mut roots = RootCertStore::empty();
    for authority in read_certificates(&rules.ca_file)? {
        // One that is left out silently would shut out those for whom it vouches.
        roots.add(authority).map_err(|error| {
            KeyFileError::content(&rules.ca_file, format!("cannot be an authority: {error}"))
        })?;
    }
    if roots.is_empty() {
        return Err(KeyFileError::content(&rules.ca_file, "has no certificate"));
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if let Some(file) = &rules.crl_file {
        // Without the second a thief who keeps a fresh list away keeps his certificate.
        builder = builder.with_crls(read_lists(file)?).enforce_revocation_expiration();
    }
    if !rules.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| unusable(&error))
}

fn read_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, KeyFileError> {
    let unreadable =
        |error| KeyFileError::content(file, format!("no revocation lists in PEM: {error}"));
    let lists: Vec<_> = CertificateRevocationListDer::pem_file_iter(file)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if lists.is_empty() {
        return Err(KeyFileError::content(file, "has no revocation list"));
    }
    Ok(lists)
}

/// Whom `part` of a certificate names, if it is there once.
fn named<'c>(certificate: &'c X509Certificate<'_>, part: &AccountPart) -> Option<&'c str> {
    if *part == AccountPart::CommonName {
        let mut names = certificate.subject().iter_common_name();
        let (Some(name), None) = (names.next(), names.next()) else { return None };
        return name.as_str().ok();
    }
    let alternatives = certificate.subject_alternative_name().ok()??;
    let of_kind = |name: &'c GeneralName<'_>| match (part, name) {
        (AccountPart::Dns, GeneralName::DNSName(name))
        | (AccountPart::Email, GeneralName::RFC822Name(name))
        | (AccountPart::Uri(_), GeneralName::URI(name)) => Some(*name),
        _ => None,
    };
    let mut names = alternatives.value.general_names.iter().filter_map(of_kind);
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    match part {
        AccountPart::Uri(prefix) => name.strip_prefix(prefix.as_str()),
        AccountPart::CommonName | AccountPart::Dns | AccountPart::Email => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    /// Whom a certificate with these common names and alternative names names.
    #[track_caller]
    fn check(part: &AccountPart, common: &[&str], others: &[SanType], expected: Option<&str>) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // The library knows one of each type; the second is the same by its number.
        let types = [DnType::CommonName, DnType::CustomDnType(vec![2, 5, 4, 3])];
        for (kind, name) in types.into_iter().zip(common) {
            params.distinguished_name.push(kind, *name);
        }
        params.subject_alt_names = others.to_vec();
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = X509Certificate::from_der(made.der()).unwrap();
        assert_eq!(named(&parsed, part), expected, "{part:?} of {common:?}, {others:?}");
    }

    #[test]
    fn a_certificate_names_one_account_or_nobody() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let email = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let others =
            [dns("ci.example.org"), email("ci@example.org"), uri("spiffe://example.org/acme/ci")];
        let prefix = |text: &str| AccountPart::Uri(text.into());
        let example = prefix("spiffe://example.org/");
        for (part, expected) in [
            (AccountPart::CommonName, Some("Ci Ä")),
            (AccountPart::Dns, Some("ci.example.org")),
            (AccountPart::Email, Some("ci@example.org")),
            (example.clone(), Some("acme/ci")),
            (prefix("spiffe://example.org/acme/"), Some("ci")),
            (prefix("spiffe://example/"), None),
            (prefix("https://example.org/"), None),
        ] {
            check(&part, &["Ci Ä"], &others, expected);
            check(&part, &[], &[], None);
            // A second of the kind, even where it would not fit, leaves no one to take.
            let mut twice = others.to_vec();
            twice.extend([dns("b.example.org"), email("b@example.org"), uri("urn:b")]);
            let common = if part == AccountPart::CommonName { Some("Ci Ä") } else { None };
            check(&part, &["Ci Ä"], &twice, common);
        }
        check(&AccountPart::CommonName, &["alice", "alice"], &[], None);
        check(&AccountPart::Dns, &["alice"], &[email("alice@example.org")], None);
        check(&example, &[], &[uri("spiffe://example.org.evil.example/alice")], None);
    }
}
