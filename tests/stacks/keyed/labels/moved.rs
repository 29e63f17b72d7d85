//! The step of a circuit from the shared label to its own label. Each event counts under one of the two labels, also if
//! another thread takes the step while the event is reported.

#![expect(clippy::disallowed_types, reason = "loom does not run this")]

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::*;

/// A recorder that holds a thread up when the thread registers the metric in `HELD_UP_AT`, so that two threads meet
/// there.
struct HoldsUp {
    recorder: DebuggingRecorder,
    meeting: Barrier,
}

thread_local! {
    static HELD_UP_AT: Cell<&'static str> = const { Cell::new("") };
}

impl HoldsUp {
    /// Waits for the other thread twice, once to let it go on and once until it has arrived at its own place.
    fn meet(&self, key: &Key) {
        if key.name() == HELD_UP_AT.get() {
            HELD_UP_AT.set("");
            self.meeting.wait();
            self.meeting.wait();
        }
    }
}

impl Recorder for HoldsUp {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.meet(key);
        self.recorder.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.meet(key);
        self.recorder.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.recorder.register_histogram(key, metadata)
    }
}

fn keyed_by_text(prefix: &str, labels: usize) -> (Keyed<ByText>, MockClock) {
    let clock = MockClock::new();
    let settings = Config::builder("replaced").clock(clock.clone());
    let by = Keyed::builder(&Registry::new(), move |_| settings.clone()).prefix(prefix).label_budget(labels);
    (by.by(BY_TEXT).unwrap(), clock)
}

#[test]
fn a_circuit_that_moves_during_an_event_leaves_the_shared_gauges() {
    let recorder: &HoldsUp =
        Box::leak(Box::new(HoldsUp { recorder: DebuggingRecorder::new(), meeting: Barrier::new(2) }));
    let (by, clock) = keyed_by_text("meet:", 1);
    let read = metrics::with_local_recorder(recorder, || {
        fail(&by, "b", 5);
        let circuit = by.circuit("a").unwrap();
        circuit.refresh_metrics();
        thread::scope(|scope| {
            scope.spawn(|| {
                metrics::with_local_recorder(recorder, || {
                    recorder.meeting.wait();
                    name(&by, &clock, "a");
                    HELD_UP_AT.set("circuit_breaker_tripped");
                    circuit.refresh_metrics();
                });
            });
            // This refresh registers the series of the shared label anew. Meanwhile the other thread gives the circuit its
            // own label, and is held up before it has registered the series of that label.
            HELD_UP_AT.set("circuit_breaker_stale_outcomes_total");
            circuit.refresh_metrics();
            recorder.meeting.wait();
        });
        succeed(&by, "a");
        read(&recorder.recorder)
    });
    assert!(!read.contains_key("failures_1m{meet:other}"), "the shared label has no such gauge");
    expect(&read, &[("tripped{meet:other}", 1.0), ("state{meet:other,open}", 1.0), ("state{meet:other,closed}", 0.0)]);
    expect(&read, &[("tripped{meet:a}", 0.0), ("state{meet:a,closed}", 1.0), ("failures_1m{meet:a}", 0.0)]);
    expect(&read, &[("calls_total{meet:a,success}", 1.0), ("calls_total{meet:other,success}", 0.0)]);
}

#[test]
fn the_gauges_of_a_circuit_move_to_its_own_label() {
    let read = told(
        "move:",
        |builder| builder.label_budget(1),
        |by, clock| {
            fail(by, "a", 5);
            fail(by, "b", 5);
            name(by, clock, "a");
            by.circuit("a").unwrap().refresh_metrics();
            clock.advance(Duration::from_secs(5));
            (0..3).for_each(|_| succeed(by, "a"));
        },
    );
    expect(&read, &[("tripped{move:other}", 1.0), ("state{move:other,open}", 1.0), ("state{move:other,closed}", 0.0)]);
    expect(&read, &[("tripped{move:a}", 0.0), ("state{move:a,closed}", 1.0), ("state{move:a,open}", 0.0)]);
    expect(&read, &[("failures_total{move:other,error}", 10.0), ("calls_total{move:a,success}", 3.0)]);
    expect(&read, &[("transitions_total{move:a,closed,open,consecutive_failures}", 0.0)]);
}

/// Two threads move many circuits in the same order. Each thread waits for the other without sleep before each circuit, so
/// that both move the circuit at the same time.
#[test]
fn two_threads_that_move_a_circuit_to_its_label_count_it_once() {
    for round in 0..10 {
        let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
        let prefix = format!("race-{round}:");
        let (by, clock) = keyed_by_text(&prefix, 200);
        let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let read = metrics::with_local_recorder(recorder, || {
            let last = by.circuit("last").unwrap();
            keys.iter().for_each(|key| name(&by, &clock, key));
            let circuits: Vec<_> = keys.iter().map(|key| by.circuit(key).unwrap()).collect();
            let arrivals = AtomicUsize::new(0);
            let in_step = |act: fn(&Circuit)| {
                for (n, circuit) in (1..).zip(&circuits) {
                    arrivals.fetch_add(1, SeqCst);
                    while arrivals.load(SeqCst) < 2 * n {
                        thread::yield_now();
                    }
                    act(circuit);
                }
            };
            thread::scope(|scope| {
                scope.spawn(|| metrics::with_local_recorder(recorder, || in_step(Circuit::refresh_metrics)));
                in_step(|circuit| fail_at(circuit, 5));
            });
            // No refresh comes before the reading, because a refresh would repair gauges.
            let read = read(recorder);
            drop(last);
            read
        });
        let of = |gauge: &str, labels: &str| read.get(&format!("{gauge}{{{prefix}{labels}}}")).copied();
        assert_eq!(
            (of("tripped", "other"), of("state", "other,closed")),
            (Some(0.0), Some(1.0)),
            "only `last` is left"
        );
        assert_eq!(of("failures_1m", "other"), None, "the shared label has no such gauge");
        for key in &keys {
            let own = (of("tripped", key), of("state", &format!("{key},open")));
            assert_eq!(own, (Some(1.0), Some(1.0)), "{key} has its own label");
            assert_eq!(of("failures_total", &format!("{key},error")), Some(5.0), "{key} counts under its own label");
        }
    }
}
