//! An order with an id is carried out once, also if another instance gets the order again or a process ends between.

use std::pin::pin;
use std::task::{Context, Waker};

use tower_circuit_breaker::operation::{Kept, Order, Refused};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{Fault, FaultyStore, Operation};

use super::super::{acts, bob, is_stored, mode, order};
use super::start;
use crate::rig::{DOWN, alice, memory, millis, pass, record, secs};

#[tokio::test(start_paused = true)]
async fn a_repeated_order_has_no_second_effect_on_any_instance() {
    let store = memory();
    let (a, b) = (start(&store, "a").await, start(&store, "b").await);
    let trip = Order::trip(&alice()).id("click-1");
    assert!(order(&a, &trip).await.unwrap().transition.is_some());
    pass(millis(10)).await;
    order(&b, &Order::resume(&bob())).await.unwrap();
    pass(secs(5)).await;
    for instance in [&a, &b] {
        let again = order(instance, &trip).await.unwrap();
        assert!(again.transition.is_none() && is_stored(&again), "{again:?}");
        assert_eq!(mode(instance), Mode::Automatic, "what was done since stays");
    }
    pass(secs(5)).await;
    assert_eq!(acts(&store).await, ["trip alice", "resume bob"]);
}

#[tokio::test(start_paused = true)]
async fn one_order_given_to_two_unconnected_instances_is_one_act() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&way, "a").await, start(&store, "b").await);
    way.faults().set(Operation::ALL, DOWN);
    way.faults().end_watches();
    let trip = Order::trip(&alice()).id("click-1");
    assert!(matches!(order(&a, &trip).await.unwrap().kept, Kept::Here { .. }));
    assert!(is_stored(&order(&b, &trip).await.unwrap()));
    let sequence = record(&store, "payments").await.unwrap().operator.unwrap().sequence;
    way.faults().heal();
    pass(secs(60)).await;
    assert_eq!(record(&store, "payments").await.unwrap().operator.unwrap().sequence, sequence);
    assert_eq!(acts(&store).await, ["trip alice"]);
    assert_eq!([mode(&a), mode(&b)], [Mode::ForcedOpen; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_order_in_the_store_undoes_the_local_act() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&way, "a").await, start(&store, "b").await);
    way.faults().set(Operation::ALL, DOWN);
    way.faults().end_watches();
    assert!(is_stored(&order(&b, &Order::trip(&bob()).id("OPS-12")).await.unwrap()));
    let disable = Order::disable(&alice()).indefinitely().id("OPS-12");
    assert!(matches!(order(&a, &disable).await.unwrap().kept, Kept::Here { .. }));
    assert_eq!(mode(&a), Mode::Disabled);
    way.faults().heal();
    pass(secs(60)).await;
    assert_eq!([mode(&a), mode(&b)], [Mode::ForcedOpen; 2]);
    assert_eq!(acts(&store).await, ["trip bob", "disable alice", "superseded alice"]);
    for instance in [&a, &b] {
        let refused = order(instance, &Order::resume(&bob()).id("OPS-12")).await;
        assert!(matches!(&refused, Err(Refused::IdUsed { id, .. }) if id == "OPS-12"), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_replaced_before_its_write_is_not_done_later_elsewhere() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&way, "a").await, start(&store, "b").await);
    way.faults().set(Operation::ALL, DOWN);
    let trip = Order::trip(&alice()).id("click-1");
    order(&a, &trip).await.unwrap();
    order(&a, &Order::disable(&bob()).indefinitely()).await.unwrap();
    way.faults().heal();
    pass(secs(60)).await;
    let again = order(&b, &trip).await.unwrap();
    assert_eq!((again.transition, mode(&b)), (None, Mode::Disabled));
    assert_eq!(acts(&store).await, ["trip alice", "disable bob"]);
}

#[tokio::test(start_paused = true)]
async fn an_act_lost_with_its_process_is_done_once_when_repeated() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = start(&way, "a").await;
    let trip = Order::trip(&alice()).id("click-1");
    // Between the act and its write.
    way.faults().delay(&[Operation::CompareAndSet], secs(1));
    {
        let mut answer = pin!(order(&a, &trip));
        assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        pass(millis(100)).await;
    }
    assert_eq!(mode(&a), Mode::ForcedOpen);
    drop(a);
    way.faults().heal();
    let a = start(&way, "a").await;
    assert_eq!(mode(&a), Mode::Automatic, "nobody knows of it");
    assert!(order(&a, &trip).await.unwrap().transition.is_some());
    pass(secs(1)).await;
    assert_eq!(acts(&store).await, ["trip alice"]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_act_of_a_dead_process_is_audited_when_repeated() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = start(&way, "a").await;
    let trip = Order::trip(&alice()).id("click-1");
    way.faults().set(&[Operation::CompareAndSet], Fault::LoseReply);
    way.faults().set(&[Operation::AppendAudit], DOWN);
    {
        let mut answer = pin!(order(&a, &trip));
        assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        pass(millis(10)).await;
    }
    drop(a);
    way.faults().heal();
    let a = start(&way, "a").await;
    assert_eq!(mode(&a), Mode::ForcedOpen, "it was written");
    let done = order(&a, &trip).await.unwrap();
    assert!(done.transition.is_none() && is_stored(&done), "{done:?}");
    pass(secs(1)).await;
    assert_eq!(acts(&store).await, ["trip alice"]);
}
