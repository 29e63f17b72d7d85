//! What was asked for of persistence, one test a number, on paused time and a store in memory.

mod telemetry;

use std::time::Duration;

use tower_circuit_breaker::circuit::To;
use tower_circuit_breaker::coordinator::{Recovered, Restored, Sharing};
use tower_circuit_breaker::store::{AuditFilter, Fault, FaultyStore, Hint, MemoryStore, Operation, Store};
use tower_circuit_breaker::{Circuit, Registry, State};

use crate::rig::{
    DOWN, Instance, alice, builder, fail, faulty, memory, millis, pass, record, secs, settings, state, succeed,
};

async fn start(store: &(impl Store + Clone)) -> Instance {
    Instance::start(store, "a", Sharing::Advise).await
}

// C1
#[tokio::test(start_paused = true)]
async fn an_open_circuit_keeps_its_opening_time_over_a_restart() {
    let store = memory();
    let one = start(&store).await;
    fail(&one.circuit, 5);
    one.end().await;
    let before = record(&store, "payments").await.unwrap();
    pass(secs(2)).await;
    let one = start(&store).await;
    assert_eq!(state(&one.circuit), State::Open);
    pass(secs(1)).await;
    let after = record(&store, "payments").await.unwrap();
    assert!(after.opened_at.is_some());
    assert_eq!((after.opened_at, after.until), (before.opened_at, before.until));
}

// C1: five successes close it; three before the restart, two after.
#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_and_its_successes_survive_a_restart() {
    let store = memory();
    let config = || settings("payments").probes(5).build().unwrap();
    let one = Instance::with(&store, "a", Sharing::Advise, config()).await;
    one.circuit.reset(&alice(), To::HalfOpen);
    succeed(&one.circuit, 3);
    one.end().await;
    assert_eq!(record(&store, "payments").await.unwrap().success_count, 3);
    let one = Instance::with(&store, "a", Sharing::Advise, config()).await;
    let status = one.circuit.status();
    assert_eq!((status.state, status.probes.successes), (State::HalfOpen, 3));
    succeed(&one.circuit, 2);
    assert_eq!(state(&one.circuit), State::Closed);
    one.end().await;
    let one = Instance::with(&store, "a", Sharing::Advise, config()).await;
    assert_eq!(state(&one.circuit), State::Closed, "and so does a closed one");
}

// C1: 3 failures, a restart, 2 more: open at 5.
#[tokio::test(start_paused = true)]
async fn failures_below_the_threshold_survive_a_restart() {
    let store = memory();
    let one = start(&store).await;
    fail(&one.circuit, 3);
    one.end().await;
    let one = start(&store).await;
    fail(&one.circuit, 2);
    assert_eq!(state(&one.circuit), State::Open);
}

// C2
#[tokio::test(start_paused = true)]
async fn a_circuit_is_saved_on_every_transition_and_changed_counts() {
    let store = memory();
    let one = start(&store).await;
    let stored = async || record(&store, "payments").await.unwrap();
    fail(&one.circuit, 1);
    pass(secs(3)).await;
    assert!((stored().await.failure_count - 1.0).abs() < 1e-9, "counts within a few seconds");
    fail(&one.circuit, 4);
    pass(millis(5)).await;
    assert_eq!(stored().await.state, State::Open, "transitions at once");
    pass(secs(6)).await;
    drop(one.circuit.try_acquire());
    pass(millis(5)).await;
    assert_eq!(stored().await.state, State::HalfOpen);
    succeed(&one.circuit, 3);
    pass(millis(5)).await;
    let record = stored().await;
    assert_eq!((record.state, record.opened_at), (State::Closed, None));
}

// C3
#[tokio::test(start_paused = true)]
async fn a_circuit_is_loaded_at_or_before_its_first_use() {
    let store = memory();
    let one = start(&store).await;
    fail(&one.circuit, 5);
    one.end().await;
    let lazily = builder(&store, "a").build().unwrap();
    lazily.start().unwrap();
    let circuit = lazily.circuit(settings("payments").build().unwrap()).unwrap();
    pass(millis(5)).await;
    assert_eq!(state(&circuit), State::Open, "nobody asked for it");
    let explicitly = builder(&store, "b").build().unwrap();
    let circuit = explicitly.circuit(settings("payments").build().unwrap()).unwrap();
    assert!(explicitly.restore(secs(1)).await.unwrap().is_complete());
    assert_eq!(state(&circuit), State::Open);
}

// C4; the log line is in `telemetry`.
#[tokio::test(start_paused = true)]
async fn all_circuits_are_initialised_at_start_and_the_report_says_from_where() {
    let store = memory();
    let one = start(&store).await;
    let orders = one.registry.circuit(settings("orders").build().unwrap()).unwrap();
    fail(&orders, 5);
    fail(&one.circuit, 2);
    one.end().await;
    let registry = builder(&store, "a").build().unwrap();
    for name in ["orders", "payments", "new"] {
        drop(registry.circuit(settings(name).build().unwrap()).unwrap());
    }
    let report = registry.restore(secs(1)).await.unwrap();
    for name in ["orders", "payments"] {
        let restored = &report.circuits[name];
        assert!(
            matches!(restored, Restored::From { store: "memory", whose: Recovered::Own, .. }),
            "{name}: {restored:?}"
        );
    }
    assert_eq!(report.circuits["new"], Restored::Absent);
    assert_eq!(report.to_string(), "2 restored: 1 open, 1 closed; 1 more: the store has no record of it yet");
}

// C5: the calls take no virtual time; see `waits` for every state.
#[tokio::test(start_paused = true)]
async fn a_failing_or_hanging_store_fails_no_call_and_circuits_go_on() {
    for fault in [DOWN, Fault::Hang, Fault::LoseReply] {
        let store = faulty();
        let one = start(&store).await;
        store.faults().set(Operation::ALL, fault);
        full_circle(&one.circuit).await;
        store.faults().heal();
        pass(secs(60)).await;
        assert_eq!(record(&store, "payments").await.unwrap().total_failures, 5, "{fault:?}: and it is made good");
    }
}

/// Closed, open, half-open, closed.
async fn full_circle(circuit: &Circuit) {
    fail(circuit, 5);
    assert_eq!(state(circuit), State::Open);
    assert!(circuit.try_acquire().is_err());
    pass(millis(5_100)).await;
    succeed(circuit, 3);
    assert_eq!(state(circuit), State::Closed);
}

// C6; `outage` in `coordinator` and `garbage` in `record` have every kind of it.
#[tokio::test(start_paused = true)]
async fn corrupt_data_and_no_data_are_a_closed_circuit_and_no_error() {
    for bytes in [None, Some("{\"state\":\"ajar\"}"), Some("\u{0}")] {
        let store = memory();
        if let Some(bytes) = bytes {
            let write = tower_circuit_breaker::store::Write {
                name: "payments".to_owned(),
                expected: None,
                bytes: bytes.as_bytes().to_vec(),
                ttl: None,
                hint: Hint::Any,
            };
            store.compare_and_set(&write).await.unwrap();
        }
        let one = start(&store).await;
        let restored = &one.registry.restore(secs(1)).await.unwrap().circuits["payments"];
        assert_eq!(*restored, if bytes.is_some() { Restored::Corrupt } else { Restored::Absent });
        full_circle(&one.circuit).await;
    }
}

// C7
#[tokio::test(start_paused = true)]
async fn the_application_starts_while_the_store_is_down_and_says_why() {
    for fault in [DOWN, Fault::Hang] {
        let store = faulty();
        store.faults().set(Operation::ALL, fault);
        let registry = builder(&store, "a").build().unwrap();
        let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
        let report = registry.restore(secs(3)).await.unwrap();
        assert!(!report.is_complete() && report.error.is_some(), "{report}");
        full_circle(&circuit).await;
    }
}

// C9
#[tokio::test(start_paused = true)]
async fn the_history_of_transitions_is_kept_and_can_be_read() {
    let store = memory();
    let one = start(&store).await;
    full_circle(&one.circuit).await;
    one.circuit.trip(&alice(), None);
    one.end().await;
    let rows = store.audit(&AuditFilter::new().service("payments")).await.unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.user.as_deref())).collect();
    assert_eq!(told, [("opened", None), ("half_opened", None), ("closed", None), ("trip", Some("alice"))]);
    assert!(rows.iter().all(|row| !row.reason.is_empty() && row.instance == "a"));
    assert!(rows.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
}

// C10: save, load and delete by name, asynchronously, for any store.
#[tokio::test(start_paused = true)]
async fn a_store_saves_loads_and_deletes_by_name() {
    async fn trial(store: &impl Store) {
        let names = ["payments".to_owned()];
        let write = tower_circuit_breaker::store::Write {
            name: names[0].clone(),
            expected: None,
            bytes: b"{}".to_vec(),
            ttl: None,
            hint: Hint::Any,
        };
        store.compare_and_set(&write).await.unwrap();
        let loaded = store.load_many(&names).await.unwrap().entries.remove(0).unwrap();
        assert!(store.delete("payments", &loaded.etag).await.unwrap());
        assert_eq!(store.load_many(&names).await.unwrap().entries, [None]);
    }
    trial(&memory()).await;
}

// D4: 1 to 5 a minute, and one more for the first.
#[tokio::test(start_paused = true)]
async fn a_failing_circuit_writes_a_few_times_a_minute_at_any_load() {
    let store = faulty();
    let one = start(&store).await;
    for _ in 0..10 * 60 * 20 {
        fail(&one.circuit, 1);
        succeed(&one.circuit, 3);
        pass(millis(50)).await;
    }
    let writes = store.faults().operations(Operation::CompareAndSet);
    assert!((33..=51).contains(&writes), "{writes} writes in ten minutes");
}

// G4
#[tokio::test(start_paused = true)]
async fn no_file_is_made_where_none_is_configured() {
    // A folder of an earlier run may be there; then nothing may be added to it.
    let files = || {
        let folders = [".", "data"].into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let mut names: Vec<_> = folders.flatten().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = files();
    let registry = Registry::builder().build().unwrap();
    let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
    registry.start().unwrap();
    full_circle(&circuit).await;
    assert!(registry.shutdown(secs(1)).await.is_complete());
    assert_eq!(files(), before);
}

// B7
#[tokio::test(start_paused = true)]
async fn without_a_store_everything_behaves_the_same() {
    async fn story(registry: &Registry) -> Vec<String> {
        let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
        drop(registry.restore(Duration::ZERO).await.unwrap());
        full_circle(&circuit).await;
        circuit.trip(&alice(), Some(secs(10)));
        pass(secs(11)).await;
        drop(circuit.try_acquire());
        circuit.reset(&alice(), To::Closed);
        let edge = |edge: &tower_circuit_breaker::state::Transition| format!("{} {}", edge.to, edge.reason);
        circuit.status().transitions.iter().map(edge).collect()
    }
    let without = Registry::new();
    let plain = story(&without).await;
    assert!(plain.len() >= 6, "{plain:?}");
    assert!(without.store_status().is_none());
    let store: FaultyStore<MemoryStore> = faulty();
    assert_eq!(story(&builder(&store, "a").build().unwrap()).await, plain);
    store.faults().set(Operation::ALL, DOWN);
    assert_eq!(story(&builder(&store, "b").build().unwrap()).await, plain);
}
