//! Orders to a store alone, and what registries on it make of them.

use tower_circuit_breaker::State;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Kept, Operator, Order, Refused};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, AuditFilter, Fault, Hint, Operation, Store, StoreErrorKind, Write};

use super::{acts, bob, is_stored, mode, order, reset};
use crate::rig::{DOWN, Instance, alice, fail, faulty, memory, millis, pass, put, record, secs, state};

fn operator(store: &(impl Store + Clone)) -> Operator {
    Operator::new(AnyStore::new(store.clone())).instance("circuitctl@desk")
}

#[tokio::test(start_paused = true)]
async fn an_act_on_the_store_applies_at_once_or_within_a_poll() {
    for tells in [true, false] {
        let store = faulty();
        if !tells {
            store.faults().set(&[Operation::Watch], DOWN);
        }
        let a = Instance::start(&store, "a", Sharing::Advise).await;
        fail(&a.circuit, 1);
        // Until it has a record.
        pass(secs(5)).await;
        let done = operator(&store).operate("payments", &Order::trip(&alice())).await.unwrap();
        assert!(done.transition.is_none() && is_stored(&done), "{done:?}");
        pass(if tells { millis(10) } else { secs(12) }).await;
        assert_eq!(mode(&a), Mode::ForcedOpen);
        let rejected = a.circuit.try_acquire().unwrap_err().to_string();
        assert!(rejected.contains("alice: maintenance"), "{rejected}");
        // What is seen there can be resumed here.
        order(&a, &Order::resume(&bob())).await.unwrap();
        let rows = operator(&store).audit(&AuditFilter::new()).await.unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.instance.as_str())).collect();
        assert_eq!(told, [("resume", "a"), ("trip", "circuitctl@desk")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_on_the_store_has_the_cooldown_of_the_fleet() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(20)).await;
    let operator = operator(&store);
    let refused = operator.operate("payments", &reset()).await.unwrap_err();
    assert!(matches!(refused, Refused::Cooldown { left, .. } if (secs(39)..=secs(41)).contains(&left)), "{refused:?}");
    assert_eq!(state(&a.circuit), State::Open);
    operator.operate("payments", &reset().force()).await.unwrap();
    pass(millis(10)).await;
    assert_eq!(state(&a.circuit), State::Closed);
    operator.operate("payments", &Order::trip(&alice())).await.unwrap();
    pass(secs(30)).await;
    assert!(matches!(operator.operate("payments", &reset()).await, Err(Refused::Cooldown { .. })));
    operator.operate("payments", &Order::resume(&alice())).await.unwrap();
    pass(millis(10)).await;
    assert_eq!(mode(&a), Mode::Automatic, "a trip by mistake needs no force");
}

/// A single instance publishes its closing beside the open fleet.
#[tokio::test(start_paused = true)]
async fn a_reset_on_the_store_closes_an_open_fleet_beside_a_closed_state() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Quorum).await;
    // The instance knows by then that it is alone in the fleet.
    pass(secs(25)).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    let mut open = record(&store, "payments").await.unwrap();
    assert_eq!(open.fleet.as_ref().map(|fleet| fleet.state), Some(State::Open));
    a.end().await;
    open.state = State::Closed;
    open.instances.clear();
    put(&store, "payments", &open.encode().unwrap()).await;
    let done = operator(&store).operate("payments", &reset().force()).await.unwrap();
    assert!(is_stored(&done), "{done:?}");
    let fleet = record(&store, "payments").await.unwrap().fleet.unwrap();
    assert_eq!((fleet.state, fleet.reason.as_str()), (State::Closed, "reset by alice: maintenance"));
}

#[tokio::test(start_paused = true)]
async fn a_name_unknown_to_the_store_is_refused_unless_created() {
    let store = memory();
    let operator = operator(&store);
    operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    let refused = operator.operate("payment", &Order::trip(&alice())).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the store has no record of `payment`; did you mean `payments`? A circuit that has never failed has none until it is created"
    );
    assert!(matches!(operator.show("x").await, Err(Refused::NoRecord { nearest: None, .. })));
    assert!(matches!(operator.operate("a b", &Order::trip(&alice()).create()).await, Err(Refused::Invalid { .. })));
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    assert_eq!(mode(&a), Mode::ForcedOpen, "it binds when the circuit appears");
    let refused = operator.operate("payments", &Order::resume(&alice())).await;
    assert!(refused.is_ok(), "{refused:?}");
    let nothing = operator.operate("payments", &Order::resume(&alice())).await.unwrap_err();
    assert!(matches!(nothing, Refused::NothingHeld { .. }), "{nothing:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_operators_with_the_same_sight_one_act_is_stale() {
    let store = faulty();
    let (one, two) = (operator(&store), operator(&store));
    one.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    pass(secs(1)).await;
    let seen = one.show("payments").await.unwrap().record.unwrap().latest();
    store.faults().delay(&[Operation::CompareAndSet], millis(10));
    let (disable, resume) = (Order::disable(&bob()).indefinitely().seen(seen), Order::resume(&alice()).seen(seen));
    let answers = tokio::join!(one.operate("payments", &disable), two.operate("payments", &resume));
    let answers = [answers.0, answers.1];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(Refused::Stale { .. }))).count(), 1, "{answers:?}");
    // Without a sight both are done, one after the other.
    let (trip, disable) = (Order::trip(&alice()), Order::disable(&bob()).indefinitely());
    let (first, second) = tokio::join!(one.operate("payments", &trip), two.operate("payments", &disable));
    assert!(first.is_ok() && second.is_ok());
    let commands = record(&store, "payments").await.unwrap().operator.unwrap().commands;
    assert_eq!(commands.len(), 4, "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_answer_was_lost_is_done_once_and_audited_once() {
    let store = faulty();
    let operator = operator(&store);
    store.faults().set(&[Operation::CompareAndSet], Fault::LoseReply);
    store.faults().set(&[Operation::AppendAudit], DOWN);
    let trip = Order::trip(&alice()).create();
    let done = operator.operate("payments", &trip).await.unwrap();
    assert!(matches!(done.kept, Kept::Unaudited { .. }), "{done:?}");
    let before = record(&store, "payments").await.unwrap();
    store.faults().heal();
    assert!(is_stored(&operator.operate("payments", &trip).await.unwrap()));
    assert!(is_stored(&operator.operate("payments", &trip).await.unwrap()));
    assert_eq!(record(&store, "payments").await.unwrap(), before);
    assert_eq!(acts(&store).await, ["trip alice"]);
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_refuses_orders_and_a_hanging_store_leaves_results_unknown() {
    let store = faulty();
    let operator = operator(&store);
    operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    store.faults().set(Operation::ALL, DOWN);
    let refused = operator.operate("payments", &Order::resume(&alice())).await.unwrap_err();
    assert!(matches!(refused, Refused::Store { maybe_done: false, .. }), "{refused:?}");
    store.faults().heal();
    store.faults().set(&[Operation::CompareAndSet], Fault::Hang);
    let refused = operator.operate("payments", &Order::resume(&alice())).await.unwrap_err();
    assert!(matches!(refused, Refused::Store { maybe_done: true, .. }), "{refused:?}");
    assert!(refused.to_string().ends_with("give the order again with the same id"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_record_is_shown_as_such_and_can_only_be_forgotten() {
    let store = memory();
    let write =
        Write { name: "payments".to_owned(), expected: None, bytes: b"garbage".to_vec(), ttl: None, hint: Hint::Any };
    store.compare_and_set(&write).await.unwrap();
    let operator = operator(&store);
    let shown = operator.list().await.unwrap();
    assert!(shown.len() == 1 && shown[0].record.is_err(), "{shown:?}");
    let refused = operator.operate("payments", &Order::trip(&alice())).await.unwrap_err();
    assert!(matches!(refused, Refused::Corrupt { .. }), "{refused:?}");
    let unknown = operator.reach("payments", &Order::trip(&alice()), secs(1)).await.unwrap_err();
    assert_eq!(unknown.kind(), StoreErrorKind::Corrupt, "the store did not refuse: {unknown}");
    assert!(is_stored(&operator.forget("payments", &alice()).await.unwrap()));
    assert!(operator.list().await.unwrap().is_empty());
    assert_eq!(acts(&store).await, ["forget alice"]);
    assert!(matches!(operator.forget("payments", &alice()).await, Err(Refused::NoRecord { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_existing_records_then_changes_then_deletions() {
    for tells in [true, false] {
        let store = faulty();
        if !tells {
            store.faults().set(&[Operation::Watch], DOWN);
        }
        let operator = operator(&store);
        operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
        let mut changes = operator.watch();
        let mode = |shown: Option<tower_circuit_breaker::operation::Shown>| {
            shown.unwrap().record.unwrap().operator.unwrap().mode
        };
        let first = changes.next().await.unwrap();
        assert_eq!((first.name.as_str(), mode(first.shown)), ("payments", Mode::ForcedOpen));
        assert!(tokio::time::timeout(secs(30), changes.next()).await.is_err(), "nothing happens");
        operator.operate("payments", &Order::reset(&alice(), To::Closed)).await.unwrap_err();
        operator.operate("payments", &Order::resume(&alice())).await.unwrap();
        let second = tokio::time::timeout(secs(3), changes.next()).await.unwrap().unwrap();
        assert_eq!(mode(second.shown), Mode::Automatic);
        operator.forget("payments", &alice()).await.unwrap();
        let third = tokio::time::timeout(secs(3), changes.next()).await.unwrap().unwrap();
        assert!(third.shown.is_none(), "{third:?}");
        store.faults().set(&[Operation::List], DOWN);
        operator.operate("orders", &Order::trip(&alice()).create()).await.unwrap();
        changes.next().await.unwrap_err();
        store.faults().heal();
        let fourth = tokio::time::timeout(secs(3), changes.next()).await.unwrap().unwrap();
        assert_eq!(fourth.name, "orders", "a failure loses nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_forget_is_refused_and_an_unanswered_forget_is_audited() {
    let store = faulty();
    let operator = operator(&store);
    operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    let seen = operator.show("payments").await.unwrap().record.unwrap().latest();
    pass(secs(1)).await;
    operator.operate("payments", &Order::disable(&bob()).indefinitely()).await.unwrap();
    let refused = operator.operate("payments", &Order::forget(&alice()).seen(seen)).await;
    assert!(matches!(refused, Err(Refused::Stale { .. })), "{refused:?}");
    assert!(record(&store, "payments").await.is_some());
    store.faults().set(&[Operation::Delete], Fault::LoseReply);
    let done = operator.forget("payments", &alice()).await;
    assert!(done.as_ref().is_ok_and(is_stored), "{done:?}");
    assert_eq!(acts(&store).await, ["trip alice", "disable bob", "forget alice"]);
}
