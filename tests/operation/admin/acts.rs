//! Orders by `POST`: what they do, and why they are refused.

use std::time::Duration;

use serde_json::{Value, json};
use tower_circuit_breaker::store::{Fault, FaultyStore, MemoryStore, Operation, StoreErrorKind, TieredStore};
use tower_circuit_breaker::{Mode, Registry, State};

use super::rig::{Served, app, authorized, circuit, fail};

#[tokio::test]
async fn an_operator_trips_and_resets_and_the_audit_names_user_and_reason() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let (status, done) =
        served.post("/api/trip?circuit=payments", r#"{"reason": "maintenance", "hold_ms": 600000}"#).await;
    assert_eq!((status, &done["kept"], &done["circuit"]["standing"]), (200, &json!("nowhere"), &json!("forced_open")));
    assert_eq!(payments.status().mode, Mode::ForcedOpen);
    let (status, refused) = served.post("/api/reset?circuit=payments", r#"{"reason": "it is back"}"#).await;
    assert_eq!((status, &refused["kind"]), (409, &json!("cooldown")), "{refused}");
    assert!((1..=60_000).contains(&refused["retry_after_ms"].as_u64().unwrap()), "{refused}");
    let forced = r#"{"reason": "it is back", "to": "closed", "force": true}"#;
    assert_eq!(served.post("/api/reset?circuit=payments", forced).await.0, 200);
    assert_eq!((payments.status().mode, payments.status().state), (Mode::Automatic, State::Closed));
    let (_, audit) = served.get("/api/audit").await;
    let rows: Vec<_> = audit["rows"].as_array().unwrap().iter().map(|row| [&row["action"], &row["user"]]).collect();
    assert_eq!(json!(rows), json!([["reset", "alice"], ["trip", "alice"]]));
    assert_eq!(audit["rows"][0]["reason"], json!("it is back"));
}

#[tokio::test]
async fn a_reset_probes_by_default_and_a_disable_needs_a_duration() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    fail(&payments);
    let served = Served::start(app(authorized(&registry))).await;
    assert_eq!(served.post("/api/reset?circuit=payments", r#"{"reason": "try", "force": true}"#).await.0, 200);
    assert_eq!(payments.status().state, State::HalfOpen);
    for body in [
        r#"{"reason": "a"}"#,
        r#"{"reason": "a", "hold_ms": 1, "indefinitely": true}"#,
        r#"{"reason": "a", "hold_ms": 0}"#,
    ] {
        assert_eq!(served.post("/api/disable?circuit=payments", body).await.0, 422, "{body}");
    }
    assert_eq!(payments.status().mode, Mode::Automatic);
    let (status, done) = served.post("/api/disable?circuit=payments", r#"{"reason": "a", "indefinitely": true}"#).await;
    assert_eq!((status, &done["circuit"]["mode"]), (200, &json!("disabled")));
    assert_eq!(served.post("/api/resume?circuit=payments", r#"{"reason": "b"}"#).await.0, 200);
    let (status, refused) = served.post("/api/resume?circuit=payments", r#"{"reason": "b"}"#).await;
    assert_eq!((status, &refused["kind"]), (409, &json!("nothing_held")));
}

#[tokio::test]
async fn a_repeated_order_is_done_once_and_a_stale_order_is_refused() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let seen = payments.status().latest.get();
    let order = format!(r#"{{"reason": "maintenance", "id": "click-7", "seen": {seen}}}"#);
    let (status, first) = served.post("/api/trip?circuit=payments", &order).await;
    assert_eq!((status, &first["id"], first["transition"].is_object()), (200, &json!("click-7"), true));
    let (status, again) = served.post("/api/trip?circuit=payments", &order).await;
    assert_eq!((status, &again["transition"]), (200, &Value::Null));
    let stale = order.replace("click-7", "click-8");
    let (status, refused) = served.post("/api/trip?circuit=payments", &stale).await;
    assert_eq!((status, &refused["kind"]), (409, &json!("stale")), "{refused}");
    assert_eq!(payments.status().transitions.len(), 1);
}

#[tokio::test]
async fn an_invalid_order_is_refused_with_a_sentence_and_changes_nothing() {
    let registry = Registry::new();
    let payments = circuit(&registry, "payments");
    let served = Served::start(app(authorized(&registry))).await;
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(501));
    for (path, body, expected, sentence) in [
        ("/api/trip?circuit=paymets", r#"{"reason": "a"}"#, 404, "did you mean `payments`?"),
        ("/api/trip", r#"{"reason": "a"}"#, 400, "missing field `circuit`"),
        ("/api/trip?circuit=payments", "", 400, "the body is not what was expected"),
        ("/api/trip?circuit=payments", r#"{"reason": "#, 400, "the body is not what was expected"),
        ("/api/trip?circuit=payments", "{}", 422, "missing field `reason`"),
        ("/api/trip?circuit=payments", r#"{"reason": " "}"#, 422, "reason is empty"),
        ("/api/trip?circuit=payments", r#"{"reason": "a\nlevel=error"}"#, 422, "reason has control characters"),
        ("/api/trip?circuit=payments", &long, 422, "reason has 501 characters"),
        ("/api/trip?circuit=payments", r#"{"reason": "a", "user": "root"}"#, 422, "unknown field `user`"),
        ("/api/trip?circuit=payments", r#"{"reason": "a", "to": "closed"}"#, 422, "unknown field `to`"),
        ("/api/trip?circuit=payments", r#"{"reason": "a", "hold_ms": -1}"#, 422, "invalid value"),
        ("/api/trip?circuit=payments", r#"{"reason": "a", "id": "two words"}"#, 422, "1 to 64 bytes"),
        ("/api/reset?circuit=payments", r#"{"reason": "a", "to": "open"}"#, 422, "unknown variant `open`"),
    ] {
        let (status, problem) = served.post(path, body).await;
        assert_eq!((status, problem["status"].as_u64()), (expected, Some(expected.into())), "{path} {body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(sentence), "{path} {body}: {problem}");
    }
    assert!(payments.status().transitions.is_empty());
}

#[tokio::test]
async fn stored_acts_are_answered_with_200_and_waiting_acts_with_202() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let builder = Registry::builder().store(store).store_timeout(Duration::from_millis(200));
    let registry = builder.build().unwrap();
    circuit(&registry, "payments");
    assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
    let served = Served::start(app(authorized(&registry))).await;
    let (status, done) = served.post("/api/trip?circuit=payments", r#"{"reason": "maintenance"}"#).await;
    assert_eq!((status, &done["kept"]), (200, &json!("stored")), "{done}");
    faults.set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
    let (status, done) = served.post("/api/resume?circuit=payments", r#"{"reason": "over"}"#).await;
    assert_eq!((status, &done["kept"], &done["circuit"]["mode"]), (202, &json!("here"), &json!("automatic")), "{done}");
    assert!(done["detail"].as_str().unwrap().contains("not stored yet"), "{done}");
    let (_, list) = served.get("/api/circuits").await;
    assert_eq!(list["store"]["unsaved"], json!(1), "{}", list["store"]);
    let summary = list["store"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("the store memory does not answer: "), "{summary}");
    assert!(summary.contains("; not saved yet: the last changes of 1 circuit"), "{summary}");
}

#[tokio::test]
async fn an_id_of_another_act_is_refused_and_a_repetition_says_so() {
    for stored in [false, true] {
        let builder = Registry::builder();
        let registry = if stored { builder.store(MemoryStore::new()).build().unwrap() } else { Registry::new() };
        let payments = circuit(&registry, "payments");
        if stored {
            assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
        }
        let served = Served::start(app(authorized(&registry))).await;
        let trip = r#"{"reason": "maintenance", "hold_ms": 600000, "id": "OPS-12"}"#;
        let (status, first) = served.post("/api/trip?circuit=payments", trip).await;
        assert_eq!((status, &first["repeated"]), (200, &json!(false)), "{first}");
        let (status, again) = served.post("/api/trip?circuit=payments", trip).await;
        assert_eq!((status, &again["repeated"]), (200, &json!(true)), "{again}");
        assert!(again["detail"].as_str().unwrap().contains("carried out before"), "{again}");
        for (path, body) in [
            ("resume", r#"{"reason": "maintenance", "id": "OPS-12"}"#),
            ("reset", r#"{"reason": "maintenance", "force": true, "id": "OPS-12"}"#),
            ("disable", r#"{"reason": "maintenance", "hold_ms": 600000, "id": "OPS-12"}"#),
            ("trip", r#"{"reason": "another reason", "hold_ms": 600000, "id": "OPS-12"}"#),
            ("trip", r#"{"reason": "maintenance", "hold_ms": 600001, "id": "OPS-12"}"#),
            ("trip", r#"{"reason": "maintenance", "id": "OPS-12"}"#),
        ] {
            let (status, refused) = served.post(&format!("/api/{path}?circuit=payments"), body).await;
            assert_eq!((status, &refused["kind"]), (409, &json!("id_used")), "{body}: {refused}");
        }
        assert_eq!(payments.status().transitions.len(), 1, "stored: {stored}");
    }
}

#[tokio::test]
async fn an_act_without_its_row_or_its_durable_copy_is_not_called_stored() {
    for (tiered, word) in [(false, "unaudited"), (true, "cached")] {
        let durable = FaultyStore::new(MemoryStore::new());
        let faults = durable.faults();
        let builder = Registry::builder().store_timeout(Duration::from_millis(300));
        let builder =
            if tiered { builder.store(TieredStore::new(MemoryStore::new(), durable)) } else { builder.store(durable) };
        let registry = builder.build().unwrap();
        circuit(&registry, "payments");
        assert!(registry.restore(Duration::from_secs(5)).await.unwrap().is_complete());
        let served = Served::start(app(authorized(&registry))).await;
        let down: &[Operation] = if tiered { Operation::ALL } else { &[Operation::AppendAudit] };
        faults.set(down, Fault::Fail(StoreErrorKind::Unavailable));
        let (status, done) = served.post("/api/trip?circuit=payments", r#"{"reason": "maintenance"}"#).await;
        assert_eq!((status, &done["kept"], &done["circuit"]["standing"]), (202, &json!(word), &json!("forced_open")));
        assert!(done["detail"].as_str().unwrap().contains("row of the audit"), "{done}");
    }
}
