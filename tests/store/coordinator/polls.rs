//! Polls, which are spread and seldom while a watch lives, and the changes that only a poll finds.

#![expect(clippy::disallowed_types, reason = "loom runs no test of a store")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{
    AuditFilter, AuditRow, Etag, Fault, FaultyStore, Loaded, MemoryStore, Operation, Store, StoreError, StoreErrorKind,
    Watch, Write, Written,
};
use tower_circuit_breaker::{Circuit, Failure, Registry, State};

use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, succeed};

/// A store in memory that counts the names of all loads.
#[derive(Debug, Clone)]
struct Counting {
    inner: MemoryStore,
    names: Arc<AtomicU64>,
    has_watch: bool,
}

impl Counting {
    fn new(has_watch: bool) -> Self {
        Self { inner: memory(), names: Arc::default(), has_watch }
    }

    fn names(&self) -> u64 {
        // Relaxed, because the test runs on one thread.
        self.names.load(Relaxed)
    }
}

impl Store for Counting {
    fn kind(&self) -> &'static str {
        "counting"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        // Relaxed, as in `names`.
        self.names.fetch_add(names.len() as u64, Relaxed);
        self.inner.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        self.inner.compare_and_set(write).await
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.inner.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.inner.list().await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        if self.has_watch { self.inner.watch().await } else { Ok(None) }
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.inner.append_audit(rows).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        self.inner.trim_audit(before).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit(filter).await
    }
}

/// Starts a registry of circuits on the store, and waits until all of them are restored and have settled.
async fn with_circuits(store: &Counting, circuits: usize) -> (Registry, Circuit) {
    let registry = builder(store, "a").build().unwrap();
    for number in 0..circuits {
        registry.circuit(settings(&format!("circuit-{number}")).build().unwrap()).unwrap();
    }
    assert!(registry.restore(secs(60)).await.unwrap().is_complete());
    pass(secs(20)).await;
    let circuit = registry.get("circuit-0").unwrap();
    (registry, circuit)
}

/// Counts the names that are loaded in this time, and the most in one second of it.
async fn loaded(store: &Counting, seconds: u64) -> (u64, u64) {
    let (before, mut most) = (store.names(), 0);
    for _ in 0..seconds {
        let begin = store.names();
        pass(secs(1)).await;
        most = most.max(store.names() - begin);
    }
    (store.names() - before, most)
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_circuits_with_a_watch_load_each_name_once_a_minute() {
    let store = Counting::new(true);
    let (_registry, circuit) = with_circuits(&store, 10_000).await;
    let (at_rest, most) = loaded(&store, 60).await;
    assert!((8_500..=11_000).contains(&at_rest), "{at_rest} names at rest");
    assert!(most <= 512, "{most} names in a second");
    fail(&circuit, 5);
    let (one_open, most) = loaded(&store, 60).await;
    assert!((8_500..=11_100).contains(&one_open), "{one_open} names while one circuit is open");
    assert!(most <= 520, "{most} names in a second");
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_only_the_open_circuit_is_polled_more_often() {
    let store = Counting::new(false);
    let (_registry, circuit) = with_circuits(&store, 1_000).await;
    let (at_rest, _) = loaded(&store, 60).await;
    assert!((5_000..=7_600).contains(&at_rest), "{at_rest} names at rest");
    circuit.trip(&alice(), None);
    let (one_open, _) = loaded(&store, 60).await;
    assert!((5_000..=7_640).contains(&one_open), "{one_open} names while one circuit is open");
}

/// Returns the time until the instance has the trip of another instance, whose hint is lost.
async fn found_after(way: &FaultyStore<MemoryStore>, instance: &Instance) -> Duration {
    let other = Instance::start(way.inner(), "b", Sharing::Advise).await;
    other.circuit.trip(&alice(), None);
    let mut passed = Duration::ZERO;
    while instance.circuit.status().mode != Mode::ForcedOpen {
        assert!(passed < secs(200), "the trip is never found");
        pass(millis(100)).await;
        passed += millis(100);
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_is_found_within_seventy_two_seconds_at_rest() {
    let way = faulty();
    let instance = Instance::start(&way, "a", Sharing::Advise).await;
    way.faults().drop_events();
    let passed = found_after(&way, &instance).await;
    assert!(passed <= secs(73), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_is_found_within_nine_seconds_if_the_circuit_is_open() {
    for sharing in [Sharing::Advise, Sharing::Quorum, Sharing::Follow] {
        let way = faulty();
        let instance = Instance::start(&way, "a", sharing).await;
        fail(&instance.circuit, 5);
        pass(millis(10)).await;
        way.faults().drop_events();
        let passed = found_after(&way, &instance).await;
        assert!(passed <= secs(9), "{sharing:?}: {passed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_a_change_is_found_within_twelve_seconds_at_rest() {
    let way = faulty();
    let instance = Instance::start(&way, "a", Sharing::Advise).await;
    pass(secs(30)).await;
    way.faults().set(&[Operation::Watch], DOWN);
    way.faults().end_watches();
    let passed = found_after(&way, &instance).await;
    assert!(passed <= secs(14), "the end of the watch is noticed within a second: {passed:?}");
}

#[tokio::test(start_paused = true)]
async fn counts_of_another_instance_cause_no_fast_polls() {
    let store = Counting::new(true);
    let (_registry, _circuit) = with_circuits(&store, 1).await;
    let config = settings("circuit-0").build().unwrap();
    let other = Instance::with(&store.inner, "b", Sharing::Advise, config).await;
    let (before, mut passed) = (store.names(), 0);
    while passed < 600 {
        fail(&other.circuit, 1);
        succeed(&other.circuit, 9);
        pass(secs(1)).await;
        passed += 1;
    }
    let names = store.names() - before;
    assert!((8..=13).contains(&names), "{names} loads in ten minutes");
}

/// Starts this number of instances, each of which has opened and is about to probe.
async fn opened(store: &MemoryStore, count: usize, sharing: Sharing) -> Vec<Instance> {
    let mut instances = Vec::new();
    for number in 0..count {
        let instance = Instance::start(store, &format!("orders-{number}"), sharing).await;
        instances.push(instance);
    }
    for instance in &instances {
        // A follower opens with the first instance.
        if let Ok(permit) = instance.circuit.try_acquire() {
            permit.failure(Failure::hard().trips_at_once());
        }
    }
    pass(millis(500)).await;
    if sharing == Sharing::Advise {
        assert_eq!(entries(store, State::Open).await, count, "an opening does not wait");
    }
    pass(secs(5)).await;
    instances
}

/// Returns the number of instances whose entry has this state.
async fn entries(store: &MemoryStore, state: State) -> usize {
    record(store, "payments").await.unwrap().instances.values().filter(|entry| entry.state == state).count()
}

#[tokio::test(start_paused = true)]
async fn the_instances_of_a_large_fleet_write_each_transition_at_once() {
    let store = memory();
    let instances = opened(&store, 20, Sharing::Advise).await;
    for instance in &instances {
        succeed(&instance.circuit, 3);
        assert_eq!(instance.circuit.status().state, State::Closed);
    }
    pass(millis(500)).await;
    assert_eq!(entries(&store, State::Closed).await, 20);
}

#[tokio::test(start_paused = true)]
async fn the_followers_of_a_large_fleet_adopt_each_decision_at_once() {
    let store = memory();
    let instances = opened(&store, 20, Sharing::Follow).await;
    drop(instances[3].circuit.try_acquire());
    for _ in 0..3 {
        pass(millis(300)).await;
        succeed(&instances[3].circuit, 1);
    }
    pass(millis(500)).await;
    let closed = instances.iter().filter(|instance| instance.circuit.status().state == State::Closed).count();
    assert_eq!(closed, 20);
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_is_loaded_again_within_twenty_seconds_at_rest() {
    const REFUSED: Fault = Fault::Fail(StoreErrorKind::Refused);
    for is_known in [true, false] {
        let store = faulty();
        let registry = builder(&store, "a").build().unwrap();
        let payments = registry.circuit(settings("payments").build().unwrap()).unwrap();
        let _other = registry.circuit(settings("orders").build().unwrap()).unwrap();
        if is_known {
            assert!(registry.restore(secs(5)).await.unwrap().is_complete());
        }
        store.faults().set_for("payments", &[Operation::Load], REFUSED);
        registry.start().unwrap();
        store.faults().drop_events();
        let operator = Instance::start(&store.inner().clone(), "b", Sharing::Advise).await;
        operator.circuit.trip(&alice(), None);
        for _ in 0..100 {
            pass(secs(1)).await;
            assert!(registry.store_status().unwrap().up, "the store loads the other record");
        }
        assert_eq!(payments.status().mode, Mode::Automatic);
        store.faults().heal();
        pass(secs(20)).await;
        assert_eq!(payments.status().mode, Mode::ForcedOpen, "the record was loaded before: {is_known}");
    }
}
