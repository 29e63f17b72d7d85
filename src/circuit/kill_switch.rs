//! The kill switch: an environment variable with the names of circuits that let every call through.
//!
//! Each new circuit reads the variable. A misspelt name has no effect, and without a warning an operator would notice
//! the mistake only by the calls that are still rejected. Therefore a thread collects the names of the circuits that
//! are created in the first ten seconds, if the variable is set, and logs each name of the variable that none of these
//! circuits has.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::clock::{Clock, MonotonicClock};
use crate::nearest::nearest;
use crate::telemetry;

/// The environment variable.
pub(crate) const KILL_SWITCH: &str = "CIRCUIT_BREAKER_DISABLED";

/// Returns true if the variable names the circuit.
pub(super) fn names(circuit: &str) -> bool {
    let Ok(variable) = std::env::var(KILL_SWITCH) else { return false };
    note(&variable, circuit);
    named_by(&variable, circuit)
}

fn named_by(variable: &str, circuit: &str) -> bool {
    entries(variable).any(|named| named == circuit || named == "*")
}

fn entries(variable: &str) -> impl Iterator<Item = &str> {
    variable.split(',').map(str::trim).filter(|named| !named.is_empty())
}

/// Passes the name of a new circuit to the thread that checks the variable, and starts the thread with the first name.
fn note(variable: &str, circuit: &str) {
    static CREATED: OnceLock<Option<Sender<String>>> = OnceLock::new();
    let sender = CREATED.get_or_init(|| {
        let (sender, created) = channel();
        let variable = variable.to_owned();
        let check = move || misnamed(&variable, &collect(&created, WAIT)).iter().for_each(|line| telemetry::warn(line));
        // If the thread cannot be started, the names are not checked. The switch itself needs no thread.
        let thread = std::thread::Builder::new().name("kill switch".to_owned()).spawn(check);
        thread.is_ok().then_some(sender)
    });
    // After the check the thread has ended, and the send fails.
    if let Some(sender) = sender {
        sender.send(circuit.to_owned()).ok();
    }
}

/// Returns the names that are received in this time, up to [`MOST`].
fn collect(created: &Receiver<String>, wait: Duration) -> BTreeSet<String> {
    let clock = MonotonicClock::new();
    let (until, mut names) = (clock.now().saturating_add(wait), BTreeSet::new());
    while let Ok(name) = created.recv_timeout(until.saturating_since(clock.now())) {
        if names.len() < MOST {
            names.insert(name);
        }
    }
    names
}

/// Returns a sentence for each name of the variable that none of the circuits has.
fn misnamed(variable: &str, circuits: &BTreeSet<String>) -> Vec<String> {
    let unknown = entries(variable).filter(|named| *named != "*" && !circuits.contains(*named));
    unknown.map(|named| sentence(named, circuits)).collect()
}

fn sentence(named: &str, circuits: &BTreeSet<String>) -> String {
    let is_separator = |c: char| matches!(c, ';' | '|' | ':') || c.is_whitespace();
    let mut parts = named.split(is_separator).filter(|part| *part != named);
    let hint = if parts.any(|part| circuits.contains(part)) {
        "; commas separate names".to_owned()
    } else if let Some(meant) = nearest(named, circuits.iter().map(String::as_str)) {
        format!("; did you mean `{}`?", meant.escape_debug())
    } else if named.contains('*') {
        "; only `*` alone names several circuits, which are all".to_owned()
    } else {
        String::new()
    };
    let named: String = named.chars().take(LONGEST_SHOWN).collect();
    format!(
        "{KILL_SWITCH} names `{}`, and no circuit has been created with that name so far{hint}",
        named.escape_debug()
    )
}

/// The time after the first circuit in which the other circuits of a process should be created.
const WAIT: Duration = Duration::from_secs(10);
/// The largest number of names that are remembered, because there can be millions of keyed circuits.
const MOST: usize = 10_000;
const LONGEST_SHOWN: usize = 200;

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    fn circuits() -> BTreeSet<String> {
        ["payments", "search", "host:a.example"].map(str::to_owned).into()
    }

    #[test]
    fn the_kill_switch_names_circuits_exactly_or_all() {
        assert!(named_by("orders, payments", "payments"));
        assert!(named_by("*", "payments"));
        assert!(!named_by("pay", "payments"));
        assert!(!named_by("", ""));
    }

    #[test]
    fn names_that_a_circuit_has_are_not_reported() {
        for right in ["", "payments", "payments, search", " search ,", "*", "*,payments"] {
            assert_eq!(misnamed(right, &circuits()), [""; 0], "{right:?}");
        }
    }

    #[test]
    fn a_name_that_no_circuit_has_is_reported_with_the_meant_one() {
        for (wrong, hint) in [
            ("Payments", "`Payments`, and no circuit has been created with that name so far; did you mean `payments`?"),
            ("payment", "did you mean `payments`?"),
            (
                "payments;search",
                "`payments;search`, and no circuit has been created with that name so far; commas separate names",
            ),
            ("payments search", "commas separate names"),
            ("payments|x", "commas separate names"),
            ("host:*", "only `*` alone names several circuits"),
            ("billing", "`billing`, and no circuit has been created with that name so far"),
        ] {
            let sentences = misnamed(&format!("search, {wrong}"), &circuits());
            assert!(
                matches!(&sentences[..], [sentence] if sentence.ends_with(hint) || sentence.contains(hint)),
                "{sentences:?}"
            );
        }
        assert_eq!(misnamed("Payments,serch", &circuits()).len(), 2);
    }

    #[test]
    fn hostile_names_are_shortened_and_escaped() {
        let [sentence] = &misnamed(&format!("a\u{1b}[2J{}", "x".repeat(5_000)), &circuits())[..] else { panic!("one") };
        assert!(sentence.len() < 400 && !sentence.contains('\u{1b}'), "{sentence}");
    }

    #[test]
    fn the_names_of_circuits_are_collected_until_the_time_is_over() {
        let (sender, created) = channel();
        for name in ["a", "b", "a"] {
            sender.send(name.to_owned()).unwrap();
        }
        assert_eq!(collect(&created, Duration::from_millis(1)).len(), 2);
        drop(sender);
        assert!(collect(&created, Duration::from_secs(3600)).is_empty(), "no circuit can come any more");
    }
}
