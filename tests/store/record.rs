//! What records mean, in any order and with anything in them.

mod commands;
mod fleet;
mod fleet_model;
mod garbage;
mod presence;
mod size;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_circuit_breaker::record::{CircuitRecord, Command, Effect, FleetCommand, Timestamp, apply, join};
use tower_circuit_breaker::state::Generation;

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
    let counts = (number(), state(), word(), 0u32..3, any::<f64>(), number());
    (counts, option::of(vote()), option::of(lease())).prop_map(
        |((sequence, state, incarnation, attempt, later, failures), vote, lease)| {
            let run = f64::from(attempt) / 3.0;
            let mut entry = json!({"sequence": sequence, "state": state, "incarnation": incarnation, "attempt": attempt,
                "run": run, "score": run, "later": later, "total_failures": failures, "updated_at": failures});
            for (name, part) in [("vote", vote), ("lease", lease)] {
                if let Some(part) = part {
                    entry[name] = part;
                }
            }
            entry
        },
    )
}

/// The end of a vote or a lease, which can be impossible.
fn end() -> impl Strategy<Value = u64> {
    prop_oneof![number(), Just(1_790_000_005_000), Just(u64::MAX)]
}

fn vote() -> impl Strategy<Value = Value> {
    (number(), end()).prop_map(|(on, until)| json!({"on": on, "until": until, "later": until}))
}

fn lease() -> impl Strategy<Value = Value> {
    let probes = || prop_oneof![0u32..3, Just(u32::MAX)];
    (number(), option::of(end()), (probes(), probes()), option::of(end()), any::<bool>()).prop_map(
        |(round, until, (passed, failed), failed_at, overdue)| {
            json!({"round": round, "until": until, "passed": passed, "failed": failed, "failed_at": failed_at,
                "overdue": overdue})
        },
    )
}

fn fleet() -> impl Strategy<Value = Value> {
    let ends = (number(), option::of(end()), option::of(end()));
    let votes = (0u32..2, option::of(0u32..2), any::<bool>());
    (state(), number(), ends, votes, word(), any::<f64>()).prop_map(
        |(state, generation, (since, until, open_ms), (attempt, votes, merged), reason, later)| {
            json!({"state": state, "generation": generation, "since": since, "until": until, "open_ms": open_ms,
                "attempt": attempt, "votes": votes, "needed": votes, "merged": merged, "reason": reason,
                "instance": reason, "later": later})
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
        (until, attempts, version, updated) in (option::of(number()), 0u32..2, 0u32..3, number()),
        operator in option::of(operated()),
        fleet in option::of(fleet()),
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
        if let Some(fleet) = fleet {
            value["fleet"] = fleet;
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

    #[test]
    fn every_command_to_a_fleet_leaves_a_newer_record_that_can_be_read(
        record in record(), id in "[a-d]", on in number(), after in number(), follows in any::<bool>(),
        change in fleet::change(), now in end(),
    ) {
        let now = Timestamp::from_millis(now);
        // The load at this time drops old entries, and refuses numbers of the far future.
        let Ok(before) = CircuitRecord::decode("payments", &record.encode().unwrap(), now) else { return Ok(()) };
        let mut after_it = before.clone();
        let (on, incarnation) = (Generation::new(on), "start".to_owned());
        let command = FleetCommand { on, after, instance: id.clone(), incarnation, follows, change };
        let effect = apply(&mut after_it, &Command::Fleet(command.clone()), now);
        if effect == Effect::Applied {
            let bytes = after_it.encode().unwrap();
            prop_assert_eq!(&CircuitRecord::decode("payments", &bytes, now).unwrap(), &after_it);
            prop_assert_eq!(&join(&before, &after_it), &after_it, "a late copy of the earlier record changes nothing");
        } else {
            prop_assert_eq!(&after_it, &before);
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
