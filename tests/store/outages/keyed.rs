//! Keyed circuits in every store: a store lists the names of keys, and the circuits that are not closed come back.

use std::borrow::Cow;

use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::store::{AnyStore, FileStore, MemoryStore, PostgresStore, SqliteStore, Store, TieredStore};
use tower_circuit_breaker::{Config, OpenDuration, Outcome, Registry};

use super::builder;
use crate::rig::secs;
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

type ByText = fn(&String) -> Option<Cow<'_, str>>;

const BY_TEXT: ByText = |request| Some(request.as_str().into());

/// Keys of which some are no names, so that their circuits have hashed names.
const KEYS: [&str; 6] = ["a", "a/b", "a%2Fb", "ü", "a b", "*"];

fn by_host(registry: &Registry) -> Keyed<ByText> {
    let template = |name: &str| Config::builder(name).open_for(OpenDuration::fixed(secs(600)));
    Keyed::builder(registry, template).prefix("host:").by(BY_TEXT).unwrap()
}

async fn comes_back(open: impl Fn() -> AnyStore) {
    let before = builder(open(), "gateway-1").build().unwrap();
    before.start().unwrap();
    let by = by_host(&before);
    for key in KEYS {
        for _ in 0..5 {
            by.circuit(key).unwrap().try_acquire().unwrap().record(Outcome::failure());
        }
    }
    by.circuit("closed").unwrap().try_acquire().unwrap().record(Outcome::failure());
    let report = before.shutdown(secs(10)).await;
    assert!(report.is_complete(), "{report}");

    let store = open();
    let registry = builder(store.clone(), "gateway-1").build().unwrap();
    let by = by_host(&registry);
    let report = registry.restore(secs(10)).await.unwrap();
    assert_eq!(report.to_string(), "6 restored: 6 open", "{}", store.kind());
    for key in KEYS {
        assert!(by.circuit(key).unwrap().try_acquire().is_err(), "{key} of {}", store.kind());
    }
    assert!(by.circuit("closed").unwrap().try_acquire().is_ok());
}

#[tokio::test]
async fn open_keyed_circuits_come_back_from_memory_files_and_sqlite() {
    let memory = MemoryStore::new();
    comes_back(|| AnyStore::new(memory.clone())).await;
    let folder = Folder::new();
    comes_back(|| AnyStore::new(FileStore::new(folder.path()))).await;
    let folder = Folder::new();
    let file = folder.path().join("breakers.db");
    comes_back(|| AnyStore::new(SqliteStore::new(&file))).await;
}

#[tokio::test]
async fn open_keyed_circuits_come_back_from_redis_and_from_two_tiers() {
    let server = Redis::start().await;
    comes_back(|| AnyStore::new(server.store())).await;
    let server = Redis::start().await;
    let durable = MemoryStore::new();
    comes_back(|| AnyStore::new(TieredStore::new(server.store(), durable.clone()))).await;
}

#[tokio::test]
async fn open_keyed_circuits_come_back_from_postgres() {
    let server = Postgres::start().await;
    comes_back(|| AnyStore::new(PostgresStore::new(&server.url()).unwrap())).await;
}
