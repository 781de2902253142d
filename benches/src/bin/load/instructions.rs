//! The scenario `instructions`: how many instructions the gate executes for a signed-in request.
//!
//! Counted by callgrind, which repeats where the clock does not. The same binary is started twice
//! and asked more often the second time: the difference leaves out what start and sign-in cost.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::{
    configs::HOST,
    options::Options,
    peers::{Peer, Setup},
    report::Section,
    site::{Site, absolute},
};

/// How often it is asked.
const FEW: u32 = 2_000;
const MANY: u32 = 12_000;

/// Where the longer run's profile stays, in the scratch directory.
const PROFILE: &str = "gate.callgrind";

/// Counts.
pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let profile = absolute(&options.scratch).join(PROFILE);
    let counts = [("few", FEW), ("many", MANY)].map(|(name, requests)| {
        let collected = collect(site, name, requests, &profile);
        eprintln!("{requests:>6} requests: {collected} instructions");
        collected
    });
    let each = (counts[1] - counts[0]) / u64::from(MANY - FEW);
    Section {
        name: "instructions",
        method: format!(
            "GET, HTTP/1.1 keep-alive, {} connections, {MANY} requests less {FEW}, under callgrind",
            site.connections
        ),
        headings: ["peer", "instructions/request"].map(str::to_owned).into(),
        cells: vec![vec![Peer::Doorward.title().into(), each.to_string()]],
        verdicts: Vec::new(),
        notes: vec![format!("For callgrind_annotate: {}", profile.display())],
        json: json!({ "each": each, "collected": counts }),
    }
}

/// What the gate executes from start to end with so many requests.
fn collect(site: &Site, name: &str, requests: u32, profile: &Path) -> u64 {
    let setup = Setup { name, tls: false, store: "", listener: "", extra: "" };
    let installed = Peer::Doorward.install(site, &setup);
    let log = installed.directory.join("callgrind.log");
    let output = |option: &str, path: &Path| format!("--{option}={}", path.display());
    let running = installed
        .run_by(
            Path::new("valgrind"),
            [
                "--tool=callgrind".into(),
                output("callgrind-out-file", profile),
                output("log-file", &log),
            ],
        )
        .launch(site);
    let cookie = running.cookie();
    let asked = Command::new("h2load")
        .args(["--h1", "-t1", &format!("-n{requests}"), &format!("-c{}", site.connections)])
        .args(["-H", &format!(":authority: {HOST}"), "-H", &format!("cookie: {cookie}")])
        .arg(format!("http://127.0.0.1:{}/", running.endpoint().port))
        .output()
        .expect("h2load runs");
    let text = String::from_utf8_lossy(&asked.stdout);
    let all = format!("status codes: {requests} 2xx");
    assert!(text.contains(&all), "h2load: {text}");
    drop(running.stop());
    let log = fs::read_to_string(log).expect("what callgrind says");
    collected(&log).unwrap_or_else(|| panic!("callgrind's summary is not understood:\n{log}"))
}

fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected : "))?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary() {
        let log = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(collected(log), Some(123_456));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
