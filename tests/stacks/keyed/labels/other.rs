//! The shared label, whose gauges count circuits.

use super::*;

#[test]
fn gauges_of_the_label_other_count_circuits() {
    let read = told(
        "count:",
        |builder| builder.label_budget(0),
        |by, clock| {
            for key in ["a", "b", "c"] {
                fail(by, key, 5);
            }
            succeed(by, "d");
            clock.advance(Duration::from_secs(5));
            (0..3).for_each(|_| succeed(by, "b"));
            succeed(by, "c");
        },
    );
    expect(
        &read,
        &[
            ("tripped{count:other}", 2.0),
            ("state{count:other,open}", 1.0),
            ("state{count:other,half_open}", 1.0),
            ("state{count:other,closed}", 2.0),
            ("failures_total{count:other,error}", 15.0),
            ("transitions_total{count:other,closed,open,consecutive_failures}", 3.0),
        ],
    );
}

#[test]
fn a_key_named_other_does_not_overwrite_the_label_other() {
    let read = told(
        "same:",
        |builder| builder.label_budget(1),
        |by, clock| {
            name(by, clock, "other");
            name(by, clock, "a");
            by.circuit("a").unwrap().refresh_metrics();
            succeed(by, "other");
            succeed(by, "b");
        },
    );
    expect(&read, &[("state{same:other,closed}", 2.0), ("calls_total{same:other,success}", 2.0)]);
    expect(&read, &[("state{same:a,closed}", 1.0)]);
}

#[test]
fn the_label_other_counts_no_evicted_circuits() {
    let read = told(
        "fewer:",
        |builder| builder.label_budget(0).max_keys(1),
        |by, clock| {
            let late = by.circuit("a").unwrap();
            for key in ["b", "c", "d", "e"] {
                clock.advance(Duration::from_secs(1));
                succeed(by, key);
            }
            fail_at(&late, 5);
        },
    );
    expect(&read, &[("state{fewer:other,closed}", 1.0), ("tripped{fewer:other}", 0.0)]);
}

#[test]
fn an_evicted_key_named_other_leaves_the_gauges_of_other_keys() {
    let read = told(
        "named:",
        |builder| builder.label_budget(1).max_keys(2),
        |by, clock| {
            name(by, clock, "a");
            for key in ["a", "other", "b", "a", "c"] {
                clock.advance(Duration::from_secs(1));
                succeed(by, key);
            }
        },
    );
    expect(&read, &[("state{named:other,closed}", 1.0), ("calls_total{named:other,success}", 3.0)]);
    assert!(!read.contains_key("failures_1m{named:other}"), "none could tell what the others' were");
}

#[test]
fn a_circuit_that_is_evicted_reports_every_success_first() {
    let read = told(
        "last:",
        |builder| builder.max_keys(2).label_budget(0),
        |by, clock| {
            for key in ["a", "b", "c", "d", "e"] {
                // The least recently used one goes. Of the hundred calls at one time, most wait to be reported.
                clock.advance(Duration::from_millis(100));
                (0..100).for_each(|_| succeed(by, key));
            }
            for key in ["d", "e"] {
                by.circuit(key).unwrap().refresh_metrics();
            }
        },
    );
    expect(&read, &[("calls_total{last:other,success}", 500.0)]);
}
