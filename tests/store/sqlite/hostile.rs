//! The rights of the file, and a file or a database that another user has prepared.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::schema::SchemaMode;
use tower_circuit_breaker::store::{AuditFilter, SqliteStore, Store, StoreErrorKind};

use super::processes::read_without_rights;
use super::{connect, fresh, put, record, row, write};
use crate::servers::folder::Folder;

const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

fn beside(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

fn rights(path: &Path) -> (u32, u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

async fn write_all(store: &SqliteStore) {
    put(store, "orders", None, &record("orders", false)).await;
    store.append_audit(&[row("1", 1)]).await.unwrap();
}

#[tokio::test]
async fn a_new_file_and_its_folder_are_for_their_owner_alone() {
    let (store, _folder) = fresh();
    write_all(&store).await;
    assert_eq!(rights(store.path().parent().unwrap()).2, 0o700);
    for suffix in &SUFFIXES[..3] {
        assert_eq!(rights(&beside(store.path(), suffix)).2, 0o600, "{suffix}");
    }
    let left = fs::read_dir(store.path().parent().unwrap()).unwrap().count();
    assert_eq!(left, 3, "no temporary file is left");
}

#[tokio::test]
async fn a_new_file_belongs_to_the_owner_and_the_group_of_its_folder() {
    let folder = Folder::new();
    let (uid, _, _) = rights(folder.path());
    // Only root may give a folder away. Another user has its own folder.
    let stranger = if uid == 0 { 65_534 } else { uid };
    chown(folder.path(), Some(stranger), (uid == 0).then_some(65_534)).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o2770)).unwrap();
    let (uid, gid, _) = rights(folder.path());
    let store = SqliteStore::new(folder.path().join("circuit_breaker.db"));
    write_all(&store).await;
    for suffix in &SUFFIXES[..3] {
        assert_eq!(rights(&beside(store.path(), suffix)), (uid, gid, 0o660), "{suffix}");
    }
}

#[tokio::test]
async fn a_link_a_pipe_or_a_folder_in_the_place_of_a_file_is_refused_by_name() {
    for kind in ["link", "device", "pipe", "folder"] {
        for suffix in SUFFIXES {
            let folder = Folder::new();
            let (path, foreign) = (folder.path().join("cb.db"), folder.path().join("foreign"));
            // SQLite would make a database of an empty file.
            fs::write(&foreign, "").unwrap();
            let planted = beside(&path, suffix);
            match kind {
                "link" => symlink(&foreign, &planted).unwrap(),
                "device" => symlink("/dev/zero", &planted).unwrap(),
                "pipe" => assert!(Command::new("mkfifo").arg(&planted).status().unwrap().success()),
                _ => fs::create_dir(&planted).unwrap(),
            }
            let store = SqliteStore::new(&path);
            let written = write("orders", None, b"1");
            let asked = tokio::time::timeout(Duration::from_secs(20), store.compare_and_set(&written)).await;
            let asked = asked.expect("it does not hang");
            let error = asked.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{kind} {suffix}: {error}");
            assert!(error.to_string().contains(&format!("cb.db{suffix}")), "{kind} {suffix}: {error}");
            assert_eq!(fs::metadata(&foreign).unwrap().len(), 0, "{kind} {suffix}");
            // The store works once the plant is gone.
            fs::remove_file(&planted).or_else(|_| fs::remove_dir(&planted)).unwrap();
            put(&store, "orders", None, b"1").await;
        }
    }
}

/// Replaces the table of the states by a view without an end, or by another object.
async fn with(object: &str) -> (SqliteStore, Folder) {
    let (store, folder) = fresh();
    store.append_audit(&[row("1", 1)]).await.unwrap();
    let mut connection = connect(&store).await;
    let all = format!("DROP TABLE circuit_breaker_states; {object}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(all)).execute(&mut connection).await.unwrap();
    (SqliteStore::new(store.path()), folder)
}

const ENDLESS: &str = "CREATE VIEW circuit_breaker_states AS
    WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)
    SELECT 'x' || n AS service, 'open' AS state, 0.0 AS failures, 0 AS successes, NULL AS last_failure_at,
        NULL AS last_state_change, 0 AS total_failures, 0 AS total_successes, '' AS updated_at,
        0 AS generation, 'e' AS etag, '{}' AS record FROM r";

#[tokio::test]
async fn a_view_in_the_place_of_a_table_is_refused() {
    for mode in [SchemaMode::Create, SchemaMode::Verify] {
        let (store, _folder) = with(ENDLESS).await;
        let error = store.schema(mode).load_many(&["orders".to_owned()]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(
            error.to_string().contains("`circuit_breaker_states`") && error.to_string().contains("is a view"),
            "{error}"
        );
    }
}

/// The next operation is answered only after the statement has ended.
#[tokio::test]
async fn a_statement_without_an_end_is_interrupted_once_its_operation_was_given_up() {
    let (store, _folder) = with(ENDLESS).await;
    let store = store.schema(SchemaMode::Assume);
    for _ in 0..3 {
        let names = ["orders".to_owned()];
        let given_up = tokio::time::timeout(Duration::from_millis(100), store.load_many(&names)).await;
        assert!(given_up.is_err(), "the view has no end");
        assert_eq!(store.audit(&AuditFilter::new()).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_huge_value_hides_no_other_record_and_is_read_up_to_its_bound() {
    let (store, _folder) = fresh();
    put(&store, "good", None, &record("good", false)).await;
    put(&store, "huge", None, b"1").await;
    let mut connection = connect(&store).await;
    let grow = "UPDATE circuit_breaker_states SET record = printf('%.*c', 50000000, 'x') WHERE service = 'huge'";
    sqlx::raw_sql(grow).execute(&mut connection).await.unwrap();
    let found = store.load_many(&["huge", "good"].map(str::to_owned)).await.unwrap().entries;
    let huge = found[0].clone().unwrap();
    assert_eq!(huge.bytes.len(), CircuitRecord::MAX_BYTES + 1, "no reader accepts a record of this length");
    assert_eq!(found[1].as_ref().unwrap().bytes, record("good", false));
    put(&store, "huge", Some(huge.etag), b"2").await;

    store.append_audit(&[row("1", 1), row("2", 2)]).await.unwrap();
    let grow = "UPDATE circuit_breaker_audit SET reason = printf('%.*c', 50000000, 'x') WHERE id = '1'";
    sqlx::raw_sql(grow).execute(&mut connection).await.unwrap();
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((rows[0].reason.as_str(), &rows[1]), ("(too long)", &row("2", 2)));
}

#[tokio::test]
async fn a_row_with_values_of_other_types_hides_no_other_row() {
    let (store, _folder) = fresh();
    put(&store, "good", None, &record("good", false)).await;
    put(&store, "odd", None, b"1").await;
    put(&store, "wide", None, b"1").await;
    store.append_audit(&[row("1", 1), row("2", 2)]).await.unwrap();
    let mut connection = connect(&store).await;
    let odd = "UPDATE circuit_breaker_states SET record = x'ff00fe', etag = x'6f6464' WHERE service = 'odd';
        UPDATE circuit_breaker_states SET etag = printf('%.*c', 50000000, 'x') WHERE service = 'wide';
        INSERT INTO circuit_breaker_states SELECT x'80', state, failures, successes, last_failure_at, last_state_change,
            total_failures, total_successes, updated_at, generation, etag, record FROM circuit_breaker_states WHERE service = 'odd';
        UPDATE circuit_breaker_audit SET reason = x'ff', \"timestamp\" = 'then', generation = 'many', \"user\" = x'80' WHERE id = '1'";
    sqlx::raw_sql(odd).execute(&mut connection).await.unwrap();
    let found = store.load_many(&["odd", "good", "wide"].map(str::to_owned)).await.unwrap().entries;
    assert_eq!(found[0].as_ref().unwrap().bytes, [0xff, 0, 0xfe]);
    assert_eq!(found[1].as_ref().unwrap().bytes, record("good", false));
    assert_eq!(store.list().await.unwrap(), ["good", "odd", "wide"]);
    put(&store, "odd", found[0].clone().map(|found| found.etag), b"2").await;
    assert!(store.delete("wide", &found[2].as_ref().unwrap().etag).await.unwrap());
    let rows = store.audit(&AuditFilter::new()).await.unwrap();
    assert_eq!((rows[0].reason.as_str(), rows[0].timestamp.as_millis(), &rows[1]), ("\u{fffd}", 0, &row("2", 2)));
}

#[tokio::test]
async fn a_replaced_file_is_used_by_the_next_operation_and_keeps_the_old_log() {
    let (store, folder) = fresh();
    put(&store, "old", None, b"1").await;
    let other = SqliteStore::new(folder.path().join("other.db"));
    put(&other, "new", None, b"1").await;
    let mut connection = connect(&other).await;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
    drop(connection);
    let moved = folder.path().join("moved.db");
    fs::copy(other.path(), &moved).unwrap();
    fs::rename(&moved, store.path()).unwrap();
    assert_eq!(store.list().await.unwrap(), ["new"]);
    put(&store, "newer", None, b"1").await;
    assert!(beside(store.path(), "-wal.old").is_file(), "the log of the old database is not applied to the new one");
    let mut connection = SqliteConnectOptions::new().filename(store.path()).connect().await.unwrap();
    assert_eq!(super::values(&mut connection, "PRAGMA integrity_check").await, [Some("ok".to_owned())]);
    assert_eq!(SqliteStore::new(store.path()).list().await.unwrap(), ["new", "newer"]);
}

#[tokio::test]
async fn a_reader_without_the_index_is_pointed_to_immutable() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let path = data.join("circuit_breaker.db");
    let store = SqliteStore::new(&path);
    put(&store, "orders", None, b"1").await;
    drop(store);
    // The last connection that closes removes the log and its index. That of the store closes in the background.
    while beside(&path, "-shm").exists() {
        let connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
    }
    fs::set_permissions(&data, Permissions::from_mode(0o555)).unwrap();
    let read = |query: &str| read_without_rights(&format!("sqlite://{}?mode=ro{query}", path.display()));
    let refused = read("");
    assert!(refused.contains("`-wal` or `-shm` file is missing") && refused.contains("immutable=true"), "{refused}");
    assert!(read("&immutable=true").contains("read orders"));
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
}
