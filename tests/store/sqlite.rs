//! What is particular to SQLite: the file, the columns, the lock, and processes that die.

mod hostile;
mod processes;

use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};
use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{CircuitRecord, InstanceEntry, Timestamp};
use tower_circuit_breaker::state::Generation;
use tower_circuit_breaker::store::conformance::Suite;
use tower_circuit_breaker::store::schema::{self, SchemaMode};
use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, Hint, SqliteStore, Store, StoreErrorKind, WatchEvent, Write, Written,
};

use crate::servers::folder::Folder;

/// A store that nobody has used, and the folder that must outlive it.
fn fresh() -> (SqliteStore, Folder) {
    let folder = Folder::new();
    (SqliteStore::new(folder.path().join("data").join("circuit_breaker.db")), folder)
}

pub(crate) fn write(name: &str, expected: Option<Etag>, bytes: &[u8]) -> Write {
    Write { name: name.to_owned(), expected, bytes: bytes.to_vec(), ttl: None, hint: Hint::Any }
}

pub(crate) async fn put(store: &impl Store, name: &str, expected: Option<Etag>, bytes: &[u8]) -> Etag {
    match store.compare_and_set(&write(name, expected, bytes)).await.expect("the store takes it") {
        Written::Applied { etag, .. } => etag,
        Written::Conflict { current, .. } => panic!("`{name}` holds {current:?}"),
    }
}

/// A record with a number in each column, and no failure ever if asked so.
pub(crate) fn record(name: &str, failed: bool) -> Vec<u8> {
    let mut entry = InstanceEntry::closed("1");
    (entry.run, entry.probe_successes, entry.total_failures, entry.total_successes) = (2.5, 1, 7, 9);
    entry.last_failure_at = failed.then_some(Timestamp::from_millis(1_790_000_000_001));
    let mut record = CircuitRecord::unknown(name);
    (record.state, record.generation) = (State::HalfOpen, Generation::new(1_790_000_000_999));
    record.last_state_change = Some(Timestamp::from_millis(1_790_000_000_999));
    record.instances.insert("a".to_owned(), entry.clone());
    record.instances.insert("b".to_owned(), entry);
    record.encode().expect("it is small")
}

pub(crate) fn row(id: &str, millis: u64) -> AuditRow {
    AuditRow {
        id: id.to_owned(),
        service: "orders".to_owned(),
        action: "trip".to_owned(),
        reason: "maintenance, \"as\" 'planned' \u{1f600}".to_owned(),
        user: millis.is_multiple_of(2).then(|| "ana".to_owned()),
        timestamp: Timestamp::from_millis(millis),
        generation: millis,
        instance: "web-1".to_owned(),
    }
}

async fn connect(store: &SqliteStore) -> SqliteConnection {
    SqliteConnectOptions::new().filename(store.path()).connect().await.expect("the file is there")
}

async fn values(connection: &mut SqliteConnection, sql: &'static str) -> Vec<Option<String>> {
    let row = sqlx::query(sql).fetch_one(connection).await.expect("the statement is sound");
    (0..row.len()).map(|index| row.try_get_unchecked(index).expect("it has a text")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sqlite_store_passes_the_suite() {
    let (store, _folder) = fresh();
    Suite::new(|| async { SqliteStore::new(store.path()) }).run().await;
}

#[tokio::test]
async fn nothing_is_touched_before_the_first_operation() {
    let (store, folder) = fresh();
    assert!(folder.path().read_dir().unwrap().next().is_none(), "constructing made something");
    assert_eq!(store.list().await.unwrap(), [""; 0]);
    assert!(store.path().exists(), "the folder and the file are made");
}

#[tokio::test]
async fn a_person_reads_the_columns() {
    let (store, _folder) = fresh();
    let before = store.load_many(&[]).await.unwrap().now;
    put(&store, "orders", None, &record("orders", true)).await;
    let mut connection = connect(&store).await;
    let all = "SELECT service, state, failures || '', successes || '', last_failure_at, last_state_change, total_failures || '',
        total_successes || '', generation || '', round(unixepoch(updated_at, 'subsec') * 1000) || '', typeof(record)
        FROM circuit_breaker_states";
    let columns = values(&mut connection, all).await;
    let text = |index: usize| columns[index].as_deref().unwrap();
    assert_eq!((text(0), text(1), text(2), text(3)), ("orders", "half_open", "5.0", "2"), "the sums of both instances");
    assert_eq!((text(4), text(5)), ("2026-09-21T14:13:20.001Z", "2026-09-21T14:13:20.999Z"));
    assert_eq!((text(6), text(7), text(8), text(10)), ("14", "18", "1790000000999", "text"));
    let updated: f64 = text(9).parse().unwrap();
    let after = store.load_many(&[]).await.unwrap().now;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century")]
    let between = before.as_millis() as f64 <= updated && updated <= after.as_millis() as f64;
    assert!(between, "{updated} is the time of the write, between {before} and {after}");
}

#[tokio::test]
async fn absent_times_are_null_and_a_corrupt_record_is_unknown() {
    let (store, _folder) = fresh();
    put(&store, "quiet", None, &record("quiet", false)).await;
    put(&store, "odd", None, b"not a record").await;
    let mut connection = connect(&store).await;
    let quiet = "SELECT last_failure_at, last_state_change FROM circuit_breaker_states WHERE service = 'quiet'";
    assert_eq!(values(&mut connection, quiet).await, [None, Some("2026-09-21T14:13:20.999Z".to_owned())]);
    let odd = "SELECT state, failures, last_state_change, generation, record FROM circuit_breaker_states WHERE service = 'odd'";
    let expected = [Some("unknown".to_owned()), None, None, None, Some("not a record".to_owned())];
    assert_eq!(values(&mut connection, odd).await, expected);
}

#[tokio::test]
async fn a_record_that_is_no_text_is_refused() {
    let (store, _folder) = fresh();
    for bytes in [&b"\xff\xfe"[..], b"a\0b"] {
        let refused = store.compare_and_set(&write("orders", None, bytes)).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    }
}

#[tokio::test]
async fn the_audit_keeps_milliseconds_and_each_row_once_across_a_reopening() {
    let (store, _folder) = fresh();
    let times = [0, 1, 999, 1_790_000_000_000, 1_790_000_000_001, 1_790_000_059_999, 253_402_300_799_999];
    let rows: Vec<_> = times.iter().enumerate().map(|(index, millis)| row(&index.to_string(), *millis)).collect();
    store.append_audit(&rows[..5]).await.unwrap();
    let reopened = SqliteStore::new(store.path());
    drop(store);
    reopened.append_audit(&rows).await.unwrap();
    reopened.append_audit(&rows).await.unwrap();
    assert_eq!(reopened.audit(&AuditFilter::new()).await.unwrap(), rows);
    let later = reopened.audit(&AuditFilter::new().since(rows[4].timestamp)).await.unwrap();
    assert_eq!(later, rows[4..]);
    assert_eq!(reopened.audit(&AuditFilter::new().service("orders").limit(2)).await.unwrap(), rows[5..]);
    assert_eq!(reopened.audit(&AuditFilter::new().service("Orders")).await.unwrap(), []);
    let mut connection = connect(&reopened).await;
    let readable = "SELECT action, \"user\", \"timestamp\" FROM circuit_breaker_audit WHERE id = '5'";
    let expected = ["trip", "2026-09-21T14:14:19.999Z"].map(|text| Some(text.to_owned()));
    assert_eq!(values(&mut connection, readable).await, [expected[0].clone(), None, expected[1].clone()]);
}

#[tokio::test]
async fn a_nul_in_an_audit_row_does_not_block_later_rows() {
    let (store, _folder) = fresh();
    let mut odd = row("1", 2);
    (odd.reason, odd.user) = ("a\0b".to_owned(), Some("\0".to_owned()));
    store.append_audit(&[odd, row("2", 3)]).await.unwrap();
    let kept = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((kept[0].reason.as_str(), kept[0].user.as_deref(), kept.len()), ("a\u{fffd}b", Some("\u{fffd}"), 2));
}

#[tokio::test]
async fn verify_names_missing_tables_and_assume_does_not_check() {
    let (store, _folder) = fresh();
    store.ensure_schema().await.unwrap();
    store.ensure_schema().await.unwrap();
    let verifying = SqliteStore::new(store.path()).schema(SchemaMode::Verify);
    verifying.ensure_schema().await.unwrap();
    let mut connection = connect(&store).await;
    sqlx::raw_sql("ALTER TABLE circuit_breaker_states DROP COLUMN etag").execute(&mut connection).await.unwrap();
    for mode in [SchemaMode::Verify, SchemaMode::Create] {
        let refused = SqliteStore::new(store.path()).schema(mode).list().await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused);
        assert!(refused.to_string().contains("`circuit_breaker_states`"), "{refused}");
        assert!(refused.to_string().contains("no column `etag`"), "{refused}");
    }
    let assuming = SqliteStore::new(store.path()).schema(SchemaMode::Assume);
    assert_eq!(assuming.list().await.unwrap(), [""; 0], "what is used is there");
    assert_eq!(assuming.load_many(&["a".to_owned()]).await.unwrap_err().kind(), StoreErrorKind::Refused);
    sqlx::raw_sql("DROP TABLE circuit_breaker_audit").execute(&mut connection).await.unwrap();
    sqlx::raw_sql("ALTER TABLE circuit_breaker_states ADD COLUMN etag").execute(&mut connection).await.unwrap();
    let refused = SqliteStore::new(store.path()).schema(SchemaMode::Verify).list().await.unwrap_err();
    assert!(refused.to_string().contains("no table `circuit_breaker_audit`"), "{refused}");
}

#[tokio::test]
async fn a_table_that_was_dropped_is_made_again() {
    let (store, _folder) = fresh();
    store.append_audit(&[row("1", 1)]).await.unwrap();
    let mut connection = connect(&store).await;
    sqlx::raw_sql("DROP TABLE circuit_breaker_audit").execute(&mut connection).await.unwrap();
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap_err().kind(), StoreErrorKind::Refused);
    assert_eq!(store.audit(&AuditFilter::new()).await.unwrap(), []);
}

#[tokio::test]
async fn without_create_no_file_is_made() {
    let (store, folder) = fresh();
    let store = store.schema(SchemaMode::Verify);
    assert_eq!(store.list().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(folder.path().read_dir().unwrap().next().is_none(), "verifying made something");
}

#[tokio::test]
async fn the_schema_is_idempotent_and_equals_the_documented_files() {
    let (store, _folder) = fresh();
    let (one, other) = (SqliteStore::new(store.path()), SqliteStore::new(store.path()));
    let (one, other) = tokio::join!(one.ensure_schema(), other.ensure_schema());
    one.and(other).expect("two that start together both succeed");
    let mut connection = connect(&store).await;
    sqlx::raw_sql(schema::SQLITE).execute(&mut connection).await.expect("running it again changes nothing");
    assert_eq!(schema::SQLITE, include_str!("../../docs/schema/sqlite.sql"));
}

#[tokio::test]
async fn a_locked_file_is_unavailable_in_time_and_usable_afterwards() {
    let (store, _folder) = fresh();
    put(&store, "orders", None, b"1").await;
    let mut other = connect(&store).await;
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "how long a real lock is waited for")]
    let started = Instant::now();
    let locked = store.compare_and_set(&write("billing", None, b"1")).await.unwrap_err();
    assert_eq!(locked.kind(), StoreErrorKind::Unavailable, "{locked}");
    assert!(locked.to_string().contains("is locked by another process"), "{locked}");
    assert!(started.elapsed() < Duration::from_millis(1800), "waited {:?}", started.elapsed());
    let read = store.load_many(&["orders".to_owned()]).await.expect("readers do not wait for a writer");
    assert!(read.entries[0].is_some());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    put(&store, "billing", None, b"1").await;
}

#[tokio::test]
async fn an_operation_that_was_dropped_leaves_the_store_usable() {
    let (store, _folder) = fresh();
    put(&store, "orders", None, b"1").await;
    let mut other = connect(&store).await;
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    for _ in 0..3 {
        let stuck = write("billing", None, b"1");
        tokio::time::timeout(Duration::from_millis(50), store.compare_and_set(&stuck)).await.expect_err("it is locked");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let kept = store.load_many(&["billing".to_owned()]).await.unwrap();
    let expected = kept.entries[0].as_ref().map(|kept| kept.etag.clone());
    put(&store, "billing", expected, b"2").await;
}

#[tokio::test]
async fn a_read_only_file_refuses_writes_and_a_foreign_file_is_corrupt() {
    let (store, folder) = fresh();
    put(&store, "orders", None, b"1").await;
    let url = format!("sqlite://{}?mode=ro", store.path().display());
    let looking = SqliteStore::from_url(&url).unwrap();
    assert_eq!(looking.list().await.unwrap(), ["orders"]);
    let refused = looking.compare_and_set(&write("billing", None, b"1")).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    assert!(refused.to_string().contains("circuit_breaker.db` cannot be written"), "{refused}");

    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "this is no database, but long enough for a header of one hundred bytes".repeat(4)).unwrap();
    let corrupt = SqliteStore::new(&text).list().await.unwrap_err();
    assert_eq!(corrupt.kind(), StoreErrorKind::Corrupt, "{corrupt}");
    assert!(corrupt.to_string().contains("notes.txt"), "{corrupt}");

    let below = SqliteStore::new(text.join("circuit_breaker.db")).list().await.unwrap_err();
    assert_eq!(below.kind(), StoreErrorKind::Refused, "{below}");
}

#[test]
fn an_address_names_a_file() {
    let path = |url| SqliteStore::from_url(url).map(|store| store.path().display().to_string());
    assert_eq!(path("sqlite://data/circuit_breaker.db").unwrap(), "data/circuit_breaker.db");
    assert_eq!(path("sqlite:///var/lib/a%20b.db").unwrap(), "/var/lib/a b.db");
    for wrong in
        ["data/a.db", "postgres://h/d", "sqlite:", "sqlite://:memory:", "sqlite://a.db?mode=memory", "sqlite://a?x=1"]
    {
        assert_eq!(path(wrong).unwrap_err().kind(), StoreErrorKind::Refused, "{wrong}");
    }
}

#[tokio::test]
async fn a_watch_reports_the_records_of_other_writers_and_no_other_commits() {
    let (store, _folder) = fresh();
    let mut watch = store.watch().await.unwrap().expect("it can be watched");
    let mut connection = connect(&store).await;
    // The application has tables of its own in the file.
    sqlx::raw_sql("CREATE TABLE own (x)").execute(&mut connection).await.unwrap();
    for _ in 0..20 {
        sqlx::raw_sql("INSERT INTO own VALUES (1)").execute(&mut connection).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let other = SqliteStore::new(store.path());
    let etag = put(&other, "orders", None, b"1").await;
    let mut told = async || {
        let told = tokio::time::timeout(Duration::from_secs(1), watch.next()).await.expect("it is reported in time");
        let Some(WatchEvent::Changed { name, etag, .. }) = told else { panic!("{told:?}") };
        (name, etag)
    };
    assert_eq!(told().await, ("orders".to_owned(), Some(etag.clone())));
    let second = put(&other, "orders", Some(etag), b"2").await;
    assert_eq!(told().await, ("orders".to_owned(), Some(second.clone())));
    assert!(other.delete("orders", &second).await.unwrap());
    assert_eq!(told().await, ("orders".to_owned(), None));
}
