//! The scenario `idle`: what a connection costs that has done its request and stays open.
//!
//! The memory of the process before and after, divided by the connections. The kernel's buffers
//! are not counted: they are the same for every proxy.

use std::thread;

use serde_json::json;

use crate::{
    configs,
    figures::{Limit, Spread},
    http::Client,
    options::Options,
    peers::{Peer, Running, Setup},
    process,
    report::{Section, Verdict},
    site::Site,
};

const CONNECTIONS: usize = 10_000;

/// Files that this process and a proxy need besides the connections.
const OTHER_FILES: usize = 500;

/// Connections that come and go first, so that code, pools and tables are there already.
const FIRST: usize = 200;

/// How many connections are made at once.
const AT_ONCE: usize = 4;

const KIB_MAX_PLAIN: f64 = 10.0;
const KIB_MAX_TLS: f64 = 32.0;

/// Doorward's limits, out of the way: by default it holds as many connections, and closes them
/// after 75 s.
const LIMITS: &str =
    "[limits]\nconnections = 20000\nconnections_per_address = 20000\nkeep_alive = \"30m\"\n";

struct Found {
    name: &'static str,
    title: &'static str,
    limit: Option<f64>,
    before: u64,
    after: u64,
    /// KiB for each connection.
    each: f64,
}

/// Measures Doorward and nginx, in the clear and with TLS.
pub(crate) fn measure(site: &Site, _options: &Options) -> Section {
    let count = CONNECTIONS.min(process::files_max().saturating_sub(OTHER_FILES));
    if count < CONNECTIONS {
        eprintln!("only {count} connections: raise the limit of open files (ulimit -n)");
    }
    let found = [
        (Peer::Nginx, "nginx", "nginx", false, None),
        (Peer::Doorward, "doorward", "Doorward", false, Some(KIB_MAX_PLAIN)),
        (Peer::Nginx, "nginx-tls", "nginx, TLS", true, None),
        (Peer::Doorward, "doorward-tls", "Doorward, TLS", true, Some(KIB_MAX_TLS)),
    ]
    .map(|(peer, name, title, tls, limit)| {
        let extra = if peer == Peer::Doorward { LIMITS } else { "" };
        let running = peer.start(site, &Setup { name, tls, store: "", listener: "", extra });
        let (before, after) = hold(&running, count);
        let each = after.saturating_sub(before) as f64 / 1024.0 / count as f64;
        eprintln!("{name:<14} {each:>6.2} KiB a connection");
        Found { name, title, limit, before, after, each }
    });
    section(count, &found)
}

/// The memory of the process without and with the connections.
fn hold(running: &Running, count: usize) -> (u64, u64) {
    let cookie = running.cookie();
    for client in open(running, &cookie, FIRST) {
        client.close();
    }
    let before = running.server.memory_at_rest();
    let mut clients = open(running, &cookie, count);
    let after = running.server.memory_at_rest();
    let sockets = running.server.sockets();
    assert!(sockets >= count, "{sockets} sockets for {count} connections");
    // They are connections that could still be used, not what was left of them.
    for client in clients.iter_mut().step_by(100) {
        let answer = client.get("/", &cookie).expect("an idle connection answers");
        assert_eq!(answer.status, 200, "an idle connection: {}", answer.body);
    }
    (before, after)
}

/// Opens connections and does one request on each.
fn open(running: &Running, cookie: &str, count: usize) -> Vec<Client> {
    let some = |part: usize| {
        let share = count / AT_ONCE + usize::from(part < count % AT_ONCE);
        let one = |_| {
            let mut client = Client::open(running.endpoint()).expect("the proxy accepts");
            let answer = client.get("/", cookie).expect("the proxy answers");
            assert_eq!((answer.status, &*answer.body), (200, configs::BODY));
            client
        };
        (0..share).map(one).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..AT_ONCE).map(|part| scope.spawn(move || some(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("connections open")).collect()
    })
}

fn section(count: usize, found: &[Found]) -> Section {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let verdicts = found.iter().filter_map(|found| {
        Some(Verdict {
            what: format!("memory of an idle connection, {}", found.name),
            figure: Spread::of(vec![found.each]),
            limit: Limit::AtMost(found.limit?),
            aim: None,
            unit: "KiB",
        })
    });
    let cells = found.iter().map(|found| {
        let each = format!("{:.2}", found.each);
        vec![found.title.into(), each, mib(found.before), mib(found.after)]
    });
    let json = found.iter().map(|found| {
        json!({
            "peer": found.name,
            "kib_each": found.each,
            "bytes_before": found.before,
            "bytes_after": found.after,
        })
    });
    Section {
        name: "idle",
        method: format!(
            "{count} connections, each idle after one GET over HTTP/1.1; memory of the process \
             (proportional set size)"
        ),
        headings: ["peer", "KiB/connection", "MiB before", "MiB after"].map(str::to_owned).into(),
        cells: cells.collect(),
        verdicts: verdicts.collect(),
        notes: vec!["Taken once, from a fresh process each.".into()],
        json: json.collect(),
    }
}
