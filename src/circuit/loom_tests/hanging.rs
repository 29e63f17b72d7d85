//! Loom models of calls that hang. A call counts once, in its own era, whether it is under way or has ended.

use std::sync::OnceLock;

use super::*;
use crate::window::Window;

/// A clock that moves once. The clock moves while only one thread runs, so that loom need not model the reads of the
/// clock. In a model, three buckets count the calls under way (`window/under_way.rs`), and the clock moves by two
/// bucket widths. Therefore an earlier call hangs, and a later call does not reuse the bucket of the earlier call.
#[derive(Debug, Clone, Default)]
struct MovedOnce(Arc<OnceLock<()>>);

impl Clock for MovedOnce {
    fn now(&self) -> Tick {
        if self.0.get().is_some() { NOW.saturating_add(Duration::from_secs(2)) } else { NOW }
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

impl MovedOnce {
    fn move_on(&self) {
        self.0.get_or_init(|| ());
    }
}

/// Returns a circuit that opens if 40 % of the calls in the window take 1 s or longer. The window of the outcomes has
/// two buckets of 5 s, of which the model uses only one, because the clock moves by 2 s.
fn watched() -> (Circuit, MovedOnce) {
    let clock = MovedOnce::default();
    let window = Window::time(TEN).buckets(2);
    let slow = rules().slow_call_rate(0.4).slower_than(Duration::from_secs(1)).min_calls(1);
    (circuit(slow.window(window).clock(clock.clone())), clock)
}

fn hanging(circuit: &Circuit) -> u64 {
    let inner = circuit.inner();
    inner.hanging(inner.load(), inner.now())
}

fn hanging_lately(circuit: &Circuit) -> u64 {
    let inner = circuit.inner();
    inner.hanging_lately(inner.load(), inner.now())
}

#[test]
fn loom_a_slow_call_that_ends_is_not_counted_twice() {
    in_most_orders(|| {
        let (circuit, clock) = watched();
        (0..2).for_each(|_| call(&circuit).success());
        let slow = call(&circuit);
        clock.move_on();
        let quick = call(&circuit);
        assert_eq!(hanging_lately(&circuit), 1, "a model without a hanging call could not fail");
        // One of at most four calls is slow. If the slow call counted twice, two of five calls (40 %) would be slow,
        // and the circuit would open.
        beside(|| slow.success(), || fail(quick));
        assert_eq!((era_and_state(&circuit), hanging(&circuit)), ((1, State::Closed), 0));
        assert_eq!(circuit.inner().tally(1, circuit.now()).slow, 1);
    });
}

#[test]
fn loom_a_call_hangs_in_the_era_of_its_permit() {
    in_most_orders(|| {
        let (circuit, clock) = watched();
        let its = circuit.clone();
        let (permit, ()) = beside(move || call(&its), || close(&circuit));
        clock.move_on();
        assert_eq!(hanging(&circuit), u64::from(permit.mark.is_of(2)));
        permit.success();
        assert_eq!(hanging(&circuit), 0);
    });
}
