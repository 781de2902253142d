//! A trial: contenders are measured in rounds, each beside the others, in CPU time per request.
//!
//! A round measures each contender once; the order moves on by one each round, so that a slow
//! minute of the machine falls on all of them. A measurement counts only if every contender passes
//! on what it should, before and after, if the generator saw nothing go wrong, and if the upstream
//! saw as many requests as the generator got answers.

use std::time::Duration;

use crate::{
    configs, doorward,
    figures::{Row, Sample},
    generators::Generator,
    http::Client,
    options::Options,
    peers::{Peer, Running},
    process::{self, Cpu},
    site::{LARGE_BYTES, Site},
};

/// Requests the upstream may see beyond those counted: checks and health checks.
const SLACK: u64 = 64;

/// How much of a core other processes may use before a sample is taken again.
pub(crate) const DISTURBED: f64 = 0.1;

/// A proxy that is measured, and the load that it gets.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) running: Running,
    pub(crate) cookie: String,
    /// What the load asks for.
    pub(crate) path: String,
    /// Does Doorward add a signed assertion?
    pub(crate) asserts: bool,
    pub(crate) generator: Box<dyn Generator>,
}

/// Contenders side by side.
pub(crate) struct Trial<'a> {
    pub(crate) site: &'a Site,
    pub(crate) options: &'a Options,
    /// Seconds per contender and round.
    pub(crate) seconds: u32,
    pub(crate) contenders: Vec<Contender>,
}

impl Trial<'_> {
    /// Checks and warms up every contender, measures the rounds, and stops them.
    pub(crate) fn run(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.contenders.iter().map(Row::new).collect();
        for (contender, row) in self.contenders.iter().zip(&mut rows) {
            contender.check();
            eprintln!("warming up {}", contender.name);
            row.sent += self.measure(contender, 1).requests;
        }
        for round in 0..self.options.rounds {
            for turn in 0..self.contenders.len() {
                let at = (round + turn) % self.contenders.len();
                eprint!("round {} of {}: ", round + 1, self.options.rounds);
                self.sample(&self.contenders[at], &mut rows[at]);
            }
        }
        for (contender, row) in self.contenders.into_iter().zip(&mut rows) {
            row.logged = contender.running.finish();
            assert!(row.logged > 0, "{} logged nothing", row.name);
        }
        rows
    }

    /// Measures one contender, and again while other processes are in the way.
    fn sample(&self, contender: &Contender, row: &mut Row) {
        let mut retakes = 0;
        loop {
            let taken = self.measure(contender, self.seconds);
            let sample = taken.per_request(self.site.ticks, self.seconds);
            eprintln!(
                "{:<16} {:>8.2} us of CPU per request, {:>6.0} requests/s, others {:.0} % of a core",
                contender.name,
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

    /// One run of the load against one contender, believed only if the upstream saw it all.
    fn measure(&self, contender: &Contender, seconds: u32) -> Taken {
        let Contender { name, running, generator, .. } = contender;
        let seen = self.site.requests_seen();
        let before = running.server.cpu();
        let elsewhere = self.site.ticks_elsewhere(before.total());
        let summary = generator.run(seconds);
        // The closing of the connections is part of the price.
        process::pause(Duration::from_millis(100));
        let after = running.server.cpu();
        let elsewhere = self.site.ticks_elsewhere(after.total()).saturating_sub(elsewhere);
        let seen = self.site.requests_seen() - seen;
        assert!(summary.trouble.is_empty(), "{name}: the load saw {:?}", summary.trouble);
        assert!(summary.requests > 0, "{name}: no request was answered");
        let hops = running.peer().hops();
        let least = summary.requests * hops;
        let most = least + u64::from(generator.under_way()) * hops + SLACK;
        assert!(
            (least..=most).contains(&seen),
            "{name}: the upstream saw {seen} requests for {} answers",
            summary.requests
        );
        contender.check();
        Taken {
            requests: summary.requests,
            per_second: summary.per_second,
            spent: after.since(before),
            elsewhere,
        }
    }
}

impl Contender {
    /// One request as the load sends it, and two that show what reaches the upstream.
    fn check(&self) {
        let name = &self.name;
        let mut client = Client::open(self.running.endpoint()).expect("the peer accepts");
        let mut get = |path: &str| {
            let answer = client.get(path, &self.cookie).expect("the peer answers");
            assert_eq!(answer.status, 200, "{name}: GET {path}: {}", answer.body);
            answer.body
        };
        let body = get(&self.path);
        if self.path == configs::LARGE {
            assert_eq!(body.len(), LARGE_BYTES, "{name}: the body's length");
        } else {
            assert_eq!(body, configs::BODY, "{name}: the body");
        }
        get(configs::ECHO);
        let echo = get(configs::ECHO);
        let field = |key: &str| {
            let mut fields = echo.split('&').filter_map(|field| field.split_once('='));
            fields.find(|(found, _)| *found == key).map_or("", |(_, value)| value)
        };
        match self.running.peer() {
            Peer::Doorward => {
                // Copies of the account have its name and a number behind it.
                let user = field("remote");
                assert!(user.starts_with(doorward::ACCOUNT), "{name}: Remote-User in {echo}");
                let parts = field("assertion").split('.').filter(|part| !part.is_empty()).count();
                let expected = if self.asserts { 3 } else { 0 };
                assert_eq!(parts, expected, "{name}: the signed assertion in {echo}");
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
    spent: Cpu,
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
