//! The events, the status and the metrics of suppressed openings.

use std::sync::mpsc;

use tower_circuit_breaker::event::{Event, observer_fn};

use super::*;
use crate::rig::NANO;

type Seen = mpsc::Receiver<(u64, u64, u32, u32)>;

/// Two circuits, of which the first is open, and the events of both.
fn observed() -> (Endpoints, Seen) {
    let (events, seen) = mpsc::channel();
    let endpoints = endpoints(2, 0.5, move |settings| {
        let events = events.clone();
        settings.observer(observer_fn(move |circuit, event| {
            if let Event::Suppressed { group, reason, number, total, open, members, .. } = *event {
                assert_eq!((circuit, group), ("endpoint", "endpoints"));
                assert!(matches!(reason, Reason::ConsecutiveFailures { .. }), "{reason}");
                events.send((number, total, open, members)).ok();
            }
        }))
    });
    endpoints.fail([0]);
    (endpoints, seen)
}

#[test]
fn a_circuit_reports_its_suppressed_openings_every_ten_seconds() {
    let (endpoints, seen) = observed();
    endpoints.circuits[0].trip(&alice(), None);
    endpoints.fail([1]);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(1, 1, 1, 2)], "the first is reported at once");
    for _ in 0..99 {
        endpoints.fail([1]);
    }
    endpoints.clock.advance(secs(10) - NANO);
    endpoints.fail([1]);
    assert_eq!(seen.try_iter().count(), 0);
    endpoints.clock.advance(NANO);
    endpoints.fail([1, 1]);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(101, 102, 1, 2)]);
    assert_eq!(endpoints.suppressed(1), 103);
}

#[test]
fn calls_that_hang_without_a_slot_count_once_in_ten_seconds() {
    let slow = |settings: ConfigBuilder| settings.slow_call_rate(0.5).slower_than(secs(1)).min_calls(2);
    let endpoints = endpoints(2, 0.5, slow);
    endpoints.fail([0]);
    let circuit = &endpoints.circuits[1];
    let mut under_way = Vec::new();
    for _ in 0..32 {
        under_way.push(circuit.try_acquire().unwrap());
        endpoints.clock.advance(secs(1));
        drop(circuit.status());
    }
    assert_eq!((circuit.state(), endpoints.suppressed(1)), (State::Closed, 3));
    assert!(circuit.status().suppressed.is_some_and(|suppressed| suppressed.ago <= secs(1)));
}

#[test]
fn a_later_era_does_not_report_earlier() {
    let (endpoints, seen) = observed();
    endpoints.fail([1]);
    endpoints.circuits[1].reset(&alice(), To::Closed);
    endpoints.fail([1]);
    assert_eq!((seen.try_iter().count(), endpoints.suppressed(1)), (1, 2));
    endpoints.clock.advance(secs(10));
    endpoints.fail([1]);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(2, 3, 1, 2)]);
}

#[test]
fn a_status_shows_a_suppressed_opening_for_a_minute() {
    let (endpoints, _) = observed();
    let circuit = &endpoints.circuits[1];
    assert_eq!(circuit.status().suppressed, None);
    fail(circuit, 2);
    endpoints.clock.advance(secs(2));
    let suppressed = circuit.status().suppressed.expect("it was suppressed");
    assert_eq!((&*suppressed.group, suppressed.open, suppressed.members), ("endpoints", 1, 2));
    assert_eq!((suppressed.openings, suppressed.ago), (2, secs(2)));
    assert_eq!(
        circuit.status().to_string(),
        "circuit `endpoint` is closed; an opening was suppressed 2 s ago, because the group \"endpoints\" had no open slot (1 of \
         2 circuits are open now): failures in a row weighed 1.0, the limit is 1.0; calls: 0 succeeded, 2 failed, 0 rejected"
    );
    endpoints.clock.advance(secs(58));
    assert!(circuit.status().suppressed.is_some());
    endpoints.clock.advance(NANO);
    assert_eq!((circuit.status().suppressed, circuit.totals().suppressed), (None, 2));
}

#[test]
fn a_transition_ends_the_suppressed_opening_of_a_status() {
    let (endpoints, _) = observed();
    let circuit = &endpoints.circuits[1];
    endpoints.fail([1]);
    circuit.reset(&alice(), To::Closed);
    assert_eq!(circuit.status().suppressed, None, "the evidence is gone");
    endpoints.fail([1]);
    endpoints.circuits[0].reset(&alice(), To::Closed);
    endpoints.fail([1]);
    assert_eq!((state(circuit), circuit.status().suppressed), (OPEN, None));
}

#[test]
fn a_suppressed_circuit_changes_no_transition_and_rejects_no_call() {
    let (endpoints, _) = observed();
    let before = endpoints.circuits[1].status();
    fail(&endpoints.circuits[1], 20);
    let after = endpoints.circuits[1].status();
    assert_eq!((before.era, before.attempt, before.transitions), (after.era, after.attempt, after.transitions));
    assert_eq!((after.totals.rejected, after.totals.failures, after.next_call.as_str()), (0, 20, "admitted"));
}

#[test]
fn an_observer_that_panics_at_a_suppressed_opening_is_counted() {
    let endpoints = endpoints(2, 0.5, |settings| {
        settings.observer(observer_fn(|_, event| {
            assert!(!matches!(event, Event::Suppressed { .. }), "an observer that panics");
        }))
    });
    endpoints.fail([0, 1]);
    assert_eq!((endpoints.states(), endpoints.circuits[1].totals().observer_panics), (vec![OPEN, CLOSED], 1));
}

#[cfg(feature = "metrics")]
mod metrics {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    /// Returns the value of each series of groups, by name and labels.
    fn read(recorder: &DebuggingRecorder) -> Vec<(String, f64)> {
        let series = recorder.snapshotter().snapshot().into_vec().into_iter().filter_map(|(key, .., value)| {
            let (name, labels) = (key.key().name().to_owned(), key.key().labels());
            let labels: Vec<_> = labels.map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(_) => return None,
            };
            let is_of_groups = name.contains("group") || name.contains("suppressed");
            is_of_groups.then(|| (format!("{name}{{{}}}", labels.join(",")), value))
        });
        let mut series: Vec<_> = series.collect();
        series.sort_by(|one, other| one.0.cmp(&other.0));
        series
    }

    fn both(suppressed: f64, ratio: f64) -> [(String, f64); 2] {
        let ratio = ("circuit_breaker_group_open_ratio{group=endpoints}".to_owned(), ratio);
        [ratio, ("circuit_breaker_openings_suppressed_total{service=endpoint}".to_owned(), suppressed)]
    }

    #[test]
    fn metrics_count_suppressed_openings_and_show_the_open_share() {
        let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
        ::metrics::with_local_recorder(recorder, || {
            let mut endpoints = four();
            assert_eq!(read(recorder), both(0.0, 0.0), "both begin at zero");
            endpoints.fail([0, 1, 2, 2, 2]);
            // The debugging recorder sets a counter to zero with each reading.
            assert_eq!(read(recorder), both(1.0, 0.5), "the rest is reported later");
            endpoints.circuits[2].refresh_metrics();
            endpoints.circuits[2].refresh_metrics();
            assert_eq!(read(recorder), both(2.0, 0.5), "a refresh counts each opening once");
            endpoints.circuits.truncate(2);
            assert_eq!(read(recorder)[0], both(0.0, 1.0)[0], "a member that leaves changes the share");
            endpoints.circuits[0].reset(&alice(), To::Closed);
            assert_eq!(read(recorder)[0], both(0.0, 0.5)[0]);
            endpoints.circuits.clear();
            assert_eq!(read(recorder)[0], both(0.0, 0.0)[0], "an empty group has none open");
        });
    }

    #[test]
    fn a_circuit_without_a_group_has_no_series_of_groups() {
        let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
        ::metrics::with_local_recorder(recorder, || {
            let circuit = Circuit::new(Config::new("payments").unwrap());
            fail(&circuit, 5);
            circuit.refresh_metrics();
        });
        assert_eq!(read(recorder), []);
    }
}
