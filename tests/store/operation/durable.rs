//! The answers of orders: `stored` is record and audit row, and the instances that have an act were seen.

use std::sync::{Arc, OnceLock};

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::operation::{Kept, Operator, Order, Refused};
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{
    AnyStore, AuditFilter, AuditRow, Etag, FaultyStore, Loaded, MemoryStore, Operation, Store, StoreError, TieredStore,
    Watch, WatchSender, Write, Written,
};

use super::{is_stored, mode, order};
use crate::rig::{DOWN, Instance, alice, audited, fail, faulty, memory, millis, pass, record, secs};

type Durable = FaultyStore<MemoryStore>;

fn tiers() -> (MemoryStore, Durable) {
    (memory(), faulty())
}

async fn start(store: &(impl Store + Clone), id: &str) -> Instance {
    Instance::start(store, id, Sharing::Advise).await
}

#[tokio::test(start_paused = true)]
async fn a_stored_order_has_its_record_and_its_row_in_the_store() {
    let store = memory();
    let a = start(&store, "a").await;
    assert!(is_stored(&order(&a, &Order::trip(&alice())).await.unwrap()));
    assert!(record(&store, "payments").await.unwrap().operator.is_some());
    assert_eq!(audited(&store).await, ["trip a"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_without_its_row_is_unaudited_until_the_audit_answers() {
    let store = faulty();
    let a = start(&store, "a").await;
    store.faults().set(&[Operation::AppendAudit], DOWN);
    let trip = Order::trip(&alice()).id("click-1");
    let done = order(&a, &trip).await.unwrap();
    assert!(matches!(&done.kept, Kept::Unaudited { why, .. } if why.contains("injected")), "{done:?}");
    store.faults().heal();
    pass(secs(60)).await;
    assert!(is_stored(&order(&a, &trip).await.unwrap()));
    assert_eq!(audited(&store).await, ["trip a"], "the row is there once");
}

#[tokio::test(start_paused = true)]
async fn an_act_without_its_durable_copy_is_cached_and_not_stored() {
    let (fast, durable) = tiers();
    let store = TieredStore::new(fast, durable.clone());
    let a = start(&store, "a").await;
    durable.faults().set(Operation::ALL, DOWN);
    let trip = Order::trip(&alice()).id("click-1");
    let done = order(&a, &trip).await.unwrap();
    assert!(matches!(&done.kept, Kept::Cached { durable: "memory", .. }), "{done:?}");
    assert!(done.kept.to_string().contains("in the cache only"), "{}", done.kept);
    durable.faults().heal();
    pass(secs(60)).await;
    assert!(is_stored(&order(&a, &trip).await.unwrap()));
    assert!(record(&durable, "payments").await.unwrap().operator.is_some());
    assert_eq!(audited(&durable).await, ["trip a"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_takes_an_act_over_appends_the_missing_row() {
    for survivor in ["a", "b"] {
        let (fast, durable) = tiers();
        let store = || TieredStore::new(fast.clone(), durable.clone());
        let (a, b) = (start(&store(), "a").await, start(&store(), "b").await);
        durable.faults().set(&[Operation::AppendAudit], DOWN);
        order(&a, &Order::trip(&alice())).await.unwrap();
        pass(secs(1)).await;
        // The instance that had the row is killed. The other one lives on, or the same one starts again.
        drop(a);
        let again = if survivor == "a" {
            drop(b);
            pass(secs(1)).await;
            start(&store(), "a").await
        } else {
            b
        };
        durable.faults().heal();
        pass(secs(60)).await;
        assert_eq!(mode(&again), Mode::ForcedOpen);
        assert_eq!(audited(&durable).await, ["trip a"], "{survivor}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_act_has_one_row_although_many_instances_take_it_over() {
    let store = memory();
    let a = start(&store, "a").await;
    let mut others = Vec::new();
    for n in 0..5 {
        others.push(start(&store, &format!("b-{n}")).await);
    }
    order(&a, &Order::trip(&alice())).await.unwrap();
    pass(secs(30)).await;
    assert_eq!(audited(&store).await, ["trip a"]);
}

#[tokio::test(start_paused = true)]
async fn an_order_to_one_tier_of_the_instances_is_refused() {
    let (fast, durable) = tiers();
    let store = TieredStore::new(fast.clone(), durable.clone());
    let a = start(&store, "a").await;
    fail(&a.circuit, 5);
    pass(secs(1)).await;
    for alone in [AnyStore::new(fast.clone()), AnyStore::new(durable.clone())] {
        let before = [record(&fast, "payments").await, record(&durable, "payments").await];
        for order in [Order::trip(&alice()), Order::forget(&alice())] {
            let refused = Operator::new(alone.clone()).operate("payments", &order).await.unwrap_err();
            assert!(matches!(refused, Refused::OneTier { .. }), "{refused}");
            assert!(refused.to_string().contains("memory in front of memory"), "{refused}");
        }
        assert_eq!(before, [record(&fast, "payments").await, record(&durable, "payments").await], "nothing waits");
    }
    let both = Operator::new(AnyStore::new(TieredStore::new(fast, durable.clone())));
    let trip = Order::trip(&alice());
    assert!(is_stored(&both.operate("payments", &trip).await.unwrap()));
    let reach = both.reach("payments", &trip, secs(2)).await.unwrap().unwrap();
    assert_eq!((reach.have, reach.known), (1, 1), "{reach}");
    let forced = Operator::new(AnyStore::new(durable)).ignore_tiers();
    assert!(forced.operate("payments", &Order::resume(&alice())).await.is_ok(), "the user says that there is no cache");
}

#[tokio::test(start_paused = true)]
async fn the_instances_that_have_an_act_are_counted() {
    let store = memory();
    let mut fleet = Vec::new();
    for n in 0..3 {
        fleet.push(start(&store, &format!("node-{n}")).await);
    }
    let operator = Operator::new(AnyStore::new(store.clone()));
    let trip = Order::trip(&alice()).create();
    operator.operate("payments", &trip).await.unwrap();
    let reach = operator.reach("payments", &trip, secs(2)).await.unwrap().unwrap();
    assert_eq!(reach.to_string(), "all 3 known instances have it");
    assert!(fleet.iter().all(|instance| mode(instance) == Mode::ForcedOpen));
}

#[tokio::test(start_paused = true)]
async fn an_act_in_another_store_is_seen_by_no_instance() {
    let (store, other) = (memory(), memory());
    let a = start(&store, "a").await;
    let operator = Operator::new(AnyStore::new(other));
    let trip = Order::trip(&alice()).create();
    assert!(is_stored(&operator.operate("payments", &trip).await.unwrap()));
    let reach = operator.reach("payments", &trip, secs(2)).await.unwrap().unwrap();
    assert_eq!(reach.to_string(), "no instance was seen to have it yet");
    assert_eq!(mode(&a), Mode::Automatic);
}

/// A store whose watch the test controls, as a server that pushes changes.
#[derive(Debug, Clone)]
struct Pushing {
    inner: FaultyStore<MemoryStore>,
    watch: Arc<OnceLock<WatchSender>>,
}

impl Store for Pushing {
    fn kind(&self) -> &'static str {
        "pushing"
    }
    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
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
        let (sender, watch) = Watch::channel();
        self.watch.set(sender).expect("the registry watches once");
        Ok(Some(watch))
    }
    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.inner.append_audit(rows).await
    }
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit(filter).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_connects_again_ends_the_backoff() {
    let store = Pushing { inner: faulty(), watch: Arc::default() };
    let a = start(&store, "a").await;
    store.inner.faults().set(Operation::ALL, DOWN);
    // Long enough for the longest backoff of 30 s.
    pass(secs(300)).await;
    let operator = Operator::new(AnyStore::new(store.inner.inner().clone()));
    operator.operate("payments", &Order::trip(&alice()).create()).await.unwrap();
    store.inner.faults().heal();
    store.watch.get().expect("the registry watches").gap();
    pass(millis(50)).await;
    assert_eq!(mode(&a), Mode::ForcedOpen);
}
