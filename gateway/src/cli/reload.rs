//! `doorward reload`: the running gate reads its configuration again.

use std::path::Path;

use tokio::net::UnixStream;

use super::{Failure, load, runtime, say, socket};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    // The socket is found by the file, and the gate reads its own. What is wrong with this one is
    // told here, and changes nothing there.
    let config = load(file)?;
    let place = &config.operations.socket;
    runtime()?.block_on(async {
        let stream = UnixStream::connect(place).await.map_err(|error| {
            Failure::Io(format!("no gate answers at {}: {error}", place.display()))
        })?;
        let (status, body) = socket::post(stream, &config.store, "/reload", Vec::new()).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        match status.as_u16() {
            200 => {
                say("reloaded");
                Ok(())
            }
            422 => Err(Failure::Config(format!("{text}\nthe gate goes on as it was"))),
            _ => Err(Failure::Io(text)),
        }
    })
}
