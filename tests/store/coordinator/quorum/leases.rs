//! The leases of a fleet over time: probes that take long, and leases that end before a call comes.

use tower_circuit_breaker::Outcome;
use tower_circuit_breaker::circuit::Permit;
use tower_circuit_breaker::record::Lease;

use super::probes::{Calls, are_closed, circuits, fleet, opened};
use super::*;

/// Waits for the end of the opening, and gives a lease to the instance.
pub(super) async fn lend(one: &Instance) {
    assert!(one.circuit.try_acquire().is_err(), "the first call is the demand");
    pass(millis(300)).await;
}

/// Begins the probe of the instance, after the end of the opening.
pub(super) async fn probe(one: &Instance) -> Permit {
    lend(one).await;
    one.circuit.try_acquire().unwrap()
}

/// The lease of an instance in the store.
pub(super) async fn lease(store: &impl Store, id: &str) -> Lease {
    fleet(store).await.instances[id].lease.clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_keeps_its_lease_while_the_other_instances_call() {
    for takes in [12_000, 20_000, 29_000] {
        let store = memory();
        let instances = opened(&store).await;
        let mut calls = Calls::default();
        let took =
            calls.run(&circuits(&instances), takes, 2_400, |_| Outcome::Success, || are_closed(&instances)).await;
        assert_eq!(calls.most_at_once, 1, "probes of {takes} ms");
        // The closing reaches the instances within a step.
        assert!((3..=5).contains(&calls.reached), "{} probes of {takes} ms", calls.reached);
        assert!(took < 7_000 + 3 * takes, "three probes of {takes} ms took {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_probe_counts_after_its_deadline_too() {
    let store = memory();
    let [a, b, _c] = opened(&store).await;
    pass(millis(4_600)).await;
    let slow = probe(&a).await;
    for _ in 0..296 {
        pass(millis(100)).await;
        assert!(b.circuit.try_acquire().is_err(), "the probe of the other instance is under way");
    }
    // The check that finds the overdue probe comes within a second.
    pass(secs(2)).await;
    assert!(lease(&store, "a").await.overdue);
    let next = b.circuit.try_acquire().unwrap();
    slow.success();
    pass(millis(100)).await;
    let late = lease(&store, "a").await;
    assert_eq!((late.passed, late.overdue), (1, false));
    next.success();
    pass(millis(100)).await;
    assert_eq!(lease(&store, "b").await.passed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_allows_no_probe_beside_that_of_another_instance() {
    let store = memory();
    let [a, b, _c] = opened(&store).await;
    pass(millis(4_600)).await;
    lend(&a).await;
    pass(secs(11)).await;
    let other = probe(&b).await;
    pass(millis(100)).await;
    assert!(a.circuit.try_acquire().is_err(), "the lease of a has lapsed, and b probes");
    other.success();
    let instances = [a, b];
    let mut calls = Calls::default();
    calls.run(&circuits(&instances), 100, 40, |_| Outcome::Success, || are_closed(&instances)).await;
    assert!(are_closed(&instances), "the round goes on: {:?}", fleet(&store).await);
    assert_eq!(calls.most_at_once, 1);
}

#[tokio::test(start_paused = true)]
async fn a_passive_probe_on_a_lapsed_lease_ends_when_another_instance_probes() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    succeed(&c.circuit, 3);
    pass(secs(1)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(4)).await;
    succeed(&c.circuit, 1);
    pass(millis(2_500)).await;
    assert!(lease(&store, "c").await.until.is_some(), "the declining instance has a lease");
    pass(secs(11)).await;
    let other = probe(&a).await;
    pass(millis(100)).await;
    succeed(&c.circuit, 1);
    pass(secs(2)).await;
    assert_eq!(lease(&store, "c").await.passed, 0, "a probes");
    other.success();
    pass(millis(100)).await;
    assert_eq!(lease(&store, "a").await.passed, 1);
}
