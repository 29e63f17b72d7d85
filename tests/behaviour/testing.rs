//! The help for tests of applications, closures as observers, and statuses for serde.

use std::sync::mpsc;

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::event::{Ended, Event, observer_fn};
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{Reason, RejectReason};
use tower_circuit_breaker::testing::{Recorded, Recorder, rejected, rejected_half_open};
use tower_circuit_breaker::{Circuit, Failure, Mode, State, Window};

use crate::rig::{admit, alice, close, reject, rig, secs, settings, state, succeed};

#[test]
fn a_circuit_opens_as_an_outage_opens_it() {
    let (circuit, clock) = rig(|settings| settings);
    let edge = circuit.fail_until_open();
    assert_eq!((edge.lasts, edge.failure), (Some(secs(5)), Some(FailureKind::Error)));
    assert!(matches!(edge.reason, Reason::ConsecutiveFailures { .. }));
    assert_eq!((reject(&circuit).retry_after(), circuit.standing().mode), (Some(secs(5)), Mode::Automatic));
    assert_eq!(circuit.fail_until_open(), edge, "open already");
    clock.advance(secs(5));
    admit(&circuit).ignore();
    assert_eq!(circuit.fail_until_open().lasts, Some(secs(10)), "a failed probe reopens");
    close(&circuit, &clock);
    let rate_only = rig(|settings| settings.without_consecutive_failures().window(Window::calls(100))).0;
    assert!(matches!(rate_only.fail_until_open().reason, Reason::FailureRate { .. }));
}

#[test]
fn a_circuit_that_is_open_already_gets_no_call_in_any_mode() {
    let modes: [fn(&Circuit); 4] = [
        |_| (),
        |circuit| drop(circuit.shadow(&alice())),
        |circuit| drop(circuit.disable(&alice(), None)),
        |circuit| drop(circuit.trip(&alice(), None)),
    ];
    for set_mode in modes {
        let recorder = Recorder::new();
        let (circuit, _clock) = rig(|settings| settings.observer(recorder.clone()));
        circuit.fail_until_open();
        set_mode(&circuit);
        let before = (circuit.status(), recorder.events());
        let edge = circuit.fail_until_open();
        assert_eq!(Some(&edge), before.0.transitions.last());
        assert_eq!((circuit.status(), recorder.events()), before);
    }
    let (shadow, _clock) = rig(ConfigBuilder::shadow);
    shadow.fail_until_open();
    assert_eq!(shadow.totals().failures, 5, "no more failures than open a circuit");
}

#[test]
#[should_panic(expected = "10000 failures do not open circuit `payments`: disabled")]
fn a_circuit_that_cannot_fail_does_not_open() {
    let (circuit, _) = rig(|settings| settings);
    circuit.disable(&alice(), None);
    circuit.fail_until_open();
}

#[test]
fn rejections_for_tests_have_name_reason_and_wait() {
    let open = rejected("orders", secs(7));
    assert_eq!((open.circuit(), open.reason(), open.retry_after()), ("orders", RejectReason::Tripped, Some(secs(7))));
    assert!(open.to_string().starts_with("circuit `orders` is open: failures in a row weighed 5.0"), "{open}");
    assert!(open.why().is_some());
    let half_open = rejected_half_open("orders");
    assert_eq!((half_open.reason(), half_open.retry_after()), (RejectReason::HalfOpen, None));
}

#[test]
fn a_recorder_remembers_transitions_and_calls() {
    let recorder = Recorder::new();
    let (circuit, clock) = rig(|settings| settings.observer(recorder.clone()));
    succeed(&circuit, 1);
    circuit.fail_until_open();
    reject(&circuit);
    close(&circuit, &clock);
    assert_eq!(recorder.standings(), ["open", "half_open", "closed"]);
    assert_eq!(recorder.transitions().len(), 3);
    assert_eq!(recorder.ended()[..2], [Ended::Success, Ended::Failure(Failure::hard())]);
    assert_eq!(recorder.rejections()[0], RejectReason::Tripped);
    assert!(recorder.events().contains(&("payments".to_owned(), Recorded::Rejected(RejectReason::Tripped))));
    recorder.clear();
    assert!(recorder.events().is_empty());
}

#[test]
fn a_closure_observes_transitions_and_calls_if_it_wants_them() {
    for calls in [false, true] {
        let (sender, events) = mpsc::channel();
        let observer = observer_fn(move |circuit, event| {
            if let Event::Transition(edge) = event {
                sender.send(format!("{circuit} {}", edge.to)).ok();
            } else if let Event::Finished { .. } = event {
                sender.send(format!("{circuit} call")).ok();
            }
        });
        let observer = if calls { observer.with_calls() } else { observer };
        let circuit = Circuit::new(settings(&MockClock::new()).observer(observer).build().unwrap());
        circuit.fail_until_open();
        assert_eq!(state(&circuit), State::Open);
        let events: Vec<_> = events.try_iter().collect();
        assert!(events.contains(&"payments open".to_owned()));
        assert_eq!(events.contains(&"payments call".to_owned()), calls);
    }
}

#[cfg(any(feature = "settings", feature = "store"))]
#[test]
fn a_status_is_written_with_the_names_of_the_page() {
    let (circuit, _) = rig(|settings| settings);
    circuit.fail_until_open();
    let status = serde_json::to_value(circuit.status()).unwrap();
    assert_eq!(
        (&status["name"], &status["standing"], &status["mode"]),
        (&"payments".into(), &"open".into(), &"automatic".into())
    );
    assert_eq!(status["retry_after_ms"], 5000);
    assert_eq!((&status["tripped_for_ms"], &status["held_for_ms"]), (&0.into(), &serde_json::Value::Null));
    let edge = &status["transitions"][0];
    assert_eq!(
        (&edge["from"], &edge["to"], &edge["reason"]),
        (&"closed".into(), &"open".into(), &"consecutive_failures".into())
    );
    assert_eq!(
        (&edge["lasts_ms"], &edge["failure"], &edge["order"]),
        (&5000.into(), &"error".into(), &serde_json::Value::Null)
    );
    assert!(edge["because"].as_str().unwrap().starts_with("failures in a row weighed"));
    let totals = serde_json::to_value(circuit.totals()).unwrap();
    assert_eq!(totals["failures"], circuit.totals().failures);
    assert_eq!(status["totals"], totals);
}
