//! `doorward serve`: the gate, until a signal ends it.

use std::io;
use std::path::Path;

use doorward_plugins::Clock;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, load, take_over};
use crate::gate::Gate;
use crate::log::LogSink;
use crate::service_manager;

pub(super) fn run(file: &Path, takes_over: bool) -> Result<(), Failure> {
    let config = load(file)?;
    let mut sockets = service_manager::sockets(&config)?;
    raise_file_limit();
    let log = LogSink::new(io::stdout())?;
    log.install(&config.operations.log_level);
    let signals = Signals::hear()?;
    if takes_over && let Some(taken) = take_over::run(&config, file)? {
        sockets = taken;
    }
    let gate = Gate::start_at(sockets, config, Clock::machine(), log)?;
    for address in gate.addresses() {
        tracing::info!(event = "listening", %address, operations = %gate.operations(), version = env!("CARGO_PKG_VERSION"));
    }
    service_manager::tell_ready();
    wait_for_end(gate, signals)
}

/// Takes as many file descriptors as the system allows: each connection needs one, or two.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What was there before is then what there is.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The signals that a gate hears.
pub(crate) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Hears them from here on: before anything listens, so that none of them finds a gate that
    /// serves and does not drain.
    ///
    /// # Errors
    /// When the operating system has nothing left to hear them with.
    pub(crate) fn hear() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let [terminate, interrupt, hang_up] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        drop(entered);
        Ok(Self { runtime, terminate: terminate?, interrupt: interrupt?, hang_up: hang_up? })
    }
}

/// Serves until SIGTERM or SIGINT, or until another process has taken over; then drains; a second signal ends at once.
pub(crate) fn wait_for_end(gate: Gate, signals: Signals) -> Result<(), Failure> {
    let Signals { runtime, mut terminate, mut interrupt, mut hang_up } = signals;
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = gate.relieved() => {
                    tracing::info!(event = "handed_over", "another process has the sockets");
                    break;
                }
                // What comes of it stands in the log; meanwhile other signals are heard.
                _ = hang_up.recv() => drop(gate.reload()),
            }
        }
    });
    service_manager::tell_stopping();
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        #[expect(clippy::exit, reason = "the second signal asks for exactly this")]
        std::process::exit(70);
    });
    if !gate.shut_down() {
        tracing::warn!(event = "requests_cut_off", "some requests did not finish in time");
    }
    Ok(())
}
