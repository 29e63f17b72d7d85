//! What a recorder is told of shedding.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::*;

/// Runs with a recorder of its own; returns counters and gauges as `name{labels}`.
fn recorded(act: impl FnOnce()) -> BTreeMap<String, f64> {
    // Leaked, so that its address is not used again: by that a circuit knows it.
    let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
    ::metrics::with_local_recorder(recorder, act);
    let entries = recorder.snapshotter().snapshot().into_vec().into_iter();
    let entry = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let labels: Vec<_> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => f64::NAN,
        };
        (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
    };
    entries.map(entry).collect()
}

const SHED: &str = "circuit_breaker_rejected_total{service=payments,reason=load_shed}";
const LOAD: &str = "circuit_breaker_system_load_ratio{service=payments}";

#[test]
fn shed_calls_and_the_load_are_recorded_as_metrics() {
    let clock = MockClock::new();
    let told = recorded(|| {
        let circuit = circuit(&clock);
        let service = service(&circuit, Load::of(0.91));
        assert!(is_shed(&service, ("report", 500)));
        assert!(is_shed(&service, ("report", 500)));
        assert!(!is_shed(&service, ("ping", 1)));
    });
    assert!((told[SHED] - 2.0).abs() < 1e-9, "{told:?}");
    assert!((told[LOAD] - 0.91).abs() < 1e-9, "{told:?}");
    assert!(told["circuit_breaker_rejected_total{service=payments,reason=tripped}"].abs() < 1e-9);
    assert!((told["circuit_breaker_calls_total{service=payments,outcome=success}"] - 1.0).abs() < 1e-9);
}

#[test]
fn the_counter_begins_at_zero_and_an_unknown_load_is_a_gap() {
    let clock = MockClock::new();
    let told = recorded(|| {
        let circuit = circuit(&clock);
        let load = Load::of(0.5);
        let service = service(&circuit, load.clone());
        assert!(!is_shed(&service, ("report", 500)));
        load.set(None);
        clock.advance(LOOK);
        assert!(!is_shed(&service, ("report", 500)));
    });
    assert!(told[SHED].abs() < 1e-9, "{told:?}");
    assert!(told[LOAD].is_nan(), "{told:?}");
}

#[test]
fn a_refresh_shows_the_last_load_to_a_recorder_that_has_no_series() {
    let circuit = circuit(&MockClock::new());
    assert!(!recorded(|| circuit.refresh_metrics()).contains_key(LOAD), "no load was polled");
    let service = service(&circuit, Load::of(0.91));
    assert!(is_shed(&service, ("report", 500)));
    let read = recorded(|| circuit.refresh_metrics());
    assert!((read[LOAD] - 0.91).abs() < 1e-9, "{read:?}");
}
