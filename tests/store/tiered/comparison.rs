//! The comparisons of the tiers: changes that come during a comparison, and tiers that refuse a record.

use tower_circuit_breaker::record::InstanceEntry;
use tower_circuit_breaker::store::{Etag, Hint, Versioned, Write, Written};

use super::*;

const REFUSED: Fault = Fault::Fail(StoreErrorKind::Refused);

fn names() -> [String; 1] {
    ["payments".to_owned()]
}

/// A record with the entry of one instance, whose number of failures is also the number of its write.
async fn bytes(rig: &Rig, state: State, failures: u64) -> Vec<u8> {
    bytes_of(rig, "payments", state, failures).await
}

async fn bytes_of(rig: &Rig, name: &str, state: State, failures: u64) -> Vec<u8> {
    let mut entry = InstanceEntry::closed("a start");
    (entry.sequence, entry.total_failures, entry.state) = (failures, failures, state);
    entry.updated_at = rig.fast.inner().load_many(&[]).await.unwrap().now;
    let mut record = CircuitRecord::unknown(name);
    record.instances.insert("b".to_owned(), entry);
    record.encode().unwrap()
}

/// Writes over the version that the store has.
async fn write(store: &impl Store, bytes: Vec<u8>) -> Etag {
    let current = store.load_many(&names()).await.unwrap().entries.remove(0);
    write_over(store, current.map(|current| current.etag), bytes).await
}

async fn write_over(store: &impl Store, mut expected: Option<Etag>, bytes: Vec<u8>) -> Etag {
    for _ in 0..2 {
        let write = Write {
            name: names()[0].clone(),
            expected: expected.take(),
            bytes: bytes.clone(),
            ttl: None,
            hint: Hint::Any,
        };
        match store.compare_and_set(&write).await.unwrap() {
            Written::Applied { etag, .. } => return etag,
            Written::Conflict { current, .. } => expected = current.map(|current| current.etag),
        }
    }
    panic!("the second write names the present version");
}

async fn load(store: &impl Store) -> Versioned {
    store.load_many(&names()).await.unwrap().entries.remove(0).unwrap()
}

fn failures(record: Option<CircuitRecord>) -> Option<u64> {
    Some(record?.instances["b"].total_failures)
}

/// Loads once a second, as a registry does while a circuit is not closed.
async fn load_for(store: &impl Store, seconds: u64) {
    for _ in 0..seconds {
        pass(secs(1)).await;
        load(store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn counts_written_during_a_comparison_reach_the_durable_tier() {
    let rig = Rig::new();
    write(&rig.store(), bytes(&rig, State::Closed, 1).await).await;
    let store = rig.store();
    // The first load compares an older version than the version that is written meanwhile.
    rig.durable.faults().delay(&[Operation::Load], millis(500));
    let meanwhile = async {
        pass(millis(10)).await;
        rig.durable.faults().heal();
        let before = load(&store).await;
        pass(millis(10)).await;
        write_over(&store, Some(before.etag), bytes(&rig, State::Closed, 9).await).await;
    };
    tokio::join!(load(&store), meanwhile);
    load_for(&store, 90).await;
    assert_eq!(failures(rig.fast().await), Some(9));
    assert_eq!(failures(rig.durable().await), Some(9));
}

#[tokio::test(start_paused = true)]
async fn a_failed_copy_during_a_comparison_is_repeated() {
    let rig = Rig::new();
    write(&rig.store(), bytes(&rig, State::Closed, 1).await).await;
    let store = rig.store();
    rig.durable.faults().delay(&[Operation::Load], millis(500));
    let meanwhile = async {
        pass(millis(10)).await;
        rig.durable.faults().heal();
        rig.durable.faults().set(&[Operation::CompareAndSet], Fault::Fail(StoreErrorKind::Unavailable));
        let etag = write(&store, bytes(&rig, State::Open, 9).await).await;
        assert_eq!(store.lacking(&etag), Some("memory"));
        rig.durable.faults().heal();
    };
    tokio::join!(load(&store), meanwhile);
    load_for(&store, 60).await;
    assert_eq!(failures(rig.durable().await), Some(9));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_only_the_durable_tier_took_reaches_the_fast_tier() {
    let rig = Rig::new();
    let store = rig.store();
    write(&store, bytes(&rig, State::Closed, 1).await).await;
    pass(secs(1)).await;
    down(&rig.fast.faults());
    write(&store, bytes(&rig, State::Open, 2).await).await;
    rig.fast.faults().heal();
    pass(secs(2)).await;
    let loaded = load(&store).await;
    let record = CircuitRecord::decode("payments", &loaded.bytes, record_now(&rig).await).unwrap();
    assert_eq!(failures(Some(record)), Some(2), "the first answer has the changes of both tiers");
    assert_eq!(failures(rig.fast().await), Some(2));
}

async fn record_now(rig: &Rig) -> tower_circuit_breaker::record::Timestamp {
    rig.fast.inner().load_many(&[]).await.unwrap().now
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_durable_tier_refuses_is_tried_seldom() {
    let rig = Rig::new();
    rig.durable.faults().set(&[Operation::CompareAndSet], REFUSED);
    let store = rig.store();
    let etag = write(&store, bytes(&rig, State::Open, 1).await).await;
    assert_eq!(store.lacking(&etag), Some("memory"));
    // A process that starts now, too.
    for store in [store, rig.store()] {
        let operations = || [Operation::Load, Operation::CompareAndSet].map(|of| rig.durable.faults().operations(of));
        let before = operations();
        load_for(&store, 60).await;
        let asked: Vec<_> = operations().iter().zip(before).map(|(after, before)| after - before).collect();
        assert!(asked.iter().all(|asked| (1..=4).contains(asked)), "{asked:?} loads and writes in a minute");
    }
    let store = rig.store();
    load(&store).await;
    rig.durable.faults().heal();
    load_for(&store, 30).await;
    assert_eq!(failures(rig.durable().await), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_fast_tier_that_refuses_writes_is_tried_seldom_and_hides_nothing() {
    let rig = Rig::new();
    write(&rig.store(), bytes(&rig, State::Closed, 1).await).await;
    write(&rig.durable.inner().clone(), bytes(&rig, State::Open, 2).await).await;
    rig.fast.faults().set(&[Operation::CompareAndSet], REFUSED);
    let store = rig.store();
    let before = rig.fast.faults().operations(Operation::CompareAndSet);
    for _ in 0..60 {
        pass(secs(1)).await;
        let record = CircuitRecord::decode("payments", &load(&store).await.bytes, record_now(&rig).await).unwrap();
        assert_eq!(failures(Some(record)), Some(2));
    }
    let asked = rig.fast.faults().operations(Operation::CompareAndSet) - before;
    assert!((1..=4).contains(&asked), "{asked} writes in a minute");
    rig.fast.faults().heal();
    load_for(&store, 30).await;
    assert_eq!(failures(rig.fast().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_flushed_fast_tier_that_refuses_writes_is_tried_seldom() {
    let rig = Rig::new();
    let store = rig.store();
    write(&store, bytes(&rig, State::Open, 1).await).await;
    rig.fast.inner().flush();
    rig.fast.faults().set(&[Operation::CompareAndSet], REFUSED);
    let before = rig.fast.faults().operations(Operation::CompareAndSet);
    load_for(&store, 60).await;
    let asked = rig.fast.faults().operations(Operation::CompareAndSet) - before;
    assert!((1..=4).contains(&asked), "{asked} writes in a minute");
    rig.fast.faults().heal();
    load_for(&store, 30).await;
    assert_eq!(failures(rig.fast().await), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_fast_tier_refuses_holds_up_no_other_record() {
    let rig = Rig::new();
    let all = ["payments".to_owned(), "search".to_owned(), "stock".to_owned()];
    for name in &all {
        let bytes = bytes_of(&rig, name, State::Open, 1).await;
        let write = Write { name: name.clone(), expected: None, bytes, ttl: None, hint: Hint::Any };
        rig.durable.inner().compare_and_set(&write).await.unwrap();
    }
    rig.fast.faults().set_for("payments", &[Operation::CompareAndSet], REFUSED);
    rig.store().load_many(&all).await.unwrap();
    let kept = rig.fast.inner().load_many(&all).await.unwrap().entries;
    assert_eq!(kept.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_first_load_reads_the_durable_tier_once() {
    let rig = Rig::new();
    write(&rig.store(), bytes(&rig, State::Closed, 1).await).await;
    // The durable tier has more of this record, and another record that the fast tier lacks.
    write(&rig.durable.inner().clone(), bytes(&rig, State::Open, 2).await).await;
    let other = Write {
        name: "search".to_owned(),
        expected: None,
        bytes: br#"{"service":"search","state":"open","generation":1}"#.to_vec(),
        ttl: None,
        hint: Hint::Any,
    };
    rig.durable.inner().compare_and_set(&other).await.unwrap();
    rig.fast.faults().delay(&[Operation::Load], millis(300));
    rig.durable.faults().delay(&[Operation::Load], millis(1_000));
    let before = rig.durable.faults().operations(Operation::Load);
    let (clock, began) = start();
    let loaded = rig.store().load_many(&["payments".to_owned(), "search".to_owned()]).await.unwrap();
    assert!(loaded.entries.iter().all(Option::is_some));
    assert_eq!(rig.durable.faults().operations(Operation::Load) - before, 1);
    assert_eq!(clock.now().saturating_since(began), millis(1_300));
    assert_eq!(failures(rig.fast().await), Some(2), "compared by the same load");
}

#[tokio::test(start_paused = true)]
async fn a_load_without_time_left_begins_no_comparison() {
    let rig = Rig::new();
    write(&rig.fast.inner().clone(), bytes(&rig, State::Open, 1).await).await;
    rig.fast.faults().delay(&[Operation::Load], millis(400));
    rig.durable.faults().delay(&[Operation::Load], millis(1_200));
    let store = rig.store();
    load(&store).await;
    assert_eq!(rig.durable.faults().operations(Operation::CompareAndSet), 0);
    rig.durable.faults().heal();
    rig.fast.faults().heal();
    load(&store).await;
    assert_eq!(failures(rig.durable().await), Some(1), "the durable tier has no pause");
}
