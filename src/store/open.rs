//! A store by its address.

use super::schema::SchemaMode;
use super::{AnyStore, StoreError};

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

    /// Opens it, with another mode than its own for the tables, if it has any.
    pub(crate) fn open_with(url: &str, schema: Option<SchemaMode>) -> Result<Self, StoreError> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        let (_of_file, _of_sql) = (rest, schema);
        match scheme {
            #[cfg(feature = "file")]
            "file" => match rest.strip_prefix("//").unwrap_or(rest) {
                "" => Err(StoreError::refused("`file:` needs a folder: `file:FOLDER`")),
                folder => Ok(Self::new(super::FileStore::new(folder))),
            },
            #[cfg(feature = "sqlite")]
            "sqlite" => super::SqliteStore::from_url(url).map(|store| match schema {
                Some(mode) => Self::new(store.schema(mode)),
                None => Self::new(store),
            }),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => super::PostgresStore::new(url).map(|store| match schema {
                Some(mode) => Self::new(store.schema(mode)),
                None => Self::new(store),
            }),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => super::RedisStore::new(url).map(Self::new),
            other => Err(StoreError::refused(match feature_of(other) {
                Some(feature) => format!("the store `{other}:` needs the feature `{feature}` of tower-circuit-breaker"),
                None => {
                    "a store's address begins with `file:`, `sqlite:`, `postgres:`, `redis:` or `rediss:`".to_owned()
                }
            })),
        }
    }
}

fn feature_of(scheme: &str) -> Option<&'static str> {
    match scheme {
        "file" => Some("file"),
        "sqlite" => Some("sqlite"),
        "postgres" | "postgresql" => Some("postgres"),
        "redis" | "rediss" => Some("redis"),
        _ => None,
    }
}
