//! The proxies measured, and how each is started.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    configs, doorward,
    http::{Client, Endpoint},
    process::{self, Server, Spec},
    site::Site,
};

/// The configuration of each, in its directory.
const CONFIG: &str = "peer.conf";

/// One way of standing in front of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Nginx,
    NginxBuffered,
    NginxAuth,
    Haproxy,
    HaproxyTcp,
    Envoy,
    Doorward,
}

impl Peer {
    const ALL: [Self; 7] = [
        Self::Nginx,
        Self::NginxBuffered,
        Self::NginxAuth,
        Self::Haproxy,
        Self::HaproxyTcp,
        Self::Envoy,
        Self::Doorward,
    ];

    /// The peers measured when none are named.
    pub(crate) fn usual() -> Vec<Self> {
        Self::ALL.into_iter().filter(|peer| *peer != Self::NginxBuffered).collect()
    }

    /// The peer of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.name() == name)
    }

    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxBuffered => "nginx-buffered",
            Self::NginxAuth => "nginx-auth",
            Self::Haproxy => "haproxy",
            Self::HaproxyTcp => "haproxy-tcp",
            Self::Envoy => "envoy",
            Self::Doorward => "doorward",
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Nginx => "nginx proxy_pass",
            Self::NginxBuffered => "nginx proxy_pass, buffered log",
            Self::NginxAuth => "nginx auth_request",
            Self::Haproxy => "HAProxy http",
            Self::HaproxyTcp => "HAProxy tcp (floor)",
            Self::Envoy => "Envoy",
            Self::Doorward => "Doorward, signed in",
        }
    }

    /// How many requests the upstream sees for one.
    pub(crate) fn hops(self) -> u64 {
        if self == Self::NginxAuth { 2 } else { 1 }
    }

    /// Writes what the peer needs into a directory of its own, and chooses its ports.
    pub(crate) fn install(self, site: &Site, setup: &Setup<'_>) -> Installed {
        let directory = site.scratch.join(setup.name);
        fs::create_dir(&directory).expect("a directory for the peer");
        let [port, operations] = process::free_ports();
        let route = configs::Route {
            port,
            upstream: site.upstream,
            connections: site.connections,
            certificate: setup.tls.then_some(&site.certificate),
        };
        let text = match self {
            Self::Nginx => configs::nginx(route, "", setup.extra),
            Self::NginxBuffered => configs::nginx(route, " buffer=64k flush=1s", setup.extra),
            Self::NginxAuth => configs::nginx_auth(route),
            Self::Haproxy => configs::haproxy(route),
            Self::HaproxyTcp => configs::haproxy_tcp(route),
            Self::Envoy => configs::envoy(route),
            Self::Doorward => configs::doorward(route, operations, setup),
        };
        let path = directory.join(CONFIG);
        fs::write(&path, text).expect("the peer's configuration");
        let config = path.to_str().expect("a path in UTF-8");
        let (program, log, arguments) = match self {
            Self::Nginx | Self::NginxBuffered | Self::NginxAuth => {
                ("nginx".into(), "access.log", vec!["-p", ".", "-e", "error.log", "-c", config])
            }
            Self::Haproxy | Self::HaproxyTcp => {
                ("haproxy".into(), "stdout.log", vec!["-db", "-f", config])
            }
            Self::Envoy => (
                site.envoy.clone(),
                "access.log",
                vec!["-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"],
            ),
            Self::Doorward => {
                doorward::add_account(&site.doorward, &directory, config, doorward::ACCOUNT);
                (site.doorward.clone(), "stdout.log", vec!["serve", "--config", config])
            }
        };
        Installed {
            peer: self,
            name: setup.name.to_owned(),
            program,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            endpoint: site.endpoint(port, setup.tls),
            operations,
            access_log: directory.join(log),
            directory,
        }
    }

    /// Installs the peer and launches it.
    pub(crate) fn start(self, site: &Site, setup: &Setup<'_>) -> Running {
        self.install(site, setup).launch(site)
    }
}

/// How a scenario wants its peer.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// Names its directory; different for every contender.
    pub(crate) name: &'a str,
    /// Talks TLS to clients, nginx with HTTP/2 too. Only nginx and Doorward can be told so.
    pub(crate) tls: bool,
    /// Doorward: further keys of its store.
    pub(crate) store: &'a str,
    /// Doorward: further keys of its listener.
    pub(crate) listener: &'a str,
    /// nginx: further directives of the location. Doorward: further tables.
    pub(crate) extra: &'a str,
}

/// A peer that could be launched.
pub(crate) struct Installed {
    peer: Peer,
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) directory: PathBuf,
    endpoint: Endpoint,
    operations: u16,
    /// Where its access log goes.
    access_log: PathBuf,
}

impl Installed {
    /// Has another program run it, by these arguments in front of its own.
    pub(crate) fn run_by(
        self,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
    ) -> Self {
        let own = self.program.to_str().expect("a path in UTF-8").to_owned();
        let arguments = arguments.into_iter().chain([own]).chain(self.arguments).collect();
        Self { program: program.to_owned(), arguments, ..self }
    }

    /// Starts it and waits until it answers.
    pub(crate) fn launch(self, site: &Site) -> Running {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let server = Server::start(&Spec {
            name: &self.name,
            program: &self.program,
            arguments: &arguments,
            directory: &self.directory,
            cores: site.cores.proxy.as_deref(),
        });
        let port = self.endpoint.port;
        server.wait_until("it accepts connections", || Client::connect(port).is_ok());
        if self.peer == Peer::Doorward {
            server.wait_until("/readyz is 200", || doorward::ready(self.operations));
        }
        Running { server, installed: self }
    }
}

/// A peer that answers.
pub(crate) struct Running {
    pub(crate) server: Server,
    installed: Installed,
}

impl Running {
    /// Which one it is.
    pub(crate) fn peer(&self) -> Peer {
        self.installed.peer
    }

    /// Where it answers.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.installed.endpoint
    }

    /// The session cookie of somebody who signs in, or something as long if nobody can.
    pub(crate) fn cookie(&self) -> String {
        match self.peer() {
            Peer::Doorward => doorward::sign_in(self.endpoint()),
            _ => doorward::stand_in(),
        }
    }

    /// Adds somebody who can sign in; to Doorward only.
    pub(crate) fn add_account(&self, site: &Site, name: &str) {
        let directory = &self.installed.directory;
        doorward::add_account(&site.doorward, directory, CONFIG, name);
    }

    /// Stops the peer, to be launched again.
    pub(crate) fn stop(self) -> Installed {
        drop(self.server);
        self.installed
    }

    /// Stops the peer and counts the lines of its access log.
    pub(crate) fn finish(self) -> u64 {
        let installed = self.stop();
        let log = fs::File::open(&installed.access_log).expect("the access log");
        count_lines(log)
    }
}

fn count_lines(mut log: impl std::io::Read) -> u64 {
    let mut block = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        let read = log.read(&mut block).expect("the access log reads");
        if read == 0 {
            return lines;
        }
        lines += block[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}
