//! The kill switch, an environment variable with the names of circuits that let every call through.
//!
//! Each new circuit reads the variable. A misspelt name has no effect, and the operator would notice the mistake only
//! when calls are still rejected. Therefore [`crate::roll_call`] reports the names that no circuit has.

use std::sync::OnceLock;

use crate::pattern::covers;
use crate::roll_call::{Call, expect, note};

/// The name of the environment variable of the kill switch.
pub(crate) const KILL_SWITCH: &str = "CIRCUIT_BREAKER_DISABLED";

/// Returns true if the variable of the kill switch names the new circuit. Also reports the name of the circuit to the
/// roll call, which finds the names that are in the variable although no circuit has them.
pub(super) fn names(circuit: &str) -> bool {
    let variable = expect_names();
    note(|| Call::Created(circuit.to_owned()));
    variable.is_some_and(|variable| named_by(&variable, circuit))
}

/// Returns the value of the variable, or `None` if the variable is not set or is not Unicode. The first call in a
/// process also registers the names in the variable, so that a name without a circuit is reported.
pub(crate) fn expect_names() -> Option<String> {
    static EXPECTED: OnceLock<()> = OnceLock::new();
    let variable = std::env::var(KILL_SWITCH).ok()?;
    let call = |name: &str| Call::Listed { name: name.to_owned(), variable: KILL_SWITCH };
    EXPECTED.get_or_init(|| expect(entries(&variable).map(call)));
    Some(variable)
}

fn named_by(variable: &str, circuit: &str) -> bool {
    entries(variable).any(|named| covers(named, circuit))
}

fn entries(variable: &str) -> impl Iterator<Item = &str> {
    variable.split(',').map(str::trim).filter(|named| !named.is_empty())
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_kill_switch_names_circuits_exactly_or_by_their_beginning() {
        for (variable, circuit) in [("orders, payments", "payments"), ("*", "payments"), ("x,host:*", "host:a")] {
            assert!(named_by(variable, circuit), "{variable}");
        }
        for (variable, circuit) in [("pay", "payments"), ("", ""), ("host:*", "hosts"), ("p*ts", "payments")] {
            assert!(!named_by(variable, circuit), "{variable}");
        }
    }
}
