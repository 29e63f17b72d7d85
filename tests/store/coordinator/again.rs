//! Orders that are given again, and orders that wait for long.

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Done, Kept, Order};
use tower_circuit_breaker::store::{Fault, Operation, StoreErrorKind, TieredStore};

use crate::rig::{Instance, alice, audited, faulty, memory, millis, pass, record, secs};

const REFUSED: Fault = Fault::Fail(StoreErrorKind::Refused);

async fn order(instance: &Instance, order: &Order) -> Done {
    instance.registry.operate("payments", order).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_repeated_order_is_cached_until_the_durable_tier_has_its_record() {
    let durable = faulty();
    let a = Instance::start(&TieredStore::new(memory(), durable.clone()), "a", Sharing::Advise).await;
    durable.faults().set(&[Operation::CompareAndSet], REFUSED);
    let trip = Order::trip(&alice()).id("click-1");
    for _ in 0..3 {
        let done = order(&a, &trip).await;
        assert!(matches!(done.kept, Kept::Cached { durable: "memory", .. }), "{done:?}");
        pass(secs(3)).await;
    }
    durable.faults().heal();
    pass(secs(120)).await;
    assert!(record(&durable, "payments").await.unwrap().operator.is_some());
    let done = order(&a, &trip).await;
    assert!(matches!(done.kept, Kept::Stored { .. }), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_repeated_during_a_write_back_has_its_answer_after_the_write() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let trip = Order::trip(&alice()).id("click-1");
    assert!(matches!(order(&a, &trip).await.kept, Kept::Stored { .. }));
    store.inner().flush();
    store.faults().delay(&[Operation::CompareAndSet], millis(900));
    // The next poll finds that the record is lost, and the record is written back.
    while a.registry.store_status().unwrap().unsaved == 0 {
        pass(millis(20)).await;
    }
    let done = order(&a, &trip).await;
    assert!(matches!(done.kept, Kept::Stored { .. }), "{done:?}");
    assert_eq!(audited(&store).await, ["trip a"]);
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_an_order_that_waits_is_not_of_an_earlier_order() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(&[Operation::CompareAndSet], REFUSED);
    let done = order(&a, &Order::trip(&alice())).await;
    assert!(matches!(&done.kept, Kept::Here { why, .. } if why.contains("refused")), "{done:?}");
    // The next task has the order, and the reason of the last task.
    assert!(!a.registry.shutdown(secs(1)).await.is_complete());
    store.faults().heal();
    a.registry.start().unwrap();
    pass(secs(60)).await;
    assert!(record(&store, "payments").await.unwrap().operator.is_some());
    store.faults().set(&[Operation::CompareAndSet], Fault::Hang);
    let done = order(&a, &Order::disable(&alice()).indefinitely()).await;
    assert!(matches!(&done.kept, Kept::Here { why, .. } if !why.contains("refused")), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_needs_a_load_begins_one_load() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(&[Operation::CompareAndSet], REFUSED);
    store.faults().delay(&[Operation::Load], secs(1));
    let before = store.faults().operations(Operation::Load);
    a.circuit.trip(&alice(), None);
    // Each event of the task is an occasion to write the order, and the version of the record is unknown.
    for _ in 0..45 {
        pass(millis(20)).await;
        drop(a.registry.restore(secs(0)).await.unwrap());
    }
    let loads = store.faults().operations(Operation::Load) - before;
    assert!(loads <= 2, "{loads} loads, and one can be a poll");
}
