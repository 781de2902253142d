//! Another configuration for a gate that goes on: swapped as a whole, or not at all.
//!
//! Everything that can fail is done beside what serves; then one step after the other that cannot.
//! A request goes by the configuration that its worker had when it began. What is in memory
//! (sessions, counters, keys, connections) belongs to no configuration and stays.
//!
//! Not here: what a configuration may change (`config`), and what stays of it (`Services::again`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use doorward_config::{GatewayConfig, LoadError};
use doorward_plugins::OpenError;
use doorward_plugins::audit::{Event, EventKind};
use doorward_plugins::store::StoreError;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::gate::StartError;
use crate::listener::Places;
use crate::service_manager;
use crate::shared::Shared;
use crate::worker::Message;

/// Why the gate goes on by the configuration that it had.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read, or has problems.
    #[error("{0}")]
    Load(LoadError),
    /// It was not started from a file.
    #[error("the gate was started without a configuration file")]
    NoFile,
    /// What it names cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store could not be written to.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
}

impl ReloadError {
    /// Is it about what the operator has written, or about the machine?
    pub(crate) fn is_about_configuration(&self) -> bool {
        match self {
            Self::Load(_) | Self::NoFile => true,
            Self::Start(StartError::Config(_) | StartError::Keys(_)) => true,
            Self::Start(StartError::Open(error)) => {
                !matches!(error, OpenError::Store(..) | OpenError::InUse(_) | OpenError::Io(..))
            }
            Self::Start(StartError::Io(..)) | Self::Store(_) => false,
        }
    }
}

/// Swaps configurations.
pub(crate) struct Reloader {
    pub(crate) current: Arc<ArcSwap<Shared>>,
    workers: Vec<UnboundedSender<Message>>,
    places: Arc<Places>,
    /// Held by who swaps.
    turn: tokio::sync::Mutex<()>,
    counts: Counts,
}

/// What came of reloads so far.
#[derive(Default)]
struct Counts {
    done: AtomicU64,
    refused: AtomicU64,
    /// Was the latest one refused?
    is_refused: AtomicBool,
    /// When the present configuration took effect, in Unix seconds.
    since: AtomicU64,
}

impl Reloader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        workers: Vec<UnboundedSender<Message>>,
        places: Arc<Places>,
    ) -> Self {
        let counts = Counts::default();
        counts.since.store(shared.services.clock.wall().secs(), Ordering::Relaxed);
        let current = Arc::new(ArcSwap::new(shared));
        Self { current, workers, places, turn: tokio::sync::Mutex::default(), counts }
    }

    /// Reads the configuration file again and goes by it. When this returns `Ok`, every request that
    /// begins goes by it.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let _turn = self.turn.lock().await;
        service_manager::tell_reloading();
        let result = self.swap().await;
        service_manager::tell_ready();
        let services = Arc::clone(&self.current.load().services);
        match &result {
            Ok(()) => {
                self.counts.done.fetch_add(1, Ordering::Relaxed);
                self.counts.since.store(services.clock.wall().secs(), Ordering::Relaxed);
                services.audit.record(&Event::new(EventKind::ConfigReloaded));
            }
            Err(error) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                let text = error.to_string();
                for problem in text.lines() {
                    tracing::error!(event = "config_problem", problem, "nothing has changed");
                }
                let event = Event::new(EventKind::ConfigRefused);
                let first = text.lines().next().unwrap_or_default();
                services.audit.record(&event.with("error", first));
            }
        }
        self.counts.is_refused.store(result.is_err(), Ordering::Relaxed);
        result
    }

    async fn swap(&self) -> Result<(), ReloadError> {
        let before = self.current.load_full();
        let former = &before.services.config;
        let file = former.file.as_deref().ok_or(ReloadError::NoFile)?;
        let config = GatewayConfig::load_after(file, Some(former)).map_err(ReloadError::Load)?;
        let services = before.services.again(Arc::new(config)).await;
        let shared = Arc::new(before.again(Arc::new(services.map_err(StartError::from)?))?);
        shared.services.take_effect().await?;
        // Nothing fails from here on.
        self.current.store(Arc::clone(&shared));
        self.places.follow(&shared.services.config.limits);
        shared.log.set_level(&shared.services.config.operations.log_level);
        shared.reload_certificates();
        if let Some(former) = before.traces.clone()
            && shared.traces.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &former))
        {
            // It sends what it has, which takes a while.
            tokio::task::spawn_blocking(move || former.shut_down());
        }
        let tell = |worker: &UnboundedSender<Message>| {
            let (done, follows) = oneshot::channel();
            // A worker that has ended begins no request.
            let _ = worker.send(Message::Configuration(Arc::clone(&shared), done));
            follows
        };
        let told: Vec<_> = self.workers.iter().map(tell).collect();
        for follows in told {
            let _ = follows.await;
        }
        Ok(())
    }

    /// In the text format of Prometheus.
    pub(crate) fn metrics(&self) -> String {
        let counts = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "# HELP doorward_config_reloads_total Configurations that were read again, by what came of it.\n\
             # TYPE doorward_config_reloads_total counter\n\
             doorward_config_reloads_total{{result=\"done\"}} {}\n\
             doorward_config_reloads_total{{result=\"refused\"}} {}\n\
             # HELP doorward_config_last_reload_successful Did the latest reload, or the start, take effect?\n\
             # TYPE doorward_config_last_reload_successful gauge\n\
             doorward_config_last_reload_successful {}\n\
             # HELP doorward_config_last_reload_success_timestamp_seconds When the present configuration took effect.\n\
             # TYPE doorward_config_last_reload_success_timestamp_seconds gauge\n\
             doorward_config_last_reload_success_timestamp_seconds {}\n",
            read(&counts.done),
            read(&counts.refused),
            u8::from(!counts.is_refused.load(Ordering::Relaxed)),
            read(&counts.since),
        )
    }
}
