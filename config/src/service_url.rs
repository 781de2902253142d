//! Where a service of somebody else's is asked: a URL with a path.

use std::fmt;
use std::net::IpAddr;

use crate::problem::Fault;
use crate::upstream_address::{UpstreamAddress, parse_upstream_address};

/// The URL of a service that the gate asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl {
    /// Where it is reached: by TLS, or plainly on this machine.
    pub address: UpstreamAddress,
    /// Path and query.
    pub path: String,
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.path)
    }
}

impl ServiceUrl {
    /// Reads a URL. Secrets are sent there, so it is `https`, or this machine itself.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(
                format!("{text:?} is not the URL of a service."),
                "Write \"https://HOST/PATH\"; \"http://\" is taken for this machine only.",
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(fault)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = path.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#');
        let address = parse_upstream_address(&format!("{scheme}://{authority}"));
        let address = address.map_err(|_| fault())?;
        let safe = match &address {
            UpstreamAddress::Https { .. } => true,
            UpstreamAddress::Http { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
            }
            UpstreamAddress::Unix(_) => false,
        };
        if !plain || !safe {
            return Err(fault());
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { address, path: path.to_owned() })
    }
}

pub(crate) fn verify_service_url(text: &str) -> Result<(), Fault> {
    ServiceUrl::parse(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_by_tls_or_within_this_machine() {
        for good in ["https://a.example/b?c=d", "http://127.0.0.1:9/x", "http://[::1]:9/x"] {
            assert_eq!(ServiceUrl::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(ServiceUrl::parse("https://a.example").unwrap().path, "/");
        for bad in [
            "http://a.example/x",
            "a.example",
            "unix:/x",
            "https://a b/",
            "https://a/b c",
            "https://a/#b",
        ] {
            assert!(ServiceUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
