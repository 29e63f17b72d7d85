//! Orders and retention on every real store, in real time.

use std::future::poll_fn;

use tower_circuit_breaker::operation::{Kept, Operator, Order};
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, AuditFilter, AuditRow, FileStore, MemoryStore, SqliteStore, Store};
use tower_circuit_breaker::{Circuit, Config, Registry};

use super::{acts, bob};
use crate::rig::{alice, secs};
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

/// Waits until the circuit has that mode.
async fn becomes(circuit: &Circuit, mode: Mode) {
    let mut era = 0;
    let until = async { while poll_fn(|cx| circuit.poll_changed(cx, &mut era)).await.mode != mode {} };
    tokio::time::timeout(secs(20), until).await.expect("it is taken over within a poll");
}

/// A command line acts on one store while a service runs on another that is the same.
async fn an_act_from_outside_binds_and_one_from_inside_is_seen(open: impl Fn() -> AnyStore) {
    let registry = Registry::builder().store(open()).instance("service").poll_every(secs(1), secs(1)).build().unwrap();
    let circuit = registry.circuit(Config::new("payments").unwrap()).unwrap();
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    let operator = Operator::new(open()).instance("desk");
    let trip = Order::trip(&alice()).create();
    let done = operator.operate("payments", &trip).await.unwrap();
    assert!(matches!(done.kept, Kept::Stored { .. }), "{done:?}");
    becomes(&circuit, Mode::ForcedOpen).await;
    assert!(circuit.try_acquire().unwrap_err().to_string().contains("alice: maintenance"));
    let done = registry.resume("payments", &bob()).await.unwrap();
    assert!(matches!(done.kept, Kept::Stored { .. }), "{done:?}");
    assert!(operator.show("payments").await.unwrap().record.unwrap().held(Timestamp::from_millis(u64::MAX)).is_none());
    // Given again: it was done, and so was what came after it.
    assert!(matches!(operator.operate("payments", &trip).await.unwrap().kept, Kept::Stored { .. }));
    assert!(registry.shutdown(secs(5)).await.is_complete());
    assert_eq!(acts(&open()).await, ["trip alice", "resume bob"]);
    operator.forget("payments", &bob()).await.unwrap();
    assert!(operator.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn acts_reach_a_service_through_files() {
    let folder = Folder::new();
    an_act_from_outside_binds_and_one_from_inside_is_seen(|| {
        AnyStore::new(FileStore::new(folder.path().join("state")))
    })
    .await;
}

#[tokio::test]
async fn acts_reach_a_service_through_sqlite() {
    let folder = Folder::new();
    let open = || AnyStore::new(SqliteStore::new(folder.path().join("circuit_breaker.db")));
    an_act_from_outside_binds_and_one_from_inside_is_seen(open).await;
}

#[tokio::test]
async fn acts_reach_a_service_through_redis() {
    let server = Redis::start().await;
    an_act_from_outside_binds_and_one_from_inside_is_seen(|| AnyStore::new(server.store())).await;
}

#[tokio::test]
async fn acts_reach_a_service_through_postgres() {
    let server = Postgres::start().await;
    let open = || AnyStore::open(&server.url()).unwrap();
    an_act_from_outside_binds_and_one_from_inside_is_seen(open).await;
}

fn row(number: u64) -> AuditRow {
    AuditRow {
        id: format!("row-{number}"),
        service: "payments".to_owned(),
        action: "trip".to_owned(),
        reason: "maintenance".to_owned(),
        user: Some("alice".to_owned()),
        timestamp: Timestamp::from_millis(1_790_000_000_000 + number),
        generation: number,
        instance: "a".to_owned(),
    }
}

/// Exactly what is older goes, thousands of rows too, and what is there is still known when it is given again.
async fn deletes_what_is_older(store: impl Store) {
    let rows: Vec<_> = (0..3000).map(row).collect();
    for rows in rows.chunks(1000) {
        store.append_audit(rows).await.unwrap();
    }
    let all = async || store.audit(&AuditFilter::new().limit(usize::MAX)).await.unwrap();
    store.trim_audit(rows[0].timestamp).await.unwrap();
    assert_eq!(all().await.len(), 3000, "{}: none is older than the oldest", store.kind());
    store.trim_audit(rows[2000].timestamp).await.unwrap();
    assert_eq!(all().await, rows[2000..], "{}", store.kind());
    store.append_audit(&rows[2900..]).await.unwrap();
    assert_eq!(all().await.len(), 1000, "{}", store.kind());
    store.trim_audit(Timestamp::from_millis(u64::MAX)).await.unwrap();
    assert_eq!(all().await, [], "{}", store.kind());
}

#[tokio::test]
async fn older_audit_rows_are_deleted_in_memory_and_sqlite() {
    let folder = Folder::new();
    deletes_what_is_older(MemoryStore::new()).await;
    deletes_what_is_older(SqliteStore::new(folder.path().join("circuit_breaker.db"))).await;
}

#[tokio::test]
async fn older_audit_rows_are_deleted_in_redis() {
    let server = Redis::start().await;
    deletes_what_is_older(server.store()).await;
}

#[tokio::test]
async fn older_audit_rows_are_deleted_in_postgres() {
    let server = Postgres::start().await;
    deletes_what_is_older(AnyStore::open(&server.url()).unwrap()).await;
}

#[tokio::test]
async fn audit_files_are_put_aside_by_age_and_deleted_as_a_whole() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path());
    let rows: Vec<_> = (0..40).map(row).collect();
    let all = async || store.audit(&AuditFilter::new().limit(usize::MAX)).await.unwrap();
    store.trim_audit(rows[0].timestamp).await.unwrap();
    store.append_audit(&rows[..20]).await.unwrap();
    store.trim_audit(rows[10].timestamp).await.unwrap();
    store.append_audit(&rows[15..]).await.unwrap();
    assert_eq!(all().await, rows, "put aside, and its rows are still known");
    store.trim_audit(rows[15].timestamp).await.unwrap();
    assert_eq!(all().await, rows, "some of what was put aside is not too old yet");
    store.trim_audit(rows[30].timestamp).await.unwrap();
    assert_eq!(all().await, rows[20..]);
    // Another process, which has only read what is there now.
    let other = FileStore::new(folder.path());
    other.trim_audit(Timestamp::from_millis(u64::MAX)).await.unwrap();
    assert_eq!(all().await, [], "both files");
    store.append_audit(&rows[39..]).await.unwrap();
    assert!(all().await.len() <= 1, "what was deleted may be known or not, but nothing fails");
}
