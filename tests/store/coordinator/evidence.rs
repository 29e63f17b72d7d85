//! What the record says of each instance: counts, ids, and whose opening it was.

#![expect(clippy::float_cmp, reason = "small whole numbers")]

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::{Outcome, State};

use crate::lines::Lines;
use crate::rig::{Instance, call, fail, memory, millis, pass, put, record, secs, state, succeed};

#[tokio::test(start_paused = true)]
async fn a_duplicate_instance_id_is_changed_with_a_warning_and_overwrites_nothing() {
    let store = memory();
    let lines = Lines::collect();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    let two = Instance::start(&store, "a", Sharing::Advise).await;
    for _ in 0..4 {
        fail(&one.circuit, 1);
        pass(secs(15)).await;
        fail(&two.circuit, 2);
        pass(secs(15)).await;
        succeed(&one.circuit, 1);
        succeed(&two.circuit, 1);
    }
    pass(secs(30)).await;
    let status = |instance: &Instance| instance.registry.store_status().unwrap().instance;
    let mut ids = [status(&one), status(&two)];
    ids.sort();
    assert_eq!(ids, ["a", "a#2"]);
    assert_eq!(lines.with("give each a name of its own").len(), 1);
    let instances = record(&store, "payments").await.unwrap().instances;
    let mut totals: Vec<_> = instances.values().map(|entry| entry.total_failures).collect();
    totals.sort_unstable();
    assert_eq!(instances.len(), 2, "{instances:#?}");
    assert!(totals[0] >= 4 && totals[1] >= 8, "{totals:?}");
}

/// The polls of the two instances come at other times in each round, and often after their writes.
#[tokio::test(start_paused = true)]
async fn a_duplicate_instance_id_is_found_by_the_conflict_of_two_writes() {
    for round in 0..100 {
        let store = memory();
        let one = Instance::start(&store, "a", Sharing::Advise).await;
        let two = Instance::start(&store, "a", Sharing::Advise).await;
        for _ in 0..3 {
            fail(&one.circuit, 1);
            fail(&two.circuit, 1);
            succeed(&one.circuit, 1);
            succeed(&two.circuit, 1);
            pass(secs(16)).await;
        }
        let id = |instance: &Instance| instance.registry.store_status().unwrap().instance;
        assert_ne!(id(&one), id(&two), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_restarts_is_not_taken_for_another_one() {
    let store = memory();
    let lines = Lines::collect();
    for _ in 0..5 {
        let one = Instance::start(&store, "a", Sharing::Advise).await;
        fail(&one.circuit, 1);
        succeed(&one.circuit, 1);
        pass(secs(20)).await;
        // Half of them crash.
        drop(one.registry);
        pass(secs(1)).await;
    }
    assert!(lines.with("give each a name").is_empty());
    let record = record(&store, "payments").await.unwrap();
    assert_eq!((record.instances.len(), record.total_failures), (1, 5));
}

/// The tier that takes a late write may have a clock that is ahead of the other tier.
#[tokio::test(start_paused = true)]
async fn a_late_write_of_an_earlier_start_is_no_second_instance() {
    let (store, lines) = (memory(), Lines::collect());
    let first = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&first.circuit, 1);
    pass(secs(20)).await;
    drop(first.registry);
    let late = record(&store, "payments").await.unwrap().instances["a"].clone();
    let second = Instance::start(&store, "a", Sharing::Advise).await;
    pass(secs(1)).await;
    fail(&second.circuit, 1);
    pass(secs(20)).await;
    for is_of_before in [true, false] {
        let mut record = record(&store, "payments").await.unwrap();
        let entry = record.instances.get_mut("a").unwrap();
        assert_ne!(entry.incarnation, late.incarnation);
        entry.incarnation = if is_of_before { late.incarnation.clone() } else { "1".repeat(32) };
        entry.sequence += 300;
        put(&store, "payments", &record.encode().unwrap()).await;
        pass(secs(20)).await;
        let id = second.registry.store_status().unwrap().instance;
        assert_eq!(id, if is_of_before { "a" } else { "a#2" });
        assert_eq!(lines.with("give each a name").is_empty(), is_of_before);
        fail(&second.circuit, 1);
        succeed(&second.circuit, 1);
        pass(secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_opening_keeps_its_owner_and_its_length() {
    let store = memory();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&one.circuit, 5);
    pass(secs(1)).await;
    let before = record(&store, "payments").await.unwrap();
    one.end().await;
    pass(secs(1)).await;
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    store.flush();
    pass(millis(2_500)).await;
    assert_eq!(state(&one.circuit), State::Open);
    one.end().await;
    // Now its entry must be written anew.
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    one.circuit.disable(&crate::rig::alice(), None);
    pass(millis(100)).await;
    let after = record(&store, "payments").await.unwrap();
    let opening = |record: &CircuitRecord| {
        let entry = &record.instances["a"];
        (entry.state, entry.advised, entry.open_ms)
    };
    assert_eq!(opening(&after), opening(&before));
    assert_eq!((after.opened_at, after.generation), (before.opened_at, before.generation));
}

#[tokio::test(start_paused = true)]
async fn counts_of_instances_are_kept_apart_and_summed() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    fail(&a.circuit, 2);
    fail(&b.circuit, 1);
    call(&b.circuit, 1, Outcome::Ignored);
    pass(secs(3)).await;
    let record = record(&store, "payments").await.unwrap();
    assert_eq!((record.failure_count, record.total_failures), (3.0, 3));
    a.end().await;
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    assert_eq!(a.circuit.status().run, 2.0, "only its own");
    let c = Instance::start(&store, "c", Sharing::Advise).await;
    assert_eq!(c.circuit.status().run, 0.0);
}
