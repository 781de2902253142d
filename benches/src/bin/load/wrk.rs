//! The load generator.

use crate::{configs::HOST, process};

/// What a run of `wrk` is given.
pub(crate) struct Load<'a> {
    pub(crate) port: u16,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
    pub(crate) cookie: &'a str,
    pub(crate) cores: Option<&'a str>,
}

/// What `wrk` says of its run.
#[derive(Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Complaints: wrong statuses and socket errors, in its own words.
    pub(crate) trouble: Vec<String>,
}

impl Load<'_> {
    /// Runs `wrk` to its end.
    pub(crate) fn run(&self) -> Summary {
        let output = process::pinned(self.cores, &["wrk", "-t1"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.seconds))
            .args(["-H", &format!("Host: {HOST}"), "-H", &format!("Cookie: {}", self.cookie)])
            .arg(format!("http://127.0.0.1:{}/", self.port))
            .output()
            .expect("wrk runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "wrk: {}: {text}", output.status);
        parse(&text).unwrap_or_else(|| panic!("wrk's summary is not understood:\n{text}"))
    }
}

fn parse(text: &str) -> Option<Summary> {
    let lines = || text.lines().map(str::trim);
    let requests = lines().find_map(|line| line.split_once(" requests in "))?.0.parse().ok()?;
    let per_second = lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    let trouble = lines()
        .filter(|line| line.starts_with("Non-2xx") || line.starts_with("Socket errors"))
        .map(str::to_owned)
        .collect();
    Some(Summary { requests, per_second: per_second.trim().parse().ok()?, trouble })
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

    #[test]
    fn reads_a_clean_summary() {
        let summary = Summary { requests: 111_893, per_second: 37_283.51, trouble: Vec::new() };
        assert_eq!(parse(CLEAN), Some(summary));
    }

    #[test]
    fn keeps_the_complaints() {
        let complaints = "  Socket errors: connect 0, read 3, write 0, timeout 0\n  \
            Non-2xx or 3xx responses: 7\nRequests/sec:";
        let summary = parse(&CLEAN.replace("Requests/sec:", complaints)).unwrap();
        assert_eq!(summary.trouble.len(), 2);
        assert!(parse("unable to connect").is_none());
    }
}
