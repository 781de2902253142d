//! How a listener takes client certificates (mutual TLS), and what in them names an account.
//!
//! The keys stand in `[[listener]]`. Not here: the routes at which a certificate signs in
//! (`[[route]]`), and verification (`certs`).

use std::path::PathBuf;

use crate::problem::Fault;
use crate::reader::Reader;

/// How client certificates are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Authorities in PEM.
    pub ca_file: PathBuf,
    /// Their revocation lists in PEM; `None`: nobody asks whether a certificate was revoked.
    pub crl_file: Option<PathBuf>,
    /// A connection without one is closed.
    pub required: bool,
    /// What in a certificate names its account.
    pub account: AccountPart,
}

/// The part of a certificate that names an account. Where a certificate has several of a kind, it
/// names nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountPart {
    /// The common name of its subject.
    CommonName,
    /// Its DNS name (RFC 5280 §4.2.1.6).
    Dns,
    /// Its e-mail address.
    Email,
    /// What follows this beginning of its URI.
    Uri(String),
}

impl AccountPart {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "common_name" => Self::CommonName,
            "dns" => Self::Dns,
            "email" => Self::Email,
            other => {
                // Without an authority of its own, and a "/" behind it, the beginning would take
                // the names of another: spiffe://example.org against spiffe://example.org.evil/.
                let prefix = other.strip_prefix("uri:")?;
                let (scheme, rest) = prefix.split_once("://")?;
                let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '%' | '?' | '#');
                let whole = !scheme.is_empty() && rest.len() > 1 && !rest.starts_with('/');
                if !(whole && prefix.ends_with('/') && prefix.chars().all(plain)) {
                    return None;
                }
                Self::Uri(prefix.to_owned())
            }
        })
    }
}

impl ClientCertificates {
    /// Reads the keys of a listener; `plain`: it has no TLS.
    pub(crate) fn read(reader: &Reader<'_>, plain: bool) -> Option<Self> {
        if plain && reader.has("client_ca_file") {
            reader.problem(
                "client_ca_file",
                Fault::new("has no effect here.", "Add tls, or remove it."),
            );
        }
        // Who writes these expects that strangers are kept out. A default written out means nothing.
        let required = reader.text("client_certificate") == "required";
        for (key, given) in
            [("client_certificate", required), ("client_crl_file", reader.has("client_crl_file"))]
        {
            if given && !reader.has("client_ca_file") {
                let advice = "Add client_ca_file, or remove it.";
                reader.problem(key, Fault::new("has no effect here.", advice));
            }
        }
        let crl_file = reader.readable_file("client_crl_file");
        let account = AccountPart::parse(&reader.text("client_certificate_account"));
        reader.readable_file("client_ca_file").map(|ca_file| Self {
            ca_file,
            crl_file,
            required,
            account: account.unwrap_or(AccountPart::CommonName),
        })
    }
}

pub(crate) fn verify_account_part(text: &str) -> Result<(), Fault> {
    match AccountPart::parse(text) {
        Some(_) => Ok(()),
        None => Err(Fault::new(
            format!("{text:?} is no part of a certificate."),
            "Write \"common_name\", \"dns\", \"email\", or the beginning of a URI that ends in \"/\", such as \"uri:spiffe://example.org/\".",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_uri_ends_where_a_name_begins() {
        let uri = |text: &str| Some(AccountPart::Uri(text.into()));
        for prefix in ["spiffe://example.org/", "spiffe://example.org/ns/ci/", "https://a/"] {
            assert_eq!(AccountPart::parse(&format!("uri:{prefix}")), uri(prefix), "{prefix}");
        }
        for wrong in [
            "",
            "CN",
            "uri",
            "uri:",
            "uri:/",
            "uri:spiffe://example.org",
            "uri:spiffe:///",
            "uri:://example.org/",
            "uri:urn:example/",
            "uri:spiffe://example.org/%61/",
            "uri:spiffe://example.org/ /",
        ] {
            assert_eq!(AccountPart::parse(wrong), None, "{wrong:?}");
        }
    }
}
