//! A private authority and a leaf certificate, for `demo` and for tests. Never for the public:
//! its key lies in a folder, and nobody vouches for it.

use std::path::{Path, PathBuf};

use doorward_config::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::file::{KeyFileError, replace_private};

/// A leaf certificate with its key, and the authority that vouches for it.
#[derive(Clone, Debug)]
pub struct DevelopmentCertificate {
    /// The authority's certificate, for clients.
    pub ca_file: PathBuf,
    /// The leaf and its key, for a listener.
    pub tls: TlsFiles,
}

impl DevelopmentCertificate {
    /// Makes an authority and a leaf for `names` in `folder`, or takes those that are there.
    /// The authority's own key is forgotten at once, so that it can never vouch for another name.
    ///
    /// # Errors
    /// [`KeyFileError`] when the files cannot be written.
    pub fn ensure(folder: &Path, names: &[&str]) -> Result<Self, KeyFileError> {
        let made = Self {
            ca_file: folder.join("ca.pem"),
            tls: TlsFiles {
                chain_file: folder.join("chain.pem"),
                key_file: folder.join("key.pem"),
            },
        };
        // The key is written last: where it is, the others are.
        if !made.tls.key_file.exists() {
            let (ca, leaf, key) =
                make(names).map_err(|error| KeyFileError::content(folder, error.to_string()))?;
            replace_private(&made.ca_file, ca.as_bytes())?;
            replace_private(&made.tls.chain_file, leaf.as_bytes())?;
            replace_private(&made.tls.key_file, key.as_bytes())?;
        }
        Ok(made)
    }
}

/// Authority, leaf and leaf key, in PEM.
fn make(names: &[&str]) -> Result<(String, String, String), rcgen::Error> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Doorward development authority");
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;

    let mut leaf =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    leaf.distinguished_name.push(DnType::CommonName, "Doorward development");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let leaf_certificate = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;
    Ok((ca_certificate.pem(), leaf_certificate.pem(), leaf_key.serialize_pem()))
}
