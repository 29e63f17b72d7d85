//! The keyed circuits that come back, and those that stay in the store.

use super::*;
use tower_circuit_breaker::store::Hint;

#[tokio::test(start_paused = true)]
async fn closed_keyed_circuits_stay_in_the_store_until_their_first_call() {
    let store = store();
    let before = started(&store).build().unwrap();
    before.start().unwrap();
    let layer = by_host(&before, |builder| builder);
    (0..600).for_each(|n| fail(&layer, &format!("{n:03}"), 3));
    fail(&layer, "dead", 5);
    assert!(before.shutdown(Duration::from_secs(5)).await.is_complete());
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(10));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "1 restored: 1 open");
    assert_eq!(by.status().keys, 1);
    drop(by.circuit("007").unwrap());
    tokio::time::sleep(WAIT).await;
    fail(&by, "007", 2);
    assert!(by.circuit("007").unwrap().is_open(), "three failures before, and two now");
}

#[tokio::test(start_paused = true)]
async fn keyed_circuits_beyond_max_keys_are_left_out_and_reported() {
    let store = store();
    for key in ["oldest", "b", "c", "youngest"] {
        opened(&store, &[key]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(56_500)).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(3));
    let report = registry.restore(WAIT).await.unwrap();
    // The wait of the oldest one is over, so that the others are more urgent.
    assert_eq!(report.circuits.keys().collect::<Vec<_>>(), ["host:b", "host:c", "host:youngest"]);
    assert_eq!(report.left_out, 1);
    assert_eq!(report.to_string(), "3 restored: 3 open; 1 keyed circuit left out for want of room");
    assert_eq!(by.status().unguarded, 0, "a restore counts no call");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_called_take_the_place_of_circuits_that_came_back() {
    let store = store();
    opened(&store, &["a", "b", "c"]).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(3));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "3 restored: 3 open");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(burst(&by, "a").await, 0);
    assert!(by.circuit("healthy").is_some(), "other hosts leave it a place");
    assert_eq!((by.status().keys, by.status().evicted), (3, 1));
    assert_eq!((burst(&by, "b").await, burst(&by, "c").await), (0, 0), "the evicted circuit is still open");
}

#[tokio::test(start_paused = true)]
async fn circuits_that_came_back_are_evicted_before_keys_in_use() {
    let store = store();
    let gone: Vec<_> = (0..8).map(|n| format!("gone-{n}")).collect();
    opened(&store, &gone.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(8));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "8 restored: 8 open");
    // The hosts in use fail in turns, so that each needs its place until it has failed five times.
    for _ in 0..5 {
        for key in ["a", "b", "c", "d"] {
            fail(&by, key, 1);
        }
    }
    for key in ["a", "b", "c", "d"] {
        assert!(by.circuit(key).unwrap().is_open(), "{key}");
    }
    assert_eq!((by.status().keys, by.status().evicted), (8, 4));
}

#[tokio::test(start_paused = true)]
async fn layers_with_similar_prefixes_restore_only_their_own_circuits() {
    let store = store();
    let before = started(&store).build().unwrap();
    before.start().unwrap();
    fail(&by_host(&before, |builder| builder), "a", 5);
    assert!(before.shutdown(WAIT).await.is_complete());
    let again = started(&store).build().unwrap();
    again.start().unwrap();
    fail(&by_host(&again, |builder| builder.prefix("host-eu:")), "b", 5);
    assert!(again.shutdown(WAIT).await.is_complete());
    let registry = started(&store).build().unwrap();
    let (one, two) = (by_host(&registry, |builder| builder), by_host(&registry, |builder| builder.prefix("host-eu:")));
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "2 restored: 2 open");
    assert_eq!((one.status().keys, two.status().keys), (1, 1));
    assert_eq!((burst(&one, "a").await, burst(&two, "b").await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn hostile_names_in_the_store_make_no_circuits() {
    let store = store();
    opened(&store, &["dead"]).await;
    let entry = store.load_many(&["host:dead".to_owned()]).await.unwrap().entries.remove(0).unwrap();
    let text = String::from_utf8(entry.bytes).unwrap();
    let long = format!("host:{}", "x".repeat(300));
    for name in ["host:", "host:a b", "host:a\u{1b}[2Jb", "host:a\u{202e}b", "hos", "other:a", &long] {
        // The record names the same service, so that only the name is wrong.
        let service = serde_json::to_string(name).unwrap();
        let bytes = text.replace("\"host:dead\"", &service).into_bytes();
        let write = Write { name: name.to_owned(), expected: None, bytes, ttl: None, hint: Hint::Any };
        store.compare_and_set(&write).await.unwrap();
    }
    let broken =
        Write { name: "host:broken".to_owned(), expected: None, bytes: b"{".to_vec(), ttl: None, hint: Hint::Any };
    store.compare_and_set(&broken).await.unwrap();
    let registry = started(&store).build().unwrap();
    let _by = by_host(&registry, |builder| builder);
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!(report.circuits.keys().collect::<Vec<_>>(), ["host:dead"]);
    assert_eq!(report.left_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_panics_ends_neither_the_task_nor_the_restore() {
    let store = store();
    opened(&store, &["dead"]).await;
    let registry = started(&store).build().unwrap();
    let template = |name: &str| if name == "host:dead" { panic!("a test") } else { Config::builder(name) };
    let _by = Keyed::builder(&registry, template).prefix("host:").by(BY_TEXT).unwrap();
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!(report.to_string(), "1 keyed circuit left out for want of room");
    assert_eq!(registry.store_status().unwrap().deaths, 0);
}

#[tokio::test(start_paused = true)]
async fn a_restore_leaves_room_in_the_registry_for_named_circuits() {
    let store = store();
    let keys: Vec<_> = (0..16).map(|n| format!("dead-{n}")).collect();
    opened(&store, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let registry = started(&store).limit(16).build().unwrap();
    let _by = by_host(&registry, |builder| builder.max_keys(16));
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!((report.circuits.len(), report.left_out), (14, 2), "{report}");
    assert!(registry.circuit(Config::new("payments").unwrap()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn circuits_that_come_back_late_evict_no_key_in_use() {
    let store = store();
    opened(&store, &["a", "b"]).await;
    store.faults().set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(2));
    drop(registry.restore(WAIT).await.unwrap());
    assert!(call(&by, "healthy").await.is_ok());
    store.faults().heal();
    let report = registry.restore(WAIT).await.unwrap();
    assert_eq!((report.left_out, by.status().keys, by.status().evicted), (1, 2, 0), "{report}");
    assert!(registry.get("host:healthy").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_gone_for_long_does_not_come_back_by_itself() {
    let store = store();
    opened(&store, &["gone"]).await;
    tokio::time::sleep(Duration::from_secs(3601)).await;
    let registry = started(&store).build().unwrap();
    let by = by_host(&registry, |builder| builder);
    assert_eq!(registry.restore(WAIT).await.unwrap().to_string(), "no circuits to restore from the store");
    drop(by.circuit("gone").unwrap());
    tokio::time::sleep(WAIT).await;
    assert_eq!(registry.get("host:gone").unwrap().state(), State::Open, "its first call brings the record back");
}

/// A waker of an executor that polls in `wake`, and makes a call of another key.
struct Inline(Keyed<ByText>);

impl std::task::Wake for Inline {
    fn wake(self: Arc<Self>) {
        drop(self.0.circuit("woken").unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_evicted_circuit_wakes_its_waiting_calls_without_the_lock_of_the_layer() {
    let registry = started(&store()).build().unwrap();
    let by = by_host(&registry, |builder| builder.max_keys(2));
    registry.start().unwrap();
    let ok = service_fn(|_: String| async { Ok::<_, BoxError>(()) });
    let mut service = CircuitBreakerLayer::new(&by.circuit("a").unwrap()).layer(ok);
    let waker = Arc::new(Inline(by.clone())).into();
    let waits = service.poll_ready(&mut std::task::Context::from_waker(&waker)).is_pending();
    fail(&by, "b", 2);
    drop(by.circuit("c").unwrap());
    let has = |name: &str| registry.get(name).is_some();
    assert_eq!((waits, has("host:a"), has("host:woken")), (true, false, true));
}
