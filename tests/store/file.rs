//! Files: restarts, faults of the disk, other processes, and processes that are killed.
//!
//! Other processes are this test's own binary, told by an environment variable to run [`worker`] as one of the jobs there.

#![expect(clippy::disallowed_types, reason = "loom runs no test of a store")]

mod audit;
mod disk;
mod hostile;
mod processes;
mod rights;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::conformance::Suite;
use tower_circuit_breaker::store::{Etag, FileStore, Hint, Store, StoreError, Versioned, Write, Written};

/// A folder of its own, deleted at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tower-circuit-breaker-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn store(&self) -> FileStore {
        FileStore::new(&self.0)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Returns the files with that end, sorted.
    fn files(&self, end: &str) -> Vec<String> {
        files(&self.0).into_iter().filter(|file| file.ends_with(end)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn files(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    files.sort();
    files
}

async fn load(store: &FileStore, name: &str) -> Option<Versioned> {
    store.load_many(&[name.to_owned()]).await.unwrap().entries.pop().unwrap()
}

/// The entry is no record, and says why.
#[track_caller]
fn assert_unreadable(entry: Option<&Versioned>, why: &str) {
    let entry = entry.expect("it does not look absent");
    let now = tower_circuit_breaker::record::Timestamp::default();
    let error = CircuitRecord::decode("a", &entry.bytes, now).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

async fn write(store: &FileStore, name: &str, expected: Option<&Etag>, bytes: &[u8]) -> Result<Written, StoreError> {
    let write =
        Write { name: name.to_owned(), expected: expected.cloned(), bytes: bytes.to_vec(), ttl: None, hint: Hint::Any };
    store.compare_and_set(&write).await
}

async fn put(store: &FileStore, name: &str, expected: Option<&Etag>, bytes: &[u8]) -> Etag {
    match write(store, name, expected, bytes).await.unwrap() {
        Written::Applied { etag, .. } => etag,
        Written::Conflict { .. } => panic!("the write to {name} conflicts"),
    }
}

fn record(name: &str, number: u64) -> Vec<u8> {
    let mut record = CircuitRecord::unknown(name);
    record.era = number;
    record.encode().unwrap()
}

/// Returns the number in the record, which must be one.
fn number(name: &str, found: Option<&Versioned>, store_now: tower_circuit_breaker::record::Timestamp) -> u64 {
    found.map_or(0, |found| CircuitRecord::decode(name, &found.bytes, store_now).unwrap().era)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_store_passes_the_suite() {
    let folder = Folder::new();
    Suite::new(|| async { folder.store() }).run().await;
    let left = folder.files(".tmp");
    assert!(left.is_empty(), "no write leaves a temporary: {left:?}");
}

#[tokio::test]
async fn reads_create_no_file_and_no_folder() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path("later"));
    assert_eq!(load(&store, "a").await, None);
    assert_eq!(store.list().await.unwrap(), [""; 0]);
    assert_eq!(store.audit(&Default::default()).await.unwrap(), []);
    assert!(!store.delete("a", &Etag::new("x")).await.unwrap());
    drop(store.watch().await.unwrap());
    assert_eq!(files(&folder.0), [""; 0], "nothing was written, so nothing is there");

    put(&store, "a", None, &record("a", 1)).await;
    assert_eq!(files(&folder.path("later")), ["a.json", "a.json.lock"], "the first write makes the folder");
}

#[tokio::test]
async fn a_folder_that_appears_later_is_seen() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path("mounted/later"));
    assert_eq!(load(&store, "a").await, None);
    fs::create_dir_all(folder.path("mounted/later")).unwrap();
    fs::write(folder.path("mounted/later/a.json"), record("a", 3)).unwrap();
    assert_eq!(load(&store, "a").await.unwrap().bytes, record("a", 3));
    assert_eq!(store.list().await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_name_that_was_cut_is_listed_in_full() {
    let folder = Folder::new();
    let long = "/orders/".repeat(25);
    let store = folder.store();
    put(&store, &long, None, &record(&long, 1)).await;
    put(&store, "A", None, &record("A", 1)).await;
    assert_eq!(folder.store().list().await.unwrap(), [long.as_str(), "A"]);
    let longest = files(&folder.0).iter().map(String::len).max().unwrap();
    assert!(longest < 143, "the longest file name has {longest} bytes, and the strictest file system allows 143");
    // What nobody can read does not hide the others.
    fs::write(folder.path(&folder.files("~").pop().unwrap_or_else(|| folder.files(".json").remove(0))), "{").unwrap();
    assert!(folder.store().list().await.unwrap().contains(&"A".to_owned()));
}
