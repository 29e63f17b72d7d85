//! The traffic between a fleet and a Redis, in real time. `scripts/fleet-traffic` starts the bench.
//!
//! The registries are in this process, each with a connection and a watch of its own. The server is started by the harness of the
//! tests. Each scenario prints one line. The numbers are those of the server: `INFO stats` and `INFO cpu`. Without the name of a
//! scenario the bench prints the names and measures nothing, because all scenarios together take seven minutes.
//!
//! The file is longer than others, because all scenarios share the fleet and the counters of the server.

#[path = "harness/counting.rs"]
mod counting;
#[path = "harness/servers.rs"]
mod servers;

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::store::{Hint, RedisStore, Store, Write};
use tower_circuit_breaker::{Circuit, Config, Outcome, Registry, State};

use counting::Counting;
use servers::redis::Redis;

const SCENARIOS: &[(&str, &str)] = &[
    ("below", "one circuit fails a fifth of its calls on 40 registries, below its threshold; 50 s"),
    ("outage-advise", "one circuit in an outage of 30 s on 70 registries with `Sharing::Advise`; about 50 s"),
    ("outage-follow", "the same with `Sharing::Follow`"),
    ("outage-quorum", "the same with `Sharing::Quorum`"),
    ("names-rest", "the names that a registry of 10 000 closed circuits loads; 65 s"),
    ("names-open", "the same with one open circuit"),
    ("idle", "the writes of 20 idle registries with `Sharing::Advise`; 125 s"),
    ("spread", "the time from the write that opens a fleet of 20 registries to their openings, 100 times; 60 s"),
    ("loads", "the cost of 10 000 loaded names for Redis; 10 s"),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.iter().any(|word| word == name || word == "all");
    if !SCENARIOS.iter().any(|(name, _)| is_wanted(name)) {
        println!("traffic: name a scenario, or `all`:");
        SCENARIOS.iter().for_each(|(name, text)| println!("  {name:<14} {text}"));
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be had");
    for (name, _) in SCENARIOS.iter().filter(|(name, _)| is_wanted(name)) {
        let line = runtime.block_on(async {
            match *name {
                "below" => below().await,
                "outage-advise" => outage(Sharing::Advise).await,
                "outage-follow" => outage(Sharing::Follow).await,
                "outage-quorum" => outage(Sharing::Quorum).await,
                "names-rest" => names(false).await,
                "names-open" => names(true).await,
                "idle" => idle().await,
                "spread" => spread().await,
                _ => loads().await,
            }
        });
        println!("traffic: {name:<13} {line}");
    }
}

/// One registry with its circuits.
struct Member {
    store: Counting<RedisStore>,
    /// Kept, because the task ends with its registry.
    _registry: Registry,
    circuits: Vec<Circuit>,
}

impl Member {
    async fn start(server: &Redis, number: usize, sharing: Sharing, names: &[String]) -> Self {
        Self::observed(server, number, sharing, names, None).await
    }

    /// Starts a registry whose circuits send the time of each opening that they adopt from the fleet.
    async fn observed(
        server: &Redis,
        number: usize,
        sharing: Sharing,
        names: &[String],
        adopted: Option<UnboundedSender<(String, Instant)>>,
    ) -> Self {
        let store = Counting::new(server.store());
        let builder = Registry::builder().store(store.clone()).instance(&format!("instance-{number}")).sharing(sharing);
        let registry = builder.build().expect("settings that can work");
        let circuit = |name: &String| {
            let mut config = Config::builder(name).without_shipped_observers();
            if let Some(adopted) = adopted.clone() {
                config = config.observer(observer_fn(move |circuit, event| {
                    if let Event::Transition(edge) = event
                        && edge.from.state == State::Closed
                        && edge.reason == Reason::Fleet
                    {
                        // The receiver is gone at the end of the scenario.
                        drop(adopted.send((circuit.to_owned(), Instant::now())));
                    }
                }));
            }
            registry.circuit(config.build().expect("settings that can work")).expect("there is room")
        };
        let circuits = names.iter().map(circuit).collect();
        let report = registry.restore(secs(20)).await.expect("a runtime runs");
        assert!(report.is_complete(), "{report}");
        Self { store, _registry: registry, circuits }
    }

    fn state(&self) -> State {
        self.circuits[0].status().state
    }
}

/// Starts registries that share one circuit, and waits until all of them watch the server.
async fn fleet(server: &Redis, count: usize, sharing: Sharing) -> Vec<Member> {
    let mut fleet = Vec::with_capacity(count);
    for number in 0..count {
        fleet.push(Member::start(server, number, sharing, &["payments".to_owned()]).await);
    }
    pause(SETTLES).await;
    fleet
}

/// Makes a call on each registry ten times a second for this time. Returns the number of calls that reached the service.
async fn call(fleet: &[Member], time: Duration, calls: &mut u64, fails: impl Fn(u64) -> bool) -> u64 {
    let (start, mut reached) = (Instant::now(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while start.elapsed() < time {
        tick.tick().await;
        for (number, member) in (0..).zip(fleet) {
            if let Ok(permit) = member.circuits[0].try_acquire() {
                reached += 1;
                permit.record(if fails(*calls + number) { Outcome::failure() } else { Outcome::Success });
            }
        }
        *calls += 1;
    }
    reached
}

async fn below() -> String {
    let server = Redis::start().await;
    let mut gauge = Gauge::of(&server).await;
    let fleet = fleet(&server, 40, Sharing::Advise).await;
    let (mut calls, mut rates) = (0, Vec::new());
    let every_fifth = |at: u64| at.is_multiple_of(5);
    // The first counts of all registries are due at the same time, so the first window comes later.
    call(&fleet, secs(15), &mut calls, every_fifth).await;
    let before = total(&fleet);
    for _ in 0..5 {
        let (start, bytes) = (Instant::now(), gauge.read().await.sent);
        call(&fleet, secs(7), &mut calls, every_fifth).await;
        rates.push((gauge.read().await.sent - bytes) / 1024.0 / start.elapsed().as_secs_f64());
    }
    let after = total(&fleet);
    rates.sort_by(f64::total_cmp);
    assert!(fleet.iter().all(|member| member.state() == State::Closed), "the failures are below the threshold");
    format!(
        "{:.1} KiB/s out of Redis (median of 5 windows of 7 s, {:.1} to {:.1}), {} writes and {} names loaded in 35 s",
        rates[2],
        rates[0],
        rates[4],
        after.0 - before.0,
        after.1 - before.1
    )
}

async fn outage(sharing: Sharing) -> String {
    let server = Redis::start().await;
    let mut gauge = Gauge::of(&server).await;
    let fleet = fleet(&server, 70, sharing).await;
    let mut calls = 0;
    call(&fleet, secs(2), &mut calls, |_| false).await;
    let (start, before, counts) = (Instant::now(), gauge.read().await, total(&fleet));
    let (mut last, mut highest, mut reached) = (before.sent, 0.0, 0);
    while start.elapsed() < secs(120) {
        let is_down = start.elapsed() < secs(30);
        let second = Instant::now();
        let calls_through = call(&fleet, secs(1), &mut calls, |_| is_down).await;
        reached += if is_down { calls_through } else { 0 };
        let sent = gauge.read().await.sent;
        highest = f64::max(highest, (sent - last) / second.elapsed().as_secs_f64());
        last = sent;
        if !is_down && fleet.iter().all(|member| member.state() == State::Closed) {
            break;
        }
    }
    let (took, after, ended) = (start.elapsed().as_secs_f64(), gauge.read().await, total(&fleet));
    let open = fleet.iter().filter(|member| member.state() != State::Closed).count();
    format!(
        "{:.1} kB/s out of Redis over {took:.0} s (highest second {:.1} kB/s, CPU {:.1} %), {} writes, {} names loaded, {reached} calls \
         to the dead service, {open} registries not closed at the end",
        (after.sent - before.sent) / 1000.0 / took,
        highest / 1000.0,
        100.0 * (after.cpu - before.cpu) / took,
        ended.0 - counts.0,
        ended.1 - counts.1
    )
}

async fn names(opens: bool) -> String {
    let server = Redis::start().await;
    let mut gauge = Gauge::of(&server).await;
    let names: Vec<String> = (0..10_000).map(|number| format!("circuit-{number}")).collect();
    let member = Member::start(&server, 0, Sharing::Advise, &names).await;
    if opens {
        while let Ok(permit) = member.circuits[0].try_acquire() {
            permit.record(Outcome::failure());
        }
    }
    pause(SETTLES).await;
    let (before, loads) = (gauge.read().await, member.store.counts());
    pause(secs(60)).await;
    let (after, ended) = (gauge.read().await, member.store.counts());
    assert_eq!(member.state() == State::Open, opens, "the circuit keeps its state while the names are counted");
    format!(
        "{} names in {} loads a minute, {:.2} % of a core of Redis, {:.1} kB/s out of Redis",
        ended.2 - loads.2,
        ended.1 - loads.1,
        100.0 * (after.cpu - before.cpu) / 60.0,
        (after.sent - before.sent) / 60_000.0
    )
}

async fn idle() -> String {
    let server = Redis::start().await;
    let fleet = fleet(&server, 20, Sharing::Advise).await;
    let before = total(&fleet);
    pause(secs(120)).await;
    let after = total(&fleet);
    format!("{} writes of 20 registries in 120 s, {} names loaded", after.0 - before.0, after.1 - before.1)
}

/// Opens one circuit after the other by the votes of two registries.
async fn spread() -> String {
    const REGISTRIES: usize = 20;
    const ROUNDS: usize = 100;
    let server = Redis::start().await;
    let names: Vec<String> = (0..ROUNDS).map(|round| format!("payments-{round}")).collect();
    let (sender, mut opened) = unbounded_channel();
    let mut fleet = Vec::new();
    for number in 0..REGISTRIES {
        fleet.push(Member::observed(&server, number, Sharing::Quorum, &names, Some(sender.clone())).await);
    }
    // Until then each registry has read the heartbeats of the others.
    pause(secs(25)).await;
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    for (round, name) in names.iter().enumerate() {
        for voter in &fleet[..2] {
            while let Ok(permit) = voter.circuits[round].try_acquire() {
                permit.record(Outcome::failure());
            }
        }
        let mut times = Vec::new();
        while times.len() < REGISTRIES - 2 {
            let (circuit, at) = opened.recv().await.expect("the registries keep a sender");
            times.extend((circuit == *name).then_some(at));
        }
        let first = times.iter().min().expect("there are others");
        let decided = fleet[..2].iter().filter_map(|voter| voter.store.last_write(name, *first)).max();
        let decided = decided.expect("a voter has decided");
        let after = |at: &Instant| at.saturating_duration_since(decided).as_secs_f64() * 1e3;
        firsts.push(times.iter().map(after).fold(f64::MAX, f64::min));
        lasts.push(times.iter().map(after).fold(0.0, f64::max));
        pause(Duration::from_millis(200)).await;
    }
    firsts.sort_by(f64::total_cmp);
    lasts.sort_by(f64::total_cmp);
    format!(
        "{ROUNDS} openings of {REGISTRIES} registries; ms after the start of the write of the quorum: the first opens at {:.2} \
         (median), the last at {:.2} (median), {:.2} (p99), {:.2} (longest)",
        firsts[ROUNDS / 2],
        lasts[ROUNDS / 2],
        lasts[ROUNDS * 99 / 100 - 1],
        lasts[ROUNDS - 1]
    )
}

/// Loads 10 000 names, a thousand names ten times, so that the server needs little memory.
async fn loads() -> String {
    let server = Redis::start().await;
    let mut gauge = Gauge::of(&server).await;
    let store = server.store();
    let mut parts = Vec::new();
    for (text, length) in [("absent", 0), ("450 B", 450), ("26 KB", 26_000)] {
        let names: Vec<String> = (0..1000).map(|number| format!("{length}-{number}")).collect();
        for name in names.iter().filter(|_| length > 0) {
            let write =
                Write { name: name.clone(), expected: None, bytes: vec![b'x'; length], ttl: None, hint: Hint::Any };
            store.compare_and_set(&write).await.expect("the server answers");
        }
        let (start, before) = (Instant::now(), gauge.read().await);
        for _ in 0..10 {
            let loaded = store.load_many(&names).await.expect("the server answers");
            assert!(loaded.entries.iter().all(|entry| entry.is_some() == (length > 0)), "every name is answered");
        }
        let after = gauge.read().await;
        parts.push(format!(
            "{text}: {:.0} commands, {:.2} µs of CPU a name, {:.1} MB, {:.0} ms",
            after.commands - before.commands,
            1e6 * (after.cpu - before.cpu) / 10_000.0,
            (after.sent - before.sent) / 1e6,
            start.elapsed().as_secs_f64() * 1e3
        ));
    }
    format!("10 000 names; {}", parts.join("; "))
}

/// The writes and the loaded names of all registries.
fn total(fleet: &[Member]) -> (u64, u64) {
    fleet
        .iter()
        .map(|member| member.store.counts())
        .fold((0, 0), |sum, (writes, _, names)| (sum.0 + writes, sum.1 + names))
}

/// Reads the counts of the server over one connection, which has no time limit, because a busy server answers late.
struct Gauge(MultiplexedConnection);

/// The counts of the server since its start.
struct Counts {
    /// Bytes that the server has sent to all clients.
    sent: f64,
    /// Commands, with those of scripts.
    commands: f64,
    /// Seconds of CPU, of user and system.
    cpu: f64,
}

impl Gauge {
    async fn of(server: &Redis) -> Self {
        let client = redis::Client::open(server.url()).expect("an address of the harness");
        let settings = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        Self(client.get_multiplexed_async_connection_with_config(&settings).await.expect("the server runs"))
    }

    async fn read(&mut self) -> Counts {
        let mut text = String::new();
        for section in ["stats", "cpu"] {
            let mut info = redis::cmd("INFO");
            let answer = self.0.send_packed_command(info.arg(section)).await.expect("the server answers");
            text += &redis::from_redis_value::<String>(answer).expect("text");
        }
        let number = |field: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.and_then(|number| number.trim().parse().ok()).expect("the server has this count")
        };
        Counts {
            sent: number("total_net_output_bytes"),
            commands: number("total_commands_processed"),
            cpu: number("used_cpu_user") + number("used_cpu_sys"),
        }
    }
}

async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The time after which every registry has its watch and has loaded its circuits again.
const SETTLES: Duration = secs(5);
