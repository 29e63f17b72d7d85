//! The ramp of a fleet: all instances close in the same moment, and have the same share at the same time.

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::{Circuit, Failure, State};

use super::{state, three};
use crate::rig::{Instance, alice, fail, memory, millis, pass, secs};

/// Lets the fleet open, and the first instance probe until the fleet has closed.
async fn open_and_close(instances: &[Instance; 3]) {
    fail(&instances[0].circuit, 5);
    fail(&instances[1].circuit, 5);
    pass(millis(100)).await;
    assert!(instances.iter().all(|instance| state(&instance.circuit) == State::Open));
    for _ in 0..1_000 {
        if let Ok(permit) = instances[0].circuit.try_acquire() {
            permit.success();
        }
        pass(millis(10)).await;
        if instances.iter().all(|instance| state(&instance.circuit) == State::Closed) {
            return;
        }
    }
    panic!("the fleet does not close");
}

fn ramp_left(instance: &Instance) -> Duration {
    instance.circuit.status().ramp_left.expect("it ramps")
}

/// Makes calls that fail until one is admitted.
fn fail_one(circuit: &Circuit) {
    let permit = (0..10_000).find_map(|_| circuit.try_acquire().ok()).expect("a share is admitted");
    permit.failure(Failure::hard());
}

#[tokio::test(start_paused = true)]
async fn all_instances_of_a_fleet_ramp_together_after_a_closing() {
    let store = memory();
    let instances = three(&store).await;
    open_and_close(&instances).await;
    let lefts = || instances.each_ref().map(ramp_left);
    // The reason of the prober is its last probe or the fleet, and its ramp is that of the others.
    assert_eq!(instances[1].circuit.status().transitions.last().unwrap().reason, Reason::Fleet);
    assert!(lefts().iter().all(|left| (secs(9)..=secs(10)).contains(left)), "{:?}", lefts());
    pass(secs(5)).await;
    let (least, most) = (lefts().into_iter().min().unwrap(), lefts().into_iter().max().unwrap());
    assert!(most - least < millis(100), "{:?}", lefts());
    pass(secs(5)).await;
    assert!(instances.iter().all(|instance| instance.circuit.status().ramp_left.is_none()), "10 s by default");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_restarts_in_the_ramp_of_its_fleet_goes_on_with_it() {
    let store = memory();
    let [a, b, c] = three(&store).await;
    let instances = [a, b, c];
    open_and_close(&instances).await;
    pass(secs(3)).await;
    let others = ramp_left(&instances[0]);
    let [_a, _b, c] = instances;
    c.end().await;
    let c = Instance::start(&store, "c", Sharing::Quorum).await;
    let left = ramp_left(&c);
    assert!(left <= others && left > others - secs(1), "{left:?} of {others:?}");
}

#[tokio::test(start_paused = true)]
async fn relapses_in_a_ramp_are_votes() {
    let store = memory();
    let instances = three(&store).await;
    open_and_close(&instances).await;
    for instance in &instances[..2] {
        fail_one(&instance.circuit);
        fail_one(&instance.circuit);
        let why = instance.circuit.status().transitions.pop().unwrap().reason;
        assert!(matches!(why, Reason::Relapsed { .. }), "{why:?}");
    }
    pass(millis(100)).await;
    assert_eq!(state(&instances[2].circuit), State::Open, "two votes open the fleet");
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_resets_a_fleet_begins_no_ramp() {
    let store = memory();
    let instances = three(&store).await;
    fail(&instances[0].circuit, 5);
    fail(&instances[1].circuit, 5);
    pass(millis(100)).await;
    instances[0].registry.reset("payments", &alice(), To::Closed, true).await.unwrap();
    pass(secs(2)).await;
    for instance in &instances {
        assert_eq!((state(&instance.circuit), instance.circuit.status().ramp_left), (State::Closed, None));
    }
    let [_a, _b, c] = instances;
    c.end().await;
    let c = Instance::start(&store, "c", Sharing::Quorum).await;
    assert_eq!(c.circuit.status().ramp_left, None, "a restart neither");
}
