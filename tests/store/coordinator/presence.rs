//! Instances that stop, are killed, are idle for long, or come back: which of them the others count.

use std::time::Duration;

use tower_circuit_breaker::clock::{Clock, MockClock, Tick, TokioClock};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::{CircuitRecord, Timestamp};
use tower_circuit_breaker::store::{FaultyStore, Hint, MemoryStore, Operation, Store, Write, Written};
use tower_circuit_breaker::{Circuit, State};

use crate::rig::{DOWN, Instance, alice, fail, faulty, memory, millis, pass, record, secs, state, succeed};

/// The clock of tokio, which a test can set ahead.
#[derive(Debug, Clone)]
struct Ahead(TokioClock, MockClock);

impl Default for Ahead {
    fn default() -> Self {
        Self(TokioClock::new(), MockClock::new())
    }
}

impl Ahead {
    fn by(&self, time: Duration) {
        self.1.advance(time);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Tick {
        self.0.now().saturating_add(self.1.now().saturating_since(Tick::ZERO))
    }
}

async fn now(store: &impl Store) -> Timestamp {
    store.load_many(&[]).await.unwrap().now
}

/// The ids of the instances that count as tripped.
async fn tripped(store: &MemoryStore) -> Vec<String> {
    let (record, now) = (record(store, "payments").await.unwrap(), now(store).await);
    let tripped = record.instances.iter().filter(|(_, entry)| entry.is_tripped(now));
    tripped.map(|(id, _)| id.clone()).collect()
}

async fn loads_in_a_minute(store: &FaultyStore<MemoryStore>) -> u64 {
    let before = store.faults().operations(Operation::Load);
    pass(secs(60)).await;
    store.faults().operations(Operation::Load) - before
}

/// Closes a circuit that is open and whose open duration is over.
async fn close(circuit: &Circuit) {
    for _ in 0..60 {
        if state(circuit) == State::Closed {
            return;
        }
        if let Ok(permit) = circuit.try_acquire() {
            permit.success();
        }
        pass(secs(1)).await;
    }
    panic!("{:?}", circuit.status());
}

#[tokio::test(start_paused = true)]
async fn after_a_rollout_in_an_outage_no_stopped_instance_counts() {
    let shared = memory();
    let store = FaultyStore::new(shared.clone());
    for id in ["orders-1", "orders-2", "orders-3"] {
        let old = Instance::start(&shared, id, Sharing::Advise).await;
        if state(&old.circuit) == State::Closed {
            fail(&old.circuit, 5);
        }
        pass(millis(100)).await;
        old.end().await;
    }
    let new = Instance::start(&store, "orders-4", Sharing::Advise).await;
    close(&new.circuit).await;
    pass(secs(12)).await;
    assert_eq!(tripped(&shared).await, [""; 0]);
    assert!(!record(&shared, "payments").await.unwrap().is_eventful(now(&shared).await));
    assert!(loads_in_a_minute(&store).await <= 9, "the polls are slow again");
}

#[tokio::test(start_paused = true)]
async fn a_killed_instance_counts_for_15_minutes_and_leaves_the_record_later() {
    let ahead = Ahead::default();
    let shared = MemoryStore::with_clock(ahead.clone());
    let store = FaultyStore::new(shared.clone());
    let killed = Instance::start(&shared, "killed", Sharing::Advise).await;
    fail(&killed.circuit, 5);
    pass(secs(1)).await;
    drop(killed);
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    close(&one.circuit).await;
    pass(secs(60)).await;
    assert_eq!(tripped(&shared).await, ["killed"]);
    pass(secs(15 * 60)).await;
    assert_eq!(tripped(&shared).await, [""; 0]);
    assert!(loads_in_a_minute(&store).await <= 9, "the polls are slow again");
    ahead.by(secs(73 * 3_600));
    fail(&one.circuit, 1);
    pass(secs(15)).await;
    let kept: Vec<_> = record(&shared, "payments").await.unwrap().instances.into_keys().collect();
    assert_eq!(kept, ["one"], "and no write brings the entry back");
}

#[tokio::test(start_paused = true)]
async fn a_tripped_instance_without_calls_counts_as_long_as_it_runs() {
    let shared = memory();
    let store = FaultyStore::new(shared.clone());
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    fail(&one.circuit, 5);
    pass(secs(60)).await;
    let before = store.faults().operations(Operation::CompareAndSet);
    for _ in 0..12 {
        pass(secs(15 * 60)).await;
        assert_eq!(tripped(&shared).await, ["one"]);
    }
    let writes = store.faults().operations(Operation::CompareAndSet) - before;
    assert!((14..=15).contains(&writes), "{writes} writes in three hours, at most five an hour");
}

#[tokio::test(start_paused = true)]
async fn instances_beyond_the_room_of_the_record_write_five_times_an_hour() {
    let shared = memory();
    let store = FaultyStore::new(shared.clone());
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    // The record has room for one of the two instances, because all others have written later.
    let names = ["payments".to_owned()];
    let full = shared.load_many(&names).await.unwrap().entries.remove(0).unwrap();
    let mut crowded = record(&shared, "payments").await.unwrap();
    let mut other = crowded.instances["a"].clone();
    other.sequence += 24 * 3_600_000;
    let others = (1..CircuitRecord::MAX_INSTANCES).map(|n| (format!("other-{n}"), other.clone()));
    crowded.instances.extend(others);
    let [name] = names;
    let write = Write { name, expected: Some(full.etag), bytes: crowded.encode().unwrap(), ttl: None, hint: Hint::Any };
    assert!(matches!(shared.compare_and_set(&write).await.unwrap(), Written::Applied { .. }));
    fail(&b.circuit, 2);
    assert_eq!((state(&a.circuit), state(&b.circuit)), (State::Open, State::Open));
    pass(secs(60)).await;
    let before = store.faults().operations(Operation::CompareAndSet);
    pass(secs(14 * 60)).await;
    let writes = store.faults().operations(Operation::CompareAndSet) - before;
    assert!((2..=4).contains(&writes), "{writes} writes of two instances in 14 minutes");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_of_closed_circuits_writes_nothing_for_its_presence() {
    let shared = memory();
    let store = FaultyStore::new(shared.clone());
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    fail(&one.circuit, 1);
    pass(secs(60)).await;
    let before = store.faults().operations(Operation::CompareAndSet);
    pass(secs(6 * 3_600)).await;
    assert_eq!(store.faults().operations(Operation::CompareAndSet), before);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_cut_off_writes_its_opening_again() {
    let ahead = Ahead::default();
    let shared = MemoryStore::with_clock(ahead.clone());
    let way = FaultyStore::new(shared.clone());
    let cut_off = Instance::start(&way, "cut-off", Sharing::Advise).await;
    let other = Instance::start(&shared, "other", Sharing::Advise).await;
    fail(&cut_off.circuit, 5);
    pass(secs(1)).await;
    way.faults().set(Operation::ALL, DOWN);
    way.faults().end_watches();
    pass(secs(60)).await;
    ahead.by(secs(80 * 3_600));
    fail(&other.circuit, 1);
    pass(secs(15)).await;
    assert!(!record(&shared, "payments").await.unwrap().instances.contains_key("cut-off"), "its entry has expired");
    assert_eq!(state(&cut_off.circuit), State::Open, "the circuit itself does not mind");
    way.faults().heal();
    pass(secs(60)).await;
    assert_eq!(tripped(&shared).await, ["cut-off"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_starts_again_counts_again() {
    let store = memory();
    for opens in [true, false] {
        let one = Instance::start(&store, "one", Sharing::Advise).await;
        fail(&one.circuit, if opens { 5 } else { 1 });
        pass(secs(13)).await;
        one.end().await;
        let stopped = |record: &CircuitRecord| record.instances["one"].is_stopped();
        let before = record(&store, "payments").await.unwrap();
        assert!(stopped(&before));
        let one = Instance::start(&store, "one", Sharing::Advise).await;
        pass(secs(3)).await;
        let after = record(&store, "payments").await.unwrap();
        assert!(!stopped(&after), "opens: {opens}");
        assert_eq!(after.instances["one"].total_failures, before.instances["one"].total_failures);
        close(&one.circuit).await;
        one.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_starts_again_after_a_shutdown_counts_again() {
    let store = memory();
    let one = Instance::start(&store, "one", Sharing::Advise).await;
    fail(&one.circuit, 5);
    pass(secs(1)).await;
    assert!(one.registry.shutdown(secs(5)).await.is_complete());
    assert_eq!(tripped(&store).await, [""; 0]);
    drop(one.registry.restore(secs(5)).await.unwrap());
    pass(secs(20)).await;
    assert_eq!(tripped(&store).await, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_marks_while_the_store_is_down() {
    for hangs in [false, true] {
        let store = faulty();
        let one = Instance::start(&store, "one", Sharing::Advise).await;
        fail(&one.circuit, 5);
        pass(secs(20)).await;
        let fault = if hangs { tower_circuit_breaker::store::Fault::Hang } else { DOWN };
        store.faults().set(&[Operation::CompareAndSet], fault);
        let clock = TokioClock::new();
        let began = clock.now();
        let report = one.registry.shutdown(secs(30)).await;
        assert!(report.is_complete(), "a mark is no change that is lost: {report:?}");
        let took = clock.now().saturating_since(began);
        assert!(took < secs(3), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_advises_no_other_instance() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    a.end().await;
    pass(secs(6)).await;
    fail(&b.circuit, 2);
    assert_eq!(state(&b.circuit), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_reset_finds_nothing_to_reset_if_only_gone_instances_are_open() {
    let store = memory();
    let old = Instance::start(&store, "old", Sharing::Advise).await;
    fail(&old.circuit, 5);
    pass(secs(1)).await;
    old.end().await;
    let new = Instance::start(&store, "new", Sharing::Advise).await;
    pass(secs(5)).await;
    succeed(&new.circuit, 3);
    pass(secs(30)).await;
    let any = tower_circuit_breaker::store::AnyStore::new(store.clone());
    let operator = tower_circuit_breaker::operation::Operator::new(any);
    let order =
        tower_circuit_breaker::operation::Order::reset(&alice(), tower_circuit_breaker::circuit::To::Closed).create();
    let refused = operator.operate("payments", &order).await;
    assert!(refused.is_err(), "{refused:?}");
}
