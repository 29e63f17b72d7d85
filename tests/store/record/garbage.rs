//! What a store may hold that nobody of ours wrote.

use proptest::prelude::*;
use std::time::Duration;

use serde_json::{Value, json};
use tower_circuit_breaker::record::{CircuitRecord, Command, Effect, InstanceEntry, OperatorCommand, apply, join};
use tower_circuit_breaker::state::Act;
use tower_circuit_breaker::{By, State};

use super::{NOW, read};

fn decode(bytes: &[u8]) -> Result<CircuitRecord, String> {
    CircuitRecord::decode("payments", bytes, NOW).map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(decode(&bytes));
    }

    #[test]
    fn no_change_of_a_good_record_makes_decoding_panic(at in 0usize..2000, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(record) = decode(&bytes) {
            prop_assert!(decode(&record.encode().unwrap()).is_ok());
        }
    }
}

#[test]
fn the_error_of_a_damaged_record_is_one_short_line() {
    let long = "y".repeat(45_000);
    for bytes in [
        format!(r#"{{"state":"{long}"}}"#),
        format!(r#"{{"state":"open","service":"{long}"}}"#),
        format!(r#"{{"state":"open","mode":"a\u202e\nb","generation":"{long}"}}"#),
        format!(r#"{{"state":"open","operator":"{long}"}}"#),
    ] {
        let error = decode(bytes.as_bytes()).unwrap_err();
        assert!(error.len() < 1_000 && !error.contains(['\n', '\u{202e}']), "{} bytes", error.len());
    }
}

#[test]
fn no_text_of_a_record_has_a_character_that_forges() {
    for c in ['\n', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{2800}', '\u{3164}', '\u{fe0f}', '\u{e0041}'] {
        let text = format!("a{c}b");
        let value = json!({
            "state": "open", "reason": text, "instance": text,
            "operator": {"sequence": 1, "act": "trip", "mode": "forced_open", "user": text, "reason": text},
            "instances": {
                text.clone(): {"sequence": 1, "state": "open"},
                "b": {"sequence": 1, "state": "open", "opening": {"reason": text, "sequence": 1}},
            },
        });
        let record = read(&value);
        let shown = format!("{record:?}");
        assert!(!record.instances.contains_key(&text) && record.instances.len() == 1, "{shown}");
        let operator = record.operator.unwrap();
        let opened = record.instances["b"].opening().map(|opening| opening.reason.clone());
        for text in [record.reason, record.instance, operator.user, operator.reason, opened.unwrap_or_default()] {
            assert!(text.is_empty() || text == "a b", "{text:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_record_are_corrupt_with_a_reason() {
    let nested = format!("{{\"state\":\"open\",\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let long = format!("{{\"state\":\"open\",\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let cases: [(&str, &str); 13] = [
        ("", "EOF"),
        ("null", "invalid type"),
        ("[]", "invalid"),
        ("{}", "missing field `state`"),
        (r#"{"state":"ajar"}"#, "`ajar` is unknown, allowed are closed, open, half_open"),
        (r#"{"state":7}"#, "invalid type"),
        (r#"{"state":"open","generation":-1}"#, "invalid value"),
        (r#"{"state":"open","generation":1e400}"#, "number out of range"),
        (r#"{"state":"open","generation":NaN}"#, "expected"),
        (r#"{"state":"open","generation":18446744073709551615}"#, "has generation 18446744073709551615"),
        (r#"{"state":"open","service":"orders"}"#, "is of the service `orders`"),
        (&nested, "recursion limit"),
        (&long, "has 1048"),
    ];
    for (bytes, expected) in cases {
        let error = decode(bytes.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// The largest record of each kind that can be read: with unknown fields everywhere, and with entries of foreign ids.
fn largest() -> Vec<Vec<u8>> {
    let pad = |value: Value, at: &str| {
        let (mut value, length) = (value.clone(), value.to_string().len());
        *value.pointer_mut(at).unwrap() = "p".repeat(65_536 - length).into();
        let bytes = value.to_string().into_bytes();
        assert_eq!(bytes.len(), 65_536);
        bytes
    };
    let entry = |extra: Value| json!({"sequence": 1, "state": "open", "x": extra});
    let act = json!({"sequence": 1, "act": "trip", "mode": "forced_open", "user": "ana", "reason": "", "x": ""});
    let many: serde_json::Map<_, _> = (0..64)
        .map(|n| {
            let open = json!({"sequence": n, "state": "half_open", "mode": "forced_open", "until": u64::MAX,
                "open_ms": u64::MAX, "left_closed_at": u64::MAX, "attempt": u32::MAX, "total_failures": u64::MAX,
                "total_successes": u64::MAX, "last_failure_at": u64::MAX, "updated_at": u64::MAX, "acts": u64::MAX,
                "calls": u64::MAX, "slow": u64::MAX, "incarnation": "\"".repeat(64)});
            (format!("{n:02}{}", "\"".repeat(190)), open)
        })
        .collect();
    let small: serde_json::Map<_, _> = (0..600).map(|n| (format!("n{n}"), json!(n))).collect();
    vec![
        pad(json!({"state": "closed", "x": ""}), "/x"),
        pad(json!({"state": "closed", "small": small, "x": ""}), "/x"),
        pad(json!({"state": "closed", "incarnation": ""}), "/incarnation"),
        pad(json!({"state": "closed", "reason": ""}), "/reason"),
        pad(json!({"state": "closed", "operator": act}), "/operator/x"),
        pad(json!({"state": "closed", "operator": act}), "/operator/reason"),
        pad(json!({"state": "closed", "instances": {"a": entry("".into())}}), "/instances/a/x"),
        pad(json!({"state": "closed", "operator": act, "instances": many, "x": ""}), "/x"),
    ]
}

#[test]
fn a_record_that_can_be_read_can_be_written_with_an_act_and_an_entry() {
    for bytes in largest() {
        let mut record = decode(&bytes).unwrap();
        assert!(serde_json::to_string(&record.extra).unwrap().len() <= CircuitRecord::MAX_EXTRA_BYTES + 2);
        for act in 0..10_u64 {
            let by = By::new(&"\"".repeat(200), &"\\".repeat(500)).unwrap();
            let command = OperatorCommand {
                id: format!("{act}{}", "i".repeat(60)),
                replaced: Vec::new(),
                act: Act::Trip,
                to: State::HalfOpen,
                hold: None,
                by,
                age: Duration::ZERO,
                on: record.operator.as_ref().map_or(0, |operated| operated.sequence),
                after: 0,
                instance: "\"".repeat(100),
                incarnation: "0".repeat(32),
                era: u64::MAX,
                in_fleet: false,
            };
            assert_eq!(apply(&mut record, &Command::Operated(command), NOW), Effect::Applied);
            let mut entry = InstanceEntry::closed(&"0".repeat(32));
            (entry.sequence, entry.state) = (NOW.as_millis() + act, State::Open);
            let id = format!("{act}{}", "\"".repeat(99));
            assert_eq!(apply(&mut record, &Command::Evidence(id.clone(), entry), NOW), Effect::Applied);
            let written = record.encode().unwrap();
            assert_eq!(decode(&written).as_ref(), Ok(&record), "else each instance writes its own copy for ever");
            assert!(record.instances.contains_key(&id), "the newest entry stays");
        }
        let joined = join(&decode(&bytes).unwrap(), &record);
        assert_eq!(decode(&joined.encode().unwrap()), Ok(joined));
    }
}

#[test]
fn unknown_fields_are_kept_up_to_a_bound_for_all_parts() {
    let part = |n: usize| json!({"sequence": n, "state": "closed", "later": "l".repeat(1_000)});
    let instances: serde_json::Map<_, _> = (0..30).map(|n| (format!("{n:02}"), part(n))).collect();
    let record = read(&json!({"state": "closed", "later": {"a": [1, 2]}, "instances": instances}));
    let kept = record.instances.values().filter(|entry| entry.extra.contains_key("later")).count();
    assert_eq!((record.extra["later"].clone(), record.instances.len(), kept), (json!({"a": [1, 2]}), 30, 16));
}

#[test]
fn missing_fields_have_their_initial_values() {
    let record = decode(br#"{"state":"open"}"#).unwrap();
    let mut expected = CircuitRecord::unknown("payments");
    expected.state = State::Open;
    assert_eq!(record, expected);
    let text = String::from_utf8(record.encode().unwrap()).unwrap();
    assert!(text.contains("\"failure_count\":0.0"), "{text}");
}

#[test]
fn the_sum_of_impossible_weights_can_be_read_again() {
    let entry = json!({"sequence": 1, "state": "closed", "run": 1.7e308, "score": -1.0});
    let record = read(&json!({"state": "closed", "instances": {"a": entry, "b": entry}}));
    assert!(record.failure_count.is_finite());
    assert_eq!(decode(&record.encode().unwrap()), Ok(record));
}

#[test]
fn texts_cannot_forge_a_line() {
    let record = read(&json!({"state": "open", "reason": "a\nb\u{2028}c", "operator":
        {"sequence": 1, "act": "trip", "mode": "forced_open", "user": "x\ry", "reason": "z".repeat(900)}}));
    let operated = record.operator.unwrap();
    assert_eq!((record.reason.as_str(), operated.user.as_str(), operated.reason.len()), ("a b c", "x y", 500));
}

#[test]
fn a_record_of_a_later_version_is_read_partly_and_never_written() {
    let read = decode(br#"{"version":2,"state":"open","later":1}"#).unwrap();
    assert_eq!((read.state, read.is_writable()), (State::Open, false));
    let unreadable = decode(br#"{"version":2,"state":"ajar","generation":"x"}"#).unwrap();
    assert_eq!((unreadable.state, unreadable.is_writable()), (State::Closed, false));
    assert!(decode(br#"{"version":1,"state":"ajar"}"#).is_err());
}

/// A record of version 1 with all fields, as earlier releases wrote it. The line breaks are added.
pub(super) const GOLDEN: &str = include_str!("golden-1.json");

/// The same record, as this release writes it and as `redis-cli GET circuit_breaker:payments:state` shows it. An entry
/// lacks the fields with default values. The releases that wrote all fields read both files as equal records.
const SHORT: &str = include_str!("golden-2.json");

#[test]
fn a_record_of_version_1_is_read_as_ever_and_written_without_defaults() {
    let short: Value = serde_json::from_str(SHORT).unwrap();
    let record = decode(GOLDEN.as_bytes()).unwrap();
    assert_eq!(decode(SHORT.as_bytes()).as_ref(), Ok(&record));
    let written: Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
    assert_eq!(written, short, "no field is renamed, lost or added without a new golden file");
    let text = String::from_utf8(record.encode().unwrap()).unwrap();
    assert!(text.is_ascii() && !text.contains('\\'), "a person can read it in redis-cli: {text}");
}

#[test]
fn a_record_names_the_counts_that_people_read_also_at_zero() {
    let written: Value = serde_json::from_slice(&CircuitRecord::unknown("payments").encode().unwrap()).unwrap();
    let fields = "version service state failure_count success_count opened_at half_open_attempts total_failures \
        total_successes last_failure_at last_state_change updated_at generation reason";
    let expected: Vec<_> = fields.split_whitespace().collect();
    let names: Vec<_> = written.as_object().unwrap().keys().collect();
    assert!(expected.iter().all(|field| written.get(field).is_some()) && names.len() == expected.len(), "{names:?}");
}
