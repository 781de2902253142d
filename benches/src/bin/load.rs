//! The load bench: what a request costs each proxy, side by side.
//!
//! Starts a small nginx as the upstream, then the peers of each scenario in
//! front of it, one worker each, and sends the same load through them in turn
//! (`trial.rs`). The figure is the peer's own user and system time from `/proc`,
//! divided by the requests that the load generator counted and that the upstream
//! confirms. Three scenarios measure something else: `idle` memory, `signin`
//! latency, `instructions` what it says. `benches/run` builds and installs what this needs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that cannot run should stop, and says how it goes"
)]

#[path = "load/configs.rs"]
mod configs;
#[path = "load/doorward.rs"]
mod doorward;
#[path = "load/figures.rs"]
mod figures;
#[path = "load/gates.rs"]
mod gates;
#[path = "load/generators.rs"]
mod generators;
#[path = "load/http.rs"]
mod http;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/instructions.rs"]
mod instructions;
#[path = "load/machine.rs"]
mod machine;
#[path = "load/options.rs"]
mod options;
#[path = "load/peers.rs"]
mod peers;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/scenarios.rs"]
mod scenarios;
#[path = "load/sessions.rs"]
mod sessions;
#[path = "load/shared.rs"]
mod shared;
#[path = "load/signin.rs"]
mod signin;
#[path = "load/site.rs"]
mod site;
#[path = "load/tls.rs"]
mod tls;
#[path = "load/trial.rs"]
mod trial;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flood, port] = arguments.as_slice()
        && flood == signin::FLOOD
    {
        signin::flood(port.parse().expect("a port"));
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments.into_iter().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let json = options.json;
    let markdown = options.markdown;
    let report = scenarios::run(&options);
    if json {
        println!("{}", report.json());
    } else if markdown {
        println!("{}", report.markdown());
    } else {
        println!("{}", report.table());
    }
    ExitCode::SUCCESS
}
