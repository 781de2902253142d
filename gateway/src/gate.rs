//! The gate as a whole: opened, running, going down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use doorward_certs::KeyFileError;
use doorward_certs::clients::ClientAuthorities;
use doorward_certs::tls::TlsIdentities;
use doorward_config::GatewayConfig;
use doorward_plugins::audit::{Event, EventKind};
use doorward_plugins::{Clock, OpenError, Pipeline, Services, pipeline, priority};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::listener::{Acceptor, Places, bind};
use crate::log::LogSink;
use crate::metrics::WorkerMetrics;
use crate::notify;
use crate::operations;
use crate::outgoing::HttpsClient;
use crate::portal::{self, Portal};
use crate::router::Router;
use crate::tls::{self, Material, Tls};
use crate::traces::Traces;
use crate::upstream::Upstream;
use crate::worker::{Message, Worker};

/// What all workers share, and nobody changes.
pub(crate) struct Shared {
    pub(crate) services: Arc<Services>,
    pub(crate) router: Router,
    pub(crate) pipeline: Pipeline,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// By index of the listener; `None`: plain HTTP.
    pub(crate) tls: Vec<Option<Tls>>,
    pub(crate) portal: Portal,
    /// `None`: nobody is told of requests.
    pub(crate) traces: Option<Traces>,
    pub(crate) log: LogSink,
    pub(crate) office: Handle,
}

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
    shared: Arc<Shared>,
    office: Runtime,
    addresses: Vec<SocketAddr>,
    operations: SocketAddr,
    workers: Vec<WorkerThread>,
    acceptors: Vec<tokio::task::JoinHandle<()>>,
    state: Arc<operations::State>,
    material: Vec<Option<Material>>,
    maintenance: Vec<tokio::task::JoinHandle<()>>,
}

impl Gate {
    /// Opens everything and begins to serve. When this returns, connections are accepted.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: GatewayConfig, clock: Clock, log: LogSink) -> Result<Self, StartError> {
        let office = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("office")
            // Workers come first; see `priority`. Threads for what blocks begin here too.
            .on_thread_start(|| priority::give_way(priority::OFFICE))
            .enable_all()
            .build();
        let office = office.map_err(|error| StartError::Io("office".into(), error))?;
        let config = Arc::new(config);
        let services = Arc::new(office.block_on(Services::open(Arc::clone(&config), clock))?);
        HttpsClient::serve(&services);
        notify::connect(&services)?;
        let material = tls::load(&config)?;
        let unique = doorward_plugins::account::fresh_id()
            .map_err(|_| StartError::Config("no randomness".into()))?;
        let shared = Arc::new(Shared {
            router: Router::new(&config, &unique)
                .ok_or_else(|| StartError::Config("there is no route".into()))?,
            pipeline: pipeline(&services),
            upstreams: config
                .upstreams
                .iter()
                .map(|rules| Upstream::new(rules).map(Arc::new))
                .collect::<Result<_, _>>()?,
            tls: acceptors(&services, &material)?,
            portal: portal::build(Arc::clone(&services)),
            traces: config
                .tracing
                .as_ref()
                .map(|rules| Traces::start(rules, office.handle()))
                .transpose()?,
            log,
            office: office.handle().clone(),
            services,
        });
        let metrics: Vec<_> =
            (0..config.workers.get()).map(|_| Arc::<WorkerMetrics>::default()).collect();
        let places = Places::new(&config.limits);
        let workers = start_workers(&shared, &metrics, &places)?;
        let state = Arc::new(operations::State::new(Arc::clone(&shared), metrics.clone()));
        let acceptor = Acceptor {
            workers: workers.iter().map(|(sender, _)| sender.clone()).zip(metrics).collect(),
            places,
            config: Arc::clone(&config),
        };
        let operations =
            office.block_on(operations::start(Arc::clone(&state), &config.operations))?;
        let mut gate = Self {
            shared,
            office,
            addresses: Vec::new(),
            operations,
            workers,
            acceptors: Vec::new(),
            state,
            material,
            maintenance: Vec::new(),
        };
        gate.listen(&config, &acceptor)?;
        gate.maintain();
        gate.state.set_ready();
        let started = Event::new(EventKind::SysStartup);
        gate.services().audit.record(&started.with("version", env!("CARGO_PKG_VERSION")));
        Ok(gate)
    }

    fn listen(&mut self, config: &GatewayConfig, acceptor: &Acceptor) -> Result<(), StartError> {
        let _office = self.office.enter();
        for (index, listener) in config.listeners.iter().enumerate() {
            let failed =
                |error| StartError::Io(format!("cannot listen at {}", listener.address), error);
            let socket = bind(listener.address).map_err(failed)?;
            self.addresses.push(socket.local_addr().map_err(failed)?);
            self.acceptors.push(self.office.spawn(acceptor.clone().run(socket, index)));
        }
        Ok(())
    }

    fn maintain(&mut self) {
        let services = Arc::clone(&self.shared.services);
        self.maintenance.push(self.office.spawn(async move { services.maintain().await }));
        let (identities, clients) = (self.identities(), self.clients());
        self.maintenance.push(self.office.spawn(async move {
            let mut minute = tokio::time::interval(Duration::from_secs(60));
            loop {
                minute.tick().await;
                reload(&identities, &clients);
            }
        }));
    }

    /// Reads certificates, and whom client certificates are verified with, again where files have
    /// changed, as is done every minute anyway.
    pub fn reload_certificates(&self) {
        reload(&self.identities(), &self.clients());
    }

    /// Every certificate that the gate shows, to clients and to upstreams.
    fn identities(&self) -> Vec<Arc<TlsIdentities>> {
        let shown = self.material.iter().flatten().map(|material| &material.identities);
        let own = self.shared.upstreams.iter().filter_map(|upstream| upstream.own.as_ref());
        shown.chain(own).cloned().collect()
    }

    /// Whom the gate believes about clients.
    fn clients(&self) -> Vec<Arc<ClientAuthorities>> {
        let asked = self.material.iter().flatten();
        asked.filter_map(|material| material.clients.clone()).collect()
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
    pub fn services(&self) -> &Arc<Services> {
        &self.shared.services
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
        self.acceptors.drain(..).for_each(|acceptor| acceptor.abort());
        for (worker, _) in &self.workers {
            // A worker that is gone needs no telling.
            let _ = worker.send(Message::Drain);
        }
        let grace = self.shared.services.config.shutdown_grace;
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
        if let Some(traces) = &self.shared.traces {
            traces.shut_down();
        }
        self.office.block_on(self.shared.services.close());
        self.state.clean_up();
        self.shared.log.flush();
        self.office.shutdown_timeout(Duration::from_secs(1));
        finished
    }
}

fn acceptors(
    services: &Services,
    material: &[Option<Material>],
) -> Result<Vec<Option<Tls>>, StartError> {
    let listeners = services.config.listeners.iter().zip(material);
    let tls = listeners.map(|(listener, material)| {
        let material = material.as_ref();
        material.map(|material| Tls::new(listener, material, &services.clock)).transpose()
    });
    tls.collect::<Result<_, _>>().map_err(|error| StartError::Config(error.to_string()))
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

fn reload(identities: &[Arc<TlsIdentities>], clients: &[Arc<ClientAuthorities>]) {
    let shown = identities.iter().map(|identities| (identities.reload_if_changed(), "own"));
    let asked = clients.iter().map(|clients| (clients.reload_if_changed(), "clients"));
    for (reloaded, of) in shown.chain(asked) {
        match reloaded {
            Ok(false) => {}
            Ok(true) => tracing::info!(event = "certificate_reloaded", of),
            Err(error) => {
                tracing::error!(event = "certificate_reload_failed", of, %error, "the old one stays")
            }
        }
    }
}
