//! Before the gate starts: it waits for the servers that it shares with other gates.
//!
//! A host, or a whole site, that comes up has its gates before its Redis and its PostgreSQL now and
//! then, and a failover may be under way just then. Only what passes by itself is waited for
//! ([`OpenError::is_away`]): a wrong password ends the start at once. Meanwhile operators are answered,
//! and the service manager is told; clients find closed doors, so that balancers send them elsewhere,
//! or wait in the backlog of sockets that somebody else holds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use doorward_config::GatewayConfig;
use doorward_plugins::{OpenError, jittered, unreached};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::gate::StartError;
use crate::hand_over::{Listening, Role, Sockets};
use crate::service_manager;

/// The shortest pause between two tries.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What is waited for, in a line.
type Awaited = Arc<Mutex<String>>;

/// Returns when the servers of a configuration can be reached, with the sockets that it was given, and
/// that of operators if it had to be opened meanwhile. A start that has `failed` for want of them just
/// now is tried again after a pause.
///
/// # Errors
/// [`StartError`] when something is wrong that does not pass by itself.
pub(crate) async fn for_servers(
    config: GatewayConfig,
    mut sockets: Sockets,
    mut failed: Option<OpenError>,
) -> Result<Sockets, StartError> {
    let mut waiting: Option<Waiting> = None;
    let mut told = BTreeSet::new();
    loop {
        let mut why = match failed.take() {
            Some(error) => vec![error],
            None => unreached(&config).await,
        };
        if let Some(lasting) = why.iter().position(|error| !error.is_away()) {
            return Err(why.swap_remove(lasting).into());
        }
        if why.is_empty() {
            break;
        }
        let all: Vec<_> = why.iter().map(ToString::to_string).collect();
        let line = format!("waits for {}", all.join("; "));
        service_manager::tell_awaited(&line);
        let operations = match &waiting {
            Some(waiting) => waiting.say(line),
            None => waiting.insert(Waiting::begin(&config, &mut sockets, line)?).address,
        };
        for error in why {
            if let OpenError::Store(place, error) = error
                && told.insert(place.clone())
            {
                tracing::warn!(event = "store_awaited", place, %error, %operations);
            }
        }
        tokio::time::sleep(jittered(TRY_EVERY)).await;
    }
    if let Some(waiting) = waiting {
        sockets.all.push(waiting.end().await);
        service_manager::tell_begun();
        tracing::info!(event = "store_reached", "goes on with the start");
    }
    Ok(sockets)
}

/// What operators are told while the gate waits.
struct Waiting {
    address: SocketAddr,
    line: Awaited,
    answering: JoinHandle<()>,
    /// The same socket, for the gate.
    kept: Listening,
}

impl Waiting {
    fn begin(
        config: &GatewayConfig,
        sockets: &mut Sockets,
        line: String,
    ) -> Result<Self, StartError> {
        let (role, wanted) = (Role::Operations, config.operations.address);
        let failed = |error| StartError::Io(format!("cannot listen at {wanted}"), error);
        let socket = sockets.listen(role, wanted).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let kept = Listening { role, address: wanted, socket: socket.try_clone().map_err(failed)? };
        let listener = TcpListener::from_std(socket).map_err(failed)?;
        let line = Arc::new(Mutex::new(line));
        let routes = axum::Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/startupz", get(say_awaited))
            .route("/readyz", get(say_awaited))
            .with_state(Arc::clone(&line));
        let answering = tokio::spawn(async move {
            // It does not end by itself.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { address, line, answering, kept })
    }

    /// Says this from now on. Gives where.
    fn say(&self, line: String) -> SocketAddr {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
        self.address
    }

    /// Accepts nobody any more: who comes now is the gate's.
    async fn end(self) -> Listening {
        self.answering.abort();
        // It was to end.
        let _ = self.answering.await;
        self.kept
    }
}

async fn say_awaited(State(line): State<Awaited>) -> Response {
    let line = line.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (StatusCode::SERVICE_UNAVAILABLE, line + "\n").into_response()
}
