//! An authority for client certificates, the certificates that it gives, and those that it takes
//! back.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::raw;

/// Day of the calendar: year, month, day.
pub type Day = (i32, u8, u8);

/// Somebody who vouches for clients.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct ClientIdentity(Arc<CertifiedKey>);

impl Authority {
    /// A new one of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for the account `name`, as `change` makes it.
    pub fn vouch(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ClientIdentity {
        let mut params = params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        ClientIdentity::new(&params.signed_by(&key, &self.issuer).unwrap(), &key)
    }

    /// A list of what it has taken back, in PEM, good through 2026 and until this day.
    #[must_use]
    pub fn revocations(&self, serials: &[u64], until: Day) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(until.0, until.1, until.2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl ClientIdentity {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain = vec![certificate.der().clone()];
        Self(Arc::new(CertifiedKey::from_der(chain, private, &provider).unwrap()))
    }

    /// One that nobody vouches for but itself.
    #[must_use]
    pub fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::new(&params(name).self_signed(&key).unwrap(), &key)
    }
}

/// A client's TLS in these versions, with the gate's authority in `ca_file`; it shows `identity`
/// whoever asks.
#[must_use]
pub fn tls_config(
    ca_file: &Path,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&ClientIdentity>,
) -> ClientConfig {
    let trusting = raw::tls_config(ca_file, &[]);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(trusting.crypto_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(raw::roots(ca_file))
        .with_no_client_auth();
    if let Some(ClientIdentity(key)) = identity {
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(key)));
    }
    config
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}
