//! Where the disk's work is done: on threads that may wait, and for one name by one at a time.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use super::name::digest;
use crate::store::StoreError;

/// Does the work on a thread that may wait. It is finished even if nobody waits for it any more.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::unavailable("the runtime is being shut down, and the disk was not touched")),
        },
    }
}

/// Lets the writers of one process take turns, so that the lock on the disk is contended by other processes only.
#[derive(Debug, Clone, Default)]
pub(super) struct Writers([Arc<Mutex<()>>; 16]);

impl Writers {
    /// Waits for its turn. The work takes it along, so that a dropped writer is not overtaken.
    pub(super) async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let [.., last] = digest(name.as_bytes()).to_be_bytes();
        Arc::clone(&self.0[usize::from(last) % self.0.len()]).lock_owned().await
    }
}
