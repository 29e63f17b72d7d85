//! The object-safe twin of [`Store`](super::Store), so that a registry can hold any store without a type parameter.
//!
//! The methods of [`Store`](super::Store) return unnamed futures, so [`Store`](super::Store) cannot be a trait object.
//! The twin is private, and users hold [`AnyStore`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{AuditFilter, AuditRow, Etag, Loaded, Store, StoreError, Watch, Write, Written};
use crate::record::Timestamp;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The methods of [`Store`] with boxed futures. A blanket implementation makes every [`Store`] a `DynStore`.
pub(crate) trait DynStore: fmt::Debug + Send + Sync + 'static {
    fn kind(&self) -> &'static str;
    fn origin(&self, etag: &Etag) -> &'static str;
    fn tiers(&self) -> Option<[&'static str; 2]>;
    fn lacking(&self, etag: &Etag) -> Option<&'static str>;
    fn load_many<'a>(&'a self, names: &'a [String]) -> Answer<'a, Loaded>;
    fn compare_and_set<'a>(&'a self, write: &'a Write) -> Answer<'a, Written>;
    fn delete<'a>(&'a self, name: &'a str, etag: &'a Etag) -> Answer<'a, bool>;
    fn list(&self) -> Answer<'_, Vec<String>>;
    fn unwritten_since<'a>(&'a self, before: Timestamp, after: &'a str) -> Answer<'a, Vec<String>>;
    fn load_unwritten<'a>(&'a self, names: &'a [String]) -> Answer<'a, Loaded>;
    fn watch(&self) -> Answer<'_, Option<Watch>>;
    fn append_audit<'a>(&'a self, rows: &'a [AuditRow]) -> Answer<'a, ()>;
    fn trim_audit(&self, before: Timestamp) -> Answer<'_, bool>;
    fn audit<'a>(&'a self, filter: &'a AuditFilter) -> Answer<'a, Vec<AuditRow>>;
}

impl<S: Store> DynStore for S {
    fn kind(&self) -> &'static str {
        Store::kind(self)
    }

    fn origin(&self, etag: &Etag) -> &'static str {
        Store::origin(self, etag)
    }

    fn tiers(&self) -> Option<[&'static str; 2]> {
        Store::tiers(self)
    }

    fn lacking(&self, etag: &Etag) -> Option<&'static str> {
        Store::lacking(self, etag)
    }

    fn load_many<'a>(&'a self, names: &'a [String]) -> Answer<'a, Loaded> {
        Box::pin(Store::load_many(self, names))
    }

    fn compare_and_set<'a>(&'a self, write: &'a Write) -> Answer<'a, Written> {
        Box::pin(Store::compare_and_set(self, write))
    }

    fn delete<'a>(&'a self, name: &'a str, etag: &'a Etag) -> Answer<'a, bool> {
        Box::pin(Store::delete(self, name, etag))
    }

    fn list(&self) -> Answer<'_, Vec<String>> {
        Box::pin(Store::list(self))
    }

    fn unwritten_since<'a>(&'a self, before: Timestamp, after: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(Store::unwritten_since(self, before, after))
    }

    fn load_unwritten<'a>(&'a self, names: &'a [String]) -> Answer<'a, Loaded> {
        Box::pin(Store::load_unwritten(self, names))
    }

    fn watch(&self) -> Answer<'_, Option<Watch>> {
        Box::pin(Store::watch(self))
    }

    fn append_audit<'a>(&'a self, rows: &'a [AuditRow]) -> Answer<'a, ()> {
        Box::pin(Store::append_audit(self, rows))
    }

    fn trim_audit(&self, before: Timestamp) -> Answer<'_, bool> {
        Box::pin(Store::trim_audit(self, before))
    }

    fn audit<'a>(&'a self, filter: &'a AuditFilter) -> Answer<'a, Vec<AuditRow>> {
        Box::pin(Store::audit(self, filter))
    }
}

/// Any store behind one type. Clones share the store.
#[derive(Debug, Clone)]
pub struct AnyStore(Arc<dyn DynStore>);

impl AnyStore {
    /// Wraps a store, so that its type is hidden.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl Store for AnyStore {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn origin(&self, etag: &Etag) -> &'static str {
        self.0.origin(etag)
    }

    fn tiers(&self) -> Option<[&'static str; 2]> {
        self.0.tiers()
    }

    fn lacking(&self, etag: &Etag) -> Option<&'static str> {
        self.0.lacking(etag)
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.0.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.0.compare_and_set(write).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.0.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.0.list().await
    }

    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        self.0.unwritten_since(before, after).await
    }

    async fn load_unwritten(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.0.load_unwritten(names).await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        self.0.watch().await
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.0.append_audit(rows).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        self.0.trim_audit(before).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.0.audit(filter).await
    }
}
