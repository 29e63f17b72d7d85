//! Loom models of the limit of a closed circuit. The word has a bit for the limit, and the ramp is stored beside the
//! word.

use super::*;
use crate::state::RejectReason;

/// Returns a closed circuit in a ramp. `left` is the time until the ramp ends. With zero the ramp is over, but no call
/// has cleared the bit of the limit yet.
fn ramping(left: Duration) -> Circuit {
    let circuit = circuit(rules().consecutive_failures(1).ramp(TEN));
    ramp(&circuit);
    circuit.inner().limit_or_new().set(left, TEN, NOW);
    circuit
}

/// Begins a ramp within the era, as a restore does.
fn ramp(circuit: &Circuit) {
    let mut closed = Snapshot::closed();
    closed.closed_for = Some(Duration::ZERO);
    circuit.adopt(&closed, Reason::Restored);
}

#[test]
fn loom_the_end_of_a_limit_ends_no_later_limit() {
    in_every_order(|| {
        let circuit = ramping(Duration::ZERO);
        let its = circuit.clone();
        beside(move || ramp(&its), || drop(circuit.try_acquire()));
        assert!(circuit.inner().load().is_limited(), "the later ramp lasts");
        assert_eq!(circuit.inner().ramp_left(NOW), Some(TEN));
    });
}

#[test]
fn loom_the_end_of_a_limit_hides_no_deadline() {
    in_most_orders(|| {
        let circuit = ramping(Duration::ZERO);
        let (last, its) = (call(&circuit), circuit.clone());
        circuit.inner().word.store(circuit.inner().load().with_limit(true).bits(), Relaxed);
        let threads = [spawn(move || fail(last)), spawn(move || drop(its.try_acquire().map(Permit::ignore)))];
        begin();
        match circuit.try_acquire() {
            Ok(permit) => permit.ignore(),
            Err(rejected) => assert_eq!(rejected.retry_after(), Some(TEN), "whichever thread published the word"),
        }
        threads.into_iter().for_each(joined);
        assert_eq!(era_and_state(&circuit), (2, State::Open), "the opening is not lost");
    });
}

#[test]
fn loom_a_limit_that_is_over_is_cleared_by_the_next_call() {
    in_every_order(|| {
        let circuit = ramping(Duration::ZERO);
        acquire_two(&circuit).into_iter().for_each(|admitted| admitted.expect("no ramp rejects").ignore());
        call(&circuit).ignore();
        assert!(circuit.inner().load().is_flowing());
    });
}

#[test]
fn loom_a_call_that_finds_a_limit_knows_its_ramp() {
    in_every_order(|| {
        let circuit = circuit(rules().ramp(TEN));
        let its = circuit.clone();
        let find = || circuit.inner().load().is_limited().then(|| circuit.try_acquire());
        let (_, found) = beside(move || ramp(&its), find);
        if let Some(found) = found {
            assert_eq!(found.expect_err("the first draw is above a tenth").reason(), RejectReason::Ramp);
        }
    });
}

#[test]
fn loom_the_next_failure_begins_the_throttle() {
    in_most_orders(|| {
        let window = crate::window::Window::time(TEN).buckets(2);
        let circuit = circuit(rules().min_calls(1).window(window).throttle(2.0));
        let next = call(&circuit);
        // Each of two simultaneous failures may miss the count of the other failure. A third failure sees both counts,
        // so the throttle must begin with the third failure at the latest.
        fail_two(&circuit);
        fail(next);
        assert!(circuit.inner().load().is_limited());
    });
}
