//! The price of an outage for the store: the entries in the record, the times of the counts, and the hints.

use tower_circuit_breaker::store::{Watch, WatchEvent};

use super::*;

/// Starts this number of instances, and waits until each of them has read the heartbeats of the others.
async fn many(store: &(impl Store + Clone), count: usize) -> Vec<Instance> {
    let mut instances = Vec::new();
    for number in 0..count {
        instances.push(Instance::start(store, &format!("orders-{number}"), Sharing::Quorum).await);
    }
    pass(secs(25)).await;
    instances
}

/// Counts the hints for the circuit so far.
async fn hints(watch: &mut Watch) -> usize {
    let mut hints = 0;
    while let Ok(Some(event)) = tokio::time::timeout(millis(1), watch.next()).await {
        hints += usize::from(matches!(event, WatchEvent::Changed { ref name, .. } if name == "payments"));
    }
    hints
}

/// All instances make this call ten times a second for this time.
async fn call(instances: &[Instance], time: Duration, good: bool) {
    for _ in 0..time.as_millis() / 100 {
        for one in instances {
            if let Ok(permit) = one.circuit.try_acquire() {
                if good { permit.success() } else { permit.failure(Failure::hard()) }
            }
        }
        pass(millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_entries_of_few_instances_and_costs_few_hints() {
    let store = memory();
    let instances = many(&store, 40).await;
    let mut watch = store.watch().await.unwrap().unwrap();
    call(&instances, secs(4), false).await;
    assert!(instances.iter().all(|one| state(&one.circuit) == State::Open));
    let entries = record(&store, "payments").await.unwrap().instances.len();
    // Four votes open a fleet of 40.
    assert!((4..=8).contains(&entries), "{entries} entries");
    let unsaved = |one: &Instance| one.registry.store_status().unwrap().unsaved;
    assert_eq!(instances.iter().map(unsaved).sum::<usize>(), 0, "a restart would restore the opening");
    assert_eq!(hints(&mut watch).await, 1, "the opening");
    // The round of two failed probes.
    call(&instances, secs(4), false).await;
    let hints = hints(&mut watch).await;
    assert!((2..=4).contains(&hints), "{hints} hints of a failed round");
}

#[tokio::test(start_paused = true)]
async fn the_counts_of_an_outage_are_written_after_the_closing() {
    let store = memory();
    let instances = many(&store, 20).await;
    call(&instances, secs(4), false).await;
    call(&instances, secs(60), true).await;
    assert!(instances.iter().all(|one| state(&one.circuit) == State::Closed));
    let record = record(&store, "payments").await.unwrap();
    assert_eq!(record.instances.len(), 20);
    let failures = |one: &Instance| one.circuit.status().totals.failures;
    assert_eq!(record.total_failures, instances.iter().map(failures).sum::<u64>());
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_within_an_outage_writes_the_counts() {
    let store = memory();
    let instances = many(&store, 20).await;
    call(&instances, secs(4), false).await;
    let expected: u64 = instances.iter().map(|one| one.circuit.status().totals.failures).sum();
    for one in instances {
        one.end().await;
    }
    assert_eq!(record(&store, "payments").await.unwrap().total_failures, expected);
}
