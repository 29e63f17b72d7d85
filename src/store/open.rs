//! A store by its address.

use super::schema::SchemaMode;
use super::{AnyStore, StoreError, StoreKind};
use crate::keep::BEGINNINGS;
#[cfg(feature = "file")]
use crate::keep::behind_scheme;

impl AnyStore {
    /// Returns the store at that address. Nothing is opened or connected yet.
    ///
    /// | address | store |
    /// |---|---|
    /// | `file:FOLDER` | `FileStore` |
    /// | `sqlite://PATH` | `SqliteStore`; `sqlite:///PATH` for a path from the root |
    /// | `postgres://USER:PASSWORD@HOST/DATABASE` | `PostgresStore` |
    /// | `redis://HOST`, `rediss://HOST` | `RedisStore` |
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if it is no such address, or the feature of that store is not compiled in. No
    /// message repeats a password.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, None)
    }

    /// Opens the store. The mode replaces that of the address, if the store has tables.
    pub(crate) fn open_with(url: &str, schema: Option<SchemaMode>) -> Result<Self, StoreError> {
        let _of_sql = schema;
        match StoreKind::of(url) {
            #[cfg(feature = "file")]
            Some(StoreKind::File) => match behind_scheme(url) {
                "" => Err(StoreError::refused("`file:` needs a folder: `file:FOLDER`")),
                folder => Ok(Self::new(super::FileStore::new(folder))),
            },
            #[cfg(feature = "sqlite")]
            Some(StoreKind::Sqlite) => super::SqliteStore::from_url(url).map(|store| match schema {
                Some(mode) => Self::new(store.schema(mode)),
                None => Self::new(store),
            }),
            #[cfg(feature = "postgres")]
            Some(StoreKind::Postgres) => super::PostgresStore::new(url).map(|store| match schema {
                Some(mode) => Self::new(store.schema(mode)),
                None => Self::new(store),
            }),
            #[cfg(feature = "redis")]
            Some(StoreKind::Redis) => super::RedisStore::new(url).map(Self::new),
            #[cfg(not(all(feature = "file", feature = "sqlite", feature = "postgres", feature = "redis")))]
            Some(kind) => {
                let scheme = url.split(':').next().unwrap_or_default();
                let feature = kind.as_str();
                let text = format!("the store `{scheme}:` needs the feature `{feature}` of tower-circuit-breaker");
                Err(StoreError::refused(text))
            }
            None => Err(StoreError::refused(format!("a store's address begins with {BEGINNINGS}"))),
        }
    }
}
