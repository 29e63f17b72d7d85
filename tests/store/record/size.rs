//! The sizes of entries and of records with many instances.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tower_circuit_breaker::record::{CircuitRecord, Command, Effect, InstanceEntry, apply, join};

use super::{NOW, read};

const REASON: &str = "failures in a row weighed 5.0, the limit is 5.0, last a failure of kind connect: Connection refused (os error 111)";
const START: &str = "00112233445566778899aabbccddeeff";

/// Returns an entry as JSON. The numbers of instances increase from the latest writer to the earliest writer.
type Entry = fn(u64) -> Value;

/// The entry of a closed circuit after a success.
fn closed(number: u64) -> Value {
    let at = NOW.as_millis() - number;
    json!({"sequence": at, "incarnation": START, "state": "closed", "total_failures": 1_204, "total_successes": 1_848_112,
        "last_failure_at": at, "updated_at": at})
}

/// The entry of an open circuit.
fn open(number: u64) -> Value {
    let at = NOW.as_millis() - number;
    json!({"sequence": at, "incarnation": START, "state": "open", "until": at + 5_000, "open_ms": 5_000,
        "left_closed_at": at, "attempt": 1, "run": 5.0, "calls": 240, "score": 5.0, "total_failures": 1_204,
        "total_successes": 1_848_112, "last_failure_at": at, "updated_at": at,
        "opening": {"reason": REASON, "at": at, "sequence": at}})
}

/// The entry of an open circuit, with a vote for an opening of the fleet.
fn voting(number: u64) -> Value {
    let mut entry = open(number);
    entry["vote"] = json!({"on": 0, "until": NOW.as_millis() - number + 10_000});
    entry
}

/// The entry with every field at its longest value, also the fields that only a member of a fleet has.
fn longest(number: u64) -> Value {
    let at = NOW.as_millis() - number;
    json!({"sequence": at, "incarnation": START, "state": "half_open", "mode": "forced_open", "until": at,
        "open_ms": u64::MAX, "advised": true, "left_closed_at": at, "attempt": u32::MAX, "probe_successes": u32::MAX,
        "run": 1e14 / 3.0, "calls": u64::MAX, "score": 1e14 / 3.0, "slow": u64::MAX, "total_failures": u64::MAX,
        "total_successes": u64::MAX, "last_failure_at": at, "updated_at": at,
        "opening": {"reason": "r".repeat(250), "at": at, "sequence": at}, "stopped": at, "acts": at,
        "tiers": "t".repeat(60), "vote": {"on": at, "until": at},
        "lease": {"round": at, "until": at, "passed": u32::MAX, "failed": u32::MAX, "failed_at": at, "overdue": true}})
}

fn id(number: u64, length: usize) -> String {
    format!("{}{number:03}", "i".repeat(length - 3))
}

fn entry(value: Value) -> InstanceEntry {
    serde_json::from_value(value).unwrap()
}

/// The record of an open circuit with a fleet, to which the instances of these numbers have added their entries.
fn record(numbers: impl IntoIterator<Item = u64>, length: usize, of: Entry) -> CircuitRecord {
    let (at, writer) = (NOW.as_millis(), id(0, length));
    let fleet = json!({"state": "open", "generation": at, "since": at, "until": at + 5_000, "open_ms": 5_000, "attempt": 1,
        "votes": 10, "needed": 10, "reason": REASON, "instance": writer});
    let mut record = read(&json!({"service": "payments", "state": "open", "reason": REASON, "generation": at,
        "last_state_change": at, "opened_at": at, "left_closed_at": at, "until": at + 5_000, "open_ms": 5_000,
        "half_open_attempts": 1, "updated_at": at, "instance": writer, "incarnation": START, "era": 12, "fleet": fleet}));
    for number in numbers {
        assert_eq!(apply(&mut record, &Command::Evidence(id(number, length), entry(of(number))), NOW), Effect::Applied);
    }
    record
}

fn has_opening(entry: &InstanceEntry) -> bool {
    entry.opening().is_some()
}

/// The sizes in `docs/stores.md`. With all fields, the closed entry had 316 bytes and the open entry 566 bytes.
#[test]
fn entries_and_records_have_the_sizes_of_the_documents() {
    let length = |value: Value| serde_json::to_string(&entry(value)).unwrap().len();
    assert_eq!([closed, open, longest].map(|of| length(of(0))), [199, 493, 1_129]);
    let sizes = |of: Entry| [10, 40, 100].map(|count| record((0..count).rev(), 36, of).encode().unwrap().len());
    assert_eq!((sizes(closed), sizes(open)), ([3_334, 10_504, 24_846], [6_275, 22_266, 54_248]));
}

/// The record of 24 entries is the largest whose length is not counted (`SURELY_FIT` in `src/record/fit.rs`).
#[test]
fn twenty_four_entries_of_long_characters_and_numbers_can_be_written() {
    for text in ["\"".repeat(600), "🦀".repeat(600)] {
        let mut record = read(&without_entries(&text));
        let empty = record.encode().unwrap().len();
        for number in 0..24 {
            let mut value = longest(number);
            for field in ["until", "left_closed_at", "last_failure_at", "updated_at", "acts"] {
                value[field] = u64::MAX.into();
            }
            (value["since"], value["version"]) = (u64::MAX.into(), "9".repeat(20).into());
            (value["incarnation"], value["tiers"]) = (text.clone().into(), text.clone().into());
            (value["opening"]["reason"], value["opening"]["at"]) = (text.clone().into(), u64::MAX.into());
            value["vote"] = json!({"on": u64::MAX, "until": u64::MAX});
            value["lease"] = json!({"round": u64::MAX, "until": u64::MAX, "passed": u32::MAX, "failed": u32::MAX, "failed_at": u64::MAX, "overdue": true});
            let id = format!("{number:02}{}", "\"".repeat(198));
            assert_eq!(apply(&mut record, &Command::Evidence(id, entry(value)), NOW), Effect::Applied);
        }
        let whole = record.encode().unwrap().len();
        assert!(record.instances.len() == 24 && record.instances.values().all(has_opening));
        let each = (whole - empty) / 24;
        assert!(each < 2_100 && empty < 14_000, "an entry of {text:.1} has {each} bytes, the rest {empty}");
    }
}

/// A record without entries, with every field at its longest. The texts are repeated as they are.
fn without_entries(text: &str) -> Value {
    let at = NOW.as_millis();
    let ids: Vec<_> = (0..8).map(|n| format!("{n}{}", "\"".repeat(63))).collect();
    let marks: BTreeMap<_, _> = ids.iter().map(|id| (id, "\"".repeat(16))).collect();
    json!({"state": "half_open", "reason": text, "generation": at,
        "last_state_change": u64::MAX, "opened_at": u64::MAX, "left_closed_at": u64::MAX, "until": u64::MAX,
        "open_ms": u64::MAX, "half_open_attempts": u32::MAX, "updated_at": u64::MAX, "instance": text,
        "incarnation": text, "era": u64::MAX,
        "operator": {"sequence": 1, "act": "disable", "mode": "forced_open", "until": u64::MAX, "hold_ms": u64::MAX,
            "at": u64::MAX, "user": text, "reason": text, "commands": ids, "marks": marks, "incarnation": text,
            "instance": text, "instance_of": text},
        "fleet": {"state": "half_open", "generation": at, "since": u64::MAX, "until": u64::MAX,
            "open_ms": u64::MAX, "attempt": u32::MAX, "votes": u32::MAX, "needed": u32::MAX, "merged": true,
            "reason": text, "instance": text}})
}

/// A record of a hundred instances. The releases that wrote all fields have read these bytes, and kept the latest 64 entries.
const HUNDRED: &str = include_str!("golden-100.json");

#[test]
fn a_hundred_open_instances_with_the_longest_ids_keep_their_reasons() {
    let record = record((0..100).rev(), 100, voting);
    assert_eq!(record.instances.values().filter(|entry| has_opening(entry)).count(), 100);
    let fields = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(fields(&record.encode().unwrap()), fields(HUNDRED.as_bytes()));
    assert_eq!(CircuitRecord::decode("payments", HUNDRED.as_bytes(), NOW), Ok(record));
}

#[test]
fn a_record_of_the_longest_entries_keeps_the_latest_70() {
    let record = record((0..100).rev(), 100, longest);
    let bytes = record.encode().unwrap();
    assert_eq!(CircuitRecord::decode("payments", &bytes, NOW).as_ref(), Ok(&record));
    assert_eq!(record.instances.keys().cloned().collect::<Vec<_>>(), (0..70).map(|n| id(n, 100)).collect::<Vec<_>>());
    let written: Value = serde_json::from_slice(&bytes).unwrap();
    let is_whole = |entry: &Value| entry.get("vote").is_some() && entry.get("lease").is_some();
    assert!(written["instances"].as_object().unwrap().values().all(is_whole) && written["fleet"].is_object());
    assert!(!record.instances.values().any(has_opening), "reasons go before entries");
}

#[test]
fn the_reasons_of_the_earliest_writers_go_first() {
    let record = record((0..64).rev(), 100, longest);
    let (with, without): (Vec<_>, Vec<_>) = record.instances.iter().partition(|(_, entry)| has_opening(entry));
    assert_eq!((with.len(), without.len()), (18, 46));
    assert!(with.last().unwrap().0 < without.first().unwrap().0, "ids are in the order of the writers");
}

#[test]
fn a_record_that_lost_entries_for_its_length_is_left_alone() {
    // Else two instances write their copies by turns for ever.
    let (all, early, late) = (
        record((0..100).rev(), 100, longest),
        record((40..100).rev(), 100, longest),
        record((0..60).rev(), 100, longest),
    );
    for (a, b) in [(&early, &late), (&all, &early), (&all, &late), (&all, &all)] {
        assert_eq!((join(a, b), join(b, a)), (all.clone(), all.clone()));
    }
}
