//! Servers that die, pause, refuse and come back.

use std::time::Duration;

use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::store::{RedisStore, Store, StoreErrorKind, Written};

use super::{fresh, get, put, recovers, write};
use crate::servers::proxy::Proxy;
use crate::servers::redis::Redis;

#[tokio::test]
async fn a_killed_server_is_found_again_with_or_without_its_data() {
    let mut server = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = server.store();
    let etag = put(&store, "a", b"1").await;
    server.kill9();
    assert_eq!(get(&store, "a").await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    server.start_again().await;
    recovers(&store).await;
    assert_eq!(get(&store, "a").await.unwrap().unwrap().etag, etag);
    server.kill9();
    server.lose_data();
    server.start_again().await;
    recovers(&store).await;
    assert_eq!(get(&store, "a").await.unwrap(), None);
}

#[tokio::test]
async fn a_timed_out_write_may_be_done_and_the_store_goes_on() {
    let (server, store) = fresh().await;
    let etag = put(&store, "a", b"1").await;
    server.cli::<()>(&["CLIENT", "PAUSE", "2500", "ALL"]).await;
    let error = store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::TimedOut, "{error}");
    recovers(&store).await;
    assert_eq!(get(&store, "a").await.unwrap().unwrap().bytes, b"2", "it was made after its caller had gone");
}

#[tokio::test]
async fn a_write_with_a_broken_connection_has_an_unknown_result() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    put(&store, "a", b"1").await;
    server.cli::<()>(&["CLIENT", "PAUSE", "300", "ALL"]).await;
    let asked = write("b", None, b"1");
    let (written, ()) = tokio::join!(store.compare_and_set(&asked), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.cut();
    });
    assert_eq!(written.unwrap_err().kind(), StoreErrorKind::TimedOut, "the outcome is unknown");
    recovers(&store).await;
}

#[tokio::test]
async fn forbidden_commands_are_refused_and_work_once_permitted() {
    let (server, _) = fresh().await;
    // The documented rights are the rights of this test.
    let documented = include_str!("../../../docs/stores.md").split_once("ACL SETUSER breaker on >secret ").unwrap().1;
    let documented: Vec<&str> = documented.split("```").next().unwrap().split_whitespace().collect();
    let (rights, commands) = documented.split_at(3);
    assert!(commands.iter().all(|right| right.starts_with('+') && !right.contains('@')), "no groups: {commands:?}");
    server.cli::<()>(&["ACL", "SETUSER", "breaker", "on", ">secret", "resetchannels", "+hello", "+auth"]).await;
    let store = RedisStore::new(&server.url().replace("//", "//breaker:secret@")).unwrap();
    let error = get(&store, "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    // A publication that is not permitted does not fail the write.
    let but_publish: Vec<&str> = ["ACL", "SETUSER", "breaker"].into_iter().chain(rights[..2].iter().copied()).collect();
    server.cli::<()>(&but_publish.into_iter().chain(commands.iter().copied()).collect::<Vec<_>>()).await;
    let etag = put(&store, "a", b"1").await;
    server.cli::<()>(&["ACL", "SETUSER", "breaker", rights[2]]).await;
    let mut watch = store.watch().await.unwrap().unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.unwrap();
    assert_eq!(told, Some(tower_circuit_breaker::store::WatchEvent::Gap), "the documented rights suffice to subscribe");
    assert!(store.delete("a", &etag).await.unwrap());
    assert_eq!(store.list().await.unwrap(), Vec::<String>::new());
    store.append_audit(&[super::audit::row(1)]).await.unwrap();
    assert_eq!(store.audit(&tower_circuit_breaker::store::AuditFilter::new()).await.unwrap().len(), 1);
    server.cli::<()>(&["ACL", "SETUSER", "breaker", "+xrange", "+xdel"]).await;
    store.trim_audit(Timestamp::from_millis(u64::MAX)).await.expect("the documented rights suffice to trim");
    for foreign in [&["CLIENT", "LIST"][..], &["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"], &["CLIENT", "PAUSE", "1"]] {
        let words: Vec<&str> = ["ACL", "DRYRUN", "breaker"].iter().chain(foreign).copied().collect();
        let answer: String = server.cli(&words).await;
        assert!(answer.contains("no permissions"), "{foreign:?}: {answer}");
    }
}

#[tokio::test]
async fn a_server_without_memory_takes_no_write_and_still_answers() {
    let (server, store) = fresh().await;
    let etag = put(&store, "a", b"1").await;
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert_eq!(get(&store, "a").await.unwrap().unwrap().etag, etag);
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let written = store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap();
    assert!(matches!(written, Written::Applied { .. }), "{written:?}");
}

#[tokio::test]
async fn tls_to_a_server_without_tls_is_an_ordinary_error() {
    let (server, _) = fresh().await;
    let store = RedisStore::new(&server.url().replace("redis:", "rediss:")).unwrap();
    let error = get(&store, "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("scheme"), "{error}");
}

#[test]
fn without_a_runtime_a_store_can_be_created_but_not_queried() {
    let store = RedisStore::new("redis://127.0.0.1:1").unwrap();
    let asked = futures_util::future::FutureExt::now_or_never(get(&store, "a"));
    assert_eq!(asked.unwrap().unwrap_err().kind(), StoreErrorKind::Refused);
    let listed = futures_util::future::FutureExt::now_or_never(store.list());
    assert_eq!(listed.unwrap().unwrap_err().kind(), StoreErrorKind::Refused);
}
