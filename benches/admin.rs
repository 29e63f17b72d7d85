//! What the list of the page costs: all of it, for 10 000 circuits with a transition each, and for whoever makes calls beside it.
//!
//! The goal for the list is 100 ms. It is made on one thread of a runtime; the calls are made on another, as a server's are.

#[path = "harness/cli.rs"]
mod cli;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use tower::ServiceExt;
use tower_circuit_breaker::{By, Circuit, Config, Outcome, Registry, admin};

use cli::{Options, print_table, quantile};

const CIRCUITS: usize = 10_000;

fn main() {
    let options = Options::from_args();
    let registry = Registry::with_limit(CIRCUITS);
    let by = By::new("alice", "a bench").expect("both are words");
    for number in 0..CIRCUITS {
        let config = Config::builder(&format!("service-{number}")).without_shipped_observers().build();
        let circuit = registry.circuit(config.expect("settings can work")).expect("there is room");
        if number % 100 == 0 {
            circuit.trip(&by, None);
        }
    }
    let router: Router = admin::router(&registry).read_only_without_auth().build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let list = || {
        let start = Instant::now();
        let request = http::Request::get("/api/circuits").body(Body::empty()).expect("it is a request");
        let body = runtime.block_on(async {
            let answer = router.clone().oneshot(request).await.expect("it does not fail");
            to_bytes(answer.into_body(), usize::MAX).await.expect("it is in memory")
        });
        (start.elapsed(), body.len())
    };
    if options.wants("list") {
        let mut lists: Vec<_> = (0..options.rounds).map(|_| list().0.as_secs_f64() * 1e3).collect();
        let [p10, median, p90] = [0.1, 0.5, 0.9].map(|share| cell(quantile(&mut lists, share)));
        let row = vec!["10 000 circuits".to_owned(), median, p10, p90, (list().1 / 1024).to_string()];
        print_table(&["list", "ms", "p10", "p90", "KiB"], &[row]);
    }
    if !options.wants("call") {
        return;
    }
    let called = registry.get("service-1").expect("it was made");
    let alone = calls(&called, options.rounds);
    // Work of that size which touches no circuit: the machine's share of what a call then costs more.
    let other = beside(&called, options.rounds, || drop(black_box(vec![1_u8; 6 << 20])));
    let lists = beside(&called, options.rounds, || {
        black_box(list());
    });
    let rows = [("alone", alone), ("beside work without circuits", other), ("beside lists without a pause", lists)];
    print_table(&["call", "ns"], &rows.map(|(name, price)| vec![name.to_owned(), cell(price)]));
}

/// Returns what a call costs while this thread does something else all the time.
fn beside(circuit: &Circuit, rounds: usize, work: impl Fn()) -> f64 {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let price = calls(circuit, rounds);
            done.store(true, Ordering::Relaxed);
            price
        });
        while !done.load(Ordering::Relaxed) {
            work();
        }
        calls.join().expect("calls do not panic")
    })
}

/// Returns what a call costs, in nanoseconds: the median of short rounds.
fn calls(circuit: &Circuit, rounds: usize) -> f64 {
    let round = || {
        let (start, mut made) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_millis(5) {
            for _ in 0..1_000 {
                circuit.try_acquire().expect("it is closed").record(Outcome::Success);
            }
            made += 1_000;
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(made)
    };
    quantile(&mut (0..rounds).map(|_| round()).collect::<Vec<_>>(), 0.5)
}

fn cell(number: f64) -> String {
    format!("{number:.1}")
}
