//! What sends load: `wrk`, `h2load` and, for handshakes, this process itself.
//!
//! A generator says how much it got done and what it saw go wrong; whether that is believed is
//! decided by the trial, from what the upstream counted.

use std::{thread, time::Duration};

use crate::{
    configs::HOST,
    http::{Client, Endpoint},
    process, tls,
};

/// Something that sends load for a while.
pub(crate) trait Generator {
    /// Sends load for this many seconds, to its end.
    fn run(&self, seconds: u32) -> Summary;

    /// How many requests may be cut off at the end: sent, maybe answered, not counted.
    fn under_way(&self) -> u32;
}

/// What a generator says of its run.
#[derive(Debug, PartialEq)]
pub(crate) struct Summary {
    /// Requests answered, each with a connection of its own where handshakes are meant.
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Complaints: wrong statuses and socket errors, in the generator's own words.
    pub(crate) trouble: Vec<String>,
}

/// `wrk`: HTTP/1.1 keep-alive in the clear.
pub(crate) struct Wrk {
    pub(crate) port: u16,
    pub(crate) connections: u32,
    pub(crate) path: String,
    pub(crate) cookie: String,
    /// A file with a Lua script that makes the requests instead.
    pub(crate) script: Option<String>,
    pub(crate) cores: Option<String>,
}

impl Generator for Wrk {
    fn run(&self, seconds: u32) -> Summary {
        let output = process::pinned(self.cores.as_deref(), &["wrk", "-t1"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{seconds}s"))
            .args(["-H", &format!("Host: {HOST}"), "-H", &format!("Cookie: {}", self.cookie)])
            .args(self.script.iter().flat_map(|script| ["-s", script]))
            .arg(format!("http://127.0.0.1:{}{}", self.port, self.path))
            .output()
            .expect("wrk runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "wrk: {}: {text}", output.status);
        parse_wrk(&text).unwrap_or_else(|| panic!("wrk's summary is not understood:\n{text}"))
    }

    fn under_way(&self) -> u32 {
        self.connections
    }
}

fn parse_wrk(text: &str) -> Option<Summary> {
    let lines = || text.lines().map(str::trim);
    let requests = lines().find_map(|line| line.split_once(" requests in "))?.0.parse().ok()?;
    let per_second = lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    let trouble = lines()
        .filter(|line| line.starts_with("Non-2xx") || line.starts_with("Socket errors"))
        .map(str::to_owned)
        .collect();
    Some(Summary { requests, per_second: per_second.trim().parse().ok()?, trouble })
}

/// `h2load`: HTTP/2 over TLS 1.3.
pub(crate) struct H2load {
    pub(crate) port: u16,
    pub(crate) connections: u32,
    /// Requests at once on each connection.
    pub(crate) streams: u32,
    pub(crate) cookie: String,
    pub(crate) cores: Option<String>,
}

impl Generator for H2load {
    fn run(&self, seconds: u32) -> Summary {
        let output = process::pinned(self.cores.as_deref(), &["h2load", "-t1"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-m{}", self.streams))
            .arg(format!("-D{seconds}"))
            .arg(format!("--tls13-ciphers={}", tls::SUITE))
            .arg("--groups=X25519")
            .args(["-H", &format!(":authority: {HOST}")])
            .args(["-H", &format!("cookie: {}", self.cookie)])
            .arg(format!("https://127.0.0.1:{}/", self.port))
            .output()
            .expect("h2load runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "h2load: {}: {text}", output.status);
        parse_h2load(&text, seconds)
            .unwrap_or_else(|| panic!("h2load's summary is not understood:\n{text}"))
    }

    fn under_way(&self) -> u32 {
        self.connections * self.streams
    }
}

/// Besides the counts, what was negotiated must be what the scenario is about.
fn parse_h2load(text: &str, seconds: u32) -> Option<Summary> {
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let count = |list: &str, what: &str| {
        let mut entries = list.split(", ").filter_map(|entry| entry.split_once(' '));
        entries.find(|(_, name)| *name == what)?.0.parse::<u64>().ok()
    };
    let statuses = after("status codes: ")?;
    let requests = count(statuses, "2xx")?;
    let mut trouble = Vec::new();
    for wrong in ["3xx", "4xx", "5xx"] {
        if count(statuses, wrong)? > 0 {
            trouble.push(format!("statuses: {statuses}"));
        }
    }
    let outcomes = after("requests: ")?;
    // What is under way at the end is only started. A connection that the server closes fails.
    for wrong in ["failed", "errored", "timeout"] {
        if count(outcomes, wrong)? > 0 {
            trouble.push(format!("outcomes: {outcomes}"));
        }
    }
    for (line, expected) in
        [("TLS Protocol: ", "TLSv1.3"), ("Cipher: ", tls::SUITE), ("Application protocol: ", "h2")]
    {
        if after(line)? != expected {
            trouble.push(format!("{line}{} and not {expected}", after(line)?));
        }
    }
    Some(Summary { requests, per_second: requests as f64 / f64::from(seconds), trouble })
}

/// Full TLS handshakes, each followed by one request that proves it, then the end.
pub(crate) struct Handshakes {
    pub(crate) endpoint: Endpoint,
    pub(crate) cookie: String,
    /// How many are made at once.
    pub(crate) at_once: u32,
}

impl Generator for Handshakes {
    fn run(&self, seconds: u32) -> Summary {
        let end = process::now() + Duration::from_secs(seconds.into());
        let started = process::now();
        let worker = || {
            let mut done = 0;
            while process::now() < end {
                if let Err(error) = self.once() {
                    return (done, Some(error));
                }
                done += 1;
            }
            (done, None)
        };
        let outcomes: Vec<(u64, Option<String>)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.at_once).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker ends")).collect()
        });
        let requests = outcomes.iter().map(|(done, _)| done).sum();
        Summary {
            requests,
            per_second: requests as f64 / started.elapsed().as_secs_f64(),
            trouble: outcomes.into_iter().filter_map(|(_, error)| error).collect(),
        }
    }

    fn under_way(&self) -> u32 {
        0
    }
}

impl Handshakes {
    fn once(&self) -> Result<(), String> {
        let mut client = Client::open(&self.endpoint).map_err(|error| error.to_string())?;
        let answer = client.get("/", &self.cookie).map_err(|error| error.to_string())?;
        client.close();
        if answer.status == 200 { Ok(()) } else { Err(format!("status {}", answer.status)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "\
Running 3s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.72ms  341.20us   6.31ms   78.12%
    Req/Sec    37.42k     1.90k   40.11k    70.00%
  111893 requests in 3.00s, 27.53MB read
Requests/sec:  37283.51
Transfer/sec:      9.17MB
";

    const H2: &str = "\
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2

finished in 3.00s, 30000.33 req/s, 4.77MB/s
requests: 90001 total, 90065 started, 90001 done, 90001 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 90001 2xx, 0 3xx, 0 4xx, 0 5xx
";

    #[test]
    fn reads_a_clean_summary() {
        let summary = Summary { requests: 111_893, per_second: 37_283.51, trouble: Vec::new() };
        assert_eq!(parse_wrk(CLEAN), Some(summary));
        let summary =
            Summary { requests: 90_001, per_second: 30_000.333_333_333_332, trouble: Vec::new() };
        assert_eq!(parse_h2load(H2, 3), Some(summary));
    }

    #[test]
    fn keeps_the_complaints() {
        let complaints = "  Socket errors: connect 0, read 3, write 0, timeout 0\n  \
            Non-2xx or 3xx responses: 7\nRequests/sec:";
        let summary = parse_wrk(&CLEAN.replace("Requests/sec:", complaints)).unwrap();
        assert_eq!(summary.trouble.len(), 2);
        assert!(parse_wrk("unable to connect").is_none());
        for (right, wrong) in [
            ("0 failed", "1 failed"),
            ("0 3xx", "7 3xx"),
            ("h2\n", "http/1.1\n"),
            ("TLSv1.3", "TLSv1.2"),
        ] {
            let summary = parse_h2load(&H2.replace(right, wrong), 3).unwrap();
            assert_eq!(summary.trouble.len(), 1, "{wrong}");
        }
    }
}
