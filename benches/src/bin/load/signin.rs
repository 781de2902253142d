//! The scenario `signin`: what those who are signed in notice of a flood of sign-ins.
//!
//! Requests of a signed-in person go out at a fixed rate, whether or not earlier ones have been
//! answered: each connection has its timetable, and the latency of a request counts from when it
//! was due. So a stall is not hidden by the requests that were not sent during it. In every round
//! this is measured twice, without a flood and with 256 clients that guess passwords as fast as
//! they are answered; which comes first alternates. The guesses come from a million addresses, as a
//! trusted proxy tells, so that no limit by address stands before the queue for hashes.

use std::{
    collections::BTreeMap,
    io::Read,
    net::Ipv4Addr,
    process::{Child, Stdio},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    doorward::SIGN_IN,
    figures::{Limit, Spread},
    http::{Client, Endpoint},
    options::Options,
    peers::{Peer, Running, Setup},
    process,
    report::{Section, Verdict},
    scenarios,
    site::Site,
    trial::DISTURBED,
};

/// Signed-in requests per second, over so many connections.
const RATE: u32 = 1000;
const CONNECTIONS: u32 = 16;

/// Clients that guess.
const GUESSERS: u32 = 256;

/// The argument that makes this program the flood.
pub(crate) const FLOOD: &str = "--flood";

/// Names that are guessed at, nearly all unknown.
const NAMES: u32 = 10_000;

/// Addresses that the guesses come from.
const ADDRESSES: u32 = 1_000_000;

/// The flood is behind a proxy that is believed.
const LISTENER: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// How much slower the slowest hundredth may get.
const RATIO_MAX: f64 = 2.0;

/// One measurement; times in microseconds.
struct Measured {
    median: f64,
    p99: f64,
    most: f64,
    /// How late the slowest hundredth of the requests was sent, for want of an answer or a core.
    late_p99: f64,
    requests: usize,
    /// Answers to guesses by status.
    guesses: BTreeMap<u16, u64>,
    disturbed: f64,
}

/// Measures without and with a flood.
pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let setup = Setup { name: "doorward", tls: false, store: "", listener: LISTENER, extra: "" };
    let running = Peer::Doorward.start(site, &setup);
    let cookie = running.cookie();
    let seconds = options.seconds;
    take(site, &running, &cookie, 1, false);
    let before = running.server.memory_at_rest();
    let mut taken = [Vec::new(), Vec::new()];
    let mut retakes = 0;
    for round in 0..options.rounds {
        for turn in 0..2 {
            let with_flood = (round + turn) % 2 == 1;
            let mut kept = take(site, &running, &cookie, seconds, with_flood);
            for _ in 0..options.retakes {
                if kept.disturbed <= DISTURBED {
                    break;
                }
                retakes += 1;
                kept = take(site, &running, &cookie, seconds, with_flood);
            }
            taken[usize::from(with_flood)].push(kept);
        }
    }
    let memory = (before, running.server.memory_at_rest());
    running.finish();
    section(site, options, &taken, (retakes, memory))
}

/// One measurement.
fn take(site: &Site, running: &Running, cookie: &str, seconds: u32, with_flood: bool) -> Measured {
    let endpoint = running.endpoint();
    let before = site.ticks_elsewhere(running.server.cpu().total());
    let flood = with_flood.then(|| Flood::start(site, endpoint.port));
    let calls: Vec<Call> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|number| scope.spawn(move || call(endpoint, cookie, number, seconds)))
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    });
    let guesses = flood.map(Flood::stop).unwrap_or_default();
    let elsewhere = site.ticks_elsewhere(running.server.cpu().total()).saturating_sub(before);
    let measured = Measured {
        median: quantile(calls.iter().map(|call| call.latency).collect(), 0.5),
        p99: quantile(calls.iter().map(|call| call.latency).collect(), 0.99),
        most: quantile(calls.iter().map(|call| call.latency).collect(), 1.0),
        late_p99: quantile(calls.iter().map(|call| call.late).collect(), 0.99),
        requests: calls.len(),
        guesses,
        disturbed: elsewhere as f64 / site.ticks / f64::from(seconds),
    };
    measured.believe(with_flood);
    eprintln!(
        "{:<14} p99 {:>6.0} us, median {:>4.0} us, guesses {:?}, others {:.0} % of a core",
        if with_flood { "flood" } else { "no flood" },
        measured.p99,
        measured.median,
        measured.guesses,
        measured.disturbed * 100.0
    );
    measured
}

/// The guessers, in a process of their own that gives way to everybody: they are many, and the
/// requests that are timed must not wait for them.
struct Flood {
    child: Child,
}

impl Flood {
    fn start(site: &Site, port: u16) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = process::pinned(site.cores.others.as_deref(), &["nice", "-n", "19"])
            .arg(program)
            .args([FLOOD, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the flood starts");
        // It says so when the first guess has been answered.
        let mut first = [0];
        let output = child.stdout.as_mut().expect("its standard output");
        output.read_exact(&mut first).expect("the flood begins");
        Self { child }
    }

    /// Ends it; the answers by status.
    fn stop(mut self) -> BTreeMap<u16, u64> {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().expect("the flood ends");
        assert!(output.status.success(), "the flood: {}", output.status);
        serde_json::from_slice(&output.stdout).expect("counts by status")
    }
}

/// Guesses with many clients until standard input ends, then prints how many answers of each
/// status there were. What the process does that is started with [`FLOOD`].
pub(crate) fn flood(port: u16) {
    let endpoint = Endpoint { port, tls: None };
    let over = AtomicBool::new(false);
    let begun = Once::new();
    let mut all = BTreeMap::<u16, u64>::new();
    thread::scope(|scope| {
        let guesser = |number| {
            let (endpoint, over, begun) = (&endpoint, &over, &begun);
            scope.spawn(move || guess(endpoint, number, over, begun))
        };
        let guessers: Vec<_> = (0..GUESSERS).map(guesser).collect();
        std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
        over.store(true, Ordering::Relaxed);
        for guesser in guessers {
            for (status, count) in guesser.join().expect("a guesser") {
                *all.entry(status).or_default() += count;
            }
        }
    });
    println!("{}", json!(all));
}

impl Measured {
    /// A flood that nobody answers, or that gets in, is none.
    fn believe(&self, with_flood: bool) {
        let refused = [401, 403, 429, 503];
        assert!(self.guesses.keys().all(|status| refused.contains(status)), "{:?}", self.guesses);
        let verified: u64 = [401, 403].iter().filter_map(|status| self.guesses.get(status)).sum();
        assert_eq!(verified > 0, with_flood, "no password was verified: {:?}", self.guesses);
    }

    fn json(&self) -> Value {
        json!({
            "median_us": self.median,
            "p99_us": self.p99,
            "max_us": self.most,
            "late_p99_us": self.late_p99,
            "requests": self.requests,
            "guesses_by_status": self.guesses,
            "cores_used_by_others": self.disturbed,
        })
    }
}

/// One request of the signed-in; times in microseconds.
#[derive(Clone)]
struct Call {
    latency: f64,
    late: f64,
}

/// Sends requests by the timetable of this connection.
fn call(endpoint: &Endpoint, cookie: &str, number: u32, seconds: u32) -> Vec<Call> {
    let mut client = Client::open(endpoint).expect("Doorward accepts");
    let every = Duration::from_secs(1) * CONNECTIONS / RATE;
    // The connections take turns.
    let start = process::now() + every * number / CONNECTIONS;
    let calls = RATE * seconds / CONNECTIONS;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let one = |index: u32| {
        let due = start + every * index;
        process::pause(due.saturating_duration_since(process::now()));
        let late = process::now().saturating_duration_since(due);
        let answer = client.get("/", cookie).expect("Doorward answers the signed-in");
        assert_eq!(answer.status, 200, "signed in: {}", answer.body);
        Call { latency: micros(process::now().saturating_duration_since(due)), late: micros(late) }
    };
    (0..calls).map(one).collect()
}

/// Guesses at one name after another until it is over; counts the answers.
fn guess(endpoint: &Endpoint, number: u32, over: &AtomicBool, begun: &Once) -> BTreeMap<u16, u64> {
    let mut statuses = BTreeMap::new();
    let mut client = None;
    let mut name = number * 7919;
    let mut place = name;
    while !over.load(Ordering::Relaxed) {
        name = (name + 1) % NAMES;
        let body = json!({ "account": format!("name-{name}"), "password": format!("not the password {place}") });
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => Client::open(endpoint).expect("Doorward accepts"),
        };
        // Doorward may close a connection on which it refuses something.
        // The next of a linear congruential sequence: any that seems to be from everywhere will do.
        place = place.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let from = Ipv4Addr::from_bits((10 << 24) + (place >> 8) % ADDRESSES);
        if let Ok(answer) = connected.post_from(SIGN_IN, &body.to_string(), from) {
            *statuses.entry(answer.status).or_default() += 1;
            // Any octet would do; what follows is JSON, before which a line may end.
            begun.call_once(|| println!());
            client = Some(connected);
        }
    }
    statuses
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length"
    )]
    let place = (last as f64 * share).ceil() as usize;
    values[place.min(last)]
}

fn section(
    site: &Site,
    options: &Options,
    taken: &[Vec<Measured>; 2],
    (retakes, (before, after)): (u32, (u64, u64)),
) -> Section {
    let [without, with] = taken;
    let spread = |of: &[Measured], what: fn(&Measured) -> f64| {
        Spread::of(of.iter().map(what).collect::<Vec<_>>())
    };
    let cells = [("no flood", without), ("flood", with)].map(|(title, measured)| {
        let whole = |what: fn(&Measured) -> f64| format!("{:.0}", spread(measured, what).median);
        let count = |statuses: &[u16]| -> String {
            let count = |one: &Measured| -> u64 {
                statuses.iter().filter_map(|status| one.guesses.get(status)).sum()
            };
            let all: u64 = measured.iter().map(count).sum();
            let seconds = options.seconds as usize * measured.len();
            format!("{:.0}", all as f64 / seconds as f64)
        };
        let p99 = spread(measured, |one| one.p99);
        vec![
            title.to_owned(),
            whole(|one| one.median),
            format!("{:.0} ({:.0}-{:.0})", p99.median, p99.least, p99.most),
            whole(|one| one.most),
            whole(|one| one.late_p99),
            measured.iter().map(|one| one.requests).sum::<usize>().to_string(),
            count(&[401, 403]),
            count(&[429, 503]),
        ]
    });
    let pairs = with.iter().zip(without);
    let verdict = Verdict {
        what: "p99 of the signed-in, with / without a flood".into(),
        figure: Spread::of(pairs.map(|(with, without)| with.p99 / without.p99).collect()),
        limit: Limit::AtMost(RATIO_MAX),
        aim: None,
        unit: "x",
    };
    let disturbed = without.iter().chain(with).map(|one| one.disturbed).fold(0.0, f64::max);
    let headings =
        ["", "median us", "p99 us", "max us", "late p99", "requests", "wrong/s", "busy/s"];
    let json = |of: &[Measured]| of.iter().map(Measured::json).collect::<Vec<_>>();
    Section {
        name: "signin",
        method: format!(
            "GET by somebody signed in, {RATE} requests/s over {CONNECTIONS} connections, without \
             and with {GUESSERS} clients that guess passwords of {NAMES} names from {ADDRESSES} \
             addresses; {}",
            scenarios::manner(site, options, options.seconds)
        ),
        headings: headings.map(str::to_owned).into(),
        cells: cells.into(),
        verdicts: vec![verdict],
        notes: vec![format!(
            "Latency from when a request was due. Other processes used at most {:.0} % of a core \
             in any round, after {retakes} retakes. Memory of the process: {} MiB before, {} MiB after.",
            disturbed * 100.0,
            before >> 20,
            after >> 20
        )],
        json: json!({ "without_flood": json(without), "with_flood": json(with) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_quantiles() {
        let values = || (0..=100).map(f64::from).rev().collect();
        assert_eq!(quantile(values(), 0.99), 99.0);
        assert_eq!(quantile(values(), 1.0), 100.0);
        assert_eq!(quantile(vec![7.0], 0.5), 7.0);
    }
}
