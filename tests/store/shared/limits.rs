//! Values, names and rows of other programs that are longer than any of this crate, which hide nothing else.

use tower_circuit_breaker::operation::Operator;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{AnyStore, AuditFilter, PostgresStore, Store};

use super::{eventually, instance, mode, trip};
use crate::rig::{alice, secs};
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::sqlite::{put, record, row};

/// The value `huge` counts as damaged and the others are read. It can be replaced by a circuit, and forgotten.
async fn hides_nothing(store: impl Store + Clone, grow: impl AsyncFn()) {
    put(&store, "good", None, &record("good", false)).await;
    grow().await;
    let loaded = store.load_many(&["good", "payments", "absent"].map(str::to_owned)).await.unwrap();
    assert_eq!(loaded.entries[0].as_ref().unwrap().bytes, record("good", false));
    assert_eq!(loaded.entries[2], None);
    let huge = loaded.entries[1].clone().unwrap();
    let decoded = CircuitRecord::decode("payments", &huge.bytes, loaded.now).unwrap_err();
    assert!(decoded.to_string().len() < 300, "its log line is bounded: {decoded}");
    // A writer that expects nothing meets the huge value.
    let registry = instance(store.clone(), "one").await;
    trip(&registry, "payments").await;
    assert_eq!(mode(&registry, "payments"), Mode::ForcedOpen);
    let loaded = store.load_many(&["payments".to_owned()]).await.unwrap();
    let replaced = loaded.entries[0].clone().unwrap();
    CircuitRecord::decode("payments", &replaced.bytes, loaded.now).expect("the next write replaces it");
    drop(registry);
    grow().await;
    let operator = Operator::new(AnyStore::new(store.clone()));
    assert_eq!(operator.list().await.unwrap().len(), 2);
    operator.forget("payments", &alice()).await.unwrap();
    eventually("it is forgotten", async || store.list().await.unwrap() == ["good"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_value_in_redis_hides_no_other_circuit_and_can_be_replaced_and_forgotten() {
    let server = Redis::start().await;
    hides_nothing(server.store(), async || {
        let grow = "redis.call('SETRANGE', 'circuit_breaker:payments:state', 100 * 1024 * 1024, 'x')";
        server.cli::<()>(&["EVAL", grow, "0"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_value_in_postgres_hides_no_other_circuit_and_can_be_replaced_and_forgotten() {
    let server = Postgres::start().await;
    hides_nothing(PostgresStore::new(&server.url()).unwrap(), async || {
        server
            .execute(
                "INSERT INTO circuit_breaker_states (service, state, updated_at, etag, record)
                    VALUES ('payments', 'open', now(), repeat('e', 1000000), repeat('x', 100000000))
                    ON CONFLICT (service) DO UPDATE SET record = repeat('x', 100000000), etag = repeat('e', 1000000)",
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_key_in_redis_is_not_listed_and_hides_no_other_key() {
    let server = Redis::start().await;
    let store = server.store();
    put(&store, "good", None, &record("good", false)).await;
    let long =
        "for i = 1, 9 do redis.call('SET', 'circuit_breaker:' .. string.rep('x', 1000000 + i) .. ':state', '') end";
    server.cli::<()>(&["EVAL", long, "0"]).await;
    assert_eq!(store.list().await.unwrap(), ["good"]);
}

#[tokio::test]
async fn a_row_of_another_program_in_redis_hides_no_other_row() {
    let server = Redis::start().await;
    let store = server.store();
    store.append_audit(&[row("1", 1)]).await.unwrap();
    let wide = "local wide, many = string.rep('x', 4000000), {}
        for i = 1, 7000 do many[i] = 'x' end
        redis.call('XADD', 'circuit_breaker:audit', '*', 'id', 'wide', 'service', 'a', 'action', 'trip', 'reason', wide,
            'timestamp', '1', 'generation', '1', 'instance', 'b')
        redis.call('XADD', 'circuit_breaker:audit', '*', unpack(many))
        redis.call('XADD', 'circuit_breaker:audit', '*', wide, 'x')";
    server.cli::<()>(&["EVAL", wide, "0"]).await;
    store.append_audit(&[row("2", 2)]).await.unwrap();
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((&rows[0], rows[1].reason.as_str(), &rows[2]), (&row("1", 1), "(too long)", &row("2", 2)));
    let later = store.load_many(&[]).await.unwrap().now.saturating_add(secs(60));
    assert!(!store.trim_audit(later).await.unwrap());
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap(), [], "a foreign row does not stop the deletion");
    assert_eq!(server.cli::<u64>(&["XLEN", "circuit_breaker:audit"]).await, 0);
}

#[tokio::test]
async fn a_row_of_another_program_in_postgres_hides_no_other_row() {
    let server = Postgres::start().await;
    let store = PostgresStore::new(&server.url()).unwrap();
    put(&store, "good", None, &record("good", false)).await;
    put(&store, "null", None, b"1").await;
    store.append_audit(&[row("1", 1), row("2", 2)]).await.unwrap();
    server
        .execute(
            "ALTER TABLE circuit_breaker_states ALTER etag DROP NOT NULL, ALTER record DROP NOT NULL;
            ALTER TABLE circuit_breaker_audit ALTER reason DROP NOT NULL, ALTER instance DROP NOT NULL;
            UPDATE circuit_breaker_states SET etag = NULL, record = NULL WHERE service = 'null';
            INSERT INTO circuit_breaker_states (service, state, updated_at, etag, record) VALUES (repeat('x', 2000), '', now(), '', '');
            UPDATE circuit_breaker_audit SET reason = repeat('x', 50000000), instance = NULL, \"timestamp\" = 'infinity'
                WHERE id = '1'",
        )
        .await;
    let found = store.load_many(&["null", "good"].map(str::to_owned)).await.unwrap().entries;
    assert_eq!(found[1].as_ref().unwrap().bytes, record("good", false));
    put(&store, "null", found[0].clone().map(|found| found.etag), b"2").await;
    assert_eq!(store.list().await.unwrap(), ["good", "null"]);
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((rows[0].reason.as_str(), rows[0].timestamp.as_millis(), &rows[1]), ("(too long)", 0, &row("2", 2)));
}
