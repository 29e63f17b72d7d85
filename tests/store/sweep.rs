//! Records that no instance has needed for long, in stores that do not expire records themselves.

#![expect(clippy::disallowed_types, reason = "loom does not come here")]

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MonotonicClock, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, Fault, FaultyStore, FileStore, Hint, Loaded, MemoryStore, Operation, PostgresStore,
    SqliteStore, Store, StoreError, StoreErrorKind, TieredStore, Write, Written,
};

use crate::rig::{Instance, alice, builder, fail, millis, pass, secs, settings};
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;

const HOUR: Duration = secs(3_600);

/// A store in memory that keeps each value until its deletion, as files and tables do.
#[derive(Debug, Clone)]
struct Keeps {
    store: MemoryStore,
    /// The largest number of names in one answer, so that the sweep must judge and continue.
    page: usize,
    /// The age of the names that the last sweep asked for, in seconds.
    age: Arc<AtomicU64>,
}

impl Store for Keeps {
    fn kind(&self) -> &'static str {
        "keeps"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.store.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.store.compare_and_set(&Write { ttl: None, ..write.clone() }).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.store.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.store.list().await
    }

    /// Returns names of any age.
    async fn unwritten_since(&self, before: Timestamp, after: &str) -> Result<Vec<String>, StoreError> {
        let now = self.store.load_many(&[]).await?.now;
        self.age.store(now.since(before).as_secs(), Ordering::Relaxed);
        let names = self.store.list().await?.into_iter().filter(|name| name.as_str() > after);
        Ok(names.take(self.page).collect())
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.store.append_audit(rows).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.store.audit(filter).await
    }
}

fn keeps() -> Keeps {
    Keeps { store: MemoryStore::with_clock(TokioClock::new()), page: 3, age: Arc::default() }
}

/// Leaves records of keyed circuits and of others, as a process that ends.
async fn leave(store: &(impl Store + Clone)) {
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

/// A registry of keyed circuits, with a store whose old records it deletes.
async fn sweeper(store: &(impl Store + Clone)) -> impl Sized {
    let registry = builder(store, "one").build().unwrap();
    let keyed = Keyed::builder(&registry, settings).prefix("host:").by(|key: &String| Some(key.as_str().into()));
    drop(registry.restore(secs(5)).await.unwrap());
    (registry, keyed.unwrap())
}

#[tokio::test(start_paused = true)]
async fn records_that_a_store_refuses_hold_up_no_other_record() {
    for kind in [StoreErrorKind::Refused, StoreErrorKind::Unavailable] {
        let store = FaultyStore::new(keeps());
        leave(&store).await;
        let _one = sweeper(&store).await;
        store.faults().set_for("host:a", &[Operation::Load], Fault::Fail(kind));
        store.faults().set_for("host:b", &[Operation::Delete], Fault::Fail(kind));
        pass(HOUR * 4).await;
        let left = store.inner().list().await.unwrap();
        assert_eq!(left, ["host:a", "host:b", "host:held", "host:open", "other"], "{kind:?}");
        store.faults().heal();
        pass(HOUR * 3).await;
        assert_eq!(store.inner().list().await.unwrap(), ["host:held", "host:open", "other"], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_every_deletion_is_tried_seldom() {
    let store = FaultyStore::new(Keeps { page: 256, ..keeps() });
    let names: Vec<_> = (0..200).map(|n| format!("host:{n}")).collect();
    put(store.inner(), &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    store.faults().set(&[Operation::Delete], Fault::Fail(StoreErrorKind::Refused));
    let _one = sweeper(&store).await;
    pass(HOUR * 5).await;
    let deletions = store.faults().operations(Operation::Delete);
    assert!((5..=30).contains(&deletions), "{deletions} in five hours");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_gets_rid_of_all_old_records() {
    let store = FaultyStore::new(Keeps { page: 256, ..keeps() });
    let names: Vec<_> = (0..300).map(|n| format!("host:{n}")).collect();
    put(store.inner(), &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    store.faults().delay(&[Operation::Load, Operation::Delete, Operation::List], millis(300));
    let _one = sweeper(&store).await;
    pass(HOUR * 3).await;
    assert_eq!(store.inner().list().await.unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_shortest_ttl_of_any_circuit_decides_the_age_of_judged_names() {
    let store = keeps();
    put(&store, &["host:a"]).await;
    let registry = builder(&store, "one").ttl_of("host:brief.*", secs(600), secs(60)).build().unwrap();
    let keyed = Keyed::builder(&registry, settings).prefix("host:").by(|key: &String| Some(key.as_str().into()));
    drop(registry.restore(secs(5)).await.unwrap());
    pass(HOUR * 2).await;
    assert_eq!(store.age.load(Ordering::Relaxed), 60);
    drop(keyed);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_puts_no_old_record_into_the_fast_tier() {
    let (fast, durable) = (FaultyStore::new(MemoryStore::with_clock(TokioClock::new())), keeps());
    put(&durable, &["host:a", "other"]).await;
    let store = TieredStore::new(fast.clone(), durable.clone());
    let _one = sweeper(&store).await;
    fast.inner().flush();
    let before = fast.faults().operations(Operation::CompareAndSet);
    pass(HOUR * 4).await;
    assert_eq!(durable.list().await.unwrap(), [""; 0]);
    assert_eq!(fast.faults().operations(Operation::CompareAndSet), before);
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

#[tokio::test(start_paused = true)]
async fn the_sweep_deletes_the_members_of_a_fleet_that_is_gone() {
    let store = keeps();
    let now = store.load_many(&[]).await.unwrap().now;
    for (name, age) in [("@fleet:gone", 31 * 24 * HOUR), ("@fleet:idle", HOUR)] {
        let record = serde_json::json!({"service": name, "state": "closed", "updated_at": now.saturating_sub(age)});
        let bytes = record.to_string().into_bytes();
        let write = Write { name: name.to_owned(), expected: None, bytes, ttl: None, hint: Hint::None };
        store.compare_and_set(&write).await.unwrap();
    }
    let registry = builder(&store, "a").sharing(Sharing::Quorum).fleet("orders").build().unwrap();
    registry.start().unwrap();
    pass(3 * HOUR).await;
    assert_eq!(store.list().await.unwrap(), ["@fleet:idle", "@fleet:orders"]);
}
