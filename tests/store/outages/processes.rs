//! Two processes on one file or folder. The other one is this test's own binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AuditFilter, FileStore, SqliteStore, Store};

use super::{App, eventually, folders};
use crate::rig::alice;
use crate::servers::folder::Folder;

/// What a process of its own does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Job {
    /// Trips, and ends when another has reset.
    TripFile,
    TripSqlite,
    Full,
    ReadOnly,
}

const JOB: &str = "OUTAGES_TEST_JOB";
const PATH: &str = "OUTAGES_TEST_PATH";
/// Because a test binary that finds no such test succeeds, too.
const DONE: &str = "the job is done";

impl Job {
    fn start(self, path: &Path) -> Worker {
        self.run_by(Command::new("env"), path)
    }

    /// Starts it by a command that takes a command.
    pub(super) fn run_by(self, mut command: Command, path: &Path) -> Worker {
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "outages::processes::worker", "--nocapture", "--test-threads=1"]);
        command.env(JOB, format!("{self:?}")).env(PATH, path).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Worker(Some(command.spawn().unwrap()))
    }
}

/// A process that is killed at the latest when it is dropped.
pub(super) struct Worker(Option<Child>);

impl Worker {
    pub(super) fn expect_success(mut self) {
        let ended = self.0.take().unwrap().wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && told.contains(DONE), "it ended with {}: {told}", ended.status);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Not a test by itself: what runs in other processes.
#[tokio::test]
async fn worker() {
    let (Ok(job), Some(path)) = (std::env::var(JOB), std::env::var_os(PATH)) else { return };
    let path = PathBuf::from(path);
    match job.as_str() {
        "TripFile" => trip(FileStore::new(path)).await,
        "TripSqlite" => trip(SqliteStore::new(path)).await,
        "Full" => folders::on_a_full_disk(&path).await,
        "ReadOnly" => folders::in_a_read_only_folder(&path).await,
        _ => panic!("no such job: {job}"),
    }
    eprintln!("{DONE}");
}

async fn trip(store: impl Store) {
    let app = App::restored(store, "b").await;
    app.circuit.trip(&alice(), None);
    eventually("the reset binds", async || app.circuit.status().mode == Mode::Automatic).await;
    app.end().await;
}

/// Acts of operators bind in both directions.
async fn bind_each_other(here: impl Store, look: impl Store, job: Job, path: &Path) {
    let app = App::restored(here, "a").await;
    let other = job.start(path);
    eventually("the trip binds", async || app.circuit.status().mode == Mode::ForcedOpen).await;
    app.circuit.reset(&alice(), To::Closed);
    let (app, ()) = tokio::join!(
        async {
            app.traffic.goes_on().await;
            app
        },
        async {
            tokio::task::spawn_blocking(|| other.expect_success()).await.unwrap();
        }
    );
    app.end().await;
    let rows = look.audit(&AuditFilter::new()).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.instance.as_str())).collect();
    assert_eq!(told, [("trip", "b"), ("reset", "a")]);
}

#[tokio::test]
async fn acts_bind_between_processes_on_one_sqlite_file() {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    bind_each_other(SqliteStore::new(&file), SqliteStore::new(&file), Job::TripSqlite, &file).await;
}

#[tokio::test]
async fn acts_bind_between_processes_on_one_folder() {
    let folder = Folder::new();
    let path = folder.path();
    bind_each_other(FileStore::new(path), FileStore::new(path), Job::TripFile, path).await;
}
