//! What the audit says, to whom, and for how long.

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::Order;
use tower_circuit_breaker::store::{AuditFilter, Operation, Store};

use super::{bob, order, rows};
use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, pass, secs, settings};

#[tokio::test(start_paused = true)]
async fn the_audit_is_newest_first_by_service_user_and_time() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    order(&a, &Order::trip(&alice())).await.unwrap();
    pass(secs(1)).await;
    order(&a, &Order::resume(&bob())).await.unwrap();
    pass(secs(1)).await;
    let told = async |filter: AuditFilter| {
        let rows = a.registry.audit(&filter).await.unwrap();
        rows.iter().map(|row| row.action.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(AuditFilter::new()).await, ["resume", "trip", "opened"]);
    assert_eq!(told(AuditFilter::new().user("alice")).await, ["trip"]);
    assert_eq!(told(AuditFilter::new().service("orders")).await, [""; 0]);
    let all = a.registry.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!(told(AuditFilter::new().since(all[1].timestamp)).await, ["resume", "trip"]);
    let trip = &all[1];
    assert_eq!(
        (trip.service.as_str(), trip.reason.as_str(), trip.user.as_deref(), trip.instance.as_str()),
        ("payments", "maintenance", Some("alice"), "a")
    );
    assert!(trip.generation > 0 && trip.timestamp > all[2].timestamp, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_cannot_be_read_is_an_error_in_time() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    store.faults().set(&[Operation::Audit], tower_circuit_breaker::store::Fault::Hang);
    let error = a.registry.audit(&AuditFilter::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 2s");
}

#[tokio::test(start_paused = true)]
async fn rows_older_than_the_retention_are_deleted_and_no_younger_rows() {
    let store = faulty();
    let registry = builder(&store, "a").audit_kept(secs(6 * 3600)).build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    for _ in 0..10 {
        circuit.trip(&alice(), None);
        pass(secs(3600)).await;
    }
    let kept = rows(&store).await;
    assert!((6..=8).contains(&kept.len()), "{} rows", kept.len());
    let now = store.load_many(&[]).await.unwrap().now;
    assert!(kept.iter().all(|row| now.since(row.timestamp) <= secs(8 * 3600)), "{kept:?}");
    let trims = store.faults().operations(Operation::TrimAudit);
    assert!((6..=20).contains(&trims), "{trims} in ten hours");
    // A store that will not is asked again later, and costs nothing else.
    store.faults().set(&[Operation::TrimAudit], DOWN);
    circuit.trip(&alice(), None);
    pass(secs(3600 * 3)).await;
    assert_eq!(rows(&store).await.len(), kept.len() + 1);
}

#[test]
fn a_retention_that_makes_no_sense_is_refused() {
    for hours in [0, 24 * 366 * 100 + 1] {
        let refused = builder(&memory(), "a").audit_kept(secs(3600 * hours)).build().unwrap_err();
        assert!(refused.to_string().starts_with("audit_kept is "), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn texts_of_users_neither_end_a_log_line_nor_forge_a_field() {
    let lines = crate::lines::Lines::of("circuit_breaker::audit");
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let mallory = tower_circuit_breaker::By::new("mallory\" user=\"root", "\\ reason=\"approved\"").unwrap();
    order(&a, &Order::trip(&mallory)).await.unwrap();
    pass(secs(1)).await;
    let expected = r#"audit: trip of `payments` by "mallory\" user=\"root": "\\ reason=\"approved\"""#;
    assert_eq!(lines.with("audit: "), [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_transition_is_no_line_of_the_audit_and_an_act_is_one() {
    let lines = crate::lines::Lines::of("circuit_breaker::audit");
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    assert_eq!(lines.with(""), [""; 0], "the circuit has logged its opening");
    assert_eq!(rows(&store).await.len(), 1, "the row of the opening is kept all the same");
    order(&a, &Order::trip(&alice())).await.unwrap();
    pass(secs(1)).await;
    assert_eq!(lines.with("").len(), 1);
}
