//! The load bench: what one request costs each proxy in CPU time, side by side.
//!
//! Starts a small nginx as the upstream, then every peer in front of it, one
//! worker each, and sends the same keep-alive GET through them in turn with
//! `wrk`. A round measures each peer once; the order moves on by one each
//! round, so a slow minute of the machine falls on all of them. The figure is
//! the peer's own user and system time from `/proc`, divided by the requests
//! that `wrk` counted and that the upstream confirms. `benches/run` builds and
//! installs what this needs.
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
#[path = "load/http.rs"]
mod http;
#[path = "load/machine.rs"]
mod machine;
#[path = "load/measure.rs"]
mod measure;
#[path = "load/options.rs"]
mod options;
#[path = "load/peers.rs"]
mod peers;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/wrk.rs"]
mod wrk;

use std::process::ExitCode;

use measure::Bench;
use options::Options;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
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
    let report = Bench::start(options).run();
    if json {
        println!("{}", report.json());
    } else if markdown {
        println!("{}", report.markdown());
    } else {
        println!("{}", report.table());
    }
    ExitCode::SUCCESS
}
