//! A file that another connection holds.

use std::fs;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tower_circuit_breaker::State;
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::store::{SqliteStore, Store};

use super::{App, actions, eventually};
use crate::rig::{alice, fail, secs};
use crate::servers::folder::Folder;

#[tokio::test]
async fn changes_made_while_the_file_was_locked_are_written_afterwards() {
    let folder = Folder::new();
    let file = folder.path().join("circuit_breaker.db");
    let app = App::restored(SqliteStore::new(&file), "a").await;
    let mut holder = SqliteConnectOptions::new().filename(&file).busy_timeout(secs(5)).connect().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut holder).await.unwrap();
    fail(&app.circuit, 5);
    eventually("it is noticed", async || app.registry.store_status().unwrap().last_error.is_some()).await;
    // As long as a slow backup takes.
    tokio::time::sleep(secs(2)).await;
    app.traffic.goes_on().await;
    assert_eq!(app.registry.store_status().unwrap().unsaved, 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let store = SqliteStore::new(&file);
    let record = app.settled(&store).await;
    assert_eq!((record.state, record.total_failures), (State::Open, 5));
    assert_eq!(actions(&store).await, ["opened"]);
    app.end().await;
}

/// Each way in which an operator or a script takes the file away from running instances.
#[tokio::test]
async fn a_replaced_or_deleted_file_gets_the_knowledge_of_the_instances_within_seconds() {
    let folder = Folder::new();
    let backup = folder.path().join("backup.db");
    SqliteStore::new(&backup).ensure_schema().await.unwrap();
    let mut connection = SqliteConnectOptions::new().filename(&backup).connect().await.unwrap();
    sqlx::raw_sql("PRAGMA journal_mode = DELETE").execute(&mut connection).await.unwrap();
    drop(connection);
    for way in ["deleted", "deleted with its log", "deleted with its folder", "replaced", "without log", "without both"]
    {
        let file = folder.path().join(way).join("circuit_breaker.db");
        let apps =
            [App::restored(SqliteStore::new(&file), "a").await, App::restored(SqliteStore::new(&file), "b").await];
        fail(&apps[0].circuit, 5);
        apps[0].settled(&SqliteStore::new(&file)).await;
        match way {
            "deleted" => fs::remove_file(&file).unwrap(),
            "deleted with its log" => {
                for suffix in ["", "-wal", "-shm"] {
                    fs::remove_file(format!("{}{suffix}", file.display())).unwrap();
                }
            }
            "without log" => fs::remove_file(format!("{}-wal", file.display())).unwrap(),
            "without both" => {
                for suffix in ["-wal", "-shm"] {
                    fs::remove_file(format!("{}{suffix}", file.display())).unwrap();
                }
            }
            "deleted with its folder" => fs::remove_dir_all(file.parent().unwrap()).unwrap(),
            _ => {
                let copy = file.with_extension("copy");
                fs::copy(&backup, &copy).unwrap();
                fs::rename(&copy, &file).unwrap();
            }
        }
        eventually(way, async || {
            file.exists()
                && super::stored(&SqliteStore::new(&file)).await.is_some_and(|record| record.state == State::Open)
        })
        .await;
        // An act of another process on the new file reaches both instances.
        let other = SqliteStore::new(&file);
        let registry = super::builder(other.clone(), "c").build().unwrap();
        let circuit = registry.circuit(super::settings("payments")).unwrap();
        drop(registry.restore(secs(5)).await.unwrap());
        registry.reset("payments", &alice(), To::Closed, true).await.unwrap();
        for app in &apps {
            eventually(way, async || crate::rig::state(&app.circuit) == State::Closed).await;
        }
        assert_eq!(crate::rig::state(&circuit), State::Closed);
        let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(sound, "ok", "{way}");
        assert_eq!(other.list().await.unwrap(), ["payments"], "{way}");
        drop(registry.shutdown(secs(5)).await);
        for app in apps {
            app.end().await;
        }
    }
}
