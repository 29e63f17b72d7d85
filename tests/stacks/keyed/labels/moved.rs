//! The step of a circuit from the shared label to its own label. Each event counts under one of the two labels, also if
//! another thread takes the step while the event is reported.

use std::cell::Cell;

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

#[test]
fn a_circuit_that_moves_during_an_event_leaves_the_shared_gauges() {
    let recorder: &HoldsUp =
        Box::leak(Box::new(HoldsUp { recorder: DebuggingRecorder::new(), meeting: Barrier::new(2) }));
    let (registry, clock) = (Registry::new(), MockClock::new());
    let settings = Config::builder("replaced").clock(clock.clone());
    let by = Keyed::builder(&registry, move |_| settings.clone()).prefix("meet:").label_budget(1).by(BY_TEXT).unwrap();
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

#[test]
fn two_threads_that_move_a_circuit_to_its_label_count_it_once() {
    for round in 0..200 {
        let prefix = format!("race-{round}:");
        let read = told(
            &prefix,
            |builder| builder.label_budget(8),
            |by, clock| {
                let circuits: Vec<_> = (0..4).map(|n| by.circuit(&n.to_string()).unwrap()).collect();
                (0..4).for_each(|n| name(by, clock, &n.to_string()));
                thread::scope(|scope| {
                    scope.spawn(|| circuits.iter().for_each(Circuit::refresh_metrics));
                    circuits.iter().for_each(|circuit| fail_at(circuit, 5));
                });
                // The labels are read without a further refresh of these circuits, because a refresh would repair gauges.
                drop(by.circuit("last"));
                by.circuit("last").unwrap().refresh_metrics();
            },
        );
        let other =
            |gauge: &str| read[&format!("{gauge}{{{prefix}other{}}}", if gauge == "tripped" { "" } else { ",closed" })];
        assert_eq!((other("tripped"), other("state")), (0.0, 1.0), "only the last circuit has the shared label");
        assert!(!read.contains_key(&format!("failures_1m{{{prefix}other}}")), "the shared label has no such gauge");
    }
}
