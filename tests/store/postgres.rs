//! What is particular to PostgreSQL: the columns, the rights, and a server that dies in many ways.

mod faults;
mod tls;

use std::time::Duration;

use tower_circuit_breaker::store::conformance::Suite;
use tower_circuit_breaker::store::schema::{self, SchemaMode};
use tower_circuit_breaker::store::{
    AuditFilter, Hint, PostgresStore, Store, StoreErrorKind, Watch, WatchEvent, Write, Written,
};

use crate::servers::postgres::Postgres;
use crate::sqlite::{put, record, row, write};

/// A store that nobody has used, and the server that must outlive it.
async fn fresh() -> (PostgresStore, Postgres) {
    let server = Postgres::start().await;
    (PostgresStore::new(&server.url()).expect("the address is sound"), server)
}

async fn next(watch: &mut Watch) -> WatchEvent {
    let told = tokio::time::timeout(Duration::from_secs(5), watch.next()).await;
    told.expect("it is told in time").expect("the store goes on telling")
}

fn is_change_of(event: &WatchEvent, service: &str) -> bool {
    matches!(event, WatchEvent::Changed { name, .. } if name == service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgres_store_passes_the_suite() {
    let server = Postgres::start().await;
    Suite::new(|| async { PostgresStore::new(&server.url()).unwrap() }).run().await;
}

#[tokio::test]
async fn a_person_reads_the_columns() {
    let (store, server) = fresh().await;
    let before = store.load_many(&[]).await.unwrap().now;
    put(&store, "orders", None, &record("orders", true)).await;
    let now = store.load_many(&[]).await.unwrap().now;
    let columns = server.value(
        "SET TIME ZONE 'UTC'; SELECT concat_ws(' ', service, state, failures, successes, last_failure_at, last_state_change,
            total_failures, total_successes, generation) FROM circuit_breaker_states",
    );
    let expected = "orders half_open 5 2 2026-09-21 14:13:20.001+00 2026-09-21 14:13:20.999+00 14 18 1790000000999";
    assert_eq!(columns.await.as_deref(), Some(expected));
    let updated =
        server.value("SELECT floor(extract(epoch FROM updated_at) * 1000)::text FROM circuit_breaker_states").await;
    let updated: u64 = updated.unwrap().parse().unwrap();
    assert!((before.as_millis()..=now.as_millis()).contains(&updated), "{updated} is the time of the write");
}

#[tokio::test]
async fn absent_times_are_null_and_a_corrupt_record_is_unknown() {
    let (store, server) = fresh().await;
    put(&store, "quiet", None, &record("quiet", false)).await;
    put(&store, "odd", None, b"not a record").await;
    let quiet = "SELECT (last_failure_at IS NULL AND last_state_change IS NOT NULL)::text FROM circuit_breaker_states
        WHERE service = 'quiet'";
    assert_eq!(server.value(quiet).await.as_deref(), Some("true"));
    let odd = "SELECT state || coalesce(failures::text, '-') || coalesce(last_state_change::text, '-')
        || coalesce(generation::text, '-') || record FROM circuit_breaker_states WHERE service = 'odd'";
    assert_eq!(server.value(odd).await.as_deref(), Some("unknown---not a record"));
    for bytes in [&b"\xff\xfe"[..], b"a\0b"] {
        let refused = store.compare_and_set(&write("orders", None, bytes)).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    }
}

#[tokio::test]
async fn the_audit_keeps_milliseconds_and_each_row_once() {
    let (store, server) = fresh().await;
    let times = [0, 1, 999, 1_790_000_000_000, 1_790_000_000_001, 1_790_000_059_999, 253_402_300_799_999];
    let mut rows: Vec<_> = times.iter().enumerate().map(|(index, millis)| row(&index.to_string(), *millis)).collect();
    store.append_audit(&[]).await.unwrap();
    store.append_audit(&rows[..5]).await.unwrap();
    let reopened = PostgresStore::new(&server.url()).unwrap();
    reopened.append_audit(&rows).await.unwrap();
    assert_eq!(reopened.audit(&AuditFilter::new()).await.unwrap(), rows);
    assert_eq!(reopened.audit(&AuditFilter::new().since(rows[4].timestamp)).await.unwrap(), rows[4..]);
    assert_eq!(reopened.audit(&AuditFilter::new().service("orders").limit(2)).await.unwrap(), rows[5..]);
    assert_eq!(reopened.audit(&AuditFilter::new().service("Orders")).await.unwrap(), []);
    let readable = "SET TIME ZONE 'UTC'; SELECT concat_ws(' ', action, coalesce(\"user\", '-'), \"timestamp\")
        FROM circuit_breaker_audit WHERE id = '5'";
    assert_eq!(server.value(readable).await.as_deref(), Some("trip - 2026-09-21 14:14:19.999+00"));
    rows[0].id = "odd".to_owned();
    rows[0].reason = "a\0b".to_owned();
    store.append_audit(&rows[..1]).await.expect("a NUL does not block the rows after it");
}

#[tokio::test]
async fn stores_that_start_together_make_one_schema() {
    let (_, server) = fresh().await;
    let stores: Vec<_> = (0..4).map(|_| PostgresStore::new(&server.url()).unwrap()).collect();
    let made = futures_util::future::join_all(stores.iter().map(PostgresStore::ensure_schema)).await;
    made.into_iter().collect::<Result<Vec<()>, _>>().expect("all succeed");
    server.execute(schema::POSTGRES).await;
    assert_eq!(schema::POSTGRES, include_str!("../../docs/schema/postgres.sql"));
}

#[tokio::test]
async fn verify_names_missing_tables_and_assume_does_not_check() {
    let (store, server) = fresh().await;
    let verifying = PostgresStore::new(&server.url()).unwrap().schema(SchemaMode::Verify);
    let refused = verifying.list().await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("no table `circuit_breaker_states`"), "{refused}");
    let assuming = PostgresStore::new(&server.url()).unwrap().schema(SchemaMode::Assume);
    let refused = assuming.list().await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("SQLSTATE 42P01"), "{refused}");

    store.ensure_schema().await.unwrap();
    assert_eq!((verifying.list().await.unwrap(), assuming.list().await.unwrap()), (vec![], vec![]));
    server.execute("ALTER TABLE circuit_breaker_states DROP COLUMN etag").await;
    for mode in [SchemaMode::Verify, SchemaMode::Create] {
        let refused = PostgresStore::new(&server.url()).unwrap().schema(mode).ensure_schema().await.unwrap_err();
        assert!(refused.to_string().contains("no column `etag`"), "{refused}");
    }
    server.execute("DROP TABLE circuit_breaker_states").await;
    assert_eq!(store.list().await.unwrap_err().kind(), StoreErrorKind::Refused);
    assert_eq!(store.list().await.unwrap(), [""; 0], "the next operation makes the table again");
}

#[tokio::test]
async fn a_role_without_create_works_on_existing_tables() {
    let (store, server) = fresh().await;
    server.execute("CREATE ROLE app LOGIN PASSWORD 'right'").await;
    let poor = PostgresStore::new(&server.url_of("app:right")).unwrap();
    let refused = poor.list().await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("SQLSTATE 42501"), "{refused}");
    store.ensure_schema().await.unwrap();
    server
        .execute("GRANT SELECT, INSERT, UPDATE, DELETE ON circuit_breaker_states, circuit_breaker_audit TO app")
        .await;
    put(&poor, "orders", None, b"1").await;
    poor.append_audit(&[row("1", 1)]).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_that_is_corrected_heals() {
    let (_, server) = fresh().await;
    server.execute("CREATE ROLE app SUPERUSER LOGIN PASSWORD 'other'").await;
    let store = PostgresStore::new(&server.url_of("app:right-one")).unwrap();
    for refused in [store.list().await.unwrap_err(), store.watch().await.unwrap_err()] {
        assert_eq!(refused.kind(), StoreErrorKind::Refused);
        assert!(refused.to_string().contains("SQLSTATE 28P01"), "{refused}");
    }
    server.execute("ALTER ROLE app PASSWORD 'right-one'").await;
    put(&store, "orders", None, b"1").await;
    assert!(!format!("{store:?}").contains("right-one"), "its debug form does not show the password");
}

#[tokio::test]
async fn a_watch_names_the_service_that_others_wrote_or_deleted() {
    let (store, server) = fresh().await;
    let mut watch = store.watch().await.unwrap().expect("it can be watched");
    assert_eq!(next(&mut watch).await, WatchEvent::Gap, "what was there before is unknown");
    let other = PostgresStore::new(&server.url()).unwrap();
    let etag = put(&other, "o'rders {\u{e9}}", None, b"1").await;
    assert!(is_change_of(&next(&mut watch).await, "o'rders {\u{e9}}"));
    let conflict = other.compare_and_set(&write("o'rders {\u{e9}}", None, b"2")).await.unwrap();
    assert!(matches!(conflict, Written::Conflict { .. }));
    assert!(other.delete("o'rders {\u{e9}}", &etag).await.unwrap());
    assert!(is_change_of(&next(&mut watch).await, "o'rders {\u{e9}}"), "the conflict was not told, the deletion is");
}

#[tokio::test]
async fn a_write_of_counts_notifies_no_listener_and_a_transition_is_named() {
    let (store, server) = fresh().await;
    let mut watch = store.watch().await.unwrap().expect("the server notifies");
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    let mut expected = None;
    for hint in [Hint::None, Hint::Transition, Hint::None, Hint::Any] {
        let write = Write { hint, ..write("a b", expected.take(), &record("a b", false)) };
        let Written::Applied { etag, .. } = store.compare_and_set(&write).await.unwrap() else { panic!("{hint:?}") };
        expected = Some(etag.clone());
        if hint != Hint::None {
            let WatchEvent::Changed { name, etag: hinted, hint: read, .. } = next(&mut watch).await else {
                panic!("a change was reported as a gap")
            };
            assert_eq!((&*name, hinted, read), ("a b", Some(etag), hint));
        }
    }
    // An older version of this crate sends the etag alone.
    let notify =
        "SELECT pg_notify('circuit_breaker:' || 'circuit_breaker_states'::regclass::oid::text, 'etag a b')::text";
    server.value(notify).await;
    let event = next(&mut watch).await;
    assert!(matches!(&event, WatchEvent::Changed { name, hint: Hint::Any, .. } if name == "a b"), "{event:?}");
}

#[tokio::test]
async fn a_watch_that_is_dropped_closes_its_connection() {
    let (store, server) = fresh().await;
    let watch = store.watch().await.unwrap();
    let listening = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(server.value(listening).await.as_deref(), Some("1"));
    drop(watch);
    for _ in 0..100 {
        if server.value(listening).await.as_deref() == Some("0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the listener's connection stays");
}

#[test]
fn a_runtime_that_ends_takes_its_watches_along() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, watch) = runtime.block_on(async {
        let (store, server) = fresh().await;
        put(&store, "orders", None, b"1").await;
        (server, store.watch().await.unwrap())
    });
    drop(runtime);
    drop((watch, server));
}

#[test]
fn an_address_that_cannot_be_used_is_refused_without_its_password() {
    for wrong in [
        "mysql://u:secret@h/d",
        "postgres://u:secret@h:port/d",
        "postgres://u:secret@[::1/d",
        "postgres://u:se#cret@h/d",
    ] {
        let refused = PostgresStore::new(wrong).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused, "{wrong}");
        assert!(!refused.to_string().contains("cret"), "{refused}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_if_tls_is_required() {
    let (_, server) = fresh().await;
    let store = PostgresStore::new(&format!("{}?sslmode=require", server.url())).unwrap();
    let refused = store.list().await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    assert!(refused.to_string().contains("does not support TLS"), "{refused}");
}
