//! Labels are given by use and not by arrival.

use super::*;

#[test]
fn a_stranger_with_one_call_for_each_key_gets_no_label() {
    let read = told(
        "use:",
        |builder| builder.label_budget(4).max_keys(100),
        |by, clock| {
            for n in 0..5_000 {
                clock.advance(Duration::from_millis(1));
                // A burst of one key is one use.
                (0..20).for_each(|_| succeed(by, &format!("stranger-{n}")));
            }
            for key in ["a", "b"] {
                name(by, clock, key);
                succeed(by, key);
            }
        },
    );
    assert_eq!(services(&read), ["use:a", "use:b", "use:other"]);
}

#[test]
fn the_last_labels_stay_for_the_keys_with_the_most_uses() {
    let read = told(
        "rare:",
        |builder| builder.label_budget(4),
        |by, clock| {
            for n in 0..100 {
                name(by, clock, &format!("stranger-{n}"));
                succeed(by, &format!("stranger-{n}"));
            }
            (0..20).for_each(|_| name(by, clock, "real"));
            succeed(by, "real");
        },
    );
    assert_eq!(services(&read), ["rare:other", "rare:real", "rare:stranger-0", "rare:stranger-1"]);
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
                circuits.iter().for_each(Circuit::refresh_metrics);
                drop(by.circuit("last"));
                by.circuit("last").unwrap().refresh_metrics();
            },
        );
        let other =
            |gauge: &str| read[&format!("{gauge}{{{prefix}other{}}}", if gauge == "tripped" { "" } else { ",closed" })];
        assert_eq!((other("tripped"), other("state")), (0.0, 1.0), "only the last circuit has the shared label");
    }
}
