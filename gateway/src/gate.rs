//! The gate as a whole: opened, running, going down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use doorward_certs::KeyFileError;
use doorward_config::GatewayConfig;
use doorward_plugins::audit::{Event, EventKind};
use doorward_plugins::{Clock, OpenError, Services, priority};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::hand_over::{Role, Sockets};
use crate::listener::{Acceptor, Places};
use crate::log::LogSink;
use crate::metrics::WorkerMetrics;
use crate::operations;
use crate::reload::{ReloadError, Reloader};
use crate::shared::Shared;
use crate::worker::{Message, Worker};

/// How often a store is asked for that another process has.
const STORE_ASKED_EVERY: Duration = Duration::from_millis(10);

/// How long any start waits for it. A process shares its lock with the children that it begins until
/// they have become other programs (fork(2)): somebody's last one may be a moment behind.
const STORE_FREED_WITHIN: Duration = Duration::from_millis(250);

/// Why a gate did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port, a socket or a thread could not be had.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// Store, keys or hashing could not be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A certificate or key could not be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The configuration says something that only shows when it is used.
    #[error("{0}")]
    Config(String),
}

/// How a worker is told things, and waited for.
type WorkerThread = (UnboundedSender<Message>, JoinHandle<io::Result<()>>);

/// A running gate.
pub struct Gate {
    reloader: Arc<Reloader>,
    office: Runtime,
    addresses: Vec<SocketAddr>,
    operations: SocketAddr,
    workers: Vec<WorkerThread>,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    state: Arc<operations::State>,
    maintenance: Vec<tokio::task::JoinHandle<()>>,
}

impl Gate {
    /// Opens everything and begins to serve. When this returns, connections are accepted.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: GatewayConfig, clock: Clock, log: LogSink) -> Result<Self, StartError> {
        Self::start_at(Sockets::default(), config, clock, log)
    }

    /// The same at sockets that were there before, where the configuration wants them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(
        mut sockets: Sockets,
        config: GatewayConfig,
        clock: Clock,
        log: LogSink,
    ) -> Result<Self, StartError> {
        let office = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("office")
            // Workers come first; see `priority`. Threads for what blocks begin here too.
            .on_thread_start(|| priority::give_way(priority::OFFICE))
            .enable_all()
            .build();
        let office = office.map_err(|error| StartError::Io("office".into(), error))?;
        let config = Arc::new(config);
        let services = office.block_on(open(
            &config,
            clock,
            sockets.wait_for_store.max(STORE_FREED_WITHIN),
        ))?;
        let services = Arc::new(services);
        let shared = Arc::new(Shared::new(services, log, office.handle().clone())?);
        let metrics: Vec<_> =
            (0..config.workers.get()).map(|_| Arc::<WorkerMetrics>::default()).collect();
        let places = Places::new(&config.limits);
        let workers = start_workers(&shared, &metrics, &places)?;
        let senders: Vec<_> = workers.iter().map(|(sender, _)| sender.clone()).collect();
        let reloader = Arc::new(Reloader::new(shared, senders.clone(), Arc::clone(&places)));
        let state = Arc::new(operations::State::new(Arc::clone(&reloader), metrics.clone()));
        let acceptor = Acceptor {
            workers: senders.into_iter().zip(metrics).collect(),
            places,
            current: Arc::clone(&reloader.current),
        };
        let operations = office.block_on(operations::start(Arc::clone(&state), &mut sockets))?;
        let mut gate = Self {
            reloader,
            office,
            addresses: Vec::new(),
            operations,
            workers,
            acceptors: Vec::new(),
            state,
            maintenance: Vec::new(),
        };
        gate.listen(&config, &acceptor, &mut sockets)?;
        gate.maintain();
        gate.state.set_ready();
        let started = Event::new(EventKind::SysStartup);
        gate.services().audit.record(&started.with("version", env!("CARGO_PKG_VERSION")));
        Ok(gate)
    }

    fn listen(
        &mut self,
        config: &GatewayConfig,
        acceptor: &Acceptor,
        sockets: &mut Sockets,
    ) -> Result<(), StartError> {
        let _office = self.office.enter();
        for (index, listener) in config.listeners.iter().enumerate() {
            let failed =
                |error| StartError::Io(format!("cannot listen at {}", listener.address), error);
            let socket = sockets.listen(Role::Listener, listener.address).map_err(failed)?;
            let kept = self.state.hand_over.keep(Role::Listener, listener.address, &socket);
            kept.map_err(failed)?;
            let socket = TcpListener::from_std(socket).map_err(failed)?;
            self.addresses.push(socket.local_addr().map_err(failed)?);
            self.acceptors.push(self.office.spawn(acceptor.clone().run(socket, index)));
        }
        Ok(())
    }

    fn maintain(&mut self) {
        let current = Arc::clone(&self.reloader.current);
        let services = move || Arc::clone(&current.load().services);
        self.maintenance.push(self.office.spawn(Services::maintain(services)));
        let current = Arc::clone(&self.reloader.current);
        self.maintenance.push(self.office.spawn(async move {
            let mut minute = tokio::time::interval(Duration::from_secs(60));
            loop {
                minute.tick().await;
                current.load().reload_certificates();
            }
        }));
    }

    /// Reads the configuration file again, and goes by it if nothing is wrong with it. What came of
    /// it is logged; the task says it too.
    pub fn reload(&self) -> tokio::task::JoinHandle<Result<(), ReloadError>> {
        let reloader = Arc::clone(&self.reloader);
        self.office.spawn(async move { reloader.reload().await })
    }

    /// Reads certificates, and whom client certificates are verified with, again where files have
    /// changed, as is done every minute anyway.
    pub fn reload_certificates(&self) {
        self.reloader.current.load().reload_certificates();
    }

    /// Waits until another process has its listening sockets: then it is to shut down.
    pub(crate) async fn relieved(&self) {
        self.state.hand_over.relieved().await;
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it answers operators.
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// Accounts, sessions and keys, for who runs the gate in the same process.
    pub fn services(&self) -> Arc<Services> {
        Arc::clone(&self.reloader.current.load().services)
    }

    /// The runtime for everything that is not carrying requests.
    pub fn office(&self) -> &Handle {
        self.office.handle()
    }

    /// Takes nothing new, lets requests finish for at most `shutdown_grace`, writes what is in
    /// memory, and ends. Says whether every request finished.
    pub fn shut_down(mut self) -> bool {
        self.state.set_draining();
        self.services().audit.record(&Event::new(EventKind::SysShutdown));
        self.state.hand_over.close();
        // Workers hear of the last connection before they hear that there will be no more.
        self.office.block_on(async {
            for acceptor in self.acceptors.drain(..) {
                acceptor.abort();
                // It was to end.
                let _ = acceptor.await;
            }
        });
        for (worker, _) in &self.workers {
            // A worker that is gone needs no telling.
            let _ = worker.send(Message::Drain);
        }
        let shared = self.reloader.current.load_full();
        let grace = shared.services.config.shutdown_grace;
        let finished = self.office.block_on(async {
            let all_done = async {
                while !self.workers.iter().all(|(_, thread)| thread.is_finished()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(grace, all_done).await.is_ok()
        });
        for (worker, thread) in self.workers.drain(..) {
            let _ = worker.send(Message::Stop);
            // A worker that panicked has nothing left to wait for.
            let _ = thread.join();
        }
        self.maintenance.drain(..).for_each(|task| task.abort());
        if let Some(traces) = &shared.traces {
            traces.shut_down();
        }
        self.office.block_on(shared.services.close());
        self.state.clean_up();
        shared.log.flush();
        self.office.shutdown_timeout(Duration::from_secs(1));
        finished
    }
}

/// Opens the store. One that another process lets go of within `wait` is waited for.
async fn open(
    config: &Arc<GatewayConfig>,
    clock: Clock,
    wait: Duration,
) -> Result<Services, OpenError> {
    // Who has it says so at once. An opening that has begun may take any time, and is not begun anew.
    let mut tries = wait.as_millis() / STORE_ASKED_EVERY.as_millis();
    loop {
        match Services::open(Arc::clone(config), clock.clone()).await {
            Err(OpenError::InUse(_)) if tries > 0 => {
                tries -= 1;
                tokio::time::sleep(STORE_ASKED_EVERY).await;
            }
            opened => return opened,
        }
    }
}

fn start_workers(
    shared: &Arc<Shared>,
    metrics: &[Arc<WorkerMetrics>],
    places: &Arc<Places>,
) -> Result<Vec<WorkerThread>, StartError> {
    let start = |(index, metrics): (usize, &Arc<WorkerMetrics>)| {
        let failed = |error| StartError::Io("worker".into(), error);
        let mut unique = [0; 8];
        aws_lc_rs::rand::fill(&mut unique)
            .map_err(|_| failed(io::Error::other("no randomness")))?;
        let (sender, messages) = unbounded_channel();
        let (shared, metrics) = (Arc::clone(shared), Arc::clone(metrics));
        let places = Arc::clone(places);
        // One of them asks the upstreams for all.
        let asks = index == 0;
        let run = move || {
            Worker::run(shared, metrics, u64::from_be_bytes(unique), asks, places, messages)
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(run)
            .map_err(failed)?;
        Ok((sender, thread))
    };
    metrics.iter().enumerate().map(start).collect()
}
