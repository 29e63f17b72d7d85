//! Keyed circuits in a store: evicted ones are written, forgotten, and found again.

use tower_circuit_breaker::clock::TokioClock;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::store::{
    Fault, FaultyStore, Hint, MemoryStore, Operation, Store, StoreErrorKind, Write, Written,
};

use super::*;

fn store() -> FaultyStore<MemoryStore> {
    FaultyStore::new(MemoryStore::with_clock(TokioClock::new()))
}

fn registry(store: &FaultyStore<MemoryStore>) -> Registry {
    let registry = Registry::builder().store(store.clone()).instance("a").seed(1).build().unwrap();
    registry.start().unwrap();
    registry
}

fn kept(registry: &Registry, max: usize) -> Keyed<ByText> {
    let open_for = OpenDuration::fixed(Duration::from_secs(5));
    let settings = Config::builder("replaced").clock(TokioClock::new()).open_for(open_for).without_shipped_observers();
    Keyed::builder(registry, move |_| settings.clone()).prefix("k:").max_keys(max).by(BY_TEXT).unwrap()
}

async fn record(store: &FaultyStore<MemoryStore>, key: &str) -> Option<CircuitRecord> {
    let name = format!("k:{key}");
    let loaded = store.load_many(std::slice::from_ref(&name)).await.unwrap();
    let entry = loaded.entries.into_iter().next().unwrap()?;
    Some(CircuitRecord::decode(&name, &entry.bytes, loaded.now).unwrap())
}

async fn put(store: &FaultyStore<MemoryStore>, key: &str, bytes: &[u8]) {
    let name = format!("k:{key}");
    let entry = store.load_many(std::slice::from_ref(&name)).await.unwrap().entries.remove(0);
    let expected = entry.map(|entry| entry.etag);
    let write = Write { name, expected, bytes: bytes.to_vec(), ttl: None, hint: Hint::Any };
    assert!(matches!(store.compare_and_set(&write).await.unwrap(), Written::Applied { .. }));
}

fn take_down(store: &FaultyStore<MemoryStore>) {
    let all = [Operation::Load, Operation::CompareAndSet, Operation::AppendAudit];
    store.faults().set(&all, Fault::Fail(StoreErrorKind::Unavailable));
}

fn loads(store: &FaultyStore<MemoryStore>) -> u64 {
    store.faults().operations(Operation::Load)
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const TENTH: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn an_evicted_key_with_failures_goes_on_from_its_record() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 1);
    fail(&by, "a", 3);
    pass(TENTH).await;
    by.circuit("b").unwrap();
    pass(TENTH).await;
    let entry = record(&store, "a").await.expect("it was written when it was evicted");
    assert_eq!((entry.total_failures, entry.instances["a"].run.to_string()), (3, "3".to_owned()));
    by.circuit("a").unwrap();
    pass(TENTH).await;
    fail(&by, "a", 2);
    assert_eq!(by.circuit("a").unwrap().status().state, State::Open, "three before, and two now");
    pass(TENTH).await;
    let record = record(&store, "a").await.unwrap();
    assert_eq!((record.state, record.total_failures), (State::Open, 5), "totals go on too");
}

#[tokio::test(start_paused = true)]
async fn the_handle_of_the_coordinator_is_not_taken_for_a_call() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 3);
    for key in ["old", "b", "c"] {
        let calls = if key == "old" { 10 } else { 1 };
        (0..calls).for_each(|_| by.circuit(key).unwrap().try_acquire().unwrap().success());
        pass(TENTH).await;
    }
    by.circuit("d").unwrap();
    let kept: Vec<_> = keys(&registry);
    assert_eq!(kept, ["b", "c", "d"], "the least recently used key, and not the one with the fewest calls");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_counts_its_failures_once() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 1);
    for key in ["a", "b", "a", "b", "a"] {
        by.circuit(key).unwrap();
        if key == "a" && by.status().evicted == 0 {
            fail(&by, "a", 3);
        }
        pass(TENTH).await;
    }
    fail(&by, "a", 1);
    pass(TENTH).await;
    assert_eq!(by.circuit("a").unwrap().status().state, State::Closed, "four failures, and not three in each life");
    fail(&by, "a", 1);
    assert_eq!(by.circuit("a").unwrap().status().state, State::Open);
    pass(TENTH).await;
    assert_eq!(record(&store, "a").await.unwrap().total_failures, 5);
}

#[tokio::test(start_paused = true)]
async fn a_second_life_publishes_its_openings_though_its_eras_begin_anew() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 1);
    for life in 1..=3 {
        by.circuit("a").unwrap();
        pass(TENTH).await;
        fail(&by, "a", 5);
        pass(TENTH).await;
        let open = record(&store, "a").await.unwrap();
        assert_eq!((open.state, open.total_failures), (State::Open, 5 * life));
        pass(Duration::from_secs(5)).await;
        let circuit = by.circuit("a").unwrap();
        (0..3).for_each(|_| circuit.try_acquire().unwrap().success());
        // Evicted at once, with its closing untold.
        by.circuit("b").unwrap();
        pass(TENTH).await;
        let closed = record(&store, "a").await.unwrap();
        assert_eq!(closed.state, State::Closed, "of life {life}");
        assert!(closed.generation > open.generation);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_keys_leave_a_hundred_circuits_and_all_records() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 100);
    for n in 0..100_000_u32 {
        let key = format!("key-{:08x}", n.wrapping_mul(2_654_435_761));
        let permit = by.circuit(&key).unwrap().try_acquire().unwrap();
        permit.record(if n % 1_000 == 0 { Outcome::failure() } else { Outcome::Success });
        if n % 500 == 0 {
            pass(Duration::from_millis(20)).await;
        }
    }
    assert!(registry.circuits().len() <= 100);
    pass(Duration::from_secs(20)).await;
    for n in (0..100_000_u32).step_by(1_000) {
        let name = format!("key-{:08x}", n.wrapping_mul(2_654_435_761));
        assert_eq!(record(&store, &name).await.expect("it has failed").total_failures, 1, "{name}");
    }
    let status = registry.store_status().unwrap();
    assert_eq!((status.unsaved, status.deaths), (0, 0), "no desk is left that has something to write");
    let asked = loads(&store);
    pass(Duration::from_secs(240)).await;
    assert!((3..=6).contains(&(loads(&store) - asked)), "a poll asks for 256 desks at once, and no more are left");
}

#[tokio::test(start_paused = true)]
async fn evicted_circuits_do_not_pile_up_while_the_store_is_down() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 10);
    pass(TENTH).await;
    take_down(&store);
    for n in 0..5_000 {
        fail(&by, &format!("key-{n}"), 1);
        if n % 100 == 0 {
            pass(Duration::from_millis(20)).await;
        }
    }
    pass(Duration::from_secs(2)).await;
    let unsaved = registry.store_status().unwrap().unsaved;
    assert!((1_000..=1_100).contains(&unsaved), "{unsaved} wait");
    store.faults().heal();
    pass(Duration::from_secs(120)).await;
    assert_eq!(registry.store_status().unwrap().unsaved, 0);
    assert_eq!(record(&store, "key-4900").await.expect("the latest were kept").total_failures, 1);
    assert!(record(&store, "key-0").await.is_none(), "the oldest were given up");
}

#[tokio::test(start_paused = true)]
async fn a_returning_key_is_restored_after_its_last_record_is_written() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 1);
    fail(&by, "a", 3);
    pass(TENTH).await;
    take_down(&store);
    by.circuit("b").unwrap();
    pass(TENTH).await;
    by.circuit("a").unwrap();
    pass(TENTH).await;
    store.faults().heal();
    pass(Duration::from_secs(60)).await;
    fail(&by, "a", 2);
    assert_eq!(by.circuit("a").unwrap().status().state, State::Open, "what was written late is taken over");
}

#[tokio::test(start_paused = true)]
async fn a_returning_key_follows_a_record_of_a_later_version() {
    let store = store();
    put(&store, "a", br#"{"version":2,"state":"closed"}"#).await;
    let registry = registry(&store);
    let by = kept(&registry, 1);
    fail(&by, "a", 3);
    pass(TENTH).await;
    by.circuit("b").unwrap();
    pass(TENTH).await;
    let until = u64::MAX >> 12;
    put(&store, "a", format!(r#"{{"version":2,"state":"open","generation":9,"until":{until}}}"#).as_bytes()).await;
    by.circuit("a").unwrap();
    pass(TENTH).await;
    assert_eq!(
        by.circuit("a").unwrap().status().state,
        State::Open,
        "what its last life had to write cannot be written"
    );
}

#[tokio::test(start_paused = true)]
async fn a_returning_key_is_restored_from_a_store_that_refuses_writes() {
    let store = store();
    let registry = registry(&store);
    let by = kept(&registry, 1);
    fail(&by, "a", 3);
    pass(TENTH).await;
    let until = u64::MAX >> 12;
    put(&store, "a", format!(r#"{{"version":1,"state":"open","generation":9,"until":{until}}}"#).as_bytes()).await;
    store.faults().set(&[Operation::CompareAndSet], Fault::Fail(StoreErrorKind::Refused));
    by.circuit("b").unwrap();
    pass(TENTH).await;
    by.circuit("a").unwrap();
    pass(Duration::from_secs(60)).await;
    assert_eq!(by.circuit("a").unwrap().status().state, State::Open, "it need not wait for what is refused");
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_and_go_before_the_registry_is_started_leave_nothing() {
    let store = store();
    let registry = Registry::builder().store(store.clone()).instance("a").build().unwrap();
    let by = kept(&registry, 10);
    for n in 0..1_000 {
        by.circuit(&format!("key-{n}")).unwrap().try_acquire().unwrap().success();
    }
    let report = registry.restore(Duration::from_secs(1)).await.unwrap();
    assert!(report.is_complete() && report.circuits.len() <= 10, "{report:?}");
    // Once at the start, and once when it watches.
    assert!(loads(&store) <= 2, "it asks for 256 desks at once, and no more are left");
}
