//! The proxies measured, and how each is started.

use std::{fs, path::PathBuf};

use crate::{
    configs, doorward, http,
    measure::Site,
    process::{Server, Spec},
};

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

    /// Starts the peer in a directory of its own, answering on `port`.
    pub(crate) fn start(self, site: &Site, port: u16) -> Running {
        let directory = site.scratch.join(self.name());
        fs::create_dir(&directory).expect("a directory for the peer");
        let mut access_log = directory.join("access.log");
        let route = configs::Route { port, upstream: site.upstream, connections: site.connections };
        let mut program = PathBuf::from("haproxy");
        let config = directory.join("peer.conf");
        let text = match self {
            Self::Nginx => configs::nginx(route, ""),
            Self::NginxBuffered => configs::nginx(route, " buffer=64k flush=1s"),
            Self::NginxAuth => configs::nginx_auth(route),
            Self::Haproxy => configs::haproxy(route),
            Self::HaproxyTcp => configs::haproxy_tcp(route),
            Self::Envoy => configs::envoy(route),
            Self::Doorward => configs::doorward(route, site.operations),
        };
        fs::write(&config, text).expect("the peer's configuration");
        let config = config.to_str().expect("a path in UTF-8");
        let arguments = match self {
            Self::Nginx | Self::NginxBuffered | Self::NginxAuth => {
                program = "nginx".into();
                vec!["-p", ".", "-e", "error.log", "-c", config]
            }
            Self::Haproxy | Self::HaproxyTcp => {
                access_log = directory.join("stdout.log");
                vec!["-db", "-f", config]
            }
            Self::Envoy => {
                program.clone_from(&site.envoy);
                vec!["-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
            }
            Self::Doorward => {
                access_log = directory.join("stdout.log");
                program.clone_from(&site.doorward);
                doorward::add_account(&site.doorward, &directory, config);
                vec!["serve", "--config", config]
            }
        };
        let server = Server::start(&Spec {
            name: self.name(),
            program: &program,
            arguments: &arguments,
            directory: &directory,
            cores: site.cores.proxy.as_deref(),
        });
        server.wait_until("it accepts connections", || http::Client::connect(port).is_ok());
        if self == Self::Doorward {
            server.wait_until("/readyz is 200", || doorward::ready(site.operations));
        }
        Running { peer: self, server, port, access_log }
    }
}

/// A peer that answers.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    pub(crate) server: Server,
    pub(crate) port: u16,
    /// Where its access log goes.
    pub(crate) access_log: PathBuf,
}

impl Running {
    /// Stops the peer and counts the lines of its access log.
    pub(crate) fn stop(self) -> u64 {
        drop(self.server);
        let log = fs::File::open(&self.access_log).expect("the access log");
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
