//! `doorward serve --take-over`: this process takes the place of the gate that runs.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use doorward_config::GatewayConfig;
use doorward_plugins::unreached;
use tokio::net::UnixStream;

use super::socket::{self, unanswered};
use super::{Failure, config, runtime};
use crate::gate::StartError;
use crate::hand_over::{Receiver, Sockets};

/// How much longer than it promised the old process may take to end: it writes what it has.
const MARGIN: Duration = Duration::from_secs(15);

/// Takes the listening sockets of the running gate, which ends. `None`: no gate runs.
pub(super) fn run(config: &GatewayConfig, file: &Path) -> Result<Option<Sockets>, Failure> {
    // Nobody is asked to end for a configuration that cannot be served.
    config::verify_use(config, file)?;
    runtime()?.block_on(async {
        // Nor for servers that this process could not reach.
        if let Some(why) = unreached(config).await.into_iter().next() {
            return Err(StartError::Open(why).into());
        }
        let Ok(stream) = UnixStream::connect(&config.operations.socket).await else {
            tracing::info!(event = "nobody_to_relieve", "no gate is running");
            return Ok(None);
        };
        let path = config.operations.socket.with_extension("take-over");
        let receiver = Receiver::bind(&path).await?;
        let path = path.as_os_str().as_bytes().to_owned();
        let asking = async {
            let (status, body) = socket::post(stream, &config.store, "/hand-over", path).await?;
            let text = String::from_utf8_lossy(&body);
            if !status.is_success() {
                return Err(Failure::Io(format!("the running gate does not hand over: {text}")));
            }
            text.parse().map(Duration::from_millis).map_err(unanswered)
        };
        // It answers when it was told that the sockets have come.
        let taking = async { receiver.take().await.map_err(Failure::from) };
        let (grace, all) = tokio::try_join!(asking, taking)?;
        tracing::info!(event = "taken_over", sockets = all.len(), "waits for the store");
        Ok(Some(Sockets { all, wait_for_store: grace + MARGIN }))
    })
}
