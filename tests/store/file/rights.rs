//! The owners and the modes of the files, also if root creates them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{FileStore, Store, StoreErrorKind};

use super::processes::Job;
use super::{Folder, files, load, put, record};
use crate::servers::users::{STRANGER, as_stranger, bound_by_permissions, by_root};

pub(super) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// Starts a shell with this umask, which then starts the test's own binary.
fn with_umask(umask: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
    shell
}

/// Makes each kind of file that the store has. Also runs in processes of its own.
pub(super) async fn write_each_file(store: &FileStore) {
    let etag = put(store, "a", None, &record("a", 1)).await;
    put(store, "a", Some(&etag), &record("a", 2)).await;
    put(store, "b", None, b"no record").await;
    let found = load(store, "b").await.unwrap();
    put(store, "b", Some(&found.etag), &record("b", 1)).await;
    let store = store.clone().audit_bytes(1);
    store.append_audit(&[super::audit::row(1)]).await.unwrap();
    store.append_audit(&[super::audit::row(2)]).await.unwrap();
    store.trim_audit(Timestamp::from_millis(1)).await.unwrap();
}

const EACH: [&str; 8] = [
    "a.json",
    "a.json.lock",
    "audit.jsonl",
    "audit.jsonl.lock",
    "audit.old.jsonl",
    "b.json",
    "b.json.corrupt",
    "b.json.lock",
];

fn each(folder: &Path) -> impl Iterator<Item = PathBuf> {
    assert_eq!(files(folder), EACH);
    EACH.into_iter().map(|file| folder.join(file))
}

#[test]
fn new_folders_and_files_are_for_their_owner_alone_despite_the_umask() {
    for umask in ["000", "022", "077"] {
        let folder = Folder::new();
        Job::Each.run_by(with_umask(umask), &folder.path("srv/breakers")).expect_success();
        for made in ["srv", "srv/breakers"] {
            assert_eq!(mode(&folder.path(made)), 0o700, "umask {umask}, {made}");
        }
        for file in each(&folder.path("srv/breakers")) {
            assert_eq!(mode(&file), 0o600, "umask {umask}, {}", file.display());
        }
    }
}

#[test]
fn new_files_have_the_mode_of_their_folder_without_execution() {
    let modes = [(0o700, 0o600), (0o755, 0o644), (0o750, 0o640), (0o2770, 0o660), (0o777, 0o666), (0o1777, 0o600)];
    for (of_folder, of_files) in modes {
        let folder = Folder::new();
        fs::set_permissions(&folder.0, Permissions::from_mode(of_folder)).unwrap();
        Job::Each.run_by(with_umask("077"), &folder.0).expect_success();
        for file in each(&folder.0) {
            assert_eq!(mode(&file), of_files, "folder {of_folder:o}, {}", file.display());
        }
    }
}

#[test]
fn files_of_root_belong_to_the_owner_and_the_group_of_the_folder() {
    by_root("file::rights::files_of_root_belong_to_the_owner_and_the_group_of_the_folder", async {
        let folder = Folder::new();
        chown(&folder.0, Some(STRANGER), Some(STRANGER)).unwrap();
        fs::set_permissions(&folder.0, Permissions::from_mode(0o770)).unwrap();
        write_each_file(&folder.store()).await;
        for file in each(&folder.0) {
            assert_eq!((owner(&file), mode(&file)), (owner(&folder.0), 0o660), "{}", file.display());
            // The service can read and write the file.
            let mut service = as_stranger();
            let used = service.args(["sh", "-c", "cat \"$0\" && : >>\"$0\""]).arg(&file).output().unwrap();
            assert!(used.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&used.stderr));
        }
        // A folder that the store makes in there belongs to the same owner.
        write_each_file(&FileStore::new(folder.path("more/breakers"))).await;
        for made in [folder.path("more"), folder.path("more/breakers"), folder.path("more/breakers/a.json")] {
            assert_eq!(owner(&made), owner(&folder.0), "{}", made.display());
        }
    });
}

/// A user without capabilities may give files to a group of the user.
#[test]
fn files_of_a_user_belong_to_the_group_of_the_folder() {
    by_root("file::rights::files_of_a_user_belong_to_the_group_of_the_folder", async {
        let folder = Folder::new();
        chown(&folder.0, None, Some(STRANGER)).unwrap();
        fs::set_permissions(&folder.0, Permissions::from_mode(0o770)).unwrap();
        let mut user = bound_by_permissions();
        user.arg(format!("--groups={STRANGER}"));
        Job::Each.run_by(user, &folder.0).expect_success();
        for file in each(&folder.0) {
            assert_eq!((owner(&file), mode(&file)), ((0, STRANGER), 0o660), "{}", file.display());
        }
    });
}

#[tokio::test]
async fn a_file_that_exists_keeps_its_owner_and_mode_when_it_is_appended_to() {
    let folder = Folder::new();
    fs::write(folder.path("audit.jsonl"), "").unwrap();
    fs::set_permissions(folder.path("audit.jsonl"), Permissions::from_mode(0o644)).unwrap();
    folder.store().append_audit(&[super::audit::row(1)]).await.unwrap();
    assert_eq!(mode(&folder.path("audit.jsonl")), 0o644, "an operator may have set the mode");
}

#[test]
fn a_folder_that_every_user_may_write_to_is_logged_once() {
    for (mode, warnings) in [(0o777, "1"), (0o1777, "1"), (0o770, "0")] {
        let folder = Folder::new();
        fs::set_permissions(&folder.0, Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new("env");
        command.arg(format!("EXPECTED_WARNINGS={warnings}"));
        Job::Shared.run_by(command, &folder.0).expect_success();
    }
}

#[tokio::test]
async fn a_folder_below_a_foreign_link_is_used_but_no_file_that_is_a_link() {
    let folder = Folder::new();
    fs::create_dir(folder.path("disk")).unwrap();
    std::os::unix::fs::symlink(folder.path("disk"), folder.path("breakers")).unwrap();
    let store = FileStore::new(folder.path("breakers"));
    put(&store, "a", None, &record("a", 1)).await;
    assert_eq!(files(&folder.path("disk")), ["a.json", "a.json.lock"], "the path of a folder may be a link");
    fs::rename(folder.path("disk/a.json"), folder.path("a.json")).unwrap();
    std::os::unix::fs::symlink(folder.path("a.json"), folder.path("disk/a.json")).unwrap();
    super::assert_unreadable(load(&store, "a").await.as_ref(), "a link");
    assert_eq!(super::write(&store, "a", None, b"x").await.unwrap_err().kind(), StoreErrorKind::Refused);
}
