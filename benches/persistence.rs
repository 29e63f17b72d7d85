//! What persistence costs a call while the store hangs (nothing, it should be), how often a failing circuit writes, and how long
//! an opening takes to another instance.

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/cli.rs"]
mod cli;
#[expect(dead_code, reason = "only the bench of the traffic needs the times of writes")]
#[path = "harness/counting.rs"]
mod counting;
#[path = "harness/hanging.rs"]
mod hanging;
#[path = "harness/rounds.rs"]
mod rounds;
#[cfg(all(feature = "postgres", feature = "redis"))]
#[path = "harness/servers.rs"]
mod servers;
#[path = "harness/spread.rs"]
mod spread;

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tower::Layer;
use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::store::MemoryStore;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Failure, OpenDuration, Registry};

use calls::{answer, call_through, inner};
use cli::{Options, print_table};
use counting::Counting;
use hanging::Hanging;
use rounds::{PRICE_HEADER, Price, Rounds, price_rows};

fn main() {
    let options = Options::from_args();
    if options.wants("call") {
        beside_a_hanging_store(&options);
    }
    if options.wants("writes") {
        print_table(&["a minute", "calls", "failures", "writes", "loads"], &[quiet(), failing(), down(), flapping()]);
    }
    if options.wants("spread") {
        spread_of_a_trip(if options.rounds > 100 { 200 } else { 10 });
    }
}

/// The same calls through circuits of two registries, in turns: one without a store, one whose store never answers.
fn beside_a_hanging_store(options: &Options) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread can be had");
    let mut rounds = Rounds::default();
    let mut bare = inner(answer);
    rounds.case("bare service_fn", move |calls| call_through(&mut bare, calls));
    for opens in [false, true] {
        for hangs in [false, true] {
            let (registry, circuit) = registry(&runtime, hangs);
            if opens {
                open(&circuit);
            }
            let layer = CircuitBreakerLayer::new(&circuit).typed_errors();
            let mut service = layer.layer(inner(answer));
            let what = if opens { "rejected call" } else { "closed call" };
            let store = if hangs { "store hangs" } else { "no store" };
            rounds.case(&format!("{what}, {store}"), move |calls| {
                assert_eq!(registry.circuits().len(), 1, "the registry lives as long as it is measured");
                call_through(&mut service, calls);
            });
        }
    }
    let prices = rounds.measure(options);
    print_table(&PRICE_HEADER, &price_rows(&prices));
    let ratio = |of: &str| {
        let median = |store: &str| prices.iter().find(|price: &&Price| price.name == format!("{of}, {store}"));
        let (hangs, none) = (median("store hangs")?, median("no store")?);
        Some(vec![of.to_owned(), format!("{:.2}", hangs.median / none.median), "1.10".to_owned()])
    };
    let ratios: Vec<_> = ["closed call", "rejected call"].into_iter().filter_map(ratio).collect();
    print_table(&["store hangs : no store", "measured", "goal, at most"], &ratios);
    drop(runtime);
}

fn registry(runtime: &Runtime, hangs: bool) -> (Registry, Circuit) {
    let builder = if hangs { Registry::builder().store(Hanging) } else { Registry::builder() };
    let registry = builder.build().expect("settings that can work");
    let circuit = registry.circuit(settings().build().expect("settings that can work")).expect("there is room");
    let _inside = runtime.enter();
    registry.start().expect("inside a runtime");
    (registry, circuit)
}

/// Opens it by its own rule, for longer than any bench takes.
fn open(circuit: &Circuit) {
    while let Ok(permit) = circuit.try_acquire() {
        permit.failure(Failure::hard());
    }
}

fn settings() -> ConfigBuilder {
    Config::builder("bench").without_shipped_observers().open_for(OpenDuration::fixed(Duration::from_secs(3600)))
}

/// Two failures in ten calls, ten calls a second: below every threshold, and never the same count twice.
fn failing() -> Vec<String> {
    minutes("fails below the threshold", |config| config, |at| at % 5 == 0)
}

/// Every call fails, under the default settings: open for 5 s at first and for 60 s in the end.
fn down() -> Vec<String> {
    minutes("every call fails", |config| config.open_for(OpenDuration::default()), |_| true)
}

/// Every call fails; open for a second, then a probe that fails.
fn flapping() -> Vec<String> {
    let brief = OpenDuration::fixed(Duration::from_secs(1)).jitter(0.0);
    minutes("every call fails, open for 1 s at a time", move |config| config.open_for(brief), |_| true)
}

fn quiet() -> Vec<String> {
    minutes("every call succeeds", |config| config, |_| false)
}

/// Plays ten minutes of ten calls a second in virtual time, and returns what one minute comes to.
fn minutes(name: &str, set: impl FnOnce(ConfigBuilder) -> ConfigBuilder, fails: fn(u64) -> bool) -> Vec<String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("no thread is needed");
    let (calls, failures, (writes, loads, _)) = runtime.block_on(async {
        let store = Counting::new(MemoryStore::with_clock(TokioClock::new()));
        let registry = Registry::builder().store(store.clone()).build().expect("settings that can work");
        let config = set(settings().clock(TokioClock::new())).build().expect("settings that can work");
        let circuit = registry.circuit(config).expect("there is room");
        assert!(registry.restore(Duration::from_secs(1)).await.expect("a runtime").is_complete(), "it is in memory");
        let (mut calls, mut failures) = (0, 0);
        for at in 0..MINUTES * 600 {
            if let Ok(permit) = circuit.try_acquire() {
                calls += 1;
                failures += u32::from(fails(at));
                if fails(at) { permit.failure(Failure::hard()) } else { permit.success() }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (calls, failures, store.counts())
    });
    let a_minute = |count: u64| format!("{:.1}", f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / 10.0);
    vec![name.to_owned(), a_minute(calls), a_minute(failures.into()), a_minute(writes), a_minute(loads)]
}

fn spread_of_a_trip(trips: usize) {
    let folder = std::env::temp_dir().join(format!("breaker-bench-{}", std::process::id()));
    let mut rows = vec![
        spread::row("file", &format!("file:{}/files", folder.display()), trips),
        spread::row("SQLite", &format!("sqlite://{}/bench.db", folder.display()), trips),
    ];
    std::fs::remove_dir_all(&folder).ok();
    on_servers(trips, &mut rows);
    print_table(&spread::HEADER, &rows);
}

#[cfg(all(feature = "postgres", feature = "redis"))]
fn on_servers(trips: usize, rows: &mut Vec<Vec<String>>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
    if servers::is_installed("redis-server") {
        let server = runtime.block_on(servers::redis::Redis::start());
        rows.push(spread::row("Redis", &server.url(), trips));
    }
    if servers::is_installed("postgres") {
        let server = runtime.block_on(servers::postgres::Postgres::start());
        rows.push(spread::row("PostgreSQL, fsync off", &server.url(), trips));
    }
}

#[cfg(not(all(feature = "postgres", feature = "redis")))]
fn on_servers(_: usize, _: &mut Vec<Vec<String>>) {
    println!("Redis and PostgreSQL need the features `redis` and `postgres`.\n");
}

const MINUTES: u64 = 10;
