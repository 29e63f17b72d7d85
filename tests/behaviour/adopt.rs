//! What outlives a process: snapshots taken, and snapshots taken over.

mod evidence;

use std::time::Duration;

use tower_circuit_breaker::circuit::{To, Totals};
use tower_circuit_breaker::clock::{Clock, MockClock};
use tower_circuit_breaker::config::Recovery;
use tower_circuit_breaker::state::{EarlierReason, Generation, Mode, Reason, Snapshot};
use tower_circuit_breaker::window::Tally;
use tower_circuit_breaker::{Circuit, Config, Failure, OpenDuration, Outcome, State, Window};

use crate::rig::{
    admit, alice, call, close, fail, last, millis, no_rules, open, probe, reject, rig, secs, state, succeed, time_out,
    why,
};

/// Another process starts, with a clock of its own and the same settings.
#[track_caller]
fn restart(circuit: &Circuit) -> (Circuit, MockClock) {
    let snapshot = circuit.snapshot();
    let (restored, clock) = rig(|settings| settings);
    clock.advance(secs(12_345));
    restored.adopt(&snapshot, Reason::Restored);
    (restored, clock)
}

fn snapshot(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut snapshot = Snapshot::closed();
    change(&mut snapshot);
    snapshot
}

#[test]
fn an_open_circuit_stays_open_after_a_restart_for_the_remaining_time() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    clock.advance(secs(3));
    let (restored, clock) = restart(&circuit);
    assert_eq!(why(&restored), Reason::Restored);
    assert_eq!(reject(&restored).retry_after(), Some(secs(2)));
    clock.advance(secs(2));
    fail(&restored, 1);
    assert_eq!(last(&restored).lasts, Some(secs(10)), "the second attempt");
}

#[test]
fn failures_below_the_threshold_survive_a_restart() {
    let (circuit, _) = rig(|settings| settings);
    fail(&circuit, 2);
    time_out(&circuit, 2);
    let (restored, _) = restart(&circuit);
    assert_eq!((state(&restored), restored.status().run.to_string()), (State::Closed, "3".to_owned()));
    fail(&restored, 1);
    assert_eq!(state(&restored), State::Closed);
    fail(&restored, 1);
    assert_eq!(state(&restored), State::Open, "three before, two after");

    let (restored, _) = restart(&circuit);
    succeed(&restored, 1);
    fail(&restored, 4);
    assert_eq!(state(&restored), State::Closed, "a success ends the run of another process too");
}

#[test]
fn successes_counted_while_half_open_survive_a_restart() {
    let (circuit, clock) = rig(|settings| settings.probes(3));
    probe(&circuit, &clock).success();
    succeed(&circuit, 1);
    let (restored, _) = restart(&circuit);
    assert_eq!((state(&restored), restored.status().probes.successes), (State::HalfOpen, 2));
    succeed(&restored, 1);
    assert_eq!(state(&restored), State::Closed);
}

#[test]
fn modes_survive_a_restart_with_the_rest_of_their_hold() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    circuit.disable(&alice(), Some(secs(60)));
    clock.advance(secs(3));
    let (restored, clock) = restart(&circuit);
    succeed(&restored, 1);
    assert_eq!((restored.status().mode, last(&restored).lasts), (Mode::Disabled, Some(secs(57))));
    clock.advance(secs(57));
    assert!(admit(&restored).is_probe(), "the opening beneath is over as well");

    circuit.trip(&alice(), None);
    let (restored, clock) = restart(&circuit);
    clock.advance(secs(1_000_000));
    assert_eq!(reject(&restored).retry_after(), None);

    circuit.shadow(&alice());
    let (restored, _) = restart(&circuit);
    assert_eq!((restored.status().mode, state(&restored)), (Mode::Shadow, State::Open));
}

#[test]
fn adopting_an_equal_state_changes_only_the_generation() {
    type Make = fn() -> (Circuit, MockClock);
    let makes: [(&str, Make); 6] = [
        ("closed with a run", || {
            let (circuit, clock) = rig(|settings| settings);
            fail(&circuit, 3);
            (circuit, clock)
        }),
        ("open", || {
            let (circuit, clock) = rig(|settings| settings);
            open(&circuit);
            (circuit, clock)
        }),
        ("open until a reset", || {
            let (circuit, clock) = rig(|settings| settings.recovery(Recovery::Manual));
            open(&circuit);
            (circuit, clock)
        }),
        ("half-open with a success", || {
            let (circuit, clock) = rig(|settings| settings);
            probe(&circuit, &clock).success();
            (circuit, clock)
        }),
        ("disabled for a while", || {
            let (circuit, clock) = rig(|settings| settings);
            circuit.disable(&alice(), Some(secs(60)));
            (circuit, clock)
        }),
        ("closed again, resumed", || {
            let (circuit, clock) = rig(|settings| settings);
            open(&circuit);
            circuit.trip(&alice(), Some(secs(60)));
            circuit.reset(&alice(), To::Closed);
            (circuit, clock)
        }),
    ];
    for (name, make) in makes {
        for reason in [Reason::Restored, Reason::Followed] {
            let (circuit, clock) = make();
            let in_flight = circuit.try_acquire();
            let mut record = circuit.snapshot();
            if reason == Reason::Restored && record.state == State::Closed {
                // Evidence that is restored is added: the test after this one.
                (record.run, record.tally) = (0.0, Tally::default());
            }
            record.generation = Generation::new(77);
            // On its way through a store.
            clock.advance(millis(200));
            let before = circuit.status();
            assert_eq!(circuit.adopt(&record, reason), None, "{name}: no edge was taken");
            let after = circuit.status();
            assert_eq!((after.era, after.generation.get()), (before.era, 77), "{name}");
            assert_eq!((after.tally, after.run.to_bits()), (before.tally, before.run.to_bits()), "{name}");
            drop(in_flight.map(tower_circuit_breaker::Permit::success));
            assert_eq!(circuit.totals().stale, 0, "{name}: calls under way still count");
        }
    }
}

#[test]
fn another_deadline_is_a_new_era() {
    let (circuit, _) = rig(|settings| settings);
    open(&circuit);
    let record = snapshot(|record| (record.state, record.open_for) = (State::Open, Some(secs(30))));
    let edge = circuit.adopt(&record, Reason::Followed).expect("five seconds are not thirty");
    assert_eq!((edge.reason, edge.lasts), (Reason::Followed, Some(secs(30))));
    assert_eq!(reject(&circuit).retry_after(), Some(secs(30)));
}

#[test]
fn an_adopted_opening_lasts_no_longer_than_an_own_opening() {
    // The longest own opening is 60 s, but a Retry-After may ask for five minutes.
    let (circuit, _) = rig(|settings| settings);
    let record = snapshot(|record| (record.state, record.open_for) = (State::Open, Some(secs(10_000))));
    circuit.adopt(&record, Reason::Restored);
    assert_eq!(reject(&circuit).retry_after(), Some(secs(300)));

    let (circuit, _) = rig(|settings| settings.open_for(OpenDuration::fixed(secs(3_600))));
    circuit.adopt(&record, Reason::Restored);
    assert_eq!(reject(&circuit).retry_after(), Some(secs(3_600)));
}

#[test]
fn an_adopted_endless_opening_gets_an_end_unless_recovery_is_manual() {
    let record = snapshot(|record| (record.state, record.attempt) = (State::Open, 3));
    let (circuit, _) = rig(|settings| settings);
    circuit.adopt(&record, Reason::Restored);
    assert_eq!(reject(&circuit).retry_after(), Some(secs(20)), "of the third attempt");

    let (circuit, clock) = rig(|settings| settings.recovery(Recovery::Manual));
    circuit.adopt(&record, Reason::Restored);
    clock.advance(secs(1_000_000));
    assert_eq!(reject(&circuit).retry_after(), None);
}

#[test]
fn adopted_attempts_decay_like_own_attempts() {
    // The third opening lasts 20 s, whatever of it was left; so many spent closed, and the next is the third again.
    for open_for in [Some(secs(20)), Some(secs(1)), None] {
        let record = snapshot(|record| (record.state, record.attempt, record.open_for) = (State::Open, 3, open_for));
        let (circuit, clock) = rig(|settings| settings);
        circuit.adopt(&record, Reason::Restored);
        close(&circuit, &clock);
        clock.advance(secs(20));
        assert_eq!(open(&circuit), Some(secs(20)), "open for {open_for:?}");
    }
}

#[test]
fn impossible_numbers_in_a_snapshot_do_no_harm() {
    for run in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0] {
        let (circuit, _) = rig(|settings| settings);
        circuit.adopt(&snapshot(|record| record.run = run), Reason::Restored);
        fail(&circuit, 4);
        assert_eq!(state(&circuit), State::Closed, "a run of {run} is none");
        fail(&circuit, 1);
        assert_eq!(state(&circuit), State::Open, "a run of {run} is none");
    }
    for state in [State::Closed, State::Open, State::HalfOpen] {
        for mode in [Mode::Automatic, Mode::ForcedOpen, Mode::Disabled, Mode::Shadow] {
            for end in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
                for attempt in [0, u32::MAX] {
                    let (circuit, clock) = rig(|settings| settings);
                    let garbage = snapshot(|record| {
                        (record.state, record.mode, record.attempt) = (state, mode, attempt);
                        (record.open_for, record.held_for) = (end, end);
                        (record.run, record.probe_successes) = (f64::MAX, u32::MAX);
                        record.tally = Tally::new(u64::MAX, f64::MAX, u64::MAX);
                        record.generation = Generation::new(u64::MAX);
                    });
                    circuit.adopt(&garbage, Reason::Restored);
                    for _ in 0..100 {
                        drop(circuit.try_acquire().map(|permit| permit.record(Outcome::failure())));
                        clock.advance(secs(10));
                    }
                    circuit.reset(&alice(), To::Closed);
                    call(&circuit, 10, Outcome::Success);
                    assert_eq!(circuit.status().state, State::Closed, "it works again after a reset");
                }
            }
        }
    }
}

#[test]
fn a_snapshot_has_the_remaining_times_of_its_moment() {
    let (circuit, clock) = rig(|settings| settings);
    assert_eq!(circuit.snapshot(), Snapshot::closed());
    open(&circuit);
    clock.advance(secs(1));
    let mut expected =
        snapshot(|record| (record.state, record.open_for, record.attempt) = (State::Open, Some(secs(4)), 1));
    expected.tripped_for = Some(secs(1));
    let opened = EarlierReason::new(&last(&circuit).because().to_string()).since(last(&circuit).wall);
    (expected.earlier, expected.earlier_for) = (Some(opened.into()), Some(secs(1)));
    assert_eq!(circuit.snapshot(), expected);
    clock.advance(secs(100));
    assert_eq!(circuit.snapshot().open_for, Some(Duration::ZERO), "nobody has called");
    circuit.trip(&alice(), Some(secs(60)));
    clock.advance(secs(1));
    assert_eq!((circuit.snapshot().mode, circuit.snapshot().held_for), (Mode::ForcedOpen, Some(secs(59))));
    circuit.reset(&alice(), To::Closed);
    assert_eq!(circuit.snapshot(), Snapshot::closed(), "no deadline of the past is left in it");
    assert!(clock.now() > tower_circuit_breaker::clock::Tick::ZERO);
}

#[test]
fn attempts_survive_a_restart_while_half_open_and_while_closed() {
    for state in [State::HalfOpen, State::Closed] {
        let (circuit, _) = rig(|settings| settings.probes(1));
        let taken_over = snapshot(|it| {
            it.state = state;
            it.attempt = 4;
            it.run = 1.0;
        });
        let edge = circuit.adopt(&taken_over, Reason::Restored);
        assert_eq!(edge.is_some(), state == State::HalfOpen, "closed it was already");
        if state == State::HalfOpen {
            succeed(&circuit, 1);
        }
        open(&circuit);
        assert_eq!(circuit.status().attempt, 5, "the fifth in a row, though it was {state} in between");
    }
}
