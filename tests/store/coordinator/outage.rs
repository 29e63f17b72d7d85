//! What a store costs that is down, half down, or wrong.

use tower_circuit_breaker::State;
use tower_circuit_breaker::coordinator::{Recovered, Restored, Sharing};
use tower_circuit_breaker::store::{Fault, Operation, Store, StoreErrorKind};

use crate::lines::Lines;
use crate::rig::{
    DOWN, Instance, alice, audited, builder, fail, faulty, memory, millis, pass, put, record, secs, settings, state,
    succeed,
};

/// Ten minutes of that fault; returns how often the store was asked, and the lines about it.
async fn ten_minutes(operations: &[Operation], fault: Fault) -> (u64, Vec<String>) {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    let lines = Lines::collect();
    store.faults().set(operations, fault);
    fail(&one.circuit, 5);
    let before = store.faults().total();
    pass(secs(600)).await;
    let lines = lines.with("circuit breaker store");
    store.faults().heal();
    pass(secs(60)).await;
    assert_eq!(record(&store, "payments").await.unwrap().total_failures, 5, "it is made good");
    assert_eq!(audited(&store).await, ["opened a"]);
    (store.faults().total() - before, lines)
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once_a_minute_and_polled_less_often() {
    let (asked, lines) = ten_minutes(Operation::ALL, DOWN).await;
    assert!((6..=11).contains(&lines.len()), "{lines:#?}");
    assert!(asked < 200, "{asked} operations");
}

#[tokio::test(start_paused = true)]
async fn failing_writes_cause_few_retries_and_few_log_lines() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Refused, StoreErrorKind::TimedOut] {
        let (asked, lines) = ten_minutes(&[Operation::CompareAndSet], Fault::Fail(kind)).await;
        // Three hundred are polls.
        assert!(asked < 600, "{kind:?}: {asked} operations");
        assert!(lines.len() <= 22, "{kind:?}: {} lines: {lines:#?}", lines.len());
    }
}

#[tokio::test(start_paused = true)]
async fn failing_audits_cause_few_retries_and_few_log_lines() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Refused] {
        let (asked, lines) = ten_minutes(&[Operation::AppendAudit], Fault::Fail(kind)).await;
        assert!(asked < 600, "{kind:?}: {asked} operations");
        assert!(lines.len() <= 22, "{kind:?}: {} lines: {lines:#?}", lines.len());
    }
}

#[test]
fn a_store_that_hangs_does_not_make_the_task_spin() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let store = faulty();
        let one = Instance::start(&store, "a", Sharing::Advise).await;
        store.faults().set(Operation::ALL, Fault::Hang);
        fail(&one.circuit, 5);
        let metrics = tokio::runtime::Handle::current().metrics();
        let before = metrics.worker_park_count(0);
        pass(secs(600)).await;
        // Once a second it looks at counts, and now and then it tries.
        let woken = metrics.worker_park_count(0) - before;
        // About five times a second. A task that spins would wake thousands of times a second.
        assert!(woken < 6_000, "woken {woken} times in ten minutes");
    });
}

#[tokio::test(start_paused = true)]
async fn a_late_store_restores_late_unless_this_instance_has_moved() {
    for moved in [false, true] {
        let store = faulty();
        let before = Instance::start(&store, "a", Sharing::Advise).await;
        before.circuit.trip(&alice(), None);
        pass(secs(1)).await;
        before.circuit.reset(&alice(), tower_circuit_breaker::circuit::To::HalfOpen);
        before.end().await;
        store.faults().set(Operation::ALL, DOWN);
        let registry = builder(&store, "a").build().unwrap();
        let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
        assert!(!registry.restore(secs(1)).await.unwrap().is_complete());
        if moved {
            fail(&circuit, 5);
        }
        pass(secs(60)).await;
        store.faults().heal();
        pass(secs(40)).await;
        let restored = &registry.restore(secs(1)).await.unwrap().circuits["payments"];
        if moved {
            assert_eq!(*restored, Restored::Outrun);
            assert_eq!(state(&circuit), State::Open, "an old reset does not undo what happened since");
        } else {
            assert!(matches!(restored, Restored::From { whose: Recovered::Own, .. }), "{restored:?}");
            assert_eq!(state(&circuit), State::HalfOpen);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_is_one_warning_then_absent_then_replaced() {
    for bytes in [&b"{\"state\":\"open"[..], b"{}", b"", b"\xff\xfe", b"{\"state\":\"ajar\"}"] {
        let store = memory();
        put(&store, "payments", bytes).await;
        let lines = Lines::collect();
        let registry = builder(&store, "a").build().unwrap();
        let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
        let report = registry.restore(secs(1)).await.unwrap();
        assert_eq!(report.circuits["payments"], Restored::Corrupt);
        pass(secs(60)).await;
        assert_eq!(lines.with("is treated as absent").len(), 1, "one warning, not one a poll");
        assert_eq!(state(&circuit), State::Closed);
        fail(&circuit, 5);
        pass(secs(1)).await;
        assert_eq!(record(&store, "payments").await.unwrap().state, State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_is_never_overwritten_and_logged_once() {
    for later in [&br#"{"version":2,"state":"open","until":9999999999999}"#[..], br#"{"version":2,"state":"ajar"}"#] {
        let store = memory();
        put(&store, "payments", later).await;
        let lines = Lines::collect();
        let registry = builder(&store, "a").build().unwrap();
        let circuit = registry.circuit(settings("payments").build().unwrap()).unwrap();
        assert!(registry.restore(secs(1)).await.unwrap().is_complete());
        circuit.reset(&alice(), tower_circuit_breaker::circuit::To::Closed);
        fail(&circuit, 5);
        pass(secs(300)).await;
        let found = store.load_many(&["payments".to_owned()]).await.unwrap().entries.remove(0).unwrap();
        assert_eq!(found.bytes, later);
        assert_eq!(lines.with("later version").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn impossible_numbers_in_a_record_break_no_call() {
    let garbage = r#"{"version":1,"state":"closed","generation":0,"instances":{"a":{"sequence":1,"state":"closed",
        "run":1e308,"calls":18446744073709551615,"score":1.7e308,"slow":18446744073709551615,"attempt":4294967295,
        "updated_at":18446744073709551615,"total_failures":18446744073709551615,"total_successes":18446744073709551615},
        "b":{"sequence":1,"state":"open","run":1e308,"until":18446744073709551615,"open_ms":18446744073709551615,
        "probe_successes":4294967295}}}"#;
    let store = memory();
    put(&store, "payments", garbage.as_bytes()).await;
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    fail(&one.circuit, 1);
    pass(secs(30)).await;
    if let Ok(permit) = one.circuit.try_acquire() {
        permit.success();
    }
    pass(secs(30)).await;
    let read = record(&store, "payments").await.unwrap();
    assert!(read.failure_count.is_finite(), "what is written can be read");
    assert_eq!(one.registry.store_status().unwrap().deaths, 0);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_well_writes_nothing() {
    let store = faulty();
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    for _ in 0..600 {
        succeed(&one.circuit, 3);
        pass(secs(1)).await;
    }
    assert_eq!(store.faults().operations(Operation::CompareAndSet), 0);
    // Once a minute, by a fifth more or less.
    let polls = store.faults().operations(Operation::Load);
    assert!((8..=15).contains(&polls), "{polls} polls");
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_an_open_circuit_is_polled_about_every_two_seconds() {
    let store = faulty();
    store.faults().set(&[Operation::Watch], DOWN);
    let one = Instance::start(&store, "a", Sharing::Advise).await;
    one.circuit.trip(&alice(), None);
    let mut last = u64::MAX;
    while last != store.faults().operations(Operation::Load) - 1 {
        last = store.faults().operations(Operation::Load);
        pass(millis(1)).await;
    }
    last += 1;
    let mut gap = 0;
    for _ in 0..2_000 {
        pass(millis(50)).await;
        gap += 50;
        let loads = store.faults().operations(Operation::Load);
        if loads > last {
            assert!((1_550..=2_450).contains(&gap), "{gap} ms");
            (last, gap) = (loads, 0);
        }
    }
}
