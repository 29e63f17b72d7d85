//! What records mean, in any order and with anything in them.

mod commands;
mod garbage;
mod presence;
mod size;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_circuit_breaker::record::{CircuitRecord, Timestamp, join};

/// The time of the store.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

pub(super) fn read(value: &Value) -> CircuitRecord {
    CircuitRecord::decode("payments", value.to_string().as_bytes(), NOW).unwrap()
}

/// Few values, so that there are ties; some are later than everything else.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, Just(1_790_000_000_000)]
}

fn state() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("closed"), Just("open"), Just("half_open")]
}

fn word() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just("a"), Just("b")]
}

fn entry() -> impl Strategy<Value = Value> {
    (number(), state(), word(), 0u32..3, any::<f64>(), number()).prop_map(
        |(sequence, state, incarnation, attempt, later, failures)| {
            let run = f64::from(attempt) / 3.0;
            json!({"sequence": sequence, "state": state, "incarnation": incarnation, "attempt": attempt, "run": run,
                "later": later, "total_failures": failures})
        },
    )
}

fn operated() -> impl Strategy<Value = Value> {
    (number(), word(), word(), number()).prop_map(|(sequence, user, later, until)| {
        json!({"sequence": sequence, "act": "trip", "mode": "forced_open", "user": user, "until": until, "later": later})
    })
}

prop_compose! {
    fn record()(
        (generation, state, reason, changed) in (number(), state(), word(), number()),
        (until, attempts, version, updated) in (proptest::option::of(number()), 0u32..2, 0u32..3, number()),
        operator in proptest::option::of(operated()),
        few in btree_map("[a-c]", entry(), 0..3),
        many in vec(entry(), 0..120),
        later in any::<f64>(),
    ) -> CircuitRecord {
        let many = many.into_iter().enumerate().map(|(n, entry)| (format!("node-{n}"), entry));
        let instances: serde_json::Map<_, _> = few.into_iter().chain(many).collect();
        let mut value = json!({"generation": generation, "state": state, "reason": reason, "until": until,
            "last_state_change": changed, "half_open_attempts": attempts, "version": version, "updated_at": updated,
            "instances": instances, "later": [later, {"deep": null}]});
        if let Some(operator) = operator {
            value["operator"] = operator;
        }
        read(&value)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn joins_are_independent_of_order_and_repetition(a in record(), b in record(), c in record()) {
        let ab = join(&a, &b);
        prop_assert_eq!(&ab, &join(&b, &a));
        prop_assert_eq!(join(&ab, &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(&join(&ab, &ab), &ab);
        prop_assert_eq!(&join(&ab, &a), &ab);
        prop_assert!(ab.instances.len() <= CircuitRecord::MAX_INSTANCES);
    }

    #[test]
    fn a_written_record_is_read_back_unchanged(a in record()) {
        // Else two copies never agree, and each instance writes its own for ever.
        if let Ok(bytes) = a.encode() {
            prop_assert_eq!(CircuitRecord::decode("payments", &bytes, NOW).unwrap(), a);
        }
    }
}

#[test]
fn of_equal_numbers_the_safer_state_is_kept() {
    let of = |state: &str| read(&json!({"state": state, "generation": 7}));
    let states = ["closed", "half_open", "open"].map(of);
    for (less, more) in [(0, 1), (1, 2), (0, 2)] {
        assert_eq!(join(&states[less], &states[more]).state, states[more].state);
    }
    let manual = read(&json!({"state": "open", "generation": 7}));
    let timed = read(&json!({"state": "open", "generation": 7, "until": 1_790_000_009_000_u64}));
    assert_eq!(join(&timed, &manual).until, None, "an opening without an end is the longest");
}

#[test]
fn a_record_keeps_the_hundred_latest_writers() {
    let instances: serde_json::Map<_, _> =
        (0..106).map(|n| (format!("node-{n:03}"), json!({"sequence": n, "state": "closed"}))).collect();
    let record = read(&json!({"state": "closed", "instances": instances}));
    assert_eq!((record.instances.len(), CircuitRecord::MAX_INSTANCES), (100, 100));
    assert!(!record.instances.contains_key("node-005") && record.instances.contains_key("node-006"));
}
