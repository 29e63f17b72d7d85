//! Groups beside a store: a restore and a decision of the fleet need an open slot, and orders need none.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::event::{Event, observer_fn};
use tower_circuit_breaker::state::{Mode, Reason};
use tower_circuit_breaker::{Circuit, Config, Failure, Group, OpenDuration, State};

use super::quorum::three;
use crate::rig::{Instance, alice, fail, memory, millis, pass, record, secs, settings, state, succeed};

/// A group whose only slot a circuit of another service has.
fn full() -> (Group, Circuit) {
    let group = Group::new("endpoints");
    let other =
        Circuit::new(settings("other").open_for(OpenDuration::fixed(secs(3_600))).group(&group).build().unwrap());
    fail(&other, 5);
    assert_eq!((state(&other), group.open()), (State::Open, 1));
    (group, other)
}

fn grouped(group: &Group) -> Config {
    settings("payments").open_for(OpenDuration::fixed(secs(60))).group(group).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_restore_without_a_slot_leaves_the_circuit_closed() {
    for sharing in [Sharing::Advise, Sharing::Follow, Sharing::Quorum] {
        let store = memory();
        let before = Instance::with(&store, "a", sharing, grouped(&Group::new("before"))).await;
        fail(&before.circuit, 5);
        pass(millis(500)).await;
        assert_eq!(record(&store, "payments").await.unwrap().instances["a"].state, State::Open);
        before.end().await;

        let (group, other) = full();
        let again = Instance::with(&store, "a", sharing, grouped(&group)).await;
        assert_eq!((state(&again.circuit), group.open(), group.members()), (State::Closed, 1, 2), "{sharing:?}");
        assert!(again.circuit.totals().suppressed >= 1, "{sharing:?}");
        assert!(again.circuit.would_admit(), "the restore has ended");
        pass(secs(15)).await;
        let entry = &record(&store, "payments").await.unwrap().instances["a"];
        assert_eq!(entry.state, State::Closed, "{sharing:?}: the record says what the circuit is: {entry:?}");

        other.reset(&alice(), To::Closed);
        // The suppressed decision of a fleet is advice, so that two failures can be enough.
        (0..5).filter_map(|_| again.circuit.try_acquire().ok()).for_each(|permit| permit.failure(Failure::hard()));
        assert_eq!(state(&again.circuit), State::Open, "{sharing:?}: with a slot it opens by its own evidence");
        again.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_with_a_slot_opens_and_takes_the_slot() {
    let store = memory();
    let group = Group::new("endpoints");
    let before = Instance::with(&store, "a", Sharing::Advise, grouped(&group)).await;
    fail(&before.circuit, 5);
    pass(millis(500)).await;
    before.end().await;
    assert_eq!((group.open(), group.members()), (0, 0), "the slot went with the circuit");
    let again = Instance::with(&store, "a", Sharing::Advise, grouped(&group)).await;
    assert_eq!((state(&again.circuit), group.open()), (State::Open, 1));
}

#[tokio::test(start_paused = true)]
async fn a_decision_of_the_fleet_without_a_slot_is_advice() {
    let store = memory();
    let (group, other) = full();
    let [a, b, _c] = three(&store).await;
    let (seen, declined) = std::sync::mpsc::channel();
    let observer = observer_fn(move |_, event| {
        if matches!(event, Event::FleetDeclined) {
            seen.send(()).unwrap();
        }
    });
    let config =
        settings("payments").group(&group).observer(observer).open_for(OpenDuration::fixed(secs(60))).build().unwrap();
    let d = Instance::with(&store, "d", Sharing::Quorum, config).await;
    pass(secs(15)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(3)).await;
    let decision = || async { record(&store, "payments").await.unwrap().fleet.unwrap().state };
    assert_eq!(decision().await, State::Open);
    let status = d.circuit.status();
    assert_eq!(status.state, State::Closed);
    assert_eq!(status.suppressed.expect("it was suppressed").reason, Reason::Fleet);
    assert_eq!(declined.try_iter().count(), 1, "an opening is declined once");
    // With the advice two failures are enough.
    other.reset(&alice(), To::Closed);
    fail(&d.circuit, 2);
    let edge = d.circuit.status().transitions.pop().expect("it has opened");
    assert!(matches!(edge.reason, Reason::Advised { .. }), "{edge:?}");
}

#[tokio::test(start_paused = true)]
async fn a_suppressed_decision_is_adopted_once_a_slot_is_free() {
    for sharing in [Sharing::Quorum, Sharing::Follow] {
        let store = memory();
        let (group, other) = full();
        let open_for = || settings("payments").open_for(OpenDuration::fixed(secs(60)));
        let mut others = Vec::new();
        for id in ["a", "b"] {
            others.push(Instance::with(&store, id, sharing, open_for().build().unwrap()).await);
        }
        let member = Instance::with(&store, "c", sharing, open_for().group(&group).build().unwrap()).await;
        pass(secs(15)).await;
        others.iter().for_each(|instance| {
            if state(&instance.circuit) == State::Closed {
                fail(&instance.circuit, 5);
            }
        });
        pass(secs(3)).await;
        assert_eq!(state(&member.circuit), State::Closed, "{sharing:?}");
        other.reset(&alice(), To::Closed);
        pass(secs(20)).await;
        let edge = member.circuit.status().transitions.pop();
        let reason = edge.map(|edge| (edge.to.state, edge.reason));
        assert!(matches!(reason, Some((State::Open, Reason::Followed | Reason::Fleet))), "{sharing:?}: {reason:?}");
        assert_eq!(group.open(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_fleets_opening_gives_the_slot_back() {
    let store = memory();
    let group = Group::new("endpoints");
    let [a, b, c] = three(&store).await;
    let config = settings("payments").group(&group).build().unwrap();
    let d = Instance::with(&store, "d", Sharing::Quorum, config).await;
    pass(secs(15)).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(secs(1)).await;
    assert_eq!((d.circuit.state(), group.open()), (State::Open, 1));
    for _ in 0..60 {
        pass(millis(500)).await;
        for instance in [&a, &b, &c, &d] {
            if let Ok(permit) = instance.circuit.try_acquire() {
                permit.success();
            }
        }
    }
    assert_eq!((d.circuit.state(), group.open()), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_an_operator_is_restored_without_a_slot() {
    let store = memory();
    let before = Instance::with(&store, "a", Sharing::Advise, grouped(&Group::new("before"))).await;
    fail(&before.circuit, 5);
    before.circuit.trip(&alice(), Some(secs(600)));
    pass(millis(500)).await;
    before.end().await;
    let (group, _other) = full();
    let again = Instance::with(&store, "a", Sharing::Advise, grouped(&group)).await;
    let status = again.circuit.status();
    assert_eq!((status.state, status.mode, group.open()), (State::Closed, Mode::ForcedOpen, 1));
    assert!(!again.circuit.would_admit());
}

#[tokio::test(start_paused = true)]
async fn an_order_for_every_circuit_needs_no_slot() {
    let store = memory();
    let (group, _other) = full();
    let instance = Instance::with(&store, "a", Sharing::Advise, grouped(&group)).await;
    succeed(&instance.circuit, 1);
    instance.circuit.trip(&alice(), None);
    pass(millis(500)).await;
    assert!(instance.circuit.is_open());
    assert_eq!(group.open(), 1);
}
