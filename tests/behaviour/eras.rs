//! Eras: what they begin with, and which outcomes they take.

mod asked;
mod clock;
mod open_duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::{Failure, Outcome, State, Window};

use crate::rig::{admit, alice, call, close, fail, no_rules, open, reject, rig, secs, state, succeed};

#[test]
fn stale_outcomes_neither_close_nor_reopen_nor_count() {
    let (circuit, clock) = rig(|settings| settings);
    let stragglers: Vec<_> = (0..8).map(|_| admit(&circuit)).collect();
    let mut stragglers = stragglers.into_iter();
    let mut straggle = |outcome: Outcome| stragglers.next().expect("one is left").record(outcome);

    open(&circuit);
    straggle(Outcome::Success);
    straggle(Outcome::failure());
    assert_eq!((state(&circuit), circuit.status().transitions.len()), (State::Open, 1));

    clock.advance(secs(5));
    let probe = admit(&circuit);
    for _ in 0..3 {
        straggle(Outcome::Success);
    }
    straggle(Outcome::failure());
    assert_eq!(state(&circuit), State::HalfOpen, "stale successes do not close it, a stale failure does not reopen");
    assert_eq!((circuit.status().probes.successes, circuit.status().probes.failures), (0, 0));

    probe.success();
    succeed(&circuit, 2);
    straggle(Outcome::failure());
    straggle(Outcome::Ignored);
    let status = circuit.status();
    assert_eq!((status.state, status.tally.calls()), (State::Closed, 0), "nor does a later closed era take them");
    assert_eq!(status.totals.stale, 8);
    assert_eq!((status.totals.successes, status.totals.failures, status.totals.ignored), (7, 8, 1), "they did happen");
}

#[test]
fn an_outcome_is_stale_however_many_eras_later() {
    // 1, 255 and 256 transitions later: no tag that wraps may mistake one era for another.
    for between in [1, 255, 256, 511, 512] {
        let (circuit, _) = rig(|settings| no_rules(settings).failure_rate(0.5).window(Window::time(secs(3600))));
        let straggler = admit(&circuit);
        for _ in 0..between {
            circuit.reset(&alice(), To::Closed);
        }
        straggler.failure(Failure::hard());
        let status = circuit.status();
        assert_eq!((status.tally.calls(), status.totals.stale), (0, 1), "{between} eras later");
    }
}

#[test]
fn an_era_begins_with_an_empty_window_and_no_run() {
    for window in [Window::time(secs(3600)), Window::calls(1_000)] {
        let (circuit, clock) = rig(|settings| settings.window(window));
        succeed(&circuit, 100);
        fail(&circuit, 20);
        assert_eq!(state(&circuit), State::Open, "20 in a row");
        for _ in 0..100 {
            reject(&circuit);
        }
        assert_eq!(circuit.status().tally.calls(), 0, "a rejected call is no evidence");
        close(&circuit, &clock);
        let status = circuit.status();
        assert_eq!((status.tally.calls(), status.run.to_string(), status.failure_rate), (0, "0".to_owned(), None));
        fail(&circuit, 4);
        assert_eq!(state(&circuit), State::Closed, "only its own failures count");
    }
}

#[test]
fn totals_add_up_over_all_eras() {
    let (circuit, clock) = rig(|settings| settings);
    for _ in 0..10 {
        call(&circuit, 3, Outcome::Ignored);
        succeed(&circuit, 7);
        admit(&circuit).cancel();
        open(&circuit);
        reject(&circuit);
        close(&circuit, &clock);
        clock.advance(secs(1_000));
    }
    let totals = circuit.totals();
    assert_eq!((totals.successes, totals.failures, totals.ignored, totals.cancelled), (100, 50, 30, 10));
    assert_eq!((totals.rejected, totals.stale, totals.would_reject), (20, 0, 0), "close asks once more");
}
