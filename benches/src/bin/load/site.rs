//! What every scenario stands on: a directory, the upstream, the cores, a certificate.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use crate::{
    configs,
    http::{Client, Endpoint},
    machine,
    options::Options,
    process::{self, Cores, Server, Spec},
    tls::{Certificate, Connector},
};

/// Octets of the large body.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

/// The ground of a run. Dropping it stops the upstream and removes the directory.
pub(crate) struct Site {
    pub(crate) scratch: PathBuf,
    /// The upstream's port.
    pub(crate) upstream: u16,
    server: Option<Server>,
    pub(crate) connections: u32,
    pub(crate) cores: Cores,
    pub(crate) certificate: Certificate,
    connector: Connector,
    pub(crate) doorward: PathBuf,
    pub(crate) envoy: PathBuf,
    /// Clock ticks per second.
    pub(crate) ticks: f64,
}

impl Site {
    /// Makes the directory and the certificate, and starts the upstream.
    pub(crate) fn start(options: &Options) -> Self {
        let found = |path: &Path| {
            // A bare name is looked up by whoever starts it; a path must survive a `chdir`.
            if path.components().count() == 1 { path.to_owned() } else { absolute(path) }
        };
        fs::create_dir_all(&options.scratch).expect("the scratch directory");
        let scratch = absolute(&options.scratch).join(format!("bench-{}", std::process::id()));
        fs::create_dir(&scratch).expect("a directory for this run");
        let cores = if options.pin { Cores::split() } else { Cores::default() };
        // The load that this process sends itself must stay away from the proxy's core.
        if let Some(others) = &cores.others {
            process::pin_self(others);
        }
        let [upstream] = process::free_ports();
        let mut site = Self {
            certificate: Certificate::make(&scratch),
            connector: Connector::new(),
            scratch,
            upstream,
            server: None,
            connections: options.connections,
            cores,
            doorward: found(&options.doorward),
            envoy: found(&options.envoy),
            ticks: process::ticks_per_second(),
        };
        site.server = Some(site.start_upstream());
        site
    }

    fn start_upstream(&self) -> Server {
        let directory = self.scratch.join("upstream");
        fs::create_dir(&directory).expect("a directory for the upstream");
        let config = directory.join("nginx.conf");
        fs::write(&config, configs::upstream(self.upstream)).expect("its configuration");
        let line = configs::BODY.bytes().chain([b'\n']).cycle();
        let large: Vec<u8> = line.take(LARGE_BYTES).collect();
        fs::write(directory.join("large"), large).expect("the large body");
        let server = Server::start(&Spec {
            name: "upstream",
            program: Path::new("nginx"),
            arguments: &["-p", ".", "-e", "error.log", "-c", config.to_str().expect("UTF-8")],
            directory: &directory,
            cores: self.cores.others.as_deref(),
        });
        server.wait_until("it accepts connections", || Client::connect(self.upstream).is_ok());
        server
    }

    /// How many requests the upstream has seen.
    pub(crate) fn requests_seen(&self) -> u64 {
        let mut client = Client::connect(self.upstream).expect("the upstream accepts");
        let answer = client.get("/counters", "").expect("the upstream answers");
        let counters = answer.body.lines().nth(2).and_then(|line| line.split_whitespace().nth(2));
        counters.and_then(|count| count.parse().ok()).expect("the upstream counts requests")
    }

    /// A port on loopback, spoken to in the clear or not.
    pub(crate) fn endpoint(&self, port: u16, tls: bool) -> Endpoint {
        Endpoint { port, tls: tls.then(|| self.connector.clone()) }
    }

    /// The share of a core that processes without a part in this used since `before`, in ticks.
    pub(crate) fn ticks_elsewhere(&self, own: u64) -> u64 {
        let involved = process::own_cpu() + self.server.as_ref().map_or(0, |it| it.cpu().total());
        machine::busy_ticks().saturating_sub(involved + own)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server = None;
        if thread::panicking() {
            eprintln!("what the servers left is in {}", self.scratch.display());
        } else {
            drop(fs::remove_dir_all(&self.scratch));
        }
    }
}

pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).expect("a path")
}
