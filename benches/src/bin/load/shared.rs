//! What it costs that other gates share the sessions: the same gate over its file and over Redis.

use std::{os::unix::net::UnixStream, path::Path};

use crate::{
    figures::{self, Unit},
    options::Options,
    peers::{Peer, Running, Setup},
    process::{Server, Spec},
    report::Section,
    scenarios::{at_most, contender, manner, wrk},
    site::Site,
    trial::Trial,
};

/// A signed-in request over Redis may cost so much of one over the file.
const RATIO_MAX: f64 = 1.05;

/// A Redis that keeps nothing on the disk, for as long as this lives.
pub(crate) struct Redis {
    socket: String,
    _server: Server,
}

impl Redis {
    pub(crate) fn start(site: &Site) -> Self {
        let path = site.scratch.join("redis.sock");
        let socket = path.to_str().expect("a path in UTF-8").to_owned();
        let server = Server::start(&Spec {
            name: "redis",
            program: Path::new("redis-server"),
            arguments: &["--port", "0", "--save", "", "--unixsocket", &socket],
            directory: &site.scratch,
            cores: site.cores.others.as_deref(),
        });
        server.wait_until("it listens", || UnixStream::connect(&path).is_ok());
        Self { socket, _server: server }
    }

    /// Keys of the store of gates that are called `together` there.
    pub(crate) fn store(&self, together: &str) -> String {
        format!("redis = \"redis+unix://{}\"\nredis_prefix = \"{together}\"", self.socket)
    }
}

pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let redis = Redis::start(site);
    let shared = redis.store("shared");
    let contenders = [("alone", "sessions in its file", ""), ("shared", "in Redis", &*shared)];
    let contenders = contenders.map(|(name, title, store)| {
        let setup = Setup { name, tls: false, store, listener: "", extra: "" };
        contender(Peer::Doorward, title, site, setup, |running: &Running, cookie| {
            Box::new(wrk(site, running, cookie, "/"))
        })
    });
    let contenders = contenders.into();
    let rows = Trial { site, options, seconds: options.seconds, contenders }.run();
    let method = format!(
        "GET, HTTP/1.1 keep-alive, {} connections, {}",
        options.connections,
        manner(site, options, options.seconds)
    );
    let targets = [at_most("shared", "alone", RATIO_MAX)];
    figures::section("shared", method, Unit::REQUEST, "alone", &rows, &targets)
}
