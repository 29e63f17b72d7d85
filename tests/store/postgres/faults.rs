//! Servers that are down, killed, restarted or held.

use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tower_circuit_breaker::store::{PostgresStore, Store, StoreError, StoreErrorKind, WatchEvent};

use crate::servers::postgres::signal;

use super::{fresh, is_change_of, next, put, write};

/// How long a real operation takes.
async fn timed<T>(operation: impl Future<Output = T>) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "how long a real server is waited for")]
    let started = Instant::now();
    let done = operation.await;
    (done, started.elapsed())
}

fn is_unavailable(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::Unavailable
}

#[tokio::test]
async fn a_store_starts_without_its_database_and_works_once_started() {
    let (store, mut server) = fresh().await;
    server.stop();
    for _ in 0..2 {
        let (refused, took) = timed(store.list()).await;
        let refused = refused.unwrap_err();
        assert!(is_unavailable(&refused), "{refused}");
        assert!(refused.to_string().contains("refused"), "it says why: {refused}");
        assert!(took < Duration::from_millis(200), "it says so at once, not after {took:?}");
    }
    assert!(is_unavailable(&store.watch().await.unwrap_err()));
    server.start_again().await;
    put(&store, "orders", None, b"1").await;
}

#[tokio::test]
async fn committed_records_survive_a_kill() {
    let (store, mut server) = fresh().await;
    let etag = put(&store, "orders", None, b"1").await;
    server.kill9();
    assert!(is_unavailable(&store.list().await.unwrap_err()));
    server.start_again().await;
    put(&store, "orders", Some(etag), b"2").await;
}

#[tokio::test]
async fn after_a_restart_the_dead_connections_cost_no_operation() {
    let (store, mut server) = fresh().await;
    let (one, other) = tokio::join!(store.list(), store.list());
    one.and(other).expect("two connections are open");
    let mut watch = store.watch().await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    server.restart_immediately().await;
    let (one, other) = tokio::join!(store.list(), store.list());
    one.and(other).expect("dead connections are replaced");
    assert_eq!(next(&mut watch).await, WatchEvent::Gap, "the watch listens again");
    put(&store, "orders", None, b"1").await;
    assert!(is_change_of(&next(&mut watch).await, "orders"));
}

#[tokio::test]
async fn a_listener_that_is_terminated_says_gap_and_goes_on() {
    let (store, server) = fresh().await;
    let mut watch = store.watch().await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    for round in ["first", "second"] {
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").await;
        assert_eq!(next(&mut watch).await, WatchEvent::Gap, "it listens again");
        put(&store, round, None, b"1").await;
        assert!(is_change_of(&next(&mut watch).await, round));
    }
}

#[tokio::test]
async fn a_row_locked_by_another_session_times_out_and_is_usable_afterwards() {
    let (store, server) = fresh().await;
    let etag = put(&store, "orders", None, b"1").await;
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    let hold = "BEGIN; SELECT 1 FROM circuit_breaker_states WHERE service = 'orders' FOR UPDATE";
    sqlx::raw_sql(hold).execute(&mut other).await.unwrap();
    let held = write("orders", Some(etag.clone()), b"2");
    let (timed_out, took) = timed(store.compare_and_set(&held)).await;
    let timed_out = timed_out.unwrap_err();
    assert_eq!(timed_out.kind(), StoreErrorKind::TimedOut, "{timed_out}");
    assert!(took < Duration::from_secs(2), "waited {took:?}");
    // Dropped ones do not use up the connections, and the server undoes them.
    for _ in 0..4 {
        tokio::time::timeout(Duration::from_millis(20), store.compare_and_set(&held)).await.expect_err("it is held");
    }
    store.load_many(&["orders".to_owned()]).await.expect("readers do not wait");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let current = store.load_many(&["orders".to_owned()]).await.unwrap().entries.remove(0).unwrap();
    put(&store, "orders", Some(current.etag), b"3").await;
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_unavailable_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://postgres@{}/postgres", silent.local_addr().unwrap());
    let store = PostgresStore::new(&url).unwrap();
    for _ in 0..2 {
        let (refused, took) = timed(store.list()).await;
        let refused = refused.unwrap_err();
        assert!(is_unavailable(&refused), "{refused}");
        assert!(took < Duration::from_secs(2), "waited {took:?}");
    }
}

#[tokio::test]
async fn a_listener_whose_connection_fell_silent_is_replaced() {
    let (store, server) = fresh().await;
    let mut watch = store.watch().await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    let listening = "SELECT pid::text FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    let pid = server.value(listening).await.expect("it listens");
    signal("-STOP", &[pid]);
    put(&store, "unheard", None, b"1").await;
    // It is asked after 15 s, and given up a second later.
    let gap = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the silence is noticed");
    assert_eq!(gap, Some(WatchEvent::Gap));
    put(&store, "heard", None, b"1").await;
    assert!(is_change_of(&next(&mut watch).await, "heard"));
}
