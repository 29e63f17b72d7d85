//! Who sees calls that hang: the calls that come, and without them a status, a refresh and a list of circuits.

use std::sync::mpsc;

use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::{Circuit, Registry, State};

use super::{begin, slow_rule};
use crate::rig::{admit, millis, reject, rig, secs, settings, why};

/// The state without a status, which would look.
fn unseen(circuit: &Circuit) -> bool {
    circuit.would_admit() && circuit.totals().rejected == 0
}

#[test]
fn the_first_call_after_a_bucket_sees_calls_that_hang_and_is_rejected() {
    let (circuit, clock) = rig(slow_rule);
    let _under_way = begin(&circuit, 20);
    clock.advance(millis(2_199));
    drop(admit(&circuit));
    clock.advance(millis(1));
    assert!(unseen(&circuit));
    assert_eq!(reject(&circuit).why().unwrap().reason.as_str(), "slow_call_rate");
    assert_eq!(circuit.totals().rejected, 1);
}

#[test]
fn a_refresh_of_the_metrics_sees_calls_that_hang() {
    let (seen, events) = mpsc::channel();
    let observer = observer_fn(move |_, event| {
        if let Event::Transition(edge) = event {
            seen.send(edge.to.to_string()).unwrap();
        } else if let Event::Refresh { standing, hanging, .. } = event {
            seen.send(format!("{standing} {hanging:?}")).unwrap();
        }
    });
    let (circuit, clock) = rig(|settings| slow_rule(settings).observer(observer));
    let mut under_way = begin(&circuit, 19);
    clock.advance(millis(2_200));
    circuit.refresh_metrics();
    under_way.extend(begin(&circuit, 20));
    clock.advance(millis(2_200));
    assert!(unseen(&circuit));
    circuit.refresh_metrics();
    let expected = ["closed Some(0)", "closed Some(19)", "open", "open Some(0)"];
    assert_eq!(events.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_refresh_of_the_registry_sees_calls_that_hang() {
    let (clock, registry) = (tower_circuit_breaker::clock::MockClock::new(), Registry::new());
    let circuit = registry.circuit(slow_rule(settings(&clock)).build().unwrap()).unwrap();
    let _under_way = begin(&circuit, 20);
    clock.advance(millis(2_200));
    registry.refresh_metrics();
    assert!(!circuit.would_admit());
}

#[test]
fn a_circuit_without_the_rule_shows_no_hanging_calls() {
    let (seen, shown) = mpsc::channel();
    let observer = observer_fn(move |_, event| {
        if let Event::Refresh { hanging, .. } = event {
            seen.send(*hanging).unwrap();
        }
    });
    let (circuit, clock) = rig(|settings| settings.observer(observer));
    let _under_way = begin(&circuit, 100);
    clock.advance(secs(3_600));
    circuit.refresh_metrics();
    assert_eq!((circuit.status().hanging, circuit.status().state), (0, State::Closed));
    assert_eq!(shown.try_iter().collect::<Vec<_>>(), [None, None]);
}

#[test]
fn a_status_says_how_many_slow_calls_are_under_way() {
    let (circuit, clock) = rig(slow_rule);
    let mut under_way = begin(&circuit, 1);
    clock.advance(millis(2_200));
    let sentence =
        "circuit `payments` is closed; 1 slow call is still under way; calls: 0 succeeded, 0 failed, 0 rejected";
    assert_eq!(circuit.status().to_string(), sentence);
    under_way.extend(begin(&circuit, 2));
    clock.advance(millis(2_200));
    assert!(circuit.status().to_string().contains("; 3 slow calls are still under way; "));
    under_way.extend(begin(&circuit, 20));
    clock.advance(millis(2_200));
    let status = circuit.status();
    assert_eq!((status.hanging, status.state, status.slow_call_rate), (0, State::Open, None), "another era");
    assert_eq!(
        why(&circuit).to_string(),
        "23 of 23 calls took 2 s or more, 23 of them are still under way: 100 %, the limit is 50 %"
    );
}
