//! What is told of persistence: log lines and metrics.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::store::{Operation, TieredStore};
use tower_circuit_breaker::{Registry, State};
use tracing::Level;

use super::start;
use crate::lines::Lines;
use crate::rig::{DOWN, Instance, fail, faulty, memory, millis, pass, secs, state};

// C4
#[tokio::test(start_paused = true)]
async fn the_log_says_from_which_store_a_circuit_was_recovered() {
    let store = memory();
    let one = start(&store).await;
    fail(&one.circuit, 5);
    one.end().await;
    let lines = Lines::collect();
    let _one = start(&store).await;
    let logged = lines.levels("circuit `payments`");
    let [(Level::INFO, line)] = &logged[..] else { panic!("one line, and no warning: {logged:#?}") };
    assert!(line.starts_with("circuit `payments` was restored from memory and is still open: open since 20"), "{line}");
}

// C5: an error at once, then one a minute, and a line when it is over.
#[tokio::test(start_paused = true)]
async fn failures_of_a_store_are_logged_at_most_once_a_minute() {
    let store = faulty();
    let one = start(&store).await;
    let lines = Lines::collect();
    store.faults().set(Operation::ALL, DOWN);
    fail(&one.circuit, 5);
    pass(millis(100)).await;
    let first = lines.levels("circuit breaker store memory failed");
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].0, Level::ERROR, "it is the durable tier");
    pass(secs(600)).await;
    let more = lines.with("circuit breaker store memory failed");
    assert!((6..=10).contains(&more.len()), "{more:#?}");
    assert!(more[0].contains("more failed before"), "{}", more[0]);
    assert_eq!(state(&one.circuit), State::Open, "it goes on in memory");
    store.faults().heal();
    pass(secs(40)).await;
    assert_eq!(lines.levels("answers again").iter().map(|(level, _)| *level).collect::<Vec<_>>(), [Level::INFO]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_reads_but_does_not_write_is_not_logged_as_answering_again() {
    let store = faulty();
    let one = start(&store).await;
    let lines = Lines::collect();
    store.faults().set(Operation::WRITES, DOWN);
    fail(&one.circuit, 5);
    pass(secs(300)).await;
    assert!(!lines.with("circuit breaker store memory failed").is_empty());
    assert_eq!(lines.with("answers again"), Vec::<String>::new(), "loads succeed, and no write does");
    store.faults().heal();
    pass(secs(40)).await;
    assert_eq!(lines.with("answers again").len(), 1);
}

// C8
#[test]
fn operations_are_counted_by_store_operation_and_result_and_measured() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = faulty();
            let one = start(&store).await;
            fail(&one.circuit, 5);
            pass(secs(1)).await;
            store.faults().set(Operation::ALL, DOWN);
            pass(secs(30)).await;
        });
    });
    let mut counted = BTreeMap::new();
    let mut measured = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        match (key.key().name(), value) {
            ("circuit_breaker_store_operations_total", DebugValue::Counter(count)) => {
                counted.insert(labels.join(","), count);
            }
            ("circuit_breaker_store_operation_duration_seconds", DebugValue::Histogram(values)) => {
                measured.insert(labels.join(","), values.len());
            }
            _ => {}
        }
    }
    for (operation, result) in
        [("load", "ok"), ("compare_and_set", "ok"), ("append_audit", "ok"), ("watch", "ok"), ("load", "unavailable")]
    {
        let labels = format!("store=memory,operation={operation},result={result}");
        assert!(counted.get(&labels).is_some_and(|count| *count > 0), "{labels} is not among {counted:?}");
        assert!(measured.contains_key(&format!("store=memory,operation={operation}")), "{measured:?}");
    }
}

#[test]
fn counters_of_a_store_begin_at_zero_for_every_operation_and_result() {
    let built = DebuggingRecorder::new();
    let registry = metrics::with_local_recorder(&built, || Registry::builder().store(memory()).build().unwrap());
    let late = DebuggingRecorder::new();
    metrics::with_local_recorder(&late, || registry.refresh_metrics());
    for (recorder, moment) in [(built, "with the registry"), (late, "at a refresh, for a recorder that comes late")] {
        let series = recorder.snapshotter().snapshot().into_vec();
        for operation in ["load", "list", "compare_and_set", "delete", "append_audit", "trim_audit", "watch"] {
            for result in ["ok", "unavailable", "timed_out", "refused", "corrupt"] {
                let expected = [("store", "memory"), ("operation", operation), ("result", result)];
                let value = series.iter().find_map(|(key, _, _, value)| {
                    let labels = key.key().labels().map(|label| (label.key(), label.value()));
                    let is_it = key.key().name() == "circuit_breaker_store_operations_total" && labels.eq(expected);
                    is_it.then_some(value)
                });
                assert_eq!(value, Some(&DebugValue::Counter(0)), "{operation} {result}, {moment}");
            }
        }
    }
}

#[test]
fn counters_of_both_tiers_begin_at_zero() {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || drop(TieredStore::new(memory(), faulty())));
    let refused = recorder.snapshotter().snapshot().into_vec().into_iter().filter(|(key, _, _, value)| {
        let is_refused = key.key().labels().any(|label| label.value() == "refused");
        is_refused && *value == DebugValue::Counter(0)
    });
    assert!(refused.count() >= 7, "a load, a list, a write..");
}

#[test]
fn the_live_instances_of_a_fleet_are_a_gauge() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let instances = || {
        let series = snapshotter.snapshot().into_vec();
        series.into_iter().find_map(|(key, _, help, value)| {
            let DebugValue::Gauge(value) = value else { return None };
            let is_it = key.key().name() == "circuit_breaker_instances";
            assert!(!is_it || key.key().labels().count() == 0 && help.is_some());
            is_it.then(|| value.into_inner())
        })
    };
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = faulty();
            let _advised = Instance::start(&store, "advised", Sharing::Advise).await;
            pass(secs(2)).await;
            assert_eq!(instances(), None, "without a fleet");
            let one = Instance::start(&store, "a", Sharing::Quorum).await;
            pass(secs(1)).await;
            assert_eq!(instances(), Some(1.0));
            let two = Instance::start(&store, "b", Sharing::Quorum).await;
            pass(secs(13)).await;
            assert_eq!(instances(), Some(2.0));
            two.end().await;
            pass(secs(13)).await;
            assert_eq!(instances(), Some(1.0));
            store.faults().set(Operation::ALL, DOWN);
            pass(secs(32)).await;
            assert!(instances().is_some_and(f64::is_nan), "unknown");
            store.faults().heal();
            pass(secs(40)).await;
            assert_eq!(instances(), Some(1.0));
            one.end().await;
            assert!(instances().is_some_and(f64::is_nan), "no task runs");
        });
    });
}
