//! The scenarios: which contenders, under which load, and what was promised.
//!
//! Those that compare CPU time are here; the others have a file each.

use std::fs;

use crate::{
    figures::{self, Limit, Target, Unit},
    gates,
    generators::{Generator, H2load, Handshakes, Wrk},
    idle, instructions, machine,
    options::Options,
    peers::{Peer, Running, Setup},
    report::{Report, Section},
    sessions, shared, signin,
    site::{LARGE_BYTES, Site},
    trial::{Contender, Trial},
};

/// Connections of the scenario `h2`, and streams at once on each: 64 in all.
const H2_CONNECTIONS: u32 = 8;
const H2_STREAMS: u32 = 8;

/// Handshakes at once.
const HANDSHAKES_AT_ONCE: u32 = 16;

/// nginx told to move large bodies.
const LARGE_BUFFERS: &str = "proxy_max_temp_file_size 0; proxy_buffer_size 64k; \
    proxy_buffers 8 64k; proxy_busy_buffers_size 256k;";

/// Routes of the scenario `routes`.
const FEW_ROUTES: u32 = 10;
const MANY_ROUTES: u32 = 10_000;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Get,
    H2,
    Handshake,
    Large,
    Idle,
    Sessions,
    Routes,
    Shared,
    Gates,
    SignIn,
    Instructions,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Get,
        Self::H2,
        Self::Handshake,
        Self::Large,
        Self::Idle,
        Self::Sessions,
        Self::Routes,
        Self::Shared,
        Self::Gates,
        Self::SignIn,
        Self::Instructions,
    ];

    /// The scenario of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::H2 => "h2",
            Self::Handshake => "handshake",
            Self::Large => "large",
            Self::Idle => "idle",
            Self::Sessions => "sessions",
            Self::Routes => "routes",
            Self::Shared => "shared",
            Self::Gates => "gates",
            Self::SignIn => "signin",
            Self::Instructions => "instructions",
        }
    }

    fn run(self, site: &Site, options: &Options) -> Section {
        match self {
            Self::Get => get(site, options),
            Self::H2 => h2(site, options),
            Self::Handshake => handshake(site, options),
            Self::Large => large(site, options),
            Self::Idle => idle::measure(site, options),
            Self::Sessions => sessions::measure(site, options),
            Self::Routes => routes(site, options),
            Self::Shared => shared::measure(site, options),
            Self::Gates => gates::measure(site, options),
            Self::SignIn => signin::measure(site, options),
            Self::Instructions => instructions::measure(site, options),
        }
    }
}

/// Runs every scenario that was asked for.
pub(crate) fn run(options: &Options) -> Report {
    let mut sections = Vec::new();
    let mut versions = Vec::new();
    for scenario in &options.scenarios {
        eprintln!("== {}", scenario.name());
        // Each on ground of its own, so that none finds what another left.
        let site = Site::start(options);
        let peers = match scenario {
            Scenario::Get => options.peers.as_slice(),
            Scenario::Sessions
            | Scenario::Routes
            | Scenario::Shared
            | Scenario::Gates
            | Scenario::SignIn
            | Scenario::Instructions => &[Peer::Doorward],
            _ => &[Peer::Nginx, Peer::Doorward],
        };
        for version in machine::versions(peers, &site) {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        sections.push(scenario.run(&site, options));
    }
    Report { sections, versions }
}

/// How the load was spread over time and cores, for the line above a table.
pub(crate) fn manner(site: &Site, options: &Options, seconds: u32) -> String {
    format!(
        "{} rounds of {seconds} s; {}",
        options.rounds,
        if site.cores.proxy.is_some() { "proxy on a core of its own" } else { "not pinned" }
    )
}

/// `wrk` at a proxy, as most scenarios want it.
pub(crate) fn wrk(site: &Site, running: &Running, cookie: &str, path: &str) -> Wrk {
    Wrk {
        port: running.endpoint().port,
        connections: site.connections,
        path: path.to_owned(),
        cookie: cookie.to_owned(),
        script: None,
        cores: site.cores.others.clone(),
    }
}

pub(crate) fn contender(
    peer: Peer,
    title: &str,
    site: &Site,
    setup: Setup<'_>,
    load: impl FnOnce(&Running, &str) -> Box<dyn Generator>,
) -> Contender {
    let running = peer.start(site, &setup);
    let cookie = running.cookie();
    Contender {
        name: setup.name.to_owned(),
        title: title.to_owned(),
        generator: load(&running, &cookie),
        running,
        cookie,
        path: "/".into(),
        asserts: true,
    }
}

pub(crate) fn at_most(own: &'static str, other: &'static str, limit: f64) -> Target {
    Target { own, other, limit: Limit::AtMost(limit), aim: None }
}

fn get(site: &Site, options: &Options) -> Section {
    let contenders = options.peers.iter().map(|peer| {
        let setup = Setup { name: peer.name(), tls: false, store: "", listener: "", extra: "" };
        contender(*peer, peer.title(), site, setup, |running, cookie| {
            Box::new(wrk(site, running, cookie, "/"))
        })
    });
    let contenders = contenders.collect();
    let rows = Trial { site, options, seconds: options.seconds, contenders }.run();
    let method = format!(
        "GET, {} byte body, HTTP/1.1 keep-alive, {} connections, {}",
        crate::configs::BODY.len(),
        options.connections,
        manner(site, options, options.seconds)
    );
    let targets = [
        Target { aim: Some(0.9), ..at_most("doorward", "nginx", 1.0) },
        at_most("doorward", "nginx-auth", 0.6),
        at_most("doorward", "envoy", 0.45),
        at_most("doorward", "haproxy-tcp", 1.35),
    ];
    figures::section("get", method, Unit::REQUEST, "nginx", &rows, &targets)
}

fn h2(site: &Site, options: &Options) -> Section {
    let contenders = [Peer::Nginx, Peer::Doorward].map(|peer| {
        let setup = Setup { name: peer.name(), tls: true, store: "", listener: "", extra: "" };
        contender(peer, peer.title(), site, setup, |running, cookie| {
            Box::new(H2load {
                port: running.endpoint().port,
                connections: H2_CONNECTIONS,
                streams: H2_STREAMS,
                cookie: cookie.to_owned(),
                cores: site.cores.others.clone(),
            })
        })
    });
    let contenders = contenders.into();
    let rows = Trial { site, options, seconds: options.seconds, contenders }.run();
    let method = format!(
        "GET, {} byte body, HTTP/2 over TLS 1.3 (ECDSA P-256, AES-128-GCM), {H2_CONNECTIONS} \
         connections with {H2_STREAMS} streams each, {}",
        crate::configs::BODY.len(),
        manner(site, options, options.seconds)
    );
    let targets = [at_most("doorward", "nginx", 1.0)];
    figures::section("h2", method, Unit::REQUEST, "nginx", &rows, &targets)
}

fn handshake(site: &Site, options: &Options) -> Section {
    let contenders = [Peer::Nginx, Peer::Doorward].map(|peer| {
        let setup = Setup { name: peer.name(), tls: true, store: "", listener: "", extra: "" };
        contender(peer, peer.title(), site, setup, |running, cookie| {
            Box::new(Handshakes {
                endpoint: running.endpoint().clone(),
                cookie: cookie.to_owned(),
                at_once: HANDSHAKES_AT_ONCE,
            })
        })
    });
    let contenders = contenders.into();
    let rows = Trial { site, options, seconds: options.seconds, contenders }.run();
    let method = format!(
        "full TLS 1.3 handshakes (X25519, ECDSA P-256, AES-128-GCM), one HTTP/1.1 GET on each \
         connection, {HANDSHAKES_AT_ONCE} at once, {}",
        manner(site, options, options.seconds)
    );
    let unit = Unit { heading: "CPU us/handshake", times: 1.0 };
    let targets = [Target { limit: Limit::AtLeast(1.0), ..at_most("doorward", "nginx", 1.0) }];
    figures::section("handshake", method, unit, "nginx", &rows, &targets)
}

fn large(site: &Site, options: &Options) -> Section {
    let path = crate::configs::LARGE;
    // By default nginx has eight buffers of a page, and writes to a temporary file what the client
    // does not take at once. Doorward is held against nginx without these, and with larger ones.
    let contenders = [
        (Peer::Nginx, "nginx", "nginx proxy_pass", ""),
        (Peer::Nginx, "nginx-memory", "nginx, no files", "proxy_max_temp_file_size 0;"),
        (Peer::Nginx, "nginx-large", "nginx, no files, large buffers", LARGE_BUFFERS),
        (Peer::Doorward, "doorward", "Doorward, signed in", ""),
    ]
    .map(|(peer, name, title, extra)| {
        let setup = Setup { name, tls: false, store: "", listener: "", extra };
        let load = |running: &Running, cookie: &str| -> Box<dyn Generator> {
            Box::new(wrk(site, running, cookie, path))
        };
        Contender { path: path.into(), ..contender(peer, title, site, setup, load) }
    });
    let contenders = contenders.into();
    let rows = Trial { site, options, seconds: options.seconds, contenders }.run();
    let method = format!(
        "GET, {} KiB body, HTTP/1.1 keep-alive in the clear, {} connections, {}",
        LARGE_BYTES >> 10,
        options.connections,
        manner(site, options, options.seconds)
    );
    let bodies_per_gib = (1 << 30) as f64 / LARGE_BYTES as f64;
    let unit = Unit { heading: "CPU ms/GiB", times: bodies_per_gib / 1e3 };
    let targets = ["nginx", "nginx-memory", "nginx-large"];
    let targets = targets.map(|other| at_most("doorward", other, 1.15));
    figures::section("large", method, unit, "nginx", &rows, &targets)
}

/// Routes by their first segment, each another demand than its neighbours' so that none can be
/// merged with them.
fn route_tables(count: u32) -> String {
    let table = |number: u32| {
        let methods = if number.is_multiple_of(2) { "\"GET\"" } else { "\"GET\", \"POST\"" };
        format!("[[route]]\npath = \"/area-{number:05}/**\"\nmethods = [{methods}]\n\n")
    };
    (1..=count).map(table).collect()
}

fn routes(site: &Site, options: &Options) -> Section {
    let script = site.scratch.join("routes.lua");
    fs::write(&script, spread_script()).expect("the script");
    let script = script.to_str().expect("a path in UTF-8");
    let path = |number: u32| format!("/area-{number:05}/orders");
    let contenders = [
        (FEW_ROUTES, "few", "10 routes, the last", path(FEW_ROUTES), None),
        (MANY_ROUTES, "many", "10,000 routes, the last", path(MANY_ROUTES), None),
        (MANY_ROUTES, "spread", "10,000 routes, any", path(MANY_ROUTES), Some(script)),
    ]
    .map(|(count, name, title, path, script)| {
        let tables = route_tables(count);
        let setup = Setup { name, tls: false, store: "", listener: "", extra: &tables };
        let load = |running: &Running, cookie: &str| -> Box<dyn Generator> {
            let script = script.map(str::to_owned);
            Box::new(Wrk { script, ..wrk(site, running, cookie, &path) })
        };
        let contender = contender(Peer::Doorward, title, site, setup, load);
        Contender { path, ..contender }
    });
    let contenders = contenders.into();
    let rows = Trial { site, options, seconds: options.seconds, contenders }.run();
    let method = format!(
        "GET, HTTP/1.1 keep-alive, {} connections, Doorward with {FEW_ROUTES} and {MANY_ROUTES} \
         routes, {}",
        options.connections,
        manner(site, options, options.seconds)
    );
    let targets = [at_most("many", "few", 1.1), at_most("spread", "few", 1.1)];
    figures::section("routes", method, Unit::REQUEST, "few", &rows, &targets)
}

/// Has `wrk` ask for a random one of the routes, with the fields of its command line.
fn spread_script() -> String {
    format!(
        "math.randomseed(os.time())\n\
         function request()\n  \
         return wrk.format(nil, string.format(\"/area-%05d/orders\", math.random(1, {MANY_ROUTES})))\n\
         end\n"
    )
}
