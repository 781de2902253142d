//! `[[listener]]`: where connections are accepted.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::client_certificates::{ClientCertificates, verify_account_part};
use crate::problem::Fault;
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, required};
use crate::text::{some_text, verify_address};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Where connections are accepted.",
    keys: &[
        required(
            "address",
            Kind::Text(verify_address),
            "IP address and port to listen at, for example \"0.0.0.0:8443\"; port 0 takes a free one.",
        ),
        optional(
            "tls",
            Kind::Tables(&TLS),
            "Certificates, chosen by the name that the client asks for; the first serves clients that name none or an unknown one. Plain HTTP when left out.",
        ),
        default(
            "trusted_proxies",
            Kind::List(&Kind::Text(verify_network)),
            "[]",
            "Networks whose Forwarded, X-Forwarded-For and X-Forwarded-Proto fields are believed, and whose PROXY protocol headers are.",
        ),
        default("http2", Kind::Flag, "true", "Offer HTTP/2 to clients of a TLS listener."),
        default(
            "h2c",
            Kind::Flag,
            "false",
            "Take HTTP/2 without TLS from clients that begin with it (prior knowledge); for a plain listener.",
        ),
        default(
            "proxy_protocol",
            Kind::Flag,
            "false",
            "Every connection begins with the client's address (PROXY protocol v1 or v2), stated by a trusted proxy; connections of others are closed.",
        ),
        optional(
            "client_ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that client certificates are verified with (mutual TLS). Clients are not asked for any when left out.",
        ),
        default(
            "client_certificate",
            Kind::Choice(&["optional", "required"]),
            "\"optional\"",
            "With client_ca_file: is a connection without a client certificate closed?",
        ),
        default(
            "client_certificate_account",
            Kind::Text(verify_account_part),
            "\"common_name\"",
            "What in a client certificate names the account at routes with certificate_sign_in: \"common_name\", \"dns\", \"email\", or \"uri:PREFIX\" for what follows PREFIX in its URI. ACCOUNT or ACCOUNT/SUB_USER; a certificate with several of the kind names nobody.",
        ),
        optional(
            "client_crl_file",
            Kind::Text(some_text),
            "Revocation lists in PEM, one of each authority that client certificates come from. A certificate is refused when it is on a list, when its authority has none, and when that list is out of date. Nobody asks about revocation when left out.",
        ),
    ],
};

pub(crate) static TLS: TableSpec = TableSpec {
    doc: "One certificate with its key.",
    keys: &[
        required("chain_file", Kind::Text(some_text), "Certificate chain in PEM, leaf first."),
        required("key_file", Kind::Text(some_text), "Private key in PEM."),
    ],
};

/// Where connections are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificates, first one the default; empty: plain HTTP.
    pub tls: Vec<TlsFiles>,
    /// Peers whose forwarded fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Offer HTTP/2 (TLS only).
    pub http2: bool,
    /// Take HTTP/2 without TLS.
    pub h2c: bool,
    /// Every connection begins with the client's address.
    pub proxy_protocol: bool,
    /// How client certificates are verified, if clients are asked for one.
    pub client_certificates: Option<ClientCertificates>,
}

/// One certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain in PEM, leaf first.
    pub chain_file: PathBuf,
    /// Private key in PEM.
    pub key_file: PathBuf,
}

impl TlsFiles {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            chain_file: reader.readable_file("chain_file").unwrap_or_default(),
            key_file: reader.readable_file("key_file").unwrap_or_default(),
        }
    }
}

impl Listener {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let tls = reader.tables("tls");
        let networks = reader.texts("trusted_proxies");
        let address = reader
            .text("address")
            .parse()
            .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        if !reader.has("tls") && networks.is_empty() && !address.ip().is_loopback() {
            let advice = "Add tls; or name, in trusted_proxies, the proxy that ends TLS; or listen at 127.0.0.1.";
            let reason =
                "is plain HTTP that others can reach: passwords would travel in the clear.";
            reader.problem("address", Fault::new(reason, advice));
        }
        let plain = !reader.has("tls");
        let unwise = [
            (
                "h2c",
                reader.flag("h2c") && !plain,
                "A TLS listener offers HTTP/2 by itself: remove it.",
            ),
            (
                "proxy_protocol",
                reader.flag("proxy_protocol") && networks.is_empty(),
                "Name, in trusted_proxies, who may state a client's address.",
            ),
        ];
        for (key, _, advice) in unwise.into_iter().filter(|(_, holds, _)| *holds) {
            reader.problem(key, Fault::new("has no effect here.", advice));
        }
        Self {
            client_certificates: ClientCertificates::read(reader, plain),
            h2c: reader.flag("h2c"),
            proxy_protocol: reader.flag("proxy_protocol"),
            address,
            tls: tls.iter().map(TlsFiles::read).collect(),
            trusted_proxies: networks.iter().filter_map(|text| parse_network(text)).collect(),
            http2: reader.flag("http2"),
        }
    }
}

/// Notes two that would listen at the same place, operations included.
pub(crate) fn verify_apart(
    listeners: &[Listener],
    readers: &[Reader<'_>],
    operations: SocketAddr,
    operations_reader: &Reader<'_>,
) {
    let fault = |other: &str| {
        let reason = format!("is the same as that of {other}.");
        Fault::new(reason, "Choose another port.")
    };
    for (index, (listener, reader)) in listeners.iter().zip(readers).enumerate() {
        if listener.address.port() == 0 {
            continue;
        }
        let same = |other: &(&Listener, &Reader<'_>)| other.0.address == listener.address;
        if let Some((_, first)) = listeners.iter().zip(readers).take(index).find(same) {
            reader.problem("address", fault(first.name()));
        }
        if listener.address == operations {
            let given = operations_reader.has("address");
            let (at, other) =
                if given { (operations_reader, reader.name()) } else { (reader, "operations") };
            at.problem("address", fault(other));
        }
    }
}

fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

fn verify_network(text: &str) -> Result<(), Fault> {
    match parse_network(text) {
        None => Err(Fault::new(
            format!("{text:?} is not a network."),
            "Write it as \"10.0.0.0/8\" or \"192.0.2.7\".",
        )),
        // Every stranger could then state any client address and any scheme.
        Some(network) if network.prefix_len() == 0 => Err(Fault::new(
            format!("{text:?} would believe everybody."),
            "Name the networks of your own proxies.",
        )),
        Some(IpNet::V6(network)) if network.addr().to_ipv4_mapped().is_some() => Err(Fault::new(
            format!("{text:?} would match nobody: peers are compared as IPv4."),
            "Write the IPv4 network, for example \"10.0.0.0/8\".",
        )),
        Some(network) if network.prefix_len() < if network.addr().is_ipv4() { 8 } else { 16 } => {
            Err(Fault::new(
                format!("{text:?} would believe nearly everybody."),
                "Name the networks of your own proxies, IPv4 from /8 and IPv6 from /16.",
            ))
        }
        Some(_) => Ok(()),
    }
}
