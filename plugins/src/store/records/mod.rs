//! Records by SQL that SQLite and PostgreSQL both understand: each statement is written once.
//!
//! Parameters are `$1`, `$2`, …. Texts compare by their octets in both, and `rowid` counts up in
//! both. SQLite lets one transaction write at a time. PostgreSQL lets many, each of which sees what
//! was committed before its statement began: a statement that changes a row repeats in its own
//! condition what must still be so of the row, and whoever counts rows before it adds one, or
//! changes several, takes a [`Connection::lock`] first.

mod accounts;
mod appeals;
mod authenticators;
mod copy;
mod history;
mod messages;
mod value;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{StoreError, failed};
pub(crate) use copy::copy_records;
use value::{Row, Value, prepare, values};

/// How many rows are in memory at once where all are read.
const PART: i64 = 2000;

/// A store that keeps records by SQL.
pub trait SqlRecords: Send + Sync {
    /// What the statements go to.
    fn database(&self) -> Database<'_>;
}

impl SqlRecords for SqliteStore {
    fn database(&self) -> Database<'_> {
        Database::Sqlite(self)
    }
}

impl SqlRecords for PostgresStore {
    fn database(&self) -> Database<'_> {
        Database::Postgres(self)
    }
}

/// A database that records are kept in.
#[derive(Clone, Copy)]
pub enum Database<'a> {
    /// A file.
    Sqlite(&'a SqliteStore),
    /// A server.
    Postgres(&'a PostgresStore),
}

impl Database<'_> {
    /// Does `work` in a transaction, which is durable when this returns `Ok`.
    async fn write<T>(
        self,
        work: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(store) => {
                store.write(async |writer| work(&mut Connection::Sqlite(writer)).await).await
            }
            Self::Postgres(store) => {
                store.write(async |writer| work(&mut Connection::Postgres(writer)).await).await
            }
        }
    }

    /// One statement that changes something; says how many rows it did.
    async fn execute(self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.write(async |connection| connection.execute(sql, values).await).await
    }

    /// The rows of a query, outside of any transaction.
    async fn rows(self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(store) => {
                let found = store.read(prepare(sql, values).fetch_all(store.readers())).await?;
                Ok(found.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(store) => {
                let query = prepare(sql, values.into_iter().map(Value::without_nul));
                let found =
                    store.with(async |connection| query.fetch_all(connection).await).await?;
                Ok(found.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first of them.
    async fn row(
        self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Shows every row of a query that takes the last row's number and how many may come next.
    async fn in_parts(
        self,
        sql: &str,
        mut visit: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut last = i64::MIN;
        loop {
            let rows = self.rows(AssertSqlSafe(sql), values![last, PART]).await?;
            rows.iter().try_for_each(&mut visit)?;
            match rows.last() {
                None => return Ok(()),
                Some(row) => last = row.get("rowid")?,
            }
        }
    }
}

/// A connection within a transaction.
enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Connection<'_> {
    /// Does a statement; says how many rows it changed.
    async fn execute(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => {
                prepare(sql, values).execute(&mut **connection).await?.rows_affected()
            }
            Self::Postgres(connection) => {
                let query = prepare(sql, values.into_iter().map(Value::without_nul));
                query.execute(&mut **connection).await?.rows_affected()
            }
        })
    }

    /// The rows of a query, or of a change that returns some.
    async fn rows(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => {
                let found = prepare(sql, values).fetch_all(&mut **connection).await?;
                found.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(connection) => {
                let query = prepare(sql, values.into_iter().map(Value::without_nul));
                let found = query.fetch_all(&mut **connection).await?;
                found.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Until this transaction is over nobody else has the lock of this name, in any gate.
    async fn lock(&mut self, what: &str, whose: &str) -> Result<(), sqlx::Error> {
        match self {
            // Others wait for the whole transaction.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => {
                let sql = "SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))";
                self.rows(sql, values![what, whose]).await.map(drop)
            }
        }
    }
}
