//! Brings the tables of a database up to date, forward only.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::{StoreError, failed};

/// Version, description and statements of a migration.
pub(super) type Step = (i64, &'static str, &'static str);

/// Runs those of `steps` that were not.
pub(super) fn migrator(steps: &[Step]) -> Migrator {
    let migrations = steps.iter().map(|&(version, description, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(version, description.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Why that did not go.
pub(super) fn migration_failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Failed(
            format!(
                "its tables are those of a newer Doorward (version {version} of them): use that"
            )
            .into(),
        ),
        error => failed(error),
    }
}
