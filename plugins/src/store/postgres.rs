//! Records in PostgreSQL, which several gates share.
//!
//! A few connections, made when they are needed. One is asked before it is used whether it can be
//! written to: a server that cannot be is a replica, or was a primary until a moment ago, and what
//! it says may be old. A connection on which anything fails or is cut off is dropped, so that the
//! server ends its transaction, and the next one finds whichever server stands at the address then.

use std::time::Duration;

use async_trait::async_trait;
use doorward_config::{Postgres, PostgresHost, PostgresTls};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Semaphore;

use super::migration::{Step, migrate, newer};
use super::{Backend, DEADLINE, Operation, StoreError, Timings, failed_sql, in_time};

const MIGRATIONS: [Step; 1] =
    [(1, "records", include_str!("migrations/postgres/0001_records.sql"))];

/// How long a start may wait for the server, and for another gate that changes the tables.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How long a connection that was idle may take to say something. A network that has forgotten it
/// does not say so, and then there has to be time left for another one.
const LISTENED_FOR: Duration = Duration::from_secs(1);

/// A server that keeps records.
pub struct PostgresStore {
    options: PgConnectOptions,
    /// Without the limits that the server keeps for us.
    patient: PgConnectOptions,
    /// As many as there may be connections at once.
    places: Semaphore,
    connections_max: u32,
    /// Connections that nobody uses. Never held while something is waited for.
    idle: std::sync::Mutex<Vec<PgConnection>>,
    timings: Timings,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date.
    ///
    /// # Errors
    /// [`StoreError`] when the server cannot be reached, does not let us in, cannot be written to,
    /// or has tables of a newer version.
    pub async fn open(config: &Postgres) -> Result<Self, StoreError> {
        let patient = options(config);
        let starting = async {
            let mut first = in_time(patient.connect()).await?;
            migrate(&mut first, &MIGRATIONS).await?;
            let _ = first.close().await;
            Ok::<_, StoreError>(())
        };
        tokio::time::timeout(START_WITHIN, starting).await.map_err(|_| StoreError::Timeout)??;
        // A gate that is gone must not go on working, or keep its locks, at the server.
        let limit = DEADLINE.as_millis();
        let options = patient.clone().options([
            ("statement_timeout", limit),
            ("idle_in_transaction_session_timeout", limit),
        ]);
        let store = Self {
            options,
            patient,
            places: Semaphore::new(config.connections as usize),
            connections_max: config.connections,
            idle: std::sync::Mutex::default(),
            timings: Timings::default(),
        };
        store.ping().await?;
        Ok(store)
    }

    /// Could [`Self::open`] do its work? Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`], as that would have.
    pub async fn reach(config: &Postgres) -> Result<(), StoreError> {
        let version = in_time(async {
            let mut connection = options(config).connect().await?;
            verify_writable(&mut connection).await?;
            let version = version(&mut connection).await?;
            // The server notices by itself if this cannot be said.
            let _ = connection.close().await;
            Ok(version)
        });
        match version.await? {
            Some(version) if MIGRATIONS.iter().all(|(known, ..)| *known < version) => {
                Err(newer(version))
            }
            _ => Ok(()),
        }
    }

    /// Does `work` in a transaction, which is durable when this returns `Ok`.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let transaction = async |connection: &mut PgConnection| {
            sqlx::query("BEGIN").execute(&mut *connection).await?;
            let done = work(connection).await?;
            sqlx::query("COMMIT").execute(connection).await?;
            Ok(done)
        };
        self.timings.of(Operation::Write, self.run(transaction)).await
    }

    /// Does `work` in a transaction of its own, as long as that takes.
    pub(super) async fn at_length<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = in_time(self.patient.connect()).await?;
        sqlx::query("BEGIN").execute(&mut connection).await.map_err(failed_sql)?;
        let done = work(&mut connection).await?;
        sqlx::query("COMMIT").execute(&mut connection).await.map_err(failed_sql)?;
        let _ = connection.close().await;
        Ok(done)
    }

    /// Does `work` with a connection that can be written to.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.timings.of(Operation::Read, self.run(work)).await
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        in_time(async {
            let closed = |_| sqlx::Error::PoolClosed;
            let _place = self.places.acquire().await.map_err(closed)?;
            let mut connection = self.connection().await?;
            let done = work(&mut connection).await?;
            self.idle().push(connection);
            Ok(done)
        })
        .await
    }

    async fn connection(&self) -> Result<PgConnection, sqlx::Error> {
        let taken = self.idle().pop();
        if let Some(mut connection) = taken {
            let verified = tokio::time::timeout(LISTENED_FOR, verify_writable(&mut connection));
            if matches!(verified.await, Ok(Ok(()))) {
                return Ok(connection);
            }
            // What has happened to one has happened to all.
            self.idle().clear();
        }
        let mut connection = self.options.connect().await?;
        verify_writable(&mut connection).await?;
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn verify_writable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let read_only: String =
        sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection).await?;
    if read_only == "off" {
        return Ok(());
    }
    Err(sqlx::Error::Io(std::io::Error::other("it cannot be written to")))
}

/// Of which version the tables are; `None`: there are none yet.
async fn version(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let there = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await
}

#[async_trait]
impl Backend for PostgresStore {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn timings(&self) -> &Timings {
        &self.timings
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with(async |connection| {
            sqlx::query("SELECT 1 FROM secret LIMIT 1").execute(connection).await.map(drop)
        })
        .await
    }

    async fn close(&self) {
        let all = tokio::time::timeout(DEADLINE, self.places.acquire_many(self.connections_max));
        let _places = all.await;
        self.places.close();
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            // The server notices by itself if this cannot be said.
            let _ = tokio::time::timeout(DEADLINE, connection.close()).await;
        }
    }
}

fn options(config: &Postgres) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .application_name("doorward")
        // "There already" is no news.
        .options([("client_min_messages", "warning")])
        .username(&config.user)
        .password(config.password.expose())
        .database(&config.database);
    let options = match &config.host {
        PostgresHost::Tcp(host, port) => options.host(host).port(*port),
        PostgresHost::Unix(folder, port) => options.socket(folder).port(*port),
    };
    match &config.tls {
        PostgresTls::Off => options.ssl_mode(PgSslMode::Disable),
        PostgresTls::Verified { root_file: None } => options.ssl_mode(PgSslMode::VerifyFull),
        PostgresTls::Verified { root_file: Some(file) } => {
            options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file)
        }
    }
}
