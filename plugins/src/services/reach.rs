//! Asks whether the servers that a configuration names are there, before anything stands on them.

use doorward_config::{GatewayConfig, Postgres, Redis};

use super::OpenError;
use super::ground::redis_failed;
use crate::store::{Backend, PostgresStore, RedisStore, StoreError};

/// Why the servers of a configuration, Redis and PostgreSQL, cannot be used now, each with its name;
/// empty where they can be, or none is named. Changes no tables.
pub async fn unreached(config: &GatewayConfig) -> Vec<OpenError> {
    let redis = async {
        let settings = config.store.redis.as_ref()?;
        reach_redis(settings).await.err().map(|error| redis_failed(config, error))
    };
    let postgres = async {
        let server = config.store.postgres.as_ref()?;
        reach_postgres(server).await.err()
    };
    let (redis, postgres) = tokio::join!(redis, postgres);
    redis.into_iter().chain(postgres).collect()
}

async fn reach_redis(settings: &Redis) -> Result<(), StoreError> {
    let store = RedisStore::open(settings)?;
    store.ping().await
}

async fn reach_postgres(server: &Postgres) -> Result<(), OpenError> {
    let reached = PostgresStore::reach(server).await;
    reached.map_err(|error| OpenError::Store(server.to_string(), error))
}
