//! The labels of circuits in metrics: the keys in use have their names, and the others share a label.

mod given;
mod moved;
mod other;

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_circuit_breaker::Circuit;
use tower_circuit_breaker::event::{Event, Observer};

use super::*;

/// What was recorded, as `name{service,other labels}`. Counters begin anew with each reading.
fn read(recorder: &DebuggingRecorder) -> BTreeMap<String, f64> {
    let entry = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        let value = match value {
            DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.iter().map(|value| value.into_inner()).sum(),
        };
        let name = key.key().name().strip_prefix("circuit_breaker_").unwrap().to_owned();
        (format!("{name}{{{}}}", labels.join(",")), value)
    };
    recorder.snapshotter().snapshot().into_vec().into_iter().map(entry).collect()
}

/// Returns the labels `service` of all series, each of which has a prefix.
fn services(read: &BTreeMap<String, f64>) -> Vec<&str> {
    let labels = read.keys().filter_map(|name| name.split(['{', ',', '}']).nth(1));
    labels.filter(|label| label.contains(':')).collect::<BTreeSet<_>>().into_iter().collect()
}

#[track_caller]
fn expect(read: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        let found = read.get(*name).unwrap_or_else(|| panic!("{name} is not among {:?}", read.keys()));
        assert!((found - value).abs() < 1e-9, "{name} is {found}, expected is {value}");
    }
}

/// Keyed circuits that are told of, under a recorder of their own. The prefix is the test's: the process shares what is `other`.
fn told(
    prefix: &str,
    change: impl FnOnce(KeyedBuilder) -> KeyedBuilder,
    act: impl FnOnce(&Keyed<ByText>, &MockClock),
) -> BTreeMap<String, f64> {
    // Leaked, so that its address is not used again: by that a circuit knows it.
    let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let (registry, clock) = (Registry::new(), MockClock::new());
    let settings =
        Config::builder("replaced").clock(clock.clone()).open_for(OpenDuration::fixed(Duration::from_secs(5)));
    let by = change(Keyed::builder(&registry, move |_| settings.clone()).prefix(prefix)).by(BY_TEXT).unwrap();
    ::metrics::with_local_recorder(recorder, || {
        act(&by, &clock);
        let read = read(recorder);
        drop(by);
        read
    })
}

fn succeed(by: &Keyed<ByText>, key: &str) {
    by.circuit(key).unwrap().try_acquire().unwrap().success();
}

/// Uses a key often enough for a label of the first half of the budget, without a call.
fn name(by: &Keyed<ByText>, clock: &MockClock, key: &str) {
    for _ in 0..8 {
        clock.advance(Duration::from_millis(20));
        drop(by.circuit(key).unwrap());
    }
}

#[test]
fn keys_in_use_have_their_names_and_other_keys_add_up() {
    let read = told(
        "sum:",
        |builder| builder.label_budget(4),
        |by, clock| {
            name(by, clock, "a");
            name(by, clock, "b");
            for key in ["a", "b", "c", "d", "e", "a", "d"] {
                // A thread reports at most once a millisecond what it has counted.
                clock.advance(Duration::from_millis(1));
                succeed(by, key);
            }
        },
    );
    expect(
        &read,
        &[
            ("calls_total{sum:a,success}", 2.0),
            ("calls_total{sum:b,success}", 1.0),
            ("calls_total{sum:other,success}", 4.0),
            ("state{sum:other,closed}", 3.0),
            ("tripped{sum:other}", 0.0),
            ("state{sum:a,closed}", 1.0),
        ],
    );
    assert_eq!(services(&read), ["sum:a", "sum:b", "sum:other"]);
    assert!(!read.contains_key("failures_1m{sum:other}"), "none could tell what the others' were");
    assert!(read.contains_key("failures_1m{sum:a}"));
}

#[test]
fn an_evicted_key_keeps_its_name_and_its_gauges_are_zero() {
    let change = |builder: KeyedBuilder| builder.label_budget(1).max_keys(1);
    let read = told("gone:", change, |by, clock| {
        name(by, clock, "a");
        fail(by, "a", 3);
        for key in ["b", "c"] {
            clock.advance(Duration::from_secs(1));
            succeed(by, key);
        }
        assert_eq!(by.status().evicted, 2, "a and b");
    });
    expect(&read, &[("failures_1m{gone:a}", 0.0), ("state{gone:a,closed}", 0.0), ("tripped{gone:a}", 0.0)]);
    expect(&read, &[("calls_total{gone:other,success}", 2.0), ("evictions_total{}", 2.0)]);

    let read = told("back:", change, |by, clock| {
        name(by, clock, "a");
        for key in ["a", "b", "c", "a"] {
            clock.advance(Duration::from_secs(1));
            succeed(by, key);
        }
    });
    expect(&read, &[("calls_total{back:a,success}", 2.0), ("state{back:a,closed}", 1.0)]);
}

#[test]
fn unguarded_calls_are_counted_by_reason() {
    let read = told(
        "full:",
        |builder| builder.max_keys(1),
        |by, _| {
            by.circuit("a").unwrap().trip(&alice(), None);
            (0..4).for_each(|_| assert!(by.circuit("b").is_none()));
        },
    );
    expect(&read, &[("unguarded_calls_total{full}", 4.0)]);
}

#[test]
fn a_full_registry_is_the_counted_reason_of_unguarded_calls() {
    let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let (registry, clock) = (Registry::with_limit(1), MockClock::new());
    registry.circuit(settings(&clock).build().unwrap()).unwrap();
    let by = keyed(&registry, &clock, |builder| builder.max_keys(1));
    let read = ::metrics::with_local_recorder(recorder, || {
        (0..4).for_each(|_| assert!(by.circuit("b").is_none()));
        read(recorder)
    });
    expect(&read, &[("unguarded_calls_total{registry_full}", 4.0)]);
}

#[test]
fn keys_that_got_no_circuit_take_no_name() {
    let read = told(
        "none:",
        |builder| builder.label_budget(2).max_keys(1),
        |by, clock| {
            by.circuit("a").unwrap().trip(&alice(), None);
            for key in ["b", "c", "d"] {
                for _ in 0..100 {
                    assert!(by.circuit(key).is_none());
                    clock.advance(Duration::from_secs(2));
                }
            }
            by.circuit("a").unwrap().resume(&alice());
            name(by, clock, "a");
            (0..3).for_each(|_| succeed(by, "a"));
            (0..5).for_each(|_| name(by, clock, "e"));
            succeed(by, "e");
        },
    );
    expect(&read, &[("calls_total{none:a,success}", 3.0), ("calls_total{none:e,success}", 1.0)]);
}

#[test]
fn a_call_that_ends_after_the_eviction_brings_no_gauge_back() {
    let read = told(
        "late:",
        |builder| builder.label_budget(1).max_keys(1),
        |by, clock| {
            name(by, clock, "a");
            fail(by, "a", 4);
            let late = by.circuit("a").unwrap();
            let permit = late.try_acquire().unwrap();
            succeed(by, "b");
            permit.record(Outcome::failure());
            assert_eq!(late.status().state, State::Open);
        },
    );
    expect(&read, &[("tripped{late:a}", 0.0), ("state{late:a,open}", 0.0), ("failures_1m{late:a}", 0.0)]);
    expect(&read, &[("failures_total{late:a,error}", 5.0)]);
}

#[test]
fn gauges_are_zero_once_the_last_clone_is_gone() {
    let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let (registry, clock) = (Registry::new(), MockClock::new());
    let settings = Config::builder("replaced").clock(clock.clone());
    let by = Keyed::builder(&registry, move |_| settings.clone()).prefix("last:").label_budget(1).by(BY_TEXT).unwrap();
    let read = ::metrics::with_local_recorder(recorder, || {
        name(&by, &clock, "a");
        fail(&by, "a", 5);
        fail(&by, "b", 5);
        drop(by);
        read(recorder)
    });
    expect(&read, &[("tripped{last:a}", 0.0), ("state{last:a,open}", 0.0), ("tripped{last:other}", 0.0)]);
}

#[test]
fn counters_of_keyed_circuits_begin_at_zero_before_their_first_event() {
    let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let read = ::metrics::with_local_recorder(recorder, || {
        let registry = Registry::new();
        let _by = Keyed::builder(&registry, Config::builder).prefix("zero:").by(BY_TEXT).unwrap();
        read(recorder)
    });
    expect(&read, &[("evictions_total{}", 0.0)]);
    for reason in ["full", "registry_full", "config"] {
        expect(&read, &[(&format!("unguarded_calls_total{{{reason}}}"), 0.0)]);
    }
}

#[test]
fn counters_at_zero_have_no_more_labels_than_the_budget_allows() {
    let read = told(
        "bound:",
        |builder| builder.label_budget(2).max_keys(5),
        |by, clock| {
            for key in 0..50 {
                (0..20).for_each(|_| name(by, clock, &key.to_string()));
                succeed(by, &key.to_string());
            }
        },
    );
    assert_eq!(services(&read), ["bound:0", "bound:1", "bound:other"]);
}

#[derive(Debug, Clone, Default)]
struct BringsBack(std::sync::Arc<std::sync::OnceLock<Keyed<ByText>>>);

impl Observer for BringsBack {
    fn on_event(&self, circuit: &str, event: &Event<'_>) {
        if let (Event::Forgotten, "again:a", Some(by)) = (event, circuit, self.0.get()) {
            by.circuit("a").unwrap();
        }
    }
}

#[test]
fn a_key_that_returns_during_its_eviction_is_shown() {
    let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let (registry, brings_back) = (Registry::new(), BringsBack::default());
    let clock = MockClock::new();
    let settings = Config::builder("replaced").clock(clock.clone()).observer(brings_back.clone());
    let by = Keyed::builder(&registry, move |_| settings.clone()).prefix("again:").max_keys(1).label_budget(1);
    let by = brings_back.0.get_or_init(|| by.by(BY_TEXT).unwrap());
    let read = ::metrics::with_local_recorder(recorder, || {
        name(by, &clock, "a");
        succeed(by, "a");
        by.circuit("b").unwrap();
        read(recorder)
    });
    expect(&read, &[("state{again:a,closed}", 1.0), ("state{again:other,closed}", 0.0)]);
}

fn fail_at(circuit: &Circuit, times: u32) {
    (0..times).for_each(|_| circuit.try_acquire().unwrap().record(Outcome::failure()));
}
