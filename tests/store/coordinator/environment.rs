//! A circuit that the environment disables, and a store that says it is open.

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::{Outcome, State};

use crate::rig::{
    Instance, alice, audited, call, fail, memory, millis, pass, passes_under_the_kill_switch, record, secs, settings,
};

const KILLED: &str = "killed-by-the-environment";

/// Variables of the own process cannot be set, other tests read them at the same time.
#[test]
fn the_kill_switch_outranks_the_store_and_publishes_nothing() {
    let name = "coordinator::environment::under_the_kill_switch";
    passes_under_the_kill_switch(name, KILLED);
}

#[tokio::test(start_paused = true)]
async fn under_the_kill_switch() {
    // Proves something only as the child of the test above, whose environment names the circuit.
    if std::env::var("CIRCUIT_BREAKER_DISABLED").as_deref() != Ok(KILLED) {
        return;
    }
    let store = memory();
    let config = || settings(KILLED).build().unwrap();
    let a = Instance::with(&store, "a", Sharing::Advise, config()).await;
    assert!(a.circuit.status().bypassed);
    call(&a.circuit, 20, Outcome::failure());
    pass(secs(60)).await;
    let written = record(&store, KILLED).await.unwrap();
    assert_eq!((written.state, written.generation.get()), (State::Closed, 0), "nothing but totals");
    assert!(written.failure_count < 0.1, "no evidence");
    assert!(audited(&store).await.is_empty());
    a.circuit.trip(&alice(), None);
    pass(millis(100)).await;
    let b = Instance::with(&store, "b", Sharing::Follow, config()).await;
    assert!(b.circuit.try_acquire().is_ok(), "calls go through, whatever was restored");
    assert_eq!(audited(&store).await, ["trip a"]);
    // A circuit beside it is as ever.
    let other = b.registry.circuit(settings("payments").build().unwrap()).unwrap();
    fail(&other, 5);
    pass(millis(100)).await;
    assert_eq!(record(&store, "payments").await.unwrap().state, State::Open);
}
