//! Loom models of outcomes. Each outcome counts in its own era or in no era, and the totals include every outcome.

use super::*;
use crate::window::{Evidence, Tally, Window};

#[test]
fn loom_a_stragglers_failure_stays_out_of_the_next_era() {
    for window in WINDOWS {
        in_most_orders(move || {
            let circuit = circuit(rules().consecutive_failures(9).failure_score(1.0).window(window));
            let straggler = call(&circuit);
            let in_the_next_era = || {
                close(&circuit);
                call(&circuit).failure(Failure::timeout());
            };
            beside(|| straggler.failure(Failure::timeout()), in_the_next_era);
            assert_eq!(era_and_state(&circuit), (2, State::Closed), "half a failure trips nothing");
            assert_failures(&circuit, 2, 1);
        });
    }
}

#[test]
fn loom_the_first_failure_of_an_era_is_counted() {
    for window in WINDOWS {
        in_every_order(move || {
            let circuit = circuit(rules().probes(1).consecutive_failures(9).failure_score(1.0).window(window));
            half_open(&circuit);
            let last = call(&circuit);
            let if_admitted = || circuit.try_acquire().map(|permit| permit.failure(Failure::timeout()));
            let (_, early) = beside(|| last.success(), if_admitted);
            assert_failures(&circuit, 3, early.is_ok().into());
        });
    }
}

#[test]
fn loom_no_call_is_missing_from_the_totals() {
    in_most_orders(|| {
        let circuit = circuit(rules().failure_score(9.0).window(Window::time(TEN).buckets(2)));
        // The totals compute the successes as calls minus failures. If the window lost the call of a failure, the
        // totals would have one success too few.
        call(&circuit).success();
        let straggler = call(&circuit);
        let in_the_next_era = || {
            close(&circuit);
            // This call takes the bucket for the new era. Therefore the late failure finds no bucket of its own era in
            // some orders.
            fail(call(&circuit));
        };
        beside(|| fail(straggler), in_the_next_era);
        let totals = circuit.totals();
        assert_eq!((totals.successes, totals.failures), (1, 2));
    });
}

#[test]
fn loom_a_failure_takes_no_success_back() {
    in_every_order(|| {
        let circuit = circuit(rules());
        call(&circuit).success();
        let bad = call(&circuit);
        let (_, totals) = beside(|| fail(bad), || circuit.totals());
        assert!(totals.successes >= 1, "the window counts the failure before it is one");
        let totals = circuit.totals();
        assert_eq!((totals.successes, totals.failures), (1, 1));
    });
}

/// Asserts that the run (the weight of the failures in a row) and the window have `failures` timeouts of this era, and
/// nothing else.
fn assert_failures(circuit: &Circuit, era: u64, failures: u64) {
    let inner = circuit.inner();
    let expected = Tally { calls: failures, units: 128 * failures, slow: 0 };
    assert_eq!((inner.run.get(era).weight, inner.evidence.tally(era, NOW)), (expected.units, expected));
    if let Evidence::Calls(ring) = &inner.evidence {
        assert_eq!(ring.recount(era), expected, "slots and sums");
    }
}

/// Windows in which two outcomes always use the same slot or bucket. The first window has only one slot, and the model
/// uses only one bucket of the second window.
const WINDOWS: [Window; 2] = [Window::calls(1), Window::time(TEN).buckets(2)];
