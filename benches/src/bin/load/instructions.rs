//! The scenario `instructions`: how many instructions the gate executes for a signed-in request.
//!
//! Counted by callgrind, which repeats where the clock does not, from when somebody is signed in: at
//! the start, gathering randomness takes now this many instructions, now a hundred millions more.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::{
    configs::HOST,
    options::Options,
    peers::{Peer, Running, Setup},
    report::Section,
    site::{Site, absolute},
};

/// How often it is asked before it is counted: for connections, and what only the first pay for.
const FIRST: u32 = 2_000;

/// How often it is asked then.
const REQUESTS: u32 = 20_000;

/// Where the profile stays, in the scratch directory.
const PROFILE: &str = "gate.callgrind";

/// Counts.
pub(crate) fn measure(site: &Site, options: &Options) -> Section {
    let profile = absolute(&options.scratch).join(PROFILE);
    let collected = collect(site, &profile);
    let each = collected / u64::from(REQUESTS);
    Section {
        name: "instructions",
        method: format!(
            "GET, HTTP/1.1 keep-alive, {} connections, {REQUESTS} requests under callgrind",
            site.connections
        ),
        headings: ["peer", "instructions/request"].map(str::to_owned).into(),
        cells: vec![vec![Peer::Doorward.title().into(), each.to_string()]],
        verdicts: Vec::new(),
        notes: vec![format!("For callgrind_annotate: {}", profile.display())],
        json: json!({ "each": each, "collected": collected }),
    }
}

/// What the gate executes for so many requests, with what it does beside them meanwhile.
fn collect(site: &Site, profile: &Path) -> u64 {
    let setup = Setup { name: "doorward", tls: false, store: "", listener: "", extra: "" };
    let installed = Peer::Doorward.install(site, &setup);
    let log = installed.directory.join("callgrind.log");
    let output = |option: &str, path: &Path| format!("--{option}={}", path.display());
    let options = [
        "--tool=callgrind".into(),
        "--instr-atstart=no".into(),
        output("callgrind-out-file", profile),
        output("log-file", &log),
    ];
    let running = installed.run_by(Path::new("valgrind"), options).launch(site);
    let cookie = running.cookie();
    ask(site, &running, &cookie, FIRST);
    control(&running, "on");
    ask(site, &running, &cookie, REQUESTS);
    control(&running, "off");
    drop(running.stop());
    let log = fs::read_to_string(log).expect("what callgrind says");
    collected(&log).unwrap_or_else(|| panic!("callgrind's summary is not understood:\n{log}"))
}

fn ask(site: &Site, running: &Running, cookie: &str, requests: u32) {
    let asked = Command::new("h2load")
        .args(["--h1", "-t1", &format!("-n{requests}"), &format!("-c{}", site.connections)])
        .args(["-H", &format!(":authority: {HOST}"), "-H", &format!("cookie: {cookie}")])
        .arg(format!("http://127.0.0.1:{}/", running.endpoint().port))
        .output()
        .expect("h2load runs");
    let text = String::from_utf8_lossy(&asked.stdout);
    let all = format!("status codes: {requests} 2xx");
    assert!(text.contains(&all), "h2load: {text}");
}

/// Has callgrind count from now on, or no more.
fn control(running: &Running, whether: &str) {
    let mut command = Command::new("callgrind_control");
    command.arg(format!("--instr={whether}")).arg(running.server.id().to_string());
    let output = command.output().expect("callgrind_control runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "callgrind_control: {said}");
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
