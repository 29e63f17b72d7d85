//! Hints of changes, and gaps after which hints may have been missed.

use std::time::{Duration, Instant};

use tower_circuit_breaker::store::{Hint, RedisStore, Store, Watch, WatchEvent, Write, Written};

use super::{fresh, get, put, write};
use crate::servers::proxy::{Network, Proxy};
use crate::servers::redis::Redis;

#[tokio::test]
async fn a_hint_of_a_change_reaches_other_instances_in_milliseconds() {
    let (server, store) = fresh().await;
    let mut watch = watched(&server.store()).await;
    let started = now();
    let etag = put(&store, "a b:ä{}", b"one\ntwo\0").await;
    let WatchEvent::Changed { name, etag: hinted, .. } = next(&mut watch).await else {
        panic!("a change was reported as a gap")
    };
    assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!((&*name, hinted.as_ref()), ("a b:ä{}", Some(&etag)));
    assert!(store.delete("a b:ä{}", &etag).await.unwrap());
    let deleted = next(&mut watch).await;
    assert!(matches!(&deleted, WatchEvent::Changed { name, etag: None, .. } if name == "a b:ä{}"), "{deleted:?}");
    store.compare_and_set(&write("b", Some(&etag), b"x")).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(quiet.is_err(), "a conflict changes nothing: {quiet:?}");
}

#[tokio::test]
async fn a_write_of_counts_is_not_published_and_a_transition_is_named() {
    let (server, store) = fresh().await;
    let mut watch = watched(&server.store()).await;
    let mut expected = None;
    for (bytes, hint) in [(b"1", Hint::None), (b"2", Hint::Transition), (b"3", Hint::None), (b"4", Hint::Any)] {
        let write = Write { hint, ..write("a b", expected.as_ref(), bytes) };
        let Written::Applied { etag, .. } = store.compare_and_set(&write).await.unwrap() else { panic!("{hint:?}") };
        expected = Some(etag.clone());
        if hint != Hint::None {
            let WatchEvent::Changed { name, etag: hinted, hint: read, .. } = next(&mut watch).await else {
                panic!("a change was reported as a gap")
            };
            assert_eq!((&*name, hinted, read), ("a b", Some(etag), hint));
        }
    }
}

#[tokio::test]
async fn a_hint_of_an_older_or_a_later_version_is_followed() {
    let (server, store) = fresh().await;
    let mut watch = watched(&store).await;
    for payload in ["1 -\na", "1 -\na of a later version"] {
        server.cli::<()>(&["PUBLISH", "circuit_breaker:changes:0", payload]).await;
        let event = next(&mut watch).await;
        assert!(matches!(&event, WatchEvent::Changed { name, hint: Hint::Any, .. } if name == "a"), "{event:?}");
    }
}

#[tokio::test]
async fn a_killed_subscription_is_a_gap_and_goes_on() {
    let (server, store) = fresh().await;
    let mut watch = watched(&store).await;
    for round in 0..3_u8 {
        let killed: u64 = server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(killed, 1, "each watch has one connection");
        assert_eq!(next(&mut watch).await, WatchEvent::Gap);
        put(&store, &round.to_string(), b"x").await;
        let told = next(&mut watch).await;
        assert!(matches!(&told, WatchEvent::Changed { name, .. } if *name == round.to_string()), "{told:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_no_hint_is_ignored() {
    let (server, store) = fresh().await;
    let mut watch = watched(&store).await;
    let huge = "x".repeat(2_000_000);
    let name = format!("201 -\n{}", "x".repeat(201));
    for payload in ["", "hello", "1 short\nb", "9 -\nb", &huge, &name] {
        server.cli::<()>(&["PUBLISH", "circuit_breaker:changes:0", payload]).await;
    }
    put(&store, "a", b"x").await;
    let event = next(&mut watch).await;
    assert!(matches!(&event, WatchEvent::Changed { name, .. } if name == "a"), "{event:?}");
}

#[tokio::test]
async fn a_watch_goes_on_after_a_flood() {
    let (server, store) = fresh().await;
    let mut watch = watched(&store).await;
    let flood = "for i = 1, 20000 do redis.call('PUBLISH', 'circuit_breaker:changes:0', '1 -\\na') end";
    server.cli::<()>(&["EVAL", flood, "0"]).await;
    while tokio::time::timeout(Duration::from_millis(500), watch.next()).await.is_ok() {}
    put(&store, "b", b"x").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { name, .. } if name == "b"));
}

#[tokio::test]
async fn a_restarted_server_is_a_gap_and_goes_on() {
    let (mut server, store) = fresh().await;
    let mut watch = watched(&store).await;
    server.kill9();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.start_again().await;
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    super::recovers(&store).await;
    put(&store, "a", b"x").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { .. }));
}

#[tokio::test]
async fn a_silent_dead_subscription_is_noticed_by_its_heartbeat() {
    let (server, store) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let mut watch = watched(&RedisStore::new(&proxy.url()).unwrap()).await;
    proxy.set(Network::BlackHole);
    put(&store, "lost", b"x").await;
    proxy.set(Network::Works);
    let gap = tokio::time::timeout(Duration::from_secs(12), watch.next()).await.unwrap();
    assert_eq!(gap, Some(WatchEvent::Gap));
    put(&store, "a", b"x").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { name, .. } if name == "a"));
}

#[tokio::test]
async fn a_watch_follows_the_operations_to_another_server() {
    let (old, _) = fresh().await;
    let (new, _) = fresh().await;
    let proxy = Proxy::to(old.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    let mut watch = watched(&store).await;
    put(&store, "a", b"x").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { .. }));
    // The name leads to another server now, and the connection of the watch stays.
    proxy.leads_to(new.port());
    let killed: u64 = old.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    assert!(killed >= 1);
    super::recovers(&store).await;
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    put(&new.store(), "b", b"x").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { name, .. } if name == "b"));
}

#[tokio::test]
async fn a_watch_stays_while_a_demoted_master_takes_no_writes() {
    let (server, _) = fresh().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    let mut watch = watched(&store).await;
    let etag = put(&store, "a", b"1").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed { .. }));
    server.cli::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for connections in 3..6 {
        store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap_err();
        get(&store, "a").await.unwrap();
        assert_eq!(proxy.accepted(), connections, "only the connection of the operations is replaced");
    }
    server.cli::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    store.compare_and_set(&write("a", Some(&etag), b"2")).await.unwrap();
    // The master has taken a write, so that its connection has replaced the others.
    while next(&mut watch).await != WatchEvent::Gap {}
}

#[tokio::test]
async fn a_stalled_watch_costs_operations_nothing_and_ends_when_dropped() {
    let server = Redis::start().await;
    let proxy = Proxy::to(server.port()).await;
    let store = RedisStore::new(&proxy.url()).unwrap();
    let first = watched(&store).await;
    let second = watched(&store).await;
    get(&store, "a").await.unwrap();
    assert_eq!(proxy.accepted(), 3, "one for each watch and one for all operations");
    drop((first, second));
    for _ in 0..100 {
        let subscribed: (String, u64) = server.cli(&["PUBSUB", "NUMSUB", "circuit_breaker:changes:0"]).await;
        if subscribed.1 == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the connections of dropped watches stay");
}

/// Watches, and waits until it is subscribed.
async fn watched(store: &RedisStore) -> Watch {
    let mut watch = store.watch().await.unwrap().expect("redis pushes");
    assert_eq!(next(&mut watch).await, WatchEvent::Gap, "what came before was missed");
    watch
}

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("told in time").expect("it goes on")
}

#[expect(clippy::disallowed_methods, reason = "how long a real server takes")]
fn now() -> Instant {
    Instant::now()
}
