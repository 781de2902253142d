//! The scenario `gates`: one gate by itself, one over Redis, and three that share it.
//!
//! People sign in at all gates of a contender as fast as they are answered, each with a name of
//! their own; then somebody who is signed in at each asks. What counts is the CPU time of all its
//! gates together: what a second gate costs the first, if it costs anything, is in it. Redis's own
//! time is not.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    doorward::{self, SIGN_IN},
    figures::{Limit, Spread},
    generators::Generator as _,
    http::{Client, Endpoint},
    options::Options,
    peers::{Peer, Running, Setup},
    process,
    report::{Section, Verdict},
    scenarios,
    shared::Redis,
    site::Site,
};

/// People who sign in at the same time, by turns at the gates.
const CLIENTS: usize = 6;

/// A request at one of three gates may cost so much of one at the only one.
const REQUEST_MAX: f64 = 1.1;

/// Nobody is to be held back here: all come from one address.
const LIMITS: &str =
    "[rate_limit]\nsign_in_address = \"100000/1s\"\nsign_in_network = \"100000/1s\"\n";

/// Gates with one memory.
struct Contender {
    title: &'static str,
    gates: Vec<Running>,
    cookies: Vec<String>,
    /// In each round.
    taken: Vec<Taken>,
}

struct Taken {
    sign_ins: u64,
    per_cpu_second: f64,
    /// CPU microseconds of a signed-in request.
    request: f64,
}

/// Measures all of them.
pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let redis = Redis::start(site);
    let mut contenders = [
        Contender::start(site, "one, its file", &["alone"], ""),
        Contender::start(site, "one, Redis", &["first"], &redis.store("one")),
        Contender::start(site, "three, Redis", &["left", "middle", "right"], &redis.store("three")),
    ];
    let count = contenders.len();
    for round in 0..options.rounds {
        for turn in 0..count {
            contenders[(round + turn) % count].take(site, options.seconds);
        }
    }
    section(site, options, &contenders)
}

impl Contender {
    fn start(site: &Site, title: &'static str, names: &[&str], store: &str) -> Self {
        let gates: Vec<_> = names
            .iter()
            .map(|name| {
                let setup = Setup { name, tls: false, store, listener: "", extra: LIMITS };
                let running = Peer::Doorward.start(site, &setup);
                for client in 0..CLIENTS {
                    running.add_account(site, &account(client));
                }
                running
            })
            .collect();
        let cookies = gates.iter().map(Running::cookie).collect();
        Self { title, gates, cookies, taken: Vec::new() }
    }

    /// CPU time of all gates so far, in microseconds.
    fn cpu(&self, site: &Site) -> f64 {
        let ticks: u64 = self.gates.iter().map(|gate| gate.server.cpu().total()).sum();
        ticks as f64 / site.ticks * 1e6
    }

    fn take(&mut self, site: &Site, seconds: u32) {
        let before = self.cpu(site);
        let sign_ins = self.sign_in(seconds);
        let between = self.cpu(site);
        let requests = self.ask(site, seconds);
        process::pause(Duration::from_millis(100));
        let taken = Taken {
            sign_ins,
            per_cpu_second: sign_ins as f64 / (between - before) * 1e6,
            request: (self.cpu(site) - between) / requests as f64,
        };
        eprintln!(
            "{:<14} {:>6.1} sign-ins per CPU second, {:>6.2} us of CPU per request",
            self.title, taken.per_cpu_second, taken.request
        );
        self.taken.push(taken);
    }

    /// Signs people in for so long; how often it was done.
    fn sign_in(&self, seconds: u32) -> u64 {
        let end = process::now() + Duration::from_secs(seconds.into());
        let client = |number: usize| {
            let endpoint = self.gates[number % self.gates.len()].endpoint();
            let mut done = 0;
            while process::now() < end {
                sign_in(endpoint, &account(number));
                done += 1;
            }
            done
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || client(n))).collect();
            clients.into_iter().map(|client| client.join().expect("a client")).sum()
        })
    }

    /// Asks all gates at once; how many requests were answered.
    fn ask(&self, site: &Site, seconds: u32) -> u64 {
        let connections = site.connections / u32::try_from(self.gates.len()).expect("a few");
        let seen = site.requests_seen();
        let answered = thread::scope(|scope| {
            let load = |(gate, cookie): (&Running, &String)| {
                let mut wrk = scenarios::wrk(site, gate, cookie, "/");
                wrk.connections = connections;
                scope.spawn(move || wrk.run(seconds))
            };
            let loads: Vec<_> = self.gates.iter().zip(&self.cookies).map(load).collect();
            let summaries = loads.into_iter().map(|load| load.join().expect("a load"));
            let each = summaries.map(|summary| {
                assert!(summary.trouble.is_empty(), "{}: {:?}", self.title, summary.trouble);
                summary.requests
            });
            each.sum()
        });
        let seen = site.requests_seen() - seen;
        assert!(seen >= answered, "{}: {answered} answers, {seen} of the upstream", self.title);
        answered
    }

    fn spread(&self, of: fn(&Taken) -> f64) -> Spread {
        Spread::of(self.taken.iter().map(of).collect())
    }

    /// By how much it is more, or less, than another in the same round.
    fn ratio(&self, other: &Self, of: fn(&Taken) -> f64) -> Spread {
        let pairs = self.taken.iter().zip(&other.taken);
        Spread::of(pairs.map(|(own, other)| of(own) / of(other)).collect())
    }

    fn json(&self) -> Value {
        let rounds = self.taken.iter().map(|taken| {
            json!({
                "sign_ins": taken.sign_ins,
                "sign_ins_per_cpu_second": taken.per_cpu_second,
                "cpu_us_per_request": taken.request,
            })
        });
        json!({ "gates": self.title, "rounds": rounds.collect::<Vec<_>>() })
    }
}

fn account(client: usize) -> String {
    format!("person-{client}")
}

fn sign_in(endpoint: &Endpoint, account: &str) {
    let mut client = Client::open(endpoint).expect("Doorward accepts a connection");
    let answer = client.post(SIGN_IN, &doorward::credentials(account)).expect("Doorward answers");
    assert_eq!(answer.status, 200, "sign-in: {}", answer.body);
}

fn section(site: &Site, options: &Options, contenders: &[Contender; 3]) -> Section {
    let [alone, one, three] = contenders;
    let cells = contenders.iter().map(|contender| {
        let sign_ins: u64 = contender.taken.iter().map(|taken| taken.sign_ins).sum();
        vec![
            contender.title.to_owned(),
            contender.spread(|taken| taken.per_cpu_second).text(),
            contender.ratio(alone, |taken| taken.per_cpu_second).text(),
            contender.spread(|taken| taken.request).text(),
            contender.ratio(alone, |taken| taken.request).text(),
            sign_ins.to_string(),
        ]
    });
    let headings = ["gates", "sign-ins/CPU s", "x alone", "CPU us/request", "x alone", "sign-ins"];
    Section {
        name: "gates",
        method: format!(
            "{CLIENTS} people who sign in again and again, then GET with {} connections in all, {}",
            options.connections,
            scenarios::manner(site, options, options.seconds)
        ),
        headings: headings.map(str::to_owned).to_vec(),
        cells: cells.collect(),
        verdicts: vec![Verdict {
            what: "CPU time per request, three / one over Redis".to_owned(),
            figure: three.ratio(one, |taken| taken.request),
            limit: Limit::AtMost(REQUEST_MAX),
            aim: None,
            unit: "x",
        }],
        notes: vec!["Median (least-most) over the rounds; CPU time of all gates together.".into()],
        json: contenders.iter().map(Contender::json).collect(),
    }
}
