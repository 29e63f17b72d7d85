//! Hints of a store, which are merged, bounded and never believed. On paused time, with a watch that the test drives.
//!
//! The file is longer than others, because all tests share the watch that they drive.

#![expect(clippy::disallowed_types, reason = "loom runs no test of a store")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::record::Timestamp;
use tower_circuit_breaker::state::Mode;
use tower_circuit_breaker::store::{
    AnyStore, AuditFilter, AuditRow, Etag, Faults, FaultyStore, Hint, Loaded, MemoryStore, Operation, Store,
    StoreError, TieredStore, Watch, WatchEvent, WatchSender, Write, Written,
};
use tower_circuit_breaker::{Failure, Registry, State};

use crate::rig::{DOWN, Instance, alice, builder, fail, memory, millis, pass, record, secs, settings, state};

/// A store in memory, whose only hints are those of the test.
#[derive(Debug, Clone)]
struct Hinting {
    records: MemoryStore,
    senders: Arc<Mutex<Vec<WatchSender>>>,
    /// The time from a write to its answer.
    answers_after: Arc<Mutex<Duration>>,
}

impl Hinting {
    fn new() -> FaultyStore<Self> {
        FaultyStore::new(Self { records: memory(), senders: Arc::default(), answers_after: Arc::default() })
    }

    fn hint(&self, name: &str, etag: Option<&Etag>) {
        self.senders.lock().unwrap().iter().for_each(|sender| sender.changed(name, etag.cloned()));
    }

    fn hint_with(&self, name: &str, hint: Hint) {
        self.senders.lock().unwrap().iter().for_each(|sender| sender.changed_with(name, None, hint));
    }

    fn gap(&self) {
        self.senders.lock().unwrap().iter().for_each(WatchSender::gap);
    }

    async fn etag(&self, name: &str) -> Option<Etag> {
        let loaded = self.records.load_many(&[name.to_owned()]).await.unwrap();
        loaded.entries.into_iter().next().flatten().map(|found| found.etag)
    }
}

impl Store for Hinting {
    fn kind(&self) -> &'static str {
        "hinting"
    }

    async fn load_many(&self, names: &[String]) -> Result<Loaded, StoreError> {
        self.records.load_many(names).await
    }

    async fn compare_and_set(&self, write: &Write) -> Result<Written, StoreError> {
        let written = self.records.compare_and_set(write).await;
        let delay = *self.answers_after.lock().unwrap();
        tokio::time::sleep(delay).await;
        written
    }

    async fn delete(&self, name: &str, etag: &Etag) -> Result<bool, StoreError> {
        self.records.delete(name, etag).await
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        self.records.list().await
    }

    async fn watch(&self) -> Result<Option<Watch>, StoreError> {
        let (sender, watch) = Watch::channel();
        self.senders.lock().unwrap().push(sender);
        Ok(Some(watch))
    }

    async fn append_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.records.append_audit(rows).await
    }

    async fn trim_audit(&self, before: Timestamp) -> Result<bool, StoreError> {
        self.records.trim_audit(before).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        self.records.audit(filter).await
    }
}

/// A registry that almost never polls, so that every load follows from a hint.
async fn quiet(store: &FaultyStore<Hinting>, circuits: usize) -> Registry {
    quiet_with(store, circuits, Sharing::Advise).await
}

async fn quiet_with(store: &FaultyStore<Hinting>, circuits: usize, sharing: Sharing) -> Registry {
    let registry = builder(store, "a").sharing(sharing).poll_every(secs(3600), secs(3600)).build().unwrap();
    for number in 0..circuits {
        registry.circuit(settings(&format!("circuit-{number}")).build().unwrap()).unwrap();
    }
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    pass(secs(10)).await;
    registry
}

fn loads(faults: &Faults) -> u64 {
    faults.operations(Operation::Load)
}

#[tokio::test(start_paused = true)]
async fn the_first_hint_is_followed_at_once_and_later_hints_share_a_load() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    let before = loads(&store.faults());
    store.inner().hint("circuit-0", None);
    pass(millis(1)).await;
    assert_eq!(loads(&store.faults()) - before, 1, "a hint does not wait");
    for _ in 0..40 {
        store.inner().hint("circuit-0", None);
        pass(millis(1)).await;
    }
    assert_eq!(loads(&store.faults()) - before, 1, "the next load is not due yet");
    pass(millis(50)).await;
    assert_eq!(loads(&store.faults()) - before, 2, "one load follows all of them");
    pass(secs(60)).await;
    assert_eq!(loads(&store.faults()) - before, 2, "no hint is followed twice");
    drop(registry);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_hints_causes_at_most_twenty_loads_a_second() {
    for gaps in [false, true] {
        let store = Hinting::new();
        let registry = quiet(&store, 600).await;
        let before = loads(&store.faults());
        for round in 0..10_000 {
            if gaps {
                store.inner().gap();
            } else {
                (0..20)
                    .for_each(|number| store.inner().hint(&format!("circuit-{}", (round * 20 + number) % 600), None));
            }
            pass(millis(1)).await;
        }
        let caused = loads(&store.faults()) - before;
        assert!((100..=203).contains(&caused), "{caused} loads of at most 256 records in 10 s, gaps: {gaps}");
        drop(registry);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_for_an_unknown_circuit_or_a_known_version_loads_nothing() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    let circuit = registry.get("circuit-0").unwrap();
    fail(&circuit, 5);
    pass(secs(10)).await;
    let etag = store.inner().etag("circuit-0").await.expect("the opening is stored");
    let before = loads(&store.faults());
    let long = "x".repeat(100_000);
    for number in 0..10_000 {
        store.inner().hint(&format!("foreign-{number}"), None);
        store.inner().hint(&long, None);
        store.inner().hint("circuit-0", Some(&etag));
        if number % 500 == 0 {
            pass(millis(1)).await;
        }
    }
    pass(secs(10)).await;
    assert_eq!(loads(&store.faults()) - before, 0);
    store.inner().hint("circuit-0", Some(&Etag::new("another")));
    store.inner().hint("circuit-0", Some(&etag));
    pass(millis(1)).await;
    assert_eq!(loads(&store.faults()) - before, 1, "two different hints are not taken for the last of them");
}

#[tokio::test(start_paused = true)]
async fn a_hint_between_a_write_and_its_answer_is_followed_after_the_answer() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    let circuit = registry.get("circuit-0").unwrap();
    let config = settings("circuit-0").build().unwrap();
    let other = Instance::with(&store.inner().records, "b", Sharing::Advise, config).await;
    *store.inner().answers_after.lock().unwrap() = millis(500);
    fail(&circuit, 5);
    pass(millis(100)).await;
    assert_ne!(store.inner().etag("circuit-0").await, None, "the write was made, and its answer is under way");
    other.registry.trip("circuit-0", &alice(), None).await.unwrap();
    store.inner().hint("circuit-0", store.inner().etag("circuit-0").await.as_ref());
    pass(millis(200)).await;
    assert_eq!(circuit.status().mode, Mode::Automatic, "the answer is still under way");
    pass(millis(300)).await;
    assert_eq!(circuit.status().mode, Mode::ForcedOpen, "the act arrives without a poll");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_again_ends_the_backoff_of_the_store() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    store.faults().set(&[Operation::Load, Operation::CompareAndSet, Operation::AppendAudit], DOWN);
    fail(&registry.get("circuit-0").unwrap(), 5);
    pass(secs(600)).await;
    store.faults().heal();
    store.inner().gap();
    pass(millis(1)).await;
    assert!(registry.store_status().unwrap().up, "the backoff of up to 30 s has ended");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_again_ends_the_backoff_of_a_circuit_that_waits_to_write() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    store.faults().set(Operation::ALL, DOWN);
    store.inner().hint("circuit-0", None);
    pass(secs(300)).await;
    fail(&registry.get("circuit-0").unwrap(), 5);
    pass(secs(1)).await;
    store.faults().heal();
    store.inner().gap();
    pass(millis(100)).await;
    assert_eq!(registry.store_status().unwrap().unsaved, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hint_changes_no_circuit_if_the_store_has_no_change() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    let circuit = registry.get("circuit-0").unwrap();
    let before = circuit.status();
    for etag in [None, Some(Etag::new("")), Some(Etag::new("da39a3ee5e6b4b0d3255bfef95601890afd80709"))] {
        store.inner().hint("circuit-0", etag.as_ref());
        pass(secs(1)).await;
    }
    let after = circuit.status();
    assert_eq!((after.state, after.mode, after.generation), (State::Closed, Mode::Automatic, before.generation));
    assert_eq!(store.inner().etag("circuit-0").await, None, "nothing is written because of a hint");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_hints_lets_an_operators_watch_list_at_most_twenty_times_a_second() {
    let store = Hinting::new();
    let operator = tower_circuit_breaker::operation::Operator::new(AnyStore::new(store.clone()));
    let instance = Instance::start(&store.inner().records, "b", Sharing::Advise).await;
    fail(&instance.circuit, 5);
    pass(secs(5)).await;
    assert_eq!(state(&instance.circuit), State::Open);
    let mut changes = operator.watch();
    assert_eq!(changes.next().await.unwrap().name, "payments");
    let before = store.faults().operations(Operation::List);
    let waiting = async { drop(changes.next().await) };
    let flood = async {
        for _ in 0..4000 {
            store.inner().hint("payments", None);
            pass(millis(1)).await;
        }
    };
    tokio::select! {
        () = waiting => panic!("nothing has changed"),
        () = flood => {}
    }
    let lists = store.faults().operations(Operation::List) - before;
    assert!((40..=81).contains(&lists), "{lists} lists in 4 s");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_not_closed_loads_nothing_for_a_transition() {
    for (sharing, expected) in [(Sharing::Advise, 0), (Sharing::Follow, 1)] {
        let store = Hinting::new();
        let registry = quiet_with(&store, 1, sharing).await;
        fail(&registry.get("circuit-0").unwrap(), 5);
        pass(secs(1)).await;
        let before = loads(&store.faults());
        store.inner().hint_with("circuit-0", Hint::Transition);
        pass(millis(100)).await;
        assert_eq!(loads(&store.faults()) - before, expected, "{sharing:?}");
        store.inner().hint_with("circuit-0", Hint::Any);
        pass(millis(100)).await;
        assert_eq!(loads(&store.faults()) - before, expected + 1, "an act is followed by every circuit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_circuit_follows_a_transition_only_without_lasting_advice() {
    let store = Hinting::new();
    let registry = quiet(&store, 1).await;
    let config = settings("circuit-0").build().unwrap();
    let other = Instance::with(&store.inner().records, "b", Sharing::Advise, config).await;
    fail(&other.circuit, 5);
    pass(millis(100)).await;
    let before = loads(&store.faults());
    for (passed, expected) in [(0, 1), (1_000, 1), (3_000, 1), (1_000, 2)] {
        pass(millis(passed)).await;
        store.inner().hint_with("circuit-0", Hint::Transition);
        pass(millis(10)).await;
        assert_eq!(loads(&store.faults()) - before, expected, "the opening advises for five seconds");
    }
    drop(registry);
}

#[tokio::test(start_paused = true)]
async fn merged_hints_of_two_kinds_are_followed_by_every_circuit() {
    for hints in [[Hint::Transition, Hint::Any], [Hint::Any, Hint::Transition]] {
        let store = Hinting::new();
        let registry = quiet(&store, 1).await;
        fail(&registry.get("circuit-0").unwrap(), 5);
        pass(secs(1)).await;
        let before = loads(&store.faults());
        hints.into_iter().for_each(|hint| store.inner().hint_with("circuit-0", hint));
        pass(millis(100)).await;
        assert_eq!(loads(&store.faults()) - before, 1, "{hints:?}");
    }
}

/// Returns the hints that come within a time.
async fn heard(watch: &mut Watch, time: Duration) -> Vec<Hint> {
    let mut hints = Vec::new();
    tokio::time::timeout(time, async {
        while let Some(WatchEvent::Changed { hint, .. }) = watch.next().await {
            hints.push(hint);
        }
    })
    .await
    .ok();
    hints
}

#[tokio::test(start_paused = true)]
async fn counts_send_no_hint_and_the_hints_of_transitions_and_acts_differ() {
    let store = memory();
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    let mut watch = store.watch().await.unwrap().unwrap();
    fail(&a.circuit, 3);
    pass(secs(5)).await;
    assert!(
        record(&store, "payments").await.is_some_and(|record| record.total_failures == 3),
        "the counts are written"
    );
    assert_eq!(heard(&mut watch, millis(1)).await, []);
    fail(&a.circuit, 2);
    assert_eq!(heard(&mut watch, secs(1)).await, [Hint::Transition]);
    b.circuit.trip(&alice(), None);
    assert_eq!(heard(&mut watch, secs(2)).await.first(), Some(&Hint::Any));
    assert_eq!(a.circuit.status().mode, Mode::ForcedOpen, "the act reaches an open circuit at once");
}

#[tokio::test(start_paused = true)]
async fn a_write_of_counts_that_brings_an_act_to_the_durable_tier_has_the_hint_of_the_act() {
    let durable = FaultyStore::new(memory());
    let store = TieredStore::new(memory(), durable.clone());
    // Without a poll, no comparison of the tiers brings the act first.
    let registry = builder(&store, "a").poll_every(secs(3600), secs(3600)).build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    assert!(registry.restore(secs(5)).await.unwrap().is_complete());
    fail(&circuit, 1);
    pass(secs(100)).await;
    durable.faults().set(Operation::ALL, DOWN);
    circuit.disable(&alice(), Some(secs(600)));
    pass(secs(1)).await;
    durable.faults().heal();
    let mut watch = durable.inner().watch().await.unwrap().unwrap();
    fail(&circuit, 1);
    let heard = heard(&mut watch, secs(200)).await;
    assert_eq!(heard.first(), Some(&Hint::Any), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn an_opening_behind_a_newer_state_still_sends_a_hint() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = Instance::start(&way, "a", Sharing::Advise).await;
    let b = Instance::start(&store, "b", Sharing::Advise).await;
    let c = Instance::start(&store, "c", Sharing::Advise).await;
    way.faults().set(Operation::ALL, DOWN);
    // The opening of `a` lasts longer than that of `b`, but `b` publishes a later state.
    a.circuit.try_acquire().unwrap().record(Failure::hard().with_retry_after(secs(200)).trips_at_once().into());
    pass(secs(1)).await;
    fail(&b.circuit, 5);
    pass(secs(8)).await;
    way.faults().heal();
    pass(secs(40)).await;
    fail(&c.circuit, 2);
    assert_eq!(state(&c.circuit), State::Open, "the longer opening advises");
}

#[tokio::test(start_paused = true)]
async fn advice_that_has_ended_is_renewed_by_a_poll_if_the_hint_is_lost() {
    let store = memory();
    let way = FaultyStore::new(store.clone());
    let a = Instance::start(&store, "a", Sharing::Advise).await;
    let b = Instance::start(&way, "b", Sharing::Advise).await;
    fail(&a.circuit, 5);
    pass(millis(100)).await;
    way.faults().drop_events();
    pass(secs(5)).await;
    // The failed probe opens for ten seconds.
    fail(&a.circuit, 1);
    pass(secs(9)).await;
    fail(&b.circuit, 2);
    assert_eq!(state(&b.circuit), State::Open, "the second opening advises");
}
