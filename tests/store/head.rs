//! A queue never stands still because of its head: rows of the audit, records, and orders. On paused time.

mod orders;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::{Restored, Sharing};
use tower_circuit_breaker::operation::Kept;
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Fault, Operation, Store};
use tower_circuit_breaker::store::{StoreErrorKind, TieredStore};
use tower_circuit_breaker::{By, Circuit, Registry, State};

use crate::lines::Lines;
use crate::rig::{
    DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, put, record, secs, settings, state,
};

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

fn stored(kept: &Kept) -> bool {
    matches!(kept, Kept::Stored { .. })
}

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
