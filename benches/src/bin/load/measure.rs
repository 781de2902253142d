//! A run: start everything, check it, measure it in rounds, stop it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    configs, doorward,
    http::Client,
    machine,
    options::Options,
    peers::{Peer, Running},
    process::{self, Cores, Server, Spec},
    report::{Report, Row, Sample},
    wrk::Load,
};

/// Requests the upstream may see beyond those counted: checks and health checks.
const SLACK: u64 = 64;

/// How much of a core other processes may use before a sample is taken again.
const DISTURBED: f64 = 0.1;

/// What the peers stand on.
pub(crate) struct Site {
    pub(crate) scratch: PathBuf,
    /// The ports of the upstream and of Doorward's operations listener.
    pub(crate) upstream: u16,
    pub(crate) operations: u16,
    pub(crate) connections: u32,
    pub(crate) cores: Cores,
    pub(crate) doorward: PathBuf,
    pub(crate) envoy: PathBuf,
}

impl Site {
    fn start_upstream(&self) -> Server {
        let directory = self.scratch.join("upstream");
        fs::create_dir(&directory).expect("a directory for the upstream");
        fs::write(directory.join("nginx.conf"), configs::upstream(self.upstream))
            .expect("the upstream's configuration");
        let config = directory.join("nginx.conf");
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
    fn requests_seen(&self) -> u64 {
        let mut client = Client::connect(self.upstream).expect("the upstream accepts");
        let answer = client.get("/counters", "").expect("the upstream answers");
        let counters = answer.body.lines().nth(2).and_then(|line| line.split_whitespace().nth(2));
        counters.and_then(|count| count.parse().ok()).expect("the upstream counts requests")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what the servers left is in {}", self.scratch.display());
        } else {
            drop(fs::remove_dir_all(&self.scratch));
        }
    }
}

/// Everything that runs. Fields drop in this order: peers, upstream, directory.
pub(crate) struct Bench {
    peers: Vec<Running>,
    upstream: Server,
    site: Site,
    options: Options,
    cookie: String,
    ticks: f64,
}

impl Bench {
    /// Starts the upstream and the peers, and checks what they pass on.
    pub(crate) fn start(options: Options) -> Self {
        let found = |path: &Path| {
            // A bare name is looked up by whoever starts it; a path must survive a `chdir`.
            if path.components().count() == 1 { path.to_owned() } else { absolute(path) }
        };
        fs::create_dir_all(&options.scratch).expect("the scratch directory");
        let scratch = absolute(&options.scratch).join(format!("bench-{}", std::process::id()));
        fs::create_dir(&scratch).expect("a directory for this run");
        let [upstream, operations, ports @ ..] = process::free_ports::<9>();
        let site = Site {
            scratch,
            upstream,
            operations,
            connections: options.connections,
            cores: if options.pin { Cores::split() } else { Cores::default() },
            doorward: found(&options.doorward),
            envoy: found(&options.envoy),
        };
        let upstream = site.start_upstream();
        let started = options.peers.iter().zip(ports);
        let peers: Vec<Running> = started.map(|(peer, port)| peer.start(&site, port)).collect();
        let gateway = peers.iter().find(|running| running.peer == Peer::Doorward);
        let cookie = gateway.map_or_else(doorward::stand_in, |gate| doorward::sign_in(gate.port));
        let bench =
            Self { peers, upstream, site, options, cookie, ticks: process::ticks_per_second() };
        for peer in &bench.peers {
            bench.check(peer);
        }
        bench
    }

    /// Warms every peer up, measures the rounds, and stops everything.
    pub(crate) fn run(mut self) -> Report {
        let mut rows: Vec<Row> = self.peers.iter().map(|peer| Row::new(peer.peer)).collect();
        for (peer, row) in self.peers.iter().zip(&mut rows) {
            eprintln!("warming up {}", peer.peer.name());
            row.sent += self.measure(peer, 1).requests;
        }
        for round in 0..self.options.rounds {
            for turn in 0..self.peers.len() {
                let at = (round + turn) % self.peers.len();
                eprint!("round {} of {}: ", round + 1, self.options.rounds);
                self.sample(&self.peers[at], &mut rows[at]);
            }
        }
        for (peer, row) in self.peers.drain(..).zip(&mut rows) {
            row.logged = peer.stop();
            assert!(row.logged > 0, "{} logged nothing", row.peer.name());
        }
        drop(self.upstream);
        let placed = self.site.cores.proxy.is_some();
        Report::new(rows, &self.options, placed, &self.site)
    }

    /// Measures one peer, and again while other processes are in the way.
    fn sample(&self, running: &Running, row: &mut Row) {
        let mut retakes = 0;
        loop {
            let taken = self.measure(running, self.options.seconds);
            let sample = taken.per_request(self.ticks, self.options.seconds);
            eprintln!(
                "{:<14} {:>6.2} us of CPU per request, {:>6.0} requests/s, others {:.0} % of a core",
                running.peer.name(),
                sample.cpu(),
                sample.per_second,
                sample.disturbed * 100.0
            );
            row.sent += taken.requests;
            if sample.disturbed <= DISTURBED || retakes == self.options.retakes {
                row.samples.push(sample);
                return;
            }
            retakes += 1;
            row.retakes += 1;
        }
    }

    /// One run of the load against one peer, believed only if the upstream saw it all.
    fn measure(&self, running: &Running, seconds: u32) -> Taken {
        let name = running.peer.name();
        let load = Load {
            port: running.port,
            seconds,
            connections: self.options.connections,
            cookie: &self.cookie,
            cores: self.site.cores.others.as_deref(),
        };
        let seen = self.site.requests_seen();
        let involved = || process::own_cpu() + self.upstream.cpu().total();
        let all = (machine::busy_ticks(), involved());
        let before = running.server.cpu();
        let summary = load.run();
        // The closing of the connections is part of the price.
        process::pause(Duration::from_millis(100));
        let spent = running.server.cpu().since(before);
        let all = (machine::busy_ticks() - all.0, involved() - all.1 + spent.total());
        let seen = self.site.requests_seen() - seen;
        assert!(summary.trouble.is_empty(), "{name}: wrk saw {:?}", summary.trouble);
        let hops = running.peer.hops();
        let least = summary.requests * hops;
        let most = least + u64::from(self.options.connections) * hops + SLACK;
        assert!(
            (least..=most).contains(&seen),
            "{name}: the upstream saw {seen} requests for {} answers",
            summary.requests
        );
        self.check(running);
        Taken {
            requests: summary.requests,
            per_second: summary.per_second,
            spent,
            elsewhere: all.0.saturating_sub(all.1),
        }
    }

    /// One request as the load sends it, and two that show what reaches the upstream.
    fn check(&self, running: &Running) {
        let name = running.peer.name();
        let mut client = Client::connect(running.port).expect("the peer accepts");
        let mut get = |path: &str| {
            let answer = client.get(path, &self.cookie).expect("the peer answers");
            assert_eq!(answer.status, 200, "{name}: GET {path}: {}", answer.body);
            answer.body
        };
        assert_eq!(get("/"), configs::BODY, "{name}: the body");
        get("/echo");
        let echo = get("/echo");
        let field = |key: &str| {
            let mut fields = echo.split('&').filter_map(|field| field.split_once('='));
            fields.find(|(found, _)| *found == key).map_or("", |(_, value)| value)
        };
        match running.peer {
            Peer::Doorward => {
                assert_eq!(field("remote"), doorward::ACCOUNT, "{name}: Remote-User in {echo}");
                assert_eq!(
                    field("assertion").split('.').filter(|part| !part.is_empty()).count(),
                    3,
                    "{name}: a signed assertion in {echo}"
                );
            }
            Peer::HaproxyTcp => assert_eq!(field("user"), "", "{name}: no header in {echo}"),
            Peer::Nginx | Peer::NginxBuffered | Peer::NginxAuth | Peer::Haproxy | Peer::Envoy => {
                assert_eq!(field("user"), "alice", "{name}: X-Auth-User in {echo}");
            }
        }
        assert_eq!(field("host"), configs::HOST, "{name}: Host in {echo}");
        assert_eq!(field("protocol"), "HTTP/1.1", "{name}: the protocol in {echo}");
        let nth: u64 = field("nth").parse().expect("a number");
        assert!(nth > 1, "{name}: a new upstream connection for every request: {echo}");
    }
}

/// What one run took, before division.
struct Taken {
    requests: u64,
    per_second: f64,
    spent: process::Cpu,
    /// Clock ticks of processes that have no part in this.
    elsewhere: u64,
}

impl Taken {
    fn per_request(&self, ticks: f64, seconds: u32) -> Sample {
        let micros = |ticks_spent: u64| ticks_spent as f64 / ticks * 1e6 / self.requests as f64;
        Sample {
            requests: self.requests,
            per_second: self.per_second,
            user: micros(self.spent.user),
            system: micros(self.spent.system),
            busy: self.spent.total() as f64 / ticks / f64::from(seconds),
            disturbed: self.elsewhere as f64 / ticks / f64::from(seconds),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).expect("a path")
}
