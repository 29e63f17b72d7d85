//! `RedisStore` against real servers: what lies there, what happens when they fail, and what is pushed.

mod audit;
mod cluster;
mod faults;
mod keys;
mod sentinel;
mod tls;
mod values;
mod watch;
mod wedges;

use std::time::Duration;

use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::conformance::Suite;
use tower_circuit_breaker::store::{Etag, Hint, RedisStore, Store, StoreError, Versioned, Write, Written};

use crate::servers::redis::Redis;

/// Returns an empty store, and the server on which it is.
pub(crate) async fn fresh() -> (Redis, RedisStore) {
    let server = Redis::start().await;
    let store = server.store();
    (server, store)
}

fn write(name: &str, expected: Option<&Etag>, bytes: &[u8]) -> Write {
    let ttl = Some(Duration::from_secs(60));
    Write { name: name.to_owned(), expected: expected.cloned(), bytes: bytes.to_vec(), ttl, hint: Hint::Any }
}

/// Writes what is not there yet.
async fn put(store: &RedisStore, name: &str, bytes: &[u8]) -> Etag {
    match store.compare_and_set(&write(name, None, bytes)).await {
        Ok(Written::Applied { etag, .. }) => etag,
        other => panic!("{other:?}"),
    }
}

async fn get(store: &RedisStore, name: &str) -> Result<Option<Versioned>, StoreError> {
    let loaded = store.load_many(&[name.to_owned()]).await?;
    assert_eq!(loaded.entries.len(), 1, "one answer for one name");
    Ok(loaded.entries.into_iter().next().flatten())
}

/// Asks until it works, at most for five seconds.
async fn recovers(store: &RedisStore) {
    let mut last = None;
    for _ in 0..250 {
        match get(store, "any").await {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not recover: {last:?}");
}

fn record(service: &str) -> Vec<u8> {
    CircuitRecord::unknown(service).encode().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_store_passes_the_suite() {
    let server = Redis::start().await;
    Suite::new(|| async { server.store() }).forgets().run().await;
}
