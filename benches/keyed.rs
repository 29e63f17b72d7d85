//! What it costs to have a circuit per key: the call, beside one circuit for all, and the memory.
//!
//! The keyed callers go through all keys in an order of their own, so that at 100 000 keys most circuits are not in a cache. Each
//! caller begins at another key.

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/cli.rs"]
mod cli;
#[path = "harness/threads.rs"]
mod threads;

use std::borrow::Cow;
use std::cell::Cell;

use tower::Layer;
use tower_circuit_breaker::keyed::Keyed;
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Config, Registry};

use calls::{answer, call_from, call_through, inner};
use cli::{Options, print_table};
use threads::{Contest, THROUGHPUT_HEADER, throughput_rows};

type ByNumber = Box<dyn Fn(&u64) -> Option<Cow<'_, str>> + Send + Sync>;

fn main() {
    let options = Options::from_args();
    // First, before anything else has grown the process; the small one first, as what is freed is not given back.
    if options.wants("memory") {
        print_table(
            &["memory", "circuits", "KiB", "bytes a circuit"],
            &[memory(1_000_000, 10_000), memory(100_000, 100_000)],
        );
    }
    let mut contest = Contest::default();
    contest.case("bare service_fn", || |calls| call_through(&mut inner(answer), calls));
    let circuit =
        Circuit::new(Config::builder("bench").without_shipped_observers().build().expect("settings can work"));
    let shared = CircuitBreakerLayer::new(&circuit);
    contest.case("one circuit for all", move || {
        let mut service = shared.layer(inner(answer));
        move |calls| call_through(&mut service, calls)
    });
    for keys in [1, 1_000, 100_000].into_iter().filter(|_| options.wants("keys")) {
        let layer = CircuitBreakerLayer::keyed(by_number(keys, keys));
        let next = Cell::new(0);
        contest.case(&format!("{keys} keys"), move || {
            let mut service = layer.layer(inner(answer));
            let mut from = next.replace(next.get() + APART);
            move |calls| {
                call_from(&mut service, from, calls);
                from += calls;
            }
        });
    }
    print_table(&THROUGHPUT_HEADER, &throughput_rows(&contest.measure(&options)));
}

/// The circuits of numbered keys, all of them met before.
fn by_number(keys: usize, max: usize) -> Keyed<ByNumber> {
    let names: Vec<String> = (0..keys).map(|n| format!("host-{n}.example.com")).collect();
    // Leaked, so that a key can be lent to any request.
    let names: &'static [String] = names.leak();
    let by: ByNumber = Box::new(|request| {
        // A prime step goes through all of them, far from one to the next.
        let at = usize::try_from(request.wrapping_mul(STEP) % names.len() as u64).expect("it is below a length");
        Some(Cow::Borrowed(&*names[at]))
    });
    let settings = Config::builder("bench").without_shipped_observers();
    let keyed = Keyed::builder(&Registry::with_limit(max), move |_| settings.clone()).prefix("k:").max_keys(max);
    let keyed = keyed.by(by).expect("settings can work");
    for name in names {
        keyed.circuit(name).expect("all are at rest").try_acquire().expect("closed").success();
    }
    keyed
}

/// What so many distinct keys take under that cap, once each has made a call.
fn memory(keys: usize, max: usize) -> Vec<String> {
    let registry = Registry::with_limit(max);
    let settings = Config::builder("bench").without_shipped_observers();
    let keyed = Keyed::builder(&registry, move |_| settings.clone()).prefix("k:").max_keys(max);
    let keyed = keyed.by(|request: &String| Some(Cow::Borrowed(request))).expect("settings can work");
    let before = resident();
    for n in 0..keys {
        keyed
            .circuit(&format!("host-{n}.example.com"))
            .expect("all are at rest")
            .try_acquire()
            .expect("closed")
            .success();
    }
    let (grown, circuits) = (resident().saturating_sub(before), keyed.status().keys);
    let name = format!("{keys} keys, at most {max}");
    vec![name, circuits.to_string(), (grown / 1024).to_string(), (grown / circuits).to_string()]
}

/// Resident memory in bytes; zero where there is no `/proc`.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

const STEP: u64 = 7_919;
/// How far from each other the callers begin.
const APART: u64 = 50_021;
