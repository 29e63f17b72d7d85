//! Several processes on one file. A child is this test binary, run again with a file in its environment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tower_circuit_breaker::store::{SqliteStore, Store, Written};

use super::{put, values, write};
use crate::servers::folder::Folder;
use crate::servers::users::bound_by_permissions;

const FILE: &str = "TEST_SQLITE_FILE";
const ROUNDS: &str = "TEST_SQLITE_ROUNDS";
/// Is set for a child that only reads.
const READER: &str = "TEST_SQLITE_READER";

/// Counts up, `rounds` times, and says each number once it is committed.
async fn count(store: &SqliteStore, rounds: u64) {
    let mut current = store.load_many(&["counter".to_owned()]).await.expect("it can be read").entries.remove(0);
    let mut done = 0;
    while done < rounds {
        let number: u64 = current.as_ref().map_or(0, |kept| std::str::from_utf8(&kept.bytes).unwrap().parse().unwrap());
        let next = write("counter", current.map(|kept| kept.etag), (number + 1).to_string().as_bytes());
        current = match store.compare_and_set(&next).await.expect("it can be written") {
            Written::Applied { etag, .. } => {
                println!("\ncounted {}", number + 1);
                done += 1;
                Some(tower_circuit_breaker::store::Versioned { bytes: next.bytes, etag })
            }
            Written::Conflict { current, .. } => current,
        };
    }
}

#[tokio::test]
async fn as_a_child() {
    if let Ok(url) = std::env::var(READER) {
        let read = SqliteStore::from_url(&url).unwrap().list().await;
        println!("\nread {}", read.map_or_else(|error| error.to_string(), |names| names.join(",")));
        return;
    }
    let (Ok(file), Ok(rounds)) = (std::env::var(FILE), std::env::var(ROUNDS)) else { return };
    count(&SqliteStore::new(file), rounds.parse().unwrap()).await;
}

/// Runs [`as_a_child`] by a command that takes a command.
fn by(mut command: Command) -> Command {
    command.arg(std::env::current_exe().expect("we know who we are"));
    command.args(["--exact", "sqlite::processes::as_a_child", "--nocapture", "--test-threads=1"]);
    command
}

/// Lists the records in a process that permissions bind, and returns its output.
pub(super) fn read_without_rights(url: &str) -> String {
    let done = by(bound_by_permissions()).env(READER, url).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

fn child(file: &Path, rounds: u64) -> Child {
    let mut command = by(Command::new("env"));
    command.env(FILE, file).env(ROUNDS, rounds.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("we can be run")
}

async fn counter(store: &SqliteStore) -> u64 {
    let kept = store.load_many(&["counter".to_owned()]).await.unwrap().entries.remove(0).expect("it was written");
    std::str::from_utf8(&kept.bytes).unwrap().parse().unwrap()
}

#[tokio::test]
async fn processes_that_write_at_once_lose_nothing() {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    let children = [child(&file, 100), child(&file, 100), child(&file, 100)];
    for child in children {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "a child failed: {}", String::from_utf8_lossy(&done.stdout));
    }
    assert_eq!(counter(&SqliteStore::new(&file)).await, 300);
}

#[tokio::test]
async fn a_process_killed_while_writing_loses_no_committed_write() {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    let store = SqliteStore::new(&file);
    put(&store, "counter", None, b"0").await;
    drop(store);
    let mut committed = 0;
    for round in 0..50 {
        let mut child = child(&file, u64::MAX);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("counted ")?.parse::<u64>().ok());
        let mut numbers = numbers.inspect(|number| committed = committed.max(*number));
        // Not always at the same point: after 1 to 7 commits.
        numbers.nth(round % 7).expect("it writes until it is killed");
        child.kill().unwrap();
        numbers.for_each(drop);
        child.wait().unwrap();
        // Opened by two in turn, whose recovery must agree: the store and, at the end, plain SQLite.
        let kept = counter(&SqliteStore::new(&file)).await;
        assert!((committed..=committed + 1).contains(&kept), "{committed} was committed, {kept} is there");
    }
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    assert_eq!(values(&mut connection, "PRAGMA integrity_check").await, [Some("ok".to_owned())]);
}
