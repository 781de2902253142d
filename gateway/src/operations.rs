//! The operations listener, apart from the public one; and the administration socket.
//!
//! - `/livez`: the process turns. Never asks the store, or a slow disk would get it killed.
//! - `/readyz`: it serves, and its store answers. `/startupz`: it has begun to serve.
//! - `/metrics`: counters in the text format of Prometheus.
//!
//! Administration comes over a Unix-domain socket of mode 0600, one JSON request and reply each.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::Guard;
use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use doorward_plugins::Services;
use doorward_plugins::administration::{AdminError, Request};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::net::TcpListener;

use crate::gate::StartError;
use crate::hand_over::{HandOver, Role, Sockets};
use crate::metrics::{self, WorkerMetrics};
use crate::private_socket::PrivateSocket;
use crate::reload::Reloader;
use crate::shared::Shared;

/// The field in which the command line says whose store it means, or a configuration that names
/// the socket of another gate would change that gate's accounts.
pub(crate) const STORE: &str = "x-doorward-store";

/// How far the gate is.
pub(crate) struct State {
    reloader: Arc<Reloader>,
    workers: Vec<Arc<WorkerMetrics>>,
    phase: AtomicU8,
    /// The administration socket, once it is bound.
    socket: OnceLock<PrivateSocket>,
    pub(crate) hand_over: HandOver,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl State {
    pub(crate) fn new(reloader: Arc<Reloader>, workers: Vec<Arc<WorkerMetrics>>) -> Self {
        Self {
            reloader,
            workers,
            phase: AtomicU8::new(STARTING),
            socket: OnceLock::new(),
            hand_over: HandOver::default(),
        }
    }

    pub(crate) fn set_ready(&self) {
        self.phase.store(READY, Ordering::Release);
    }

    pub(crate) fn set_draining(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// Removes the administration socket.
    pub(crate) fn clean_up(&self) {
        if let Some(socket) = self.socket.get() {
            socket.remove();
        }
    }

    fn shared(&self) -> Guard<Arc<Shared>> {
        self.reloader.current.load()
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }
}

/// Opens the listener and the socket, and answers on the office from now on.
pub(crate) async fn start(
    state: Arc<State>,
    sockets: &mut Sockets,
) -> Result<SocketAddr, StartError> {
    let config = Arc::clone(&state.shared().services.config);
    let rules = &config.operations;
    let failed = |error| StartError::Io(format!("cannot listen at {}", rules.address), error);
    let listener = sockets.listen(Role::Operations, rules.address).map_err(failed)?;
    state.hand_over.keep(Role::Operations, rules.address, &listener).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let public = axum::Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Arc::clone(&state));
    tokio::spawn(async move { axum::serve(listener, public).await });

    let (place, socket) = PrivateSocket::bind(&rules.socket)
        .await
        .map_err(|error| StartError::Io(rules.socket.display().to_string(), error))?;
    // A state starts once.
    let _ = state.socket.set(place);
    let private = axum::Router::new()
        .route("/administration", post(administer))
        .route("/reload", post(reload))
        .route("/hand-over", post(hand_over))
        .with_state(state);
    tokio::spawn(async move { axum::serve(socket, private).await });
    Ok(address)
}

async fn startupz(Extract(state): Extract<Arc<State>>) -> Response {
    answer(state.phase() != STARTING, "starting\n")
}

async fn readyz(Extract(state): Extract<Arc<State>>) -> Response {
    match state.phase() {
        STARTING => answer(false, "starting\n"),
        DRAINING => answer(false, "draining\n"),
        _ => answer(state.shared().services.ping().await.is_ok(), "the store does not answer\n"),
    }
}

fn answer(good: bool, otherwise: &'static str) -> Response {
    if good {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response()
    }
}

async fn scrape(Extract(state): Extract<Arc<State>>) -> Response {
    let mut text = metrics::render(&state.shared(), &state.workers).await;
    text.push_str(&state.reloader.metrics());
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn administer(
    Extract(state): Extract<Arc<State>>,
    fields: HeaderMap,
    Json(request): Json<Request>,
) -> Response {
    let services = Arc::clone(&state.shared().services);
    if let Some(refusal) = refuse_other_store(&services, &fields) {
        return refusal;
    }
    match services.administration.execute(request).await {
        Ok(reply) => Json(reply).into_response(),
        Err(error) => {
            let status = match &error {
                AdminError::Refuse(_) => StatusCode::UNPROCESSABLE_ENTITY,
                AdminError::Unknown(_) => StatusCode::NOT_FOUND,
                AdminError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, error.to_string()).into_response()
        }
    }
}

/// Answers when the configuration has taken effect, or why it has not.
async fn reload(Extract(state): Extract<Arc<State>>, fields: HeaderMap) -> Response {
    if let Some(refusal) = refuse_other_store(&state.shared().services, &fields) {
        return refusal;
    }
    match state.reloader.reload().await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => {
            let status = match error.is_about_configuration() {
                true => StatusCode::UNPROCESSABLE_ENTITY,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, error.to_string()).into_response()
        }
    }
}

/// Passes the listening sockets to whoever listens at the path that is asked for, and has this gate
/// end. The answer is how long that may take, in milliseconds.
async fn hand_over(
    Extract(state): Extract<Arc<State>>,
    fields: HeaderMap,
    path: Bytes,
) -> Response {
    let services = Arc::clone(&state.shared().services);
    if let Some(refusal) = refuse_other_store(&services, &fields) {
        return refusal;
    }
    let passing = tokio::task::spawn_blocking(move || {
        state.hand_over.pass(Path::new(OsStr::from_bytes(&path)))
    });
    match passing.await.map_err(io::Error::other).flatten() {
        Ok(()) => services.config.shutdown_grace.as_millis().to_string().into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

fn refuse_other_store(services: &Services, fields: &HeaderMap) -> Option<Response> {
    let store = services.config.store.canonical();
    let meant = fields.get(STORE).map(HeaderValue::as_bytes);
    (meant != Some(store.as_os_str().as_bytes())).then(|| {
        let reason = format!("the gate at this socket has another store: {}", store.display());
        (StatusCode::CONFLICT, reason).into_response()
    })
}
