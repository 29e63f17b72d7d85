//! Loom models of the half-open state. The circuit becomes half-open only once, no slot is taken twice or lost, and a
//! late end of a probe changes no later era.

use super::*;
use crate::circuit::probes::{Judged, Probe};
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
            let circuit = circuit(rules().probes_in_flight(2).probes(2));
            begin(&circuit);
            let both = acquire_two(&circuit);
            assert!(matches!(both, [Ok(_), Ok(_)]), "two slots, two probes: {both:?}");
        });
    }
}

#[test]
fn loom_three_callers_take_two_slots() {
    in_most_orders(|| {
        let circuit = circuit(rules().probes_in_flight(2).probes(2));
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
fn loom_a_probe_that_ends_gives_its_slot_back() {
    in_most_orders(|| {
        let circuit = circuit(rules().probes(3));
        half_open(&circuit);
        let held = call(&circuit);
        let (_, early) = beside(|| held.success(), || circuit.try_acquire());
        let late = circuit.try_acquire();
        assert!(early.is_ok() != late.is_ok(), "the slot is there once: {early:?}, {late:?}");
        // Without this check, the second slot of the circuit could hide that the first slot was not freed.
        assert_eq!(circuit.inner().probes.in_flight(2), 1, "the slot of the ended probe is free");
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
        assert!(
            circuit.inner().probes.verdict(3).can_use_another(&circuit.config().probes),
            "and freed by its own probe"
        );
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

#[test]
fn loom_a_round_admits_no_more_probes_than_its_verdict_can_use() {
    in_most_orders(|| {
        let circuit = circuit(rules().probes_in_flight(2).probes(2));
        half_open(&circuit);
        let first = call(&circuit);
        let (_, others) = beside(|| first.success(), || acquire_two(&circuit));
        let admitted = others.iter().flatten().filter(|permit| permit.is_probe()).count();
        assert_eq!(admitted, 1, "one success is there or under way, and one is missing");
    });
}

#[test]
fn loom_an_overdue_slot_is_given_back_once() {
    in_every_order(|| {
        let circuit = half_open_with_an_overdue_probe().0;
        let its = circuit.clone();
        let (one, other) = beside(move || take_late(&its), || take_late(&circuit));
        let taken = usize::from(one.is_some()) + usize::from(other.is_some());
        assert_eq!((taken, circuit.inner().probes.in_flight(2)), (1, 1));
    });
}

#[test]
fn loom_the_late_end_of_an_overdue_probe_frees_no_slot_of_another() {
    in_every_order(|| {
        let (circuit, overdue) = half_open_with_an_overdue_probe();
        let its = circuit.clone();
        let (next, _) = beside(move || take_late(&its), || circuit.inner().probes.end(2, overdue, Judged::Success));
        let probes = &circuit.inner().probes;
        assert_eq!(probes.verdict(2).successes, 1, "the late success counts");
        assert_eq!(probes.in_flight(2), usize::from(next.is_some()));
        // In both orders of the two threads, only one probe may be under way at a time.
        assert_eq!(take_late(&circuit).is_some(), next.is_none());
    });
}

#[test]
fn loom_a_grant_reaches_no_later_era() {
    in_every_order(|| {
        let circuit = leased(rules());
        let its = circuit.clone();
        let (granted, _) = beside(move || its.grant(2), || half_open(&circuit));
        let rejected = circuit.try_acquire();
        assert!(rejected.is_err(), "era 3 has no grant, granted in era 2: {granted}");
        assert!(circuit.grant(3) && call(&circuit).is_probe());
    });
}

#[test]
fn loom_two_callers_take_one_grant_once() {
    in_every_order(|| {
        let circuit = leased(rules().probes_in_flight(2).probes(2));
        circuit.grant(2);
        let both = acquire_two(&circuit);
        assert!(matches!(both, [Ok(_), Err(_)] | [Err(_), Ok(_)]), "one grant, one probe: {both:?}");
        assert_eq!(slots(&circuit), (0, 1));
    });
}

#[test]
fn loom_a_grant_is_taken_or_taken_back() {
    in_every_order(|| {
        let circuit = leased(rules());
        circuit.grant(2);
        let its = circuit.clone();
        let (_, probe) = beside(move || its.withhold(2), || circuit.try_acquire());
        assert_eq!(slots(&circuit), (0, u32::from(probe.is_ok())));
        drop(probe);
        assert!(circuit.try_acquire().is_err());
    });
}

#[test]
fn loom_a_grant_beside_the_end_of_a_probe_admits_one_call() {
    in_every_order(|| {
        let circuit = leased(rules().probes(3));
        circuit.grant(2);
        let held = call(&circuit);
        let its = circuit.clone();
        let (_, granted) = beside(|| held.success(), move || its.grant(2));
        assert!(granted, "one slot is taken or withheld again, and the other is withheld");
        assert_eq!(slots(&circuit), (1, 0), "the slot of the ended probe is withheld");
        call(&circuit).success();
        assert!(circuit.try_acquire().is_err());
    });
}

#[test]
fn loom_leases_that_end_beside_a_grant_admit_no_extra_probe() {
    in_most_orders(|| {
        let circuit = leased(rules().probes(3));
        let (switch, granted) = (circuit.clone(), circuit.clone());
        let threads = [
            spawn(move || {
                switch.lease_probes(Duration::ZERO);
                switch.try_acquire()
            }),
            spawn(move || {
                granted.grant(2);
                granted.try_acquire()
            }),
        ];
        begin();
        let both = threads.map(joined);
        assert!(matches!(both, [Ok(_), Err(_)] | [Err(_), Ok(_)]), "one probe at a time: {both:?}");
        assert!(circuit.try_acquire().is_err());
        assert_eq!(slots(&circuit).1, 1);
    });
}

#[test]
fn loom_a_call_of_a_later_era_finds_the_leases() {
    in_every_order(|| {
        let circuit = circuit(rules());
        let its = circuit.clone();
        let lease = move || {
            its.lease_probes(TEN);
            half_open(&its);
        };
        let (_, call) = beside(lease, || circuit.try_acquire());
        assert!(!call.is_ok_and(|permit| permit.is_probe()), "no grant is there");
    });
}

fn half_open_with_an_overdue_probe() -> (Circuit, Probe) {
    let circuit = circuit(rules().probes(3));
    half_open(&circuit);
    let overdue = circuit.inner().probes.take(2, Tick::ZERO, &circuit.inner().config.probes, false);
    (circuit, overdue.expect("a slot is free"))
}

/// Takes back the slots of probes that are overdue after a minute. Then takes a slot for a new probe. `None` if no slot
/// is free.
fn take_late(circuit: &Circuit) -> Option<Probe> {
    let (late, inner) = (Tick::from_nanos(60_000_000_000), circuit.inner());
    inner.probes.reclaim(2, late, inner.config.probes.deadline);
    inner.probes.take(2, late, &inner.config.probes, false)
}

/// Forces the circuit open with a hold of zero length, which is over at once.
fn held_no_longer(circuit: &Circuit) {
    circuit.trip(&by(), Some(Duration::ZERO));
}

/// Returns a half-open circuit whose probes need leases.
fn leased(config: ConfigBuilder) -> Circuit {
    let circuit = circuit(config);
    circuit.lease_probes(TEN);
    half_open(&circuit);
    circuit
}

/// Returns the number of grants that no call has used, and the number of probes that have a slot.
fn slots(circuit: &Circuit) -> (u32, u32) {
    circuit.probing().map_or((0, 0), |probed| (probed.granted, probed.under_way))
}
