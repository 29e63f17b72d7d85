//! A folder in which another user has put links, pipes, devices and files without an end.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{AuditFilter, Etag, FileStore, Store, StoreError, StoreErrorKind};

use super::{Folder, audit, put, record, write};

const FILES: [&str; 5] = ["a.json", "a.json.lock", "audit.jsonl", "audit.jsonl.lock", "audit.old.jsonl"];

/// Runs each operation of the store. Returns the failures.
async fn each_operation(store: &FileStore) -> Vec<StoreError> {
    let names = ["a".to_owned()];
    let filter = AuditFilter::new();
    let operations = async {
        [
            store.load_many(&names).await.err(),
            write(store, "a", None, &record("a", 1)).await.err(),
            store.delete("a", &Etag::new("x")).await.err(),
            store.list().await.err(),
            store.append_audit(&[audit::row(1)]).await.err(),
            store.audit(&filter).await.err(),
            store.trim_audit(Timestamp::from_millis(2_000_000_000_000)).await.err(),
            store.watch().await.err(),
        ]
    };
    let errors = tokio::time::timeout(Duration::from_secs(20), operations).await.expect("no operation hangs");
    errors.into_iter().flatten().collect()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn no_operation_follows_a_link_to_a_foreign_file() {
    let foreign = "{\"version\":1,\"service\":\"a\",\"state\":\"secret-of-another\",\"generation\":1}\n";
    for file in FILES {
        let folder = Folder::new();
        fs::create_dir(folder.path("breakers")).unwrap();
        fs::write(folder.path("bashrc"), foreign).unwrap();
        symlink(folder.path("bashrc"), folder.path("breakers").join(file)).unwrap();
        let store = FileStore::new(folder.path("breakers"));
        let errors = each_operation(&store).await;
        assert_eq!(fs::read_to_string(folder.path("bashrc")).unwrap(), foreign, "{file}");
        assert_eq!(errors.is_empty(), file == "audit.old.jsonl", "{file}: the other files stay usable");
        for error in errors {
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{file}: {error}");
            assert!(error.to_string().contains(file) && error.to_string().contains("link"), "{file}: {error}");
            assert!(!error.chain().contains("secret"), "{file}: {error}");
        }
        let found = store.load_many(&["a".to_owned()]).await.unwrap().entries.pop().unwrap();
        let is_secret = found.is_some_and(|found| found.bytes.windows(6).any(|part| part == b"secret"));
        assert!(!is_secret, "{file}");
    }
}

#[tokio::test]
async fn a_link_to_no_file_creates_no_file_elsewhere() {
    for file in FILES {
        let folder = Folder::new();
        fs::create_dir(folder.path("breakers")).unwrap();
        symlink(folder.path("elsewhere"), folder.path("breakers").join(file)).unwrap();
        each_operation(&FileStore::new(folder.path("breakers"))).await;
        assert!(!folder.path("elsewhere").exists(), "{file}");
    }
}

#[tokio::test]
async fn a_pipe_a_device_or_a_folder_in_the_place_of_a_file_stops_no_operation() {
    for kind in ["pipe", "device", "folder"] {
        for file in FILES {
            let folder = Folder::new();
            match kind {
                "pipe" => pipe(&folder.path(file)),
                "device" => symlink("/dev/zero", folder.path(file)).unwrap(),
                _ => fs::create_dir(folder.path(file)).unwrap(),
            }
            let store = folder.store();
            for error in each_operation(&store).await {
                assert_eq!(error.kind(), StoreErrorKind::Refused, "{kind} {file}: {error}");
            }
            put(&store, "b", None, &record("b", 1)).await;
        }
    }
}

/// In a process of its own, so that the threads are those of this job.
pub(super) async fn with_a_pipe(store: FileStore) {
    put(&store, "a", None, &record("a", 1)).await;
    let mut queries = tokio::task::JoinSet::new();
    for _ in 0..600 {
        let store = store.clone();
        queries.spawn(async move { store.audit(&AuditFilter::new()).await.map(drop) });
    }
    queries.join_all().await;
    let names = fs::read_dir("/proc/self/task").unwrap().flatten();
    let mut names: Vec<_> = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect();
    names.sort();
    // The test runs on a thread beside the first one.
    assert_eq!(names.len(), 3, "the store has one thread, and tokio's pool has none: {names:?}");
    assert_eq!(names.iter().filter(|name| name.trim() == "breaker-file").count(), 1, "{names:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn six_hundred_queries_beside_a_pipe_cost_one_thread() {
    let folder = Folder::new();
    pipe(&folder.path("audit.old.jsonl"));
    super::processes::Job::Pipe.start(&folder.0).expect_success();
}

#[tokio::test]
async fn an_audit_of_another_program_without_line_breaks_hides_no_row() {
    let folder = Folder::new();
    for file in ["audit.jsonl", "audit.old.jsonl"] {
        File::create(folder.path(file)).unwrap().set_len(200_000_000).unwrap();
    }
    let store = folder.store();
    store.append_audit(&[audit::row(1)]).await.unwrap();
    store.append_audit(&[audit::row(1), audit::row(2)]).await.unwrap();
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap(), [audit::row(1), audit::row(2)]);
    assert!(fs::metadata(folder.path("audit.jsonl")).unwrap().len() < 10_000, "a new file was begun");
}

#[tokio::test]
async fn rows_are_not_appended_to_a_file_that_has_a_second_name() {
    let folder = Folder::new();
    fs::write(folder.path("bashrc"), "alias ll='ls -l'\n").unwrap();
    fs::create_dir(folder.path("breakers")).unwrap();
    fs::hard_link(folder.path("bashrc"), folder.path("breakers/audit.jsonl")).unwrap();
    let store = FileStore::new(folder.path("breakers"));
    store.append_audit(&[audit::row(1)]).await.unwrap();
    assert_eq!(fs::read_to_string(folder.path("bashrc")).unwrap(), "alias ll='ls -l'\n");
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap(), [audit::row(1)]);
}

#[tokio::test]
async fn a_lock_file_that_was_deleted_while_it_was_held_protects_nothing() {
    let folder = Folder::new();
    let store = folder.store().lock_wait(Duration::from_millis(20));
    let etag = put(&store, "a", None, &record("a", 1)).await;
    let lock = File::open(folder.path("a.json.lock")).unwrap();
    lock.lock().unwrap();
    fs::remove_file(folder.path("a.json.lock")).unwrap();
    put(&store, "a", Some(&etag), &record("a", 2)).await;
    assert!(folder.path("a.json.lock").is_file(), "the lock counts on the file at the path");
}

#[tokio::test]
async fn a_record_with_a_byte_order_mark_is_read() {
    let folder = Folder::new();
    let mut file = File::create(folder.path("a.json")).unwrap();
    file.write_all(&[b"\xef\xbb\xbf".as_slice(), &record("a", 4)].concat()).unwrap();
    let loaded = folder.store().load_many(&["a".to_owned()]).await.unwrap();
    assert_eq!(super::number("a", loaded.entries[0].as_ref(), loaded.now), 4);
    put(&folder.store(), "a", Some(&loaded.entries[0].as_ref().unwrap().etag), &record("a", 5)).await;
    assert_eq!(folder.files(".corrupt"), [""; 0], "the record is a record");
}
