//! Commands by root on a store of another user, who must be able to use each file afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tower_circuit_breaker::store::{FileStore, Hint, SqliteStore, Store, Write};

use super::{Circuitctl, said};
use crate::servers::folder::Folder;
use crate::servers::users::{STRANGER, as_stranger, by_root};

/// Each command once, with a name that the store has and a name that it does not have.
fn every_command(ctl: &Circuitctl) {
    for command in [
        &["status"][..],
        &["trip", "payments", "--reason", "x", "--create"],
        &["trip", "orders", "--reason", "x", "--create", "--for", "1h"],
        &["show", "payments"],
        &["is-tripped", "payments"],
        &["reset", "payments", "--reason", "x", "--force"],
        &["disable", "payments", "--reason", "x", "--indefinitely", "--user", "the boss"],
        &["resume", "payments", "--reason", "x"],
        &["audit", "--since", "1h"],
        &["members"],
        &["forget", "orders", "--reason", "x"],
    ] {
        ctl.does(command);
    }
    assert_eq!(ctl.run(&["show", "unknown"]).code, 5);
}

fn belongs_to_stranger(folder: &Path) {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (STRANGER, STRANGER), "{:?}", entry.path());
        files += 1;
    }
    assert!(files > 0);
}

/// Copies the program to a place where every user can run the copy, unlike in the folder of the build.
fn for_all_users(folder: &Folder) -> PathBuf {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("circuitctl");
    // Not by `fs::copy`, because a process that another test starts meanwhile would hold the copy open, and a program that is
    // open for writing does not start.
    let mut install = Command::new("install");
    install.args(["-m", "755", env!("CARGO_BIN_EXE_circuitctl")]).arg(&copy);
    assert!(install.status().unwrap().success());
    copy
}

/// Runs the commands as the owner of the folder, as the service would.
fn works_for_stranger(ctl: &Circuitctl, program: &Path) {
    for command in [&["trip", "payments", "--reason", "by the service"][..], &["audit"], &["status"]] {
        let mut stranger = as_stranger();
        stranger
            .arg(program)
            .args(command)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap());
        stranger.env("CIRCUIT_BREAKER_STORE", &ctl.store).env("USER", "service");
        let done = said(stranger.output().unwrap());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{command:?}: {done:?}");
    }
}

/// A folder of the stranger.
fn folder_of_stranger() -> Folder {
    let folder = Folder::new();
    chown(folder.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

#[test]
fn commands_by_root_leave_every_file_to_the_owner_of_the_folder() {
    by_root("circuitctl::root::commands_by_root_leave_every_file_to_the_owner_of_the_folder", async {
        let (folder, programs) = (folder_of_stranger(), Folder::new());
        let program = for_all_users(&programs);
        let ctl = Circuitctl::on(format!("file:{}", folder.path().display()));
        every_command(&ctl);
        // A damaged record is kept as a copy when an instance replaces the record.
        let store = FileStore::new(folder.path());
        let garbage =
            Write { name: "bad".to_owned(), expected: None, bytes: b"garbage".to_vec(), ttl: None, hint: Hint::Any };
        store.compare_and_set(&garbage).await.unwrap();
        ctl.does(&["forget", "bad", "--reason", "garbage"]);
        belongs_to_stranger(folder.path());
        works_for_stranger(&ctl, &program);
    });
}

#[test]
fn commands_by_root_leave_the_files_of_sqlite_to_its_owner() {
    by_root("circuitctl::root::commands_by_root_leave_the_files_of_sqlite_to_its_owner", async {
        let (folder, programs) = (folder_of_stranger(), Folder::new());
        let program = for_all_users(&programs);
        let file = folder.path().join("circuit_breaker.db");
        SqliteStore::new(&file).ensure_schema().await.unwrap();
        for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            chown(entry.path(), Some(STRANGER), Some(STRANGER)).unwrap();
        }
        let ctl = Circuitctl::on(format!("sqlite://{}", file.display()));
        every_command(&ctl);
        belongs_to_stranger(folder.path());
        works_for_stranger(&ctl, &program);
        // A `watch` that is killed leaves the files beside the database, -wal and -shm.
        let mut watching = ctl.command(&["watch"]).spawn().unwrap();
        let mut lines = std::io::BufReader::new(watching.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut lines, &mut String::new()).unwrap();
        ctl.does(&["trip", "search", "--reason", "x", "--create"]);
        assert!(folder.path().join("circuit_breaker.db-wal").exists(), "the database is open");
        watching.kill().unwrap();
        watching.wait().unwrap();
        belongs_to_stranger(folder.path());
        works_for_stranger(&ctl, &program);
    });
}
