//! No call waits for a store, but for the first one where that is asked for, and that not for long.

use std::future::{pending, poll_fn};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tower::{Layer, Service, service_fn};
use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::classify::StdErrorClassifier;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::Kept;
use tower_circuit_breaker::store::{AnyStore, Fault, FaultyStore, FileStore, MemoryStore, Operation, SqliteStore};
use tower_circuit_breaker::{Circuit, CircuitBreakerLayer, Error, Outcome, Registry};

use crate::rig::{DOWN, Instance, alice, builder, fail, faulty, millis, pass, secs, settings};
use crate::servers::folder::Folder;

#[expect(clippy::disallowed_methods, reason = "tokio's clock stands still, and must")]
fn now() -> Instant {
    Instant::now()
}

/// Calls so often in each of both ways; returns how much virtual time that took.
async fn calls(circuit: &Circuit, times: u32) -> Duration {
    let began = now();
    for _ in 0..times {
        if let Ok(permit) = circuit.try_acquire() {
            permit.success();
        }
    }
    let inner = service_fn(async |(): ()| Ok::<_, std::io::Error>(()));
    let mut service = CircuitBreakerLayer::new(circuit).layer(inner);
    for _ in 0..times {
        poll_fn(|context| service.poll_ready(context)).await.unwrap();
        service.call(()).await.ok();
    }
    began.elapsed()
}

fn hanging() -> (FaultyStore<MemoryStore>, Registry) {
    let store = faulty();
    store.faults().set(Operation::ALL, Fault::Hang);
    let registry = builder(&store, "a").build().unwrap();
    (store, registry)
}

#[tokio::test(start_paused = true)]
async fn no_call_in_any_state_waits_for_a_silent_store() {
    type Enter = fn(&Circuit);
    let states: [(&str, Enter); 6] = [
        ("closed", |_| {}),
        ("open", |circuit| fail(circuit, 5)),
        ("half_open", |circuit| drop(circuit.reset(&alice(), To::HalfOpen))),
        ("forced_open", |circuit| drop(circuit.trip(&alice(), None))),
        ("disabled", |circuit| drop(circuit.disable(&alice(), None))),
        ("shadow", |circuit| drop(circuit.shadow(&alice()))),
    ];
    for (name, enter) in states {
        let (_store, registry) = hanging();
        let circuit = registry.circuit(settings(name).build().unwrap()).unwrap();
        registry.start().unwrap();
        // Before it is restored, while it is being restored, and long after.
        for wait in [Duration::ZERO, millis(1_500), secs(600)] {
            pass(wait).await;
            circuit.reset(&alice(), To::Closed);
            enter(&circuit);
            assert_eq!(calls(&circuit, 50_000).await, Duration::ZERO, "{name} after {wait:?}");
        }
    }
}

/// Waits until a service over that circuit is ready; returns how long that took.
async fn ready(circuit: &Circuit) -> Duration {
    let began = now();
    let inner = service_fn(async |(): ()| Ok::<_, std::io::Error>(()));
    let mut service = CircuitBreakerLayer::new(circuit).layer(inner);
    poll_fn(|context| service.poll_ready(context)).await.unwrap();
    began.elapsed()
}

fn waiting(store: &FaultyStore<MemoryStore>, at_most: Duration) -> Registry {
    builder(store, "a").first_call_waits(at_most).build().unwrap()
}

fn circuit(registry: &Registry) -> Circuit {
    registry.circuit(settings("payments").build().unwrap()).unwrap()
}

/// Makes a call without tower in each of the ways that wait.
async fn each_call(circuit: &Circuit) -> [bool; 5] {
    let ok = async || Ok::<_, std::io::Error>(());
    let judge = |_: Result<&(), &std::io::Error>| Outcome::Success;
    let limit = secs(1);
    [
        circuit.call(ok()).await.is_ok(),
        circuit.call_with(judge, ok()).await.is_ok(),
        circuit.call_classified(StdErrorClassifier::new(), ok()).await.is_ok(),
        circuit.call_within(limit, ok()).await.is_ok(),
        circuit.acquire_within(limit).await.is_ok(),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_call_without_tower_waits_for_the_restore_of_an_open_circuit() {
    let store = faulty();
    let before = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&before.circuit, 5);
    before.end().await;
    store.faults().delay(Operation::READS, millis(500));
    for is_created_first in [true, false] {
        let registry = waiting(&store, secs(2));
        let created = is_created_first.then(|| circuit(&registry));
        registry.start().unwrap();
        let circuit = created.unwrap_or_else(|| circuit(&registry));
        let began = now();
        let call = circuit.call(async { Ok::<_, std::io::Error>(()) });
        let dropped = circuit.call_with(|_: Result<&(), &std::io::Error>| Outcome::failure(), pending());
        assert!(timeout(millis(100), dropped).await.is_err());
        assert_eq!(circuit.totals().cancelled, 0, "a call that waits for the restore has not begun");
        assert!(matches!(call.await, Err(Error::Rejected(_))), "created first: {is_created_first}");
        assert!(began.elapsed() >= millis(400), "{:?}", began.elapsed());
        assert_eq!(each_call(&circuit).await, [false; 5]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_tower_waits_no_longer_than_allowed() {
    let store = faulty();
    store.faults().set(Operation::ALL, Fault::Hang);
    let registry = waiting(&store, secs(2));
    registry.start().unwrap();
    let circuit = circuit(&registry);
    let began = now();
    assert_eq!(each_call(&circuit).await, [true; 5]);
    assert!((secs(2)..millis(2_200)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_no_longer_than_allowed() {
    for fault in [Fault::Hang, DOWN] {
        let store = faulty();
        store.faults().set(Operation::ALL, fault);
        let registry = waiting(&store, millis(700));
        registry.start().unwrap();
        let circuit = circuit(&registry);
        assert_eq!(circuit.try_acquire().map(|_| ()).ok(), Some(()), "a bare permit does not wait");
        let waited = ready(&circuit).await;
        assert!((millis(699)..=millis(702)).contains(&waited), "{waited:?}");
        assert_eq!(ready(&circuit).await, Duration::ZERO, "and it was the first one only");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_with_the_restore_and_the_restored_state_applies() {
    let store = faulty();
    let before = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&before.circuit, 5);
    before.end().await;
    store.faults().delay(Operation::ALL, millis(300));
    let registry = waiting(&store, secs(5));
    registry.start().unwrap();
    let circuit = circuit(&registry);
    let waited = ready(&circuit).await;
    assert!((millis(300)..=millis(302)).contains(&waited), "{waited:?}");
    assert!(circuit.try_acquire().is_err(), "it was restored open");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_and_the_end_of_the_registry_end_the_waiting() {
    for drops in [false, true] {
        let store = faulty();
        store.faults().set(Operation::ALL, Fault::Hang);
        let registry = waiting(&store, secs(60));
        registry.start().unwrap();
        let circuit = circuit(&registry);
        assert!(timeout(secs(1), ready(&circuit)).await.is_err(), "it waits");
        if drops {
            drop(registry);
        } else {
            assert!(registry.shutdown(secs(1)).await.is_complete(), "nothing had happened");
        }
        assert!(timeout(secs(1), ready(&circuit)).await.is_ok(), "dropped: {drops}");
    }
}

#[test]
fn the_end_of_the_runtime_ends_the_waiting() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let store = faulty();
    store.faults().set(Operation::ALL, Fault::Hang);
    let registry = waiting(&store, secs(60));
    let first = runtime();
    let circuit = first.block_on(async {
        registry.start().unwrap();
        let circuit = circuit(&registry);
        assert!(timeout(secs(1), ready(&circuit)).await.is_err(), "it waits");
        circuit
    });
    drop(first);
    runtime().block_on(async { assert_eq!(ready(&circuit).await, Duration::ZERO) });
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_in_whichever_order_circuit_and_start_are_written() {
    let store = faulty();
    let before = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&before.circuit, 5);
    before.end().await;
    store.faults().delay(Operation::ALL, millis(300));
    for starts_first in [false, true] {
        let registry = waiting(&store, secs(5));
        if starts_first {
            registry.start().unwrap();
        }
        let circuit = circuit(&registry);
        if !starts_first {
            assert_eq!(ready(&circuit).await, Duration::ZERO, "without a task there is nothing to wait for");
            registry.start().unwrap();
        }
        let waited = ready(&circuit).await;
        assert!((millis(300)..=millis(302)).contains(&waited), "{waited:?}, started first: {starts_first}");
        assert!(circuit.try_acquire().is_err(), "the circuit was restored open");
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_was_created_before_the_start_waits_no_longer_than_allowed() {
    for fault in [Fault::Hang, DOWN] {
        let store = faulty();
        store.faults().set(Operation::ALL, fault);
        let registry = waiting(&store, millis(700));
        let circuit = circuit(&registry);
        pass(secs(60)).await;
        registry.start().unwrap();
        let waited = ready(&circuit).await;
        assert!((millis(699)..=millis(702)).contains(&waited), "{waited:?} after the start");
        registry.start().unwrap();
        assert_eq!(ready(&circuit).await, Duration::ZERO, "a second start begins no second wait");
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_created_after_the_restore_waits_for_its_own() {
    let store = faulty();
    let before = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&before.circuit, 5);
    before.end().await;
    let registry = waiting(&store, secs(5));
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    store.faults().delay(Operation::ALL, millis(300));
    let circuit = circuit(&registry);
    let waited = ready(&circuit).await;
    assert!((millis(300)..=millis(302)).contains(&waited), "{waited:?}");
    assert!(circuit.try_acquire().is_err(), "the circuit was restored open");
}

#[tokio::test(start_paused = true)]
async fn a_restored_circuit_does_not_wait_after_a_second_start() {
    let store = faulty();
    let registry = waiting(&store, secs(5));
    let circuit = circuit(&registry);
    assert!(registry.restore(secs(1)).await.unwrap().is_complete());
    assert!(registry.shutdown(secs(1)).await.is_complete());
    store.faults().set(Operation::ALL, Fault::Hang);
    registry.start().unwrap();
    assert_eq!(ready(&circuit).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_virtual_time_passes_while_a_store_works_on_the_disk() {
    let folder = Folder::new();
    let files = AnyStore::new(FileStore::new(folder.path().join("breakers")));
    let sqlite = AnyStore::new(SqliteStore::new(folder.path().join("circuit_breaker.db")));
    for store in [files, sqlite] {
        let began = now();
        let registry = Registry::builder().store(store).instance("a").build().unwrap();
        registry.circuit(settings("payments").build().unwrap()).unwrap();
        let restored = registry.restore(secs(1)).await.unwrap();
        assert!(restored.is_complete(), "{restored}");
        let done = registry.trip("payments", &alice(), None).await.unwrap();
        assert!(matches!(done.kept, Kept::Stored { .. }), "{}", done.kept);
        let ended = registry.shutdown(secs(1)).await;
        assert!(ended.is_complete(), "{ended:?}");
        assert!(began.elapsed() < secs(1), "virtual time that passed: {:?}", began.elapsed());
    }
}
