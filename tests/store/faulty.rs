//! The faults of the faulty store, one by one, in paused time.

use std::time::Duration;

use tokio::time::timeout;
use tower_circuit_breaker::store::{
    AuditFilter, Fault, FaultyStore, Hint, MemoryStore, Operation, Store, StoreErrorKind, WatchEvent, Write, Written,
};

const SECOND: Duration = Duration::from_secs(1);

fn writing(text: &str) -> Write {
    Write { name: "a".to_owned(), expected: None, bytes: text.into(), ttl: None, hint: Hint::Any }
}

async fn text(store: &impl Store) -> Option<String> {
    let loaded = store.load_many(&["a".to_owned()]).await.unwrap();
    loaded.entries.into_iter().flatten().next().map(|found| String::from_utf8(found.bytes).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_failure_has_its_kind_and_changes_nothing() {
    let store = FaultyStore::new(MemoryStore::new());
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Refused, StoreErrorKind::Corrupt] {
        store.faults().set(Operation::WRITES, Fault::Fail(kind));
        assert_eq!(store.compare_and_set(&writing("x")).await.unwrap_err().kind(), kind);
        assert_eq!(text(&store).await, None, "a load has no fault, and nothing was written");
    }
    store.faults().heal();
    assert!(matches!(store.compare_and_set(&writing("x")).await, Ok(Written::Applied { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_paused_time_and_a_hang_takes_for_ever() {
    let store = FaultyStore::new(MemoryStore::new());
    store.faults().delay(Operation::ALL, SECOND);
    assert!(timeout(SECOND - Duration::from_millis(1), store.list()).await.is_err(), "a second has not passed");
    assert!(timeout(SECOND + Duration::from_millis(1), store.list()).await.is_ok(), "a second has passed");
    store.faults().heal();
    store.faults().set(Operation::READS, Fault::Hang);
    assert!(timeout(SECOND * 86_400, store.list()).await.is_err());
    assert!(store.audit(&AuditFilter::new()).await.is_ok(), "the audit has no fault");
}

#[tokio::test(start_paused = true)]
async fn a_write_with_a_lost_reply_is_done_and_late_writes_arrive() {
    let store = FaultyStore::new(MemoryStore::new());
    store.faults().set(&[Operation::CompareAndSet], Fault::LoseReply);
    assert_eq!(store.compare_and_set(&writing("x")).await.unwrap_err().kind(), StoreErrorKind::TimedOut);
    assert_eq!(text(store.inner()).await.as_deref(), Some("x"));

    let store = FaultyStore::new(MemoryStore::new());
    store.faults().set(Operation::WRITES, Fault::ApplyLater(SECOND));
    assert_eq!(store.compare_and_set(&writing("x")).await.unwrap_err().kind(), StoreErrorKind::TimedOut);
    assert_eq!(text(store.inner()).await, None, "it is on its way");
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(text(store.inner()).await.as_deref(), Some("x"), "it has arrived");
}

#[tokio::test(start_paused = true)]
async fn a_stale_load_answers_as_before() {
    let store = FaultyStore::new(MemoryStore::new());
    assert_eq!(text(&store).await, None);
    store.compare_and_set(&writing("x")).await.unwrap();
    store.faults().set(Operation::READS, Fault::Stale);
    assert_eq!(text(&store).await, None, "as the last load answered");
    store.faults().heal();
    assert_eq!(text(&store).await.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn events_are_dropped_and_watches_ended() {
    let store = FaultyStore::new(MemoryStore::new());
    let mut watch = store.watch().await.unwrap().unwrap();
    store.faults().drop_events();
    store.compare_and_set(&writing("lost")).await.unwrap();
    assert!(timeout(SECOND, watch.next()).await.is_err(), "nobody is told");
    store.faults().heal();
    store.inner().flush();
    assert_eq!(watch.next().await, Some(WatchEvent::Gap));
    store.compare_and_set(&writing("told")).await.unwrap();
    assert!(matches!(watch.next().await, Some(WatchEvent::Changed { name, .. }) if name == "a"));
    store.faults().end_watches();
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_counted_with_any_result() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.clone().faults();
    faults.set(&[Operation::List], Fault::Fail(StoreErrorKind::Unavailable));
    drop(store.list().await);
    drop(store.list().await);
    text(&store).await;
    let counts: Vec<_> = Operation::ALL.iter().map(|operation| faults.operations(*operation)).collect();
    assert_eq!(counts, [1, 0, 0, 2, 0, 0, 0, 0]);
    assert_eq!(faults.total(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_circuit_spares_the_others() {
    let store = FaultyStore::new(MemoryStore::new());
    store.faults().set_for("a", Operation::ALL, Fault::Fail(StoreErrorKind::Refused));
    assert_eq!(store.compare_and_set(&writing("x")).await.unwrap_err().kind(), StoreErrorKind::Refused);
    assert!(store.compare_and_set(&Write { name: "b".to_owned(), ..writing("x") }).await.is_ok());
    let names = ["b".to_owned(), "a".to_owned()];
    assert!(store.load_many(&names[..1]).await.is_ok());
    assert!(store.load_many(&names).await.is_err(), "a batch fails as a whole");
    assert!(store.list().await.is_ok(), "an operation on no circuit has no fault");
    store.faults().heal();
    assert!(store.load_many(&names).await.is_ok());
}
