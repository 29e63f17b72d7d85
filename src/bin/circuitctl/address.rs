//! Parses the addresses of stores on the command line, and opens the stores. No output of the program repeats a
//! password.
//!
//! The program never creates a store. If there is no store at an address, the user has probably mistyped the address.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use tower_circuit_breaker::store::schema::SchemaMode;
use tower_circuit_breaker::store::{
    AnyStore, PostgresStore, RedisStore, SqliteStore, StoreError, StoreKind, TieredStore,
};

use crate::failure::{Code, Failure};
use crate::shown::masked;

/// The address of a store. `Debug` masks the password in the address.
#[derive(Clone)]
pub(crate) struct Address(String);

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

/// The stores that one command uses. `store` receives the orders. With a cache, `store` is a tiered store that writes
/// to the cache and to the durable store, and `cache` is the cache alone.
pub(crate) struct Stores {
    pub(crate) store: AnyStore,
    pub(crate) cache: Option<AnyStore>,
    /// True if the user has given `--cache false`, which means that the instances use no cache.
    pub(crate) no_cache: bool,
}

/// Creates the stores from their addresses, without connecting to a server. A missing file or folder is an error,
/// because a new file or folder would hide a mistyped address.
pub(crate) fn open(store: Option<&Address>, cache: Option<&Address>) -> Result<Stores, Failure> {
    let Some(store) = store.filter(|store| !store.0.is_empty()) else {
        return Err(Failure::new(
            Code::Usage,
            "usage",
            "the address of the store is missing: use --store URL or CIRCUIT_BREAKER_STORE",
        ));
    };
    let store = opened(store)?;
    // The value `false` means no cache. The environment variable for the cache can have this value, because services
    // without a cache read the same variable.
    let no_cache = cache.is_some_and(|cache| cache.0 == "false");
    let Some(cache) = cache.filter(|cache| !matches!(cache.0.as_str(), "" | "false")) else {
        return Ok(Stores { store, cache: None, no_cache });
    };
    if StoreKind::of(&cache.0) != Some(StoreKind::Redis) {
        return Err(Failure::new(
            Code::Usage,
            "usage",
            "a cache must be Redis, with an address that begins with `redis://`, `rediss://`, `redis-sentinel://`, `redis-cluster://` or `unix://`",
        ));
    }
    let cache = opened(cache)?;
    Ok(Stores { store: AnyStore::new(TieredStore::new(cache.clone(), store)), cache: Some(cache), no_cache })
}

fn opened(address: &Address) -> Result<AnyStore, Failure> {
    let url = address.0.as_str();
    let wrong = |error: StoreError| {
        let cause = error.chain().replace(url, &masked(url));
        Failure::new(Code::Usage, "usage", format!("`{}` is no address of a store: {cause}", masked(url)))
    };
    match StoreKind::of(url) {
        Some(StoreKind::Sqlite) => {
            let store = SqliteStore::from_url(url).map_err(wrong)?;
            if !store.path().exists() {
                return Err(missing("file", store.path()));
            }
            Ok(AnyStore::new(store.schema(SchemaMode::Verify)))
        }
        Some(StoreKind::Postgres) => {
            let store = PostgresStore::new(url).map_err(wrong)?;
            warn_if(store.exposes_password(), "?sslmode=verify-full");
            Ok(AnyStore::new(store.schema(SchemaMode::Verify)))
        }
        Some(StoreKind::Redis) => {
            let store = RedisStore::new(url).map_err(wrong)?;
            warn_if(
                store.exposes_password(),
                match url.split(':').next().and_then(|scheme| scheme.split_once('-')) {
                    Some((_, "sentinel")) => "rediss-sentinel://",
                    Some((_, "cluster")) => "rediss-cluster://",
                    _ => "rediss://",
                },
            );
            Ok(AnyStore::new(store))
        }
        Some(StoreKind::File) => {
            let store = AnyStore::open(url).map_err(wrong)?;
            let rest = &url["file:".len()..];
            let folder = Path::new(rest.strip_prefix("//").unwrap_or(rest));
            if folder.is_dir() { Ok(store) } else { Err(missing("folder", folder)) }
        }
        _ => AnyStore::open(url).map_err(wrong),
    }
}

fn warn_if(exposes_password: bool, remedy: &str) {
    if exposes_password {
        crate::report(&format!(
            "circuitctl: the password goes to another host whose certificate is not verified: use {remedy}"
        ));
    }
}

fn missing(kind: &str, path: &Path) -> Failure {
    let path = masked(&path.to_string_lossy());
    let sentence = format!("there is no {kind} `{path}`, so no circuit was ever stored there");
    Failure::new(Code::Unavailable, "store_away", sentence)
}

/// Masks passwords in a text that another crate has written. Only passwords from the arguments and the environment
/// variables of this process are found.
pub(crate) fn hide(text: &str) -> String {
    let variables = ["CIRCUIT_BREAKER_STORE", "CIRCUIT_BREAKER_CACHE"].into_iter().filter_map(std::env::var_os);
    let mut hidden = text.to_owned();
    for given in std::env::args_os().skip(1).chain(variables) {
        let given = given.to_string_lossy();
        // Searches the text for the whole argument and for the part of the argument behind `=`, as in `--store=URL`.
        for part in [Some(&*given), given.split_once('=').map(|(_, value)| value)].into_iter().flatten() {
            let shown = masked(part);
            if !part.is_empty() && shown != part {
                hidden = hidden.replace(part, &shown);
                // The text may also quote the argument with escapes.
                hidden = hidden.replace(&*part.escape_debug().to_string(), &shown);
            }
        }
    }
    hidden
}
