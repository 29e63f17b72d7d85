//! A master that sentinels name: the suite before and after a failover, sentinels that are down or wrong, passwords and TLS.

use std::time::Duration;

use tower_circuit_breaker::store::conformance::Suite;
use tower_circuit_breaker::store::{AnyStore, RedisStore, Store, StoreErrorKind, Watch, WatchEvent};

use super::{get, put, recovers};
use crate::servers::certificates::Certificates;
use crate::servers::redis::{Redis, free_port};
use crate::servers::trio::{MASTER, Trio, eventually, follower, watcher};

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("an event").expect("the watch lives")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_sentinels_before_and_after_the_master_is_killed() {
    let mut trio = Trio::start().await;
    let url = trio.url();
    Suite::new(|| async { AnyStore::open(&url).unwrap() }).forgets().run().await;

    let store = trio.store();
    let mut watch = store.watch().await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    let etag = put(&store, "kept", b"1").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { .. }));
    trio.servers[0].cli::<u64>(&["WAIT", "1", "5000"]).await;
    trio.servers[0].kill9();
    assert_eq!(get(&store, "kept").await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    trio.master_is(&trio.servers[1]).await;
    recovers(&store).await;
    assert_eq!(get(&store, "kept").await.unwrap().unwrap().etag, etag, "the replica had the record");
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    put(&store, "new", b"1").await;
    while !matches!(next(&mut watch).await, WatchEvent::Changed { name, .. } if name == "new") {}

    // The former master comes back, and takes writes until the sentinels demote it. No connection leads there.
    trio.servers[0].start_again().await;
    put(&trio.store(), "after", b"1").await;
    assert!(get(&store, "after").await.unwrap().is_some());
    Suite::new(|| async { AnyStore::open(&url).unwrap() }).forgets().run().await;
}

#[tokio::test]
async fn a_server_that_most_sentinels_name_is_used_if_it_is_a_master() {
    let master = Redis::start().await;
    let replica = follower(&master).await;
    let (wrong, right) = (watcher(replica.port(), 1, &[]).await, watcher(master.port(), 1, &[]).await);
    let another = watcher(master.port(), 1, &[]).await;
    let silent = free_port();
    let open = |ports: &[u16]| {
        let urls: Vec<_> = ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
        RedisStore::sentinel(&urls, MASTER).unwrap()
    };
    put(&open(&[wrong.port(), right.port(), another.port()]), "a", b"1").await;
    assert!(get(&open(&[silent, 1, right.port()]), "a").await.unwrap().is_some(), "one sentinel is enough");
    let error = get(&open(&[wrong.port()]), "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains(&format!("127.0.0.1:{} is no master", replica.port())), "{error}");
    let error = get(&open(&[silent, 1]), "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("the sentinel 127.0.0.1:"), "{error}");
    let unknown = RedisStore::sentinel(&[right.url()], "other").unwrap();
    let error = get(&unknown, "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("knows no master `other`"), "{error}");
    let server = get(&open(&[master.port()]), "a").await.unwrap_err();
    assert_eq!(server.kind(), StoreErrorKind::Refused, "a server is no sentinel: {server}");
}

#[tokio::test]
async fn a_demoted_master_of_sentinels_is_left_for_the_new_master() {
    let trio = Trio::start().await;
    let store = trio.store();
    put(&store, "a", b"1").await;
    trio.sentinels[0].cli::<()>(&["SENTINEL", "FAILOVER", MASTER]).await;
    trio.master_is(&trio.servers[1]).await;
    // The sentinels name the new master before they demote the former one.
    eventually("the former master is demoted", async || {
        // The demotion ends the connections of clients, also in the middle of an answer.
        let answer = trio.servers[0].try_cli(&["INFO", "replication"]).await;
        answer.is_ok_and(|answer| format!("{answer:?}").contains("role:slave"))
    })
    .await;
    recovers(&store).await;
    store.append_audit(&[super::audit::row(1)]).await.expect("the connection leads to the new master");
    assert_eq!(trio.servers[1].cli::<u64>(&["XLEN", "circuit_breaker:audit"]).await, 1);
}

#[tokio::test]
async fn sentinels_and_master_have_users_and_passwords_of_their_own() {
    let master = Redis::start().await;
    let page = include_str!("../../../docs/stores.md").split_once("ACL SETUSER breaker on >secret ").unwrap().1;
    let rights: Vec<&str> = page.split("```").next().unwrap().split_whitespace().collect();
    let grant = async |more: &[&str]| {
        let start = ["ACL", "SETUSER", "breaker", "reset", "on", ">secret"];
        master.cli::<()>(&start.iter().chain(&rights).chain(more).copied().collect::<Vec<_>>()).await;
    };
    let sentinel = watcher(master.port(), 1, &["--requirepass", "closed"]).await;
    let url = |pass: &str| format!("redis-sentinel://breaker:secret@127.0.0.1:{}/{MASTER}{pass}", sentinel.port());
    grant(&[]).await;
    let store = RedisStore::new(&url("?sentinel_pass=closed")).unwrap();
    let error = get(&store, "a").await.unwrap_err();
    assert!(error.to_string().contains("does not permit this user"), "the page names `+role`: {error}");
    grant(&["+role"]).await;
    recovers(&store).await;
    put(&store, "a", b"1").await;
    store.append_audit(&[super::audit::row(1)]).await.unwrap();
    for wrong in ["", "?sentinel_pass=wr0ng", "?sentinel_user=ana&sentinel_pass=wr0ng"] {
        let store = RedisStore::new(&url(wrong)).unwrap();
        let error = get(&store, "a").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("the sentinel 127.0.0.1:"), "{error}");
        let all = format!("{error:?} {} {store:?}", error.chain());
        assert!(!all.contains("wr0ng") && !all.contains("secret"), "{all}");
    }
}

#[tokio::test]
async fn sentinels_and_master_are_reached_over_tls_with_the_files_of_the_address() {
    let files = Certificates::new();
    let (ca, certificate, key) = (files.text("ca.crt"), files.text("server.crt"), files.text("server.key"));
    let tls = ["--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let of_clients = ["--tls-auth-clients", "no"];
    let ports = [free_port(), free_port()];
    let number = ports[0].to_string();
    let options: Vec<&str> = ["--tls-port", &number].into_iter().chain(tls).chain(of_clients).collect();
    let _master = Redis::start_with(&options).await;
    let lines = format!(
        "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor {MASTER} localhost {number} 1\n\
         tls-port {}\ntls-replication yes\ntls-ca-cert-file {ca}\ntls-cert-file {certificate}\ntls-key-file {key}\n\
         tls-auth-clients no\n",
        ports[1]
    );
    let _sentinel = Redis::sentinel(&lines, &[]).await;
    let address = format!("rediss-sentinel://localhost:{}/{MASTER}", ports[1]);
    let store = RedisStore::new(&format!("{address}?ca={ca}")).unwrap();
    put(&store, "a", b"1").await;
    let mut watch = store.watch().await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    let error = get(&RedisStore::new(&address).unwrap(), "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    let error = error.to_string();
    assert!(error.contains("the sentinel localhost") && error.contains("the public CAs"), "{error}");
}
