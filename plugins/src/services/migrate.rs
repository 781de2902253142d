//! Moves what a gate has kept in its file to servers that gates share.

use std::path::Path;

use doorward_config::{GatewayConfig, Store};

use super::OpenError;
use super::lock::lock_store;
use crate::store::{
    Backend, PostgresStore, RedisStore, SessionStore, SharedSessionStore, SqliteStore, StoreError,
    copy_records,
};

/// Copies what is in a file that no gate uses to the servers of a configuration: the records into
/// PostgreSQL, all or none; sessions, wrong guesses and known browsers to Redis. Gives how many of each
/// kind there were.
///
/// # Errors
/// [`OpenError`]: of the file, or of a server. PostgreSQL must not have any records yet.
pub async fn migrate(
    config: &GatewayConfig,
    from: &Path,
) -> Result<Vec<(&'static str, u64)>, OpenError> {
    let file = from.display().to_string();
    if config.store.postgres.is_none() && config.store.redis.is_none() {
        let why = "the configuration names neither PostgreSQL nor Redis";
        return Err(OpenError::Store(file, StoreError::Failed(why.into())));
    }
    // Opening would make one.
    if let Err(error) = std::fs::metadata(from) {
        return Err(OpenError::Io(file, error));
    }
    let _lock = lock_store(&Store { path: from.to_owned(), postgres: None, redis: None })?;
    let source = SqliteStore::open(from).await;
    let source = source.map_err(|error| OpenError::Store(file, error))?;
    // Sessions last: whoever has one is somebody by then.
    let moved = async {
        let mut counts = Box::pin(records(config, &source)).await?;
        counts.extend(live(config, &source).await?);
        Ok(counts)
    };
    let moved = moved.await;
    source.close().await;
    moved
}

async fn records(
    config: &GatewayConfig,
    source: &SqliteStore,
) -> Result<Vec<(&'static str, u64)>, OpenError> {
    let Some(server) = &config.store.postgres else { return Ok(Vec::new()) };
    let at_server = |error| OpenError::Store(server.to_string(), error);
    let target = PostgresStore::open(server).await.map_err(at_server)?;
    let copied = copy_records(source, &target).await;
    target.close().await;
    let some = "it has records already; name an empty database";
    copied.map_err(at_server)?.ok_or_else(|| at_server(StoreError::Failed(some.into())))
}

async fn live(
    config: &GatewayConfig,
    source: &SqliteStore,
) -> Result<Vec<(&'static str, u64)>, OpenError> {
    let Some(server) = &config.store.redis else { return Ok(Vec::new()) };
    let moving = async {
        let target = RedisStore::open(server)?;
        // Before the first change is told.
        target.position().await?;
        let mut sessions = Vec::new();
        source.each(&mut |session| sessions.push(session)).await?;
        for session in &sessions {
            match target.begin(session, &[]).await {
                // It was copied before.
                Ok(()) | Err(StoreError::Taken) => {}
                Err(error) => return Err(error),
            }
        }
        let counted = source.counted().await?;
        let counts = [sessions.len(), counted.guesses.len(), counted.devices.len()];
        target.take_over(counted).await?;
        target.close().await;
        let counts = counts.map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        Ok(["session", "guess", "device"].into_iter().zip(counts).collect())
    };
    moving.await.map_err(|error| super::ground::redis_failed(config, error))
}
