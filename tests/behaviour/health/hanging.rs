//! The runner of a health probe sees calls that hang while no other call comes.

use tower_circuit_breaker::State;

use super::EVERY;
use super::service::{Service, circuit, pass};
use crate::rig::{millis, no_rules, secs};

#[tokio::test(start_paused = true)]
async fn a_runner_opens_a_circuit_whose_calls_hang_while_no_call_comes() {
    let rules = |settings| no_rules(settings).slow_call_rate(0.5).slower_than(secs(2)).min_calls(20);
    let (circuit, service) = (circuit(rules), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    pass(secs(60)).await;
    let under_way: Vec<_> = (0..20).map(|_| circuit.try_acquire().unwrap()).collect();
    assert_eq!(service.checks(), 0, "a closed circuit is not checked");
    // `totals` makes no change, unlike a status.
    pass(millis(1_999)).await;
    assert!(circuit.would_admit());
    pass(millis(2_300)).await;
    let edges = circuit.status().transitions;
    assert_eq!(edges[0].reason.as_str(), "slow_call_rate", "within twice slower_than and a bucket");
    // The endpoint is healthy, so that the next calls probe after the next check, whose interval has a jitter.
    pass(2 * EVERY).await;
    assert_eq!((edges[0].to.state, circuit.status().state), (State::Open, State::HalfOpen));
    drop(under_way);
}

#[tokio::test(start_paused = true)]
async fn a_runner_without_the_rule_sleeps_while_the_circuit_is_closed() {
    let (circuit, service) = (circuit(|settings| settings), Service::up());
    tokio::spawn(service.probe(&circuit, EVERY).run().unwrap());
    let _under_way: Vec<_> = (0..100).map(|_| circuit.try_acquire().unwrap()).collect();
    pass(secs(3_600)).await;
    assert_eq!((circuit.status().transitions.len(), service.checks()), (0, 0));
}
