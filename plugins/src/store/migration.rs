//! Brings the tables of a database up to date, forward only.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use super::{StoreError, failed, failed_sql};

/// Version, description and statements of a migration.
pub(super) type Step = (i64, &'static str, &'static str);

/// Runs those of `steps` that were not. PostgreSQL lets one gate at a time do so.
///
/// # Errors
/// [`StoreError::Failed`] when the tables are of a newer version, or not ours.
pub(super) async fn migrate<C: Migrate>(
    connection: &mut C,
    steps: &[Step],
) -> Result<(), StoreError> {
    let migrations = steps.iter().map(|&(version, description, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(version, description.into(), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    // Its `run` makes futures of which the compiler cannot tell that threads may pass them on.
    migrator.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => newer(version),
        MigrateError::Execute(error) => failed_sql(error),
        error => failed(error),
    })
}

/// What is said of tables of a version that this one does not know.
pub(super) fn newer(version: i64) -> StoreError {
    let why = format!("its tables are those of a newer Doorward (version {version} of them)");
    StoreError::Failed(why.into())
}
