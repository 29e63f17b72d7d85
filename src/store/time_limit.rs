//! The time limit of the present operation on a store. The store computes its inner limits from this limit.
//!
//! The caller sets the limit of each operation. The inner limits of a store, such as for a connection or a statement,
//! are fractions of this limit. With constant inner limits, a longer limit of the caller could not make a distant
//! server usable. The limit is local to the task of the operation, so that one store can serve callers with different
//! limits.

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

/// Returns the time limit of the operation under way, or the default limit if the caller has set no limit.
pub(crate) fn limit() -> Duration {
    LIMIT.try_with(|limit| *limit).unwrap_or(STORE_TIMEOUT)
}

/// Returns the time limit that a store sets for an operation, which is nine tenths of the caller's limit. The store
/// must report its timeout before the caller gives up, because only the error of the store names the server.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn for_operation() -> Duration {
    limit() / 10 * 9
}

/// Returns the time limit for opening a connection, which is eight tenths of the caller's limit. If no connection was
/// opened in this time, the store returns `Unavailable` before the caller gives up, so that the caller knows that
/// nothing was changed.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn for_connection() -> Duration {
    limit() / 10 * 8
}

/// Returns a text for an error, with the time `part`, which is a part of the limit, and with the whole limit. Call this
/// function in the task of the operation, because the limit is local to that task.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(super) fn described(part: Duration) -> String {
    format!("within {part:?} (the store timeout is {:?}, and a distant server needs a larger one)", limit())
}
