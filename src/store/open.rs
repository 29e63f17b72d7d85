//! The constructor of a store by its address, for configuration files and command lines.
//!
//! The scheme of the address selects the kind of store from the list in `keep`. [`AnyStore`] hides the type of the
//! store. The form and the parameters of the address are checked in the same way as in settings. The store parses the
//! other parts of the address.

#[cfg(any(feature = "file", feature = "sqlite", feature = "postgres", feature = "redis"))]
use super::StoreKind;
use super::schema::SchemaMode;
use super::{AnyStore, StoreError};
use crate::keep::Address;
#[cfg(feature = "file")]
use crate::keep::behind_scheme;

impl AnyStore {
    /// Creates the store of an address. Opens no file and makes no connection.
    ///
    /// | address | store |
    /// |---|---|
    /// | `file:FOLDER` | `FileStore` |
    /// | `sqlite://PATH` | `SqliteStore`; `sqlite:///PATH` for a path from the root |
    /// | `postgres://USER:PASSWORD@HOST/DATABASE` | `PostgresStore` |
    /// | `redis://HOST`, `rediss://HOST` (TLS), `unix:///PATH` (a socket) | `RedisStore`; also `valkey://`, `valkeys://`, `redis+unix://` and `valkey+unix://` |
    /// | `redis-sentinel://HOST,HOST/MASTER`, `rediss-sentinel://…` (TLS) | `RedisStore`; also `valkey-sentinel://` and `valkeys-sentinel://` |
    /// | `redis-cluster://HOST,HOST`, `rediss-cluster://…` (TLS) | `RedisStore`; also `valkey-cluster://` and `valkeys-cluster://` |
    ///
    /// The documentation of each store describes the parameters of its address, such as `?prefix=orders` of Redis. A
    /// path cannot begin with `~` or `$`.
    ///
    /// # Errors
    ///
    /// [`Refused`](super::StoreErrorKind::Refused) if the address has none of these forms, or if a parameter is unknown
    /// or has no effect. Also `Refused` if the feature of that store is not enabled. No message repeats a password.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, None)
    }

    /// Creates the store like [`open`](Self::open). If the store has tables and `schema` is not `None`, `schema`
    /// replaces the store's default [`SchemaMode`].
    pub(crate) fn open_with(url: &str, schema: Option<SchemaMode>) -> Result<Self, StoreError> {
        let _of_sql = schema;
        match Address::parse(url)?.kind {
            #[cfg(feature = "file")]
            StoreKind::File => Ok(Self::new(super::FileStore::new(behind_scheme(url)))),
            #[cfg(feature = "sqlite")]
            StoreKind::Sqlite => super::SqliteStore::from_url(url).map(|store| match schema {
                Some(mode) => Self::new(store.schema(mode)),
                None => Self::new(store),
            }),
            #[cfg(feature = "postgres")]
            StoreKind::Postgres => super::PostgresStore::new(url).map(|store| match schema {
                Some(mode) => Self::new(store.schema(mode)),
                None => Self::new(store),
            }),
            #[cfg(feature = "redis")]
            StoreKind::Redis => super::RedisStore::new(url).map(Self::new),
            #[cfg(not(all(feature = "file", feature = "sqlite", feature = "postgres", feature = "redis")))]
            kind => {
                let scheme = url.split(':').next().unwrap_or_default();
                let feature = kind.as_str();
                let text = format!("the store `{scheme}:` needs the feature `{feature}` of tower-circuit-breaker");
                Err(StoreError::refused(text))
            }
        }
    }
}
