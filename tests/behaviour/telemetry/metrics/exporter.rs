//! Series of an exporter: their first value, their return after idleness, and their help texts.

#![expect(clippy::disallowed_types, reason = "the recorder of the test, which loom never sees")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use tower_circuit_breaker::Registry;
use tower_circuit_breaker::outcome::FailureKind;
use tower_circuit_breaker::state::{RejectReason, State};

use super::super::*;
use super::{expect, recorded};

/// Keeps counters by key until `forget`, as an exporter does until a series was idle for too long.
#[derive(Debug, Default)]
struct Exporter {
    counters: Mutex<BTreeMap<String, Arc<Series>>>,
    gauges: Mutex<BTreeSet<String>>,
    histograms: Mutex<BTreeSet<String>>,
    descriptions: AtomicUsize,
}

#[derive(Debug, Default)]
struct Series {
    value: AtomicU64,
    updates: AtomicUsize,
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.value.fetch_add(value, Ordering::SeqCst);
        self.updates.fetch_add(1, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.value.fetch_max(value, Ordering::SeqCst);
    }
}

impl Recorder for Exporter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.descriptions.fetch_add(1, Ordering::SeqCst);
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.descriptions.fetch_add(1, Ordering::SeqCst);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.descriptions.fetch_add(1, Ordering::SeqCst);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.counters.lock().unwrap().entry(series(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.gauges.lock().unwrap().insert(series(key));
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.histograms.lock().unwrap().insert(series(key));
        Histogram::noop()
    }
}

impl Exporter {
    /// An exporter at an address that no other exporter gets, because circuits know exporters by their addresses.
    fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    fn forget(&self) {
        self.counters.lock().unwrap().clear();
        self.gauges.lock().unwrap().clear();
        self.histograms.lock().unwrap().clear();
    }

    fn count(&self, series: &str) -> Option<u64> {
        self.counters.lock().unwrap().get(series).map(|series| series.value.load(Ordering::SeqCst))
    }

    fn names(&self) -> Vec<String> {
        let all = [&self.gauges, &self.histograms].map(|names| names.lock().unwrap().clone());
        self.counters.lock().unwrap().keys().cloned().chain(all.into_iter().flatten()).collect()
    }
}

fn series(key: &Key) -> String {
    let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}{{{}}}", key.name().strip_prefix("circuit_breaker_").unwrap(), labels.join(","))
}

fn opened(from: &str, to: &str, reason: &str) -> String {
    format!("transitions_total{{service=payments,from={from},to={to},reason={reason}}}")
}

const SUCCESSES: &str = "calls_total{service=payments,outcome=success}";
const FAILURES: &str = "calls_total{service=payments,outcome=failure}";

#[test]
fn counters_of_a_new_circuit_begin_at_zero_before_any_event() {
    let exporter = Exporter::new();
    with_local_recorder(exporter, || drop(circuit(&MockClock::new())));
    let [tripped, half_open, shed] = [RejectReason::Tripped, RejectReason::HalfOpen, RejectReason::LoadShed];
    let rejected = [tripped, half_open, shed, RejectReason::Ramp, RejectReason::Throttled];
    let rejected = rejected.map(|reason| format!("rejected_total{{service=payments,reason={reason}}}"));
    let calls = ["success", "failure", "ignored", "cancelled"];
    let calls = calls.map(|outcome| format!("calls_total{{service=payments,outcome={outcome}}}"));
    let fallbacks = ["answered", "failed"].map(|result| format!("fallbacks_total{{service=payments,result={result}}}"));
    for series in rejected.iter().chain(&calls).chain(&fallbacks) {
        assert_eq!(exporter.count(series), Some(0), "{series}");
    }
    for (from, to, reason) in [
        ("closed", "open", "consecutive_failures"),
        ("closed", "open", "failure_rate"),
        ("closed", "open", "slow_call_rate"),
        ("closed", "open", "at_once"),
        ("half_open", "open", "probe_failed"),
        ("closed", "forced_open", "operator"),
    ] {
        assert_eq!(exporter.count(&opened(from, to, reason)), Some(0), "{from} to {to}, {reason}");
    }
}

#[test]
fn every_opening_of_a_circuit_has_a_series_before_the_opening() {
    let exporter = Exporter::new();
    let clock = MockClock::new();
    with_local_recorder(exporter, || {
        let circuit = circuit(&clock);
        let before = exporter.names();
        fail(&circuit, 5);
        clock.advance(SECONDS_5);
        fail(&circuit, 1);
        drop(circuit.disable(&somebody(), None));
        drop(circuit.resume(&somebody()));
        drop(circuit.trip(&somebody(), None));
        drop(circuit.trip(&somebody(), None));
        drop(circuit.resume(&somebody()));
        drop(circuit.shadow(&somebody()));
        let openings = exporter
            .names()
            .into_iter()
            .filter(|name| name.contains("open,reason="))
            .filter(|name| !name.contains("to=half_open"));
        for name in openings {
            assert!(before.contains(&name), "{name} begins with its first event");
        }
        assert_eq!(circuit.status().state, State::Open);
    });
    for (from, to, reason, count) in [
        ("closed", "open", "consecutive_failures", 1),
        ("half_open", "open", "probe_failed", 1),
        ("disabled", "open", "operator", 1),
        ("open", "forced_open", "operator", 1),
        ("forced_open", "forced_open", "operator", 1),
        ("forced_open", "open", "operator", 1),
    ] {
        assert_eq!(exporter.count(&opened(from, to, reason)), Some(count), "{from} to {to}, {reason}");
    }
}

#[test]
fn durations_of_a_measuring_circuit_exist_before_its_first_call() {
    let exporter = Exporter::new();
    with_local_recorder(exporter, || {
        drop(Circuit::new(settings(&MockClock::new()).measure_durations().build().unwrap()));
    });
    assert!(exporter.names().contains(&"call_duration_seconds{service=payments,outcome=failure}".to_owned()));
}

#[test]
fn series_that_an_exporter_dropped_come_back_at_a_refresh() {
    let exporter = Exporter::new();
    let clock = MockClock::new();
    with_local_recorder(exporter, || {
        let circuit = Circuit::new(settings(&clock).measure_durations().build().unwrap());
        succeed(&circuit);
        fail(&circuit, 1);
        let named = Failure::hard().with_kind(FailureKind::Named("http_503"));
        circuit.try_acquire().unwrap().failure(named);
        drop(circuit.disable(&somebody(), None));
        drop(circuit.resume(&somebody()));
        let before = exporter.names();
        for series in ["failures_total{service=payments,kind=http_503}", &opened("closed", "disabled", "operator")] {
            assert!(before.iter().any(|name| name == series), "{series}");
        }
        for day in 1..=3 {
            exporter.forget();
            circuit.refresh_metrics();
            assert_eq!(exporter.names(), before, "day {day}");
            succeed(&circuit);
            succeed(&circuit);
            fail(&circuit, 1);
            assert_eq!((exporter.count(SUCCESSES), exporter.count(FAILURES)), (Some(2), Some(1)), "day {day}");
        }
    });
}

#[test]
fn another_thread_counts_into_the_series_that_came_back() {
    let exporter = Exporter::new();
    let circuit = with_local_recorder(exporter, || circuit(&MockClock::new()));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let circuit = &circuit;
        scope.spawn(move || {
            with_local_recorder(exporter, || {
                for () in wait {
                    fail(circuit, 1);
                    done.send(()).unwrap();
                }
            });
        });
        let once = || {
            go.send(()).unwrap();
            is_done.recv().unwrap();
        };
        once();
        exporter.forget();
        with_local_recorder(exporter, || circuit.refresh_metrics());
        once();
        drop(go);
    });
    assert_eq!(exporter.count(FAILURES), Some(1));
}

#[test]
fn a_refresh_updates_every_counter_so_that_none_becomes_idle() {
    let exporter = Exporter::new();
    with_local_recorder(exporter, || {
        let circuit = circuit(&MockClock::new());
        let updates = || -> Vec<_> {
            exporter.counters.lock().unwrap().values().map(|series| series.updates.load(Ordering::SeqCst)).collect()
        };
        let before = updates();
        circuit.refresh_metrics();
        assert!(before.iter().zip(updates()).all(|(before, after)| *before < after));
    });
}

#[test]
fn help_texts_are_registered_once_for_all_circuits_of_a_recorder() {
    let exporter = Exporter::new();
    with_local_recorder(exporter, || {
        let registry = Registry::new();
        let _first = circuit(&MockClock::new());
        let once = exporter.descriptions.load(Ordering::SeqCst);
        assert!(once > 10, "{once}");
        for name in 0..100 {
            let circuit = registry.circuit(Config::new(&format!("circuit-{name}")).unwrap()).unwrap();
            succeed(&circuit);
            drop(circuit);
        }
        registry.refresh_metrics();
        drop(Circuit::new(Config::new("alone").unwrap()));
        assert_eq!(exporter.descriptions.load(Ordering::SeqCst), once);
    });
}

#[test]
fn a_recorder_installed_late_gets_every_counter_at_zero_on_refresh() {
    let circuit = circuit(&MockClock::new());
    let read = recorded(|| circuit.refresh_metrics());
    expect(&read, &[("transitions_total{from=closed,reason=consecutive_failures,to=open}", 0.0)]);
    expect(&read, &[("fallbacks_total{result=failed}", 0.0), ("rejected_total{reason=load_shed}", 0.0)]);
}

#[cfg(feature = "keyed")]
mod keyed {
    use std::borrow::Cow;

    use tower_circuit_breaker::keyed::Keyed;

    use super::*;

    const OTHERS: &str = "calls_total{service=drop:other,outcome=failure}";

    #[test]
    fn series_of_a_shared_label_come_back_at_a_refresh() {
        let exporter = Exporter::new();
        let (registry, clock) = (Registry::new(), MockClock::new());
        let template = settings(&clock);
        let keyed = Keyed::builder(&registry, move |_| template.clone()).prefix("drop:").label_budget(0);
        let keyed = keyed.by(|key: &String| Some(Cow::Borrowed(&**key))).unwrap();
        with_local_recorder(exporter, || {
            let circuits = ["a", "b", "c"].map(|key| keyed.circuit(key).unwrap());
            registry.refresh_metrics();
            let before = exporter.names();
            for _ in 0..3 {
                exporter.forget();
                registry.refresh_metrics();
                assert_eq!(exporter.names(), before);
                circuits.iter().for_each(|circuit| fail(circuit, 1));
                assert_eq!(exporter.count(OTHERS), Some(3));
            }
            // One circuit that is refreshed by itself brings the series back, too.
            exporter.forget();
            circuits[1].refresh_metrics();
            fail(&circuits[1], 1);
            assert_eq!(exporter.count(OTHERS), Some(1));
        });
    }

    #[test]
    fn an_evicted_circuit_brings_no_series_back_and_its_successor_does() {
        let exporter = Exporter::new();
        let (registry, clock) = (Registry::new(), MockClock::new());
        let template = settings(&clock);
        let keyed = Keyed::builder(&registry, move |_| template.clone()).prefix("gone:").max_keys(1).label_budget(1);
        let keyed = keyed.by(|key: &String| Some(Cow::Borrowed(&**key))).unwrap();
        with_local_recorder(exporter, || {
            // Eight uses give the key its own label.
            for _ in 0..8 {
                clock.advance(SECONDS_5);
                drop(keyed.circuit("a").unwrap());
            }
            let first = keyed.circuit("a").unwrap();
            clock.advance(SECONDS_5);
            drop(keyed.circuit("b").unwrap());
            exporter.forget();
            first.refresh_metrics();
            assert_eq!(exporter.count("calls_total{service=gone:a,outcome=failure}"), None);
            clock.advance(SECONDS_5);
            let again = keyed.circuit("a").unwrap();
            fail(&again, 1);
            assert_eq!(exporter.count("calls_total{service=gone:a,outcome=failure}"), Some(1));
        });
    }
}
