//! Other processes on the same folder, and processes that are killed.

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MonotonicClock};
use tower_circuit_breaker::store::{FileStore, Store, StoreErrorKind, Written};

use super::{Folder, disk, hostile, number, record, rights, write};
use crate::dice::Dice;

/// What a process of its own does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Job {
    /// Increments a hundred times.
    Count,
    /// Increments until it is killed, and tells each number once it was written.
    CountForEver,
    Full,
    ReadOnly,
    Unreadable,
    /// Makes each kind of file.
    Each,
    /// Queries the audit beside a pipe.
    Pipe,
    /// Uses a folder that other users may write to.
    Shared,
}

impl Job {
    const ALL: [Self; 8] = [
        Self::Count,
        Self::CountForEver,
        Self::Full,
        Self::ReadOnly,
        Self::Unreadable,
        Self::Each,
        Self::Pipe,
        Self::Shared,
    ];

    pub(super) fn start(self, folder: &Path) -> Worker {
        self.run_by(Command::new("env"), folder)
    }

    /// Starts it by a command that takes a command.
    pub(super) fn run_by(self, mut command: Command, folder: &Path) -> Worker {
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "file::processes::worker", "--nocapture", "--test-threads=1"]);
        command.env(JOB, format!("{self:?}")).env(FOLDER, folder).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Worker(command.spawn().unwrap())
    }
}

const JOB: &str = "FILE_STORE_TEST_JOB";
const FOLDER: &str = "FILE_STORE_TEST_FOLDER";
/// What is told at the end, because a test binary that finds no such test succeeds, too.
const DONE: &str = "the job is done";

/// Not a test by itself: what runs in other processes.
#[test]
fn worker() {
    let (Ok(job), Some(folder)) = (std::env::var(JOB), std::env::var_os(FOLDER)) else { return };
    let job = Job::ALL.into_iter().find(|known| format!("{known:?}") == job).unwrap();
    let store = FileStore::new(PathBuf::from(folder));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        match job {
            Job::Count => {
                for _ in 0..100 {
                    increment(&store).await;
                }
            }
            Job::CountForEver => loop {
                let number = increment(&store).await;
                // One write, so that it is told or not, and never half.
                std::io::stderr().write_all(format!("{number}\n").as_bytes()).unwrap();
            },
            Job::Full => disk::on_a_full_disk(store).await,
            Job::ReadOnly => disk::in_a_read_only_folder(store).await,
            Job::Unreadable => disk::with_an_unreadable_file(store).await,
            Job::Each => rights::write_each_file(&store).await,
            Job::Pipe => hostile::with_a_pipe(store).await,
            Job::Shared => disk::in_a_shared_folder(store).await,
        }
    });
    eprintln!("{DONE}");
}

/// A process that is killed at the latest when it is dropped.
pub(super) struct Worker(Child);

impl Worker {
    /// Returns what it told until its end.
    fn told(&mut self) -> String {
        let mut told = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        told
    }

    pub(super) fn expect_success(mut self) {
        let told = self.told();
        let status = self.0.wait().unwrap();
        assert!(
            status.success() && told.ends_with(&format!("{DONE}\n")),
            "the other process ended with {status}: {told}"
        );
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn increment(store: &FileStore) -> u64 {
    loop {
        let loaded = store.load_many(&["a".to_owned()]).await.unwrap();
        let current = loaded.entries[0].as_ref();
        let next = number("a", current, loaded.now) + 1;
        match write(store, "a", current.map(|current| &current.etag), &record("a", next)).await {
            Ok(Written::Applied { .. }) => return next,
            Ok(Written::Conflict { .. }) => {}
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn two_processes_lose_nothing() {
    let folder = Folder::new();
    let workers = [Job::Count, Job::Count].map(|job| job.start(&folder.0));
    workers.into_iter().for_each(Worker::expect_success);
    let loaded = folder.store().load_many(&["a".to_owned()]).await.unwrap();
    assert_eq!(number("a", loaded.entries[0].as_ref(), loaded.now), 200);
    assert_eq!(folder.files(""), ["a.json", "a.json.lock"], "each has cleaned up behind itself");
}

/// 200 times in two folders at once, at a moment within the first two or three writes.
#[test]
fn a_killed_writer_leaves_the_old_record_or_the_new_one() {
    let threads = [1_u64, 2].map(|seed| std::thread::spawn(move || kill_writers(100, seed)));
    let torn: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(torn > 0, "of 200 kills none was in the middle of a write: the test has proved nothing");
}

/// Returns how many were killed in the middle of a write.
fn kill_writers(kills: u32, seed: u64) -> usize {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut dice = Dice::new(seed);
    let mut last = 0;
    for kill in 0..kills {
        let mut worker = Job::CountForEver.start(&folder.0);
        // It has started when it has told its first number.
        let mut first = [0; 1];
        worker.0.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
        std::thread::sleep(Duration::from_micros(dice.roll(20_000)));
        worker.0.kill().unwrap();
        let told = format!("{}{}", char::from(first[0]), worker.told());
        drop(worker);

        let committed: u64 = told.lines().last().unwrap().parse().unwrap();
        let loaded = runtime.block_on(folder.store().load_many(&["a".to_owned()])).unwrap();
        let found = number("a", loaded.entries[0].as_ref(), loaded.now);
        assert!(committed > last, "kill {kill}: it went on from {last}, and told {committed}");
        assert!(
            found == committed || found == committed + 1,
            "kill {kill}: {committed} was committed, and {found} is there"
        );
        last = found;
    }
    assert_eq!(folder.files(".corrupt"), [""; 0], "nothing was ever torn");
    let left = folder.files(".tmp");
    for file in &left {
        let minutes_ago = MonotonicClock::new().wall() - Duration::from_secs(120);
        fs::File::options().write(true).open(folder.path(file)).unwrap().set_modified(minutes_ago).unwrap();
    }
    runtime.block_on(increment(&folder.store()));
    assert_eq!(folder.files(".tmp"), [""; 0], "what they left is swept");
    left.len()
}
