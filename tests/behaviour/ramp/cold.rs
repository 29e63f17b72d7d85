//! A service that starts cold behind a circuit with a ramp, and behind one without.

use tower_circuit_breaker::Failure;
use tower_circuit_breaker::config::ConfigBuilder;

use super::RAMP;
use crate::rig::{millis, open, rig};

/// A service that has room for 30 % of 1 000 calls a second when it starts, and for 100 more after each second of work.
/// More calls than that bring the service down, and it starts again.
#[derive(Default)]
struct Cold {
    up_for: u32,
    calls: u32,
}

impl Cold {
    /// Takes a call, and returns true if the service answers it. `second` is the number of the second.
    fn call(&mut self) -> bool {
        self.calls += 1;
        if self.calls > 300 + 100 * self.up_for {
            self.up_for = 0;
            return false;
        }
        true
    }

    fn next_second(&mut self) {
        self.up_for += u32::from(self.calls > 0 && self.calls <= 300 + 100 * self.up_for);
        self.calls = 0;
    }
}

/// Returns the second after which every call of the cold service succeeds, in ten minutes of 1 000 calls a second.
fn recovers_after(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Option<u32> {
    let (circuit, clock) = rig(change);
    open(&circuit);
    let mut service = Cold::default();
    let mut last_loss = 0;
    for second in 1..=600 {
        for _ in 0..1_000 {
            match circuit.try_acquire() {
                Ok(permit) if service.call() => permit.success(),
                Ok(permit) => {
                    permit.failure(Failure::hard());
                    last_loss = second;
                }
                Err(_) => last_loss = second,
            }
            clock.advance(millis(1));
        }
        service.next_second();
    }
    (last_loss < 600).then_some(last_loss)
}

#[test]
fn a_service_that_falls_over_at_full_load_recovers_with_a_ramp_only() {
    assert_eq!(recovers_after(|settings| settings), None);
    let recovered = recovers_after(|settings| settings.ramp(RAMP)).expect("it recovers");
    assert!(recovered <= 5 + 10 + 2, "after the opening and the ramp: {recovered} s");
}
