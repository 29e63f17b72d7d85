//! A restart at any time: the store has everything that `unsaved` does not count.

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::store::{FaultyStore, MemoryStore, Operation, TieredStore};
use tower_circuit_breaker::{Failure, State};

use crate::rig::{DOWN, Instance, alice, fail, faulty, memory, millis, pass, record, secs, settings, state};

fn unsaved(instance: &Instance) -> usize {
    instance.registry.store_status().unwrap().unsaved
}

/// Two instances that know a published generation, and whose counts were written a moment ago. Therefore only one of two
/// openings is published, and the next write of counts is 12 s away or more.
async fn two(store: &FaultyStore<MemoryStore>, sharing: Sharing) -> [Instance; 2] {
    let long = || settings("payments").open_for(tower_circuit_breaker::OpenDuration::fixed(secs(60))).build().unwrap();
    let a = Instance::with(store, "a", sharing, long()).await;
    let b = Instance::with(store, "b", sharing, long()).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    a.circuit.reset(&alice(), To::Closed);
    // The advice of the opening is over as well.
    pass(secs(70)).await;
    fail(&a.circuit, 2);
    fail(&b.circuit, 1);
    pass(millis(2_500)).await;
    [a, b]
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_lost_the_publication_is_open_after_a_kill() {
    for sharing in [Sharing::Advise, Sharing::Follow] {
        let store = faulty();
        let [a, b] = two(&store, sharing).await;
        fail(&a.circuit, 3);
        fail(&b.circuit, 4);
        assert_eq!((unsaved(&a), unsaved(&b)), (1, 1), "{sharing:?}: the bell has rung, and the task has not run");
        pass(millis(100)).await;
        let known = record(&store, "payments").await.unwrap();
        if sharing == Sharing::Advise {
            assert_eq!((known.instances["a"].state, known.instances["b"].state), (State::Open, State::Open));
        }
        assert_eq!((unsaved(&a), unsaved(&b)), (0, 0));
        drop((a, b));
        pass(secs(2)).await;
        for id in ["a", "b"] {
            let again = Instance::start(&store, id, sharing).await;
            let left = again.circuit.status().retry_after.expect("it is open");
            assert!((secs(57)..=secs(58)).contains(&left), "{sharing:?}, {id}: {left:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_opening_of_a_circuit_without_a_desk_is_unsaved() {
    let store = faulty();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let late = a.registry.circuit(settings("late").build().unwrap()).unwrap();
    assert_eq!(unsaved(&a), 0, "a new circuit has nothing to save");
    fail(&late, 5);
    assert_eq!((state(&late), unsaved(&a)), (State::Open, 1), "the task has not seen the circuit yet");
    pass(millis(100)).await;
    assert_eq!(unsaved(&a), 0);
    assert_eq!(record(&store, "late").await.unwrap().instances["a"].state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_opening_under_an_older_reset_is_written() {
    let store = faulty();
    let [a, b] = two(&store, Sharing::Advise).await;
    fail(&a.circuit, 3);
    fail(&b.circuit, 4);
    a.circuit.reset(&alice(), To::HalfOpen);
    pass(millis(100)).await;
    let (here, known) = (state(&b.circuit), record(&store, "payments").await.unwrap());
    assert_eq!(known.instances["b"].state, here);
    assert_eq!(unsaved(&b), 0);
}

#[tokio::test(start_paused = true)]
async fn a_longer_opening_than_the_followed_one_survives_a_kill() {
    let store = faulty();
    let [a, b] = two(&store, Sharing::Follow).await;
    let asked = b.circuit.try_acquire().unwrap();
    asked.failure(Failure::hard().trips_at_once().with_retry_after(secs(600)));
    fail(&a.circuit, 3);
    pass(millis(200)).await;
    assert_eq!(unsaved(&b), 0);
    drop((a, b));
    let b = Instance::start(&store, "b", Sharing::Follow).await;
    let left = b.circuit.status().retry_after.unwrap();
    assert!(left > secs(290), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn counts_that_wait_for_their_write_are_unsaved() {
    let store = faulty();
    let [a, _b] = two(&store, Sharing::Advise).await;
    assert_eq!(unsaved(&a), 0);
    fail(&a.circuit, 1);
    pass(millis(1_100)).await;
    assert_eq!(unsaved(&a), 1, "noticed within a second, and written within eighteen");
    pass(secs(19)).await;
    assert_eq!(unsaved(&a), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_writes_counts_that_wait_and_reports_no_loss() {
    let store = faulty();
    let [a, _b] = two(&store, Sharing::Advise).await;
    fail(&a.circuit, 1);
    a.end().await;
    assert_eq!(record(&store, "payments").await.unwrap().instances["a"].total_failures, 8);
}

#[tokio::test(start_paused = true)]
async fn a_transition_after_the_end_of_the_task_is_unsaved() {
    let store = faulty();
    let [a, _b] = two(&store, Sharing::Advise).await;
    assert!(a.registry.shutdown(secs(1)).await.is_complete());
    fail(&a.circuit, 3);
    assert_eq!(unsaved(&a), 1);
    assert_eq!(a.registry.shutdown(secs(1)).await.unsaved, ["payments"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_a_new_id_writes_its_opening_under_that_id() {
    let store = faulty();
    let [a, _b] = two(&store, Sharing::Advise).await;
    fail(&a.circuit, 3);
    let clash = Instance::start(&store, "a", Sharing::Advise).await;
    pass(millis(100)).await;
    // The clash has restored the opening, or the failures before the opening.
    (0..5).for_each(|_| fail(&clash.circuit, u32::from(state(&clash.circuit) == State::Closed)));
    pass(secs(30)).await;
    let known = record(&store, "payments").await.unwrap();
    for instance in [&a, &clash] {
        let id = instance.registry.store_status().unwrap().instance;
        assert_eq!(known.instances[&id].state, state(&instance.circuit), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lengthened_opening_reaches_the_durable_tier_at_once() {
    let (fast, durable) = (memory(), memory());
    let store = TieredStore::new(fast, durable.clone());
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    let late = b.circuit.try_acquire().unwrap();
    fail(&a.circuit, 5);
    fail(&b.circuit, 5);
    pass(millis(200)).await;
    late.failure(Failure::hard().trips_at_once().with_retry_after(secs(60)));
    pass(millis(200)).await;
    let known = record(&durable, "payments").await.unwrap();
    assert_eq!(known.instances["b"].open_ms, Some(60_000), "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_unsaved_for_as_long_as_the_store_is_away() {
    let store = faulty();
    let [a, _b] = two(&store, Sharing::Advise).await;
    store.faults().set(&[Operation::CompareAndSet], DOWN);
    fail(&a.circuit, 3);
    for _ in 0..20 {
        assert_eq!(unsaved(&a), 1);
        pass(secs(3)).await;
    }
}

/// The store has the opening of the first start only in the tier that does not answer the second start.
#[tokio::test(start_paused = true)]
async fn an_entry_of_an_earlier_start_that_comes_late_decides_no_later_start() {
    let (fast, durable) = (faulty(), faulty());
    let start = || async {
        let store = TieredStore::new(fast.clone(), durable.clone());
        Instance::start(&store, "a", Sharing::Advise).await
    };
    let first = start().await;
    fail(&first.circuit, 1);
    pass(secs(30)).await;
    durable.faults().set(Operation::ALL, DOWN);
    fail(&first.circuit, 4);
    pass(secs(1)).await;
    drop(first);
    fast.faults().set(Operation::ALL, DOWN);
    durable.faults().heal();
    let second = start().await;
    assert_eq!(state(&second.circuit), State::Closed);
    fast.faults().heal();
    pass(secs(60)).await;
    assert_eq!((state(&second.circuit), unsaved(&second)), (State::Closed, 0));
    drop(second);
    let third = start().await;
    assert_eq!(state(&third.circuit), State::Closed, "{}", third.circuit.status());
}
