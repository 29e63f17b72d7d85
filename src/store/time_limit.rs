//! The time limit of the operation under way, from which stores derive their own limits.
//!
//! The caller of a store sets the limit of each operation. The limits inside a store, for a connection or a statement,
//! are parts of that limit, because a constant would make a distant server unusable whatever limit the user sets. The
//! limit belongs to the task of the operation, so that one store can serve callers with different limits.

use std::time::Duration;

use super::StoreError;
use crate::keep::STORE_TIMEOUT;

tokio::task_local! {
    static LIMIT: Duration;
}

/// Waits for the answer of a store, but not longer than `limit`.
///
/// # Cancel safety
///
/// If the future is dropped, the operation of the store is dropped with it.
pub(crate) async fn answer_within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(limit, LIMIT.scope(limit, answer)).await;
    answer.unwrap_or_else(|_| Err(StoreError::no_answer_within(limit)))
}

/// Returns the limit of the operation under way, or the default limit if the caller sets none.
pub(crate) fn limit() -> Duration {
    LIMIT.try_with(|limit| *limit).unwrap_or(STORE_TIMEOUT)
}

/// Returns the limit of an operation as a store applies it. The caller must get the error of this limit before its own,
/// because only this error names the server.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn for_operation() -> Duration {
    limit() / 10 * 9
}

/// Returns the limit of a new connection. The rest of the time is for the error, which says that nothing was changed.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn for_connection() -> Duration {
    limit() / 10 * 8
}

/// Returns the description of a part of the limit, for an error. The caller is in the task of the operation.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn described(part: Duration) -> String {
    format!("within {part:?} (the store timeout is {:?}, and a distant server needs a larger one)", limit())
}
