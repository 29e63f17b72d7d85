//! Calls that hang: the slow-call rule counts them while they are under way, and once.

mod kinds;
mod seen;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::clock::Tick;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, Failure, Outcome, Permit, Reason, State, Window};

use crate::rig::{NANO, admit, alice, fail, last, millis, no_rules, reject, rig, secs, state, succeed, why};

/// Opens if half of at least 20 calls of the last ten seconds take 2 s or longer, so that a bucket lasts 200 ms.
fn slow_rule(settings: ConfigBuilder) -> ConfigBuilder {
    no_rules(settings).slow_call_rate(0.5).slower_than(secs(2)).min_calls(20)
}

/// The same for the last hundred calls.
fn slow_rule_of_calls(settings: ConfigBuilder) -> ConfigBuilder {
    slow_rule(settings).window(Window::calls(100))
}

fn begin(circuit: &Circuit, calls: u32) -> Vec<Permit> {
    (0..calls).map(|_| admit(circuit)).collect()
}

fn hanging(circuit: &Circuit) -> u64 {
    circuit.status().hanging
}

const KINDS: [fn(ConfigBuilder) -> ConfigBuilder; 2] = [slow_rule, slow_rule_of_calls];

#[test]
fn a_service_that_answers_nothing_is_opened_within_slower_than_and_a_bucket() {
    for kind in KINDS {
        // The calls begin anywhere in a bucket.
        for offset in [0, 1, 130, 199] {
            let (circuit, clock) = rig(kind);
            clock.advance(millis(offset));
            let mut under_way = Vec::new();
            // 1 000 calls a second, whose timeout of 30 s is far away.
            let opened = (0..30_000_u64).find(|_| {
                let admitted = circuit.try_acquire();
                let is_open = admitted.is_err();
                under_way.extend(admitted);
                clock.advance(millis(1));
                is_open
            });
            let after = opened.expect("the calls open the circuit");
            assert!((2_000..=2_220).contains(&after), "after {after} ms from {offset} ms");
            let Reason::SlowCallRate { rate, slow, calls, hanging, .. } = why(&circuit) else {
                panic!("{}", why(&circuit))
            };
            assert!(
                rate >= 0.5 && (slow, calls) == (hanging.into(), hanging.into()) && hanging >= 20,
                "{}",
                why(&circuit)
            );
        }
    }
}

#[test]
fn a_service_that_has_answered_is_opened_once_its_hanging_calls_are_enough() {
    for kind in KINDS {
        let (circuit, clock) = rig(kind);
        clock.advance(secs(1));
        succeed(&circuit, 30);
        let under_way = begin(&circuit, 29);
        clock.advance(millis(2_200));
        assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 29), "29 of 59 calls");
        let more = begin(&circuit, 1);
        clock.advance(millis(2_200));
        assert_eq!(reject(&circuit).why().unwrap().reason, why(&circuit));
        assert_eq!(
            why(&circuit).to_string(),
            "30 of 60 calls took 2 s or more, 30 of them are still under way: 50 %, the limit is 50 %"
        );
        drop((under_way, more));
    }
}

#[test]
fn a_reason_says_how_many_slow_calls_are_still_under_way() {
    let reason =
        |hanging| Reason::SlowCallRate { rate: 0.6, limit: 0.5, slow: 12, calls: 20, slower_than: secs(2), hanging };
    assert_eq!(reason(0).to_string(), "12 of 20 calls took 2 s or more: 60 %, the limit is 50 %");
    assert!(reason(1).to_string().contains(", 1 of them is still under way: 60 %"), "{}", reason(1));
    assert!(reason(10).to_string().contains(", 10 of them are still under way: 60 %"), "{}", reason(10));
}

#[test]
fn a_service_with_few_slow_calls_is_not_opened() {
    for kind in KINDS {
        let (circuit, clock) = rig(kind);
        let mut under_way = Vec::new();
        for _ in 0..100 {
            under_way.extend(begin(&circuit, 1));
            clock.advance(secs(1));
            // Each call takes 19 s, so that 16 hang, which began 3 to 18 s ago.
            if under_way.len() == 19 {
                under_way.remove(0).ignore();
            }
        }
        assert_eq!((state(&circuit), hanging(&circuit)), (State::Closed, 16), "fewer than min_calls");
    }
}

#[test]
fn a_tenth_of_hanging_calls_opens_no_circuit_with_a_limit_of_half() {
    for kind in KINDS {
        let (circuit, clock) = rig(kind);
        let mut under_way = Vec::new();
        for _ in 0..300 {
            succeed(&circuit, 9);
            under_way.extend(begin(&circuit, 1));
            clock.advance(millis(100));
            if under_way.len() > 50 {
                under_way.remove(0).success();
            }
        }
        let status = circuit.status();
        assert_eq!((status.state, status.hanging >= 25), (State::Closed, true), "{status:?}");
    }
}

#[test]
fn a_call_that_hung_and_ends_slow_counts_once() {
    for kind in KINDS {
        let (circuit, clock) = rig(kind);
        clock.advance(secs(1));
        succeed(&circuit, 30);
        let mut under_way = begin(&circuit, 29);
        clock.advance(millis(2_200));
        while let Some(permit) = under_way.pop() {
            let status = circuit.status();
            assert_eq!((status.hanging + status.tally.slow(), status.slow_call_rate), (29, Some(29.0 / 59.0)));
            permit.success();
        }
        let status = circuit.status();
        assert_eq!((status.hanging, status.tally.slow(), status.tally.calls()), (0, 29, 59));
        assert_eq!(status.state, State::Closed, "29 of 59 calls");
    }
}

#[test]
fn the_slow_end_of_one_call_opens_by_the_calls_that_still_hang() {
    for kind in KINDS {
        let (circuit, clock) = rig(kind);
        let mut under_way = begin(&circuit, 20);
        clock.advance(millis(2_200));
        under_way.pop().unwrap().success();
        let expected =
            Reason::SlowCallRate { rate: 1.0, limit: 0.5, slow: 20, calls: 20, slower_than: secs(2), hanging: 19 };
        assert_eq!(last(&circuit).reason, expected);
        assert_eq!(last(&circuit).tally.calls(), 1, "the sums have the calls that have ended");
    }
}

#[test]
fn an_end_in_a_later_era_changes_nothing() {
    for kind in KINDS {
        let (circuit, clock) = rig(kind);
        let earlier = begin(&circuit, 19);
        circuit.reset(&alice(), To::Closed);
        let later = begin(&circuit, 19);
        clock.advance(secs(3));
        assert_eq!(hanging(&circuit), 19, "those of the era");
        for permit in earlier {
            permit.success();
        }
        let status = circuit.status();
        assert_eq!((status.hanging, status.tally.calls(), status.totals.stale), (19, 0, 19));
        for permit in later {
            permit.success();
        }
        assert_eq!((hanging(&circuit), state(&circuit)), (0, State::Closed));
    }
}

#[test]
fn a_call_that_is_given_up_is_not_under_way_any_more() {
    let ends: [fn(Permit); 5] = [
        Permit::cancel,
        Permit::ignore,
        drop,
        |permit| permit.failure(Failure::hard()),
        |permit| permit.record(Outcome::deadline(secs(30))),
    ];
    for kind in KINDS {
        for end in ends {
            let (circuit, clock) = rig(|settings| kind(settings).min_calls(100).cancelled_counts_after(secs(60)));
            let mut under_way = begin(&circuit, 30);
            clock.advance(millis(2_200));
            assert_eq!(hanging(&circuit), 30);
            under_way.drain(..10).for_each(end);
            assert_eq!(hanging(&circuit), 20);
            // The rest ends after its bucket was overtaken.
            clock.advance(secs(10));
            begin(&circuit, 40).into_iter().for_each(Permit::success);
            assert_eq!(hanging(&circuit), 20);
            under_way.into_iter().for_each(end);
            assert_eq!(hanging(&circuit), 0);
        }
    }
}

#[test]
fn a_call_hangs_from_slower_than_to_the_nanosecond_at_most_a_tenth_later() {
    let (circuit, clock) = rig(slow_rule);
    clock.advance(millis(200) - NANO);
    // Within the last nanosecond of its bucket.
    let _last_of_bucket = admit(&circuit);
    clock.advance(secs(2));
    assert_eq!(hanging(&circuit), 0);
    clock.advance(NANO);
    assert_eq!(hanging(&circuit), 1);
}

#[test]
fn only_the_slow_call_rule_counts_hanging_calls() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).slow_call_rate(1.0).failure_rate(0.4).min_calls(20));
    clock.advance(secs(1));
    let _under_way = begin(&circuit, 30);
    fail(&circuit, 10);
    clock.advance(millis(2_200));
    fail(&circuit, 1);
    let status = circuit.status();
    assert_eq!((status.state, status.failure_rate, status.hanging), (State::Closed, None, 30), "11 calls have ended");
    assert_eq!(status.slow_call_rate, Some(30.0 / 41.0));
}

#[test]
fn time_alone_meets_no_other_rule() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).slow_call_rate(1.0).failure_rate(0.4));
    // In its first second a window is too young for a rate.
    fail(&circuit, 20);
    let _under_way = begin(&circuit, 1);
    clock.advance(millis(2_200));
    assert_eq!((circuit.status().failure_rate, state(&circuit)), (Some(1.0), State::Closed));
    fail(&circuit, 1);
    assert_eq!(why(&circuit).as_str(), "failure_rate");
}

#[test]
fn a_young_window_is_not_opened_by_hanging_calls() {
    let (circuit, clock) = rig(|settings| slow_rule(settings).slower_than(millis(100)));
    let _under_way = begin(&circuit, 30);
    clock.advance(millis(999));
    assert_eq!((hanging(&circuit), state(&circuit)), (30, State::Closed));
    clock.advance(millis(1));
    assert_eq!(state(&circuit), State::Open);
}

#[test]
fn a_clock_that_goes_back_makes_no_call_hang() {
    for kind in KINDS {
        for step in [1, 300, 5_000, 3_600_000] {
            let (circuit, clock) = rig(kind);
            clock.advance(secs(10_000));
            let mut under_way = begin(&circuit, 30);
            clock.set(Tick::ZERO.saturating_add(secs(10_000) - millis(step)));
            under_way.extend(begin(&circuit, 30));
            assert_eq!((hanging(&circuit), state(&circuit)), (0, State::Closed), "{step} ms back");
            under_way.into_iter().for_each(Permit::success);
            assert_eq!((hanging(&circuit), circuit.status().tally.slow()), (0, 0));
            // The circuit works again, at the latest when the clock has caught up.
            clock.advance(millis(step.min(5_000)));
            let _under_way = begin(&circuit, 70);
            clock.advance(millis(2_400));
            assert_eq!(state(&circuit), State::Open, "{step} ms back");
        }
    }
}
