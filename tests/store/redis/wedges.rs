//! Each way in which the stock connection manager stays broken for ever, or waits for seconds. Here none does.

use std::time::{Duration, Instant};

use tower_circuit_breaker::store::{RedisStore, StoreErrorKind};

use super::{fresh, get, put, recovers, write};
use crate::servers::proxy::{Network, Proxy};
use crate::servers::redis::Redis;
use tower_circuit_breaker::store::Store;

#[tokio::test]
async fn an_unreachable_server_is_noticed_at_once_and_found_again() {
    let mut server = Redis::stopped(&[]);
    let store = server.store();
    let started = now();
    for _ in 0..10 {
        let error = get(&store, "a").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "ten refused operations took {:?}", started.elapsed());
    let watched = store.watch().await.unwrap();
    server.start_again().await;
    recovers(&store).await;
    drop(watched);
}

#[tokio::test]
async fn a_password_that_is_corrected_on_the_server_is_accepted() {
    let server = Redis::start_with(&["--requirepass", "first"]).await;
    let store = RedisStore::new(&server.url().replace("//", "//:second@")).unwrap();
    for _ in 0..3 {
        let error = get(&store, "a").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        let all = format!("{error} {error:?} {store:?}");
        assert!(!all.contains("second"), "{all}");
    }
    // Without a password the connection is made, and every command refused.
    let without = server.store();
    assert_eq!(get(&without, "a").await.unwrap_err().kind(), StoreErrorKind::Refused);
    server.cli::<()>(&["CONFIG", "SET", "requirepass", "second"]).await;
    recovers(&store).await;
    let admin = redis::Client::open(server.url().replace("//", "//:second@")).unwrap();
    let mut admin = admin.get_multiplexed_async_connection().await.unwrap();
    let mut open = redis::cmd("CONFIG");
    open.arg("SET").arg("requirepass").arg("");
    admin.send_packed_command(&open).await.unwrap();
    recovers(&without).await;
}

#[tokio::test]
async fn a_demoted_master_is_left_and_taken_again_when_promoted() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    let etag = put(&store, "a", b"1").await;
    assert_eq!(proxy.accepted(), 1);
    server.cli::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for connections in 2..5 {
        let error = store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        get(&store, "a").await.ok();
        assert_eq!(proxy.accepted(), connections, "the name is resolved again after each refusal");
    }
    server.cli::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    assert!(store.compare_and_set(&write("a", Some(&etag), b"2")).await.is_ok());
}

#[tokio::test]
async fn a_black_holed_connection_is_replaced_after_three_operations() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    get(&store, "a").await.unwrap();
    proxy.set(Network::BlackHole);
    for _ in 0..3 {
        assert_eq!(get(&store, "a").await.unwrap_err().kind(), StoreErrorKind::TimedOut);
    }
    proxy.set(Network::Works);
    get(&store, "a").await.unwrap();
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_black_hole_is_noticed_although_every_caller_gives_up_first() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    get(&store, "a").await.unwrap();
    proxy.set(Network::BlackHole);
    for _ in 0..3 {
        tokio::time::timeout(Duration::from_millis(150), get(&store, "a")).await.unwrap_err();
    }
    proxy.set(Network::Works);
    get(&store, "a").await.unwrap();
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_master_without_replicas_is_left_when_it_needs_them() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    get(&store, "a").await.unwrap();
    server.cli::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let error = store.compare_and_set(&write("a", None, b"1")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("too few replicas"), "{error}");
    get(&store, "a").await.unwrap();
    assert_eq!(proxy.accepted(), 2, "another server may be the master now");
}

#[tokio::test]
async fn pauses_far_apart_do_not_cost_the_connection() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    get(&store, "a").await.unwrap();
    for _ in 0..3 {
        server.cli::<()>(&["CLIENT", "PAUSE", "2000", "ALL"]).await;
        assert_eq!(get(&store, "a").await.unwrap_err().kind(), StoreErrorKind::TimedOut);
        get(&store, "a").await.unwrap();
    }
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_slow_handshake_succeeds_although_every_caller_gives_up_first() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    proxy.set(Network::Slow(Duration::from_millis(150)));
    let store = RedisStore::new(&proxy.url()).unwrap();
    // The handshake takes 300 ms, an answer as much again.
    for _ in 0..8 {
        tokio::time::timeout(Duration::from_millis(50), get(&store, "a")).await.unwrap_err();
    }
    assert_eq!(proxy.accepted(), 1, "all of them waited for one attempt");
    get(&store, "a").await.unwrap();
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn many_operations_share_one_attempt_and_its_failure() {
    let proxy = Proxy::to(1).await;
    proxy.set(Network::Refuses);
    let store = RedisStore::new(&proxy.url()).unwrap();
    let asked = futures_util::future::join_all((0..64).map(|_| get(&store, "a"))).await;
    assert!(asked.iter().all(|answer| answer.as_ref().unwrap_err().kind() == StoreErrorKind::Unavailable));
    get(&store, "a").await.unwrap_err();
    assert_eq!(proxy.accepted(), 1, "a failure is the answer to everybody for a moment");
    tokio::time::sleep(Duration::from_millis(120)).await;
    get(&store, "a").await.unwrap_err();
    assert_eq!(proxy.accepted(), 2, "and then it is tried again");
}

#[tokio::test]
async fn a_server_that_accepts_without_answering_is_given_up() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    proxy.set(Network::BlackHole);
    let store = RedisStore::new(&proxy.url()).unwrap();
    let error = get(&store, "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "nothing was asked yet: {error}");
    proxy.set(Network::Works);
    recovers(&store).await;
}

#[test]
fn a_store_outlives_the_runtime_of_its_connection() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (server, store) = first.block_on(fresh());
    first.block_on(get(&store, "a")).unwrap();
    drop(first);
    runtime().block_on(recovers(&store));
    drop(server);
}

#[test]
fn an_attempt_whose_runtime_ended_is_made_again() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = RedisStore::new(&format!("redis://{}", silent.local_addr().unwrap())).unwrap();
    let brief = async { tokio::time::timeout(Duration::from_millis(50), get(&store, "a")).await };
    runtime().block_on(brief).expect_err("it is still connecting when its runtime ends");
    drop(silent);
    let error = runtime().block_on(get(&store, "a")).unwrap_err();
    assert!(error.to_string().starts_with("cannot connect"), "{error}");
}

#[expect(clippy::disallowed_methods, reason = "how long a real server takes")]
fn now() -> Instant {
    Instant::now()
}
