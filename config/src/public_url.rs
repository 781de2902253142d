//! `public_url`: where people reach the console.

use crate::pattern::HostPattern;
use crate::problem::Fault;

/// Scheme and authority under which people reach the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https`, or `http` on a loopback host.
    pub scheme: &'static str,
    /// Lower case, without port.
    pub host: String,
    /// As written, without the scheme: `console.example.com:8443`.
    pub authority: String,
}

impl PublicUrl {
    pub(crate) fn unset() -> Self {
        Self { scheme: "https", host: String::new(), authority: String::new() }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let advice = "Write scheme and host, for example \"https://console.example.com\".";
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => ("https", rest),
            Some(("http", rest)) => ("http", rest),
            _ => return Err(Fault::new(format!("{text:?} is not a URL."), advice)),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => match port.parse::<u16>() {
                Ok(1..) => host,
                _ => return Err(Fault::new(format!("{text:?} has no usable port."), advice)),
            },
            _ => &authority,
        };
        let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if scheme == "http" && !loopback {
            // The session cookie is Secure: over plain HTTP a browser would never send it back.
            return Err(Fault::new("must be https, or nobody could stay signed in.", advice));
        }
        if HostPattern::parse(host).is_err() || host.starts_with('*') {
            return Err(Fault::new(format!("{text:?} has no usable host."), advice));
        }
        Ok(Self { scheme, host: host.to_owned(), authority })
    }

    /// Scheme, host and port: `https://console.example.com`.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

pub(crate) fn verify_public_url(text: &str) -> Result<(), Fault> {
    PublicUrl::parse(text).map(drop)
}
