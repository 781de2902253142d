//! Moves what a gate has kept in its file to a server.

use std::path::Path;

use doorward_config::{GatewayConfig, Store};

use super::OpenError;
use super::lock::lock_store;
use crate::store::{Backend, PostgresStore, SqliteStore, StoreError, copy_records};

/// Copies the records of a file that no gate uses into the PostgreSQL of a configuration, all or
/// none. Gives how many of each kind there were.
///
/// # Errors
/// [`OpenError`]: of the file, or of the server, which must not have any records yet.
pub async fn migrate_records(
    config: &GatewayConfig,
    from: &Path,
) -> Result<Vec<(&'static str, u64)>, OpenError> {
    let refused = |text: &str| StoreError::Failed(text.into());
    let file = from.display().to_string();
    let Some(server) = &config.store.postgres else {
        return Err(OpenError::Store(file, refused("the configuration names no PostgreSQL")));
    };
    // Opening would make one.
    if let Err(error) = std::fs::metadata(from) {
        return Err(OpenError::Io(file, error));
    }
    let _lock = lock_store(&Store { path: from.to_owned(), postgres: None, redis: None })?;
    let at_file = |error| OpenError::Store(file.clone(), error);
    let at_server = |error| OpenError::Store(server.to_string(), error);
    let source = SqliteStore::open(from).await.map_err(at_file)?;
    let target = PostgresStore::open(server).await.map_err(at_server)?;
    let copied = copy_records(&source, &target).await;
    target.close().await;
    source.close().await;
    let some = || at_server(refused("it has records already; name an empty database"));
    copied.map_err(at_server)?.ok_or_else(some)
}
