//! The gate of the product, in this process, with a clock that tests move.

use std::net::SocketAddr;
use std::sync::Arc;

use doorward::log::{LogSink, MemoryLog};
use doorward::{Gate, ReloadError};
use doorward_certs::development::DevelopmentCertificate;
use doorward_config::GatewayConfig;
use doorward_plugins::administration::{AccountChange, AdminError, Reply, Request};
use doorward_plugins::authenticator::Kind;
use doorward_plugins::authenticator::totp::Seed;
use doorward_plugins::{Clock, Services, Timestamp};

use crate::{App, Browser, Scratch, Upstream};

/// The host of `public_url` in tests.
pub const PUBLIC_HOST: &str = "console.example.com";

/// The password of every account that a test makes.
pub const PASSWORD: &str = "correct horse battery staple";

/// Where the clock of a test begins.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// All that a test does comes from one address at one time: no limit is to stand in its way.
pub const MANY_SIGN_INS: &str =
    "[rate_limit]\nsign_in_address = \"100000/1s\"\nsign_in_network = \"100000/1s\"\n";

/// How a test's gate differs from the plainest one.
#[derive(Debug, Default)]
pub struct Setup<'a> {
    /// Keys of its listener.
    pub listener: &'a str,
    /// Keys of its upstream `console`.
    pub upstream: &'a str,
    /// Keys of its store.
    pub store: &'a str,
    /// Whatever follows, tables first.
    pub tables: &'a str,
    /// Keys outside any table.
    pub top: &'a str,
    /// Listen with TLS.
    pub tls: bool,
}

/// A gate for one test.
pub struct TestGate {
    gate: Option<Gate>,
    /// Where its configuration, store, certificates and socket are.
    pub scratch: Arc<Scratch>,
    /// Moves its time.
    pub clock: Clock,
    log: MemoryLog,
    sink: LogSink,
    tls: bool,
}

impl TestGate {
    /// Starts one in front of `upstream`.
    pub async fn start(upstream: &Upstream, setup: Setup<'_>) -> Self {
        let scratch = Arc::new(Scratch::new());
        let text = configuration(&upstream.address, &scratch, &setup);
        Self::open(&text, scratch, Clock::manual(START), setup.tls).await
    }

    /// Starts one whose time this clock tells, as it tells that of other gates.
    pub async fn beside(upstream: &Upstream, setup: Setup<'_>, clock: &Clock) -> Self {
        let scratch = Arc::new(Scratch::new());
        let text = configuration(&upstream.address, &scratch, &setup);
        Self::open(&text, scratch, clock.clone(), setup.tls).await
    }

    /// Starts one with a whole configuration of its own; `DIR` in it stands for its folder.
    pub async fn with_config(text: &str) -> Self {
        let scratch = Arc::new(Scratch::new());
        let text = text.replace("DIR", &scratch.path().display().to_string());
        Self::open(&text, scratch, Clock::manual(START), text.contains("tls =")).await
    }

    async fn open(text: &str, scratch: Arc<Scratch>, clock: Clock, tls: bool) -> Self {
        let file = scratch.path().join("doorward.toml");
        std::fs::write(&file, text).unwrap();
        let config = GatewayConfig::load(&file).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let log = MemoryLog::default();
        let sink = LogSink::new(log.clone()).unwrap();
        let (its_clock, its_sink) = (clock.clone(), sink.clone());
        // A gate has runtimes of its own, which cannot begin inside the test's.
        let gate = tokio::task::spawn_blocking(move || Gate::start(config, its_clock, its_sink));
        let gate = gate.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        Self { gate: Some(gate), scratch, clock, log, sink, tls }
    }

    /// Shuts it down and starts another over the same folder: the same store, keys and clock.
    pub async fn restart(mut self) -> Self {
        let text = std::fs::read_to_string(self.scratch.path().join("doorward.toml")).unwrap();
        self.stop();
        Self::open(&text, Arc::clone(&self.scratch), self.clock.clone(), self.tls).await
    }

    /// Shuts it down; says whether every request finished.
    pub fn stop(&mut self) -> bool {
        let Some(gate) = self.gate.take() else { return true };
        std::thread::spawn(move || gate.shut_down()).join().unwrap()
    }

    fn running(&self) -> &Gate {
        self.gate.as_ref().expect("a running gate")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running().addresses()[0]
    }

    /// Where it listens, all listeners.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.running().addresses()
    }

    /// Where it answers operators.
    #[must_use]
    pub fn operations(&self) -> SocketAddr {
        self.running().operations()
    }

    /// Accounts, sessions and keys.
    #[must_use]
    pub fn services(&self) -> Arc<Services> {
        self.running().services()
    }

    /// Reads certificates again whose files have changed.
    pub fn reload_certificates(&self) {
        self.running().reload_certificates();
    }

    /// Changes the text of its configuration file, and has it read again.
    ///
    /// # Errors
    /// Why the gate goes on as it was.
    pub async fn reload(&self, change: impl FnOnce(String) -> String) -> Result<(), ReloadError> {
        let file = self.scratch.path().join("doorward.toml");
        let text = change(std::fs::read_to_string(&file).unwrap());
        std::fs::write(&file, text).unwrap();
        self.read_again().await
    }

    /// Has its configuration file read again, as it is.
    ///
    /// # Errors
    /// As [`Self::reload`].
    pub async fn read_again(&self) -> Result<(), ReloadError> {
        self.running().reload().await.unwrap()
    }

    /// A new browser, with an empty jar, for the public host.
    #[must_use]
    pub fn browser(&self) -> Browser {
        let ca_file = self.tls.then(|| self.scratch.path().join("ca.pem"));
        Browser::new(self.address(), PUBLIC_HOST, ca_file)
    }

    /// Asks administration, as the command line does.
    pub async fn ask(&self, request: Request) -> Result<Reply, AdminError> {
        self.within(|services| async move { services.administration.execute(request).await }).await
    }

    /// Does something with its services, where it does so itself: what the store leaves to be done
    /// there must not wait for a test that waits for the gate.
    pub async fn within<T, W>(&self, work: impl FnOnce(Arc<Services>) -> W) -> T
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let work = work(self.services());
        self.running().office().clone().spawn(work).await.unwrap()
    }

    /// Sends whatever messages are due; when this returns, each was tried.
    pub async fn deliver(&self) {
        let notify = Arc::clone(&self.services().notify);
        self.in_office(async move { notify.deliver().await }).await;
    }

    /// Does work where the gate does its own. What reads the store from a test's runtime may keep
    /// the gate from closing it.
    pub async fn in_office<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.running().office().spawn(work).await.unwrap()
    }

    /// Adds an account, or a sub-user, with the usual password.
    pub async fn add(&self, name: &str, change: AccountChange) {
        let request = Request::AccountAdd {
            name: name.into(),
            password: PASSWORD.into(),
            change: Box::new(change),
        };
        self.ask(request).await.unwrap();
    }

    /// Adds the account alice, an owner in the group staff.
    pub async fn add_alice(&self) {
        let list = |name: &str| Some(vec![name.to_owned()]);
        self.add(
            "alice",
            AccountChange {
                roles: list("owner"),
                groups: list("staff"),
                ..AccountChange::default()
            },
        )
        .await;
    }

    /// A browser in which alice, added now if need be, is signed in.
    pub async fn signed_in(&self) -> Browser {
        if self.ask(Request::AccountShow { name: "alice".into() }).await.is_err() {
            self.add_alice().await;
        }
        let mut browser = self.browser();
        browser.sign_in("alice").await;
        browser
    }

    /// An app that this account has bound. Its present code is used up.
    pub async fn app_of(&self, name: &str) -> App {
        let (services, name) = (self.services(), name.to_owned());
        let office = self.running().office().clone();
        let binding = office.spawn(async move {
            let name = doorward_plugins::account::name::Name::parse(&name).unwrap();
            let Ok(Reply::Account(record)) = services
                .administration
                .execute(Request::AccountShow { name: name.to_string() })
                .await
            else {
                panic!("there is no {name}");
            };
            let seed = Seed::fresh().unwrap();
            let step = seed.step_at(services.clock.wall().secs());
            let bound = services.second.authenticators.bind(
                &record.id,
                Kind::Totp,
                "phone",
                &seed,
                None,
                step,
            );
            bound.await.unwrap();
            seed.text().to_string()
        });
        App::new(&binding.await.unwrap(), &self.clock)
    }

    /// The access log so far.
    pub async fn access_log(&self) -> Vec<serde_json::Value> {
        self.sink.flush();
        self.log
            .text()
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is not JSON"))
            })
            .collect()
    }
}

impl Drop for TestGate {
    fn drop(&mut self) {
        self.stop();
    }
}

fn configuration(upstream: &SocketAddr, scratch: &Scratch, setup: &Setup<'_>) -> String {
    let tls = if setup.tls {
        DevelopmentCertificate::ensure(scratch.path(), &[PUBLIC_HOST, "localhost", "127.0.0.1"])
            .unwrap();
        "tls = { chain_file = \"chain.pem\", key_file = \"key.pem\" }"
    } else {
        ""
    };
    let limits = if setup.tables.contains("[rate_limit]") { "" } else { MANY_SIGN_INS };
    format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 2\n{top}\n[[listener]]\naddress = \"127.0.0.1:0\"\n{tls}\n{listener}\n\
         [upstream.console]\naddress = \"http://{upstream}\"\n{its_upstream}\n[store]\npath = \"doorward.db\"\n{store}\n\
         [operations]\naddress = \"127.0.0.1:0\"\n{limits}{tables}\n",
        top = setup.top,
        listener = setup.listener,
        its_upstream = setup.upstream,
        store = setup.store,
        tables = setup.tables,
    )
}
