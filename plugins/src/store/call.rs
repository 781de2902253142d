//! What every call of a store by SQL has in common.

use std::future::Future;
use std::time::Duration;

use super::StoreError;

/// How long one call may take. A disk or a server that hangs must not hang a sign-in.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Failed(Box::new(error))
}

pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Err(_) => Err(StoreError::Timeout),
        Ok(Err(sqlx::Error::Database(error))) if error.is_unique_violation() => {
            Err(StoreError::Taken)
        }
        Ok(result) => result.map_err(failed),
    }
}

/// Numbers in SQL are signed; times and counts of ours stay far below the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
