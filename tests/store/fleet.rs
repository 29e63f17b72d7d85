//! A fleet of real processes on a real server: all circuits open, all processes are killed, and all come back open.
//!
//! Each instance is this test binary again. An instance calls a service that is dead, and reports on its standard output the
//! state after the restore, the opening, and the moment at which nothing is unsaved any more. After a restart, each call
//! that reaches the service is a fault. The gate plays a few rounds; `scripts/fleet` plays twenty and prints the counts.
//!
//! Two more tests give an order after an outage of the server. `scripts/fleet` prints the time until each instance has the act.
//!
//! `fleet/one_breaker.rs` plays a fleet that behaves as one breaker, and `fleet/old.rs` a fleet of two versions.

mod old;
mod one_breaker;
mod processes;
mod service;
mod spread;
mod worker;

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Operator, Order};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, PostgresStore};
use tower_circuit_breaker::{Circuit, Config, OpenDuration, Outcome, Registry, State};

use crate::rig::alice;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

const STORE: &str = "FLEET_TEST_STORE";
const ID: &str = "FLEET_TEST_ID";
const SHARING: &str = "FLEET_TEST_SHARING";
const INSTANCES: usize = 8;

/// Not a test by itself: one instance, as a process of its own.
///
/// The instance reads commands: `fail` calls the dead service until the circuit is open, and `calls N` makes N calls.
#[tokio::test]
async fn instance() {
    let (Ok(store), Ok(id)) = (std::env::var(STORE), std::env::var(ID)) else { return };
    let sharing =
        if std::env::var(SHARING).is_ok_and(|word| word == "follow") { Sharing::Follow } else { Sharing::Advise };
    let store = AnyStore::open(&store).unwrap();
    let registry = Registry::builder().store(store).instance(&id).sharing(sharing).build().unwrap();
    let open_for = OpenDuration::fixed(Duration::from_secs(300));
    let circuit = registry.circuit(Config::builder("payments").open_for(open_for).build().unwrap()).unwrap();
    let report = registry.restore(Duration::from_secs(20)).await.unwrap();
    assert!(report.is_complete(), "{report}");
    say(&format!("restored {}", circuit.status().state));
    let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(command) = commands.recv().await {
        if command == "fail" {
            while let Ok(permit) = circuit.try_acquire() {
                permit.record(Outcome::failure());
            }
            while registry.store_status().unwrap().unsaved > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            say("saved");
        } else if let Some(calls) = command.strip_prefix("calls ") {
            let calls: usize = calls.parse().unwrap();
            let reached =
                (0..calls).filter(|_| circuit.try_acquire().map(|permit| permit.record(Outcome::failure())).is_ok());
            say(&format!("reached {}", reached.count()));
        }
    }
}

/// Not a test by itself: a process of a fleet that behaves as one breaker.
#[tokio::test]
async fn worker() {
    let sharing = |word: &str| match word {
        "quorum" => Sharing::Quorum,
        "follow" => Sharing::Follow,
        _ => Sharing::Advise,
    };
    worker::work(sharing).await;
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nfleet: {line}").and_then(|()| out.flush()).unwrap();
}

/// A process, which is killed at the latest when it is dropped.
struct Instance {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
}

impl Instance {
    fn start(store: &str, number: usize, sharing: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "fleet::instance", "--nocapture", "--test-threads=1"]);
        command.env(STORE, store).env(ID, format!("node-{number}")).env(SHARING, sharing).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("setpriv of util-linux starts this test");
        let (commands, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("fleet: ")
                    && sender.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, commands, lines }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// Waits for the next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).expect("the instance answers within a minute")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SIGKILL, so that the process has no time to write.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The counts over all rounds.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    instances: usize,
    opened: usize,
    came_back_open: usize,
    calls: usize,
    calls_to_the_dead_service: usize,
    /// The longest time from the first failure to the death of the last instance.
    longest: Duration,
}

/// One round: everything opens at once, everything is killed as soon as nothing is unsaved, and everything comes back.
fn round(store: &str, sharing: &str, counts: &mut Counts) {
    let start = || (0..INSTANCES).map(|number| Instance::start(store, number, sharing)).collect::<Vec<_>>();
    let mut fleet = start();
    fleet.iter().for_each(|instance| assert!(instance.line().starts_with("restored")));
    let begun = now();
    fleet.iter_mut().for_each(|instance| instance.tell("fail"));
    counts.instances += fleet.len();
    counts.opened += fleet.iter().filter(|instance| instance.line() == "saved").count();
    drop(fleet);
    counts.longest = counts.longest.max(begun.elapsed());
    let mut fleet = start();
    let open = format!("restored {}", State::Open);
    counts.came_back_open += fleet.iter().filter(|instance| instance.line() == open).count();
    fleet.iter_mut().for_each(|instance| instance.tell("calls 100"));
    for instance in &fleet {
        counts.calls += 100;
        counts.calls_to_the_dead_service += instance.line().strip_prefix("reached ").unwrap().parse::<usize>().unwrap();
    }
}

/// The number of rounds, which `scripts/fleet` sets.
fn rounds() -> usize {
    std::env::var("ROUNDS").map_or(3, |rounds| rounds.parse().expect("ROUNDS is a number"))
}

/// Returns the time between two times in µs.
fn took(from: u64, to: u64) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}

fn judge(store: &str, sharing: &str, counts: &Counts) {
    println!(
        "fleet: {store:<8} {sharing:<6} {} rounds: {} instances opened, {} of them came back open, {} of {} calls reached the dead service; all were killed within {} ms",
        rounds(),
        counts.opened,
        counts.came_back_open,
        counts.calls_to_the_dead_service,
        counts.calls,
        counts.longest.as_millis()
    );
    let all = INSTANCES * rounds();
    assert_eq!((counts.instances, counts.opened, counts.came_back_open), (all, all, all), "{counts:?}");
    assert_eq!(counts.calls_to_the_dead_service, 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_fleet_on_redis_comes_back_open() {
    for sharing in ["advise", "follow"] {
        let mut counts = Counts::default();
        for _ in 0..rounds() {
            // A server of its own for each round, so that each fleet begins closed.
            let server = Redis::start().await;
            let url = server.url();
            counts = play(url, sharing, counts).await;
        }
        judge("redis", sharing, &counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_fleet_on_postgres_comes_back_open() {
    for sharing in ["advise", "follow"] {
        let server = Postgres::start().await;
        PostgresStore::new(&server.url()).unwrap().ensure_schema().await.unwrap();
        let mut counts = Counts::default();
        for _ in 0..rounds() {
            server.execute("TRUNCATE circuit_breaker_states").await;
            counts = play(server.url(), sharing, counts).await;
        }
        judge("postgres", sharing, &counts);
    }
}

/// The length of the outage before an act, which `scripts/fleet` sets. The backoff of the instances has grown to 30 s after a
/// minute.
fn outage() -> Duration {
    Duration::from_secs(std::env::var("OUTAGE").map_or(1, |seconds| seconds.parse().expect("OUTAGE is in seconds")))
}

/// Gives an order as soon as the store answers again, and waits until each of six instances has the act.
async fn an_act_after_an_outage(store: &str, url: &str, end_of_outage: impl AsyncFnOnce()) {
    let mut fleet = Vec::new();
    for number in 0..6 {
        let instance = Registry::builder().store(AnyStore::open(url).unwrap()).instance(&format!("node-{number}"));
        let registry = instance.build().unwrap();
        let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
        assert!(registry.restore(Duration::from_secs(20)).await.unwrap().is_complete());
        fleet.push((registry, circuit));
    }
    end_of_outage().await;
    let begun = now();
    let operator = Operator::new(AnyStore::open(url).unwrap());
    let order = Order::trip(&alice()).create();
    while let Err(refused) = operator.operate("payments", &order).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{refused}");
    }
    let begun = now();
    let has_act = |(_, circuit): &(_, Circuit)| circuit.status().mode == Mode::ForcedOpen;
    while !fleet.iter().all(has_act) && begun.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(fleet.iter().all(has_act));
    println!(
        "fleet: {store:<8} an act after an outage of {} s reached 6 instances within {} ms",
        outage().as_secs(),
        begun.elapsed().as_millis()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_after_an_outage_of_redis_reaches_the_fleet() {
    let mut server = Redis::start().await;
    let url = server.url();
    let end_of_outage = async || {
        server.kill9();
        tokio::time::sleep(outage()).await;
        server.start_again().await;
    };
    an_act_after_an_outage("redis", &url, end_of_outage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_after_an_outage_of_postgres_reaches_the_fleet() {
    let mut server = Postgres::start().await;
    PostgresStore::new(&server.url()).unwrap().ensure_schema().await.unwrap();
    let url = server.url();
    let end_of_outage = async || {
        server.stop();
        tokio::time::sleep(outage()).await;
        server.start_again().await;
    };
    an_act_after_an_outage("postgres", &url, end_of_outage).await;
}

#[expect(clippy::disallowed_methods, reason = "how long it really takes")]
fn now() -> Instant {
    Instant::now()
}

async fn play(url: String, sharing: &'static str, mut counts: Counts) -> Counts {
    // A process dies with the thread that started it, so one thread plays the whole round.
    let played = move || {
        round(&url, sharing, &mut counts);
        counts
    };
    tokio::task::spawn_blocking(played).await.unwrap()
}
