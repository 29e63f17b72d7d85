//! Orders to registries that share a store.

mod once;
mod told;

use tower_circuit_breaker::State;
use tower_circuit_breaker::clock::{Clock, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Kept, Order, Refused};
use tower_circuit_breaker::state::{Generation, Mode};
use tower_circuit_breaker::store::{Fault, FaultyStore, Operation, Store};

use super::{acts, bob, is_stored, mode, order, reset};
use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, state};

async fn start(store: &(impl Store + Clone), id: &str) -> Instance {
    Instance::start(store, id, Sharing::Advise).await
}

#[tokio::test(start_paused = true)]
async fn an_answered_order_is_stored_and_applies_to_every_instance() {
    let store = memory();
    let (a, b) = (start(&store, "a").await, start(&store, "b").await);
    let done = order(&a, &Order::trip(&alice()).hold(secs(600))).await.unwrap();
    let record = record(&store, "payments").await.unwrap();
    assert_eq!(done.kept.to_string(), "the act is stored, with its row of the audit");
    assert!(matches!(done.kept, Kept::Stored { generation, .. } if generation == record.latest()), "{done:?}");
    assert_eq!(record.operator.unwrap().user, "alice");
    pass(millis(10)).await;
    assert_eq!(mode(&b), Mode::ForcedOpen);
    assert_eq!(acts(&store).await, ["trip alice"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_during_an_outage_applies_locally_and_is_stored_later_once() {
    let store = faulty();
    let a = start(&store, "a").await;
    store.faults().set(Operation::ALL, DOWN);
    let done = order(&a, &Order::trip(&alice())).await.unwrap();
    assert!(matches!(&done.kept, Kept::Here { pending: 1, why, .. } if why.contains("injected")), "{done:?}");
    assert_eq!(mode(&a), Mode::ForcedOpen, "at once, whatever the store does");
    store.faults().heal();
    pass(secs(60)).await;
    assert_eq!(record(&store, "payments").await.unwrap().operator.unwrap().user, "alice");
    let again = order(&a, &Order::trip(&alice())).await.unwrap();
    assert!(is_stored(&again), "{again:?}");
    assert_eq!(acts(&store).await, ["trip alice"; 2]);
}

#[tokio::test(start_paused = true)]
async fn of_two_simultaneous_operators_one_is_refused_and_both_are_audited() {
    let store = faulty();
    let (a, b) = (start(&store, "a").await, start(&store, "b").await);
    // Both know of it.
    order(&a, &Order::trip(&bob())).await.unwrap();
    order(&a, &Order::resume(&bob())).await.unwrap();
    pass(secs(1)).await;
    store.faults().delay(&[Operation::CompareAndSet], millis(100));
    let (trip, disable) = (Order::trip(&alice()), Order::disable(&bob()).indefinitely());
    let (first, second) = tokio::join!(order(&a, &trip), order(&b, &disable));
    let told = [&first, &second].map(|answer| answer.as_ref().err().map(ToString::to_string));
    let refused: Vec<_> = told.iter().flatten().collect();
    assert_eq!(refused.len(), 1, "{told:?}");
    assert!(refused[0].starts_with("the order was superseded: ") && refused[0].contains(" meanwhile: "), "{refused:?}");
    pass(secs(5)).await;
    let expected = if first.is_ok() { Mode::ForcedOpen } else { Mode::Disabled };
    assert_eq!([mode(&a), mode(&b)], [expected; 2]);
    let mut rows = acts(&store).await.split_off(2);
    rows.sort();
    let loser = if first.is_ok() { "superseded bob" } else { "superseded alice" };
    assert_eq!(rows, ["disable bob", loser, "trip alice"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_on_a_changed_circuit_is_refused_on_every_instance() {
    let store = memory();
    let (a, b) = (start(&store, "a").await, start(&store, "b").await);
    let seen = a.circuit.status().latest;
    order(&a, &Order::trip(&alice())).await.unwrap();
    pass(millis(10)).await;
    for instance in [&a, &b] {
        let refused = order(instance, &Order::disable(&bob()).indefinitely().seen(seen)).await.unwrap_err();
        assert!(matches!(refused, Refused::Stale { .. }), "{refused:?}");
        assert!(refused.to_string().starts_with("the circuit has changed since you looked"), "{refused}");
    }
    let seen = b.circuit.status().latest;
    assert!(
        is_stored(&order(&a, &Order::disable(&bob()).indefinitely().seen(seen)).await.unwrap()),
        "b's page, a's click"
    );
    assert_eq!(acts(&store).await, ["trip alice", "disable bob"]);
}

#[tokio::test(start_paused = true)]
async fn the_cooldown_counts_from_leaving_closed_across_restarts_and_instances() {
    let store = memory();
    let a = start(&store, "a").await;
    fail(&a.circuit, 5);
    pass(secs(20)).await;
    a.end().await;
    let (a, b) = (start(&store, "a").await, start(&store, "b").await);
    for instance in [&a, &b] {
        let refused = order(instance, &reset()).await.unwrap_err();
        assert!(
            matches!(refused, Refused::Cooldown { left, .. } if (secs(39)..=secs(40)).contains(&left)),
            "{refused:?}"
        );
    }
    assert_eq!(state(&a.circuit), State::Open);
    pass(secs(40)).await;
    assert!(is_stored(&order(&b, &reset()).await.unwrap()));
    pass(millis(10)).await;
    assert_eq!([state(&a.circuit), state(&b.circuit)], [State::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_trip_by_hand_keeps_its_age_on_later_instances() {
    let store = memory();
    let a = start(&store, "a").await;
    order(&a, &Order::trip(&alice())).await.unwrap();
    pass(secs(50)).await;
    let b = start(&store, "b").await;
    let refused = order(&b, &reset()).await.unwrap_err();
    assert!(matches!(refused, Refused::Cooldown { left, .. } if left <= secs(10)), "{refused:?}");
    assert!(is_stored(&order(&b, &reset().force()).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_timed_trip_ends_on_every_instance_also_without_the_store() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let (a, b) = (start(&way, "a").await, start(&store, "b").await);
    order(&a, &Order::trip(&alice()).hold(secs(60))).await.unwrap();
    pass(secs(5)).await;
    way.faults().set(Operation::ALL, DOWN);
    for instance in [&a, &b] {
        let left = instance.circuit.status().retry_after.unwrap();
        assert!(left <= secs(55), "{left:?}");
    }
    pass(secs(56)).await;
    for instance in [&a, &b] {
        drop(instance.circuit.try_acquire().unwrap());
        assert_eq!((mode(instance), state(&instance.circuit)), (Mode::Automatic, State::HalfOpen));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_is_refused_only_by_an_instance_with_a_full_outbox() {
    let store = faulty();
    let registry = builder(&store, "a").audit_waiting(16).build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    store.faults().set(Operation::ALL, DOWN);
    for n in 0..16 {
        let kept = registry.trip("payments", &alice(), None).await.map(|done| done.kept);
        assert!(matches!(kept, Ok(Kept::Here { .. })), "{n}: {kept:?}");
    }
    let era = circuit.status().era;
    let refused = registry.trip("payments", &alice(), None).await.unwrap_err();
    assert!(matches!(refused, Refused::OutboxFull { rows: 16, .. }), "{refused:?}");
    assert_eq!(circuit.status().era, era, "nothing was done");
    store.faults().heal();
    pass(secs(60)).await;
    assert!(is_stored(&registry.trip("payments", &alice(), None).await.unwrap()));
    pass(secs(1)).await;
    assert_eq!(acts(&store).await.len(), 17, "none was pushed out");
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_row_finds_no_room_is_not_called_stored() {
    let store = faulty();
    let registry = builder(&store, "a").audit_waiting(16).build().unwrap();
    for n in 0..20 {
        registry.circuit(settings(&format!("circuit-{n}")).build().unwrap()).unwrap();
    }
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    store.faults().set(&[Operation::AppendAudit], Fault::Hang);
    // The calls of circuits need no admission, and their rows push out the row of the order.
    let others = async {
        pass(millis(100)).await;
        registry.circuits().iter().for_each(|circuit| drop(circuit.disable(&alice(), None)));
    };
    let by = alice();
    let (done, ()) = tokio::join!(registry.trip("circuit-0", &by, None), others);
    let kept = done.unwrap().kept;
    assert!(matches!(&kept, Kept::Unaudited { why, .. } if why.contains("no room")), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn many_orders_while_the_store_is_down_wait_no_longer_than_one() {
    let store = faulty();
    let registry = builder(&store, "a").build().unwrap();
    for n in 0..50 {
        registry.circuit(settings(&format!("circuit-{n}")).build().unwrap()).unwrap();
    }
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    store.faults().set(Operation::ALL, Fault::Hang);
    for circuit in registry.circuits() {
        circuit.disable(&alice(), None);
    }
    let clock = TokioClock::new();
    let began = clock.now();
    let done = registry.reset_all(&alice(), tower_circuit_breaker::circuit::To::Closed, false).await;
    assert_eq!(done.len(), 50);
    assert!(done.values().all(|done| matches!(done.as_ref().unwrap().kept, Kept::Here { .. })), "{done:?}");
    let took = clock.now().saturating_since(began);
    assert!(took < secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_is_not_written_over() {
    let store = memory();
    let write = tower_circuit_breaker::store::Write {
        name: "payments".to_owned(),
        expected: None,
        bytes: br#"{"version":7,"state":"closed"}"#.to_vec(),
        ttl: None,
        hint: tower_circuit_breaker::store::Hint::Any,
    };
    store.compare_and_set(&write).await.unwrap();
    let a = start(&store, "a").await;
    let refused = order(&a, &Order::trip(&alice())).await.unwrap_err();
    assert!(matches!(refused, Refused::Unwritable { version: 7, .. }), "{refused:?}");
    assert_eq!(mode(&a), Mode::Automatic);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_circuit_is_gone_from_the_store_and_begins_anew() {
    let store = memory();
    let a = start(&store, "a").await;
    fail(&a.circuit, 5);
    order(&a, &Order::trip(&alice())).await.unwrap();
    let done = a.registry.forget("payments", &alice()).await.unwrap();
    assert!(is_stored(&done), "{done:?}");
    assert_eq!(record(&store, "payments").await, None);
    pass(secs(30)).await;
    assert_eq!(record(&store, "payments").await, None, "and nobody brings it back");
    assert_eq!((mode(&a), state(&a.circuit)), (Mode::Automatic, State::Closed));
    assert_eq!(acts(&store).await, ["trip alice", "forget alice"]);
    fail(&a.circuit, 5);
    pass(secs(5)).await;
    let record = record(&store, "payments").await.unwrap();
    assert_eq!((record.operator, record.total_failures), (None, 5), "what comes later counts from there");
}

#[tokio::test(start_paused = true)]
async fn an_order_before_the_start_of_the_registry_applies_locally() {
    let store = memory();
    let registry = builder(&store, "a").build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    let done = registry.trip("payments", &alice(), None).await.unwrap();
    assert!(matches!(&done.kept, Kept::Here { why, .. } if why.contains("does not run")), "{done:?}");
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    pass(secs(1)).await;
    assert_eq!(circuit.status().mode, Mode::ForcedOpen);
    assert_eq!(acts(&store).await, ["trip alice"], "then it goes on its way");
    assert_ne!(circuit.status().latest, Generation::new(0));
}
