//! What it costs that other gates share the sessions: the same gate over its file and over Redis.

use std::path::Path;

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

pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let socket = site.scratch.join("redis.sock");
    let place = socket.to_str().expect("a path in UTF-8").to_owned();
    let redis = Server::start(&Spec {
        name: "redis",
        program: Path::new("redis-server"),
        arguments: &["--port", "0", "--save", "", "--unixsocket", &place],
        directory: &site.scratch,
        cores: site.cores.others.as_deref(),
    });
    redis.wait_until("it listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let shared = format!("redis = \"redis+unix://{place}\"");
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
