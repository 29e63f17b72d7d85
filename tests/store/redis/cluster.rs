//! A cluster: the suite after a moved slot and a killed master, names of a dead node, slots on the move, rights and TLS.

use std::time::Duration;

use tower_circuit_breaker::operation::Kept;
use tower_circuit_breaker::store::conformance::Suite;
use tower_circuit_breaker::store::{
    AnyStore, MemoryStore, RedisStore, Store, StoreErrorKind, TieredStore, Watch, WatchEvent, Written,
};

use super::{get, put, recovers, write};
use crate::rig::{alice, secs};
use crate::servers::certificates::Certificates;
use crate::servers::cluster::Cluster;
use crate::servers::redis::{Redis, free_for};
use crate::servers::trio::eventually;
use crate::shared::{instance, mode, reaches};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::{Config, Registry};

async fn next(watch: &mut Watch) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("an event").expect("the watch lives")
}

async fn writes(store: &RedisStore, name: &str) -> Result<Written, StoreErrorKind> {
    store.compare_and_set(&write(name, None, b"1")).await.map_err(|error| error.kind())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_passes_on_a_cluster_after_a_moved_slot_and_a_killed_master() {
    let mut cluster = Cluster::start_with_replica().await;
    let url = cluster.url();
    Suite::new(|| async { AnyStore::open(&url).unwrap() }).forgets().run().await;

    let store = cluster.store();
    let names = [cluster.name_at(0).await, cluster.name_at(1).await, cluster.name_at(2).await];
    for name in &names {
        put(&store, name, name.as_bytes()).await;
    }
    let (slot, from) = cluster.home(&names[1]).await;
    cluster.begin_move(&slot, from, 2).await;
    cluster.move_keys(&slot, from, 2).await;
    cluster.end_move(&slot, from, 2).await;
    assert_eq!(get(&store, &names[1]).await.unwrap().unwrap().bytes, names[1].as_bytes(), "the slot has moved");

    cluster.masters[0].cli::<u64>(&["WAIT", "1", "5000"]).await;
    cluster.masters[0].kill9();
    let replica = cluster.replica.as_ref().unwrap();
    eventually("the replica is promoted", async || {
        replica.cli::<String>(&["INFO", "replication"]).await.contains("role:master")
    })
    .await;
    // A new store may ask any node for the slots.
    let dead = format!("127.0.0.1:{}@", cluster.masters[0].port());
    for node in cluster.masters[1..].iter().chain([replica]) {
        eventually("the node knows that the dead master has no slots", async || {
            let nodes = node.cli::<String>(&["CLUSTER", "NODES"]).await;
            nodes.lines().all(|line| !line.contains(&dead) || line.split_whitespace().count() == 8)
        })
        .await;
    }
    recovers(&store).await;
    eventually("all names are loaded", async || store.load_many(&names).await.is_ok()).await;
    let loaded = store.load_many(&names).await.unwrap().entries;
    let found: Vec<_> = loaded.into_iter().map(|entry| entry.unwrap().bytes).collect();
    assert_eq!(found, names.each_ref().map(|name| name.as_bytes().to_vec()));
    Suite::new(|| async { AnyStore::open(&url).unwrap() }).forgets().run().await;
}

#[tokio::test]
async fn a_dead_master_fails_the_names_of_its_own_slots_only() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    let [first, dead, third] = [cluster.name_at(0).await, cluster.name_at(1).await, cluster.name_at(2).await];
    let names = [first.clone(), dead.clone(), third.clone()];
    put(&store, &dead, b"1").await;
    assert_eq!(store.load_many(&names).await.unwrap().entries.len(), 3);
    cluster.masters[1].kill9();
    let error = store.load_many(&names).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "so that the names are narrowed: {error}");
    let node = format!("127.0.0.1:{}", cluster.masters[1].port());
    assert!(error.to_string().contains(&node) && error.to_string().contains("another node answers"), "{error}");
    assert_eq!(writes(&store, &dead).await.unwrap_err(), StoreErrorKind::Refused);
    assert_eq!(store.list().await.unwrap_err().kind(), StoreErrorKind::Refused, "a part is no list");
    let others = [first, third];
    for name in &others {
        put(&store, name, b"1").await;
    }
    assert!(store.load_many(&others).await.unwrap().entries.iter().all(Option::is_some));
    store.append_audit(&[super::audit::row(1)]).await.unwrap();
    cluster.masters[1].start_again().await;
    eventually("the node is found again", async || {
        store.load_many(&names).await.is_ok_and(|loaded| loaded.entries.iter().all(Option::is_some))
    })
    .await;
    assert_eq!(store.list().await.unwrap().len(), 3);
    for node in &mut cluster.masters {
        node.kill9();
    }
    eventually("a cluster without a node is a store that is away", async || {
        store.load_many(&names).await.is_err_and(|error| error.kind() == StoreErrorKind::Unavailable)
    })
    .await;
    assert_eq!(writes(&store, &names[0]).await.unwrap_err(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_node_that_hangs_or_serves_no_slot_fails_its_own_names_only() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    let names = [cluster.name_at(0).await, cluster.name_at(1).await];
    assert_eq!(store.load_many(&names).await.unwrap().entries, [None, None]);
    cluster.masters[1].cli::<()>(&["CLIENT", "PAUSE", "4500", "ALL"]).await;
    let error = store.load_many(&names).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "a read without an answer has no effect: {error}");
    assert_eq!(writes(&store, &names[1]).await.unwrap_err(), StoreErrorKind::TimedOut, "the write may have been made");
    put(&store, &names[0], b"1").await;
    eventually("the node answers again", async || store.load_many(&names).await.is_ok()).await;

    let slot = cluster.home(&names[1]).await.0;
    for node in &cluster.masters {
        node.cli::<()>(&["CLUSTER", "DELSLOTS", &slot]).await;
    }
    let error = store.load_many(&names).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(get(&store, &names[0]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_cluster_that_says_it_is_down_is_a_store_that_is_away() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    let name = cluster.name_at(0).await;
    put(&store, &name, b"1").await;
    // Without a majority of the masters the third one serves nothing.
    cluster.masters[1].kill9();
    cluster.masters[2].kill9();
    eventually("the last node serves nothing", async || {
        cluster.masters[0].cli::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:fail")
    })
    .await;
    let error = get(&store, &name).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("a cluster that is down"), "{error}");
}

#[tokio::test]
async fn instances_share_circuits_while_the_node_of_another_circuit_is_down() {
    let mut cluster = Cluster::start().await;
    let (one, two) = (instance(cluster.store(), "one").await, instance(cluster.store(), "two").await);
    let names = ["payments", "first", "second"];
    let mut homes = Vec::new();
    for name in names {
        homes.push(cluster.home(name).await.1);
        reaches(&two, &one, name).await;
    }
    let there = *names.iter().zip(&homes).find(|(_, home)| **home != homes[0]).expect("two nodes have names").0;
    one.resume(there, &alice()).await.unwrap();
    eventually("the end of the hold arrives", async || mode(&two, there) == Mode::Automatic).await;
    cluster.masters[homes[0]].kill9();
    reaches(&one, &two, there).await;
    // An instance that starts now loads all names at once at first.
    let three = Registry::builder().store(cluster.store()).instance("three").build().unwrap();
    for name in names {
        three.circuit(Config::new(name).unwrap()).unwrap();
    }
    let restored = three.restore(secs(1)).await.unwrap();
    assert!(!restored.is_complete(), "a name of the dead node is unknown: {restored}");
    eventually("the other names are restored", async || mode(&three, there) == Mode::ForcedOpen).await;
    cluster.masters[homes[0]].start_again().await;
    eventually("all names are restored", async || mode(&three, names[0]) == Mode::ForcedOpen).await;
}

#[tokio::test]
async fn a_node_that_hangs_holds_up_no_circuit_of_another_node() {
    let cluster = Cluster::start().await;
    // Braces put the names into one slot. The audit is on the first node.
    let [first, second, third] = ["{z}first", "{z}second", "{z}third"];
    assert_eq!(cluster.home(first).await.1, 1);
    let here = &*cluster.name_at(0).await;
    let launch = async |id: &str, names: &[&str]| {
        let builder = Registry::builder().store(cluster.store()).instance(id).store_timeout(secs(1));
        let registry = builder.build().unwrap();
        for name in names {
            registry.circuit(Config::new(name).unwrap()).unwrap();
        }
        registry
    };
    let one = launch("one", &[first, here]).await;
    assert!(one.restore(secs(20)).await.unwrap().is_complete());
    cluster.masters[1].hang();
    let is_up = |registry: &Registry| {
        let status = registry.store_status().unwrap();
        assert!(status.up, "the other nodes answer: {status:?}");
        status
    };
    let error = |registry: &Registry| is_up(registry).last_error;
    // The write has no answer.
    one.get(first).unwrap().trip(&alice(), None);
    eventually("the write has failed", async || error(&one).is_some()).await;
    let status = is_up(&one);
    assert_eq!(status.last_error_kind, Some(StoreErrorKind::TimedOut), "the write may have been made: {status:?}");
    assert!(status.last_error.unwrap().contains("another node answers"));
    let done = one.trip(here, &alice(), None).await.unwrap();
    assert!(matches!(done.kept, Kept::Stored { .. }), "{done:?}");

    // Each of the three records is loaded alone.
    let two = launch("two", &[first, second, third, here]).await;
    assert!(!two.restore(secs(1)).await.unwrap().is_complete());
    eventually("the record of the other node is restored", async || {
        is_up(&two);
        mode(&two, here) == Mode::ForcedOpen
    })
    .await;
    for name in [first, second, third] {
        two.get(name).unwrap().trip(&alice(), None);
    }
    eventually("all records were refused", async || is_up(&two).unsaved == 3).await;
    cluster.masters[1].go_on();
    eventually("the acts are stored", async || is_up(&one).unsaved + is_up(&two).unsaved == 0).await;
}

#[tokio::test]
async fn a_dead_node_of_a_fast_tier_pauses_no_name_of_another_node() {
    let mut cluster = Cluster::start().await;
    let store = TieredStore::new(cluster.store(), MemoryStore::new());
    let [here, dead] = [cluster.name_at(0).await, cluster.name_at(1).await];
    cluster.masters[1].kill9();
    let loaded = store.load_many(std::slice::from_ref(&dead)).await.unwrap();
    assert_eq!(loaded.entries, [None], "the durable tier answers");
    let written = store.compare_and_set(&write(&here, None, &super::record(&here))).await.unwrap();
    assert!(matches!(&written, Written::Applied { .. }), "{written:?}");
    assert!(get(&cluster.store(), &here).await.unwrap().is_some(), "the fast tier has the record");
}

#[tokio::test]
async fn a_slot_that_no_node_takes_is_no_failure_of_the_cluster() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    let [name, lost] = [cluster.name_at(0).await, cluster.name_at(1).await];
    let slot = cluster.home(&lost).await.0;
    // Each of two nodes names the other one.
    cluster.disown(&slot, 1, 2).await;
    let error = store.load_many(&[name.clone(), lost.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("from node to node"), "{error}");
    assert_eq!(writes(&store, &lost).await.unwrap_err(), StoreErrorKind::Refused);
    put(&store, &name, b"1").await;
}

#[tokio::test]
async fn a_slot_on_the_move_is_read_and_written_at_both_nodes() {
    let cluster = Cluster::start().await;
    let store = cluster.store();
    // Braces put the names into one slot.
    let names = ["{x}kept", "{x}moved", "{x}new"].map(str::to_owned);
    let (slot, from) = cluster.home(&names[0]).await;
    let to = (from + 1) % 3;
    put(&store, &names[1], b"2").await;
    cluster.begin_move(&slot, from, to).await;
    cluster.move_keys(&slot, from, to).await;
    put(&store, &names[2], b"3").await;
    let etag = get(&store, &names[1]).await.unwrap().unwrap().etag;
    let loaded = store.load_many(&names).await.unwrap().entries;
    let found: Vec<_> = loaded.into_iter().map(|entry| entry.map(|entry| entry.bytes)).collect();
    assert_eq!(found, [None, Some(b"2".to_vec()), Some(b"3".to_vec())]);
    assert!(store.delete(&names[1], &etag).await.unwrap());
    assert_eq!(store.list().await.unwrap(), [names[2].clone()]);
    cluster.end_move(&slot, from, to).await;
    assert_eq!(get(&store, &names[2]).await.unwrap().unwrap().bytes, b"3");
}

#[tokio::test]
async fn a_list_has_the_names_of_a_master_that_has_joined() {
    let mut cluster = Cluster::start().await;
    let (store, other) = (cluster.store(), cluster.store());
    let name = cluster.name_at(1).await;
    put(&store, &name, b"1").await;
    assert_eq!(store.list().await.unwrap(), [&*name]);
    cluster.grow().await;
    let slot = cluster.home(&name).await.0;
    cluster.begin_move(&slot, 1, 3).await;
    cluster.move_keys(&slot, 1, 3).await;
    cluster.end_move(&slot, 1, 3).await;
    put(&other, "{x}a", b"1").await;
    eventually("a list has both names", async || store.list().await.is_ok_and(|names| names.len() == 2)).await;
    assert_eq!(get(&store, &name).await.unwrap().unwrap().bytes, b"1");
}

#[tokio::test]
async fn a_watch_of_a_cluster_hears_all_nodes_and_goes_on_at_the_next() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    let mut watch = store.watch().await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Gap);
    for place in 0..3 {
        let name = cluster.name_at(place).await;
        put(&store, &name, b"1").await;
        assert!(matches!(next(&mut watch).await, WatchEvent::Changed { name: changed, .. } if changed == name));
    }
    // The subscription is at one of the two, or at the third.
    let (names, third) = ([cluster.name_at(1).await, cluster.name_at(2).await], cluster.masters.remove(0));
    drop(third);
    let etag = get(&store, &names[0]).await.unwrap().unwrap().etag;
    assert!(store.delete(&names[0], &etag).await.unwrap());
    loop {
        match next(&mut watch).await {
            WatchEvent::Changed { .. } => break,
            WatchEvent::Gap => {
                put(&store, &names[0], b"2").await;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_cluster_over_tls_is_verified_with_the_files_of_the_address() {
    let files = Certificates::new();
    let (ca, certificate, key) = (files.text("ca.crt"), files.text("server.crt"), files.text("server.key"));
    let port = free_for(&["--cluster-enabled"]).to_string();
    let tls = ["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let more = ["--tls-auth-clients", "no", "--tls-cluster", "yes", "--cluster-enabled", "yes"];
    let node = Redis::start_with(&tls.into_iter().chain(more).collect::<Vec<_>>()).await;
    node.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let store = RedisStore::new(&format!("rediss-cluster://localhost:{port}?ca={ca}")).unwrap();
    recovers(&store).await;
    put(&store, "a", b"1").await;
    let error = get(&RedisStore::new(&format!("rediss-cluster://localhost:{port}")).unwrap(), "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("the public CAs"), "{error}");
}

#[tokio::test]
async fn a_plain_server_is_no_cluster_and_says_so() {
    let server = Redis::start().await;
    let store = RedisStore::cluster(&[server.url()]).unwrap();
    let error = get(&store, "a").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.chain().contains("cluster support disabled"), "{}", error.chain());
    let node = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    node.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "100"]).await;
    let error = get(&node.store(), "a").await.unwrap_err();
    let text = error.chain();
    assert!(text.contains("redis-cluster://") || text.contains("is down"), "{text}");
}
