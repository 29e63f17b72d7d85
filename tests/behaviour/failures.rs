//! The text of the failure that opens a circuit: where it shows, and what it costs.

use std::cell::Cell;
use std::fmt;
use std::io;

use tower_circuit_breaker::classify::DefaultClassifier;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::{BoxError, Failure, Outcome, State};

use crate::rig::{admit, fail, last, millis, open, probe, reject, rig, secs, state};

/// A text that counts how often it is written.
struct Counted<'a>(&'a Cell<u32>);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.set(self.0.get() + 1);
        f.write_str("relation \"orders\" is gone")
    }
}

#[test]
fn only_the_failure_that_opens_a_circuit_has_its_text_written() {
    let (circuit, clock) = rig(|settings| settings);
    let written = Cell::new(0);
    for failures in 1..=5 {
        admit(&circuit).failure_because(Failure::hard(), &Counted(&written));
        assert_eq!(written.get(), u32::from(failures == 5), "after {failures}");
    }
    let edge = last(&circuit);
    assert_eq!(edge.failure_text.as_deref(), Some("relation \"orders\" is gone"));
    assert!(edge.because().to_string().ends_with("last a failure of kind error: relation \"orders\" is gone"));
    probe(&circuit, &clock).failure_because(Failure::hard(), &Counted(&written));
    assert_eq!((written.get(), last(&circuit).failure_text.is_some()), (2, true), "a failed probe has its text too");
}

#[test]
fn a_failure_without_a_text_takes_over_no_earlier_text() {
    let (circuit, clock) = rig(|settings| settings);
    fail(&circuit, 4);
    admit(&circuit).failure_because(Failure::hard(), &"first");
    probe(&circuit, &clock).failure(Failure::timeout());
    let edge = last(&circuit);
    assert_eq!((edge.failure, edge.failure_text), (Some(FailureKind::Timeout), None));
}

#[test]
fn a_text_that_panics_is_left_out() {
    struct Panics;
    impl fmt::Display for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("a Display can do that");
        }
    }
    let (circuit, _clock) = rig(|settings| settings);
    fail(&circuit, 4);
    admit(&circuit).failure_because(Failure::hard(), &Panics);
    assert_eq!(last(&circuit).failure_text, None);
    assert_eq!(last(&circuit).failure, Some(FailureKind::Error), "the circuit is open all the same");
}

#[tokio::test]
async fn a_call_without_tower_shows_the_cause_of_its_error() {
    let (circuit, clock) = rig(|settings| settings);
    for _ in 0..5 {
        drop(circuit.call(async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)) }).await);
    }
    assert!(reject(&circuit).to_string().contains("of kind connect: connection refused; "));

    clock.advance(secs(60));
    let error = || BoxError::from(io::Error::other("failed to lookup address information: no such host"));
    drop(circuit.call_classified(DefaultClassifier::default(), async { Err::<(), _>(error()) }).await);
    assert!(reject(&circuit).to_string().contains("of kind dns: failed to lookup address information: no such host; "));
}

#[test]
fn the_reason_of_a_snapshot_is_that_of_the_opening() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    let why = last(&circuit).because().to_string();
    clock.advance(secs(5));
    drop(admit(&circuit));
    let snapshot = circuit.snapshot();
    assert_eq!(snapshot.earlier.map(|earlier| earlier.reason().to_owned()), Some(why));
    assert_eq!(snapshot.earlier_for, Some(secs(5)));
}

/// The numbers of the table in the guide, for a service that hangs.
#[test]
fn short_deadlines_open_late_unless_cancelled_counts_after_is_the_deadline() {
    let failed = |deadline: u64, at_once: usize, counts_after: Option<u64>| {
        let (circuit, clock) = rig(|settings| match counts_after {
            Some(counts_after) => settings.cancelled_counts_after(millis(counts_after)),
            None => settings,
        });
        let mut rounds = 0;
        while state(&circuit) == State::Closed {
            assert!(rounds < 1_000, "deadlines of {deadline} ms never open the circuit");
            rounds += 1;
            let permits: Vec<_> = (0..at_once).map(|_| admit(&circuit)).collect();
            clock.advance(millis(deadline));
            permits.into_iter().for_each(|permit| permit.record(Outcome::deadline(millis(deadline))));
        }
        circuit.totals().failures - circuit.totals().stale
    };
    assert_eq!((failed(500, 1, None), failed(500, 8, None)), (20, 80));
    assert_eq!((failed(200, 1, None), failed(200, 1, Some(200))), (197, 10));
}
