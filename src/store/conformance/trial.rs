//! The run of one case, with its operations on the store and the texts of its failures.

use std::fmt;
use std::time::Duration;

use super::{Case, Failure, Suite};
use crate::record::CircuitRecord;
use crate::store::{AnyStore, Etag, Hint, Store, StoreError, StoreErrorKind, Versioned, Write, Written};

pub(super) struct Trial<'s, 'a> {
    pub(super) suite: &'s Suite<'a>,
    case: Case,
}

impl<'s, 'a> Trial<'s, 'a> {
    pub(super) fn new(suite: &'s Suite<'a>, case: Case) -> Self {
        Self { suite, case }
    }

    pub(super) async fn open(&self) -> AnyStore {
        (self.suite.open)().await
    }

    /// Returns a name that no other case uses.
    pub(super) fn name(&self, part: &str) -> String {
        format!("{}{}-{part}", self.suite.prefix, self.case)
    }

    pub(super) fn failure(&self, found: impl Into<String>) -> Failure {
        Failure { case: self.case, found: found.into() }
    }

    pub(super) fn same<T: PartialEq + fmt::Debug>(&self, what: &str, found: &T, expected: &T) -> Result<(), Failure> {
        if found == expected {
            return Ok(());
        }
        Err(self.failure(format!("{what}: expected {expected:?}, found {found:?}")))
    }

    /// Checks that the loaded bytes are the expected bytes, and returns their etag. `what` names the step in the text
    /// of a failure.
    pub(super) fn holds(&self, what: &str, found: Option<Versioned>, expected: &[u8]) -> Result<Etag, Failure> {
        match found {
            Some(found) if found.bytes == expected => Ok(found.etag),
            found => {
                let found = found.map_or("nothing".to_owned(), |found| shown(&found.bytes));
                Err(self.failure(format!("{what}: expected {}, found {found}", shown(expected))))
            }
        }
    }

    pub(super) fn nothing(&self, what: &str, found: Option<&Versioned>) -> Result<(), Failure> {
        found.map_or(Ok(()), |found| {
            Err(self.failure(format!("{what}: expected nothing, found {}", shown(&found.bytes))))
        })
    }

    /// Checks that the write was made, and returns the etag.
    pub(super) fn applied(&self, what: &str, written: Written) -> Result<Etag, Failure> {
        match written {
            Written::Applied { etag, .. } => Ok(etag),
            Written::Conflict { current, .. } => {
                let current = current.map_or("nothing".to_owned(), |current| shown(&current.bytes));
                Err(self.failure(format!("{what}: expected the write to be made, found a conflict with {current}")))
            }
        }
    }

    /// Checks that the write was not made, and returns the present value from the conflict, if there is one.
    pub(super) fn conflict(&self, what: &str, written: Written) -> Result<Option<Versioned>, Failure> {
        match written {
            Written::Conflict { current, .. } => Ok(current),
            Written::Applied { .. } => Err(self.failure(format!("{what}: expected a conflict, found the write made"))),
        }
    }

    /// Runs an operation, and repeats the operation while the store is [unavailable](insist). Any other error becomes a
    /// failure of the case.
    pub(super) async fn run<T, F>(&self, what: &str, operation: impl FnMut() -> F + Send) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        insist(operation)
            .await
            .map_err(|error| self.failure(format!("{what}: expected an answer, found {:?}: {error}", error.kind())))
    }

    pub(super) async fn load(&self, store: &AnyStore, name: &str) -> Result<Option<Versioned>, Failure> {
        let names = [name.to_owned()];
        let mut loaded = self.run("load_many", || store.load_many(&names)).await?;
        self.same("the entries for one name", &loaded.entries.len(), &1)?;
        Ok(loaded.entries.swap_remove(0))
    }

    pub(super) async fn write(
        &self,
        store: &AnyStore,
        name: &str,
        expected: Option<&Etag>,
        bytes: &[u8],
    ) -> Result<Written, Failure> {
        let write = writing(name, expected, bytes);
        self.run("compare_and_set", || store.compare_and_set(&write)).await
    }

    /// Writes a value to a name that has no value, and returns the etag of the value.
    pub(super) async fn create(&self, store: &AnyStore, name: &str, bytes: &[u8]) -> Result<Etag, Failure> {
        let written = self.write(store, name, None, bytes).await?;
        self.applied(&format!("writing to `{name}`, expecting None"), written)
    }

    pub(super) async fn delete(&self, store: &AnyStore, name: &str, etag: &Etag) -> Result<bool, Failure> {
        self.run("delete", || store.delete(name, etag)).await
    }

    pub(super) async fn list(&self, store: &AnyStore) -> Result<Vec<String>, Failure> {
        self.run("list", || store.list()).await
    }
}

/// Runs an operation, and repeats the operation for about five seconds while the store is unavailable. The repetition
/// is safe, because an unavailable store has changed nothing.
pub(super) async fn insist<T, F>(mut operation: impl FnMut() -> F + Send) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send,
{
    let mut left = 100;
    loop {
        match operation().await {
            Err(error) if error.kind() == StoreErrorKind::Unavailable && left > 0 => left -= 1,
            answer => return answer,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns a write with a TTL of ten minutes, so that a store with expiry deletes the records of the suite later.
pub(super) fn writing(name: &str, expected: Option<&Etag>, bytes: &[u8]) -> Write {
    Write {
        name: name.to_owned(),
        expected: expected.cloned(),
        bytes: bytes.to_vec(),
        ttl: Some(Duration::from_secs(600)),
        hint: Hint::Any,
    }
}

/// Returns a record of this circuit that contains this number.
pub(super) fn record(name: &str, number: u64) -> Vec<u8> {
    let mut record = CircuitRecord::unknown(name);
    record.era = number;
    record.reason = format!("number {number} of \"ä\\{{}}\"");
    record.encode().expect("a short record can be encoded")
}

/// Returns the number in the bytes of a record that [`record`] made. `None` if the bytes are no record.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    serde_json::from_slice(bytes).ok().map(|record: CircuitRecord| record.era)
}

/// Returns a short description of the bytes for the text of a failure.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match serde_json::from_slice::<CircuitRecord>(bytes) {
        Ok(record) if bytes.len() < 2000 => format!("the record of `{}` with number {}", record.service, record.era),
        _ if text.chars().count() <= 60 => format!("{text:?}"),
        _ => format!("{} bytes, {:?}…", bytes.len(), text.chars().take(40).collect::<String>()),
    }
}
