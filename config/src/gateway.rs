//! The file as a whole, and the keys that stand outside any table.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::pattern::HostSet;
use crate::problem::{Fault, LoadError, Problems};
use crate::public_url::{PublicUrl, verify_public_url};
use crate::reader::Reader;
use crate::spec::{Kind, TableSpec, default, optional, required, seconds};
use crate::{
    Accounts, Alerts, Appeal, Audit, Captcha, Codes, Identity, IdentityHeaders, Limits, Listener,
    Lockout, Notify, Operations, RateLimits, Risk, Route, SecondFactor, Session, Store, Stuffing,
    Tracing, Upstream, WebAuthn, accounts, alerts, appeal, audit, captcha, codes, identity, limits,
    listener, lockout, notify, operations, rate_limit, reload, risk, route, second_factor, session,
    store, stuffing, tracing, upstream, webauthn,
};

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "Doorward's configuration.",
    keys: &[
        required(
            "public_url",
            Kind::Text(verify_public_url),
            "Where people reach the console, for example \"https://console.example.com\". Issuer of the identity and scheme of every redirect.",
        ),
        optional(
            "workers",
            Kind::Integer { least: 1, most: 1024 },
            "Threads that carry requests; one a core when left out.",
        ),
        default(
            "shutdown_grace",
            seconds(0, 3600),
            "\"30s\"",
            "How long requests under way may take to finish after SIGTERM.",
        ),
        required(
            "listener",
            Kind::Tables(&listener::SPEC),
            "Where connections are accepted; at least one.",
        ),
        required(
            "upstream",
            Kind::Named(&upstream::SPEC),
            "The consoles behind the gate, by name; at least one.",
        ),
        optional(
            "route",
            Kind::Tables(&route::SPEC),
            "What requests demand; the first that matches holds. What no route names needs a session.",
        ),
        optional("session", Kind::Table(&session::SPEC), "How long a sign-in lasts."),
        optional(
            "identity",
            Kind::Table(&identity::SPEC),
            "How the console is told who is asking.",
        ),
        optional("accounts", Kind::Table(&accounts::SPEC), "Passwords and their hashing."),
        optional("lockout", Kind::Table(&lockout::SPEC), "What wrong passwords lead to."),
        optional("rate_limit", Kind::Table(&rate_limit::SPEC), "How often somebody may ask."),
        optional(
            "stuffing",
            Kind::Table(&stuffing::SPEC),
            "What guessing over many names leads to.",
        ),
        optional(
            "captcha",
            Kind::Table(&captcha::SPEC),
            "What somebody has to do, besides knowing a password, once guessing is suspected.",
        ),
        optional("notify", Kind::Table(&notify::SPEC), "How messages leave the gate."),
        optional(
            "codes",
            Kind::Table(&codes::SPEC),
            "Codes that are sent to a phone or an address.",
        ),
        optional("alerts", Kind::Table(&alerts::SPEC), "Of what owners and operators are told."),
        optional(
            "appeal",
            Kind::Table(&appeal::SPEC),
            "What somebody can do who has lost every second factor.",
        ),
        optional(
            "webauthn",
            Kind::Table(&webauthn::SPEC),
            "Security keys and passkeys (WebAuthn).",
        ),
        optional(
            "second_factor",
            Kind::Table(&second_factor::SPEC),
            "Who has to prove more than a password, and how that is kept.",
        ),
        optional("risk", Kind::Table(&risk::SPEC), "What looks unusual about a sign-in."),
        required("store", Kind::Table(&store::SPEC), "Where accounts and sessions are kept."),
        optional(
            "audit",
            Kind::Table(&audit::SPEC),
            "What happened, in a log that shows what was done to it.",
        ),
        optional(
            "operations",
            Kind::Table(&operations::SPEC),
            "Health, metrics, administration and logs.",
        ),
        optional(
            "tracing",
            Kind::Table(&tracing::SPEC),
            "Of which requests a collector of traces (OpenTelemetry) is told.",
        ),
        optional(
            "limits",
            Kind::Table(&limits::SPEC),
            "Bounds on what a client may send, and on how long it may take.",
        ),
    ],
};

/// A whole configuration. It does not change once loaded.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where it was read from; `None`: it was read from no file.
    pub file: Option<PathBuf>,
    /// Where people reach the console.
    pub public_url: PublicUrl,
    /// Threads that carry requests.
    pub workers: NonZeroUsize,
    /// How long requests under way may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// Where connections are accepted; at least one.
    pub listeners: Vec<Listener>,
    /// The consoles behind the gate, by name; at least one.
    pub upstreams: Vec<Upstream>,
    /// In the order in which they are tried. The last one is always the rule for what no other
    /// names: it demands a session.
    pub routes: Vec<Route>,
    /// How long a sign-in lasts.
    pub session: Session,
    /// How the console is told who is asking.
    pub identity: Identity,
    /// Passwords and their hashing.
    pub accounts: Accounts,
    /// What wrong guesses lead to.
    pub lockout: Lockout,
    /// How often somebody may ask.
    pub rate_limits: RateLimits,
    /// What guessing over many names leads to.
    pub stuffing: Stuffing,
    /// How a captcha is asked.
    pub captcha: Captcha,
    /// How messages leave the gate.
    pub notify: Notify,
    /// Codes that are sent to a phone or an address.
    pub codes: Codes,
    /// Of what owners and operators are told.
    pub alerts: Alerts,
    /// What looks unusual about a sign-in.
    pub risk: Risk,
    /// What somebody can do who has lost every second factor.
    pub appeal: Appeal,
    /// Security keys and passkeys; `None`: there are none here.
    pub webauthn: Option<WebAuthn>,
    /// Who has to prove more than a password.
    pub second_factor: SecondFactor,
    /// Where accounts and sessions are kept.
    pub store: Store,
    /// What happened, in a log that shows what was done to it.
    pub audit: Audit,
    /// Health, metrics, administration and logs.
    pub operations: Operations,
    /// Of which requests a collector is told; `None`: of none.
    pub tracing: Option<Tracing>,
    /// Bounds on what a client may send.
    pub limits: Limits,
    /// Hosts that routes name.
    pub(crate) route_hosts: HostSet,
}

impl GatewayConfig {
    /// Reads a file. Relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`] when there is no such file, [`LoadError::Invalid`] with every
    /// problem found when it has any.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        Self::load_after(file, None)
    }

    /// Reads a file that is to take the place of `former` in a process that goes on.
    ///
    /// # Errors
    /// As [`Self::load`]; what cannot change without a restart is a problem too.
    pub fn load_after(file: &Path, former: Option<&Self>) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| LoadError::Unreadable { file: file.into(), error })?;
        // The parent of a bare file name is "", which joins to a path relative to where we are.
        let config = Self::parse_after(&text, file.parent().unwrap_or(Path::new("")), former)
            .map_err(|problems| LoadError::Invalid { file: file.into(), problems })?;
        Ok(Self { file: Some(file.into()), ..config })
    }

    /// Reads a text; relative paths in it are taken from `base`.
    ///
    /// # Errors
    /// Every problem of the text, in the order of their places.
    pub fn parse(text: &str, base: &Path) -> Result<Self, Vec<crate::Problem>> {
        Self::parse_after(text, base, None)
    }

    fn parse_after(
        text: &str,
        base: &Path,
        former: Option<&Self>,
    ) -> Result<Self, Vec<crate::Problem>> {
        let problems = Problems::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let advice = "Mend the TOML syntax here.";
            let fault = Fault::new(format!("{}.", error.message()), advice);
            problems.add(&error.span().unwrap_or_default(), "", fault);
        }
        let root = Reader::root(document.get_ref(), &SPEC, &problems, base);
        let config = Self::read(&root);
        if let Some(former) = former {
            reload::verify_lasting(&root, &config, former);
        }
        let found = problems.into_sorted();
        if found.is_empty() { Ok(config) } else { Err(found) }
    }

    fn read(root: &Reader<'_>) -> Self {
        let public_url =
            PublicUrl::parse(&root.text("public_url")).unwrap_or_else(|_| PublicUrl::unset());
        let workers = root
            .optional_integer("workers")
            .and_then(|count| NonZeroUsize::new(usize::try_from(count).ok()?));
        let upstreams: Vec<_> = root
            .named("upstream")
            .iter()
            .map(|(name, reader)| Upstream::read(name, reader))
            .collect();
        let listener_readers = root.tables("listener");
        let listeners: Vec<_> = listener_readers.iter().map(Listener::read).collect();
        for (list, empty) in
            [("listener", listeners.is_empty()), ("upstream", upstreams.is_empty())]
        {
            if root.has(list) && empty {
                root.problem(list, Fault::new("is empty.", "Describe at least one."));
            }
        }
        let store = Store::read(&root.table("store"));
        let identity = Identity::read(&root.table("identity"), &public_url);
        let session = Session::read(&root.table("session"), &public_url, &identity);
        let webauthn = WebAuthn::read(&root.table("webauthn"), &public_url, &session);
        let limits = Limits::read(&root.table("limits"));
        let operations_reader = root.table("operations");
        let operations = Operations::read(&operations_reader, &store);
        let address = operations.address;
        listener::verify_apart(&listeners, &listener_readers, address, &operations_reader);
        let names = IdentityHeaders::reserved(&identity.headers);
        let asks = listeners.iter().any(|listener| listener.client_certificates.is_some());
        let routes = Route::read_all(root, &upstreams, &limits.methods, &names, asks);
        Self {
            file: None,
            workers: workers.unwrap_or_else(cores),
            shutdown_grace: root.duration("shutdown_grace"),
            listeners,
            route_hosts: routes.iter().flat_map(|route| &route.hosts).collect(),
            routes,
            session,
            identity,
            audit: Audit::read(&root.table("audit"), &store),
            accounts: Accounts::read(&root.table("accounts")),
            rate_limits: RateLimits::read(&root.table("rate_limit")),
            stuffing: Stuffing::read(&root.table("stuffing")),
            lockout: Lockout::read(&root.table("lockout")),
            captcha: Captcha::read(&root.table("captcha")),
            notify: Notify::read(&root.table("notify")),
            codes: Codes::read(&root.table("codes")),
            alerts: Alerts::read(&root.table("alerts")),
            risk: Risk::read(&root.table("risk")),
            webauthn,
            appeal: Appeal::read(&root.table("appeal")),
            second_factor: SecondFactor::read(&root.table("second_factor"), &store),
            operations,
            tracing: Tracing::read(&root.table("tracing")),
            limits,
            public_url,
            upstreams,
            store,
        }
    }

    /// The upstream for what no route sends elsewhere: the one that names `host`, or else the one
    /// that names no host at all. `None`: this gate does not serve that host.
    pub fn upstream_for(&self, host: &str) -> Option<usize> {
        let named = self
            .upstreams
            .iter()
            .position(|upstream| upstream.hosts.iter().any(|pattern| pattern.matches(host)));
        named.or_else(|| {
            let known = self.public_url.host == host || self.route_hosts.contains(host);
            let open = self.upstreams.iter().position(|upstream| upstream.hosts.is_empty());
            known.then_some(open).flatten()
        })
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
