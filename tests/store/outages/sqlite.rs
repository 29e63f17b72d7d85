//! A file that another connection holds.

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tower_circuit_breaker::State;
use tower_circuit_breaker::store::SqliteStore;

use super::{App, actions, eventually};
use crate::rig::{fail, secs};
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
