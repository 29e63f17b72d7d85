//! If some calls must be rejected, less critical calls are rejected first, and the probes are taken from them.

use tower_circuit_breaker::clock::MockClock;
use tower_circuit_breaker::config::ConfigBuilder;
use tower_circuit_breaker::{Circuit, Criticality, Failure, RejectReason, State};

use crate::rig::{alice, millis, no_rules, open, rig, secs, state, succeed};

const LEVELS: [Criticality; 3] = [Criticality::Sheddable, Criticality::Standard, Criticality::Critical];

/// The calls of each level, and those that were rejected.
type Calls = [(u32, u32); 3];

/// Returns the number at position `n` of a fixed sequence without a pattern, below 100.
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_right(16).wrapping_mul(2_246_822_519) % 100
}

/// Makes calls, of which so many of a hundred have each level. `answers` returns true if the service accepts a call.
fn play(
    circuit: &Circuit,
    clock: &MockClock,
    calls: u32,
    mix: [u32; 3],
    mut answers: impl FnMut(u32) -> bool,
) -> Calls {
    assert_eq!(mix.iter().sum::<u32>(), 100);
    let mut seen = Calls::default();
    for call in 0..calls {
        let place = scattered(call);
        let level = if place < mix[0] { 0 } else { usize::from(place >= mix[0] + mix[1]) + 1 };
        seen[level].0 += 1;
        match circuit.try_acquire_as(LEVELS[level]) {
            Ok(permit) if answers(call) => permit.success(),
            Ok(permit) => permit.failure(Failure::hard()),
            Err(_) => seen[level].1 += 1,
        }
        clock.advance(millis(1));
    }
    seen
}

fn lost((calls, rejected): (u32, u32)) -> f64 {
    f64::from(rejected) / f64::from(calls.max(1))
}

/// A circuit whose service has room for 300 of 1 000 calls, so that the throttle rejects two of five.
fn overloaded(calls: u32, mix: [u32; 3]) -> Calls {
    let (circuit, clock) = rig(|settings| no_rules(settings).throttle(2.0));
    let mut accepted = 0;
    let mut accepts = |call: u32| {
        let has_room = accepted * 10 < call * 3;
        accepted += u32::from(has_room);
        has_room
    };
    // Until the window is full, the share is not steady.
    play(&circuit, &clock, 10_000, mix, &mut accepts);
    play(&circuit, &clock, calls, mix, |call| accepts(call + 10_000))
}

/// A circuit that ramps, and admits half of the calls for a long time.
fn half_ramped(change: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> (Circuit, MockClock) {
    let ramp = secs(3_600);
    let (circuit, clock) = rig(|settings| change(settings.ramp(ramp)));
    open(&circuit);
    clock.advance(secs(5));
    succeed(&circuit, 3);
    assert_eq!(state(&circuit), State::Closed);
    clock.advance(ramp / 2);
    (circuit, clock)
}

#[test]
fn a_throttle_rejects_no_critical_call_while_sheddable_calls_can_pay() {
    for mix in [[50, 0, 50], [50, 50, 0], [45, 30, 25]] {
        let [sheddable, standard, critical] = overloaded(60_000, mix);
        assert_eq!((standard.1, critical.1), (0, 0), "{mix:?}");
        let share = f64::from(sheddable.1) / 60_000.0;
        assert!((share - 0.4).abs() < 0.03, "{mix:?}: the whole share, {share}");
    }
}

#[test]
fn a_ramp_keeps_its_share_at_little_traffic_of_all_levels() {
    for each_second in [5, 10, 56, 200] {
        let (circuit, clock) = rig(|settings| settings.ramp(secs(10)));
        open(&circuit);
        clock.advance(secs(5));
        succeed(&circuit, 3);
        let (mut calls, mut admitted, mut promised) = (0, 0.0, 0.0);
        while let Some(left) = circuit.status().ramp_left {
            let level = LEVELS[scattered(calls) as usize % 3];
            calls += 1;
            promised += f64::max(0.1, 1.0 - left.as_secs_f64() / 10.0);
            if let Ok(permit) = circuit.try_acquire_as(level) {
                admitted += 1.0;
                permit.success();
            }
            // Two levels may each owe a sixteenth of the calls, or 4 calls. The draws scatter around the share.
            let late = f64::max(8.0, f64::from(calls) / 8.0) + 2.0 * f64::from(calls).sqrt();
            assert!(admitted <= promised + late, "{each_second}: {admitted} of {calls}, {promised} by the ramp");
            clock.advance(secs(1) / each_second);
        }
        assert!(calls >= 10 * each_second, "{calls} calls in the ramp");
    }
}

#[test]
fn a_ramp_rejects_no_critical_call_while_sheddable_calls_can_pay() {
    // From the first call of the ramp on.
    for mix in [[60, 0, 40], [60, 40, 0], [60, 20, 20], [30, 30, 40]] {
        let (circuit, clock) = half_ramped(|settings| settings);
        let [sheddable, standard, critical] = play(&circuit, &clock, 20_000, mix, |_| true);
        assert_eq!(critical.1, 0, "{mix:?}");
        let share = f64::from(sheddable.1 + standard.1) / 20_000.0;
        assert!((share - 0.5).abs() < 0.03, "{mix:?}: the whole share, {share}");
        if mix[0] == 60 {
            assert_eq!(standard.1, 0, "{mix:?}");
        }
    }
}

#[test]
fn a_more_critical_call_pays_the_rest_if_less_critical_calls_are_too_few() {
    let (circuit, clock) = half_ramped(|settings| settings);
    let [sheddable, standard, critical] = play(&circuit, &clock, 20_000, [10, 10, 80], |_| true);
    assert!(lost(sheddable) > 0.98 && lost(standard) > 0.98, "{sheddable:?} {standard:?}");
    // 50 of 100 are rejected, and the less critical calls pay 20 of them.
    assert!((lost(critical) - 30.0 / 80.0).abs() < 0.03, "{critical:?}");
}

#[test]
fn calls_of_one_level_are_admitted_as_without_levels() {
    for level in 0..3 {
        let (circuit, clock) = half_ramped(|settings| settings);
        let mut mix = [0; 3];
        mix[level] = 100;
        let seen = play(&circuit, &clock, 20_000, mix, |_| true);
        assert!((lost(seen[level]) - 0.5).abs() < 0.03, "{level}: {seen:?}");
    }
}

#[test]
fn the_probes_are_taken_from_less_critical_calls_where_there_are_any() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    clock.advance(secs(5));
    let rejected = |level| circuit.try_acquire_as(level).expect_err("a less critical call is the probe");
    assert_eq!(rejected(Criticality::Critical).reason(), RejectReason::HalfOpen);
    for _ in 0..3 {
        assert_eq!(rejected(Criticality::Critical).retry_after(), None);
        let probe = circuit.try_acquire_as(Criticality::Sheddable).unwrap();
        assert!(probe.is_probe());
        probe.success();
        clock.advance(millis(300));
    }
    assert_eq!(state(&circuit), State::Closed);
}

#[test]
fn a_critical_call_is_the_probe_if_no_less_critical_call_comes() {
    let (circuit, clock) = rig(|settings| settings);
    for _ in 0..2 {
        open(&circuit);
        clock.advance(secs(60));
        assert!(circuit.try_acquire_as(Criticality::Critical).is_err(), "a less critical call may come");
        clock.advance(millis(100));
        for _ in 0..3 {
            circuit.try_acquire_as(Criticality::Critical).unwrap().success();
        }
        assert_eq!(state(&circuit), State::Closed);
    }
    open(&circuit);
    clock.advance(secs(60));
    circuit.try_acquire_as(Criticality::Standard).expect_err("a sheddable call may come");
    clock.advance(millis(999));
    circuit.try_acquire_as(Criticality::Critical).expect_err("a standard call came within a second");
    clock.advance(millis(1));
    circuit.try_acquire_as(Criticality::Critical).unwrap().success();
}

#[test]
fn a_circuit_without_levels_probes_with_the_first_call() {
    let (circuit, clock) = rig(|settings| settings);
    open(&circuit);
    clock.advance(secs(5));
    assert!(circuit.try_acquire_as(Criticality::Standard).unwrap().is_probe());
}

#[test]
fn the_criticality_does_not_matter_to_a_circuit_without_a_limit() {
    let (circuit, _) = rig(|settings| settings);
    for level in LEVELS {
        circuit.try_acquire_as(level).unwrap().success();
    }
    circuit.trip(&alice(), None);
    for level in LEVELS {
        assert_eq!(circuit.try_acquire_as(level).unwrap_err().reason(), RejectReason::Tripped);
    }
    assert_eq!(LEVELS.map(Criticality::as_str), ["sheddable", "standard", "critical"]);
    assert!(LEVELS.is_sorted() && Criticality::default() == Criticality::Standard);
}

/// Reports fail, and all other calls succeed. After a first round of reports, every call may be a probe.
#[test]
fn failing_sheddable_calls_keep_no_critical_call_out_for_ever() {
    let admitted = |one_in: u32, report: Criticality| {
        let (circuit, clock) = rig(|settings| settings);
        open(&circuit);
        let mut admitted = 0;
        for call in 0..100_000 {
            let is_report = call % one_in == 3;
            match circuit.try_acquire_as(if is_report { report } else { Criticality::Critical }) {
                Ok(permit) if is_report => permit.failure(Failure::hard()),
                Ok(permit) => {
                    admitted += 1;
                    permit.success();
                }
                Err(_) => {}
            }
            // No multiple of the step is an open duration, so that the rounds begin with different calls.
            clock.advance(millis(7));
        }
        admitted
    };
    for one_in in [5, 10] {
        let (with, without) = (admitted(one_in, Criticality::Sheddable), admitted(one_in, Criticality::Critical));
        assert!(with > 40_000 && without > 40_000, "1 in {one_in}: {with}, and {without} without levels");
    }
}
