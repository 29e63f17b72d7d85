//! Folders that are not there, no folders, or full.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tower_circuit_breaker::State;
use tower_circuit_breaker::store::FileStore;

use super::processes::Job;
use super::{App, actions, eventually};
use crate::rig::{fail, secs, state};
use crate::servers::folder::Folder;
use crate::servers::users::bound_by_permissions;

#[tokio::test]
async fn a_folder_that_appears_later_restores_its_records() {
    let folder = Folder::new();
    let (early, late) = (folder.path().join("early"), folder.path().join("late"));
    let app = App::restored(FileStore::new(&early), "a").await;
    fail(&app.circuit, 5);
    app.settled(&FileStore::new(&early)).await;
    app.end().await;
    // A file in its place cannot even be asked; an absent folder is empty.
    fs::write(&late, "").unwrap();
    let app = App::launch(FileStore::new(&late), "a");
    eventually("it is noticed", async || app.registry.store_status().unwrap().last_error.is_some()).await;
    app.traffic.goes_on().await;
    assert_eq!(state(&app.circuit), State::Closed);
    fs::remove_file(&late).unwrap();
    fs::rename(&early, &late).unwrap();
    eventually("it is restored", async || state(&app.circuit) == State::Open).await;
    assert_eq!(actions(&FileStore::new(&late)).await, ["opened"]);
    app.end().await;
}

#[tokio::test]
async fn a_replaced_or_deleted_folder_gets_the_knowledge_of_the_instance_within_seconds() {
    let folder = Folder::new();
    let (path, other) = (folder.path().join("breakers"), folder.path().join("other"));
    let app = App::restored(FileStore::new(&path), "a").await;
    fail(&app.circuit, 5);
    app.settled(&FileStore::new(&path)).await;
    fs::create_dir(&other).unwrap();
    for replace in [true, false] {
        fs::remove_dir_all(&path).unwrap();
        if replace {
            fs::rename(&other, &path).unwrap();
        }
        let store = FileStore::new(&path);
        let is_open = async || super::stored(&store).await.is_some_and(|record| record.state == State::Open);
        eventually("the record is written again", is_open).await;
    }
    app.end().await;
}

/// A lock that is waited for without a limit keeps the thread of the store, as a disk that hangs does.
#[tokio::test]
async fn a_folder_that_hangs_stops_no_call_and_is_written_to_afterwards() {
    let folder = Folder::new();
    let app = App::restored(FileStore::new(folder.path()).lock_wait(secs(3600)), "a").await;
    let lock = fs::File::create(folder.path().join("audit.jsonl.lock")).unwrap();
    lock.lock().unwrap();
    fail(&app.circuit, 5);
    let hangs = |error: String| error.contains("hangs, because an operation has run for");
    eventually("it is noticed", async || app.registry.store_status().unwrap().last_error.is_some_and(hangs)).await;
    app.traffic.goes_on().await;
    assert_eq!(state(&app.circuit), State::Open);
    lock.unlock().unwrap();
    let store = FileStore::new(folder.path());
    assert_eq!(app.settled(&store).await.state, State::Open);
    assert_eq!(actions(&store).await, ["opened"], "the row that was given up is there once");
    app.end().await;
}

#[test]
fn a_record_refused_by_a_full_disk_is_written_later() {
    let folder = Folder::new();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -S -f 0; exec \"$0\" \"$@\""]);
    Job::Full.run_by(shell, folder.path()).expect_success();
}

/// In a process of its own, which may write nothing until it lifts its own limit.
pub(super) async fn on_a_full_disk(path: &std::path::Path) {
    let app = App::launch(FileStore::new(path), "a");
    fail(&app.circuit, 5);
    eventually("it is noticed", async || app.registry.store_status().unwrap().last_error.is_some()).await;
    app.traffic.goes_on().await;
    assert_eq!(app.registry.store_status().unwrap().unsaved, 1);
    let own = std::process::id().to_string();
    let room = std::process::Command::new("prlimit").args(["--fsize=unlimited:unlimited", "--pid", &own]).status();
    assert!(room.unwrap().success());
    let store = FileStore::new(path);
    assert_eq!(app.settled(&store).await.state, State::Open);
    assert_eq!(actions(&store).await, ["opened"]);
    app.end().await;
}

#[test]
fn a_record_refused_by_a_read_only_folder_is_written_later() {
    let folder = Folder::new();
    Job::ReadOnly.run_by(bound_by_permissions(), folder.path()).expect_success();
}

/// In a process of its own, which permissions bind. What is refused is tried again after 5 to 15 seconds.
pub(super) async fn in_a_read_only_folder(path: &std::path::Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    let app = App::restored(FileStore::new(path), "a").await;
    fail(&app.circuit, 5);
    let refused = |error: &String| error.contains("ermission denied");
    eventually("it is noticed", async || app.registry.store_status().unwrap().last_error.is_some_and(|e| refused(&e)))
        .await;
    app.traffic.goes_on().await;
    assert_eq!(app.registry.store_status().unwrap().unsaved, 1);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    let store = FileStore::new(path);
    assert_eq!(app.settled(&store).await.state, State::Open);
    assert_eq!(actions(&store).await, ["opened"]);
    app.end().await;
}
