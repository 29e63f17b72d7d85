//! Rows of the audit that real servers refuse, alone or all of them, and orders in front of a backlog.

use std::fs;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tower_circuit_breaker::operation::Kept;
use tower_circuit_breaker::store::{AuditFilter, AuditRow, Fault, FaultyStore, FileStore, Operation, PostgresStore};
use tower_circuit_breaker::store::{SqliteStore, Store, StoreErrorKind};
use tower_circuit_breaker::{By, Circuit, Registry};

use super::{builder, eventually, settings};
use crate::rig::{fail, secs};
use crate::servers::folder::Folder;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;

const NAMES: [&str; 3] = ["payments", "search", "stock"];

async fn registry(store: impl Store) -> (Registry, Vec<Circuit>) {
    let registry = builder(store, "a").build().unwrap();
    let circuits = NAMES.map(|name| registry.circuit(settings(name)).unwrap()).to_vec();
    assert!(registry.restore(secs(10)).await.unwrap().is_complete());
    (registry, circuits)
}

/// Returns the user and the reason of an act on a circuit. Only the first has a reason longer than 100 characters.
fn by(name: &str) -> By {
    let reason = if name == "payments" { "the primary moves to another rack; ".repeat(4) } else { "moved".to_owned() };
    By::new(&format!("operator of {name}"), &reason).unwrap()
}

async fn trip_all(registry: &Registry) {
    for name in NAMES {
        let kept = registry.trip(name, &by(name), None).await.unwrap().kept;
        assert!(matches!(kept, Kept::Stored { .. } | Kept::Unaudited { .. }), "{name}: {kept:?}");
    }
}

async fn rows(store: &impl Store) -> Vec<AuditRow> {
    store.audit(&AuditFilter::new().limit(10_000)).await.unwrap()
}

async fn audited(store: &impl Store) -> Vec<String> {
    let mut rows: Vec<_> = rows(store).await.iter().map(|row| format!("{} {}", row.action, row.service)).collect();
    rows.sort();
    rows
}

async fn nothing_waits(registry: &Registry) {
    eventually("no row waits", async || registry.store_status().unwrap().audit_rows == 0).await;
}

/// The row of the first circuit is refused, and the others are stored.
async fn one_row_is_set_aside(registry: &Registry, look: &impl Store) {
    trip_all(registry).await;
    nothing_waits(registry).await;
    assert_eq!(audited(look).await, ["missing ", "trip search", "trip stock"]);
    let notice = rows(look).await.into_iter().find(|row| row.action == "missing").unwrap();
    assert_eq!(notice.reason, "1 row was refused: trip of payments by operator of paym..");
    let status = registry.store_status().unwrap();
    assert_eq!((status.audit_refused, status.audit_lost), (1, 0), "{status:?}");
    assert!(registry.shutdown(secs(5)).await.is_complete());
}

/// No row is set aside while the store refuses all, and all are stored afterwards.
async fn all_rows_wait(registry: &Registry, look: &impl Store, heal: impl AsyncFnOnce()) {
    trip_all(registry).await;
    eventually("the refusal is known", async || {
        let status = registry.store_status().unwrap();
        status.up && status.audit_rows == 3 && status.last_error_kind == Some(StoreErrorKind::Refused)
    })
    .await;
    // The outbox has tried more than once.
    tokio::time::sleep(secs(1)).await;
    let status = registry.store_status().unwrap();
    assert_eq!((status.audit_rows, status.audit_refused), (3, 0), "{status:?}");
    heal().await;
    nothing_waits(registry).await;
    assert_eq!(audited(look).await, ["trip payments", "trip search", "trip stock"]);
    assert!(registry.shutdown(secs(5)).await.is_complete());
}

#[tokio::test]
async fn postgres_refuses_one_row_for_good_and_takes_the_others() {
    let server = Postgres::start().await;
    let store = || PostgresStore::new(&server.url()).unwrap();
    store().ensure_schema().await.unwrap();
    for (poison, heal) in [
        (
            "ALTER TABLE circuit_breaker_audit ALTER reason TYPE varchar(100)",
            "ALTER TABLE circuit_breaker_audit ALTER reason TYPE text",
        ),
        (
            "ALTER TABLE circuit_breaker_audit ADD CONSTRAINT short CHECK (length(reason) <= 100)",
            "ALTER TABLE circuit_breaker_audit DROP CONSTRAINT short",
        ),
        (
            "CREATE FUNCTION short() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF length(NEW.reason) > 100 THEN RAISE EXCEPTION 'too long'; END IF; RETURN NEW; END $$;
            CREATE TRIGGER short BEFORE INSERT ON circuit_breaker_audit FOR EACH ROW EXECUTE FUNCTION short()",
            "DROP TRIGGER short ON circuit_breaker_audit",
        ),
    ] {
        server.execute("TRUNCATE circuit_breaker_audit, circuit_breaker_states").await;
        server.execute(poison).await;
        let (registry, _circuits) = registry(store()).await;
        one_row_is_set_aside(&registry, &store()).await;
        server.execute(heal).await;
    }
}

#[tokio::test]
async fn postgres_without_a_right_or_a_table_loses_no_row() {
    let server = Postgres::start().await;
    let store = || PostgresStore::new(&server.url()).unwrap();
    store().ensure_schema().await.unwrap();
    server
        .execute(
            "CREATE ROLE breaker LOGIN PASSWORD 'x'; GRANT SELECT, INSERT, UPDATE, DELETE ON circuit_breaker_states TO breaker;
            GRANT SELECT ON circuit_breaker_audit TO breaker",
        )
        .await;
    let limited = PostgresStore::new(&server.url_of("breaker:x")).unwrap();
    let (registry_, _circuits) = registry(limited).await;
    all_rows_wait(&registry_, &store(), async || {
        server.execute("GRANT INSERT ON circuit_breaker_audit TO breaker").await;
    })
    .await;
    server.execute("TRUNCATE circuit_breaker_audit, circuit_breaker_states").await;
    server.execute("ALTER TABLE circuit_breaker_audit ADD COLUMN tenant text NOT NULL").await;
    let (registry_, _circuits) = registry(store()).await;
    all_rows_wait(&registry_, &store(), async || {
        server.execute("ALTER TABLE circuit_breaker_audit DROP COLUMN tenant").await;
    })
    .await;
}

async fn sqlite(path: &std::path::Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[tokio::test]
async fn sqlite_refuses_one_row_for_good_and_takes_the_others() {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    let store = SqliteStore::new(&file);
    store.ensure_schema().await.unwrap();
    let trigger = "CREATE TRIGGER short BEFORE INSERT ON circuit_breaker_audit WHEN length(NEW.reason) > 100
        BEGIN SELECT RAISE(ABORT, 'too long'); END";
    sqlx::raw_sql(trigger).execute(&mut sqlite(&file).await).await.unwrap();
    let (registry, _circuits) = registry(store.clone()).await;
    one_row_is_set_aside(&registry, &store).await;
}

#[tokio::test]
async fn sqlite_that_refuses_every_row_loses_none() {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    let store = SqliteStore::new(&file);
    store.ensure_schema().await.unwrap();
    let trigger = "CREATE TRIGGER none BEFORE INSERT ON circuit_breaker_audit BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlx::raw_sql(trigger).execute(&mut sqlite(&file).await).await.unwrap();
    let (registry, _circuits) = registry(store.clone()).await;
    all_rows_wait(&registry, &store, async || {
        sqlx::raw_sql("DROP TRIGGER none").execute(&mut sqlite(&file).await).await.unwrap();
    })
    .await;
}

/// Wraps a store whose medium has no rule for single rows.
fn poisoned<S: Store>(store: S) -> FaultyStore<S> {
    let store = FaultyStore::new(store);
    store.faults().set_for("payments", &[Operation::AppendAudit], Fault::Fail(StoreErrorKind::Refused));
    store
}

#[tokio::test]
async fn redis_keeps_the_other_rows_when_one_row_is_refused() {
    let server = Redis::start().await;
    let (registry, _circuits) = registry(poisoned(server.store())).await;
    one_row_is_set_aside(&registry, &server.store()).await;
}

#[tokio::test]
async fn redis_that_refuses_every_row_loses_none() {
    let server = Redis::start().await;
    server.cli::<()>(&["SET", "circuit_breaker:audit", "no stream"]).await;
    let (registry, _circuits) = registry(server.store()).await;
    let heal = async || server.cli::<()>(&["DEL", "circuit_breaker:audit"]).await;
    all_rows_wait(&registry, &server.store(), heal).await;
}

#[tokio::test]
async fn files_keep_the_other_rows_when_one_row_is_refused() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path());
    let (registry, _circuits) = registry(poisoned(store.clone())).await;
    one_row_is_set_aside(&registry, &store).await;
}

#[tokio::test]
async fn an_audit_file_that_is_a_folder_loses_no_row_and_holds_up_no_record() {
    let folder = Folder::new();
    let store = FileStore::new(folder.path());
    let log = folder.path().join("audit.jsonl");
    fs::create_dir(&log).unwrap();
    let (registry, _circuits) = registry(store.clone()).await;
    all_rows_wait(&registry, &store, async || fs::remove_dir(&log).unwrap()).await;
}

#[tokio::test]
async fn an_order_is_stored_before_the_records_of_two_thousand_openings() {
    let folder = Folder::new();
    let path = folder.path().join("breakers");
    let store = FileStore::new(&path);
    let registry = Registry::builder().store(store.clone()).instance("a").build().unwrap();
    let hosts: Vec<_> = (0..2_000).map(|n| registry.circuit(settings(&format!("host:{n}"))).unwrap()).collect();
    let _payments = registry.circuit(settings("payments")).unwrap();
    assert!(registry.restore(secs(20)).await.unwrap().is_complete());
    // The store is away: a file is in the place of the folder.
    fs::remove_dir_all(&path).ok();
    fs::write(&path, "in the way").unwrap();
    hosts.iter().for_each(|host| fail(host, 5));
    eventually("the store is away, and the automatic rows are full", async || {
        let status = registry.store_status().unwrap();
        status.unsaved == 2_000 && status.audit_lost == 2_000 - 1_024
    })
    .await;
    let by = By::new("operator", "maintenance").unwrap();
    let kept = registry.trip("payments", &by, None).await.unwrap().kept;
    assert!(matches!(kept, Kept::Here { .. }), "{kept:?}");
    fs::remove_file(&path).unwrap();
    // The restore ends the backoff, so that the test does not take half a minute.
    drop(registry.restore(secs(1)).await.unwrap());
    eventually("the order is stored", async || {
        let loaded = store.load_many(&["payments".to_owned()]).await;
        loaded.is_ok_and(|loaded| loaded.entries[0].is_some())
    })
    .await;
    let unsaved = registry.store_status().unwrap().unsaved;
    assert!(unsaved > 1_000, "{unsaved} records wait while the order is stored");
    eventually("the row of the order is stored", async || {
        store.audit(&AuditFilter::new().user("operator")).await.is_ok_and(|rows| rows.len() == 1)
    })
    .await;
}
