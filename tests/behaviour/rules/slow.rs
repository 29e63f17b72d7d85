//! Slow calls by two clocks: the coarse one may lag, and no call is taken for slow or quick because of that.
#![expect(clippy::disallowed_types, reason = "the times of a clock, in a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tower_circuit_breaker::clock::{Clock, MockClock, Tick};
use tower_circuit_breaker::{Circuit, Config, Window};

use crate::rig::{admit, no_rules, secs, settings};

/// A precise time that the test sets, a coarse one that lags, and how often the precise one was read.
#[derive(Debug, Default)]
struct Times {
    precise: AtomicU64,
    lag: AtomicU64,
    readings: AtomicU64,
}

#[derive(Debug, Clone)]
struct Lagging {
    times: Arc<Times>,
    promised: Option<Duration>,
}

impl Clock for Lagging {
    fn now(&self) -> Tick {
        let (precise, lag) = (self.times.precise.load(Ordering::SeqCst), self.times.lag.load(Ordering::SeqCst));
        Tick::from_nanos(precise.saturating_sub(lag))
    }

    fn precise(&self) -> Tick {
        self.times.readings.fetch_add(1, Ordering::SeqCst);
        Tick::from_nanos(self.times.precise.load(Ordering::SeqCst))
    }

    fn lag(&self) -> Option<Duration> {
        self.promised
    }
}

fn circuit(slower_than: Duration, promised: Option<Duration>) -> (Circuit, Arc<Times>) {
    let times = Arc::new(Times::default());
    times.precise.store(10_000_000_000, Ordering::SeqCst);
    let clock = Lagging { times: Arc::clone(&times), promised };
    let rules = no_rules(settings(&MockClock::new())).slow_call_rate(1.0).slower_than(slower_than).min_calls(1 << 20);
    let config: Config = rules.window(Window::time(secs(24 * 3600))).clock(clock).build().unwrap();
    (Circuit::new(config), times)
}

proptest! {
    #[test]
    fn slowness_of_a_call_is_exact_despite_a_lagging_coarse_clock(
        slower_than in 1_000_000..2_000_000_000_u64,
        promised in 0..200_000_000_u64,
        calls in prop::collection::vec((0..3_000_000_000_u64, 0..1_000_u64, 0..1_000_u64), 1..20),
    ) {
        let (circuit, times) = circuit(Duration::from_nanos(slower_than), Some(Duration::from_nanos(promised)));
        let mut slow = 0;
        for (took, lag_before, lag_after) in calls {
            // Near the limit, where the clocks disagree, as often as elsewhere.
            let took = if took % 2 == 0 { slower_than - 3 + took % 7 } else { took };
            times.lag.store(promised * lag_before / 1_000, Ordering::SeqCst);
            let permit = admit(&circuit);
            times.precise.fetch_add(took, Ordering::SeqCst);
            times.lag.store(promised * lag_after / 1_000, Ordering::SeqCst);
            permit.success();
            slow += u64::from(took >= slower_than);
            prop_assert_eq!(circuit.status().tally.slow(), slow, "after a call of {} ns", took);
        }
    }
}

#[test]
fn a_known_clock_lag_saves_a_quick_call_one_precise_reading() {
    for (promised, readings) in [(Some(Duration::from_millis(50)), 1), (Some(Duration::MAX), 2), (None, 2)] {
        let (circuit, times) = circuit(secs(1), promised);
        let permit = admit(&circuit);
        times.precise.fetch_add(1_000_000, Ordering::SeqCst);
        permit.success();
        assert_eq!(times.readings.load(Ordering::SeqCst), readings, "lag {promised:?}");
        let permit = admit(&circuit);
        times.precise.fetch_add(1_000_000_000, Ordering::SeqCst);
        permit.success();
        assert_eq!(circuit.status().tally.slow(), 1, "lag {promised:?}");
    }
}
