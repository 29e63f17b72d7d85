//! A queue never stands still because of its head: rows of the audit, orders, and writes of records. On paused time.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::{Restored, Sharing};
use tower_circuit_breaker::operation::{Kept, Order};
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Fault, FaultyStore, Hint, MemoryStore, Operation, Store};
use tower_circuit_breaker::store::{StoreErrorKind, TieredStore};
use tower_circuit_breaker::{By, Circuit, Registry, State};

use crate::lines::Lines;
use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, state};

const REFUSED: Fault = Fault::Fail(StoreErrorKind::Refused);

fn circuit(registry: &Registry, name: &str) -> Circuit {
    registry.circuit(settings(name).build().unwrap()).unwrap()
}

/// A registry with these circuits, restored.
async fn registry(store: &(impl Store + Clone), names: &[&str]) -> (Registry, Vec<Circuit>) {
    let registry = builder(store, "a").build().unwrap();
    let circuits = names.iter().map(|name| circuit(&registry, name)).collect();
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    (registry, circuits)
}

async fn rows(store: &impl Store) -> Vec<AuditRow> {
    store.audit(&AuditFilter::new().limit(10_000)).await.unwrap()
}

/// The rows as `action circuit`, oldest first.
async fn audited(store: &impl Store) -> Vec<String> {
    rows(store).await.iter().map(|row| format!("{} {}", row.action, row.service)).collect()
}

// N4
#[tokio::test(start_paused = true)]
async fn a_row_that_the_table_refuses_is_set_aside_and_the_others_are_stored() {
    for kind in [StoreErrorKind::Refused, StoreErrorKind::Corrupt] {
        let store = faulty();
        let lines = Lines::collect();
        let (registry, _circuits) = registry(&store, &["payments", "search", "stock"]).await;
        store.faults().set_for("payments", &[Operation::AppendAudit], Fault::Fail(kind));
        for name in ["payments", "search", "stock"] {
            registry.trip(name, &alice(), None).await.unwrap();
        }
        registry.reset("stock", &alice(), To::Closed, true).await.unwrap();
        pass(secs(1)).await;
        let mut found = audited(&store).await;
        found.sort();
        assert_eq!(found, ["missing ", "reset stock", "trip search", "trip stock"], "{kind:?}");
        let notice = rows(&store).await.into_iter().find(|row| row.action == "missing").unwrap();
        assert_eq!(
            (notice.reason.as_str(), notice.instance.as_str()),
            ("1 row was refused: trip of payments by alice", "a")
        );
        let status = registry.store_status().unwrap();
        assert_eq!((status.audit_rows, status.audit_refused, status.audit_lost, status.up), (0, 1, 0, true));
        let logged = lines.with("is set aside");
        assert_eq!(logged.len(), 1, "{logged:?}");
        assert!(logged[0].contains("trip of `payments` by `alice`") && logged[0].contains("injected"), "{logged:?}");
        assert!(registry.shutdown(secs(3)).await.is_complete());
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_all_rows_loses_none_and_the_status_has_the_reason() {
    let store = faulty();
    let (registry, circuits) = registry(&store, &["payments", "search"]).await;
    store.faults().set(&[Operation::AppendAudit], REFUSED);
    registry.trip("payments", &alice(), None).await.unwrap();
    fail(&circuits[1], 5);
    pass(secs(600)).await;
    let status = registry.store_status().unwrap();
    assert!(status.up && status.audit_rows >= 2 && status.audit_refused == 0, "{status:?}");
    assert!(status.last_error.as_ref().is_some_and(|error| error.contains("append_audit")), "{status:?}");
    assert!(status.to_string().contains("rows of the audit"), "{status}");
    assert!(store.faults().operations(Operation::AppendAudit) < 120, "it is tried seldom");
    assert_eq!(record(&store, "search").await.unwrap().total_failures, 5, "records go on");
    store.faults().heal();
    pass(secs(60)).await;
    let found = audited(&store).await;
    assert!(found.starts_with(&["trip payments".to_owned(), "opened search".to_owned()]), "{found:?}");
    assert!(!found.iter().any(|row| row.starts_with("missing")), "{found:?}");
    assert_eq!(registry.store_status().unwrap().audit_rows, 0);
}

#[tokio::test(start_paused = true)]
async fn rows_of_one_circuit_that_get_no_answer_hold_up_no_others() {
    for fault in [Fault::Hang, DOWN] {
        let store = faulty();
        let (registry, _circuits) = registry(&store, &["payments", "search"]).await;
        store.faults().set_for("payments", &[Operation::AppendAudit], fault);
        registry.trip("payments", &alice(), None).await.unwrap();
        registry.trip("search", &alice(), None).await.unwrap();
        pass(secs(30)).await;
        assert_eq!(audited(&store).await, ["trip search"], "{fault:?}");
        assert_eq!(registry.store_status().unwrap().audit_refused, 0, "a row without an answer is not set aside");
        store.faults().heal();
        pass(secs(60)).await;
        assert_eq!(audited(&store).await, ["trip search", "trip payments"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_of_a_durable_tier_stops_no_record_of_the_tier() {
    let (fast, durable) = (memory(), faulty());
    let store = TieredStore::new(fast, durable.clone());
    let (registry, _circuits) = registry(&store, &["payments", "search"]).await;
    durable.faults().set_for("payments", &[Operation::AppendAudit], REFUSED);
    registry.trip("payments", &alice(), None).await.unwrap();
    pass(millis(100)).await;
    registry.trip("search", &alice(), None).await.unwrap();
    assert_eq!(record(&durable, "search").await.unwrap().operator.unwrap().user, "alice", "the tier did not pause");
    pass(secs(1)).await;
    assert!(audited(&durable).await.contains(&"trip search".to_owned()));
    assert_eq!(registry.store_status().unwrap().audit_rows, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_a_tier_refuses_holds_up_no_other_record_of_the_tier() {
    let (fast, durable) = (memory(), faulty());
    let store = TieredStore::new(fast, durable.clone());
    let lines = Lines::collect();
    let (registry, circuits) = registry(&store, &["orders", "payments"]).await;
    durable.faults().set_for("orders", &[Operation::CompareAndSet], REFUSED);
    for round in 0..5 {
        registry.trip("orders", &alice(), None).await.unwrap();
        registry.trip("payments", &alice(), Some(secs(100 + round))).await.unwrap();
        pass(secs(1)).await;
        let operated = record(&durable, "payments").await.unwrap().operator.unwrap();
        assert_eq!(operated.hold_ms, Some(1000 * (100 + round)), "round {round}");
    }
    assert!(lines.with("circuit breaker store").len() <= 2, "one line a minute");
    drop(circuits);
}

// F11, and every other way in which a store can refuse one record.
#[tokio::test(start_paused = true)]
async fn a_refused_record_holds_up_no_other_circuit_and_names_its_reason() {
    for fault in [REFUSED, Fault::Fail(StoreErrorKind::Corrupt)] {
        let store = faulty();
        let (registry, circuits) = registry(&store, &["orders", "payments"]).await;
        store.faults().set_for("orders", &[Operation::CompareAndSet], fault);
        let kept = registry.trip("orders", &alice(), None).await.unwrap().kept;
        assert!(matches!(&kept, Kept::Here { pending: 1, why, .. } if why.contains("injected")), "{kept:?}");
        for _ in 0..3 {
            let kept = registry.trip("payments", &alice(), None).await.unwrap().kept;
            assert!(matches!(kept, Kept::Stored { .. }), "{kept:?}");
        }
        let status = registry.store_status().unwrap();
        assert_eq!((status.up, status.unsaved), (true, 1), "{status:?}");
        store.faults().heal();
        pass(secs(30)).await;
        assert_eq!(registry.store_status().unwrap().unsaved, 0);
        assert_eq!(record(&store, "orders").await.unwrap().operator.unwrap().user, "alice");
        drop(circuits);
    }
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
async fn a_record_that_cannot_be_loaded_holds_up_no_other_record_of_its_batch() {
    for (bad, kind) in [("host:0", StoreErrorKind::Refused), ("host:7", StoreErrorKind::Corrupt)] {
        let store = faulty();
        let names: Vec<_> = (0..300).map(|n| format!("host:{n}")).collect();
        let before = Instance::with(&store, "a", Sharing::Advise, settings("host:299").build().unwrap()).await;
        fail(&before.circuit, 5);
        before.end().await;
        store.faults().set_for(bad, &[Operation::Load], Fault::Fail(kind));
        let registry = builder(&store, "a").build().unwrap();
        let circuits: Vec<_> = names.iter().map(|name| circuit(&registry, name)).collect();
        let report = registry.restore(secs(1)).await.unwrap();
        let waiting: Vec<_> = report
            .circuits
            .iter()
            .filter(|(_, restored)| **restored == Restored::Waiting)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(waiting, [bad], "{kind:?}");
        assert_eq!(state(&circuits[299]), State::Open);
        let status = registry.store_status().unwrap();
        assert!(status.up && status.last_error.is_some(), "{status:?}");
        assert!(stored(&registry.trip("host:8", &alice(), None).await.unwrap().kept));
        // An order whose write got no answer is loaded again, in one batch with the order of the damaged record.
        store.faults().set_for("host:9", &[Operation::CompareAndSet], Fault::LoseReply);
        assert!(stored(&registry.trip("host:9", &alice(), None).await.unwrap().kept));
        let kept = registry.trip(bad, &alice(), None).await.unwrap().kept;
        assert!(matches!(&kept, Kept::Here { why, .. } if why.contains("injected")), "{kept:?}");
        let loads = store.faults().operations(Operation::Load);
        pass(secs(60)).await;
        let loads = store.faults().operations(Operation::Load) - loads;
        assert!(loads < 150, "{loads} loads in a minute");
        store.faults().heal();
        pass(secs(30)).await;
        assert_eq!(registry.store_status().unwrap().unsaved, 0);
        assert_eq!(record(&store, bad).await.unwrap().operator.unwrap().user, "alice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_all_loads_is_down_after_few_operations() {
    let store = faulty();
    store.faults().set(&[Operation::Load], REFUSED);
    let registry = builder(&store, "a").build().unwrap();
    let _circuits: Vec<_> = (0..2_000).map(|n| circuit(&registry, &format!("host:{n}"))).collect();
    assert!(!registry.restore(secs(1)).await.unwrap().is_complete());
    pass(secs(60)).await;
    assert!(!registry.store_status().unwrap().up);
    let loads = store.faults().operations(Operation::Load);
    // Sixteen batches at a time become shorter, and then one record at a time is tried after a backoff.
    assert!(loads < 200, "{loads} loads");
    store.faults().heal();
    assert!(registry.restore(secs(10)).await.unwrap().is_complete());
}

// V10, N20
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

// V13
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

async fn start(store: &(impl Store + Clone), id: &str) -> Instance {
    Instance::start(store, id, Sharing::Advise).await
}

fn stored(kept: &Kept) -> bool {
    matches!(kept, Kept::Stored { .. })
}

// V15
#[tokio::test(start_paused = true)]
async fn damaged_records_are_one_line_a_minute_and_circuit_with_a_count() {
    let store = memory();
    let lines = Lines::collect();
    let (_registry, _circuits) = registry(&store, &["payments", "search"]).await;
    for n in 0..125 {
        for name in ["payments", "search"] {
            put(&store, name, format!("{{\"damage\":{n}}}").as_bytes()).await;
        }
        pass(secs(1)).await;
    }
    let logged = lines.with("is treated as absent");
    assert!((4..=6).contains(&logged.len()), "{logged:#?}");
    assert!(logged[2].ends_with("more of these since the last line)"), "{logged:#?}");
}

async fn put(store: &MemoryStore, name: &str, bytes: &[u8]) {
    let names = [name.to_owned()];
    let expected = store.load_many(&names).await.unwrap().entries.remove(0).map(|entry| entry.etag);
    let write = tower_circuit_breaker::store::Write {
        name: name.to_owned(),
        expected,
        bytes: bytes.to_vec(),
        ttl: None,
        hint: Hint::Any,
    };
    store.compare_and_set(&write).await.unwrap();
}

// F11
#[tokio::test(start_paused = true)]
async fn a_record_padded_to_its_limit_takes_acts_of_operators() {
    let store = memory();
    let record_of = |padding: usize| {
        format!(
            r#"{{"version":1,"service":"payments","state":"closed","generation":1,"later":{{"a":7}},"x":"{}"}}"#,
            "p".repeat(padding)
        )
    };
    let rest = record_of(0).len();
    put(&store, "payments", record_of(65_536 - rest).as_bytes()).await;
    let (registry, circuits) = registry(&store, &["payments", "orders"]).await;
    for name in ["payments", "orders"] {
        assert!(stored(&registry.trip(name, &By::new("ana", "x").unwrap(), None).await.unwrap().kept), "{name}");
    }
    let found = record(&store, "payments").await.unwrap();
    assert_eq!(found.extra.keys().collect::<Vec<_>>(), ["later"], "what fits is kept");
    assert_eq!(registry.store_status().unwrap().unsaved, 0);
    drop(circuits);
}
