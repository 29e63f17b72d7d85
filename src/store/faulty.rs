//! A wrapper that adds faults to any store, for tests of an application against failing stores.
//!
//! A test switches the faults by a handle while the application runs. The wrapper uses only the methods of a store, so
//! that every store can have every fault.

mod faults;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{
    AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Versioned, Watch, WatchEvent, WatchSender, Write, Written,
};
use crate::record::Timestamp;
use crate::sync::Mutex;
pub use faults::{Fault, Faults, Operation};

/// Adds faults to a store. A test switches the faults on and off while the store is in use. Clones share the store and
/// its faults.
///
/// # Examples
///
/// ```
/// use tower_circuit_breaker::store::{Fault, FaultyStore, MemoryStore, Operation, Store, StoreErrorKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FaultyStore::new(MemoryStore::new());
/// let faults = store.faults();
///
/// faults.set(&[Operation::List], Fault::Fail(StoreErrorKind::Unavailable));
/// assert!(store.list().await.is_err());
/// faults.heal();
/// assert!(store.list().await.is_ok());
/// assert_eq!(faults.operations(Operation::List), 2);
/// # Ok(())
/// # }
/// ```
pub struct FaultyStore<S> {
    inner: Arc<S>,
    faults: Faults,
    /// The last value of each name that a load returned. A load with [`Fault::Stale`] repeats this value.
    seen: Arc<Mutex<BTreeMap<String, Option<Versioned>>>>,
}

impl<S: Store> FaultyStore<S> {
    /// Wraps a store. At first no fault is set.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { inner: Arc::new(store), faults: Faults::default(), seen: Arc::default() }
    }

    /// Returns the handle that switches the faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Returns the wrapped store, so that a test can read and write without faults.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Counts and delays an operation on these circuits, and returns the fault of the operation, if any. Returns an
    /// error if the fault is [`Fault::Fail`], and never returns if the fault is [`Fault::Hang`].
    async fn begin<'a>(
        &self,
        operation: Operation,
        circuits: impl Iterator<Item = &'a str> + Send,
    ) -> Result<Option<Fault>, StoreError> {
        let (delay, fault) = self.faults.count(operation, circuits);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match fault {
            Some(Fault::Fail(kind)) => {
                Err(StoreError::new(kind, format!("{operation} failed with the injected error {}", kind.as_str())))
            }
            Some(Fault::Hang) => std::future::pending().await,
            fault => Ok(fault),
        }
    }

    /// Runs the operation, and returns its answer. If the fault is `LoseReply` or `ApplyLater`, also runs the
    /// operation, but returns an error in place of the answer. The writes, except `trim_audit`, call
    /// [`later`](Self::later) first. If the fault is `ApplyLater`, these writes return the error of `later` and do not
    /// call this function.
    async fn pass<T>(
        &self,
        operation: Operation,
        fault: Option<Fault>,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = answer.await;
        if matches!(fault, Some(Fault::LoseReply | Fault::ApplyLater(_))) {
            return Err(lost(operation));
        }
        answer
    }

    /// If the fault is `ApplyLater`, spawns a task that writes after the delay, and returns an error. Otherwise does
    /// nothing.
    fn later<F>(
        &self,
        operation: Operation,
        fault: Option<Fault>,
        write: impl FnOnce(Arc<S>) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(Fault::ApplyLater(delay)) = fault else { return Ok(()) };
        let write = write(Arc::clone(&self.inner));
        #[expect(clippy::disallowed_methods, reason = "the write must go on after its writer has given up")]
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            write.await;
        });
        Err(lost(operation))
    }
}

fn lost(operation: Operation) -> StoreError {
    StoreError::timed_out(format!("the answer to {operation} was lost by an injected fault"))
}

impl<S: Store> Store for FaultyStore<S> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn origin(&self, etag: &Etag) -> &'static str {
        self.inner.origin(etag)
    }

    fn tiers(&self) -> Option<[&'static str; 2]> {
        self.inner.tiers()
    }

    fn lacking(&self, etag: &Etag) -> Option<&'static str> {
        self.inner.lacking(etag)
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let fault = self.begin(Operation::Load, names.iter().map(String::as_str)).await?;
        let mut loaded = self.pass(Operation::Load, fault, self.inner.load_many(names)).await?;
        let mut seen = self.seen.lock();
        for (name, entry) in names.iter().zip(&mut loaded.entries) {
            match seen.get(name) {
                Some(old) if fault == Some(Fault::Stale) => entry.clone_from(old),
                _ => drop(seen.insert(name.clone(), entry.clone())),
            }
        }
        Ok(loaded)
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        let operation = Operation::CompareAndSet;
        let fault = self.begin(operation, std::iter::once(write.name.as_str())).await?;
        let owned = write.clone();
        // The result of the later write is dropped, because the caller has already received an error.
        self.later(operation, fault, |inner| async move { drop(inner.compare_and_set(&owned).await) })?;
        self.pass(operation, fault, self.inner.compare_and_set(write)).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        let operation = Operation::Delete;
        let fault = self.begin(operation, std::iter::once(name)).await?;
        let (owned, etag_owned) = (name.to_owned(), etag.clone());
        self.later(operation, fault, |inner| async move { drop(inner.delete(&owned, &etag_owned).await) })?;
        self.pass(operation, fault, self.inner.delete(name, etag)).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        let fault = self.begin(Operation::List, std::iter::empty()).await?;
        self.pass(Operation::List, fault, self.inner.list()).await
    }

    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let fault = self.begin(Operation::List, std::iter::empty()).await?;
        self.pass(Operation::List, fault, self.inner.unwritten_since(before, after)).await
    }

    async fn load_unwritten(&self, names: &[String]) -> Result<Loaded, StoreError> {
        let fault = self.begin(Operation::Load, names.iter().map(String::as_str)).await?;
        self.pass(Operation::Load, fault, self.inner.load_unwritten(names)).await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        let fault = self.begin(Operation::Watch, std::iter::empty()).await?;
        let Some(inner) = self.pass(Operation::Watch, fault, self.inner.watch()).await? else { return Ok(None) };
        Ok(Some(forwarded(inner, self.faults.clone())))
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        let operation = Operation::AppendAudit;
        let fault = self.begin(operation, rows.iter().map(|row| row.service.as_str())).await?;
        let owned = rows.to_vec();
        self.later(operation, fault, |inner| async move { drop(inner.append_audit(&owned).await) })?;
        self.pass(operation, fault, self.inner.append_audit(rows)).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        let fault = self.begin(Operation::TrimAudit, std::iter::empty()).await?;
        self.pass(Operation::TrimAudit, fault, self.inner.trim_audit(before)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let fault = self.begin(Operation::Audit, std::iter::empty()).await?;
        self.pass(Operation::Audit, fault, self.inner.audit(filter)).await
    }
}

/// Returns a watch that passes on the events of `inner`. While `inner` is interrupted (reports can be missing), the
/// returned watch is interrupted too. Through `faults` a test can drop the events or end the watch.
fn forwarded(inner: Watch, faults: Faults) -> Watch {
    let (sender, watch) = Watch::channel_of(&inner);
    #[expect(clippy::disallowed_methods, reason = "the task ends with its watch")]
    tokio::spawn(forward(inner, sender, faults));
    watch
}

/// Forwards the events of the store until the store, the receiver or the test ends the watch.
async fn forward(mut inner: Watch, sender: WatchSender, faults: Faults) {
    let mut ended = faults.ended();
    loop {
        let event = tokio::select! {
            event = inner.next() => event,
            () = sender.closed() => None,
            _ = ended.changed() => None,
        };
        match event {
            None => return,
            Some(_) if faults.drops_events() => {}
            Some(WatchEvent::Changed { name, etag, hint }) => sender.changed_with(&name, etag, hint),
            Some(WatchEvent::Gap) => sender.lose(),
        }
    }
}

impl<S> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), faults: self.faults.clone(), seen: Arc::clone(&self.seen) }
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[cfg(all(test, any(feature = "postgres", feature = "redis")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interruption_of_the_inner_watch_is_one_of_the_faulty_watch() {
        let (sender, inner) = Watch::channel();
        let mut watch = forwarded(inner, Faults::default());
        assert!(watch.is_complete());
        sender.gap();
        sender.interrupt();
        assert_eq!(watch.next().await, Some(WatchEvent::Gap));
        assert!(!watch.is_complete(), "the interruption is later than the gap");
        sender.gap();
        assert_eq!(watch.next().await, Some(WatchEvent::Gap));
        assert!(watch.is_complete());
        let merged = forwarded(Watch::merged(Vec::new(), None), Faults::default());
        assert!(!merged.is_complete(), "a merged watch never counts as complete");
    }
}
