//! What the metrics observer tells a recorder.

mod exporter;

use std::collections::BTreeMap;
use std::sync::{Barrier, mpsc};
use std::thread;

use ::metrics::with_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::event::{Event, Observer};
use tower_circuit_breaker::outcome::{FailureKind, Weight};
use tower_circuit_breaker::rejection::{BoxedErrors, Fallback, Rejection};
use tower_circuit_breaker::state::Transition;
use tower_circuit_breaker::telemetry::metrics::MetricsObserver;
use tower_circuit_breaker::{BoxError, Permit, Rejected};

use super::*;

/// Reads what was recorded, as `name{label=value,..}` without the label `service`. Reading sets the recorder to zero.
fn read(recorder: &DebuggingRecorder) -> BTreeMap<String, f64> {
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let entry = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let (labels, name) = (key.key().labels(), key.key().name());
        let (service, labels): (Vec<_>, Vec<_>) = labels.partition(|label| label.key() == "service");
        assert_eq!(service.first().map(|label| label.value()), Some("payments"), "{name} says which service");
        let mut labels: Vec<_> = labels.iter().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        let name = name.strip_prefix("circuit_breaker_").expect("the names have one prefix");
        let value = match value {
            DebugValue::Counter(count) => f64::from(u32::try_from(count).expect("a test counts little")),
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.iter().map(|value| value.into_inner()).sum(),
        };
        (format!("{name}{{{}}}", labels.join(",")), value)
    };
    snapshot.into_iter().map(entry).collect()
}

/// Runs with a recorder of its own, and returns what that was told.
pub(super) fn recorded(act: impl FnOnce()) -> BTreeMap<String, f64> {
    // Leaked, so that its address is not used again: by that a circuit knows it.
    let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
    with_local_recorder(recorder, act);
    read(recorder)
}

#[track_caller]
pub(super) fn expect(read: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        let found = read.get(*name).unwrap_or_else(|| panic!("{name} is not among {:?}", read.keys()));
        assert!((found - value).abs() < 1e-9, "{name} is {found}, expected is {value}");
    }
}

#[track_caller]
fn expect_standing(read: &BTreeMap<String, f64>, standing: &str, tripped: bool) {
    for state in ["closed", "open", "half_open", "forced_open", "disabled"] {
        expect(read, &[(&format!("state{{state={state}}}"), f64::from(state == standing))]);
    }
    expect(read, &[("tripped{}", f64::from(tripped))]);
}

#[test]
fn the_old_state_is_zeroed() {
    type Step = (&'static str, bool, fn(&Circuit));
    let steps: [Step; 5] = [
        ("closed", false, succeed),
        ("open", true, |circuit| fail(circuit, 5)),
        ("disabled", false, |circuit| drop(circuit.disable(&somebody(), None))),
        ("forced_open", true, |circuit| drop(circuit.trip(&somebody(), None))),
        ("closed", false, |circuit| drop(circuit.reset(&somebody(), To::Closed))),
    ];
    // Each from the start, as reading a recorder sets it to zero.
    for taken in 1..=steps.len() {
        let circuit = circuit(&MockClock::new());
        let told = recorded(|| steps[..taken].iter().for_each(|(_, _, step)| step(&circuit)));
        let (standing, tripped, _) = steps[taken - 1];
        expect_standing(&told, standing, tripped);
    }
}

#[test]
fn half_open_still_counts_as_tripped() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let half_open = recorded(|| {
        fail(&circuit, 5);
        clock.advance(SECONDS_5);
        drop(circuit.try_acquire());
    });
    expect_standing(&half_open, "half_open", true);
    expect_standing(&recorded(|| succeed(&circuit)), "closed", false);
}

#[test]
fn every_end_of_a_call_is_counted_once() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let named = Failure::new(Weight::TIMEOUT).with_kind(FailureKind::Named("http_503"));
    let told = recorded(|| {
        let straggler = circuit.try_acquire().expect("closed");
        succeed(&circuit);
        succeed(&circuit);
        circuit.try_acquire().expect("closed").ignore();
        circuit.try_acquire().expect("closed").cancel();
        circuit.try_acquire().expect("closed").failure(Failure::timeout());
        circuit.try_acquire().expect("closed").failure(named);
        fail(&circuit, 4);
        reject(&circuit);
        reject(&circuit);
        straggler.success();
        clock.advance(SECONDS_5);
        let probe = circuit.try_acquire().expect("half-open");
        reject(&circuit);
        probe.success();
    });
    expect(
        &told,
        &[
            // A straggler's outcome is dropped, but its call did succeed.
            ("calls_total{outcome=success}", 4.0),
            ("calls_total{outcome=failure}", 6.0),
            ("calls_total{outcome=ignored}", 1.0),
            ("calls_total{outcome=cancelled}", 1.0),
            ("failures_total{kind=error}", 4.0),
            ("failures_total{kind=timeout}", 1.0),
            ("failures_total{kind=http_503}", 1.0),
            ("failures_total{kind=panicked}", 0.0),
            ("rejected_total{reason=tripped}", 2.0),
            ("rejected_total{reason=half_open}", 1.0),
            ("stale_outcomes_total{}", 1.0),
            ("transitions_total{from=closed,reason=consecutive_failures,to=open}", 1.0),
            ("transitions_total{from=open,reason=wait_elapsed,to=half_open}", 1.0),
            ("transitions_total{from=half_open,reason=probes_passed,to=closed}", 1.0),
            ("failures_1m{}", 5.0),
        ],
    );
    assert!(!told.keys().any(|name| name.starts_with("call_duration")), "durations were not measured");
}

#[test]
fn answers_of_a_fallback_are_counted_by_their_result() {
    let circuit = circuit(&MockClock::new());
    let fallback = Fallback::new(
        |rejected: Rejected, id: u32| if id == 1 { Ok(7) } else { Err(rejected.into()) },
        BoxedErrors::default(),
    );
    let answer = |id| Rejection::<u32, u32, BoxError>::reject(&fallback, circuit.try_acquire().expect_err("open"), id);
    let told = recorded(|| {
        fail(&circuit, 5);
        assert!(answer(1).is_ok() && answer(1).is_ok() && answer(2).is_err());
    });
    expect(&told, &[("fallbacks_total{result=answered}", 2.0), ("fallbacks_total{result=failed}", 1.0)]);
}

#[test]
fn measured_durations_are_in_seconds() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).measure_durations().build().expect("the settings can work"));
    let told = recorded(|| {
        let permit = circuit.try_acquire().expect("closed");
        clock.advance(Duration::from_millis(250));
        permit.success();
    });
    expect(&told, &[("call_duration_seconds{outcome=success}", 0.25)]);
}

#[test]
fn a_recorder_installed_late_gets_every_gauge_on_refresh() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    fail(&circuit, 5);
    let told = recorded(|| circuit.refresh_metrics());
    expect_standing(&told, "open", true);
    expect(&told, &[("failures_1m{}", 5.0), ("calls_total{outcome=failure}", 0.0)]);
}

#[test]
fn a_recorder_installed_late_gets_the_state_with_the_first_call() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    fail(&circuit, 5);
    let told = recorded(|| reject(&circuit));
    expect_standing(&told, "open", true);
    expect(&told, &[("rejected_total{reason=tripped}", 1.0)]);
}

#[test]
fn each_local_recorder_gets_its_own_metrics() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    // More than an observer keeps handles of. They live as long as the circuit: an address is used once.
    let recorders: Vec<_> = (0..6).map(|_| DebuggingRecorder::new()).collect();
    succeed(&circuit);
    for _ in 0..2 {
        for recorder in &recorders {
            // A thread reports at most once a millisecond what it has counted.
            clock.advance(Duration::from_millis(1));
            with_local_recorder(recorder, || succeed(&circuit));
        }
    }
    for recorder in &recorders {
        expect(&read(recorder), &[("calls_total{outcome=success}", 2.0), ("state{state=closed}", 1.0)]);
    }
}

#[test]
fn the_failures_of_the_last_minute_decay_without_traffic() {
    let clock = MockClock::new();
    let circuit = circuit(&clock);
    let gauge_after = |wait: Duration| {
        clock.advance(wait);
        recorded(|| circuit.refresh_metrics())["failures_1m{}"]
    };
    circuit.try_acquire().expect("closed").failure(Failure::timeout());
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(near(gauge_after(Duration::ZERO), 0.5), "a timeout weighs half");
    clock.advance(Duration::from_secs(30));
    fail(&circuit, 2);
    assert!(near(gauge_after(Duration::ZERO), 2.5), "both are younger than a minute");
    assert!(near(gauge_after(Duration::from_secs(30)), 2.0), "the timeout is a minute old");
    assert!(near(gauge_after(Duration::from_secs(30)), 0.0), "all are");
}

#[test]
fn a_late_reported_transition_is_counted_but_moves_no_gauge() {
    let edges = there_and_back();
    let observer = MetricsObserver::new();
    let told = recorded(|| {
        for edge in edges.iter().rev() {
            observer.on_event("payments", &Event::Transition(edge));
        }
    });
    expect_standing(&told, "closed", false);
    expect(&told, &[("transitions_total{from=closed,reason=consecutive_failures,to=open}", 1.0)]);
}

#[test]
fn transitions_reported_by_two_threads_leave_the_newest_gauges() {
    let edges = there_and_back();
    let recorder = DebuggingRecorder::new();
    for _ in 0..500 {
        let (observer, start) = (MetricsObserver::new(), Barrier::new(2));
        let tell = |edges: &[Transition]| {
            with_local_recorder(&recorder, || {
                start.wait();
                for edge in edges {
                    observer.on_event("payments", &Event::Transition(edge));
                }
            });
        };
        thread::scope(|scope| {
            scope.spawn(|| tell(&edges[..2]));
            tell(&edges[2..]);
        });
        expect_standing(&read(&recorder), "closed", false);
    }
}

/// Returns the transitions of an outage: opened, half-open, closed.
fn there_and_back() -> Vec<Transition> {
    #[derive(Debug)]
    struct Keep(mpsc::Sender<Transition>);
    impl Observer for Keep {
        fn on_event(&self, _: &str, event: &Event<'_>) {
            if let Event::Transition(edge) = event {
                self.0.send((*edge).clone()).expect("the test listens");
            }
        }
    }
    let (clock, (keep, kept)) = (MockClock::new(), mpsc::channel());
    let circuit = Circuit::new(settings(&clock).observer(Keep(keep)).build().expect("the settings can work"));
    fail(&circuit, 5);
    clock.advance(SECONDS_5);
    succeed(&circuit);
    let edges: Vec<_> = kept.try_iter().collect();
    assert_eq!(edges.len(), 3, "opened, half-open, closed");
    edges
}

#[test]
fn every_metric_has_a_help_text() {
    let clock = MockClock::new();
    let circuit = Circuit::new(settings(&clock).measure_durations().build().expect("the settings can work"));
    let recorder = DebuggingRecorder::new();
    with_local_recorder(&recorder, || fail(&circuit, 5));
    for (key, _, help, _) in recorder.snapshotter().snapshot().into_vec() {
        assert!(help.is_some(), "{} has none", key.key().name());
    }
}

#[test]
fn calls_that_hang_are_a_gauge_of_a_circuit_with_the_slow_call_rule() {
    let clock = MockClock::new();
    let settings = || Config::builder("payments").clock(clock.clone());
    let plain = Circuit::new(settings().build().unwrap());
    assert!(!recorded(|| plain.refresh_metrics()).contains_key("calls_hanging{}"));

    let slow = settings().slow_call_rate(0.5).slower_than(SECONDS_5).min_calls(4);
    let circuit = Circuit::new(slow.build().unwrap());
    let recorder = DebuggingRecorder::new();
    with_local_recorder(&recorder, || {
        circuit.refresh_metrics();
        expect(&read(&recorder), &[("calls_hanging{}", 0.0)]);
        let _few: Vec<_> = (0..3).map(|_| circuit.try_acquire().unwrap()).collect();
        clock.advance(SECONDS_5 + Duration::from_secs(1));
        circuit.refresh_metrics();
        expect(&read(&recorder), &[("calls_hanging{}", 3.0)]);
        let _enough = circuit.try_acquire().unwrap();
        clock.advance(SECONDS_5 + Duration::from_secs(1));
        circuit.refresh_metrics();
        let told = read(&recorder);
        expect(&told, &[("calls_hanging{}", 0.0), ("state{state=open}", 1.0)]);
        expect(&told, &[("transitions_total{from=closed,reason=slow_call_rate,to=open}", 1.0)]);
    });
}

#[test]
fn the_admitted_share_is_a_gauge_of_a_circuit_that_can_have_a_limit() {
    let clock = MockClock::new();
    let settings = || Config::builder("payments").clock(clock.clone()).seed(1);
    let plain = Circuit::new(settings().build().unwrap());
    assert!(!recorded(|| plain.refresh_metrics()).contains_key("admitted_ratio{}"));

    let limited = settings().throttle(2.0).without_failure_rate().without_consecutive_failures();
    let limited = Circuit::new(limited.build().unwrap());
    let told = recorded(|| limited.refresh_metrics());
    expect(&told, &[("admitted_ratio{}", 1.0), ("rejected_total{reason=throttled}", 0.0)]);
    let told = recorded(|| {
        let permits: Vec<_> = (0..39).map(|_| limited.try_acquire().unwrap()).collect();
        permits.into_iter().for_each(|permit| permit.failure(Failure::hard()));
        limited.refresh_metrics();
    });
    // 39 requests and no accept.
    expect(&told, &[("admitted_ratio{}", 1.0 / 40.0)]);
    let told = recorded(|| (0..100).for_each(|_| drop(limited.try_acquire().map(Permit::ignore))));
    let rejected = told["rejected_total{reason=throttled}"];
    assert!(rejected > 80.0, "{told:?}");
    assert!((rejected - f64::from(u32::try_from(limited.totals().throttled).unwrap())).abs() < 1e-9);
    limited.trip(&somebody(), None);
    expect(&recorded(|| limited.refresh_metrics()), &[("admitted_ratio{}", 1.0)]);
}

#[cfg(all(feature = "keyed", feature = "tracing"))]
#[test]
fn an_evicted_circuit_admits_all_calls_in_its_gauge() {
    use tower_circuit_breaker::keyed::Keyed;

    let (registry, clock) = (Registry::new(), MockClock::new());
    let template = Config::builder("payments").clock(clock.clone()).throttle(2.0).without_failure_rate();
    let template = template.without_consecutive_failures();
    let keyed = Keyed::builder(&registry, move |_| template.clone()).prefix("gone:").max_keys(1).label_budget(1);
    let keyed = keyed.by(|key: &String| Some(key.as_str().into())).unwrap();
    let recorder = DebuggingRecorder::new();
    with_local_recorder(&recorder, || {
        // Eight uses give the key its own label.
        for _ in 0..8 {
            clock.advance(SECONDS_5);
            drop(keyed.circuit("a").unwrap());
        }
        let limited = keyed.circuit("a").unwrap();
        let permits: Vec<_> = (0..39).map(|_| limited.try_acquire().unwrap()).collect();
        permits.into_iter().for_each(|permit| permit.failure(Failure::hard()));
        limited.refresh_metrics();
        let share = || {
            let metrics = recorder.snapshotter().snapshot().into_vec().into_iter();
            let mut of_a = metrics.filter(|(key, ..)| key.key().name() == "circuit_breaker_admitted_ratio");
            match of_a.next() {
                Some((_, _, _, DebugValue::Gauge(share))) => share.0,
                other => panic!("the circuit with a label of its own has the gauge: {other:?}"),
            }
        };
        assert!(share() < 0.1);
        clock.advance(SECONDS_5);
        drop(keyed.circuit("b").unwrap());
        assert!((share() - 1.0).abs() < 1e-9);
    });
}
