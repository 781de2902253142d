//! `[webauthn]`: security keys and passkeys.

use std::net::IpAddr;
use std::time::Duration;

use crate::pattern::HostPattern;
use crate::problem::Fault;
use crate::public_url::PublicUrl;
use crate::reader::Reader;
use crate::session::Session;
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::some_text;

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Security keys and passkeys (WebAuthn).",
    keys: &[
        optional(
            "enabled",
            Kind::Flag,
            "Can keys be bound and used? When left out: yes, if public_url has a name that keys can be bound to, which an IP address is not.",
        ),
        optional(
            "rp_id",
            Kind::Text(verify_rp_id),
            "The domain that keys are bound to: the host of public_url or one above it. When left out session.cookie_domain, or that host. Changing it makes every key useless.",
        ),
        default(
            "rp_name",
            Kind::Text(some_text),
            "\"Doorward\"",
            "What this site is called when a browser asks for a key.",
        ),
        default(
            "origins",
            Kind::List(&Kind::Text(verify_origin)),
            "[]",
            "Origins besides public_url whose pages may ask for keys, such as [\"https://other.example.com\"]. Those outside rp_id have to be named at /.well-known/webauthn of rp_id as well, which the gate does not serve.",
        ),
        default(
            "user_verification",
            Kind::Choice(&["preferred", "required"]),
            "\"preferred\"",
            "Must a key that is a second factor ask for its PIN or a fingerprint? One that is a whole sign-in always must.",
        ),
        default(
            "passwordless",
            Kind::Flag,
            "true",
            "May a passkey be a whole sign-in, without name and password?",
        ),
        default(
            "timeout",
            seconds(30, 600),
            "\"5m\"",
            "How long somebody may take to present a key.",
        ),
    ],
};

/// Security keys and passkeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAuthn {
    /// The domain that keys are bound to.
    pub rp_id: String,
    /// What the site is called when a browser asks for a key.
    pub rp_name: String,
    /// Where pages may ask for keys, as browsers write origins; that of `public_url` first.
    pub origins: Vec<String>,
    /// Must a second factor verify its user?
    pub user_verification_required: bool,
    /// May a passkey be a whole sign-in?
    pub passwordless: bool,
    /// How long a ceremony may take.
    pub timeout: Duration,
}

impl WebAuthn {
    /// `None`: there are no keys here.
    pub(crate) fn read(
        reader: &Reader<'_>,
        public_url: &PublicUrl,
        session: &Session,
    ) -> Option<Self> {
        let host = public_url.host.as_str();
        let written = reader.optional_text("rp_id");
        let rp_id = written
            .clone()
            .or_else(|| session.cookie_domain.clone())
            .unwrap_or_else(|| host.to_owned());
        let usable = verify_rp_id(&rp_id).is_ok() && is_within(host, &rp_id);
        let wanted = reader.optional_flag("enabled");
        if !usable && !host.is_empty() {
            if written.is_some() {
                let fault = Fault::new(
                    format!("{rp_id:?} is neither the host of public_url nor above it."),
                    "Name a domain that public_url is in.",
                );
                reader.problem("rp_id", fault);
            } else if wanted == Some(true) {
                let fault = Fault::new(
                    format!("keys cannot be bound to {host:?}."),
                    "Give public_url a name with a dot, or \"localhost\".",
                );
                reader.problem("enabled", fault);
            }
        }
        let mut origins = vec![normal_origin(public_url)];
        for origin in reader.texts("origins") {
            let origin = PublicUrl::parse(&origin).map_or(origin, |url| normal_origin(&url));
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        (usable && wanted != Some(false)).then(|| Self {
            rp_id,
            rp_name: reader.text("rp_name"),
            origins,
            user_verification_required: reader.text("user_verification") == "required",
            passwordless: reader.flag("passwordless"),
            timeout: reader.duration("timeout"),
        })
    }
}

/// Is `host` this domain or, by whole labels, below it?
fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// As browsers write it: the default port of a scheme is left out.
fn normal_origin(url: &PublicUrl) -> String {
    let port = if url.scheme == "https" { ":443" } else { ":80" };
    let authority = url.authority.strip_suffix(port).unwrap_or(&url.authority);
    format!("{}://{authority}", url.scheme)
}

/// A single label is a public suffix, but for `localhost`; keys cannot be bound to addresses.
fn verify_rp_id(text: &str) -> Result<(), Fault> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name))
            if (name.contains('.') || name == "localhost")
                && !name.starts_with('[')
                && name.parse::<IpAddr>().is_err() =>
        {
            Ok(())
        }
        _ => Err(Fault::new(
            format!("{text:?} is not a domain."),
            "Write it without scheme and port, for example \"example.com\".",
        )),
    }
}

fn verify_origin(text: &str) -> Result<(), Fault> {
    match PublicUrl::parse(text) {
        Ok(url) if url.origin() == text => Ok(()),
        _ => Err(Fault::new(
            format!("{text:?} is not an origin."),
            "Write \"https://HOST\" or \"https://HOST:PORT\" in lower case, with nothing behind it.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{GatewayConfig, Problem};

    fn read(public_url: &str, more: &str) -> Result<Option<WebAuthn>, Vec<Problem>> {
        let text = format!(
            "public_url = \"{public_url}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.a]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x\"\n{more}"
        );
        GatewayConfig::parse(&text, Path::new("/")).map(|config| config.webauthn)
    }

    #[test]
    fn keys_are_bound_to_the_host_unless_sessions_are_shared_below_a_domain() {
        let url = "https://console.example.com:443";
        let plain = read(url, "").unwrap().unwrap();
        assert_eq!(plain.rp_id, "console.example.com");
        assert_eq!(plain.origins, ["https://console.example.com"]);
        assert_eq!(plain.timeout, Duration::from_secs(300));
        assert!(plain.passwordless && !plain.user_verification_required);
        let shared = read(url, "[session]\ncookie_domain = \"example.com\"\n").unwrap().unwrap();
        assert_eq!(shared.rp_id, "example.com");
        assert_eq!(read("http://localhost:8080", "").unwrap().unwrap().rp_id, "localhost");
        for none in ["http://127.0.0.1:8080", "https://[2001:db8::1]", "https://console"] {
            assert_eq!(read(none, "").unwrap(), None, "{none}");
        }
        assert_eq!(read(url, "[webauthn]\nenabled = false\n").unwrap(), None);
    }

    #[test]
    fn h03_the_domain_contains_the_host_by_whole_labels() {
        for good in ["example.com", "console.example.com"] {
            let more = format!("[webauthn]\nrp_id = \"{good}\"\n");
            let read = read("https://console.example.com", &more).unwrap().unwrap();
            assert_eq!(read.rp_id, good);
        }
        for bad in ["com", "ample.com", "other.org", "a.console.example.com", "127.0.0.1", "*.com"]
        {
            let more = format!("[webauthn]\nrp_id = \"{bad}\"\n");
            let problems = read("https://console.example.com", &more).unwrap_err();
            assert!(problems[0].to_string().contains("webauthn.rp_id"), "{problems:?}");
        }
        let problems = read("https://10.0.0.1", "[webauthn]\nenabled = true\n").unwrap_err();
        assert!(problems[0].to_string().contains("cannot be bound"), "{problems:?}");
    }

    #[test]
    fn further_origins_are_exact() {
        let more = "[webauthn]\norigins = [\"https://a.console.example.com\", \
                    \"https://example.org:8443\", \"https://evilconsole.example.com\"]\n";
        let read_all = read("https://console.example.com", more).unwrap().unwrap();
        assert_eq!(read_all.origins.len(), 4);
        for bad in ["https://a.example/", "http://a.example", "https://A.example", "a.example"] {
            let more = format!("[webauthn]\norigins = [\"{bad}\"]\n");
            assert!(read("https://console.example.com", &more).is_err(), "{bad}");
        }
    }
}
