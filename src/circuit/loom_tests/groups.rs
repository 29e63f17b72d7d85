//! Loom models of groups. The circuits of a group share open slots.

use super::*;
use crate::group::Group;

/// Returns circuits of one group. Each circuit opens at its first failure.
fn members<const N: usize>(group: &Group) -> [Circuit; N] {
    std::array::from_fn(|_| circuit(rules().consecutive_failures(1).group(group)))
}

fn group() -> Group {
    Group::new("model")
}

fn is_open(circuit: &Circuit) -> bool {
    era_and_state(circuit).1 == State::Open
}

fn open(circuits: &[Circuit]) -> u32 {
    u32::try_from(circuits.iter().filter(|circuit| is_open(circuit)).count()).expect("a few")
}

#[test]
fn loom_two_members_that_fail_take_one_slot() {
    in_every_order(|| {
        let group = group();
        let circuits: [_; 2] = members(&group);
        let (one, other) = (call(&circuits[0]), call(&circuits[1]));
        beside(|| fail(one), || fail(other));
        assert_eq!((open(&circuits), group.open()), (1, 1));
        assert_eq!(circuits.each_ref().map(|circuit| circuit.totals().suppressed).iter().sum::<u64>(), 1);
    });
}

#[test]
fn loom_a_slot_is_free_only_after_the_closing() {
    in_every_order(|| {
        let group = group();
        let [first, second] = members(&group);
        fail(call(&first));
        let (permit, its) = (call(&second), first.clone());
        beside(
            move || close(&its),
            || {
                fail(permit);
                if is_open(&second) {
                    assert!(!is_open(&first), "two circuits are open with one slot");
                }
            },
        );
        assert_eq!(open(&[first, second]), group.open());
    });
}

#[test]
fn loom_a_member_that_leaves_takes_no_slot_along() {
    in_every_order(|| {
        let group = group();
        let [first, second] = members(&group);
        let (permit, its) = (call(&first), first.clone());
        // The first circuit is evicted while a call of that circuit fails.
        beside(move || its.inner().leave_group(), || fail(permit));
        assert_eq!((group.open(), group.members()), (0, 1));
        fail(call(&second));
        assert!(is_open(&second), "the slot is free");
    });
}

#[test]
fn loom_members_that_leave_lose_no_slot() {
    in_every_order(|| {
        let group = group();
        let [first, second, third] = members(&group);
        let permit = call(&first);
        beside(move || drop(third), || fail(permit));
        assert_eq!((open(&[first, second]), group.open(), group.members()), (1, 1, 2));
    });
}

#[test]
fn loom_two_failures_of_a_member_are_not_suppressed_by_its_own_slot() {
    in_most_orders(|| {
        let group = group();
        let [first] = members(&group);
        fail_two(&first);
        assert_eq!((era_and_state(&first), group.open(), first.totals().suppressed), ((2, State::Open), 1, 0));
    });
}
