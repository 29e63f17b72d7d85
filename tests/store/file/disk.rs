//! What is on the disk, and what the disk refuses.

use std::fs::{self, File};
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::{FileStore, Store, StoreErrorKind, WatchEvent, Written};
use tracing::Level;

use super::processes::Job;
use super::{Folder, assert_unreadable, load, put, record, write};
use crate::lines::Lines;
use crate::servers::users::bound_by_permissions;

#[tokio::test]
async fn a_corrupt_file_is_replaced_and_its_copy_is_kept() {
    let whole = record("a", 1);
    let theirs = record("b", 1);
    let huge = vec![b'x'; CircuitRecord::MAX_BYTES * 3];
    for planted in [&b""[..], b"\xff\xfe not even text", &whole[..whole.len() / 2], &theirs, &huge] {
        let folder = Folder::new();
        fs::write(folder.path("a.json"), planted).unwrap();
        let found = load(&folder.store(), "a").await.unwrap();
        let beginning = &planted[..planted.len().min(CircuitRecord::MAX_BYTES + 1)];
        assert_eq!(found.bytes, beginning, "the store gives what is there, and judges nothing");

        put(&folder.store(), "a", Some(&found.etag), &whole).await;
        assert_eq!(load(&folder.store(), "a").await.unwrap().bytes, whole);
        assert_eq!(fs::read(folder.path("a.json.corrupt")).unwrap(), planted, "a copy is kept of all of it");
        assert_eq!(folder.store().list().await.unwrap(), ["a"], "the copy is no circuit");
    }
}

#[tokio::test]
async fn a_replaced_record_leaves_no_copy() {
    let folder = Folder::new();
    let etag = put(&folder.store(), "a", None, &record("a", 1)).await;
    put(&folder.store(), "a", Some(&etag), &record("a", 2)).await;
    assert_eq!(folder.files(".corrupt"), [""; 0]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_no_record_and_hides_no_other() {
    let folder = Folder::new();
    let store = folder.store();
    put(&store, "good", None, &record("good", 1)).await;
    fs::create_dir(folder.path("bad.json")).unwrap();

    let names = ["bad", "good"].map(str::to_owned);
    let loaded = store.load_many(&names).await.unwrap();
    assert_unreadable(loaded.entries[0].as_ref(), "bad.json`: not a file");
    assert_eq!(loaded.entries[1].as_ref().unwrap().bytes, record("good", 1));
    assert_eq!(store.list().await.unwrap(), ["bad", "good"]);

    let error = write(&store, "bad", None, &record("bad", 1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("bad.json`: not a file"), "it says which and why: {error}");
    fs::remove_dir(folder.path("bad.json")).unwrap();
    put(&store, "bad", None, &record("bad", 1)).await;
}

#[test]
fn an_unreadable_file_is_warned_of_once_a_minute() {
    let folder = Folder::new();
    fs::create_dir(folder.path("bad.json")).unwrap();
    Job::Unreadable.start(&folder.0).expect_success();
}

/// In a process of its own, because the thread of the store writes the log.
pub(super) async fn with_an_unreadable_file(store: FileStore) {
    let lines = Lines::of_each_thread();
    for _ in 0..3 {
        assert_unreadable(load(&store, "bad").await.as_ref(), "not a file");
    }
    let logged = lines.take();
    assert!(logged.len() == 1 && logged[0].level == Level::WARN, "three loads, one warning: {logged:?}");
    for _ in 0..5 {
        fs::remove_dir(store.folder().join("bad.json")).unwrap();
        load(&store, "bad").await;
        fs::create_dir(store.folder().join("bad.json")).unwrap();
        load(&store, "bad").await;
    }
    let logged = lines.take();
    assert!(logged.is_empty(), "a program that makes it readable and unreadable does not fill the log: {logged:?}");
}

/// In a process of its own, whose environment has the number of warnings.
pub(super) async fn in_a_shared_folder(store: FileStore) {
    let lines = Lines::of_each_thread();
    for name in ["a", "b"] {
        put(&store, name, None, &record(name, 1)).await;
        load(&store.clone(), name).await;
    }
    let logged = lines.take();
    assert_eq!(logged.len().to_string(), std::env::var("EXPECTED_WARNINGS").unwrap(), "{logged:?}");
    assert!(logged.iter().all(|line| line.level == Level::WARN), "{logged:?}");
}

#[tokio::test]
async fn a_file_in_the_folders_place_is_refused_by_name() {
    let folder = Folder::new();
    let path = folder.path("taken");
    fs::write(&path, "").unwrap();
    let store = FileStore::new(&path);
    let names = ["a".to_owned()];
    for error in [
        store.load_many(&names).await.unwrap_err(),
        store.list().await.unwrap_err(),
        write(&store, "a", None, &record("a", 1)).await.unwrap_err(),
        store.audit(&Default::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("taken"), "{error}");
    }
}

#[tokio::test]
async fn a_write_skips_while_another_holds_the_lock() {
    let folder = Folder::new();
    let store = folder.store().lock_wait(Duration::from_millis(20));
    let etag = put(&store, "a", None, &record("a", 1)).await;

    // Of another opening, as another process would have it.
    let lock = File::open(folder.path("a.json.lock")).unwrap();
    lock.lock().unwrap();
    let error = write(&store, "a", Some(&etag), &record("a", 2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("a.json.lock` is locked by another process"), "{error}");
    assert_eq!(store.delete("a", &etag).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(load(&store, "a").await.unwrap().bytes, record("a", 1), "reading needs no lock");
    put(&store, "b", None, &record("b", 1)).await;

    lock.unlock().unwrap();
    put(&store, "a", Some(&etag), &record("a", 2)).await;
}

#[tokio::test]
async fn a_write_waits_for_a_lock_that_is_soon_free() {
    let folder = Folder::new();
    let store = folder.store().lock_wait(Duration::from_secs(10));
    let lock = File::create(folder.path("a.json.lock")).unwrap();
    lock.lock().unwrap();
    let (written, ()) = tokio::join!(write(&store, "a", None, b"x"), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        lock.unlock().unwrap();
    });
    assert!(matches!(written.unwrap(), Written::Applied { .. }));
}

#[tokio::test]
async fn a_dropped_write_is_finished_or_never_begun() {
    let folder = Folder::new();
    let store = folder.store();
    for number in 1..=20 {
        let current = load(&store, "a").await;
        let bytes = record("a", number);
        let writing = write(&store, "a", current.as_ref().map(|current| &current.etag), &bytes);
        let deadline = Duration::from_micros(number * 400);
        drop(tokio::time::timeout(deadline, writing).await);
        // The next writer has its turn when the disk is done with the one that was dropped.
        let written = write(&store, "a", None, b"never").await.unwrap();
        if let Written::Conflict { current: Some(found), .. } = written {
            let earlier = current.map(|current| current.bytes).unwrap_or_default();
            assert!(found.bytes == bytes || found.bytes == earlier, "half a write: {found:?}");
        } else {
            assert_eq!(number, 1, "only before the first was written is there nothing");
            let written = load(&store, "a").await.unwrap();
            put(&store, "a", Some(&written.etag), &bytes).await;
        }
    }
    assert_eq!(folder.files(".tmp"), [""; 0]);
}

#[tokio::test]
async fn the_first_write_sweeps_the_files_of_killed_writers() {
    let folder = Folder::new();
    let now = MonotonicClock::new().wall();
    let minutes_ago = now - Duration::from_secs(120);
    let [ours, recent] = ["a.json.0123456789abcdef-1.tmp", "b.json.0123456789abcdef-2.tmp"];
    let foreign = ["accounts.json.backup-of-monday.tmp", "c.json.1-1.tmp", "c.tmp"];
    for (file, modified) in [(ours, minutes_ago), (recent, now)].into_iter().chain(foreign.map(|f| (f, minutes_ago))) {
        File::create(folder.path(file)).unwrap().set_modified(modified).unwrap();
    }
    put(&folder.store(), "d", None, &record("d", 1)).await;
    let left = folder.files(".tmp");
    assert_eq!(left, [foreign[0], recent, foreign[1], foreign[2]], "recent files and those of other programs stay");
}

#[tokio::test]
async fn a_watch_reports_changes_of_others_and_ends_with_its_receiver() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path("later")).poll_interval(Duration::from_millis(5));
    let mut watch = store.watch().await.unwrap().unwrap();
    let mut told = async |expected: &str| loop {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
        let WatchEvent::Changed { name, .. } = &event else { panic!("expected {expected}, found {event:?}") };
        if name == expected {
            return;
        }
    };
    fs::create_dir(folder.path("later")).unwrap();
    fs::write(folder.path("later/%41.json"), "by hand").unwrap();
    told("A").await;
    fs::write(folder.path("later/%41.json"), "again, by hand").unwrap();
    told("A").await;
    let long = "x".repeat(200);
    let etag = put(&store, &long, None, &record(&long, 1)).await;
    told(&long).await;
    assert!(store.delete(&long, &etag).await.unwrap());
    told(&long).await;
    fs::remove_dir_all(folder.path("later")).unwrap();
    told("A").await;
}

#[tokio::test]
async fn files_of_other_programs_cause_no_hint() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path("shared")).poll_interval(Duration::from_millis(5));
    let mut watch = store.watch().await.unwrap().unwrap();
    fs::create_dir(folder.path("shared")).unwrap();
    for round in 0..20 {
        for foreign in ["Notes.json", "a b.json", "x~y.json", ".json", "package-lock.JSON", "audit.jsonl"] {
            fs::write(folder.path("shared").join(foreign), format!("round {round}")).unwrap();
        }
        tokio::task::yield_now().await;
    }
    put(&store, "orders", None, &record("orders", 1)).await;
    let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap();
    assert!(matches!(&event, WatchEvent::Changed { name, .. } if name == "orders"), "{event:?}");
    assert_eq!(store.list().await.unwrap(), ["orders"]);
}

#[test]
fn a_full_disk_refuses_the_write_and_keeps_the_old_record() {
    let folder = Folder::new();
    // No file longer than 8 KiB at most: for whoever writes it is as if the disk were full.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    Job::Full.run_by(shell, &folder.0).expect_success();
    assert_eq!(folder.files(".tmp"), [""; 0], "what could not be written is taken away");
}

/// In a process of its own, which [`a_full_disk_refuses_the_write_and_keeps_the_old_record`] starts.
pub(super) async fn on_a_full_disk(store: FileStore) {
    let etag = put(&store, "a", None, &record("a", 1)).await;
    let long = "x".repeat(30_000);
    let error = write(&store, "a", Some(&etag), long.as_bytes()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "it may be emptied: {error}");
    assert!(error.to_string().contains("cannot write `/"), "it says where: {error}");
    assert_eq!(load(&store, "a").await.unwrap().bytes, record("a", 1));
    put(&store, "a", Some(&etag), &record("a", 2)).await;

    let mut confirmed = Vec::new();
    let error = loop {
        let row = super::audit::row(confirmed.len());
        match store.append_audit(std::slice::from_ref(&row)).await {
            Ok(()) => confirmed.push(row),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(confirmed.len() > 10, "there was room for {}", confirmed.len());
    assert_eq!(store.audit(&Default::default()).await.unwrap(), confirmed, "what was confirmed is there, and no more");
    let text = fs::read_to_string(store.folder().join("audit.jsonl")).unwrap();
    assert!(text.ends_with("}\n"), "half a row was left: {}", &text[text.len() - 40..]);
}

#[test]
fn a_read_only_folder_is_read_and_refuses_writes() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    fs::write(folder.path("a.json"), record("a", 1)).unwrap();
    fs::write(folder.path("secret.json"), record("secret", 1)).unwrap();
    fs::set_permissions(folder.path("secret.json"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o555)).unwrap();
    Job::ReadOnly.run_by(bound_by_permissions(), &folder.0).expect_success();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
}

/// In a process of its own, which [`a_read_only_folder_is_read_and_refuses_writes`] starts.
pub(super) async fn in_a_read_only_folder(store: FileStore) {
    let names = ["secret", "a"].map(str::to_owned);
    let loaded = store.load_many(&names).await.unwrap();
    assert_unreadable(loaded.entries[0].as_ref(), "denied");
    let found = loaded.entries[1].clone().unwrap();
    assert_eq!(found.bytes, record("a", 1));
    for error in [
        write(&store, "a", Some(&found.etag), &record("a", 2)).await.unwrap_err(),
        store.delete("a", &found.etag).await.unwrap_err(),
        store.append_audit(&[super::audit::row(1)]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("Permission denied"), "{error}");
    }
    assert_eq!(load(&store, "a").await.unwrap().bytes, record("a", 1));
}
