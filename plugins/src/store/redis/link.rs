//! The connection to the servers: one, shared by all who ask, made anew when it breaks.
//!
//! Alone, by Sentinel or a Cluster: what differs is how the connection is made. Whatever fails
//! drops the connection, so that the next one finds the primary of a set that has failed over; one
//! at a time tries, not more often than [`RETRY_MIN`], a little differently at each gate, and
//! meanwhile the others are told at once that nobody answers.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_config::{Redis as Settings, RedisTopology};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisFuture, TlsCertificates, Value,
};
use tokio::runtime::Handle;

use super::failed;
use crate::clock::{Clock, Timestamp, jittered};
use crate::store::{StoreError, is_about_the_way};

/// The shortest pause between two tries to connect; up to half as much again is added by chance.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// How to get a connection.
enum Way {
    Alone(Client),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The connection, or when it may be tried again.
struct Slot {
    connection: Option<Connection>,
    not_before: Option<Timestamp>,
}

/// The way to the servers.
pub(super) struct Link {
    way: Arc<Way>,
    deadline: Duration,
    slot: Mutex<Slot>,
    connecting: tokio::sync::Mutex<()>,
    /// How many connections there were.
    generation: AtomicU64,
    /// What a server takes is so much of the machine's time, also where a test's clock stands.
    clock: Clock,
    /// Where the connection lives, whoever needs it first.
    runtime: Handle,
}

impl Link {
    /// # Errors
    /// When the settings cannot be used; nobody is asked yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let urls: Vec<&str> = settings.urls.iter().map(|url| url.expose()).collect();
        let way = match &settings.topology {
            RedisTopology::Alone => {
                let url = urls.first().copied().unwrap_or_default();
                let client = match certificates(settings)? {
                    Some(trusted) => Client::build_with_tls(url, trusted),
                    None => Client::open(url),
                };
                Way::Alone(client.map_err(failed)?)
            }
            RedisTopology::Cluster => {
                let mut builder = ClusterClient::builder(urls)
                    .connection_timeout(settings.timeout)
                    .response_timeout(settings.timeout)
                    .retries(2);
                if let Some(trusted) = certificates(settings)? {
                    builder = builder.certs(trusted);
                }
                Way::Cluster(builder.build().map_err(failed)?)
            }
            RedisTopology::Sentinel(name) => Way::Sentinel(tokio::sync::Mutex::new(sentinel(
                &urls,
                name,
                certificates(settings)?,
            )?)),
        };
        Ok(Self {
            way: Arc::new(way),
            deadline: settings.timeout,
            slot: Mutex::new(Slot { connection: None, not_before: None }),
            connecting: tokio::sync::Mutex::default(),
            generation: AtomicU64::new(0),
            clock: Clock::machine(),
            runtime: Handle::current(),
        })
    }

    /// How many connections there were. Another number than before: what was heard on the last one
    /// may not be all.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Does `work` on the connection, within the deadline.
    ///
    /// # Errors
    /// [`StoreError`]; a write may have been done even so.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let all = async {
            let (mut connection, generation) = self.connection().await?;
            Ok::<_, StoreError>((work(&mut connection).await, generation))
        };
        match tokio::time::timeout(self.deadline, all).await {
            Err(_) => {
                self.drop_connection(self.generation());
                Err(StoreError::Timeout)
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok((Ok(value), _))) => Ok(value),
            Ok(Ok((Err(error), generation))) => {
                if is_broken(&error) {
                    self.drop_connection(generation);
                }
                Err(told(error))
            }
        }
    }

    async fn connection(&self) -> Result<(Connection, u64), StoreError> {
        if let Some(found) = self.ready()? {
            return Ok(found);
        }
        let _turn = self.connecting.lock().await;
        if let Some(found) = self.ready()? {
            return Ok(found);
        }
        // On a runtime that lives as long as the process: whoever asks first may not.
        let connecting = self.runtime.spawn(connect(Arc::clone(&self.way), self.deadline));
        let made = connecting.await.map_err(failed).and_then(|made| made);
        let mut slot = self.slot();
        match made {
            Ok(connection) => {
                let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
                *slot = Slot { connection: Some(connection.clone()), not_before: None };
                Ok((connection, generation))
            }
            Err(error) => {
                slot.not_before = Some(self.clock.now() + jittered(RETRY_MIN));
                Err(error)
            }
        }
    }

    /// The connection, if there is one. An error: it is too early to try.
    fn ready(&self) -> Result<Option<(Connection, u64)>, StoreError> {
        let slot = self.slot();
        if let Some(connection) = &slot.connection {
            return Ok(Some((connection.clone(), self.generation())));
        }
        match slot.not_before {
            Some(at) if self.clock.now() < at => {
                Err(StoreError::Unreachable("no connection".into()))
            }
            _ => Ok(None),
        }
    }

    /// Forgets the connection of this number.
    fn drop_connection(&self, generation: u64) {
        let mut slot = self.slot();
        if self.generation() == generation && slot.connection.take().is_some() {
            slot.not_before = Some(self.clock.now() + jittered(RETRY_MIN));
        }
    }

    /// Forgets the connection for good.
    pub(super) fn close(&self) {
        self.slot().connection = None;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(way: Arc<Way>, deadline: Duration) -> Result<Connection, StoreError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(deadline))
        .set_response_timeout(Some(deadline));
    let connecting = async {
        let client = match &*way {
            Way::Alone(client) => client.clone(),
            Way::Sentinel(client) => client.lock().await.async_get_client().await?,
            Way::Cluster(client) => {
                return client.get_async_connection().await.map(Connection::Cluster);
            }
        };
        client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
    };
    let made = tokio::time::timeout(deadline, connecting).await;
    made.map_err(|_| StoreError::Timeout)?.map_err(told)
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Whom to trust, if not those that the system trusts.
fn certificates(settings: &Settings) -> Result<Option<TlsCertificates>, StoreError> {
    let Some(file) = &settings.ca_file else { return Ok(None) };
    let root_cert = Some(std::fs::read(file).map_err(failed)?);
    Ok(Some(TlsCertificates { client_tls: None, root_cert }))
}

/// Sentinels speak as the first URL says; so do the servers that they name.
fn sentinel(
    urls: &[&str],
    name: &str,
    trusted: Option<TlsCertificates>,
) -> Result<SentinelClient, StoreError> {
    let infos = urls.iter().map(|url| url.into_connection_info());
    let infos = infos.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let settings = infos.first().map(|info| info.redis_settings().clone()).unwrap_or_default();
    let is_tls = urls.first().is_some_and(|url| url.starts_with("rediss://"));
    let addresses: Vec<_> = infos.iter().map(|info| info.addr().clone()).collect();
    let builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master);
    let mut builder = builder.map_err(failed)?.set_client_to_redis_db(settings.db());
    if is_tls {
        builder = builder
            .set_client_to_redis_tls_mode(redis::TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(redis::TlsMode::Secure);
    }
    if let Some(trusted) = trusted {
        builder = builder
            .set_client_to_redis_certificates(trusted.clone())
            .set_client_to_sentinel_certificates(trusted);
    }
    if let Some(user) = settings.username() {
        builder = builder.set_client_to_redis_username(user).set_client_to_sentinel_username(user);
    }
    if let Some(password) = settings.password() {
        builder = builder
            .set_client_to_redis_password(password)
            .set_client_to_sentinel_password(password);
    }
    builder.build().map_err(failed)
}

/// Is another connection needed?
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || is_unready(error)
        || error.kind() == ErrorKind::AuthenticationFailed
}

/// Does the server say that it is not ready? One that only reads now was the primary once.
fn is_unready(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN"))
}

/// What an error of the library's means.
fn told(error: RedisError) -> StoreError {
    if error.is_timeout() {
        return StoreError::Timeout;
    }
    let is_away = match error.kind() {
        ErrorKind::Io => match error.source() {
            Some(source) => io_error(source).is_some_and(is_about_the_way),
            None => !is_a_refusal(&error),
        },
        // Sentinels know no primary while one takes the place of another.
        ErrorKind::ClusterConnectionNotFound | ErrorKind::MasterNameNotFoundBySentinel => true,
        _ => is_unready(&error),
    };
    if is_away { StoreError::Unreachable(Box::new(error)) } else { failed(error) }
}

fn io_error<'a>(source: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let shared = source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    shared.downcast_ref()
}

/// The library's Cluster says in words alone why it has found no node.
fn is_a_refusal(error: &RedisError) -> bool {
    let words = error.to_string();
    ["AuthenticationFailed", "WRONGPASS", "NOAUTH", "NOPERM", "certificate"]
        .iter()
        .any(|word| words.contains(word))
}
