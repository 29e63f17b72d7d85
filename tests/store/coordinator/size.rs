//! Many circuits: what they cost is printed, not judged.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::store::Operation;

use crate::rig::{builder, fail, faulty, pass, secs, settings, state};

#[expect(clippy::disallowed_methods, reason = "it measures what a test costs")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_circuits_are_restored_polled_and_flushed() {
    const MANY: usize = 10_000;
    let memory = || std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<usize>().ok();
    let pages =
        |before: Option<usize>| before.zip(memory()).map(|(before, after)| after.saturating_sub(before) * 4096 / MANY);
    let store = faulty();
    let registry = builder(&store, "a").limit(MANY).audit_waiting(2 * MANY).build().unwrap();
    let config = |n: usize| settings(&format!("service-{n}")).without_shipped_observers().build().unwrap();
    let circuits: Vec<_> = (0..MANY).map(|n| registry.circuit(config(n)).unwrap()).collect();
    let measured = |what: &str, since: std::time::Instant| println!("{what}: {:?}", since.elapsed());
    let (before, small) = (clock(), memory());
    assert!(registry.restore(secs(30)).await.unwrap().is_complete());
    measured("restore", before);
    println!("bytes a desk, about (alone in the process): {:?}", pages(small));
    let before = clock();
    pass(secs(60)).await;
    measured("a quiet minute", before);
    let before = clock();
    circuits.iter().for_each(|circuit| fail(circuit, 5));
    let report = registry.shutdown(Duration::from_secs(60)).await;
    assert!(report.is_complete(), "{} {}", report.unsaved.len(), report.audit_rows);
    measured("all open, and a shutdown", before);
    assert_eq!(store.faults().operations(Operation::CompareAndSet), MANY as u64);
    assert!(circuits.iter().all(|circuit| state(circuit) == State::Open));
}
