//! Openings of one instance that last longer than those of its fleet, over a kill of the instance.

use tower_circuit_breaker::OpenDuration;

use super::leases::probe;
use super::probes::fleet;
use super::*;

/// Starts an instance whose openings last for a minute.
async fn slow(store: &(impl Store + Clone)) -> Instance {
    let config = settings("payments").open_for(OpenDuration::fixed(secs(60))).build().unwrap();
    Instance::with(store, "slow", Sharing::Quorum, config).await
}

/// Kills the instance when the store has everything, and returns its next start.
async fn killed(one: Instance, store: &(impl Store + Clone)) -> Instance {
    assert_eq!(one.registry.store_status().unwrap().unsaved, 0);
    drop(one);
    slow(store).await
}

fn left(one: &Instance) -> Duration {
    one.circuit.status().retry_after.unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_longer_opening_outlasts_a_kill_in_the_next_round_of_the_fleet() {
    let store = memory();
    let slow = slow(&store).await;
    let [a, b, _c] = three(&store).await;
    fail(&slow.circuit, 5);
    pass(millis(300)).await;
    fail(&a.circuit, 5);
    pass(secs(7)).await;
    let under_way = probe(&b).await;
    assert_eq!(fleet(&store).await.fleet.unwrap().state, State::HalfOpen);
    let before = left(&slow);
    assert!(before > secs(50), "{before:?}");
    let slow = killed(slow, &store).await;
    assert!(left(&slow) > secs(50), "{}", slow.circuit.status());
    drop(under_way);
}

#[tokio::test(start_paused = true)]
async fn a_longer_opening_after_a_failed_probe_outlasts_a_kill() {
    let store = memory();
    let slow = slow(&store).await;
    let [a, b, _c] = three(&store).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(millis(5_100)).await;
    assert!(adopted(&slow.circuit));
    // The opening of the fleet is over, and one instance after the other fails its probe.
    probe(&slow).await.failure(Failure::hard());
    pass(millis(100)).await;
    probe(&b).await.failure(Failure::hard());
    pass(millis(300)).await;
    let decided = fleet(&store).await.fleet.unwrap();
    assert_eq!((decided.state, &*decided.instance), (State::Open, "b"));
    assert!(left(&slow) > secs(50), "{}", slow.circuit.status());
    let slow = killed(slow, &store).await;
    assert!(left(&slow) > secs(50), "{}", slow.circuit.status());
}
