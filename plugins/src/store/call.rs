//! What every call of a store by SQL has in common.

use std::future::Future;
use std::io;
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
        Ok(result) => result.map_err(failed_sql),
    }
}

/// What SQLSTATE a server has while it starts, ends, has no place left, or only reads (PostgreSQL,
/// appendix A).
const AWAY: [&str; 5] = ["57P01", "57P02", "57P03", "53300", "25006"];

pub(super) fn failed_sql(error: sqlx::Error) -> StoreError {
    let is_away = match &error {
        sqlx::Error::Io(error) => is_about_the_way(error),
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| AWAY.contains(&code.as_ref()))
        }
        _ => false,
    };
    if is_away { StoreError::Unreachable(Box::new(error)) } else { failed(error) }
}

/// Was the server not reached? One that is not trusted, or does not speak TLS, is there (rustls says
/// so by errors of this kind); a socket that this user may not use stays so.
pub(super) fn is_about_the_way(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied)
}

/// Numbers in SQL are signed; times and counts of ours stay far below the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
