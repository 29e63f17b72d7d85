//! Records that no program of ours wrote.

use serde_json::{Value, json};
use tower_circuit_breaker::record::{CircuitRecord, Timestamp, join};

use super::{Dice, attack, holds, is_fit_to_show, reached};

const GOLDEN: &str = include_str!("../../store/record/golden-1.json");
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Rules: an error is one short line; a record is read back as it was written; its texts forge nothing; and the join of records
/// is commutative, associative and idempotent.
#[test]
fn mutated_records_break_no_rule() {
    let mut joined = 0;
    attack("records", 1, |dice| {
        let bytes = |dice: &mut Dice| if dice.once_in(4) { dice.mutated(GOLDEN.as_bytes()) } else { edited(dice) };
        let records: Vec<_> = (0..3).map(|_| decoded(&bytes(dice))).collect::<Result<_, _>>()?;
        let [Some(a), Some(b), Some(c)] = &records[..] else { return Ok(()) };
        joined += 1;
        let ab = join(a, b);
        holds(ab == join(b, a), || format!("the order of {a:?} and {b:?} matters"))?;
        holds(join(&ab, c) == join(a, &join(b, c)), || format!("not associative: {a:?} {b:?} {c:?}"))?;
        holds(join(&ab, a) == ab && join(&ab, &ab) == ab, || format!("not idempotent: {a:?} {b:?}"))?;
        holds(ab.instances.len() <= CircuitRecord::MAX_INSTANCES, || "too many instances".to_owned())
    });
    reached(joined > 0, "no three mutations in a row are records");
}

/// Replaces up to four values of a record, so that most results can be decoded and joined.
fn edited(dice: &mut Dice) -> Vec<u8> {
    let mut record: Value = serde_json::from_str(GOLDEN).unwrap();
    for _ in 0..=dice.below(4) {
        edit(&mut record, dice);
    }
    record.to_string().into_bytes()
}

fn edit(value: &mut Value, dice: &mut Dice) {
    let inner = match value {
        Value::Object(fields) => {
            let at = dice.below(fields.len());
            fields.values_mut().nth(at)
        }
        Value::Array(items) => {
            let at = dice.below(items.len());
            items.get_mut(at)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    match inner {
        Some(inner) if !dice.once_in(12) => edit(inner, dice),
        Some(inner) => *inner = Value::Null,
        None => {
            *value = match dice.below(5) {
                0 => json!(dice.below(4)),
                1 => json!(dice.roll() >> dice.below(64)),
                2 => json!(NOW.as_millis().wrapping_add(dice.roll() % 120_000)),
                3 => json!(dice.pick(&["open", "closed", "half_open", "trip", "reset", "forced_open"])),
                _ => json!(dice.text()),
            }
        }
    }
}

/// Decodes a record and checks the rules that it keeps alone. Returns `None` for bytes that are no record.
fn decoded(bytes: &[u8]) -> Result<Option<CircuitRecord>, String> {
    let record = match CircuitRecord::decode("payments", bytes, NOW) {
        Ok(record) => record,
        Err(error) => return is_fit_to_show(&error.to_string(), 1_000).map(|()| None),
    };
    if let Ok(written) = record.encode() {
        let read = CircuitRecord::decode("payments", &written, NOW).map_err(|error| error.to_string())?;
        holds(read == record, || format!("it is read back as {read:?}, written was {record:?}"))?;
    }
    let operator = record.operator.iter().flat_map(|operated| [&operated.user, &operated.reason]);
    let texts = record.instances.keys().chain([&record.instance, &record.reason]).chain(operator);
    for text in texts {
        is_fit_to_show(text, 500)?;
    }
    Ok(Some(record))
}
