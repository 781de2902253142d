//! `doorward serve`: the gate, until a signal ends it.

use std::path::Path;

use doorward_plugins::Clock;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, load};
use crate::gate::Gate;
use crate::log::LogSink;

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    raise_file_limit();
    let log = LogSink::new(std::io::stdout())?;
    log.install(&config.operations.log_level);
    let gate = Gate::start(config, Clock::machine(), log)?;
    for address in gate.addresses() {
        tracing::info!(event = "listening", %address, operations = %gate.operations(), version = env!("CARGO_PKG_VERSION"));
    }
    wait_for_end(gate)
}

/// Takes as many file descriptors as the system allows: each connection needs one, or two.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What was there before is then what there is.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
pub(crate) fn wait_for_end(gate: Gate) -> Result<(), Failure> {
    let office = gate.office().clone();
    let (mut terminate, mut interrupt, mut hang_up) = {
        let _office = office.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    office.block_on(async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => gate.reload_certificates(),
            }
        }
    });
    office.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        #[expect(clippy::exit, reason = "the second signal asks for exactly this")]
        std::process::exit(70);
    });
    if !gate.shut_down() {
        tracing::warn!(event = "requests_cut_off", "some requests did not finish in time");
    }
    Ok(())
}
