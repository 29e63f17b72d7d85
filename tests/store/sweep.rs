//! Records that no instance has needed for long, in stores that do not expire records themselves.

use std::fs::OpenOptions;
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MonotonicClock, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, FileStore, Hint, Loaded, MemoryStore, PostgresStore, SqliteStore, Store, StoreError,
    Write, Written,
};

use crate::rig::{Instance, alice, builder, fail, pass, secs, settings};
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;

const HOUR: Duration = secs(3_600);

/// A store in memory that keeps each value until its deletion, as files and tables do.
#[derive(Debug, Clone)]
struct Keeps(MemoryStore);

impl Store for Keeps {
    fn kind(&self) -> &'static str {
        "keeps"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.0.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.0.compare_and_set(&Write { ttl: None, ..write.clone() }).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.0.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.0.list().await
    }

    /// Returns three names at most, whatever their age, so that the sweep must judge and continue.
    async fn unwritten_since(&self, _before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let names = self.0.list().await?.into_iter().filter(|name| name.as_str() > after);
        Ok(names.take(3).collect())
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.0.append_audit(rows).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.0.audit(filter).await
    }
}

fn keeps() -> Keeps {
    Keeps(MemoryStore::with_clock(TokioClock::new()))
}

/// Leaves records of keyed circuits and of others, as a process that ends.
async fn leave(store: &Keeps) {
    let registry = builder(store, "gone").build().unwrap();
    registry.start().unwrap();
    for (name, failures) in [("host:a", 1), ("host:b", 2), ("host:c", 1), ("host:d", 1), ("host:open", 5), ("other", 1)]
    {
        fail(&registry.circuit(settings(name).build().unwrap()).unwrap(), failures);
    }
    registry.circuit(settings("host:held").build().unwrap()).unwrap().trip(&alice(), None);
    assert!(registry.shutdown(secs(5)).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn records_of_keys_expire_by_their_times_to_live() {
    let store = keeps();
    leave(&store).await;
    let start = async |id: &str, max: usize| {
        let registry = builder(&store, id).build().unwrap();
        let keyed = Keyed::builder(&registry, settings).prefix("host:").max_keys(max);
        let keyed = keyed.by(|key: &String| Some(key.as_str().into())).unwrap();
        drop(registry.restore(secs(5)).await.unwrap());
        (registry, keyed)
    };
    let one = start("one", 10).await;
    pass(HOUR / 2).await;
    assert_eq!(store.list().await.unwrap().len(), 7, "an hour is not over");
    pass(HOUR * 3).await;
    assert_eq!(store.list().await.unwrap(), ["host:held", "host:open", "other"], "the open one has 24 hours");
    drop(one);
    let _two = start("two", 1).await;
    pass(HOUR * 30).await;
    assert_eq!(store.list().await.unwrap(), ["host:held", "other"], "a hold without an end does not expire");
}

#[tokio::test(start_paused = true)]
async fn records_of_circuits_without_a_key_outlast_the_hour() {
    let store = keeps();
    leave(&store).await;
    let registry = builder(&store, "one").build().unwrap();
    drop(registry.restore(secs(5)).await.unwrap());
    pass(HOUR * 3).await;
    assert_eq!(store.list().await.unwrap().len(), 7);
}

/// Makes a record in a file look as old as it says.
fn age(folder: &Folder, name: &str, by: Duration) {
    let file = folder.path().join(format!("{name}.json"));
    OpenOptions::new().write(true).open(file).unwrap().set_modified(MonotonicClock::new().wall() - by).unwrap();
}

async fn put(store: &impl Store, names: &[&str]) {
    for name in names {
        let bytes = format!(r#"{{"service":"{name}","state":"closed"}}"#).into_bytes();
        let write = Write { name: (*name).to_owned(), expected: None, bytes, ttl: None, hint: Hint::Any };
        assert!(matches!(store.compare_and_set(&write).await.unwrap(), Written::Applied { .. }));
    }
}

async fn delete(store: &impl Store, name: &str) {
    let loaded = store.load_many(&[name.to_owned()]).await.unwrap().entries.remove(0).unwrap();
    assert!(store.delete(name, &loaded.etag).await.unwrap());
}

/// The names before and after a time, in pages.
async fn lists_names_by_their_age(store: &impl Store) {
    put(store, &["b", "a", "C/x", "d"]).await;
    let now = store.load_many(&[]).await.unwrap().now;
    let old = async |at: Timestamp, after: &str| store.unwritten_since(at, after).await.unwrap();
    let later = now.saturating_add(HOUR);
    assert_eq!(old(later, "").await, ["C/x", "a", "b", "d"], "in the order of bytes");
    assert_eq!(old(later, "a").await, ["b", "d"]);
    assert_eq!(old(now.saturating_sub(HOUR), "").await, [""; 0]);
}

#[tokio::test]
async fn sqlite_lists_the_names_that_were_not_written_for_long() {
    let folder = Folder::new();
    lists_names_by_their_age(&SqliteStore::new(folder.path().join("data/breakers.db"))).await;
}

#[tokio::test]
async fn postgres_lists_the_names_that_were_not_written_for_long() {
    let server = Postgres::start().await;
    lists_names_by_their_age(&PostgresStore::new(&server.url()).unwrap()).await;
}

#[tokio::test]
async fn a_folder_lists_the_names_that_were_not_written_for_long() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path());
    lists_names_by_their_age(&store).await;
    age(&folder, "b", 2 * HOUR);
    let now = store.load_many(&[]).await.unwrap().now;
    assert_eq!(store.unwritten_since(now.saturating_sub(HOUR), "").await.unwrap(), ["b"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_deleted_record_leaves_no_file_in_its_folder() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path());
    put(&store, &["a"]).await;
    delete(&store, "a").await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn writers_and_deleters_of_one_name_lose_no_write() {
    let folder = Folder::new();
    // Two stores lock like two processes.
    let (writer, deleter) = (FileStore::new(folder.path()), FileStore::new(folder.path()));
    let names = ["a".to_owned()];
    for round in 0..200_u32 {
        put(&writer, &["a"]).await;
        let now = writer.load_many(&names).await.unwrap().entries.remove(0).unwrap();
        let write = Write {
            name: names[0].clone(),
            expected: Some(now.etag.clone()),
            bytes: round.to_string().into_bytes(),
            ttl: None,
            hint: Hint::Any,
        };
        let (wrote, deleted) = tokio::join!(writer.compare_and_set(&write), deleter.delete("a", &now.etag));
        let wrote = matches!(wrote.unwrap(), Written::Applied { .. });
        assert_ne!(wrote, deleted.unwrap(), "one of both has won round {round}");
        if wrote {
            delete(&deleter, "a").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_instance_writes_its_record_again_after_its_deletion() {
    let store = keeps();
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    fail(&one.circuit, 1);
    pass(secs(15)).await;
    delete(&store, "payments").await;
    fail(&one.circuit, 1);
    pass(secs(15)).await;
    let record = crate::rig::record(&store, "payments").await.unwrap();
    assert_eq!(record.instances["one"].total_failures, 2);
}
