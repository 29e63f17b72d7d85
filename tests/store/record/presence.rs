//! The presence of instances: which entries count, which are gone, and which leave the record.

use std::time::Duration;

use tower_circuit_breaker::State;
use tower_circuit_breaker::record::{CircuitRecord, Command, InstanceEntry, Timestamp, apply, join};

use crate::rig::secs;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const MINUTE: Duration = secs(60);
const HOUR: Duration = secs(3_600);

fn entry(state: State, open_for: Option<Duration>) -> InstanceEntry {
    let mut entry = InstanceEntry::closed("start-1");
    (entry.sequence, entry.state, entry.updated_at) = (START.as_millis(), state, START);
    entry.until = open_for.map(|open_for| START.saturating_add(open_for));
    entry
}

fn record(entry: InstanceEntry) -> CircuitRecord {
    let mut record = CircuitRecord::unknown("payments");
    let _effect = apply(&mut record, &Command::Evidence("orders-1".to_owned(), entry), START);
    record
}

fn after(time: Duration) -> Timestamp {
    START.saturating_add(time)
}

fn decoded(record: &CircuitRecord, now: Timestamp) -> CircuitRecord {
    CircuitRecord::decode("payments", &record.encode().unwrap(), now).unwrap()
}

#[test]
fn a_tripped_instance_counts_for_15_minutes_after_its_write_or_its_opening() {
    let cases = [
        (State::Open, Some(secs(5)), secs(5)),
        (State::Open, Some(HOUR), HOUR),
        (State::Open, None, Duration::ZERO),
        (State::HalfOpen, None, Duration::ZERO),
    ];
    for (state, open_for, from) in cases {
        let entry = entry(state, open_for);
        let record = record(entry.clone());
        for (time, counts) in [(14 * MINUTE, true), (15 * MINUTE, false)] {
            let now = after(from + time);
            assert_eq!(entry.is_tripped(now), counts, "{state}, {time:?}");
            assert_eq!((entry.is_gone(now), record.is_eventful(now)), (!counts, counts), "{state}, {time:?}");
        }
    }
}

#[test]
fn a_closed_instance_is_silent_and_counts_for_a_day() {
    let entry = entry(State::Closed, None);
    for (time, silent, gone) in [(14 * MINUTE, false, false), (15 * MINUTE, true, false), (24 * HOUR, false, true)] {
        assert_eq!((entry.is_silent(after(time)), entry.is_gone(after(time))), (silent, gone), "{time:?}");
    }
}

#[test]
fn an_entry_leaves_the_record_after_72_hours() {
    for (state, open_for, kept) in [
        (State::Closed, None, false),
        (State::HalfOpen, None, false),
        (State::Open, Some(secs(5)), false),
        // Only a reset ends this opening, and its instance may come back.
        (State::Open, None, true),
    ] {
        let record = record(entry(state, open_for));
        assert_eq!(decoded(&record, after(71 * HOUR)).instances.len(), 1, "{state}");
        assert_eq!(decoded(&record, after(73 * HOUR)).instances.len(), usize::from(kept), "{state}, {open_for:?}");
    }
}

#[test]
fn a_gone_instance_leaves_the_counts_of_the_present_and_stays_in_the_totals() {
    let mut gone = entry(State::Open, Some(secs(5)));
    (gone.run, gone.total_failures) = (5.0, 5);
    let mut record = record(gone);
    assert!((record.failure_count - 5.0).abs() < f64::EPSILON);
    let mut other = entry(State::Closed, None);
    (other.run, other.total_failures, other.updated_at) = (1.0, 1, after(HOUR));
    let _effect = apply(&mut record, &Command::Evidence("orders-2".to_owned(), other), after(HOUR));
    assert!((record.failure_count - 1.0).abs() < f64::EPSILON, "{}", record.failure_count);
    assert_eq!(record.total_failures, 6);
    assert_eq!(decoded(&record, after(HOUR)), record, "every copy has the same sums");
    assert_eq!(join(&record, &decoded(&record, after(2 * HOUR))), record);
}

#[test]
fn the_mark_of_a_stop_belongs_to_one_entry_only() {
    let mut stopped = entry(State::Open, Some(HOUR));
    stopped.stopped = Some(stopped.sequence);
    assert!(stopped.is_stopped() && stopped.is_gone(START));
    let record = record(stopped.clone());
    assert!(decoded(&record, START).instances["orders-1"].is_stopped());
    // An older version starts again under this id, and copies the field that it does not know.
    stopped.sequence += 1;
    assert!(!stopped.is_stopped() && stopped.is_tripped(START));
}

#[test]
fn records_without_the_mark_and_without_times_can_be_read() {
    let old = r#"{"service":"payments","state":"closed","generation":7,"instances":{
        "a":{"sequence":1,"state":"open"},"b":{"sequence":2,"state":"closed","updated_at":1790000000000}}}"#;
    let record = CircuitRecord::decode("payments", old.as_bytes(), START).unwrap();
    assert!(record.instances["a"].is_gone(START), "an entry without a time was never seen");
    assert!(!record.instances["b"].is_gone(START) && !record.instances["b"].is_stopped());
}
