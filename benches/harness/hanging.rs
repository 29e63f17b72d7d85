//! A store that never answers.

use std::future::pending;

use tower_circuit_breaker::store::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written};

/// Takes every question and answers none: a black hole in the network.
#[derive(Debug)]
pub(crate) struct Hanging;

impl Store for Hanging {
    fn kind(&self) -> &'static str {
        "hanging"
    }

    async fn load_many(&self, _: &[String]) -> Result<Loaded, StoreError> {
        pending().await
    }

    async fn compare_and_set(&self, _: &Write) -> Result<Written, StoreError> {
        pending().await
    }

    async fn delete(&self, _: &str, _: &Etag) -> Result<bool, StoreError> {
        pending().await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        pending().await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        pending().await
    }

    async fn append_audit(&self, _: &[AuditRow]) -> Result<(), StoreError> {
        pending().await
    }

    async fn audit(&self, _: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        pending().await
    }
}
