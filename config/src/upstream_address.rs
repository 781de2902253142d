//! Where an upstream is: one address of it.

use std::fmt;
use std::path::PathBuf;

use crate::problem::Fault;

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Plain HTTP over TCP.
    Http {
        /// Name or IP address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// HTTP over TLS.
    Https {
        /// Name or IP address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// The name that the certificate must have.
        server_name: String,
    },
    /// Plain HTTP over a Unix-domain socket.
    Unix(PathBuf),
}

impl UpstreamAddress {
    /// Host and, unless it is the scheme's own, port; `localhost` for a Unix-domain socket.
    pub fn authority(&self) -> String {
        let (host, port, own) = match self {
            Self::Unix(_) => return "localhost".into(),
            Self::Http { host, port } => (host, *port, 80),
            Self::Https { host, port, .. } => (host, *port, 443),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if port == own { host } else { format!("{host}:{port}") }
    }

    /// Is it reached by TLS?
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Https { .. })
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http { .. } => write!(f, "http://{}", self.authority()),
            Self::Https { .. } => write!(f, "https://{}", self.authority()),
        }
    }
}

pub(crate) fn verify_upstream_address(text: &str) -> Result<(), Fault> {
    parse_upstream_address(text).map(drop)
}

pub(crate) fn parse_upstream_address(text: &str) -> Result<UpstreamAddress, Fault> {
    let fault = || {
        Fault::new(
            format!("{text:?} is not an upstream address."),
            "Write \"http://127.0.0.1:9000\", \"https://host:443\" or \"unix:/run/console.sock\", without a path behind the port.",
        )
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() { Ok(UpstreamAddress::Unix(path)) } else { Err(fault()) };
    }
    let (tls, authority) = match text.split_once("://") {
        Some(("http", authority)) => (false, authority),
        Some(("https", authority)) => (true, authority),
        _ => return Err(fault()),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| fault())?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty()
        || port == 0
        || host.contains(['/', '?', '#', '@', ' '])
        || host.contains(char::is_control)
    {
        return Err(fault());
    }
    let host = host.to_owned();
    Ok(if tls {
        UpstreamAddress::Https { server_name: host.clone(), host, port }
    } else {
        UpstreamAddress::Http { host, port }
    })
}
