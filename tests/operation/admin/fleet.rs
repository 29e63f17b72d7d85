//! The decision of a fleet in the list, in its own answer, and in the events.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::store::{Fault, Operation, StoreErrorKind};
use tower_circuit_breaker::store::{FaultyStore, MemoryStore, Store};
use tower_circuit_breaker::{Circuit, Registry};

use super::events::next;
use super::rig::{Served, app, authorized, circuit, fail};

/// One of the instances that share the store, when the store has answered for its circuit.
pub(crate) async fn instance(store: &(impl Store + Clone), id: &str) -> (Registry, Circuit) {
    let registry = Registry::builder().store(store.clone()).instance(id).sharing(Sharing::Quorum).build().unwrap();
    let circuit = circuit(&registry, "payments");
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    until(|| circuit.status().fleet.is_some()).await;
    (registry, circuit)
}

/// Waits until a condition holds, at most half a minute.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the condition holds in time");
}

#[tokio::test]
async fn a_circuit_of_a_fleet_shows_its_decision_votes_and_instances() {
    let store = FaultyStore::new(MemoryStore::new());
    let (_registry, first) = instance(&store, "orders-1").await;
    let (registry, second) = instance(&store, "orders-2").await;
    let served = Served::start(app(authorized(&registry))).await;
    let (_, list) = served.get("/api/circuits").await;
    let fleet = &list["circuits"][0]["fleet"];
    let keys: Vec<_> = fleet.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["leases", "live", "needed", "passed", "state", "votes"]);
    assert_eq!((&fleet["state"], &fleet["votes"], &fleet["needed"]), (&json!("closed"), &json!(0), &json!(2)));
    fail(&first);
    fail(&second);
    until(|| second.status().fleet.unwrap().votes == 2).await;
    let (_, status) = served.get("/api/status?circuit=payments").await;
    assert_eq!(
        (&status["circuit"]["fleet"]["state"], &status["circuit"]["fleet"]["votes"]),
        (&json!("open"), &json!(2))
    );
    let (code, fleet) = served.get("/api/fleet?circuit=payments").await;
    assert_eq!(
        (code, &fleet["state"], &fleet["opened_by"], &fleet["needed"]),
        (200, &json!("open"), &json!(2), &json!(2))
    );
    let reason = fleet["reason"].as_str().unwrap();
    assert!(reason.starts_with("2 ") && reason.contains("instances opened, first orders-"), "{fleet}");
    assert!(fleet["open_for_ms"].is_u64() && fleet["decided_for_ms"].is_u64(), "{fleet}");
    assert_eq!(
        (&fleet["instances"][0]["instance"], &fleet["instances"][0]["votes"]),
        (&json!("orders-1"), &json!(false))
    );
    assert_eq!(served.get("/api/fleet?circuit=nothing").await.0, 404);

    store.faults().set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
    let (code, problem) = served.get("/api/fleet?circuit=payments").await;
    assert_eq!((code, &problem["kind"]), (503, &json!("store")), "{problem}");
}

#[tokio::test]
async fn a_circuit_without_a_fleet_has_null_and_a_fleet_that_never_decided() {
    let registry = Registry::new();
    circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let (_, list) = served.get("/api/circuits").await;
    assert_eq!(list["circuits"][0]["fleet"], json!(null));
    let (code, fleet) = served.get("/api/fleet?circuit=payments").await;
    assert_eq!((code, &fleet["state"], &fleet["generation"]), (200, &json!("closed"), &json!(0)));
}

#[tokio::test]
async fn a_change_of_the_fleet_is_sent_as_an_event_with_the_status() {
    let store = MemoryStore::new();
    let (_registry, first) = instance(&store, "orders-1").await;
    let (registry, second) = instance(&store, "orders-2").await;
    let served = Served::start(app(authorized(&registry))).await;
    let mut events = served.request(Method::GET, "/api/events").send().await.unwrap();
    let mut text = String::new();
    fail(&first);
    fail(&second);
    loop {
        let (name, data) = next(&mut events, &mut text).await;
        if name == "fleet" && data["fleet"]["state"] == "open" {
            assert_eq!((&data["circuit"], &data["fleet"]["votes"]), (&json!("payments"), &json!(2)));
            assert_eq!(data["status"]["fleet"]["needed"], 2, "{data}");
            return;
        }
    }
}
