//! A fast store in front of a durable one: one test for each rule F1 to F5, and who answers when.
//!
//! The file is longer than others, because all tests share the two tiers that its top defines.

mod comparison;

use tower_circuit_breaker::clock::{Clock, Tick, TokioClock};
use tower_circuit_breaker::coordinator::{Restored, Sharing};
use tower_circuit_breaker::record::CircuitRecord;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::conformance::{Case, Suite};
use tower_circuit_breaker::store::{
    AuditFilter, Fault, Faults, FaultyStore, MemoryStore, Operation, Store, StoreErrorKind, TieredStore,
};
use tower_circuit_breaker::{Outcome, State};

use crate::rig::{Instance, alice, fail, millis, pass, record, secs, state, succeed};

type Faulty = FaultyStore<MemoryStore>;

fn memory() -> Faulty {
    FaultyStore::new(MemoryStore::with_clock(TokioClock::new()))
}

/// What outlives a process.
struct Rig {
    fast: Faulty,
    durable: Faulty,
}

impl Rig {
    fn new() -> Self {
        Self { fast: memory(), durable: memory() }
    }

    /// The store as a process has it that starts now.
    fn store(&self) -> TieredStore<Faulty, Faulty> {
        TieredStore::new(self.fast.clone(), self.durable.clone())
    }

    async fn start(&self, id: &str) -> Instance {
        Instance::start(&self.store(), id, Sharing::Advise).await
    }

    async fn fast(&self) -> Option<CircuitRecord> {
        record(self.fast.inner(), "payments").await
    }

    async fn durable(&self) -> Option<CircuitRecord> {
        record(self.durable.inner(), "payments").await
    }
}

fn down(faults: &Faults) {
    faults.set(Operation::ALL, Fault::Fail(StoreErrorKind::Unavailable));
}

fn start() -> (TokioClock, Tick) {
    let clock = TokioClock::new();
    (clock, clock.now())
}

async fn restored_from(instance: &Instance) -> Option<&'static str> {
    match instance.registry.restore(secs(1)).await.unwrap().circuits["payments"] {
        Restored::From { store, .. } => Some(store),
        Restored::Waiting | Restored::Absent | Restored::Corrupt | Restored::Outrun | _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tiered_store_passes_the_suite() {
    let (fast, durable) = (MemoryStore::new(), MemoryStore::new());
    Suite::new(|| async { TieredStore::new(fast.clone(), durable.clone()) }).forgets().run().await;
    assert_eq!(fast.audit(&AuditFilter::new()).await.unwrap(), [], "the audit is in the durable tier");
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_without_deletion_pass_the_suite_without_the_fast_tier() {
    let (fast, durable) = (FaultyStore::new(MemoryStore::new()), MemoryStore::new());
    down(&fast.faults());
    let suite = Suite::new(|| async { TieredStore::new(fast.clone(), durable.clone()) }).forgets();
    for case in Case::ALL {
        // These delete, which needs both.
        if !matches!(case, Case::Delete | Case::List | Case::Names | Case::Watch) {
            suite.check(*case).await.unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f1_every_state_change_goes_to_both() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 5);
    pass(millis(10)).await;
    let (fast, durable) = (rig.fast().await.unwrap(), rig.durable().await.unwrap());
    assert_eq!((durable.state, &durable), (State::Open, &fast));
    one.circuit.trip(&alice(), None);
    pass(millis(10)).await;
    let (fast, durable) = (rig.fast().await.unwrap(), rig.durable().await.unwrap());
    assert_eq!((durable.operator.as_ref().unwrap().mode, &durable), (Mode::ForcedOpen, &fast));
}

#[tokio::test(start_paused = true)]
async fn f1_the_fast_tier_fails_and_the_durable_one_is_still_written() {
    for fault in [Fault::Fail(StoreErrorKind::Unavailable), Fault::Hang] {
        let rig = Rig::new();
        let one = rig.start("a").await;
        fail(&one.circuit, 1);
        pass(secs(2)).await;
        rig.fast.faults().set(Operation::ALL, fault);
        fail(&one.circuit, 4);
        pass(secs(1)).await;
        assert_eq!(rig.durable().await.unwrap().state, State::Open, "{fault:?}");
        rig.fast.faults().heal();
        pass(secs(60)).await;
        let (fast, durable) = (rig.fast().await.unwrap(), rig.durable().await.unwrap());
        assert_eq!((fast.generation, fast.state), (durable.generation, durable.state), "repaired: {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn f1_the_durable_tier_gets_failed_writes_later() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    down(&rig.durable.faults());
    fail(&one.circuit, 5);
    pass(secs(5)).await;
    assert_eq!(rig.fast().await.unwrap().state, State::Open);
    assert!(rig.durable().await.is_none());
    rig.durable.faults().heal();
    pass(secs(60)).await;
    assert_eq!(rig.durable().await.unwrap().total_failures, 5);
    // The audit waits for it too.
    let rows = rig.durable.inner().audit(&AuditFilter::new()).await.unwrap();
    assert!(rows.iter().any(|row| row.action == "opened"), "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn f1_another_instance_completes_the_fast_only_write_of_a_dead_process() {
    let rig = Rig::new();
    let other = rig.start("b").await;
    let one = rig.start("a").await;
    down(&rig.durable.faults());
    fail(&one.circuit, 5);
    pass(secs(1)).await;
    drop(one);
    rig.durable.faults().heal();
    pass(secs(60)).await;
    assert_eq!(rig.durable().await.unwrap().state, State::Open);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn f2_reads_come_from_the_fast_tier_else_from_the_durable_tier() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 5);
    one.end().await;
    let tiers = [(&rig.fast, "f:"), (&rig.durable, "d:")];
    for (lost, expected) in [("nothing", "f:"), ("flushed", "d:"), ("unavailable", "d:"), ("hangs", "d:")] {
        rig.fast.faults().heal();
        match lost {
            "flushed" => rig.fast.inner().flush(),
            "unavailable" => down(&rig.fast.faults()),
            "hangs" => rig.fast.faults().set(Operation::ALL, Fault::Hang),
            _ => {}
        }
        let before = tiers.map(|(store, _)| store.faults().operations(Operation::Load));
        let store = rig.store();
        let loaded = store.load_many(&["payments".to_owned()]).await.unwrap();
        let etag = loaded.entries[0].as_ref().unwrap().etag.clone();
        assert!(etag.as_str().starts_with(expected), "{lost}: {etag:?}");
        let asked = tiers[1].0.faults().operations(Operation::Load) - before[1];
        assert_eq!(asked, 1, "{lost}: the first load of a process compares the tiers");
        if lost == "nothing" {
            store.load_many(&["payments".to_owned()]).await.unwrap();
            assert_eq!(tiers[1].0.faults().operations(Operation::Load) - before[1], 1, "and no later one");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f3_answers_of_the_durable_tier_are_put_back_despite_failures() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 5);
    one.end().await;
    let before = rig.fast().await.unwrap();
    rig.fast.inner().flush();
    rig.fast.faults().set(&[Operation::CompareAndSet], Fault::Hang);
    let names = ["payments".to_owned()];
    let (clock, began) = start();
    assert!(rig.store().load_many(&names).await.unwrap().entries[0].is_some());
    assert!(clock.now().saturating_since(began) < millis(300), "{:?}", clock.now().saturating_since(began));
    assert!(rig.fast().await.is_none());
    rig.fast.faults().heal();
    assert!(rig.store().load_many(&names).await.unwrap().entries[0].is_some());
    assert_eq!(rig.fast().await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn f4_a_restart_of_the_fast_tier_resets_no_circuit() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 5);
    pass(millis(10)).await;
    let before = rig.fast().await.unwrap();
    rig.fast.inner().flush();
    pass(secs(3)).await;
    assert_eq!(rig.fast().await.unwrap().generation, before.generation);
    assert_eq!(state(&one.circuit), State::Open);
    // With every process.
    one.end().await;
    rig.fast.inner().flush();
    let one = rig.start("a").await;
    assert_eq!(state(&one.circuit), State::Open);
    assert_eq!(rig.fast().await.unwrap().generation, before.generation);
}

#[tokio::test(start_paused = true)]
async fn f4_failures_before_and_after_a_flush_with_restart_open_at_five() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 3);
    one.end().await;
    rig.fast.inner().flush();
    let one = rig.start("a").await;
    fail(&one.circuit, 2);
    assert_eq!(state(&one.circuit), State::Open);
}

#[tokio::test(start_paused = true)]
async fn f5_in_the_normal_case_the_durable_tier_is_not_asked() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    one.circuit.trip(&alice(), None);
    let two = rig.start("b").await;
    // What was settled elsewhere is looked up once.
    pass(secs(60)).await;
    let (durable, fast) = (rig.durable.faults().total(), rig.fast.faults().operations(Operation::Load));
    pass(secs(600)).await;
    assert_eq!(rig.durable.faults().total(), durable);
    assert!(rig.fast.faults().operations(Operation::Load) > fast + 500, "both poll");
    drop((one, two));
}

#[tokio::test(start_paused = true)]
async fn f5_counts_reach_the_durable_tier_once_a_minute() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    pass(secs(1)).await;
    let before = rig.durable.faults().operations(Operation::CompareAndSet);
    for _ in 0..600 {
        one.circuit.try_acquire().unwrap().record(Outcome::failure());
        succeed(&one.circuit, 3);
        pass(millis(500)).await;
    }
    let writes = rig.durable.faults().operations(Operation::CompareAndSet) - before;
    assert!((4..=6).contains(&writes), "{writes} in five minutes");
}

#[tokio::test(start_paused = true)]
async fn the_report_says_which_tier_answered() {
    let rig = Rig::new();
    // Told apart by what they are called.
    let file = std::env::temp_dir().join(format!("tiered-{}", std::process::id()));
    let durable = tower_circuit_breaker::store::FileStore::new(&file);
    let store = || TieredStore::new(rig.fast.clone(), durable.clone());
    let one = Instance::start(&store(), "a", Sharing::Advise).await;
    fail(&one.circuit, 5);
    one.end().await;
    let one = Instance::start(&store(), "a", Sharing::Advise).await;
    assert_eq!(restored_from(&one).await, Some("memory"));
    drop(one);
    rig.fast.inner().flush();
    let one = Instance::start(&store(), "a", Sharing::Advise).await;
    assert_eq!(restored_from(&one).await, Some("file"));
    std::fs::remove_dir_all(&file).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fast_tier_that_hangs_takes_no_time_from_the_durable_one() {
    let rig = Rig::new();
    rig.fast.faults().set(Operation::ALL, Fault::Hang);
    rig.durable.faults().delay(Operation::ALL, millis(500));
    let store = rig.store();
    let names = ["payments".to_owned()];
    let (clock, began) = start();
    store.load_many(&names).await.unwrap();
    assert!(clock.now().saturating_since(began) <= millis(910), "{:?}", clock.now().saturating_since(began));
    // And then it is left alone.
    let (clock, began) = start();
    store.load_many(&names).await.unwrap();
    assert!(clock.now().saturating_since(began) <= millis(510), "{:?}", clock.now().saturating_since(began));
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_still_reaches_the_durable_tier() {
    let rig = Rig::new();
    rig.fast.faults().set(Operation::ALL, Fault::Hang);
    let (store, names) = (rig.store(), ["payments".to_owned()]);
    assert!(tokio::time::timeout(millis(50), store.load_many(&names)).await.is_err());
    assert!(tokio::time::timeout(millis(50), store.load_many(&names)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_empty_fast_tier_is_believed_only_after_the_durable_tier_answered() {
    let rig = Rig::new();
    down(&rig.durable.faults());
    let (store, names) = (rig.store(), ["payments".to_owned()]);
    store.load_many(&names).await.unwrap_err();
    rig.durable.faults().heal();
    pass(secs(2)).await;
    store.load_many(&names).await.unwrap();
    down(&rig.durable.faults());
    pass(secs(120)).await;
    store.load_many(&names).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fast_tier_that_returns_with_old_data_gets_newer_data() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 3);
    one.end().await;
    down(&rig.fast.faults());
    let one = rig.start("a").await;
    one.circuit.trip(&alice(), None);
    one.end().await;
    rig.fast.faults().heal();
    let one = rig.start("a").await;
    assert_eq!(one.circuit.status().mode, Mode::ForcedOpen, "the first load has the changes of both tiers");
    pass(secs(60)).await;
    let [fast, durable] = [rig.fast().await, rig.durable().await].map(|record| record.unwrap().operator);
    assert!(fast.is_some() && fast == durable, "{fast:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flushed_fast_tier_that_refuses_writes_hides_no_durable_record() {
    let rig = Rig::new();
    let one = rig.start("a").await;
    fail(&one.circuit, 5);
    one.end().await;
    rig.fast.inner().flush();
    rig.fast.faults().set(&[Operation::CompareAndSet], Fault::Fail(StoreErrorKind::Unavailable));
    let store = rig.store();
    // Also in the first minute of a process, whose clock begins at zero.
    for second in 0..90 {
        let loaded = store.load_many(&["payments".to_owned()]).await.unwrap();
        assert!(loaded.entries[0].is_some(), "{second}");
        pass(secs(1)).await;
    }
}
