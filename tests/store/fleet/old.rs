//! Four processes of the last version without decisions of a fleet, beside four processes of this version.
//!
//! The old version is built once from the history of the repository, with the same worker (`worker.rs`), and is kept in the
//! target directory. The dependencies of both versions are the same, so that the build takes half a minute.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::RedisStore;

use super::processes::{Plan, Worker, all_become, command_all};
use super::service::{Mode, Service};
use crate::rig::{millis, record, secs};
use crate::servers::redis::Redis;

/// The last commit whose records have no votes, no leases and no decisions of a fleet.
const REVISION: &str = "2268d2e";

/// Returns the program of the old version, and builds the program if it is not there yet.
fn old_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let executable = std::env::current_exe().unwrap();
        // The test binary is `<target>/<profile>/deps/store-<hash>`.
        let target = executable.ancestors().nth(3).unwrap();
        let (folder, source) = (target.join(format!("fleet-{REVISION}")), include_str!("worker.rs"));
        let (program, example) = (folder.join("worker"), folder.join("examples/fleet_worker"));
        // The program is of no use after a change of the worker.
        let is_built = fs::read_to_string(folder.join("worker.rs")).is_ok_and(|built| built == source);
        if !(is_built && program.exists()) {
            unpack(&folder);
            fs::create_dir_all(&example).unwrap();
            fs::write(example.join("worker.rs"), source).unwrap();
            fs::write(example.join("main.rs"), MAIN).unwrap();
            build(&folder, target);
            fs::copy(target.join("debug/examples/fleet_worker"), &program).unwrap();
            fs::write(folder.join("worker.rs"), source).unwrap();
        }
        program
    })
}

const MAIN: &str = "
mod worker;

#[tokio::main(flavor = \"current_thread\")]
async fn main() {
    worker::work(|_| tower_circuit_breaker::coordinator::Sharing::Advise).await;
}
";

/// Writes the files of the old version into the folder.
fn unpack(folder: &Path) {
    fs::remove_dir_all(folder).ok();
    fs::create_dir_all(folder).unwrap();
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "archive", REVISION]).stdout(Stdio::piped());
    let mut git = git.spawn().expect("git is installed");
    let files = git.stdout.take().unwrap();
    let unpacked = Command::new("tar").arg("-x").arg("-C").arg(folder).stdin(files).status().expect("tar is installed");
    let is_complete = git.wait().unwrap().success() && unpacked.success();
    assert!(is_complete, "the history of the repository has no {REVISION}: fetch all of the history");
    let manifest = folder.join("Cargo.toml");
    // Two packages of one name and one version would overwrite each other in the target directory.
    let text = fs::read_to_string(&manifest).unwrap().replacen("version = \"0.1.0\"", "version = \"0.0.0\"", 1);
    fs::write(manifest, text).unwrap();
}

/// Builds the worker. All features are the features of the tests, so that the dependencies are built already.
fn build(folder: &Path, target: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--all-features", "--example", "fleet_worker", "--target-dir"]).arg(target);
    // The variables that cargo sets for a test would let build scripts run again, here and in the next build.
    let set_for_test =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"].iter().any(|set| name.starts_with(set));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(set_for_test)) {
        cargo.env_remove(name);
    }
    let built = cargo.current_dir(folder).output().expect("cargo is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// Starts the processes `old-1` to `old-4` and `new-1` to `new-4`.
async fn both(plan: &Plan) -> (Vec<Worker>, Vec<Worker>) {
    let old = tokio::task::block_in_place(old_program);
    let mut old: Vec<_> = (1..=4).map(|number| Worker::start_program(old, plan, &format!("old-{number}"))).collect();
    let mut new: Vec<_> = (1..=4).map(|number| Worker::start(plan, &format!("new-{number}"))).collect();
    for worker in old.iter_mut().chain(&mut new) {
        assert_eq!(worker.ready().await, "closed", "{}", worker.id);
    }
    (old, new)
}

/// Waits until the record is as wanted, and returns the record.
async fn recorded(store: &RedisStore, wanted: &str, is_wanted: impl Fn(&CircuitRecord) -> bool) -> CircuitRecord {
    let mut last = None;
    for _ in 0..1_000 {
        let found = record(store, "payments").await;
        if let Some(found) = found.as_ref().filter(|found| is_wanted(found)) {
            return found.clone();
        }
        last = found;
        tokio::time::sleep(millis(30)).await;
    }
    panic!("the record does not get {wanted}: {last:#?}");
}

fn state_of(record: &CircuitRecord, id: &str) -> Option<State> {
    record.instances.get(id).map(|entry| entry.state)
}

/// Lets the service fail and recover under calls of all processes, and checks that all end in one state.
async fn outage_of_both(sharing: &'static str) {
    let server = Redis::start().await;
    let service = Service::start(millis(30)).await;
    let plan = Plan { store: server.url(), sharing, service: service.port(), open_for: secs(2) };
    let (mut old, mut new) = both(&plan).await;
    for fleet in [&mut old, &mut new] {
        command_all(fleet, "rate 20");
    }
    tokio::time::sleep(secs(1)).await;
    let began = service.set(Mode::Fails);
    for fleet in [&mut old, &mut new] {
        all_become(fleet, "open", began).await;
    }
    let recovered = service.set(Mode::Works);
    for fleet in [&mut old, &mut new] {
        all_become(fleet, "closed", recovered).await;
    }
    let store = server.store();
    let record = recorded(&store, "closed", |record| record.state == State::Closed).await;
    // Later writes of one version do not undo the state of the other.
    tokio::time::sleep(secs(3)).await;
    for worker in old.iter().chain(&new) {
        assert_eq!(worker.state(), "closed", "{}: {record:#?}", worker.id);
    }
    let record = recorded(&store, "closed", |record| record.state == State::Closed).await;
    assert!(record.fleet.as_ref().is_none_or(|fleet| fleet.state == State::Closed), "{record:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_processes_that_advise_open_and_close() {
    outage_of_both("advise").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_processes_open_and_close_beside_a_fleet() {
    outage_of_both("quorum").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_and_leases_survive_the_writes_of_old_processes() {
    let server = Redis::start().await;
    let (store, service) = (server.store(), Service::start(Duration::ZERO).await);
    let plan = Plan { store: server.url(), sharing: "quorum", service: service.port(), open_for: secs(2) };
    let (mut old, mut new) = both(&plan).await;
    let all_old =
        |record: &CircuitRecord, state| (1..=4).all(|at| state_of(record, &format!("old-{at}")) == Some(state));

    new[0].command("fail");
    let vote = recorded(&store, "a vote", |record| record.instances.get("new-1").is_some_and(|own| own.vote.is_some()));
    let vote = vote.await.instances["new-1"].vote.clone();
    command_all(&mut old, "fail");
    let record = recorded(&store, "four old openings", |record| all_old(record, State::Open)).await;
    assert_eq!(record.instances["new-1"].vote, vote, "{record:#?}");
    assert!(record.fleet.is_none(), "old instances do not vote: {record:#?}");
    new[1].command("fail");
    let is_open = |record: &CircuitRecord| record.fleet.as_ref().is_some_and(|fleet| fleet.state == State::Open);
    let record = recorded(&store, "an open fleet", is_open).await;
    assert_eq!(record.fleet.as_ref().unwrap().votes, Some(2), "{record:#?}");

    let hangs = service.set(Mode::Hangs);
    new[2].command("rate 20");
    assert_eq!(service.caller(hangs).await, "new-3");
    let lease = record_lease(&store).await;
    command_all(&mut old, "rate 20");
    let record = recorded(&store, "four old probes", |record| all_old(record, State::HalfOpen)).await;
    let after = record.instances["new-3"].lease.clone().unwrap();
    assert_eq!((after.round, after.passed, after.failed_at), (lease.round, 0, None), "{record:#?}");
    assert!(after.until >= lease.until, "{record:#?}");
    assert_eq!(record.fleet.as_ref().unwrap().generation, lease.round, "{record:#?}");

    let recovered = service.set(Mode::Works);
    command_all(&mut new, "rate 20");
    for fleet in [&mut old, &mut new] {
        all_become(fleet, "closed", recovered).await;
    }
    let is_closed = |record: &CircuitRecord| {
        record.state == State::Closed && record.fleet.as_ref().is_some_and(|fleet| fleet.state == State::Closed)
    };
    let record = recorded(&store, "a closed fleet", is_closed).await;
    assert_eq!(record.fleet.as_ref().unwrap().reason, "3 probes of the fleet succeeded", "{record:#?}");
}

/// Returns the lease of the prober `new-3`.
async fn record_lease(store: &RedisStore) -> tower_circuit_breaker::record::Lease {
    let has_lease = |record: &CircuitRecord| record.instances.get("new-3").is_some_and(|own| own.lease.is_some());
    recorded(store, "a lease", has_lease).await.instances["new-3"].lease.clone().unwrap()
}
