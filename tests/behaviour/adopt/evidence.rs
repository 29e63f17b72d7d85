//! Counts that outlive a process.

use super::*;

#[test]
fn restored_evidence_adds_to_the_own_evidence_of_a_closed_circuit() {
    // The restore came late: three failures here by now, and a call under way.
    let (circuit, clock) = rig(|settings| settings.consecutive_failures(6));
    fail(&circuit, 3);
    let in_flight = admit(&circuit);
    let record = snapshot(|record| {
        (record.generation, record.attempt, record.run) = (Generation::new(77), 2, 4.0);
        record.tally = Tally::new(9, 4.5, 0);
    });
    let before = circuit.status();
    assert_eq!(circuit.adopt(&record, Reason::Followed), None);
    assert_eq!(
        (circuit.status().tally, circuit.status().attempt),
        (before.tally, 0),
        "another instance's is not its own"
    );
    assert_eq!(circuit.adopt(&record, Reason::Restored), None, "no edge was taken");
    let after = circuit.status();
    assert_eq!((after.era, after.since, after.generation.get(), after.attempt), (before.era, before.since, 77, 2));
    assert_eq!((after.run.to_string(), after.tally), ("7".to_owned(), Tally::new(12, 7.5, 0)));
    assert_eq!(after.state, State::Closed, "met already, but nothing has failed since");
    assert_eq!(
        (after.totals.successes, after.totals.failures),
        (0, 3),
        "calls of another process are not counted here"
    );
    in_flight.failure(Failure::hard());
    assert_eq!((state(&circuit), circuit.totals().stale), (State::Open, 0));
    assert_eq!(last(&circuit).attempt, 3, "the third in a row");
    clock.advance(secs(100));
    assert_eq!((circuit.totals().successes, circuit.totals().failures), (0, 4));
}

#[test]
fn a_snapshot_of_a_closed_circuit_has_the_openings_that_still_count() {
    let (circuit, clock) = rig(|settings| settings.open_for(OpenDuration::default().jitter(0.0)));
    open(&circuit);
    close(&circuit, &clock);
    open(&circuit);
    assert_eq!(circuit.snapshot().attempt, 2);
    close(&circuit, &clock);
    // The second opening lasted 10 s. A hold that lets calls pass uncounted is no time of recovery.
    for (passed, attempt) in [(9, 2), (1, 1), (9, 1)] {
        clock.advance(secs(passed));
        assert_eq!(circuit.snapshot().attempt, attempt);
    }
    circuit.disable(&alice(), None);
    clock.advance(secs(100));
    assert_eq!(circuit.snapshot().attempt, 1);
    circuit.resume(&alice());
    clock.advance(secs(1));
    assert_eq!((circuit.snapshot().attempt, circuit.status().attempt), (0, 2));
    let (restored, _) = restart(&circuit);
    assert_eq!(open(&restored), Some(secs(5)), "the restart does not bring old openings back");
}

#[test]
fn a_score_survives_a_restart() {
    let score = || {
        let clock = MockClock::new();
        (Circuit::new(Config::classic_score("payments").clock(clock.clone()).build().unwrap()), clock)
    };
    let (circuit, clock) = score();
    clock.advance(secs(30));
    fail(&circuit, 6);
    succeed(&circuit, 1);
    time_out(&circuit, 4);
    assert_eq!(circuit.snapshot().tally, Tally::new(11, 8.0, 0));
    for (late, own) in [(0, 2), (1, 2), (2, 2)] {
        let (restored, clock) = score();
        clock.advance(secs(777));
        fail(&restored, late);
        restored.adopt(&circuit.snapshot(), Reason::Restored);
        fail(&restored, own - late - u32::from(late < own));
        assert_eq!(state(&restored), State::Closed, "eight before, {late} before the restore, one at most after");
        fail(&restored, 1);
        assert_eq!(state(&restored), State::Open, "eight before, two or three after; {late} before the restore");
    }
    let (restored, clock) = score();
    restored.adopt(&circuit.snapshot(), Reason::Restored);
    clock.advance(secs(60));
    fail(&restored, 9);
    assert_eq!(
        (state(&restored), restored.snapshot().tally),
        (State::Closed, Tally::new(9, 9.0, 0)),
        "that was a minute ago"
    );
}

#[test]
fn a_rate_counts_the_calls_before_the_restart() {
    for window in [Window::time(secs(10)), Window::calls(30)] {
        let (circuit, _) = rig(|settings| no_rules(settings).failure_rate(0.5).min_calls(20).window(window));
        let tally = Tally::new(18, 9.0, 0);
        circuit.adopt(&snapshot(|record| record.tally = tally), Reason::Restored);
        assert_eq!((circuit.status().tally, circuit.totals()), (tally, Totals::default()), "{window}");
        let (circuit, clock) = rig(|settings| no_rules(settings).failure_rate(0.5).min_calls(20).window(window));
        circuit.adopt(&snapshot(|record| record.tally = tally), Reason::Restored);
        clock.advance(secs(2));
        succeed(&circuit, 1);
        assert_eq!(circuit.status().failure_rate, None, "{window}: nineteen");
        fail(&circuit, 1);
        let expected = Reason::FailureRate { rate: 0.5, limit: 0.5, score: 10.0, calls: 20 };
        assert_eq!(why(&circuit), expected, "{window}");
        assert_eq!((circuit.totals().successes, circuit.totals().failures), (1, 1), "{window}");
    }
}

#[test]
fn a_restored_closed_era_begins_with_the_restored_evidence() {
    let (circuit, _) = rig(|settings| settings);
    open(&circuit);
    let tally = Tally::new(9, 3.0, 0);
    let record = snapshot(|record| (record.run, record.tally) = (3.0, tally));
    let edge = circuit.adopt(&record, Reason::Restored).expect("it was open");
    assert_eq!((edge.to.state, edge.tally), (State::Closed, Tally::default()), "what the opening before had seen");
    assert_eq!((circuit.snapshot().run.to_string(), circuit.snapshot().tally), ("3".to_owned(), tally));
    assert_eq!((circuit.totals().successes, circuit.totals().failures), (0, 5));
    fail(&circuit, 2);
    assert_eq!(state(&circuit), State::Open);
    assert_eq!(circuit.snapshot().tally, Tally::default(), "no evidence is left of it");
}
