//! What the opening of one instance is to the others.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::state::Reason;
use tower_circuit_breaker::store::{FaultyStore, Operation};
use tower_circuit_breaker::{Failure, State};

use crate::rig::{
    DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, state, succeed,
};

#[tokio::test(start_paused = true)]
async fn an_opening_on_advice_advises_no_other_instance() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(4_500)).await;
    fail(&b.circuit, 2);
    assert_eq!(state(&b.circuit), State::Open);
    // The advice of `a` is over, the opening of `b` is not.
    pass(secs(2)).await;
    let c = Instance::start(&store, "c", Sharing::Advise).await;
    let c = advised_only_by_its_own(c).await;
    assert_eq!(state(&c.circuit), State::Closed);
}

async fn advised_only_by_its_own(instance: Instance) -> Instance {
    // A new instance takes over the published state; this one has closed since.
    for _ in 0..20 {
        if state(&instance.circuit) == State::Closed {
            break;
        }
        pass(secs(1)).await;
        if let Ok(permit) = instance.circuit.try_acquire() {
            permit.success();
        }
    }
    assert_eq!(state(&instance.circuit), State::Closed);
    fail(&instance.circuit, 2);
    instance
}

#[tokio::test(start_paused = true)]
async fn a_close_changes_no_other_instance() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(millis(5_100)).await;
    succeed(&a.circuit, 3);
    pass(secs(30)).await;
    assert_eq!((state(&a.circuit), state(&b.circuit)), (State::Closed, State::Open));
}

#[tokio::test(start_paused = true)]
async fn advice_ends_at_its_deadline() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(5_200)).await;
    fail(&b.circuit, 4);
    assert_eq!(state(&b.circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_standing_difference_writes_nothing() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(20)).await;
    assert_ne!(state(&a.circuit), state(&b.circuit));
    let before = store.faults().operations(Operation::CompareAndSet);
    for _ in 0..600 {
        succeed(&b.circuit, 1);
        pass(secs(1)).await;
    }
    assert_eq!(store.faults().operations(Operation::CompareAndSet), before);
}

#[tokio::test(start_paused = true)]
async fn a_returning_follower_adopts_the_last_decision() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = Instance::start(&store, "a", Sharing::Follow).await;
    let b = Instance::start(&way, "b", Sharing::Follow).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(state(&b.circuit), State::Open);
    way.faults().set(Operation::ALL, DOWN);
    way.faults().end_watches();
    pass(secs(5)).await;
    drop(a.circuit.try_acquire());
    for _ in 0..3 {
        pass(millis(300)).await;
        succeed(&a.circuit, 1);
    }
    // Without an answer of the store, the other instance probes alone after some seconds.
    pass(secs(15)).await;
    assert_eq!(state(&a.circuit), State::Closed);
    // Cut off, it opens again by its own failures, later than the other closed.
    drop(b.circuit.try_acquire());
    fail(&b.circuit, 1);
    assert_eq!(state(&b.circuit), State::Open);
    pass(secs(30)).await;
    way.faults().heal();
    pass(secs(60)).await;
    let generation = record(&store, "payments").await.unwrap().generation;
    for instance in [&a, &b] {
        let status = instance.circuit.status();
        assert_eq!((status.state, status.generation), (State::Closed, generation), "what was made on less is dropped");
    }
    let adopted = b.circuit.status().transitions.pop().unwrap();
    assert_eq!((adopted.to.state, adopted.reason), (State::Closed, Reason::Fleet));
}

#[tokio::test(start_paused = true)]
async fn a_follower_keeps_its_own_opening_if_that_ends_later() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Follow).await;
    let b = Instance::start(&store, "b", Sharing::Follow).await;
    // The service asks only the first instance for no calls, and both open at the same time.
    a.circuit.try_acquire().unwrap().record(Failure::hard().with_retry_after(secs(200)).trips_at_once().into());
    fail(&b.circuit, 5);
    for _ in 0..19 {
        pass(secs(10)).await;
        assert!(a.circuit.try_acquire().is_err(), "{:?}", a.circuit.status());
    }
}

#[tokio::test(start_paused = true)]
async fn no_older_state_is_published_over_a_reset_of_the_same_moment() {
    let shared = memory();
    let away = FaultyStore::new(shared.clone());
    let a = Instance::start(&shared, "a", Sharing::Advise).await;
    a.circuit.trip(&alice(), None);
    pass(secs(1)).await;
    away.faults().set(Operation::ALL, DOWN);
    let registry = builder(&away, "b").sharing(Sharing::Advise).build().unwrap();
    let b = registry.circuit(settings("payments").build().unwrap()).unwrap();
    registry.start().unwrap();
    pass(secs(1)).await;
    fail(&b, 5);
    a.circuit.reset(&alice(), To::Closed);
    pass(secs(1)).await;
    away.faults().heal();
    pass(secs(40)).await;
    let published = record(&shared, "payments").await.unwrap().state;
    assert_eq!((state(&b), published), (State::Closed, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn while_a_local_reset_waits_no_older_state_is_followed() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = Instance::start(&way, "a", Sharing::Follow).await;
    let b = Instance::start(&store, "b", Sharing::Follow).await;
    way.faults().set(&[Operation::CompareAndSet], DOWN);
    // Closed already, so that it is no transition that waits.
    a.circuit.reset(&alice(), To::Closed);
    fail(&b.circuit, 5);
    pass(secs(4)).await;
    assert_eq!((state(&a.circuit), state(&b.circuit)), (State::Closed, State::Open), "an operator has closed it");
    way.faults().heal();
    pass(secs(60)).await;
    assert_eq!((state(&a.circuit), state(&b.circuit)), (State::Closed, State::Closed), "and the others hear of it");
}
