//! `doorward serve`: the gate, until a signal ends it.

use std::io;
use std::path::Path;

use doorward_config::GatewayConfig;
use doorward_plugins::{Clock, OpenError};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, load, take_over};
use crate::gate::{Gate, StartError};
use crate::hand_over::Sockets;
use crate::log::LogSink;
use crate::{service_manager, waiting};

pub(super) fn run(file: &Path, takes_over: bool, strict: bool) -> Result<(), Failure> {
    let config = load(file)?;
    let mut sockets = service_manager::sockets(&config)?;
    raise_file_limit();
    let log = LogSink::new(io::stdout())?;
    log.install(&config.operations.log_level);
    let mut signals = Signals::hear()?;
    if takes_over && let Some(taken) = take_over::run(&config, file)? {
        sockets = taken;
    }
    let start = |sockets| Gate::start_at(sockets, config.clone(), Clock::machine(), log.clone());
    let gate = if takes_over || strict {
        start(sockets)?
    } else {
        let Some(gate) = start_patiently(&config, sockets, &mut signals, start)? else {
            log.flush();
            return Ok(());
        };
        gate
    };
    for address in gate.addresses() {
        tracing::info!(event = "listening", %address, operations = %gate.operations(), version = env!("CARGO_PKG_VERSION"));
    }
    service_manager::tell_ready();
    wait_for_end(gate, signals)
}

/// Starts when Redis and PostgreSQL can be reached, and waits again for one that has gone away in the
/// middle of it. `None`: a signal has ended it before.
fn start_patiently(
    config: &GatewayConfig,
    mut sockets: Sockets,
    signals: &mut Signals,
    start: impl Fn(Sockets) -> Result<Gate, StartError>,
) -> Result<Option<Gate>, Failure> {
    let mut failed = None;
    loop {
        let Some(waited) = wait_for_servers(config, sockets, failed, signals)? else {
            return Ok(None);
        };
        sockets = waited.try_clone()?;
        match start(waited) {
            Err(StartError::Open(error)) if error.is_away() => failed = Some(error),
            started => return Ok(Some(started?)),
        }
    }
}

/// Waits until Redis and PostgreSQL can be reached. `None`: a signal has ended it before.
fn wait_for_servers(
    config: &GatewayConfig,
    sockets: Sockets,
    failed: Option<OpenError>,
    signals: &mut Signals,
) -> Result<Option<Sockets>, Failure> {
    // What was begun meanwhile, such as a connection of somebody who asks how far it is, ends with it.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let waiting = runtime.spawn(waiting::for_servers(config.clone(), sockets, failed));
    let ended = signals.unless_ended(waiting);
    runtime.shutdown_background();
    let Some(waited) = ended else {
        service_manager::tell_stopping();
        return Ok(None);
    };
    let waited = waited.map_err(|error| Failure::Internal(error.to_string()))?;
    waited.map(Some).map_err(|error: StartError| error.into())
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

    /// What comes of `work`; `None`: SIGTERM or SIGINT came before.
    fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let Self { runtime, terminate, interrupt, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => None,
                _ = interrupt.recv() => None,
                done = work => Some(done),
            }
        })
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
