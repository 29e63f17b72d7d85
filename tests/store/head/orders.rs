//! Orders of operators go ahead of the changes of machines, and no order is held up or undone by another one.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Kept, Order};
use tower_circuit_breaker::store::{Fault, FaultyStore, Operation, Store};

use super::{REFUSED, audited, circuit, registry, rows, stored};
use crate::lines::Lines;
use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs};

async fn start(store: &(impl Store + Clone), id: &str) -> Instance {
    Instance::start(store, id, Sharing::Advise).await
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_one_order_is_no_error_of_another_circuit() {
    let store = faulty();
    let (registry, _circuits) = registry(&store, &["orders", "payments"]).await;
    store.faults().set_for("orders", &[Operation::CompareAndSet], REFUSED);
    registry.trip("orders", &alice(), None).await.unwrap();
    store.faults().set_for("payments", &[Operation::CompareAndSet], Fault::Hang);
    let kept = registry.trip("payments", &alice(), None).await.unwrap().kept;
    assert!(matches!(&kept, Kept::Here { why, .. } if why.contains("2s") && !why.contains("injected")), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_neither_for_hanging_writes_nor_for_hanging_loads() {
    let names: Vec<_> = (0..40).map(|n| format!("host:{n}")).collect();
    let store = faulty();
    let registry = builder(&store, "a").build().unwrap();
    let hosts: Vec<_> = names.iter().map(|name| circuit(&registry, name)).collect();
    let _payments = circuit(&registry, "payments");
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    for name in &names {
        store.faults().set_for(name, &[Operation::CompareAndSet, Operation::Load], Fault::Hang);
    }
    hosts.iter().for_each(|host| fail(host, 5));
    // All room for automatic writes is taken.
    pass(millis(100)).await;
    let kept = tokio::time::timeout(millis(10), registry.trip("payments", &alice(), None)).await;
    let kept = kept.expect("it does not wait for the others").unwrap().kept;
    assert!(matches!(kept, Kept::Stored { .. }), "{kept:?}");
    pass(millis(10)).await;
    assert!(audited(&store).await.contains(&"trip payments".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn operators_have_room_and_go_first_after_two_thousand_openings() {
    let store = faulty();
    let lines = Lines::collect();
    let registry = builder(&store, "a").build().unwrap();
    let circuits: Vec<_> = (0..2_000).map(|n| circuit(&registry, &format!("host:{n}"))).collect();
    let _targets = ["payments", "stock", "search"].map(|name| circuit(&registry, name));
    assert!(registry.restore(secs(30)).await.unwrap().is_complete());
    store.faults().set(Operation::ALL, DOWN);
    circuits.iter().for_each(|circuit| fail(circuit, 5));
    pass(secs(5)).await;
    let status = registry.store_status().unwrap();
    assert_eq!((status.audit_lost, status.unsaved), (976, 2_000), "{status:?}");
    assert_eq!(lines.with("976 rows of the audit were lost").len(), 1, "the loss is logged once");
    for name in ["stock", "payments", "search"] {
        let kept = registry.trip(name, &alice(), None).await.unwrap().kept;
        assert!(matches!(kept, Kept::Here { .. }), "{kept:?}");
    }
    // The store answers again, and each write takes a while.
    store.faults().heal();
    store.faults().delay(&[Operation::CompareAndSet, Operation::AppendAudit, Operation::Load], millis(50));
    while registry.store_status().unwrap().unsaved == 2_003 {
        pass(millis(10)).await;
    }
    pass(millis(60)).await;
    for name in ["stock", "payments", "search"] {
        assert!(record(store.inner(), name).await.unwrap().operator.is_some(), "`{name}` is stored first");
    }
    let unsaved = registry.store_status().unwrap().unsaved;
    assert!(unsaved > 1_900, "{unsaved}");
    let first: Vec<_> = rows(store.inner()).await.into_iter().filter(|row| row.user.is_some()).collect();
    let acted: Vec<_> = first.iter().map(|row| row.service.as_str()).collect();
    assert_eq!(acted, ["stock", "payments", "search"], "in the order of the acts, and in the first rows");
    pass(secs(15)).await;
    let missing: Vec<_> = rows(store.inner()).await.into_iter().filter(|row| row.action == "missing").collect();
    assert_eq!(missing.len(), 1);
    assert!(missing[0].reason.starts_with("976 rows were lost"), "{missing:?}");
    assert_eq!(registry.store_status().unwrap().audit_rows, 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_order_does_not_supersede_the_next_order_of_its_operator() {
    let store = memory();
    // Without news and without a poll, as with files, the second instance does not know of the first order.
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&store, "a").await, start(&way, "b").await);
    for round in 0..4 {
        way.faults().drop_events();
        let trip = Order::trip(&alice()).id(&format!("click-{round}"));
        assert!(stored(&a.registry.operate("payments", &trip).await.unwrap().kept));
        assert!(stored(&b.registry.operate("payments", &trip).await.unwrap().kept), "it is done already");
        let next = if round % 2 == 0 { Order::resume(&alice()) } else { Order::reset(&alice(), To::Closed).force() };
        let kept = b.registry.operate("payments", &next).await.unwrap().kept;
        assert!(stored(&kept), "round {round}");
        way.faults().heal();
        pass(secs(11)).await;
    }
    let mut acts: Vec<_> = rows(&store).await.into_iter().map(|row| row.action).collect();
    acts.retain(|act| act != "half_opened");
    assert_eq!(acts, ["trip", "resume", "trip", "reset", "trip", "resume", "trip", "reset"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_follows_a_repeated_one_before_its_load_is_done_as_well() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&store, "a").await, start(&way, "b").await);
    way.faults().drop_events();
    let trip = Order::trip(&alice()).id("click-1");
    assert!(stored(&a.registry.operate("payments", &trip).await.unwrap().kept));
    let disable = Order::disable(&alice()).indefinitely();
    let (first, second) = tokio::join!(b.registry.operate("payments", &trip), b.registry.operate("payments", &disable));
    assert!(stored(&first.unwrap().kept) && stored(&second.unwrap().kept), "both are done");
    let operated = record(&store, "payments").await.unwrap().operator.unwrap();
    assert_eq!((operated.act.as_str(), operated.commands.len()), ("disable", 2));
}
