//! Whoever waits for an order is told what became of it, and the log what failed.

use super::*;
use crate::lines::Lines;

#[tokio::test(start_paused = true)]
async fn a_replaced_or_forgotten_order_is_answered_as_superseded() {
    let store = faulty();
    let a = start(&store, "a").await;
    order(&a, &Order::trip(&alice())).await.unwrap();
    store.faults().delay(&[Operation::Delete, Operation::CompareAndSet], millis(100));
    let (one, two) = (Order::forget(&alice()), Order::forget(&bob()));
    let (one, two) = tokio::join!(order(&a, &one), order(&a, &two));
    assert!(one.as_ref().is_ok_and(is_stored) && two.as_ref().is_ok_and(is_stored), "{one:?} {two:?}");
    let (trip, forget) = (Order::trip(&alice()), Order::forget(&bob()));
    let (tripped, forgotten) = tokio::join!(order(&a, &trip), order(&a, &forget));
    assert!(matches!(tripped, Err(Refused::Superseded { .. })), "{tripped:?}");
    assert!(forgotten.as_ref().is_ok_and(is_stored), "{forgotten:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_replaced_by_an_overtaken_order_is_answered_as_superseded() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&way, "a").await, start(&store, "b").await);
    order(&a, &Order::trip(&bob())).await.unwrap();
    order(&a, &Order::resume(&bob())).await.unwrap();
    pass(secs(1)).await;
    way.faults().delay(&[Operation::CompareAndSet], millis(100));
    let (first, second, by_b) = (Order::trip(&alice()), Order::resume(&alice()), Order::disable(&bob()).indefinitely());
    let (first, second, by_b) = tokio::join!(order(&a, &first), order(&a, &second), order(&b, &by_b));
    assert!(by_b.as_ref().is_ok_and(is_stored), "{by_b:?}");
    assert!(matches!(second, Err(Refused::Superseded { .. })), "{second:?}");
    assert!(matches!(first, Err(Refused::Superseded { .. })), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_ends_before_its_write_is_always_audited_as_expired() {
    for n in 1..40 {
        let store = faulty();
        let a = start(&store, "a").await;
        store.faults().set(&[Operation::CompareAndSet], DOWN);
        order(&a, &Order::trip(&alice()).hold(millis(n * 250))).await.ok();
        pass(secs(15)).await;
        store.faults().heal();
        pass(secs(60)).await;
        assert_eq!(acts(&store).await, ["trip alice", "expired alice"], "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_forget_is_logged_as_a_failed_deletion() {
    let store = faulty();
    let a = start(&store, "a").await;
    order(&a, &Order::trip(&alice())).await.unwrap();
    let lines = Lines::collect();
    store.faults().set(&[Operation::Delete], DOWN);
    order(&a, &Order::forget(&alice())).await.ok();
    assert_eq!(lines.with("failed to delete").len(), 1);
}
