//! Half-open: threads enter the state once, no slot is taken twice or lost, and no straggler changes a later era.

use super::*;
use crate::state::RejectReason;

#[test]
fn loom_callers_past_the_deadline_make_one_transition() {
    for begin in [past_deadline, held_no_longer] {
        in_every_order(move || {
            let (circuit, reports) = observed(rules());
            begin(&circuit);
            let both = acquire_two(&circuit);
            let [_, Report::Edge(3, State::HalfOpen)] = all(&reports)[..] else { panic!("one entry") };
            let ([Ok(probe), Err(rejected)] | [Err(rejected), Ok(probe)]) = &both else { panic!("one slot: {both:?}") };
            assert!(probe.is_probe());
            assert_eq!((rejected.reason(), rejected.retry_after()), (RejectReason::HalfOpen, None));
        });
    }
}

#[test]
fn loom_callers_past_the_deadline_find_every_slot() {
    for begin in [past_deadline, held_no_longer] {
        in_every_order(move || {
            let circuit = circuit(rules().probes_in_flight(2));
            begin(&circuit);
            let both = acquire_two(&circuit);
            assert!(matches!(both, [Ok(_), Ok(_)]), "two slots, two probes: {both:?}");
        });
    }
}

#[test]
fn loom_three_callers_take_two_slots() {
    in_every_order(|| {
        let circuit = circuit(rules().probes_in_flight(2));
        half_open(&circuit);
        let its = circuit.clone();
        let (one, two) = beside(move || its.try_acquire(), || acquire_two(&circuit));
        let probes: Vec<_> = two.into_iter().chain([one]).flatten().collect();
        assert_eq!((probes.len(), circuit.inner().probes.in_flight(2)), (2, 2));
        drop(probes);
        assert_eq!(circuit.inner().probes.in_flight(2), 0);
    });
}

#[test]
fn loom_a_dropped_probe_gives_its_slot_back() {
    in_every_order(|| {
        let circuit = circuit(rules());
        half_open(&circuit);
        let held = call(&circuit);
        let (_, early) = beside(|| drop(held), || circuit.try_acquire());
        let late = circuit.try_acquire();
        assert!(early.is_ok() != late.is_ok(), "the slot is there once: {early:?}, {late:?}");
    });
}

#[test]
fn loom_a_stragglers_probe_frees_no_later_slot() {
    in_every_order(|| {
        let circuit = circuit(rules());
        half_open(&circuit);
        let straggler = call(&circuit);
        let half_open_again = || {
            half_open(&circuit);
            call(&circuit)
        };
        let (_, held) = beside(|| drop(straggler), half_open_again);
        assert_eq!(circuit.inner().probes.in_flight(3), 1, "the slot is taken");
        drop(held);
        assert!(circuit.inner().probes.occupancy(3, Tick::ZERO).any_free, "and freed by its own probe");
    });
}

#[test]
fn loom_a_stragglers_probe_stays_out_of_the_next_verdict() {
    in_every_order(|| {
        let circuit = circuit(rules().probes(2));
        half_open(&circuit);
        let straggler = call(&circuit);
        let half_open_again = || {
            half_open(&circuit);
            call(&circuit).success();
        };
        beside(|| straggler.success(), half_open_again);
        assert_eq!(era_and_state(&circuit), (3, State::HalfOpen), "one success of two");
        assert_eq!(circuit.inner().probes.verdict(3).successes, 1);
    });
}

/// Forces the circuit open for no time at all.
fn held_no_longer(circuit: &Circuit) {
    circuit.trip(&by(), Some(Duration::ZERO));
}
